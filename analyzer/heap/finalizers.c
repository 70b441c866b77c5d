/*
 * Which objects of a heap have finalizers, by type; see finalizers.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/finalizers.h"

#include <stdlib.h>

struct error *finalizers_init(struct finalizers *finalizers,
			      const struct heapgraph *heap,
			      const struct pyh_runtime *runtime)
{
	uint32_t count = pyh_types_count(heap->pyh_types);
	struct error *err;

	*finalizers = (struct finalizers){ .heap = heap, .runtime = runtime };
	err = memory_reader_init(&finalizers->memory, runtime->image->memory);
	if (err)
		return err;
	finalizers->of_types = calloc((size_t)count + 1, 1);
	if (!finalizers->of_types) {
		memory_reader_deinit(&finalizers->memory);
		return error_no_memory();
	}
	for (uint32_t i = 0; i < count; i++)
		finalizers->of_types[i] = (uint8_t)pyh_finalizer_of(
			runtime, &finalizers->memory,
			pyh_types_get(heap->pyh_types, i));
	return NULL;
}

void finalizers_deinit(struct finalizers *finalizers)
{
	if (finalizers->of_types)
		memory_reader_deinit(&finalizers->memory);
	free(finalizers->of_types);
	*finalizers = (struct finalizers){ 0 };
}

bool finalizers_pending(struct finalizers *finalizers, uint32_t object)
{
	const struct heapgraph *heap = finalizers->heap;

	switch (finalizers_of(finalizers, object)) {
	case PYH_FINALIZER_NONE:
		return false;
	case PYH_FINALIZER_LEGACY:
		return true;
	case PYH_FINALIZER_CALLED:
		break;
	}
	return pyh_finalizer_pending(finalizers->runtime, &finalizers->memory,
				     heapgraph_type(heap, object),
				     heapgraph_address(heap, object));
}
