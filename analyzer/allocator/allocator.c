/*
 * PyTorch's caching allocator beside what Python holds; see allocator.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Blocks are in order of their addresses, so each storage is found by bisection:
 * all of it is a matter of sorting.
 */
#include "analyzer/allocator/allocator.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/opened.h"
#include "cudaheap/cachingfits.h"
#include "image/base/findings.h"
#include "image/base/guard.h"

enum {
	TORCH_CUDA = 1,		/* c10::DeviceType; ROCm's calls itself so too */
	TORCH_HIP = 6,
};

#define MIB (UINT64_C(1) << 20)

/* --- tensors ------------------------------------------------------------------- */

static bool is_on_gpu(const struct torch_storage *storage)
{
	return storage->device == TORCH_CUDA || storage->device == TORCH_HIP;
}

/** The block of a storage; false: none, and ret_device is where it should be. */
static bool block_of(const struct allocator *allocator,
		     const struct torch_storage *storage,
		     struct allocator_device **ret_device, size_t *ret)
{
	size_t index = storage->index < 0 ? 0 : (size_t)storage->index;
	const struct torch_block *block;

	*ret_device = NULL;
	if (!is_on_gpu(storage) || storage->data == 0 ||
	    index >= allocator->num_devices)
		return false;
	*ret_device = &allocator->devices[index];
	block = caching_block_at((*ret_device)->device, storage->data);
	if (!block)
		return false;
	*ret = (size_t)(block - (*ret_device)->device->blocks);
	return true;
}

bool allocator_block(const struct allocator *allocator,
		     const struct torch_storage *storage, uint64_t *ret)
{
	struct allocator_device *device;
	size_t block;

	if (!block_of(allocator, storage, &device, &block))
		return false;
	*ret = device->device->blocks[block].data;
	return true;
}

/** A tensor in a block that is free, or which reaches beyond it, is damage. */
static void check_block(struct image *image, const struct torch_block *block,
			const struct torch_storage *storage)
{
	uint64_t end = storage->data - block->data + storage->bytes;

	if (block->state == CACHING_FREE)
		findings_add(image->findings, "allocator", storage->address,
			     "the storage at 0x%" PRIx64 " is in the block at 0x%"
			     PRIx64 " of the device, which is free",
			     storage->address, block->data);
	else if (end > block->size)
		findings_add(image->findings, "allocator", storage->address,
			     "the storage at 0x%" PRIx64 " has %" PRIu64 " bytes, "
			     "and its block at 0x%" PRIx64 " of the device %"
			     PRIu64, storage->address, storage->bytes,
			     block->data, block->size);
}

static void add_foreign(struct allocator *allocator,
			const struct torch_storage *storage)
{
	allocator->foreign++;
	allocator->foreign_bytes += storage->bytes;
	if (storage->received)
		allocator->received_bytes += storage->bytes;
}

static void join(struct allocator *allocator, struct image *image)
{
	const struct tensors_found *found = &allocator->found;
	struct allocator_device *device;
	size_t block;

	for (size_t i = 0; i < found->num_storages; i++) {
		const struct torch_storage *storage =
			&found->storages[i].read;

		if (block_of(allocator, storage, &device, &block))
			check_block(image, &device->device->blocks[block],
				    storage);
		else if (is_on_gpu(storage) && storage->data)
			add_foreign(allocator, storage);
	}
	for (size_t i = 0; i < found->count; i++) {
		const struct tensor *tensor = &found->items[i];
		struct allocator_owner *owner;

		if (tensor->storage == TENSORS_NONE ||
		    !block_of(allocator, &found->storages[tensor->storage].read,
			      &device, &block))
			continue;
		owner = &device->owners[block];
		owner->count++;
		// What only another C++ object has is nobody's for a person.
		if (tensor->held == TENSOR_BY_CXX &&
		    tensor->native == TENSORS_NONE) {
			owner->cxx = (uint32_t)i;
			continue;
		}
		if (owner->tensor == TENSORS_NONE ||
		    (found->items[owner->tensor].view && !tensor->view))
			owner->tensor = (uint32_t)i;
	}
}

/* --- pools --------------------------------------------------------------------- */

