/*
 * What each tensor is for, and which of those that share a storage counts for it;
 * see tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/guard.h"

const char *tensor_role_name(enum tensor_role role)
{
	static const char *const names[] = {
		[TENSOR_OTHER] = "other",
		[TENSOR_PARAMETER] = "parameter",
		[TENSOR_GRADIENT] = "gradient",
		[TENSOR_OPTIMIZER] = "optimizer",
		[TENSOR_BUFFER] = "buffer",
		[TENSOR_INPUT] = "input",
		[TENSOR_ACTIVATION] = "activation",
		[TENSOR_ARRAY] = "array",
	};

	return names[role];
}

/** In shared memory that another process made, by the name PyTorch gave it. */
static bool is_received(const struct tensors *tensors,
			const struct tensor *tensor)
{
	const struct core_notes *notes = &tensors->image->notes;
	const struct tensor_storage *storage;
	unsigned long long pid;
	uint64_t own = notes->pid;
	const char *name;
	char *end;

	if (tensor->storage == TENSORS_NONE)
		return false;
	storage = &tensors->storages[tensor->storage];
	name = storage->memory == TENSOR_SHARED && storage->name ?
		       strstr(storage->name, "/torch_") : NULL;
	if (!name)
		return false;
	pid = strtoull(name + strlen("/torch_"), &end, 10);
	(void)core_notes_number(notes, FORMAT_FACT_PID, &own);
	return *end == '_' && pid != 0 && own != 0 && pid != own;
}

/** The tensor that wraps one, as a DTensor its part; TENSORS_NONE: none. */
static uint32_t wrapper_of(const struct tensors *tensors,
			   const struct tensor *tensor)
{
	uint32_t wrapper = tensor->object == TENSORS_NONE || tensor->array ?
		GRAPH_NONE : tensornames_wrapper(tensors->names, tensor->object);

	return wrapper == GRAPH_NONE ? TENSORS_NONE :
				       tensors_of_object(tensors, wrapper);
}

static enum tensor_role role_of(const struct tensors *tensors,
				const struct tensor *tensor)
{
	uint32_t object = tensor->object;
	bool saved = tensor->nodes[0] != TENSORS_NONE;
	const struct tensors_slot *slot = tensors_slot_of(
		tensors, (uint32_t)(tensor - tensors->items));

	if (tensor->array)
		return TENSOR_ARRAY;
	if (slot && slot->kind != TORCH_SLOT_OTHER)
		return slot->kind == TORCH_SLOT_PARAMETER ? TENSOR_PARAMETER :
							    TENSOR_BUFFER;
	if (object != TENSORS_NONE) {
		if (tensornames_is_parameter(tensors->names, object))
			return TENSOR_PARAMETER;
		if (tensornames_is_buffer(tensors->names, object))
			return TENSOR_BUFFER;
	}
	if (tensor->parent != TENSORS_NONE)
		return TENSOR_GRADIENT;
	// It has lists of those that it works on as well.
	if (object != TENSORS_NONE &&
	    tensornames_is_optimizers(tensors->names, object))
		return tensor->requires_grad ? TENSOR_PARAMETER :
					       TENSOR_OPTIMIZER;
	if (tensor->grad_fn)
		return TENSOR_ACTIVATION;
	if (is_received(tensors, tensor))
		return TENSOR_INPUT;
	return saved ? TENSOR_ACTIVATION : TENSOR_OTHER;
}

void tensors_find_parents(struct tensors *tensors)
{
	uint32_t number;

	for (size_t i = 0; i < tensors->count; i++)
		if (tensors->items[i].grad &&
		    hashmap_get(&tensors->by_address, tensors->items[i].grad,
				&number) && number - 1 != i)
			tensors->items[number - 1].parent = (uint32_t)i;
}

