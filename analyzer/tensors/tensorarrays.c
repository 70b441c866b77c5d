/*
 * Arrays of NumPy and CuPy among tensors; see tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An array that frees its data has a storage, as a tensor has. A view has that of
 * what it is a view of, an array or a tensor, or that of somebody else of whom no
 * more is known than how much of it the view can reach. One of CuPy's has memory of
 * a device, which its pool gave it, or somebody else.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/mixhash.h"
#include "pyheap/types/pycupy.h"
#include "pyheap/types/pynumpy.h"

enum {
	BASES_MAX = 32,		/* arrays on the way to the one that owns */
	DTYPES = 0x8000,	/* in dtype: kind and item, not a ScalarType */
	ITEM_BITS = 8,
	POOL_ROUND = 512,	/* of CuPy's */
	DEVICE_CUDA = 1,	/* as PyTorch numbers them, and ROCm's as well */
};

static bool is_cupy(const struct tensors *tensors, uint32_t object)
{
	return tensornames_kind(tensors->names, object) & TENSORNAMES_CUPY;
}

static bool read_numpy(struct tensors *tensors, uint64_t object,
		       struct pyh_ndarray *ret)
{
	uint32_t header = tensors->runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t words[PYH_NDARRAY_WORDS];

	return memory_try_read(&tensors->memory, object + header, words,
			       sizeof(words)) &&
	       pyh_ndarray_read(&tensors->memory, words, header, ret) ==
		       PYH_NDARRAY_READ;
}

/** Of either kind. */
static bool read_array(struct tensors *tensors, uint32_t object,
		       struct pyh_ndarray *ret)
{
	uint64_t address = heapgraph_address(tensors->analysis->heap, object);
	struct pyh_cupy_memory memory;

	return is_cupy(tensors, object) ?
		       pyh_cupy_array_read(
			       &tensors->memory, address,
			       tensors->runtime->size_of[PYH_STRUCT_OBJECT],
			       ret, &memory) :
		       read_numpy(tensors, address, ret);
}

static bool read_shape(struct tensors *tensors, const struct pyh_ndarray *array,
		       struct torch_tensor *ret)
{
	size_t size = array->num_dimensions * sizeof(int64_t);

	if (array->num_dimensions > TORCH_DIMENSIONS_MAX ||
	    (size && (!memory_try_read(&tensors->memory, array->dimensions,
				       ret->sizes, size) ||
		      !memory_try_read(&tensors->memory, array->strides,
				       ret->strides, size))))
		return false;
	ret->num_dimensions = array->num_dimensions;
	ret->numel = array->count;
	ret->has_shape = true;
	// In bytes, where tensors have theirs in items.
	for (uint32_t i = 0; array->dtype.item && i < ret->num_dimensions; i++)
		ret->strides[i] /= (int64_t)array->dtype.item;
	return true;
}

bool tensors_read_array(struct tensors *tensors, size_t i,
			struct torch_tensor *ret)
{
	struct pyh_ndarray array;

	memset(ret, 0, sizeof(*ret));
	return read_array(tensors, tensors->items[i].object, &array) &&
	       read_shape(tensors, &array, ret);
}

const char *tensors_array_dtype(struct tensors *tensors, size_t i,
				char text[TORCH_CLASS_MAX])
{
	static const struct {
		char kind;
		bool bits;	/* the name ends with how many an item has */
		const char *name;
	} kinds[] = {
		{ 'b', false, "bool" }, { 'i', true, "int" },
		{ 'u', true, "uint" }, { 'f', true, "float" },
		{ 'c', true, "complex" }, { 'O', false, "object" },
		{ 'S', false, "bytes" }, { 'U', false, "str" },
		{ 'M', false, "datetime64" }, { 'm', false, "timedelta64" },
		{ 'V', false, "void" }, { 'T', false, "StringDType" },
	};
	struct pyh_ndarray array;

	if (!read_array(tensors, tensors->items[i].object, &array))
		return NULL;
	for (size_t j = 0; j < sizeof(kinds) / sizeof(*kinds); j++) {
		if (kinds[j].kind != array.dtype.kind)
			continue;
		if (!kinds[j].bits)
			return kinds[j].name;
		(void)snprintf(text, TORCH_CLASS_MAX, "%s%" PRIu64,
			       kinds[j].name, array.dtype.item * 8);
		return text;
	}
	return NULL;
}

/** The array that owns the data, or the last that leads there. */
static void find_owner(struct tensors *tensors, struct pyh_ndarray *array)
{
	const struct heapgraph *heap = tensors->analysis->heap;

	for (int i = 0; i < BASES_MAX && !array->owns_data && array->base;
	     i++) {
		uint32_t base = heapgraph_find(heap, array->base);
		struct pyh_ndarray next;

		if (base == GRAPH_NONE ||
		    heapgraph_type(heap, base)->kind != PYH_KIND_NDARRAY ||
		    !read_numpy(tensors, array->base, &next))
			return;
		*array = next;
	}
}

/** What an array's base is a tensor of: the storage that has its data. */
static bool tensors_storage(struct tensors *tensors,
			    const struct pyh_ndarray *array, uint32_t *ret)
{
	uint32_t number;

	if (!hashmap_get(&tensors->by_data, array->data, &number) ||
	    tensors->storages[number - 1].read.device != 0)
		return false;
	*ret = number - 1;
	return true;
}