static int by_pool(const void *a, const void *b)
{
	const struct allocator_pool *x = a, *y = b;

	if (x->reserved != y->reserved)
		return x->reserved > y->reserved ? -1 : 1;
	if (x->stream != y->stream)
		return x->stream < y->stream ? -1 : 1;
	return (x->is_small > y->is_small) - (x->is_small < y->is_small);
}

static struct allocator_pool *pool_for(struct allocator_device *device,
				       const struct torch_segment *segment,
				       size_t *room)
{
	const struct torch_pool *pool = &device->device->pools[segment->pool];
	struct allocator_pool *grown;

	// Streams are few: PyTorch has 32 of a priority.
	for (size_t i = device->num_pools; i-- > 0;) {
		struct allocator_pool *known = &device->pools[i];

		if (known->stream == segment->stream &&
		    known->is_small == pool->is_small &&
		    known->is_private == (pool->owner != 0) &&
		    memcmp(known->id, pool->id, sizeof(known->id)) == 0)
			return known;
	}
	if (device->num_pools == *room) {
		*room = *room ? *room * 2 : 16;
		grown = realloc(device->pools, *room * sizeof(*grown));
		if (!grown)
			return NULL;
		device->pools = grown;
	}
	grown = &device->pools[device->num_pools++];
	*grown = (struct allocator_pool){
		.stream = segment->stream, .is_small = pool->is_small,
		.is_private = pool->owner != 0,
		.id = { pool->id[0], pool->id[1] },
	};
	return grown;
}

static void add_segment(struct allocator_device *device,
			struct allocator_pool *pool, uint32_t number)
{
	const struct torch_device *torch = device->device;
	const struct torch_segment *segment = &torch->segments[number];
	struct allocator_stuck stuck = { .segment = number };

	pool->segments++;
	pool->blocks += segment->num_blocks;
	pool->reserved += segment->total;
	pool->allocated += segment->allocated;
	pool->active += segment->active;
	for (uint32_t i = 0; i < segment->num_blocks; i++) {
		uint32_t at = segment->first_block + i;
		const struct torch_block *block = &torch->blocks[at];
		uint64_t back = caching_returnable(torch, block);

		if (block->state != CACHING_FREE) {
			if (stuck.tenants++ == 0 ||
			    block->size > torch->blocks[stuck.tenant].size)
				stuck.tenant = at;
			stuck.held += block->size;
			if (block->state == CACHING_PENDING)
				device->pending += block->size;
			else if (block->requested &&
				 block->requested < block->size)
				device->waste += block->size - block->requested;
			continue;
		}
		pool->free += block->size;
		pool->returnable += back;
		stuck.stuck += block->size - back;
		if (!segment->is_whole)
			device->inactive_split += block->size;
		if (block->size > pool->largest)
			pool->largest = block->size;
	}
	pool->stuck += stuck.stuck;
	if (stuck.stuck && stuck.tenants)
		device->stuck[device->num_stuck++] = stuck;
}

static int by_stuck(const void *a, const void *b)
{
	const struct allocator_stuck *x = a, *y = b;

	if (x->stuck != y->stuck)
		return x->stuck > y->stuck ? -1 : 1;
	return x->segment < y->segment ? -1 : x->segment > y->segment;
}

static struct error *add_up(struct allocator_device *device)
{
	const struct torch_device *torch = device->device;
	size_t room = 0;

	device->stuck = calloc(torch->num_segments + 1, sizeof(*device->stuck));
	if (!device->stuck)
		return error_no_memory();
	for (size_t i = 0; i < torch->num_segments; i++) {
		struct allocator_pool *pool =
			pool_for(device, &torch->segments[i], &room);

		if (!pool)
			return error_no_memory();
		add_segment(device, pool, (uint32_t)i);
	}
	for (size_t i = 0; i < device->num_pools; i++) {
		device->free += device->pools[i].free;
		device->returnable += device->pools[i].returnable;
		device->stuck_bytes += device->pools[i].stuck;
		if (device->pools[i].largest > device->largest_free)
			device->largest_free = device->pools[i].largest;
	}
	if (device->num_pools)
		qsort(device->pools, device->num_pools, sizeof(*device->pools),
		      by_pool);
	if (device->num_stuck)
		qsort(device->stuck, device->num_stuck, sizeof(*device->stuck),
		      by_stuck);
	return NULL;
}

