/*
 * Frozen objects: those of the permanent generation; see frozen.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Python/gc.c (Modules/gcmodule.c up to 3.12), gc_freeze();
 * Python/gc_free_threading.c.
 */
#include "analyzer/heap/frozen.h"

#include <inttypes.h>

#include "image/base/findings.h"
#include "pyheap/types/pyobject.h"

enum {
	LINK_FLAGS = 3,		/* low bits of the words of a PyGC_Head */
	LINK_NEXT = 0,		/* their offsets */
	LINK_PREV = 8,
	BITS_FROZEN = 1 << 3,	/* of ob_gc_bits; free-threaded */
};

/**
 * Follow a list one way: until it ends where it began, or leads to what is no
 * object, or to one that was there already.
 *
 * @return true if it ended where it began
 */
static bool follow(const struct heapgraph *heap, struct memory_reader *memory,
		   uint64_t list, unsigned int link, struct node_set *frozen)
{
	uint64_t head = list;
	uint32_t object;

	for (;;) {
		if (!memory_try_u64(memory, head + link, &head))
			return false;
		head &= ~(uint64_t)LINK_FLAGS;
		if (head == list)
			return true;
		object = heapgraph_find(heap, head + PYH_GC_HEAD);
		if (object == GRAPH_NONE || !node_set_add(frozen, object))
			return false;
	}
}

/** In free-threaded builds there are no lists: each object says so itself. */
static void ask_each(const struct heapgraph *heap,
		     const struct pyh_runtime *runtime,
		     struct memory_reader *memory, struct node_set *frozen)
{
	uint64_t bits;

	for (uint32_t i = 0; i < heap->count; i++)
		if (heap->flags[i] & HEAP_TRACKED &&
		    pyh_field(runtime, memory, heapgraph_address(heap, i),
			      PYH_OBJECT_OB_GC_BITS, &bits) &&
		    bits & BITS_FROZEN)
			(void)node_set_add(frozen, i);
}

struct error *frozen_find(const struct heapgraph *heap,
			  const struct pyh_runtime *runtime,
			  struct node_set *ret)
{
	struct memory_reader memory = { 0 };
	struct error *err = memory_reader_init(&memory, runtime->image->memory);

	if (!err)
		err = node_set_init(ret, heap->count);
	if (!err && runtime->free_threaded)
		ask_each(heap, runtime, &memory, ret);
	for (size_t i = 0; !err && !runtime->free_threaded &&
			   i < runtime->num_interpreters; i++) {
		uint64_t list = runtime->interpreters[i]
					.gc_heads[PYH_GC_LISTS - 1];

		// One collector for all: 3.8.
		if (list == 0 ||
		    (i > 0 && list == runtime->interpreters[0]
					      .gc_heads[PYH_GC_LISTS - 1]) ||
		    follow(heap, &memory, list, LINK_NEXT, ret))
			continue;
		(void)follow(heap, &memory, list, LINK_PREV, ret);
		findings_add(runtime->image->findings, "gc-list", list,
			     "the list of frozen objects at 0x%" PRIx64
			     " is broken", list);
	}
	memory_reader_deinit(&memory);
	return err;
}
