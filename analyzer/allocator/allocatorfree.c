/*
 * What the driver had free of a device; see allocatorfree.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/allocator/allocatorfree.h"

#include "analyzer/cmd.h"
#include "analyzer/threads/failure.h"
#include "cudaheap/torchtrace.h"
#include "image/base/guard.h"

static void know(struct allocator_device *device, enum allocator_free from,
		 uint64_t bytes, uint64_t error)
{
	const struct torch_device *torch = device->device;

	// Together with what is reserved it is no more than there is: else it is
	// damage, or of another device.
	if (from != ALLOCATOR_FREE_TOLD && torch->total != 0 &&
	    (bytes > torch->total ||
	     torch->total - bytes + error < torch->reserved))
		return;
	device->device_free = bytes;
	device->free_error = error;
	device->free_from = from;
}

void allocator_free_told(struct allocator *allocator, uint64_t bytes)
{
	for (size_t i = 0; i < allocator->num_devices; i++)
		know(&allocator->devices[i], ALLOCATOR_FREE_TOLD, bytes, 0);
}

struct error *allocator_free_recorded(struct allocator *allocator,
				      const struct image *image)
{
	struct memory_reader memory;
	struct error *err = memory_reader_init(&memory, image->memory);
	uint64_t bytes;

	if (err)
		return err;
	for (size_t i = 0; i < allocator->num_devices; i++) {
		struct allocator_device *device = &allocator->devices[i];

		if (device->device->is_known &&
		    torch_trace_device_free(&memory, device->device, &bytes))
			know(device, ALLOCATOR_FREE_EVENT, bytes, 0);
	}
	memory_reader_deinit(&memory);
	return NULL;
}

/** What the driver has now, if it had so much when so much was reserved. */
static void say(struct allocator_device *device, const struct torch_oom *oom)
{
	uint64_t reserved = oom->allocated.bytes + oom->cached.bytes;
	uint64_t error = oom->allocated.error + oom->cached.error;
	uint64_t now = device->device->reserved, bytes = oom->free.bytes;
	uint64_t apart = reserved > now ? reserved - now : now - reserved;

	if (!oom->allocated.known || !oom->cached.known)
		return;
	// No more than rounding: it is as it was.
	if (apart <= error) {
		know(device, ALLOCATOR_FREE_MESSAGE, bytes, oom->free.error);
		return;
	}
	if (bytes + reserved < now)
		return;
	know(device, ALLOCATOR_FREE_MESSAGE, bytes + reserved - now,
	     oom->free.error + error);
}

void allocator_free_said(struct allocator *allocator,
			 const struct torch_oom *oom)
{
	for (size_t i = 0; i < allocator->num_devices; i++) {
		struct allocator_device *device = &allocator->devices[i];

		if (device->device->is_known && oom->free.known &&
		    device->device->index == oom->device &&
		    device->free_from == ALLOCATOR_FREE_UNKNOWN)
			say(device, oom);
	}
}

/** Has memory run out of a device of which nothing is known? */
static bool wants_exception(const struct allocator *allocator)
{
	for (size_t i = 0; i < allocator->num_devices; i++)
		if (allocator->devices[i].device->stats.num_ooms > 0 &&
		    allocator->devices[i].free_from == ALLOCATOR_FREE_UNKNOWN)
			return true;
	return false;
}

/** By the exception that a thread has; that there is none is no failure. */
static struct error *ask_exception(struct allocator *allocator,
				   struct opened *opened)
{
	CLEANUP(thread_stacks_deinit) struct thread_stacks stacks = { 0 };
	struct thread_names *names = NULL;
	struct pyh_runtime *runtime;
	struct failure failure;
	struct error *err = opened_runtime(opened, &runtime);

	if (!err)
		err = thread_stacks_gather(opened_image(opened), runtime,
					   &stacks);
	if (!err)
		err = thread_names_open(opened, &names);
	if (!err)
		err = failure_find_exception(opened, names, &stacks, NULL,
					     &failure);
	if (!err && failure.how != FAILURE_NONE)
		allocator_free_said(allocator, &failure.oom);
	thread_names_close(names);
	// Then it is not known, which is no reason to show nothing.
	if (err && err->kind != ERROR_NO_MEMORY) {
		error_free(err);
		err = NULL;
	}
	return err;
}

struct error *allocator_open_scan(const struct scan *scan, bool with_tensors,
				  struct allocator **ret)
{
	const struct options *options = scan->options;
	struct error *err = allocator_open(scan->opened, with_tensors,
					   options->values, ret);

	if (err)
		return err;
	if (options->device_free != OPTIONS_NO_SIZE) {
		allocator_free_told(*ret, options->device_free);
		return NULL;
	}
	err = allocator_free_recorded(*ret, opened_image(scan->opened));
	if (!err && wants_exception(*ret))
		err = ask_exception(*ret, scan->opened);
	return err;
}
