/*
 * Tensors of PyTorch; see torchtensor.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchtensor.h"

#include <string.h>

#include "image/modules.h"

enum {
	IMPL_MAX = 192,		/* bytes of a TensorImpl, at most */
	INLINE_DIMENSIONS = 5,	/* more lie in an array of their own */
	/* of a StorageImpl, behind its counts: {data, deleter, what the deleter
	   gets}, device, index; bytes, whether these are an object of their own,
	   resizable, received */
	STORAGE_DELETER = 8, STORAGE_CONTEXT = 16, STORAGE_DEVICE = 24,
	STORAGE_BYTES = 32, STORAGE_SYMBOLIC = 40, STORAGE_RECEIVED = 42,
	STORAGE_SIZE = 48,
	DEVICES_MAX = 32,
	/* of an ExtraMeta of 1.13 and 2.0: sizes that are symbols, a vector of as
	   many as there is room for in it, of one that is 0 where there are none */
	EXTRA_COUNT = 8, EXTRA_SIZES = 16,
};

/* In the word that counts owners: the Python object is one, as long as there are
   others. Since 2.10. */
#define HAS_OBJECT (UINT64_C(1) << 63)

/* No storage is larger than half the address space. */
#define BYTES_MAX (INT64_C(1) << 47)

/* By c10::ScalarType. Source: c10/core/ScalarType.h, of 2.15; earlier releases
   have the first of them. */
static const struct {
	const char *name;
	uint8_t size;
} dtypes[] = {
	{ "uint8", 1 }, { "int8", 1 }, { "int16", 2 }, { "int32", 4 },
	{ "int64", 8 }, { "float16", 2 }, { "float32", 4 }, { "float64", 8 },
	{ "complex32", 4 }, { "complex64", 8 }, { "complex128", 16 },
	{ "bool", 1 }, { "qint8", 1 }, { "quint8", 1 }, { "qint32", 4 },
	{ "bfloat16", 2 }, { "quint4x2", 1 }, { "quint2x4", 1 },
	{ "bits1x8", 1 }, { "bits2x4", 1 }, { "bits4x2", 1 }, { "bits8", 1 },
	{ "bits16", 2 }, { "float8_e5m2", 1 }, { "float8_e4m3fn", 1 },
	{ "float8_e5m2fnuz", 1 }, { "float8_e4m3fnuz", 1 }, { "uint16", 2 },
	{ "uint32", 4 }, { "uint64", 8 }, { "uint1", 1 }, { "uint2", 1 },
	{ "uint3", 1 }, { "uint4", 1 }, { "uint5", 1 }, { "uint6", 1 },
	{ "uint7", 1 }, { "int1", 1 }, { "int2", 1 }, { "int3", 1 },
	{ "int4", 1 }, { "int5", 1 }, { "int6", 1 }, { "int7", 1 },
	{ "float8_e8m0fnu", 1 }, { "float4_e2m1fn_x2", 1 },
};