static void count_orphans(struct allocator_device *device)
{
	for (size_t i = 0; i < device->device->num_blocks; i++) {
		const struct torch_block *block = &device->device->blocks[i];

		if (block->state != CACHING_ACTIVE ||
		    device->owners[i].tensor != TENSORS_NONE)
			continue;
		device->orphans++;
		device->orphan_bytes += block->size;
	}
}

/* --- all of it ------------------------------------------------------------------ */

static struct error *make_devices(struct allocator *allocator)
{
	size_t count = allocator->caching->num_devices;

	allocator->devices = calloc(count + 1, sizeof(*allocator->devices));
	if (!allocator->devices)
		return error_no_memory();
	allocator->num_devices = count;
	for (size_t i = 0; i < count; i++) {
		struct allocator_device *device = &allocator->devices[i];
		struct error *err;

		device->device = &allocator->caching->devices[i];
		device->device_free = UINT64_MAX;
		device->owners = calloc(device->device->num_blocks + 1,
					sizeof(*device->owners));
		if (!device->owners)
			return error_no_memory();
		for (size_t j = 0; j < device->device->num_blocks; j++)
			device->owners[j] = (struct allocator_owner){
				.tensor = TENSORS_NONE, .cxx = TENSORS_NONE };
		err = add_up(device);
		if (err)
			return err;
	}
	return NULL;
}

struct error *allocator_check(const struct image *image,
			      const struct caching_allocator *caching)
{
	const char *content = core_notes_fact(&image->notes,
					      FORMAT_FACT_CONTENT);

	if (caching->unread)
		return error_new(ERROR_NOT_FOUND, "PyTorch's allocator has "
				 "devices, but the memory that they are in was "
				 "not captured%s", content &&
				 strcmp(content, "stacks") == 0 ?
				 ": the dump was made with --content stacks" :
				 "");
	if (caching->kind == CACHING_ABSENT && modules_count(image->modules) == 0)
		return error_new(ERROR_NOT_FOUND, "which libraries were in the "
				 "process is not known, and so not whether "
				 "PyTorch was");
	return NULL;
}

static struct error *make(struct allocator *allocator, struct opened *opened,
			  bool with_tensors, bool values)
{
	struct image *image = opened_image(opened);
	struct error *err = caching_allocator_open(image, &allocator->caching);

	if (!err)
		err = allocator_check(image, allocator->caching);
	if (!err)
		err = make_devices(allocator);
	if (err || !with_tensors || allocator->caching->kind == CACHING_ABSENT)
		return err;
	// Blocks are told of without them too.
	allocator->tensors_error = tensors_find(
		opened, &(struct tensors_options){ .values = values },
		&allocator->tensors);
	if (allocator->tensors_error)
		return NULL;
	allocator->found = tensors_found(allocator->tensors);
	join(allocator, image);
	if (allocator->caching->kind == CACHING_NATIVE &&
	    allocator->num_devices == 0 && allocator->foreign)
		findings_add(image->findings, "allocator",
			     allocator->caching->address, "tensors have %" PRIu64
			     " bytes of GPUs, but the caching allocator at 0x%"
			     PRIx64 " has no device that can be read",
			     allocator->foreign_bytes,
			     allocator->caching->address);
	for (size_t i = 0; i < allocator->num_devices; i++)
		count_orphans(&allocator->devices[i]);
	return NULL;
}

struct error *allocator_open(struct opened *opened, bool with_tensors,
			     bool values, struct allocator **ret)
{
	struct allocator *allocator = calloc(1, sizeof(*allocator));
	struct error *err;

	if (!allocator)
		return error_no_memory();
	err = make(allocator, opened, with_tensors, values);
	if (err)
		allocator_close(allocator);
	else
		*ret = allocator;
	return err;
}

