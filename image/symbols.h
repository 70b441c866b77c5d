/*
 * Names to addresses and back, in the modules of an image.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Loaded on first use, per module: of a name that is exported only .dynsym of
 * the matched file, else .symtab and .dynsym of the matched file,
 * its separate debug file, .gnu_debugdata (xz), else the .dynsym that the
 * dumped image holds (PT_DYNAMIC: DT_SYMTAB, DT_STRTAB, and the number of
 * symbols from DT_GNU_HASH or DT_HASH). Not for concurrent use.
 */
#ifndef IMAGE_SYMBOLS_H
#define IMAGE_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/modules.h"

enum symbols_source {
	SYMBOLS_NONE,
	SYMBOLS_FROM_FILE,
	SYMBOLS_FROM_DEBUG_FILE,	/* and the file */
	SYMBOLS_FROM_IMAGE,		/* only .dynsym */
};

struct symbol {
	const char *name;	/* borrowed from the module */
	uint64_t address;	/* in the target */
	uint64_t size;		/* bytes; 0: unknown */
	uint8_t type;		/* STT_OBJECT, STT_FUNC … */
	bool dynamic;		/* in .dynsym: exported */
	enum symbols_source source;
};

/** A defined symbol by name, exported ones first. False where there is none. */
bool symbols_lookup(struct module *module, const struct memory *memory,
		    const char *name, struct symbol *ret);

/** The symbol with the greatest address at or below address, in its size. */
bool symbols_at(struct module *module, const struct memory *memory,
		uint64_t address, struct symbol *ret);

enum symbols_source symbols_source(struct module *module,
				   const struct memory *memory);

/** Call fn for every symbol until it returns false. */
void symbols_each(struct module *module, const struct memory *memory,
		  bool (*fn)(void *context, const struct symbol *symbol),
		  void *context);

/**
 * The file in which debug information is: the separate debug file if there is
 * one, else the matched file; NULL where neither is. Belongs to the module; an
 * Elf of libelf.
 */
struct Elf *symbols_debug_elf(struct module *module,
			      const struct memory *memory);

/**
 * A section of the matched file by name: its address in the target and size.
 * False where there is no file or no such section.
 */
bool symbols_section(struct module *module, const char *name,
		     uint64_t *ret_address, uint64_t *ret_size);

/** Release what a module holds for symbols; by modules_destroy(). */
void module_symbols_destroy(struct module_symbols *symbols);

#endif
