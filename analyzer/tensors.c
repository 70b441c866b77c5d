/*
 * Tensors of PyTorch that Python objects stand for; see tensors.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/opened.h"
#include "analyzer/paths.h"
#include "analyzer/tensornames.h"
#include "image/base/findings.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "image/base/mixhash.h"

struct tensors {
	struct opened *opened;
	struct image *image;
	const struct analysis *analysis;
	struct tensornames *names;
	struct torch_layout layout;
	struct memory_reader memory;
	struct paths *paths;
	bool values, prepared;
	struct tensor *items;
	size_t count;
	struct torch_storage *storages;
	size_t num_storages;
	uint64_t unread;
	struct hashmap by_impl;		/* address of a StorageImpl: number + 1 */
	struct hashmap by_data;		/* address of data, the same */
	struct hashmap by_address;	/* TensorImpl: number of the tensor + 1 */
};

const char *tensor_role_name(enum tensor_role role)
{
	static const char *const names[] = {
		[TENSOR_OTHER] = "other",
		[TENSOR_PARAMETER] = "parameter",
		[TENSOR_GRADIENT] = "gradient",
		[TENSOR_OPTIMIZER] = "optimizer",
		[TENSOR_BUFFER] = "buffer",
		[TENSOR_ACTIVATION] = "activation",
	};

	return names[role];
}

struct tensors_found tensors_found(const struct tensors *tensors)
{
	return (struct tensors_found){
		.items = tensors->items, .count = tensors->count,
		.storages = tensors->storages,
		.num_storages = tensors->num_storages,
		.unread = tensors->unread,
	};
}

uint64_t tensors_object(const struct tensors *tensors, size_t i,
			const struct pyh_type **ret_type)
{
	uint32_t object = tensors->items[i].object;

	*ret_type = heapgraph_type(tensors->analysis->heap, object);
	return heapgraph_address(tensors->analysis->heap, object);
}

bool tensors_read(struct tensors *tensors, size_t i, struct torch_tensor *ret)
{
	return torch_tensor_read(&tensors->layout, tensors->image,
				 &tensors->memory, tensors->items[i].address,
				 ret) == TORCH_READ;
}

bool tensors_data_of(struct tensors *tensors, uint64_t address, uint64_t *ret)
{
	struct torch_storage storage;
	struct torch_tensor tensor;

	if (address == 0 ||
	    torch_tensor_read(&tensors->layout, tensors->image,
			      &tensors->memory, address, &tensor) != TORCH_READ ||
	    torch_storage_read(&tensors->layout, &tensors->memory,
			       tensor.storage, &storage) != TORCH_READ)
		return false;
	*ret = storage.data ? storage.data + (uint64_t)tensor.offset *
					torch_dtype_size(tensor.dtype) : 0;
	return true;
}

const char *tensors_grad_fn(struct tensors *tensors, size_t i,
			    char text[TORCH_CLASS_MAX])
{
	uint64_t node = tensors->items[i].grad_fn;

	return node ? torch_class(&tensors->memory, node, text) : NULL;
}

/* --- layout ------------------------------------------------------------------------ */

/** From all over the heap. */
static struct error *find_layout(struct tensors *tensors,
				 const struct pyh_runtime *runtime,
				 const uint32_t *objects, size_t count)
{
	uint64_t samples[TORCH_LAYOUT_SAMPLES];
	size_t num = count < TORCH_LAYOUT_SAMPLES ? count :
						    TORCH_LAYOUT_SAMPLES;

	for (size_t i = 0; i < num; i++)
		samples[i] = heapgraph_address(tensors->analysis->heap,
					       objects[i * count / num]);
	return torch_layout_find(&tensors->memory, samples, num,
				 runtime->size_of[PYH_STRUCT_OBJECT],
				 &tensors->layout);
}

/* --- storages ------------------------------------------------------------------------ */

static struct error *add_storage(struct tensors *tensors, uint64_t address,
				 uint32_t *ret)
{
	struct torch_storage storage, *known;
	struct error *err;
	uint32_t number;

	*ret = TENSORS_NONE;
	if (address == 0)
		return NULL;
	if (hashmap_get(&tensors->by_impl, address, &number)) {
		*ret = number - 1;
		return NULL;
	}
	if (torch_storage_read(&tensors->layout, &tensors->memory, address,
			       &storage) != TORCH_READ) {
		findings_add(tensors->image->findings, "tensor", address,
			     "the storage of a tensor at 0x%" PRIx64 " cannot "
			     "be one, or was not captured: what it holds is "
			     "not known", address);
		return NULL;
	}
	// Of what was made of the same memory twice, the larger.
	if (storage.data && hashmap_get(&tensors->by_data, storage.data,
					&number) &&
	    tensors->storages[number - 1].device == storage.device &&
	    tensors->storages[number - 1].index == storage.index) {
		known = &tensors->storages[number - 1];
		if (storage.bytes > known->bytes)
			known->bytes = storage.bytes;
		*ret = number - 1;
		return hashmap_put(&tensors->by_impl, address, number);
	}
	number = (uint32_t)tensors->num_storages;
	tensors->storages[tensors->num_storages++] = storage;
	*ret = number;
	err = hashmap_put(&tensors->by_impl, address, number + 1);
	return err || !storage.data ? err :
		hashmap_put(&tensors->by_data, storage.data, number + 1);
}