/** The storage of an array of NumPy's. */
static struct error *add_data(struct tensors *tensors,
			      const struct pyh_ndarray *array, uint32_t *ret)
{
	struct pyh_ndarray owner = *array;

	find_owner(tensors, &owner);
	if (owner.data == 0 || tensors_storage(tensors, &owner, ret))
		return NULL;
	return tensors_add_data(tensors, &(struct tensor_storage){
		.read = { .data = owner.data, .bytes = owner.bytes,
			  .index = -1 },
		.memory = owner.owns_data ? TENSOR_PAGEABLE : TENSOR_BORROWED },
		ret);
}

/** Where CuPy has what it got from a device: for a pool, or without one. */
static bool is_allocated(const char *type)
{
	static const char *const types[] = {
		"cupy.cuda.memory.Memory", "cupy.cuda.memory.MemoryAsync",
		"cupy.cuda.memory.ManagedMemory",
		"cupy.cuda.memory.SystemMemory",
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}

static bool is_pooled(const char *type)
{
	return strcmp(type, "cupy.cuda.memory.PooledMemory") == 0;
}

/** The storage of one of CuPy's. */
static struct error *add_memory(struct tensors *tensors,
				const struct pyh_cupy_memory *memory,
				uint64_t bytes, struct tensor *tensor)
{
	const struct heapgraph *heap = tensors->analysis->heap;
	uint32_t object = heapgraph_find(heap, memory->address);
	const char *type = object == GRAPH_NONE ?
				   "" : heapgraph_type(heap, object)->name;

	tensor->device = DEVICE_CUDA;
	tensor->index = (int8_t)memory->device;
	// A pool gives more than was asked for.
	tensor->whole = tensor->data == memory->data &&
			bytes + POOL_ROUND > memory->bytes;
	return memory->data == 0 ? NULL :
		tensors_add_data(tensors, &(struct tensor_storage){
			.read = { .data = memory->data, .bytes = memory->bytes,
				  .device = DEVICE_CUDA,
				  .index = (int8_t)memory->device },
			.memory = is_allocated(type) || is_pooled(type) ?
				TENSOR_PAGEABLE : TENSOR_BORROWED },
			&tensor->storage);
}

static struct error *add_array(struct tensors *tensors, uint32_t object)
{
	uint64_t address = heapgraph_address(tensors->analysis->heap, object);
	uint32_t header = tensors->runtime->size_of[PYH_STRUCT_OBJECT];
	bool of_device = is_cupy(tensors, object);
	struct torch_tensor shape = { 0 };
	struct pyh_cupy_memory memory;
	struct pyh_ndarray array;
	struct tensor *tensor;
	struct error *err;

	if (!(of_device ? pyh_cupy_array_read(&tensors->memory, address, header,
					      &array, &memory) :
			  read_numpy(tensors, address, &array)) ||
	    !read_shape(tensors, &array, &shape)) {
		tensors->unread++;
		return NULL;
	}
	err = tensors_append(tensors, &tensor);
	if (err)
		return err;
	tensor->object = object;
	tensor->address = address;
	tensor->array = true;
	tensor->held = TENSOR_BY_PYTHON;
	tensor->numel = array.count;
	tensor->data = array.data;
	tensor->index = -1;
	tensor->dtype = (uint16_t)(DTYPES | (uint8_t)array.dtype.kind);
	tensor->shape_hash =
		mixhash(shape.strides, shape.num_dimensions * sizeof(int64_t),
			mixhash(shape.sizes,
				shape.num_dimensions * sizeof(int64_t),
				(uint64_t)tensor->dtype << ITEM_BITS |
					array.dtype.item));
	if (of_device)
		return add_memory(tensors, &memory, array.bytes, tensor);
	tensor->whole = array.owns_data;
	return add_data(tensors, &array, &tensor->storage);
}

/** What a memory of CuPy's adds to what there is of them. */
static void count_memory(struct tensors *tensors, uint32_t object)
{
	const struct heapgraph *heap = tensors->analysis->heap;
	const char *type = heapgraph_type(heap, object)->name;
	struct pyh_cupy_memory memory;

	if (strncmp(type, "cupy.", 5) != 0 ||
	    !(is_allocated(type) || is_pooled(type)) ||
	    !pyh_cupy_memory_read(&tensors->memory,
				  heapgraph_address(heap, object),
				  tensors->runtime->size_of[PYH_STRUCT_OBJECT],
				  &memory) || memory.data == 0)
		return;
	if (is_pooled(type))
		tensors->cupy_pooled += memory.bytes;
	else
		tensors->cupy_allocated += memory.bytes;
}

struct error *tensors_add_arrays(struct tensors *tensors)
{
	const struct heapgraph *heap = tensors->analysis->heap;
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < heap->count; i++) {
		if (heap->flags[i] & HEAP_GUESSED)
			continue;
		if (heapgraph_type(heap, i)->kind == PYH_KIND_NDARRAY ||
		    is_cupy(tensors, i))
			err = add_array(tensors, i);
		else
			count_memory(tensors, i);
	}
	return err;
}