void allocator_close(struct allocator *allocator)
{
	if (!allocator)
		return;
	for (size_t i = 0; i < allocator->num_devices; i++) {
		free(allocator->devices[i].owners);
		free(allocator->devices[i].pools);
		free(allocator->devices[i].stuck);
	}
	free(allocator->devices);
	tensors_close(allocator->tensors);
	error_free(allocator->tensors_error);
	caching_allocator_close(allocator->caching);
	free(allocator);
}

/* --- words ----------------------------------------------------------------------- */

const char *allocator_device_name(const struct allocator *allocator,
				  size_t device, char text[ALLOCATOR_NAME_MAX])
{
	(void)snprintf(text, ALLOCATOR_NAME_MAX, "cuda:%d",
		       allocator->devices[device].device->index);
	return text;
}

/* Sizes that only one thing asks for. Source: aten/src/ATen/cuda/
   CublasHandlePool.cpp: CUBLAS_WORKSPACE_CONFIG's default, by compute capability;
   and _getWorkspace's for cublasLt. */
static const struct {
	uint64_t bytes;
	const char *owner;
} known[] = {
	{ 8519680, "cuBLAS workspace (:4096:2:16:8)" },
	{ 32 * MIB, "cuBLAS workspace (:4096:8), by its size" },
};

const char *allocator_guess(const struct allocator *allocator, size_t device,
			    size_t block, char text[ALLOCATOR_OWNER_MAX])
{
	const struct torch_device *torch = allocator->devices[device].device;
	const struct torch_block *one = &torch->blocks[block];
	const struct torch_pool *pool = &torch->pools[one->pool];
	// 1.13 does not keep what was asked for; these sizes are round ones.
	uint64_t asked = one->requested ? one->requested : one->size;

	if (one->state == CACHING_PENDING)
		return "freed; a stream may still be using it";
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (asked == known[i].bytes)
			return known[i].owner;
	if (pool->owner && pool->knows_id && pool->id[0]) {
		(void)snprintf(text, ALLOCATOR_OWNER_MAX,
			       "private pool (%" PRIu64 ", %" PRIu64 "): memory "
			       "of a CUDA graph", pool->id[0], pool->id[1]);
		return text;
	}
	if (pool->owner) {
		(void)snprintf(text, ALLOCATOR_OWNER_MAX,
			       "private pool (%" PRIu64 ", %" PRIu64 "): a "
			       "MemPool", pool->id[0], pool->id[1]);
		return text;
	}
	// Others ask for as much, too: this is the last guess.
	if (asked == MIB)
		return "perhaps cuBLASLt's workspace, by its size";
	return "C++: saved for backward(), a bucket or stack of native code, or "
	       "caching_allocator_alloc()";
}

const char *allocator_absence(const struct allocator *allocator,
			      char text[ALLOCATOR_OWNER_MAX])
{
	const struct caching_allocator *caching = allocator->caching;

	switch (caching->kind) {
	case CACHING_ABSENT:
		return "no PyTorch with CUDA is in this process";
	case CACHING_NATIVE:
		return caching->num_devices ? NULL :
			allocator->foreign ?
			"PyTorch has tensors on a GPU, but no device of its "
			"allocator can be read" :
			"PyTorch's allocator has no device: CUDA was never "
			"initialised in this process";
	case CACHING_ASYNC:
		return "PyTorch allocates by cudaMallocAsync: what is reserved, "
		       "free and cut up is the driver's, and nothing of it is "
		       "in the process's memory; `tensors` shows what is in use";
	case CACHING_PLUGGABLE:
		return "PyTorch allocates by a pluggable allocator "
		       "(CUDAPluggableAllocator): what it holds is its own "
		       "library's; `tensors` shows what is in use";
	case CACHING_OTHER:
		(void)snprintf(text, ALLOCATOR_OWNER_MAX, "PyTorch allocates by "
			       "%s, which is not known here; `tensors` shows "
			       "what is in use", caching->class_name);
		return text;
	case CACHING_UNKNOWN:
		break;
	}
	return caching->found_by ?
		"PyTorch's allocator was found, but not what is in it" :
		"PyTorch with CUDA is in this process, but its allocator was "
		"not found: CUDA was never used, or the variables of "
		"libc10_cuda.so were not captured";
}
