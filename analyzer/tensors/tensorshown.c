/*
 * What tensors make of their storages; see tensorshown.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors/tensorshown.h"

#include <stdlib.h>

#include "analyzer/tensors/tensorsparts.h"

/** The result that leads to all of the graph that a tensor is in. */
static uint32_t root_of(const struct tensors *tensors,
			const struct tensor *tensor)
{
	uint32_t node = tensor->nodes[0];

	if (!tensors->node_roots || tensor->array)
		return TENSORS_NONE;
	if (node == TENSORS_NONE && tensor->grad_fn)
		node = autograd_find(&tensors->graph, tensor->grad_fn);
	return node < tensors->graph.count ? tensors->node_roots[node] :
					     TENSORS_NONE;
}

/** What a view is a view of is there for its sake, and shows nothing itself. */
static uint64_t bytes_shown(const struct tensor *tensor)
{
	uint64_t size = torch_dtype_size(tensor->dtype), bytes;

	if (tensor->held != TENSOR_BY_PYTHON && tensor->held != TENSOR_BY_GRAPH)
		return 0;
	return __builtin_mul_overflow(tensor->numel, size, &bytes) ? UINT64_MAX :
								     bytes;
}

static void add_tensor(const struct tensors *tensors,
		       const struct tensor *tensor, struct tensorshown *ret)
{
	struct tensorshown_one *one = &ret->items[tensor->storage];
	uint64_t all = tensors->storages[tensor->storage].read.bytes;
	uint64_t more = bytes_shown(tensor);

	one->shown = all - one->shown < more ? all : one->shown + more;
	if (one->root == TENSORS_NONE)
		one->root = root_of(tensors, tensor);
	one->received |= tensor->role == TENSOR_INPUT;
	if (tensor->view)
		return;
	one->numel = tensor->numel;
	if (tensor->role == TENSOR_PARAMETER || tensor->role == TENSOR_BUFFER)
		ret->parameters[ret->num_parameters++] = tensor->numel;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

struct error *tensorshown_make(const struct tensors *tensors,
			       struct tensorshown *ret)
{
	*ret = (struct tensorshown){
		.items = calloc(tensors->num_storages + 1, sizeof(*ret->items)),
		.count = tensors->num_storages,
		.parameters = calloc(tensors->count + 1,
				     sizeof(*ret->parameters)) };
	if (!ret->items || !ret->parameters)
		return error_no_memory();
	for (size_t i = 0; i < ret->count; i++)
		ret->items[i].root = TENSORS_NONE;
	for (size_t i = 0; i < tensors->count; i++)
		if (tensors->items[i].storage < ret->count)
			add_tensor(tensors, &tensors->items[i], ret);
	qsort(ret->parameters, ret->num_parameters, sizeof(*ret->parameters),
	      by_number);
	return NULL;
}

void tensorshown_deinit(struct tensorshown *shown)
{
	free(shown->items);
	free(shown->parameters);
	*shown = (struct tensorshown){ 0 };
}
