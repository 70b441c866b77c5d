/*
 * What hooks made of tensors that were to be saved for backward(); see
 * tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * torch.autograd.graph.saved_tensors_hooks() gives a program what a node would
 * save; the node keeps what comes back, which may be any object, and the function
 * that is to make a tensor of it again. save_on_cpu() has a copy in a tuple,
 * checkpoint() an object that stands for what will be computed once more.
 *
 * The C++ object has three of Python's: two functions and what came of the first.
 * They are pointers one behind the other, or each has one or two words of its own
 * behind it, the last of which says whether it is there.
 *
 * Source: PyTorch torch/csrc/autograd/python_saved_variable_hooks.h of 1.13 to 2.15.
 */
#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"

enum {
	HOOK_OBJECTS = 3,	/* the last is what was made */
	STEP_MAX = 3,		/* words from one to the next */
	HOOK_WORDS = 1 + HOOK_OBJECTS * STEP_MAX,
	PACKED_DEPTH = 3,	/* containers in what was made */
	PACKED_MOST = 16,	/* references of one that are followed */
};

bool tensors_is_hooks(struct tensors *tensors, uint64_t address)
{
	char text[TORCH_CLASS_MAX];
	const char *class;
	uint64_t table;

	if (!memory_try_u64(&tensors->memory, address, &table))
		return false;
	class = torch_table_class(&tensors->classes, table, text);
	return class && strcmp(class, "PySavedVariableHooks") == 0;
}

static uint32_t object_of(const struct tensors *tensors, uint64_t word)
{
	return word && word % 8 == 0 ?
		       heapgraph_find(tensors->analysis->heap, word) :
		       GRAPH_NONE;
}

unsigned int tensors_hook_objects(struct tensors *tensors, uint64_t hooks,
				  uint32_t ret[TENSORS_HOOK_OBJECTS])
{
	uint64_t words[HOOK_WORDS];
	unsigned int count = 0;
	size_t step = 1;

	_Static_assert((int)HOOK_OBJECTS == (int)TENSORS_HOOK_OBJECTS,
		       "room for all of them");
	if (!memory_try_read(&tensors->memory, hooks, words, sizeof(words)))
		return 0;
	while (step < STEP_MAX &&
	       object_of(tensors, words[1 + step]) == GRAPH_NONE)
		step++;
	for (size_t i = 0; i < HOOK_OBJECTS; i++) {
		const uint64_t *at = words + 1 + i * step;
		uint32_t object = object_of(tensors, *at);

		if (object != GRAPH_NONE && (step < STEP_MAX || (at[2] & 1)))
			ret[count++] = object;
	}
	return count;
}

/* --- tensors in what was made ------------------------------------------------------ */

/** Code and what is known by a name is not made for one tensor. */
static bool is_followed(const struct tensors *tensors, uint32_t object)
{
	const struct pyh_type *type = heapgraph_type(tensors->analysis->heap,
						     object);

	if (type->flags & (PYH_TPFLAGS_DICT_SUBCLASS |
			   PYH_TPFLAGS_LIST_SUBCLASS |
			   PYH_TPFLAGS_TUPLE_SUBCLASS))
		return true;
	return !type->is_static && !(type->flags & PYH_TPFLAGS_TYPE_SUBCLASS) &&
	       tensornames_kind(tensors->names, object) == 0;
}

static void mark(struct tensors *tensors, uint32_t object, uint32_t node,
		 int depth)
{
	const struct graph *graph = &tensors->analysis->heap->graph;
	uint32_t number = tensors_of_object(tensors, object);
	uint32_t last = graph->out_at[object + 1];

	if (number != TENSORS_NONE) {
		tensors_mark_saved(tensors, node, number);
		return;
	}
	if (depth == 0 || !is_followed(tensors, object))
		return;
	if (last - graph->out_at[object] > PACKED_MOST)
		last = graph->out_at[object] + PACKED_MOST;
	for (uint32_t i = graph->out_at[object]; i < last; i++)
		mark(tensors, graph_end(graph->out[i]), node, depth - 1);
}

static struct error *count_owner(struct tensors *tensors, uint32_t object,
				 uint32_t node)
{
	struct tensors_packed *packed;
	uint32_t number;
	struct error *err;

	if (hashmap_get(&tensors->by_packed, (uint64_t)object + 1, &number)) {
		tensors->packed[number].owners++;
		return NULL;
	}
	if (tensors->num_packed == tensors->room_packed) {
		size_t room = tensors->room_packed ? tensors->room_packed * 2 :
						     256;
		struct tensors_packed *grown =
			realloc(tensors->packed, room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		tensors->packed = grown;
		tensors->room_packed = room;
	}
	packed = &tensors->packed[tensors->num_packed];
	*packed = (struct tensors_packed){ .object = object, .node = node,
					   .owners = 1 };
	err = hashmap_put(&tensors->by_packed, (uint64_t)object + 1,
			  (uint32_t)tensors->num_packed);
	tensors->num_packed += !err;
	return err;
}

struct error *tensors_find_packed(struct tensors *tensors)
{
	const struct autograd *graph = &tensors->graph;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < graph->num_packed; i++) {
		uint32_t objects[TENSORS_HOOK_OBJECTS];
		uint32_t node = graph->packed[i].node;
		unsigned int count = tensors_hook_objects(
			tensors, graph->packed[i].hooks, objects);

		for (unsigned int j = 0; !err && j < count; j++)
			err = count_owner(tensors, objects[j], node);
		if (!err && count == HOOK_OBJECTS)
			mark(tensors, objects[HOOK_OBJECTS - 1], node,
			     PACKED_DEPTH);
	}
	return err;
}

const struct tensors_packed *tensors_packed_of(const struct tensors *tensors,
					       uint32_t object)
{
	uint32_t number;

	return hashmap_get(&tensors->by_packed, (uint64_t)object + 1,
			   &number) ? &tensors->packed[number] : NULL;
}
