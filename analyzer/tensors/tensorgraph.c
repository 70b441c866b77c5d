/*
 * Tensors in autograd's graph: which nodes saved which of them, and which result
 * keeps the graph alive; see tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/findings.h"
#include "image/base/guard.h"

enum {
	NODE_MAX = 640,		/* bytes of a node in which its object is looked
				   for */
	FUNCTION_MAX = 1 << 12,	/* bytes of that object */
};

/** An object of a function that is written in Python? */
static bool is_function(const struct tensors *tensors, uint32_t object)
{
	return object != GRAPH_NONE &&
	       tensornames_kind(tensors->names, object) & TENSORNAMES_FUNCTION;
}

/** Does an object lead to a node, which leads to it? */
static bool knows_node(struct tensors *tensors, uint64_t object, uint64_t size,
		       uint64_t node)
{
	uint64_t words[FUNCTION_MAX / 8];

	if (size > sizeof(words) ||
	    !memory_try_read(&tensors->memory, object, words, size))
		return false;
	for (uint64_t i = 0; i < size / 8; i++)
		if (words[i] == node)
			return true;
	return false;
}

/** The object of a function that is written in Python: its node has it. */
static bool more_of(void *context, uint64_t node, uint64_t word,
		    struct autograd_place *ret)
{
	struct tensors *tensors = context;
	const struct heapgraph *heap = tensors->analysis->heap;
	uint32_t object = word && word % 8 == 0 ? heapgraph_find(heap, word) :
						  GRAPH_NONE;
	uint64_t size;

	if (!is_function(tensors, object))
		return false;
	size = (uint64_t)heapgraph_type(heap, object)->basicsize;
	*ret = (struct autograd_place){ .address = word, .end = word + size };
	return knows_node(tensors, word, size, node);
}

/* Where it is in a node differs from release to release. */
uint32_t tensors_function_of(struct tensors *tensors, uint64_t node)
{
	uint64_t words[NODE_MAX / 8];
	uint64_t size = tensors->graph.knows_own ? tensors->graph.own + 8 :
						   NODE_MAX;
	struct autograd_place place;

	if (size > sizeof(words) ||
	    !memory_try_read(&tensors->memory, node, words, size))
		return GRAPH_NONE;
	for (uint64_t i = 1; i < size / 8; i++)
		if (more_of(tensors, node, words[i], &place))
			return heapgraph_find(tensors->analysis->heap,
					      place.address);
	return GRAPH_NONE;
}

bool tensors_accumulates(struct tensors *tensors, uint64_t node)
{
	char text[TORCH_CLASS_MAX];
	const char *class;
	uint64_t table;

	if (!memory_try_u64(&tensors->memory, node, &table))
		return false;
	class = torch_table_class(&tensors->classes, table, text);
	return class && strcmp(class, "AccumulateGrad") == 0;
}

static bool accumulates(void *context, uint64_t node)
{
	return tensors_accumulates(context, node);
}

static bool is_hooks(void *context, uint64_t address)
{
	return tensors_is_hooks(context, address);
}

uint32_t tensors_function_node(struct tensors *tensors, uint32_t object)
{
	const struct heapgraph *heap = tensors->analysis->heap;
	uint64_t words[FUNCTION_MAX / 8];
	uint64_t size;

	if (!is_function(tensors, object))
		return TENSORS_NONE;
	size = (uint64_t)heapgraph_type(heap, object)->basicsize;
	if (size > sizeof(words) ||
	    !memory_try_read(&tensors->memory, heapgraph_address(heap, object),
			     words, size))
		return TENSORS_NONE;
	for (uint64_t i = 0; i < size / 8; i++) {
		uint32_t node = words[i] && words[i] % 8 == 0 ?
			autograd_find(&tensors->graph, words[i]) : TENSORS_NONE;

		if (node != TENSORS_NONE &&
		    tensors_function_of(tensors, words[i]) == object)
			return node;
	}
	return TENSORS_NONE;
}

