/*
 * The ELF files mapped into the target: executable, libraries, vdso.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A module is a group of NT_FILE mappings of one file (or one ELF header
 * found in memory). Its file is looked for under the sysroot, and believed
 * only if its build id equals that in memory (or, where memory has none, if
 * the bytes captured of its first page are equal, or its PT_DYNAMIC where the
 * core has that and no first page). Symbols come from the
 * file, from a separate debug file (build-id folder or debug link), from
 * .gnu_debugdata, or else from the dumped image by its PT_DYNAMIC.
 */
#ifndef IMAGE_MODULES_H
#define IMAGE_MODULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/base/findings.h"
#include "image/mapping.h"
#include "image/memory.h"
#include "image/notes.h"

enum { MODULE_BUILD_ID_MAX = 64 };

enum module_file_state {
	MODULE_FILE_NOT_NEEDED,
	MODULE_FILE_MISSING,	/* no file at that path under the sysroot */
	MODULE_FILE_OTHER,	/* a file is there, but another one, or nothing
				   in the dump shows that it is the same */
	MODULE_FILE_MATCHED,	/* by build id, first page or PT_DYNAMIC */
};

struct module {
	char *path;		/* as the target saw it, " (deleted)" removed */
	bool deleted;
	bool is_executable;	/* the program itself (AT_PHDR lies in it) */
	uint64_t start, end;	/* addresses: its mappings and its .bss */
	uint64_t bias;		/* address = bias + p_vaddr; 0 for ET_EXEC */
	bool has_bias;		/* false: its ELF header could not be read */
	uint64_t dynamic;	/* address of its PT_DYNAMIC, where nothing but
				   the loader's list tells of it; else 0 */
	uint8_t build_id[MODULE_BUILD_ID_MAX];
	size_t build_id_size;	/* 0: none found */
	enum module_file_state file_state;
	char *file;		/* where the matching file was found, or NULL */
	/* made on first use; see symbols.h */
	struct module_symbols *symbols, *exported;
	const uint8_t *file_bytes;	/* the matched file, mapped; or NULL */
	size_t file_size;
	struct mapping mapping;	/* what file_bytes is a view of */
	size_t first_piece, num_pieces;	/* for modules.c: its mappings */
	bool debuginfod;	/* as in struct modules_options */
	const char *sysroot;	/* borrowed; as in struct modules_options, */
	const char *debug_dir;	/* but never NULL: "" means do not look */
};

struct modules;

struct modules_options {
	uint16_t machine;	/* of the core; EM_NONE: do not compare */
	const char *sysroot;	/* NULL: "/"; "" : never look for files */
	const char *debug_dir;	/* NULL: /usr/lib/debug under the sysroot;
				   else a folder of this machine */
	bool debuginfod;	/* look for debug files on the network, too */
};

/**
 * Find the modules of a core whose notes have been read. memory is sealed
 * and holds what the core itself has; nothing is added to it here. notes are
 * borrowed and must outlive the modules, memory is not kept.
 *
 * A file mapped twice as a program is two modules of one path. A file mapped
 * only as data, as fonts and locale archives are, is none. Where the core has
 * no NT_FILE and no mappings of ours, modules are what ELF headers at the
 * start of captured ranges, the loader's list and AT_PHDR show.
 */
struct error *modules_create(const struct core_notes *notes,
			     const struct memory *memory,
			     const struct modules_options *options,
			     struct findings *findings, struct modules **ret);
void modules_destroy(struct modules *modules);

size_t modules_count(const struct modules *modules);
struct module *modules_get(const struct modules *modules, size_t i);
/** The module whose mappings hold address, or NULL. */
struct module *modules_find(const struct modules *modules, uint64_t address);

/**
 * For every file mapping of a matched module that is not (wholly) in the
 * core, add a MEMORY_FROM_FILE range to memory (not sealed yet). Writable
 * mappings are left out: their private pages were in the core or are lost.
 */
struct error *modules_add_file_pages(const struct modules *modules,
				     struct memory *memory);

#endif