/* --- tensors --------------------------------------------------------------------------- */

static uint64_t hash_shape(const struct torch_tensor *tensor)
{
	uint64_t about = (uint64_t)tensor->dtype << 16 |
			 (uint64_t)tensor->device << 8 | (uint8_t)tensor->index;
	size_t size = tensor->num_dimensions * sizeof(int64_t);

	return mixhash(tensor->strides, size,
		       mixhash(tensor->sizes, size, about));
}

/** What a tensor reaches must be in its storage. */
static void check_extent(struct tensors *tensors, uint64_t object,
			 const struct torch_tensor *tensor, uint32_t number)
{
	const struct torch_storage *storage = &tensors->storages[number];
	uint64_t extent = torch_tensor_extent(tensor);

	if (storage->data && extent > storage->bytes)
		findings_add(tensors->image->findings, "tensor", object,
			     "the tensor at 0x%" PRIx64 " reaches to byte "
			     "%" PRIu64 " of a storage of %" PRIu64, object,
			     extent, storage->bytes);
}

static struct error *add_tensor(struct tensors *tensors, uint32_t object,
				const struct torch_tensor *read)
{
	struct tensor *tensor = &tensors->items[tensors->count++];
	struct error *err;

	*tensor = (struct tensor){
		.object = object, .address = read->address,
		.grad = read->grad, .grad_fn = read->grad_fn,
		.numel = read->numel, .shape_hash = hash_shape(read),
		.parent = TENSORS_NONE, .dtype = read->dtype,
		.device = read->device, .index = read->index,
		.requires_grad = read->requires_grad,
		.knows_requires_grad = read->knows_requires_grad,
	};
	err = add_storage(tensors, read->storage, &tensor->storage);
	if (!err)
		err = hashmap_put(&tensors->by_address, read->address,
				  (uint32_t)tensors->count);
	if (!err && tensor->storage != TENSORS_NONE) {
		const struct torch_storage *storage =
			&tensors->storages[tensor->storage];

		check_extent(tensors, heapgraph_address(tensors->analysis->heap,
							object),
			     read, tensor->storage);
		if (storage->data)
			tensor->data = storage->data + (uint64_t)read->offset *
					torch_dtype_size(read->dtype);
		tensor->whole = storage->data && read->offset == 0 &&
				torch_tensor_extent(read) == storage->bytes;
	}
	return err;
}

static struct error *read_all(struct tensors *tensors, const uint32_t *objects,
			      size_t count)
{
	struct error *err = NULL;

	tensors->items = calloc(count + 1, sizeof(*tensors->items));
	tensors->storages = calloc(count + 1, sizeof(*tensors->storages));
	if (!tensors->items || !tensors->storages)
		return error_no_memory();
	for (size_t i = 0; !err && i < count; i++) {
		uint64_t object = heapgraph_address(tensors->analysis->heap,
						    objects[i]);
		struct torch_tensor read;

		switch (torch_tensor_of(&tensors->layout, tensors->image,
					&tensors->memory, object, &read)) {
		case TORCH_READ:
			err = add_tensor(tensors, objects[i], &read);
			break;
		case TORCH_BAD:
			findings_add(tensors->image->findings, "tensor", object,
				     "what the object at 0x%" PRIx64 " has for a "
				     "tensor cannot be one", object);
			tensors->unread++;
			break;
		case TORCH_MISSING:
			tensors->unread++;
			break;
		}
	}
	return err;
}

/* --- roles ----------------------------------------------------------------------------- */

static enum tensor_role role_of(const struct tensors *tensors,
				const struct tensor *tensor)
{
	uint32_t object = tensor->object;

	if (tensornames_is_parameter(tensors->names, object))
		return TENSOR_PARAMETER;
	if (tensornames_is_buffer(tensors->names, object))
		return TENSOR_BUFFER;
	if (tensor->parent != TENSORS_NONE)
		return TENSOR_GRADIENT;
	// It has lists of those that it works on as well.
	if (tensornames_is_optimizers(tensors->names, object))
		return tensor->requires_grad ? TENSOR_PARAMETER :
					       TENSOR_OPTIMIZER;
	return tensor->grad_fn ? TENSOR_ACTIVATION : TENSOR_OTHER;
}

static void give_roles(struct tensors *tensors)
{
	uint32_t number;

	for (size_t i = 0; i < tensors->count; i++)
		if (tensors->items[i].grad &&
		    hashmap_get(&tensors->by_address, tensors->items[i].grad,
				&number) && number - 1 != i)
			tensors->items[number - 1].parent = (uint32_t)i;
	for (size_t i = 0; i < tensors->count; i++)
		tensors->items[i].role =
			(uint8_t)role_of(tensors, &tensors->items[i]);
}