const char *tensors_node_name(struct tensors *tensors, uint64_t node,
			      char text[TORCH_CLASS_MAX])
{
	const char *class, *name, *dot;
	uint32_t function;
	uint64_t table;

	if (!memory_try_u64(&tensors->memory, node, &table))
		return NULL;
	class = torch_table_class(&tensors->classes, table, text);
	if (!class || strcmp(class, "PyNode") != 0)
		return class;
	function = tensors_function_of(tensors, node);
	if (function == GRAPH_NONE)
		return class;
	name = heapgraph_type(tensors->analysis->heap, function)->name;
	dot = strrchr(name, '.');
	(void)snprintf(text, TORCH_CLASS_MAX, "%s", dot ? dot + 1 : name);
	return text;
}

static struct error *read_graph(struct tensors *tensors)
{
	CLEANUP(free_pointer) struct autograd_place *places = NULL;
	const struct torch_block *blocks;
	size_t count;

	blocks = torchheap_blocks(tensors->heap, TORCH_KIND_NODE, &count);
	places = calloc(count + 1, sizeof(*places));
	tensors->known_owners = calloc(tensors->count + 1,
				       sizeof(*tensors->known_owners));
	if (!places || !tensors->known_owners)
		return error_no_memory();
	for (size_t i = 0; i < count; i++)
		places[i] = (struct autograd_place){ blocks[i].address,
						     blocks[i].end };
	return autograd_make(&(struct autograd_options){
		.memory = &tensors->memory,
		.places = places, .count = count,
		.tensors = &tensors->by_address,
		.long_counts = tensors->layout.counts == 24,
		.owners = tensors->known_owners,
		.accumulates = accumulates,
		.more = more_of, .hooks = is_hooks, .context = tensors }, &tensors->graph);
}

/** Results that lead to the graph, those of objects first. */
static struct error *find_roots(struct tensors *tensors)
{
	struct autograd *graph = &tensors->graph;
	CLEANUP(free_pointer) uint32_t *nodes =
		calloc(tensors->count + 1, sizeof(*nodes));
	CLEANUP(free_pointer) uint32_t *roots =
		calloc(tensors->count + 1, sizeof(*roots));
	struct error *err;
	size_t count = 0;

	tensors->node_roots = malloc(((size_t)graph->count + 1) *
				     sizeof(*tensors->node_roots));
	if (!nodes || !roots || !tensors->node_roots)
		return error_no_memory();
	for (size_t i = 0; i < tensors->count; i++) {
		const struct tensor *tensor = &tensors->items[i];
		uint32_t node = tensor->grad_fn && !tensor->array ?
			autograd_find(graph, tensor->grad_fn) : TENSORS_NONE;

		if (node == TENSORS_NONE || tensor->held != TENSOR_BY_PYTHON)
			continue;
		nodes[count] = node;
		roots[count++] = (uint32_t)i;
	}
	err = autograd_reach(graph, nodes, count, tensors->node_roots);
	for (uint32_t i = 0; !err && i < graph->count; i++)
		if (tensors->node_roots[i] != TENSORS_NONE)
			tensors->node_roots[i] = roots[tensors->node_roots[i]];
	return err;
}

void tensors_mark_saved(struct tensors *tensors, uint32_t node, uint32_t number)
{
	struct tensor *tensor = &tensors->items[number];
	int at = tensor->nodes[0] != TENSORS_NONE;

	if (tensor->held == TENSOR_BY_CXX)
		tensor->held = TENSOR_BY_GRAPH;
	if (tensor->nodes[at] == TENSORS_NONE)
		tensor->nodes[at] = node;
}

struct error *tensors_find_graph(struct tensors *tensors)
{
	struct autograd *graph = &tensors->graph;
	struct error *err = read_graph(tensors);

	if (!err)
		err = find_roots(tensors);
	for (uint32_t i = 0; !err && i < graph->count; i++) {
		uint32_t first = graph->nodes[i].first_saved;
		uint32_t last = graph->nodes[i + 1].first_saved;

		if (first == last ||
		    accumulates(tensors, graph->nodes[i].address))
			continue;
		for (uint32_t j = first; j < last; j++)
			tensors_mark_saved(tensors, i, graph->saved[j]);
	}
	if (!err)
		err = tensors_find_packed(tensors);
	if (!err && graph->unread)
		findings_add(tensors->image->findings, "tensor", 0,
			     "of autograd's graph nodes were not captured: what "
			     "they keep is not known");
	return err;
}
