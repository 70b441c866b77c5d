/*
 * PyTorch's caching allocator: where it is; see cachingallocator.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Its library exports a pointer to the allocator in use. In 1.13 that is no
 * pointer but an object which nothing exports, and in stripped builds neither
 * is: then what the library has for variables is searched for the list of its
 * devices' allocators, which nothing else looks like.
 */
#include "cudaheap/cachingallocator.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cudaheap/cachingdevice.h"
#include "cudaheap/cachingscan.h"
#include "cudaheap/cachingsettings.h"
#include "cudaheap/torchtensor.h"
#include "image/symbols.h"

enum { DEVICES_MAX = 128 };

static const struct {
	const char *library, *symbol;
	bool is_hip;
} libraries[] = {
	{ "libc10_cuda", "_ZN3c104cuda20CUDACachingAllocator9allocatorE",
	  false },
	{ "libc10_hip", "_ZN3c103hip19HIPCachingAllocator9allocatorE", true },
	// Its names stay CUDA's where nothing was renamed.
	{ "libc10_hip", "_ZN3c104cuda20CUDACachingAllocator9allocatorE", true },
};

static const struct {
	const char *name;
	enum caching_kind kind;
} classes[] = {
	{ "NativeCachingAllocator", CACHING_NATIVE },
	{ "CudaMallocAsyncAllocator", CACHING_ASYNC },
	{ "HipMallocAsyncAllocator", CACHING_ASYNC },
	{ "CUDAPluggableAllocator", CACHING_PLUGGABLE },
	{ "HIPPluggableAllocator", CACHING_PLUGGABLE },
};

#define ADDRESS_MIN (UINT64_C(1) << 16)	/* what is less is a number */
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

const char *caching_state_name(enum caching_state state)
{
	static const char *const names[] = {
		[CACHING_ACTIVE] = "active_allocated",
		[CACHING_PENDING] = "active_pending_free",
		[CACHING_FREE] = "inactive",
		[CACHING_UNMAPPED] = "unmapped",
	};

	return names[state];
}

const struct torch_block *caching_block_at(const struct torch_device *device,
					   uint64_t data)
{
	size_t low = 0, high = device->num_blocks;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (device->blocks[middle].data <= data)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && data - device->blocks[low - 1].data <
				  device->blocks[low - 1].size ?
		       &device->blocks[low - 1] : NULL;
}

/* --- the list of devices ------------------------------------------------------ */

/* What is looked for. */
struct list {
	struct memory_reader *memory;
	uint64_t address;	/* of the first pointer; 0: not found */
	uint64_t vector;	/* of the std::vector, which is in the allocator */
	size_t count;
	bool missing;		/* what may be one, or a device, was not captured */
};

/** Is this a list of devices' allocators? */
static bool is_list(void *context, const struct caching_vector *vector)
{
	struct list *list = context;
	uint64_t items[DEVICES_MAX], count = (vector->last - vector->first) / 8;
	bool any = false;

	if (count > DEVICES_MAX)
		return false;
	if (!memory_try_read(list->memory, vector->first, items, count * 8)) {
		list->missing = true;
		return false;
	}
	for (size_t i = 0; i < count; i++)
		if (items[i] == 0 || items[i] % 8)
			return false;
	for (size_t i = 0; i < count; i++)
		list->missing |= items[i] >= ADDRESS_MIN &&
				 !memory_try_u64(list->memory, items[i],
						 &(uint64_t){ 0 });
	// One of them may be damaged.
	for (size_t i = 0; !any && i < count; i++)
		any = caching_device_is(list->memory, items[i]);
	if (!any)
		return false;
	list->address = vector->first;
	list->vector = vector->address;
	list->count = (size_t)count;
	return true;
}

static struct error *read_devices(struct image *image, const struct list *list,
				  struct caching_allocator *allocator)
{
	struct error *err = NULL;
	size_t count = list->count;

	allocator->devices = calloc(count, sizeof(*allocator->devices));
	if (!allocator->devices)
		return error_no_memory();
	allocator->num_devices = count;
	for (size_t i = 0; i < count; i++) {
		allocator->devices[i].index = (int)i;
		(void)memory_try_u64(list->memory, list->address + i * 8,
				     &allocator->devices[i].address);
	}
	for (size_t i = 0; !err && i < count; i++) {
		struct torch_device *device = &allocator->devices[i];

		device->size = CACHING_DEVICE_MAX;
		// What lies behind it may be another one.
		for (size_t j = 0; j < count; j++) {
			uint64_t away = allocator->devices[j].address -
					device->address;

			if (away != 0 && away < device->size)
				device->size = (uint32_t)away;
		}
		err = caching_device_read(image, list->memory, device);
	}
	return err;
}

/* --- the allocator ------------------------------------------------------------ */

static void tell_class(struct memory_reader *memory,
		       struct caching_allocator *allocator)
{
	char text[TORCH_CLASS_MAX];

	_Static_assert((int)CACHING_CLASS_MAX == (int)TORCH_CLASS_MAX,
		       "one buffer for both");
	if (!torch_class(memory, allocator->address, text))
		return;
	memcpy(allocator->class_name, text, sizeof(text));
	allocator->kind = CACHING_OTHER;
	for (size_t i = 0; i < COUNT(classes); i++)
		if (strcmp(text, classes[i].name) == 0)
			allocator->kind = classes[i].kind;
}

