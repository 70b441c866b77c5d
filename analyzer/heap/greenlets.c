/*
 * Greenlets that nothing but their own frames hold; see greenlets.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/greenlets.h"

#include <string.h>

#include "image/base/guard.h"
#include "pyheap/references/pygreenlet.h"

/** True if there are any: most heaps have none. */
static bool has_greenlets(const struct heapgraph *heap)
{
	for (uint32_t i = 0; i < pyh_types_count(heap->pyh_types); i++)
		if (pyh_greenlet_is_one(pyh_types_get(heap->pyh_types, i)))
			return true;
	return false;
}

struct error *greenlets_hold_themselves(const struct heapgraph *heap,
					const struct pyh_runtime *runtime,
					struct node_set *held)
{
	CLEANUP(node_set_deinit) struct node_set reached = { 0 };
	struct memory_reader memory;
	struct error *err;

	if (!has_greenlets(heap))
		return NULL;
	err = node_set_init(&reached, heap->count);
	if (err)
		return err;
	memcpy(reached.words, held->words,
	       ((size_t)heap->count / 64 + 1) * sizeof(*held->words));
	err = memory_reader_init(&memory, runtime->image->memory);
	if (err)
		return err;
	err = reach(&heap->graph, GRAPH_MASK_STRONG, NULL, &reached);
	for (uint32_t i = 0; !err && i < heap->count; i++) {
		if (node_set_has(&reached, i) ||
		    !pyh_greenlet_is_one(heapgraph_type(heap, i)) ||
		    !pyh_greenlet_is_passed_over(runtime, &memory,
						 heapgraph_type(heap, i),
						 heapgraph_address(heap, i)))
			continue;
		(void)node_set_add(held, i);
		(void)node_set_add(&reached, i);
	}
	memory_reader_deinit(&memory);
	return err;
}
