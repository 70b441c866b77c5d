/*
 * What PyTorch's C++ objects lead to; see tensorlinks.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A tensor has its storage, its gradient, the node it is the result of, and what
 * it is a view of; a node the next ones and what it has saved. Python's objects
 * for nodes and storages have these.
 */
#include "analyzer/tensors/tensorlinks.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/guard.h"

enum {
	META_MAX = 1 << 12,	/* bytes of an AutogradMeta that are looked at */
	HANDLE_WORDS = 3,	/* of an object behind its head, one of which is the
				   address of what it stands for */
};

struct linking {
	const struct analysis *analysis;
	struct tensors *tensors;
	struct tensorlinks *links;
	size_t room;
	struct hashmap metas;		/* AutogradMeta: number of tensor + 1 */
	uint32_t first_tensor, first_node;	/* numbers in the graph */
};

/* --- nodes ----------------------------------------------------------------- */

static uint32_t of_tensor(const struct linking *linking, uint32_t tensor)
{
	uint32_t object = linking->tensors->items[tensor].object;

	return object != TENSORS_NONE ? object :
					linking->first_tensor + tensor;
}

static struct error *add(struct linking *linking, uint32_t from, uint32_t to)
{
	struct tensorlinks *links = linking->links;

	if (from == to)
		return NULL;
	if (links->num_links == linking->room) {
		size_t room = linking->room ? linking->room * 2 : 4096;
		struct graph_link *grown = realloc(links->links,
						   room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		links->links = grown;
		linking->room = room;
	}
	links->links[links->num_links++] = (struct graph_link){ from, to };
	return NULL;
}

/* --- tensors --------------------------------------------------------------- */

static struct error *add_tensor(struct linking *linking, uint32_t number)
{
	const struct tensors *tensors = linking->tensors;
	const struct tensor *tensor = &tensors->items[number];
	uint32_t from = of_tensor(linking, number), other;
	struct error *err = NULL;

	if (tensor->storage != TENSORS_NONE)
		err = add(linking, from,
			  linking->links->first_storage + tensor->storage);
	if (!err && tensor->grad &&
	    hashmap_get(&tensors->by_address, tensor->grad, &other))
		err = add(linking, from, of_tensor(linking, other - 1));
	other = tensor->grad_fn ? autograd_find(&tensors->graph,
						tensor->grad_fn) : TENSORS_NONE;
	if (!err && other != TENSORS_NONE)
		err = add(linking, from, linking->first_node + other);
	if (!err && tensor->held == TENSOR_BY_TENSOR)
		err = add(linking, of_tensor(linking, tensor->holder), from);
	else if (!err && tensor->native != TENSORS_NONE)
		err = add(linking, tensor->native, from);
	if (!err && tensor->meta)
		err = hashmap_put(&linking->metas, tensor->meta, number + 1);
	return err;
}

/** What a tensor has to be differentiable leads to others: it is a view of one. */
static struct error *look_at_block(void *context,
				   const struct torch_block *block)
{
	struct linking *linking = context;
	struct tensors *tensors = linking->tensors;
	uint64_t words[META_MAX / 8], size = block->end - block->address;
	struct error *err = NULL;
	uint32_t tensor, other;

	if (!hashmap_get(&linking->metas, block->address, &tensor))
		return NULL;
	if (size > META_MAX)
		size = META_MAX;
	size &= ~UINT64_C(7);
	if (!memory_try_read(&tensors->memory, block->address, words, size))
		return NULL;
	for (size_t i = 1; !err && i < size / 8; i++)
		if (words[i] && hashmap_get(&tensors->by_address, words[i],
					    &other) &&
		    (words[i] == tensors->items[tensor - 1].grad ||
		     tensors_may_view(tensors, tensor - 1, other - 1)))
			err = add(linking, of_tensor(linking, tensor - 1),
				  of_tensor(linking, other - 1));
	return err;
}

static struct error *add_tensors(struct linking *linking)
{
	struct tensors *tensors = linking->tensors;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < tensors->count; i++)
		err = add_tensor(linking, (uint32_t)i);
	if (!err && tensors->heap)
		err = torchheap_each(tensors->heap, look_at_block, linking);
	return err;
}

