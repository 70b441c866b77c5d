/*
 * The unwind table of a module whose file is not at hand, from memory.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_UNWINDTABLE_H
#define IMAGE_UNWINDTABLE_H

#include <stddef.h>

#include "image/memory.h"
#include "image/modules.h"

struct Elf;

struct unwind_table {
	void *bytes;		/* a file put together from memory, or NULL */
	size_t size;
};

/**
 * Headers and unwind table of a module in memory, as a file without sections.
 *
 * @param ret  zero; what the returned Elf is a view of, to be released after it
 * @return NULL: the dump has not got them
 */
struct Elf *unwind_table_elf(struct memory_reader *memory,
			     const struct module *module,
			     struct unwind_table *ret);
void unwind_table_deinit(struct unwind_table *table);

#endif