/** Should a tensor count for a storage, rather than another one? */
static bool is_rather(const struct tensor *tensor, const struct tensor *other)
{
	bool known = tensor->role != TENSOR_OTHER;
	bool other_known = other->role != TENSOR_OTHER;

	if (tensor->whole != other->whole)
		return tensor->whole;
	return known && !other_known;
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

/* --- all of it ------------------------------------------------------------------------- */

static struct error *find(struct tensors *tensors)
{
	struct pyh_runtime *runtime;
	const uint32_t *objects;
	struct error *err;
	size_t count;

	err = opened_runtime(tensors->opened, &runtime);
	if (!err)
		err = analysis_of(tensors->opened, 0, &tensors->analysis);
	if (!err)
		err = memory_reader_init(&tensors->memory,
					 tensors->image->memory);
	if (!err)
		err = tensornames_make(tensors->opened, tensors->analysis,
				       &tensors->names);
	if (err)
		return err;
	objects = tensornames_tensors(tensors->names, &count);
	if (count > 0)
		err = find_layout(tensors, runtime, objects, count);
	if (!err)
		err = read_all(tensors, objects, count);
	if (err)
		return err;
	give_roles(tensors);
	return tell_views(tensors);
}

struct error *tensors_find(struct opened *opened, bool values,
			   struct tensors **ret)
{
	struct tensors *tensors = calloc(1, sizeof(*tensors));
	struct error *err;

	if (!tensors)
		return error_no_memory();
	tensors->opened = opened;
	tensors->image = opened_image(opened);
	tensors->values = values;
	err = find(tensors);
	if (err) {
		tensors_close(tensors);
		return err;
	}
	*ret = tensors;
	return NULL;
}

void tensors_close(struct tensors *tensors)
{
	if (!tensors)
		return;
	paths_close(tensors->paths);
	tensornames_destroy(tensors->names);
	memory_reader_deinit(&tensors->memory);
	hashmap_deinit(&tensors->by_impl);
	hashmap_deinit(&tensors->by_data);
	hashmap_deinit(&tensors->by_address);
	free(tensors->storages);
	free(tensors->items);
	free(tensors);
}

/* --- paths ----------------------------------------------------------------------------- */

static struct error *path_of(struct tensors *tensors, uint32_t object,
			     char text[PATH_TEXT_MAX], enum path_start *ret)
{
	CLEANUP(path_deinit) struct path path = { 0 };
	struct error *err = NULL;

	if (!tensors->paths)
		err = paths_open(tensors->opened, tensors->analysis,
				 tensors->values, &tensors->paths);
	if (!err && !tensors->prepared)
		err = paths_prepare(tensors->paths);
	if (err)
		return err;
	tensors->prepared = true;
	err = paths_find(tensors->paths, object, &path);
	if (err)
		return err;
	*ret = path.start;
	paths_text(tensors->paths, &path, text);
	return NULL;
}

/** "local model in main()", and in it ".weight" behind "model". */
static void insert(char text[TENSOR_PATH_MAX], const char *more)
{
	char rest[TENSOR_PATH_MAX] = "";
	size_t at = strlen(text);
	char *in = strncmp(text, "local ", 6) == 0 ? strstr(text, " in ") : NULL;

	if (in) {
		(void)snprintf(rest, sizeof(rest), "%s", in);
		at = (size_t)(in - text);
	}
	(void)snprintf(text + at, TENSOR_PATH_MAX - at, "%s%s", more, rest);
}

/** By the names of modules, if one has it. */
static struct error *module_path(struct tensors *tensors, uint32_t object,
				 char text[TENSOR_PATH_MAX])
{
	char names[TENSOR_PATH_MAX] = ".";
	enum path_start start;
	struct error *err;
	uint32_t module;

	text[0] = '\0';
	if (!tensornames_text(tensors->names, object, &module, names + 1,
			      sizeof(names) - 1))
		return NULL;
	err = path_of(tensors, module, text, &start);
	if (!err && start == PATH_NOWHERE)
		text[0] = '\0';
	if (!err && *text)
		insert(text, names);
	return err;
}

struct error *tensors_path(struct tensors *tensors, size_t i,
			   char text[TENSOR_PATH_MAX])
{
	const struct tensor *tensor = &tensors->items[i];
	struct error *err = module_path(tensors, tensor->object, text);
	enum path_start start;

	_Static_assert((int)TENSOR_PATH_MAX == (int)PATH_TEXT_MAX,
		       "one buffer for both");
	if (err || *text)
		return err;
	// Its holder is in C++, and not known to be one.
	if (tensor->parent != TENSORS_NONE) {
		uint32_t parent = tensors->items[tensor->parent].object;

		err = module_path(tensors, parent, text);
		if (!err && *text == '\0')
			err = path_of(tensors, parent, text, &start);
		if (!err)
			insert(text, ".grad");
		return err;
	}
	err = path_of(tensors, tensor->object, text, &start);
	if (!err && start == PATH_NOWHERE)
		text[0] = '\0';
	return err;
}