/* --- autograd's graph ------------------------------------------------------ */

/** What adds up gradients, has the tensor whose they are. */
static struct error *add_accumulator(struct linking *linking, uint32_t node)
{
	struct tensors *tensors = linking->tensors;
	const struct autograd *graph = &tensors->graph;
	uint64_t address = graph->nodes[node].address, word;
	uint32_t number;

	if (!graph->knows_own || !tensors_accumulates(tensors, address) ||
	    !memory_try_u64(&tensors->memory, address + graph->own, &word) ||
	    !hashmap_get(&tensors->by_address, word, &number))
		return NULL;
	return add(linking, linking->first_node + node,
		   of_tensor(linking, number - 1));
}

static struct error *add_nodes(struct linking *linking)
{
	const struct autograd *graph = &linking->tensors->graph;
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < graph->count; i++) {
		uint32_t from = linking->first_node + i, object, keeper;

		for (uint32_t j = graph->nodes[i].first_edge;
		     !err && j < graph->nodes[i + 1].first_edge; j++)
			err = add(linking, from,
				  linking->first_node + graph->edges[j]);
		// Of a function that is written in Python its object has them.
		object = tensors_function_of(linking->tensors,
					     graph->nodes[i].address);
		keeper = object == GRAPH_NONE ? from : object;
		if (!err && object != GRAPH_NONE)
			err = add(linking, from, object);
		for (uint32_t j = graph->nodes[i].first_saved;
		     !err && j < graph->nodes[i + 1].first_saved; j++)
			err = add(linking, keeper,
				  of_tensor(linking, graph->saved[j]));
		if (!err)
			err = add_accumulator(linking, i);
	}
	return err;
}

/** What hooks made of tensors for a node, and the hooks, are the node's. */
static struct error *add_packed(struct linking *linking)
{
	const struct autograd *graph = &linking->tensors->graph;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < graph->num_packed; i++) {
		uint32_t objects[TENSORS_HOOK_OBJECTS];
		unsigned int count = tensors_hook_objects(
			linking->tensors, graph->packed[i].hooks, objects);

		for (unsigned int j = 0; !err && j < count; j++)
			err = add(linking, linking->first_node +
						   graph->packed[i].node,
				  objects[j]);
	}
	return err;
}

/** Modules of TorchScript's lead to their tensors. */
static struct error *add_scripts(struct linking *linking)
{
	const struct tensors *tensors = linking->tensors;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < tensors->num_slots; i++)
		if (tensors->slots[i].tensor != TENSORS_NONE)
			err = add(linking, tensors->slots[i].native,
				  of_tensor(linking, tensors->slots[i].tensor));
	return err;
}

/* --- Python's objects for nodes and storages -------------------------------- */

/** Types whose objects may stand for one: by name, the rest is told by address. */
static bool is_handle(const struct pyh_type *type)
{
	return strstr(type->name, "Backward") ||
	       strstr(type->name, "AccumulateGrad") ||
	       strstr(type->name, "Storage");
}

/** What it stands for keeps the object as well, once it was made. */
static struct error *add_both(struct linking *linking, uint32_t object,
			      uint32_t node)
{
	struct error *err = add(linking, object, node);

	return err ? err : add(linking, node, object);
}

static struct error *add_handle(struct linking *linking, uint32_t object)
{
	struct tensors *tensors = linking->tensors;
	uint64_t at = heapgraph_address(linking->analysis->heap, object) +
		      tensors->runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t words[HANDLE_WORDS];

	// A shorter one ends where the next begins.
	for (int i = 0; i < HANDLE_WORDS; i++)
		if (!memory_try_u64(&tensors->memory, at + 8 * (uint64_t)i,
				    &words[i]))
			words[i] = 0;
	for (int i = 0; i < HANDLE_WORDS; i++) {
		uint32_t number = words[i] ? autograd_find(&tensors->graph,
							   words[i]) :
					     TENSORS_NONE;

		if (number != TENSORS_NONE)
			return add_both(linking, object,
					linking->first_node + number);
		if (hashmap_get(&tensors->by_impl, words[i], &number))
			return add_both(linking, object,
					linking->links->first_storage + number -
						1);
	}
	return NULL;
}

