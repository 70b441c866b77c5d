/*
 * The ledger: every byte that was in memory in exactly one row.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is known in detail is told first: objects and what they own, the blocks
 * of the allocators, chunks of malloc, stacks. What is left of a mapping has the
 * row of the mapping: a module, a file, shared memory, or nothing that is known.
 * So rows cannot but sum up, unless two of them claim the same bytes; that is
 * looked for, and is a finding.
 *
 * A chunk of malloc, a block and an object count with all that the allocator
 * holds for them. Objects in the data of modules are the modules'.
 */
#ifndef ANALYZER_LEDGER_H
#define ANALYZER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"

struct opened;

enum ledger_category {
	/* what Python objects hold */
	LEDGER_TEXT, LEDGER_NUMBERS, LEDGER_DICTS, LEDGER_DICT_TABLES,
	LEDGER_LISTS, LEDGER_LIST_TABLES, LEDGER_SETS, LEDGER_SET_TABLES,
	LEDGER_TUPLES, LEDGER_INSTANCES, LEDGER_ATTRIBUTES, LEDGER_CODE_OBJECTS,
	LEDGER_CLASSES, LEDGER_OTHER_OBJECTS, LEDGER_BUFFERS, LEDGER_FRAMES,
	/* numbers in bulk */
	LEDGER_TENSORS, LEDGER_ARRAYS,
	/* the allocator of small objects */
	LEDGER_RAW_BLOCKS, LEDGER_FREE_BLOCKS, LEDGER_EMPTY_POOLS,
	LEDGER_PINNED, LEDGER_POOL_OVERHEAD,
	/* malloc */
	LEDGER_MALLOC_PYTHON, LEDGER_MALLOC_MODULE, LEDGER_MALLOC_THREAD,
	LEDGER_MALLOC_MEMORY, LEDGER_MALLOC_NOBODY, LEDGER_MALLOC_USED,
	LEDGER_MALLOC_TRIM, LEDGER_MALLOC_CACHED, LEDGER_MALLOC_BURIED,
	LEDGER_MALLOC_TOP, LEDGER_MALLOC_OVERHEAD, LEDGER_MALLOC_LOST,
	/* what takes malloc's place */
	LEDGER_ALLOCATOR_USED, LEDGER_ALLOCATOR_FREE,
	LEDGER_ALLOCATOR_OVERHEAD, LEDGER_ALLOCATOR,
	/* threads */
	LEDGER_STACKS, LEDGER_STACKS_BELOW, LEDGER_STACKS_ENDED, LEDGER_TLS,
	/* files */
	LEDGER_MODULE_CODE, LEDGER_MODULE_CONSTANTS, LEDGER_MODULE_DATA,
	LEDGER_FILES,
	/* the rest */
	LEDGER_SHARED, LEDGER_PINNED_HOST, LEDGER_DRIVER, LEDGER_KERNEL, LEDGER_MAPPED,
	LEDGER_ZEROES, LEDGER_UNEXPLAINED,
	LEDGER_NUM_CATEGORIES
};

/** Categories that a reader who has little room takes together. */
enum ledger_group {
	LEDGER_OF_OBJECTS, LEDGER_OF_ARRAYS, LEDGER_OF_PYMALLOC,
	LEDGER_OF_MALLOC_USED, LEDGER_OF_MALLOC_FREE, LEDGER_OF_ALLOCATORS,
	LEDGER_OF_STACKS, LEDGER_OF_MODULES, LEDGER_OF_FILES,
	LEDGER_OF_SHARED, LEDGER_OF_DRIVER, LEDGER_OF_MAPPED,
	LEDGER_OF_ZEROES, LEDGER_OF_UNEXPLAINED,
	LEDGER_NUM_GROUPS
};

enum { LEDGER_DETAIL = 160 };

struct ledger_row {
	uint64_t bytes;
	uint64_t count;			/* of what the category counts; 0: of
					   nothing */
	char detail[LEDGER_DETAIL];	/* in words; "": nothing to say. Names in
					   it are not escaped */
};

/** Arenas that a few objects keep from being given back. */
struct ledger_pinned {
	uint64_t arenas;
	uint64_t bytes;		/* in memory */
	uint64_t used;		/* bytes of blocks in use */
	uint64_t blocks;	/* how many */
	struct ledger_pins {	/* by type, most bytes first */
		char type[96];	/* its name, perhaps cut */
		uint64_t objects, bytes;
	} types[8];
	uint64_t num_types;
};

/** Without pointers, as it is kept for the next question. */
struct ledger {
	struct ledger_row rows[LEDGER_NUM_CATEGORIES];
	uint64_t total;		/* bytes: what rows sum up to */
	uint64_t objects;	/* Python's, in modules too */
	uint64_t page_tables, swapped;	/* bytes, not in the sum */
	struct ledger_pinned pinned;
	/* why parts were not told, in words; "": they were */
	char no_python[LEDGER_DETAIL], no_malloc[LEDGER_DETAIL];
	/* 0 or 1 */
	uint8_t balanced;	/* rows sum up, and no two claim the same */
	uint8_t noted;		/* by the kernel's numbers of resident memory;
				   else the total is what was captured */
	uint8_t has_page_tables, has_swapped;
	uint8_t owners;		/* who holds malloc's chunks was asked for */
};

/**
 * The ledger of a dump, made when it is first asked for, or kept.
 *
 * @param owners  tell who holds malloc's chunks, too: reads all memory once more
 *	and changes no group. Without it they may be of unknown use
 * @param ret  borrowed from opened, until it is asked for with owners
 */
struct error *ledger_of(struct opened *opened, bool owners,
			const struct ledger **ret);

/** Whether a ledger from a file can be one. */
bool ledger_is_sound(const struct ledger *ledger);

/** Bytes of all categories of a group. */
uint64_t ledger_group_bytes(const struct ledger *ledger,
			    enum ledger_group group);

/**
 * What its total is: "resident", "captured" or, where the file ends before its
 * memory does, so that parts of it have no bytes to look at, "captured or missing".
 */
const char *ledger_measure(const struct ledger *ledger,
			   const struct image *image);

/** "tables of dicts"; and what the category counts: "objects", or NULL. */
const char *ledger_name(enum ledger_category category);
const char *ledger_counts(enum ledger_category category);
enum ledger_group ledger_group_of(enum ledger_category category);
const char *ledger_group_name(enum ledger_group group);

#endif
