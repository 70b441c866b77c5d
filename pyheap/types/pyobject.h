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

#include "image/base/hashmap.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/sizes/pysize.h"
#include "pyheap/types/pytypes.h"

enum { PYH_GC_HEAD = 16 };	/* bytes of a PyGC_Head before an object */

enum pyh_link {
	PYH_LINK_NONE,		/* the type has no GC head, or not in a list */
	PYH_LINK_HOLDS,		/* a neighbour in the list points back; or in a
				   free-threaded build, which has no lists, it
				   says that the collector tracks it */
	PYH_LINK_BROKEN,	/* both neighbours are there and neither does */
};

/** What is the same for every object of a runtime. */
struct pyh_object_rules {
	const struct pyh_runtime *runtime;	/* borrowed */
	uint64_t refcount_mask;		/* bits that count */
	uint64_t refcount_max;		/* larger: not a count */
	uint64_t flags_max;		/* bits 48 … 63 of the first word */
	uint32_t immortal_from;		/* low word; 0: none are immortal */
	uint32_t immortal_value;	/* … what they begin with */
	uint32_t header;		/* bytes of a PyObject, all its fields */
	uint32_t prefix;		/* bytes of a debug hook before data */
	uint32_t overhead;		/* of debug hooks in all */
	uint32_t presize_max;		/* bytes of a block before its object */
	uint64_t deferred;		/* free-threaded: what the count of an
					   object has too much that references
					   in frames do not count for */
	const struct hashmap *beside;	/* … and what is counted beside it, see
					   pycounts.h; NULL: nothing. Borrowed */
	const struct native_stacks *stacks;	/* where none lies; NULL: not
						   known. Borrowed */
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
 * The object in a live block of a free-threaded build, if there is one.
 *
 * @param bytes  of the block, borrowed; must not come from memory
 * @param have  how many there are
 * @param size  bytes of the block
 */
bool pyh_object_in_mi_block(const struct pyh_object_rules *rules,
			    struct pyh_type_reader *types,
			    struct memory_reader *memory, uint64_t block,
			    const uint8_t *bytes, size_t have, uint64_t size,
			    struct pyh_candidate *ret);

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

/* A count from here on that is also an address in use is a pointer. */
enum { PYH_REFCOUNT_LARGE = 1 << 16 };

/** Whether a first word can be a reference count. */
static inline bool pyh_may_be_refcount(const struct pyh_object_rules *rules,
				       uint64_t word)
{
	// Not 0 either: that is the largest of all then.
	return (word & rules->refcount_mask) - 1 < rules->refcount_max &&
	       word >> 48 <= rules->flags_max;
}

static inline void pyh_take_refcount(const struct pyh_object_rules *rules,
				     uint64_t word, struct pyh_candidate *ret)
{
	ret->refcount = word & rules->refcount_mask;
	ret->immortal = rules->immortal_from &&
			ret->refcount >= rules->immortal_from;
}

/**
 * The GC list leads back from the neighbour before, which is at hand: that
 * alone makes an object certain. Or it is in no list at all.
 *
 * @param head  address of the PyGC_Head
 * @param bytes  its 16 bytes
 * @param again  that is known
 * @return false if the rules must look
 */
static inline bool pyh_quick_link(const struct memory_reader *memory,
				  uint64_t head, const uint8_t *bytes,
				  bool again, struct pyh_candidate *ret)
{
	uint64_t next = pyh_word(bytes, 0) & ~UINT64_C(3);
	uint64_t prev = pyh_word(bytes, 8) & ~UINT64_C(3);
	const uint8_t *before;

	if (next == 0)
		return true;
	ret->link = PYH_LINK_HOLDS;
	ret->gc_next = next;
	ret->gc_prev = prev;
	if (again)
		return true;
	before = memory_peek(memory, prev, 8);
	return before && (pyh_word(before, 0) & ~UINT64_C(3)) == head;
}

/**
 * What pyh_object_in_block() says, where there is no doubt: for loops over
 * millions.
 *
 * @param again  an object is known to be there: the GC list has led back to it
 * @return false if that one must be asked; ret then holds nothing of use
 */
static inline bool pyh_object_near(const struct pyh_object_rules *rules,
				   const struct pyh_type_reader *types,
				   struct memory_reader *memory,
				   uint64_t block, const uint8_t *bytes,
				   uint32_t size, bool again,
				   struct pyh_candidate *ret)
{
	// Where there is a GC head or a pre-header, that begins with a pointer
	// or zero.
	const uint8_t *body = bytes;
	uint32_t at = 0;
	uint64_t need;

	if (rules->overhead)
		return false;
	while (!pyh_may_be_refcount(rules, pyh_word(body, 0))) {
		at += PYH_GC_HEAD;
		body += PYH_GC_HEAD;
		if (at > rules->presize_max || at + 16 > size)
			return false;
	}
	ret->type = pyh_type_known(types, pyh_word(body, 8));
	if (!ret->type || ret->type->presize != at)
		return false;
	ret->address = block + at;
	ret->body = body;
	ret->available = size - at;
	ret->presize = (uint8_t)at;
	ret->on_module = false;
	ret->link = PYH_LINK_NONE;
	ret->link_damaged = false;
	pyh_take_refcount(rules, pyh_word(body, 0), ret);
	if (at && !pyh_quick_link(memory, ret->address - PYH_GC_HEAD,
				  body - PYH_GC_HEAD, again, ret))
		return false;
	if (!pyh_measure_quick(rules->runtime, ret->type, body, ret->available,
			       &ret->measure) &&
	    !pyh_measure_near(rules->runtime, ret->type, body, ret->available,
			      memory, &ret->measure) &&
	    pyh_measure(rules->runtime, ret->type, ret->address, body,
			ret->available, memory,
			&ret->measure) == PYH_MEASURE_REFUSED)
		return false;
	need = at + ret->measure.extent;
	if (ret->link == PYH_LINK_HOLDS) {
		ret->evidence = PYH_EVIDENCE_CERTAIN;
		return need <= size;
	}
	ret->evidence = PYH_EVIDENCE_PROBABLE;
	return need <= size && need + 16 > size &&
	       (ret->refcount < PYH_REFCOUNT_LARGE ||
		ret->refcount == rules->immortal_value);
}

static inline bool pyh_object_quick(const struct pyh_object_rules *rules,
				    const struct pyh_type_reader *types,
				    struct memory_reader *memory,
				    uint64_t block, const uint8_t *bytes,
				    uint32_t size, struct pyh_candidate *ret)
{
	return pyh_object_near(rules, types, memory, block, bytes, size,
			       /* again= */ false, ret);
}

/** Of a block that is known to hold an object. */
static inline bool pyh_object_again(const struct pyh_object_rules *rules,
				    const struct pyh_type_reader *types,
				    struct memory_reader *memory,
				    uint64_t block, const uint8_t *bytes,
				    uint32_t size, struct pyh_candidate *ret)
{
	return pyh_object_near(rules, types, memory, block, bytes, size,
			       /* again= */ true, ret);
}

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
	return type->is_leaf;
}

/** True if a module's file mappings, or the bss behind them, hold address. */
bool pyh_on_module(const struct image *image, uint64_t address);

/** The stack pointer of a thread of the notes; 0 if unknown. */
uint64_t pyh_stack_pointer(const struct image *image, size_t thread);

#endif