static struct error *add_handles(struct linking *linking)
{
	const struct heapgraph *heap = linking->analysis->heap;
	uint32_t types = pyh_types_count(heap->pyh_types);
	CLEANUP(free_pointer) bool *handles = calloc((size_t)types + 1,
						     sizeof(*handles));
	struct error *err = NULL;

	if (!handles)
		return error_no_memory();
	for (uint32_t i = 0; i < types; i++)
		handles[i] = is_handle(pyh_types_get(heap->pyh_types, i));
	for (uint32_t i = 0; !err && i < heap->count; i++)
		if (handles[heap->types[i]])
			err = add_handle(linking, i);
	return err;
}

/* --- where ways begin ------------------------------------------------------- */

/**
 * C++ owns one count of the object of a tensor that it holds, or of a function:
 * where just this one is too many, it is no root. What hooks made has one by each
 * C++ object that has it.
 */
static bool is_explained(const struct linking *linking, uint32_t object)
{
	const struct analysis *analysis = linking->analysis;
	const struct heapgraph *heap = analysis->heap;
	const struct tensors_packed *packed = tensors_packed_of(
		linking->tensors, object);
	struct heap_count count;

	if (!node_set_has(&analysis->roots.unexplained, object) ||
	    heap->flags[object] & HEAP_IMMORTAL)
		return false;
	count = heaproots_count(heap, &analysis->roots, object);
	return count.roots == 0 &&
	       heapgraph_references(heap, object) ==
		       count.objects + (packed ? packed->owners : 1);
}

/** Which objects links explain, and which nodes none leads to. */
static struct error *find_starts(struct linking *linking)
{
	struct tensorlinks *links = linking->links;
	const struct tensors *tensors = linking->tensors;
	struct node_set led = { 0 };
	struct error *err = node_set_init(&led, links->first + links->count);

	links->explained = calloc(links->num_links + 1, sizeof(uint32_t));
	links->starts = calloc((size_t)links->count + tensors->count + 1,
			       sizeof(uint32_t));
	if (!err && (!links->explained || !links->starts))
		err = error_no_memory();
	for (size_t i = 0; !err && i < links->num_links; i++) {
		uint32_t to = links->links[i].to;

		if (node_set_add(&led, to) && to < links->first &&
		    is_explained(linking, to))
			links->explained[links->num_explained++] = to;
	}
	for (size_t i = 0; !err && i < tensors->count; i++) {
		const struct tensor *tensor = &tensors->items[i];
		uint32_t node = of_tensor(linking, (uint32_t)i);

		// Who holds what Python does as well, is not in the graph.
		if (tensor->object == TENSORS_NONE ?
			    !node_set_has(&led, node) :
			    tensor->also_cxx && tensor->native == TENSORS_NONE)
			links->starts[links->num_starts++] = node;
	}
	for (uint32_t i = 0; !err && i < tensors->graph.count; i++)
		if (!node_set_has(&led, linking->first_node + i))
			links->starts[links->num_starts++] =
				linking->first_node + i;
	node_set_deinit(&led);
	return err;
}

/* --- storages --------------------------------------------------------------- */

static bool is_of_model(const struct tensor *tensor)
{
	return tensor->role == TENSOR_PARAMETER ||
	       tensor->role == TENSOR_GRADIENT ||
	       tensor->role == TENSOR_OPTIMIZER || tensor->role == TENSOR_BUFFER;
}

/** What a storage counts for; memory that is somebody else's for nothing. */
static uint64_t bytes_of(const struct tensor_storage *storage)
{
	switch (storage->memory) {
	case TENSOR_PAGEABLE:
	case TENSOR_PINNED:
	case TENSOR_SHARED:
		return storage->read.data ? tensor_storage_takes(storage) : 0;
	case TENSOR_FILE:
	case TENSOR_NUMPY:
	case TENSOR_BORROWED:
	case TENSOR_IPC:
		break;
	}
	return 0;
}

