/*
 * Is this an object? The rules that tell objects from raw memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A block of the allocator holds an object at its start, or behind a GC head,
 * or behind a pre-header and a GC head, as the type's flags demand. The type
 * must be one; the reference count positive and no pointer; the GC list, if it
 * is in one, must lead back to it; the size by its content must fit the block.
 */
#ifndef PYHEAP_PYOBJECT_H
#define PYHEAP_PYOBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/pycensus.h"
#include "pyheap/pyruntime.h"
#include "pyheap/pysize.h"
#include "pyheap/pytypes.h"

enum { PYH_GC_HEAD = 16 };	/* bytes of a PyGC_Head before an object */

enum pyh_link {
	PYH_LINK_NONE,		/* the type has no GC head, or not in a list */
	PYH_LINK_HOLDS,		/* a neighbour in the list points back */
	PYH_LINK_BROKEN,	/* both neighbours are there and neither does */
};

/** What is the same for every object of a runtime. */
struct pyh_object_rules {
	const struct pyh_runtime *runtime;	/* borrowed */
	uint64_t refcount_mask;		/* bits that count */
	uint64_t refcount_max;		/* larger: not a count */
	uint64_t flags_max;		/* bits 48 … 63 of the first word */
	uint32_t immortal_from;		/* low word; 0: none are immortal */
	uint32_t prefix;		/* bytes of a debug hook before data */
	uint32_t overhead;		/* of debug hooks in all */
	bool collecting;		/* GC heads are in disarray */
};

void pyh_object_rules_init(struct pyh_object_rules *rules,
			   const struct pyh_runtime *runtime);

struct pyh_candidate {
	uint64_t address;
	const struct pyh_type *type;
	const uint8_t *body;		/* borrowed from the caller's view */
	size_t available;		/* bytes at body */
	struct pyh_measure measure;
	uint64_t refcount;
	bool immortal;
	uint8_t presize;		/* bytes of its block before it */
	bool on_module;			/* in a module's own data */
	enum pyh_link link;
	bool link_damaged;		/* the one before it leads elsewhere */
	uint64_t gc_next, gc_prev;	/* heads; with PYH_LINK_HOLDS */
	enum pyh_evidence evidence;
};

/**
 * The object in a live pymalloc block, if there is one.
 *
 * @param bytes  all of the block, borrowed; must not come from memory
 */
bool pyh_object_in_block(const struct pyh_object_rules *rules,
			 struct pyh_type_reader *types,
			 struct memory_reader *memory, uint64_t block,
			 const uint8_t *bytes, uint32_t size,
			 struct pyh_candidate *ret);

/**
 * The object at an address outside of arenas, if there is one.
 *
 * @param outside  the reader that ret->body will be borrowed from
 */
bool pyh_object_outside(const struct pyh_object_rules *rules,
			struct pyh_type_reader *types,
			struct memory_reader *outside,
			struct memory_reader *memory, uint64_t address,
			struct pyh_candidate *ret);

/** True if instances hold no pointers to objects in their bodies. */
static inline bool pyh_object_is_leaf(const struct pyh_type *type)
{
	// Subclasses may have a dictionary and slots.
	return type->is_static &&
	       (type->kind == PYH_KIND_STR || type->kind == PYH_KIND_BYTES ||
		type->kind == PYH_KIND_INT || type->kind == PYH_KIND_FLOAT ||
		type->kind == PYH_KIND_COMPLEX);
}

/** True if a module's file mappings, or the bss behind them, hold address. */
bool pyh_on_module(const struct image *image, uint64_t address);

/** The stack pointer of a thread of the notes; 0 if unknown. */
uint64_t pyh_stack_pointer(const struct image *image, size_t thread);

#endif