/** By what its library exports. */
static void find_by_symbol(const struct image *image,
			   struct memory_reader *memory, struct module *module,
			   const char *name, struct caching_allocator *allocator)
{
	struct symbol symbol;
	uint64_t object;

	if (!symbols_lookup(module, image->memory, name, &symbol))
		return;
	if (!memory_try_u64(memory, symbol.address, &object)) {
		findings_add(image->findings, "allocator", symbol.address,
			     "the pointer to PyTorch's allocator of GPU memory, "
			     "a variable of %s, was not captured", module->path);
		return;
	}
	if (object == 0 || object % 8)
		return;
	allocator->address = object;
	allocator->found_by = "symbol";
	tell_class(memory, allocator);
}

/** By its table of functions in front of its list; not in 1.13, which has none. */
static void find_by_class(const struct module *module, const struct list *list,
			  struct caching_allocator *allocator)
{
	uint64_t first = list->vector - module->start < CACHING_OBJECT_MAX ?
				 module->start :
				 list->vector - CACHING_OBJECT_MAX;
	char text[TORCH_CLASS_MAX];

	for (uint64_t at = list->vector - 8; at >= first && at < list->vector;
	     at -= 8) {
		const char *name = torch_class(list->memory, at, text);

		if (!name || strcmp(name, "NativeCachingAllocator") != 0)
			continue;
		allocator->address = at;
		memcpy(allocator->class_name, text, sizeof(text));
		return;
	}
}

/** Whether it is in this library; false: go on with others. */
static bool look_in(const struct image *image, struct module *module,
		    size_t which, struct caching_allocator *allocator,
		    struct list *list)
{
	uint64_t start = module->start, end = module->end;

	if (which < COUNT(libraries)) {
		find_by_symbol(image, list->memory, module,
			       libraries[which].symbol, allocator);
		allocator->is_hip = libraries[which].is_hip;
		if (allocator->address &&
		    modules_find(image->modules, allocator->address) == module)
			start = allocator->address;
	}
	allocator->module = module->path;
	// One that is not PyTorch's own has no such list, and PyTorch's is
	// there and unused.
	if (allocator->kind != CACHING_UNKNOWN &&
	    allocator->kind != CACHING_NATIVE)
		return true;
	if (start != module->start && end - start > CACHING_OBJECT_MAX)
		end = start + CACHING_OBJECT_MAX;
	if (!caching_scan(image, list->memory, start, end, is_list, list)) {
		allocator->unread = allocator->kind == CACHING_NATIVE &&
				    list->missing;
		return allocator->kind == CACHING_NATIVE;
	}
	allocator->kind = CACHING_NATIVE;
	if (!allocator->found_by) {
		allocator->found_by = "structure";
		find_by_class(module, list, allocator);
	}
	return true;
}

static bool is_library(const struct module *module, size_t which)
{
	return strncmp(caching_base_name(module), libraries[which].library,
		       strlen(libraries[which].library)) == 0;
}

/** Two copies of PyTorch in one process have an allocator each. */
static void look_for_another(const struct image *image,
			     const struct module *first,
			     struct memory_reader *memory)
{
	for (size_t i = 0; i < modules_count(image->modules); i++) {
		struct module *module = modules_get(image->modules, i);
		struct list list = { .memory = memory };

		if (module == first ||
		    (!is_library(module, 0) && !is_library(module, 1)) ||
		    !caching_scan(image, memory, module->start, module->end,
				  is_list, &list))
			continue;
		findings_add(image->findings, "allocator", list.address,
			     "%s has a caching allocator too, with its devices "
			     "at 0x%" PRIx64 ": that one is not told of",
			     module->path, list.address);
	}
}

/** PyTorch may be a part of another library, or of the program. */
static void find_in_all(const struct image *image,
			struct caching_allocator *allocator, struct list *list)
{
	const struct caching_allocator before = *allocator;

	for (size_t i = 0; i < modules_count(image->modules); i++) {
		allocator->kind = CACHING_UNKNOWN;
		if (look_in(image, modules_get(image->modules, i),
			    COUNT(libraries), allocator, list))
			return;
	}
	*allocator = before;
}

/** In the libraries that have it, by name; then in all, if CUDA is there. */
static void find(const struct image *image, struct caching_allocator *allocator,
		 struct list *list)
{
	size_t count = modules_count(image->modules);
	bool cuda = false;

	for (size_t i = 0; i < COUNT(libraries) * count; i++) {
		struct module *module = modules_get(image->modules, i % count);
		size_t which = i / count;

		cuda |= strncmp(caching_base_name(module), "libcuda.so", 10) ==
			0;
		if (!is_library(module, which))
			continue;
		allocator->kind = CACHING_UNKNOWN;
		if (!look_in(image, module, which, allocator, list))
			continue;
		look_for_another(image, module, list->memory);
		return;
	}
	if (cuda)
		find_in_all(image, allocator, list);
}

struct error *caching_allocator_open(struct image *image,
				     struct caching_allocator **ret)
{
	struct caching_allocator *allocator = calloc(1, sizeof(*allocator));
	struct memory_reader memory;
	struct list list = { .memory = &memory };
	struct error *err;

	if (!allocator)
		return error_no_memory();
	err = memory_reader_init(&memory, image->memory);
	if (err) {
		free(allocator);
		return err;
	}
	find(image, allocator, &list);
	if (list.address)
		err = read_devices(image, &list, allocator);
	if (!err && allocator->kind != CACHING_ABSENT)
		caching_settings_read(image, &memory, allocator);
	memory_reader_deinit(&memory);
	if (err)
		caching_allocator_close(allocator);
	else
		*ret = allocator;
	return err;
}

void caching_allocator_close(struct caching_allocator *allocator)
{
	if (!allocator)
		return;
	for (size_t i = 0; i < allocator->num_devices; i++)
		caching_device_deinit(&allocator->devices[i]);
	free(allocator->devices);
	free(allocator);
}