/** Best is one that Python holds, then the result whose graph has it. */
static uint32_t leading_to(const struct tensors *tensors,
			   const struct tensor *tensor, uint32_t root)
{
	if (tensor->object != TENSORS_NONE && tensor->held == TENSOR_BY_PYTHON)
		return tensor->object;
	return root != TENSORS_NONE &&
	       tensors->items[root].object != TENSORS_NONE ?
		       tensors->items[root].object : tensor->object;
}

static void mark_storage(const struct tensors *tensors,
			 const struct tensor *tensor,
			 struct held_storage *storage)
{
	uint32_t node = tensor->nodes[0], root = TENSORS_NONE;

	if (node != TENSORS_NONE && tensors->node_roots)
		root = tensors->node_roots[node];
	if (storage->via == GRAPH_NONE || tensor->held == TENSOR_BY_PYTHON)
		storage->via = leading_to(tensors, tensor, root);
	if (is_of_model(tensor))
		storage->flags |= HELD_OF_MODEL;
	if (node != TENSORS_NONE)
		storage->flags |= HELD_BY_GRAPH;
	if (root != TENSORS_NONE && tensors->items[root].numel == 1)
		storage->flags |= HELD_BY_SCALAR;
}

static struct error *list_storages(struct linking *linking)
{
	const struct tensors *tensors = linking->tensors;
	struct held_storage *list = calloc(tensors->num_storages + 1,
					   sizeof(*list));

	if (!list)
		return error_no_memory();
	for (size_t i = 0; i < tensors->num_storages; i++) {
		const struct tensor_storage *from = &tensors->storages[i];

		list[i] = (struct held_storage){
			.bytes = bytes_of(from), .owner = DOMINATOR_UNREACHED,
			.via = GRAPH_NONE, .device = from->read.device,
			.index = from->read.index,
			.flags = from->read.device == 0 ? HELD_IN_HOST : 0 };
	}
	for (size_t i = 0; i < tensors->count; i++)
		if (tensors->items[i].storage != TENSORS_NONE)
			mark_storage(tensors, &tensors->items[i],
				     &list[tensors->items[i].storage]);
	linking->links->storages = list;
	linking->links->num_storages = tensors->num_storages;
	return NULL;
}

/* --- all of it -------------------------------------------------------------- */

static struct error *link_all(struct linking *linking)
{
	const struct tensors *tensors = linking->tensors;
	struct tensorlinks *links = linking->links;
	uint64_t count = (uint64_t)tensors->count + tensors->graph.count +
			 tensors->num_storages;
	struct error *err;

	links->first = linking->analysis->heap->count;
	if (links->first + count > GRAPH_MAX_NODES)
		return error_new(ERROR_LIMIT, "too many objects and tensors for "
				 "one graph");
	links->count = (uint32_t)count;
	linking->first_tensor = links->first;
	linking->first_node = links->first + (uint32_t)tensors->count;
	links->first_storage = linking->first_node + tensors->graph.count;
	err = add_tensors(linking);
	if (!err)
		err = add_nodes(linking);
	if (!err)
		err = add_packed(linking);
	if (!err)
		err = add_scripts(linking);
	if (!err)
		err = add_handles(linking);
	if (!err)
		err = find_starts(linking);
	return err ? err : list_storages(linking);
}

struct error *tensorlinks_make(struct opened *opened,
			       const struct analysis *analysis,
			       struct tensorlinks *ret)
{
	struct linking linking = { .analysis = analysis, .links = ret };
	struct error *err;

	*ret = (struct tensorlinks){ 0 };
	// Where none can be read `tensors` says why.
	err = tensors_look(opened, &linking.tensors);
	if (!err && linking.tensors && linking.tensors->count)
		err = link_all(&linking);
	hashmap_deinit(&linking.metas);
	tensors_close(linking.tensors);
	if (err)
		tensorlinks_deinit(ret);
	return err;
}

void tensorlinks_deinit(struct tensorlinks *links)
{
	free(links->links);
	free(links->starts);
	free(links->explained);
	free(links->storages);
	*links = (struct tensorlinks){ 0 };
}