/* The higher, the more is known of what a tensor is for. */
static const uint8_t ranks[TENSOR_NUM_ROLES] = {
	[TENSOR_OTHER] = 0, [TENSOR_ARRAY] = 0, [TENSOR_ACTIVATION] = 1,
	[TENSOR_INPUT] = 2, [TENSOR_OPTIMIZER] = 3, [TENSOR_GRADIENT] = 4,
	[TENSOR_BUFFER] = 5, [TENSOR_PARAMETER] = 6,
};

/**
 * What only C++ has of a model's own memory is for the same, as the bucket is that
 * gradients are views of.
 */
static struct error *give_of_storages(struct tensors *tensors)
{
	CLEANUP(free_pointer) uint8_t *roles =
		calloc(tensors->num_storages + 1, sizeof(*roles));

	if (!roles)
		return error_no_memory();
	for (size_t i = 0; i < tensors->count; i++) {
		const struct tensor *tensor = &tensors->items[i];

		if (tensor->storage != TENSORS_NONE &&
		    ranks[tensor->role] >= ranks[TENSOR_OPTIMIZER] &&
		    ranks[tensor->role] > ranks[roles[tensor->storage]])
			roles[tensor->storage] = tensor->role;
	}
	for (size_t i = 0; i < tensors->count; i++) {
		struct tensor *tensor = &tensors->items[i];

		if (tensor->held != TENSOR_BY_PYTHON &&
		    tensor->role == TENSOR_OTHER &&
		    tensor->storage != TENSORS_NONE)
			tensor->role = roles[tensor->storage];
	}
	return NULL;
}

static struct error *give_roles(struct tensors *tensors)
{
	struct error *err;

	for (size_t i = 0; i < tensors->count; i++)
		tensors->items[i].role =
			(uint8_t)role_of(tensors, &tensors->items[i]);
	// What a tensor has, in Python or in C++, is for what that one is for.
	for (size_t i = 0; i < tensors->num_objects; i++) {
		struct tensor *tensor = &tensors->items[i];
		uint32_t wrapper = wrapper_of(tensors, tensor);

		if (wrapper != TENSORS_NONE && tensor->role == TENSOR_OTHER)
			tensor->role = tensors->items[wrapper].role;
	}
	err = give_of_storages(tensors);
	for (size_t i = 0; i < tensors->count; i++) {
		struct tensor *tensor = &tensors->items[i];

		if (tensor->held == TENSOR_BY_TENSOR &&
		    tensor->role == TENSOR_OTHER)
			tensor->role = tensors->items[tensor->holder].role;
	}
	return err;
}

/** Should a tensor count for a storage, rather than another one? */
static bool is_rather(const struct tensor *tensor, const struct tensor *other)
{
	if (tensor->whole != other->whole)
		return tensor->whole;
	if (ranks[tensor->role] != ranks[other->role])
		return ranks[tensor->role] > ranks[other->role];
	return tensor->held == TENSOR_BY_PYTHON &&
	       other->held != TENSOR_BY_PYTHON;
}

static struct error *tell_views(struct tensors *tensors)
{
	CLEANUP(free_pointer) uint32_t *first =
		calloc(tensors->num_storages + 1, sizeof(*first));

	if (!first)
		return error_no_memory();
	for (size_t i = 0; i < tensors->count; i++) {
		uint32_t storage = tensors->items[i].storage;

		if (storage != TENSORS_NONE &&
		    (first[storage] == 0 ||
		     is_rather(&tensors->items[i],
			       &tensors->items[first[storage] - 1])))
			first[storage] = (uint32_t)i + 1;
	}
	for (size_t i = 0; i < tensors->count; i++) {
		struct tensor *tensor = &tensors->items[i];

		tensor->view = tensor->storage != TENSORS_NONE &&
			       first[tensor->storage] != i + 1;
	}
	return NULL;
}

struct error *tensors_give_roles(struct tensors *tensors)
{
	struct error *err = give_roles(tensors);

	return err ? err : tell_views(tensors);
}