/* By c10::DeviceType. Source: c10/core/DeviceType.h (torch/headeronly since). */
static const char *const devices[] = {
	"cpu", "cuda", "mkldnn", "opengl", "opencl", "ideep", "hip", "fpga",
	"maia", "xla", "vulkan", "metal", "xpu", "mps", "meta", "hpu", "ve",
	"lazy", "ipu", "mtia", "privateuseone",
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

const char *torch_dtype_name(uint16_t dtype)
{
	return dtype < COUNT(dtypes) ? dtypes[dtype].name : NULL;
}

unsigned int torch_dtype_size(uint16_t dtype)
{
	return dtype < COUNT(dtypes) ? dtypes[dtype].size : 0;
}

const char *torch_device_name(uint8_t device)
{
	return device < COUNT(devices) ? devices[device] : NULL;
}

static uint64_t word_of(const uint8_t *bytes, uint32_t offset)
{
	uint64_t word;

	memcpy(&word, bytes + offset, sizeof(word));
	return word;
}

/** Somebody owns it, and those who do are few enough to be counted. */
static bool is_counted(const struct torch_layout *layout, const uint8_t *bytes)
{
	uint64_t strong = word_of(bytes, 8);
	uint64_t weak = layout->counts == 24 ? word_of(bytes, 16) : strong >> 32;

	return (uint32_t)strong != 0 && weak != 0 &&
	       (layout->counts != 24 || strong >> 32 == 0);
}

/** A table of functions, in a module. */
static bool has_table(const struct image *image, uint64_t table)
{
	return table % 8 == 0 && modules_find(image->modules, table);
}

/* --- shapes --------------------------------------------------------------------- */

static enum torch_read read_dimensions(const struct torch_layout *layout,
				       struct memory_reader *memory,
				       const uint8_t *bytes,
				       struct torch_tensor *ret)
{
	const uint8_t *at = bytes + layout->dimensions + 8;
	uint64_t count = word_of(bytes, layout->dimensions), array;
	size_t size = (size_t)count * 8;

	if (count > TORCH_DIMENSIONS_MAX)
		return TORCH_BAD;
	ret->num_dimensions = (uint32_t)count;
	if (count <= INLINE_DIMENSIONS) {
		memcpy(ret->sizes, at, size);
		memcpy(ret->strides, at + INLINE_DIMENSIONS * 8, size);
		return TORCH_READ;
	}
	array = word_of(at, 0);
	if (array % 8)
		return TORCH_BAD;
	return memory_try_read(memory, array, ret->sizes, size) &&
	       memory_try_read(memory, array + size, ret->strides, size) ?
		       TORCH_READ : TORCH_MISSING;
}

/** As many items as the sizes say? Tensors of other kinds may have none. */
static bool has_items(const struct torch_tensor *tensor)
{
	uint64_t count = 1;

	for (uint32_t i = 0; i < tensor->num_dimensions; i++)
		if (tensor->sizes[i] < 0 ||
		    __builtin_mul_overflow(count, (uint64_t)tensor->sizes[i],
					   &count))
			return false;
	return count == tensor->numel;
}

/**
 * Has it symbols for sizes? What it has itself says nothing then. Since 2.1 the
 * first word of what few tensors have leads to them.
 */
static bool has_symbols(struct memory_reader *memory, uint64_t extra)
{
	uint64_t first, size;
	uint32_t count;

	if (extra == 0)
		return false;
	if (extra % 8 || !memory_try_u64(memory, extra, &first))
		return true;
	if (first != extra + EXTRA_SIZES)
		return first != 0;
	return !memory_try_u32(memory, extra + EXTRA_COUNT, &count) ||
	       !memory_try_u64(memory, first, &size) || count != 1 || size != 0;
}

/**
 * The lowest bit of what knows the object says that the tensor owns it (2.0 to
 * 2.9), or else a bit of the counts, if there are other owners.
 */
static bool owns_object(const struct torch_layout *layout, const uint8_t *bytes)
{
	uint64_t object = word_of(bytes, layout->python);
	uint64_t counts = word_of(bytes, 8);

	return object & 1 ||
	       (layout->counts != 24 && object && counts & HAS_OBJECT &&
		(uint32_t)counts > 1);
}

/**
 * How many own it in C++. Its Python object is an owner, too, unless it is the
 * other way round.
 */
static uint32_t owners_of(const struct torch_layout *layout,
			  const uint8_t *bytes)
{
	uint32_t strong = (uint32_t)word_of(bytes, 8);
	uint64_t object = word_of(bytes, layout->python);

	return object == 0 || object & 1 ? strong : strong - 1;
}

uint64_t torch_tensor_extent(const struct torch_tensor *tensor)
{
	unsigned int item = torch_dtype_size(tensor->dtype);
	int64_t last = tensor->offset, bytes;

	if (!tensor->has_shape || item == 0 || tensor->numel == 0 ||
	    tensor->offset < 0)
		return 0;
	for (uint32_t i = 0; i < tensor->num_dimensions; i++) {
		int64_t step;

		if (__builtin_mul_overflow(tensor->sizes[i] - 1,
					   tensor->strides[i], &step) ||
		    __builtin_add_overflow(last, step, &last))
			return 0;
	}
	return last < 0 || last >= BYTES_MAX ||
			       __builtin_mul_overflow(last + 1, (int64_t)item,
						      &bytes) ?
		       0 : (uint64_t)bytes;
}

/* --- autograd -------------------------------------------------------------------- */

/** A tensor that is none is a variable of libc10's. */
static uint64_t defined(const struct image *image, uint64_t tensor)
{
	return tensor % 8 || modules_find(image->modules, tensor) ? 0 : tensor;
}

static void read_meta(const struct torch_layout *layout,
		      const struct image *image, struct memory_reader *memory,
		      struct torch_tensor *tensor)
{
	uint64_t grad, grad_fn;
	uint8_t requires_grad = 0;

	// One without has never been asked for a gradient.
	tensor->knows_requires_grad = tensor->meta == 0;
	if (tensor->meta == 0 || tensor->meta % 8 ||
	    !memory_try_u64(memory, tensor->meta + layout->grad, &grad) ||
	    !memory_try_u64(memory, tensor->meta + layout->grad_fn, &grad_fn))
		return;
	tensor->grad = defined(image, grad);
	tensor->grad_fn = grad_fn % 8 ? 0 : grad_fn;
	if (layout->requires_grad &&
	    !memory_try_read(memory, tensor->meta + layout->requires_grad,
			     &requires_grad, sizeof(requires_grad)))
		return;
	tensor->knows_requires_grad = requires_grad <= 1;
	tensor->requires_grad = requires_grad == 1 || tensor->grad_fn != 0;
}

/* --- tensors --------------------------------------------------------------------- */

enum torch_read torch_tensor_read(const struct torch_layout *layout,
				  const struct image *image,
				  struct memory_reader *memory,
				  uint64_t address, struct torch_tensor *ret)
{
	struct torch_tensor tensor = { .address = address };
	enum torch_read read;
	uint8_t bytes[IMPL_MAX];

	if (address == 0 || address % 8)
		return TORCH_BAD;
	if (!memory_try_read(memory, address, bytes, layout->size))
		return TORCH_MISSING;
	memcpy(&tensor.dtype, bytes + layout->dtype, sizeof(tensor.dtype));
	tensor.device = bytes[layout->device];
	tensor.index = (int8_t)bytes[layout->device + 1];
	tensor.storage = word_of(bytes, layout->storage);
	tensor.meta = word_of(bytes, layout->autograd);
	tensor.offset = (int64_t)word_of(bytes, layout->offset);
	tensor.numel = word_of(bytes, layout->numel);
	if (!is_counted(layout, bytes) ||
	    !has_table(image, word_of(bytes, 0)) || tensor.storage % 8 ||
	    tensor.device >= DEVICES_MAX || bytes[layout->has_device] > 1)
		return TORCH_BAD;
	read = read_dimensions(layout, memory, bytes, &tensor);
	if (read != TORCH_READ)
		return read;
	tensor.has_shape = has_items(&tensor) &&
			   !has_symbols(memory, word_of(bytes, layout->extra));
	tensor.owns_object = owns_object(layout, bytes);
	tensor.owners = owners_of(layout, bytes);
	read_meta(layout, image, memory, &tensor);
	*ret = tensor;
	return TORCH_READ;
}

enum torch_read torch_tensor_of(const struct torch_layout *layout,
				const struct image *image,
				struct memory_reader *memory, uint64_t object,
				struct torch_tensor *ret)
{
	uint64_t address;

	if (!memory_try_u64(memory, object + layout->wrapper, &address))
		return TORCH_MISSING;
	return modules_find(image->modules, address) ? TORCH_NONE :
		torch_tensor_read(layout, image, memory, address, ret);
}

enum torch_read torch_storage_read(const struct torch_layout *layout,
				   const struct image *image,
				   struct memory_reader *memory,
				   uint64_t address, struct torch_storage *ret)
{
	uint8_t bytes[24 + STORAGE_SIZE];
	const uint8_t *fields = bytes + layout->counts;
	int64_t size;

	if (address == 0 || address % 8)
		return TORCH_BAD;
	if (!memory_try_read(memory, address, bytes,
			     layout->counts + STORAGE_SIZE))
		return TORCH_MISSING;
	size = (int64_t)word_of(fields, STORAGE_BYTES);
	if (!is_counted(layout, bytes) ||
	    !has_table(image, word_of(bytes, 0)) || size < 0 || size >= BYTES_MAX ||
	    fields[STORAGE_DEVICE] >= DEVICES_MAX ||
	    fields[STORAGE_SYMBOLIC] > 1 || fields[STORAGE_RECEIVED] > 1)
		return TORCH_BAD;
	*ret = (struct torch_storage){
		.address = address,
		.data = word_of(fields, 0),
		.bytes = word_of(fields, 0) ? (uint64_t)size : 0,
		.device = fields[STORAGE_DEVICE],
		.index = (int8_t)fields[STORAGE_DEVICE + 1],
		.received = fields[STORAGE_RECEIVED],
		.deleter = word_of(fields, STORAGE_DELETER),
		.context = word_of(fields, STORAGE_CONTEXT),
	};
	return TORCH_READ;
}
