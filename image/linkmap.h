/*
 * The dynamic loader's own list of what it has loaded.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It tells of modules where a core has neither a list of mapped files nor the
 * pages in which their headers are. Such cores are written by qemu, which
 * leaves out every segment with code. What is needed lies in data that is
 * always dumped: the list itself, the names, and each module's PT_DYNAMIC.
 *
 * Source: glibc elf/link.h, musl include/link.h; the same on every 64-bit
 * machine. struct r_debug: r_version at 0 (int), r_map 8, r_brk 16, r_state 24
 * (int), r_ldbase 32. struct link_map: l_addr 0, l_name 8, l_ld 16, l_next 24,
 * l_prev 32.
 */
#ifndef IMAGE_LINKMAP_H
#define IMAGE_LINKMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/elfimage.h"
#include "image/memory.h"

struct core_notes;
struct module;

enum { LINKMAP_MAX = 1 << 14 };	/* entries of a list */

struct linkmap_entry {
	uint64_t bias;		/* address = bias + p_vaddr */
	uint64_t name;		/* address of its path; "" for the program */
	uint64_t dynamic;	/* address of its PT_DYNAMIC */
	uint64_t next;		/* address of the next entry; 0: the last */
};

/**
 * Address of the first entry, by the DT_DEBUG of the program's PT_DYNAMIC.
 *
 * @return 0 where it is not to be had: a static program, or no loader yet
 */
uint64_t linkmap_by_dynamic(struct memory_reader *reader, uint64_t dynamic);

/**
 * The same, by a look for struct r_debug in the loader's own data: it names
 * the address at which the loader begins.
 *
 * @param base  AT_BASE; where the loader was called as a program, the start
 *		of the page that AT_PHDR is in
 */
uint64_t linkmap_by_loader(struct memory_reader *reader, uint64_t base);

/**
 * The same by either way.
 *
 * @param program  the module that is the program; may be NULL
 * @param page  bytes of a page
 */
uint64_t linkmap_find(struct memory_reader *reader,
		      const struct core_notes *notes,
		      const struct module *program, uint64_t page);

/**
 * Read the entry at address.
 *
 * @param previous  address of the entry before it, 0 for the first; an entry
 *		    that does not name it belongs to no list, so that following
 *		    `next` cannot go in a circle
 * @return false where it is not to be had or is no such entry
 */
bool linkmap_read(struct memory_reader *reader, uint64_t address,
		  uint64_t previous, struct linkmap_entry *ret);

/**
 * True if a file's PT_DYNAMIC is the one at an address of the target: the same
 * tags, with the same sizes, offsets and (moved by the bias) addresses. Two
 * builds of which this holds have equal tables of symbols, relocations and
 * libraries, in the same places.
 *
 * @param image  the headers of the file
 */
bool linkmap_same_dynamic(struct memory_reader *reader, uint64_t dynamic,
			  uint64_t bias, const struct elf_image *image,
			  const uint8_t *file, size_t size);

#endif
