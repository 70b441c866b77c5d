/*
 * What PyTorch's caching allocator was told; see cachingsettings.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The settings are an object: up to 2.8 the one that a variable of the
 * allocator's library leads to, later a variable of libc10 itself. In both there
 * are sixteen numbers for rounding in a std::vector, limits of splitting in front
 * of it and the threshold of garbage collection behind. What cannot be told from
 * its place is told by the words in which it was set, which are kept there too.
 *
 * What a device is called and has, lies in a cudaDeviceProp: one in each device's
 * allocator (from 2.10 on), and those of torch.cuda.get_device_properties().
 *
 * Source: PyTorch c10/cuda/CUDAAllocatorConfig.h, c10/core/AllocatorConfig.h,
 * aten/src/ATen/cuda/CUDAContext.cpp; CUDA driver_types.h.
 */
#include "cudaheap/cachingsettings.h"

#include <stdlib.h>
#include <string.h>

#include "cudaheap/cachingscan.h"

enum {
	DIVISIONS = 16, DIVISION_MAX = 1 << 16,
	OBJECT_MAX = 64,	/* bytes in front of the vector, at most */
	/* from the vector on */
	THRESHOLD = 24, EXPANDABLE = 32, EXPANDABLE_OLD = 40,
	WORDS_FROM = 40, WORDS_TO = 128,
	/* of a cudaDeviceProp */
	PROP_NAME = 256, PROP_TOTAL = 288, PROP_WARP = 308, PROP_LOOKED = 320,
	PROP_MIN = 600, PROP_MAX = 4096,
};

#define MIB (INT64_C(1) << 20)
#define ROUNDING_DEFAULT (20 * MIB)

/* --- settings ------------------------------------------------------------------ */

struct search {
	struct memory_reader *memory;
	struct torch_settings *settings;
	bool old;
};

static bool is_limit(int64_t bytes)
{
	return bytes == -1 || (bytes > 0 && bytes % MIB == 0);
}

static bool is_text(const char *text)
{
	for (const char *at = text; *at; at++)
		if (*at < ' ' || *at > '~')
			return false;
	return strchr(text, ':') != NULL;
}

/** As it was set: "max_split_size_mb:128,expandable_segments:True". */
static void read_words(const struct search *search, uint64_t vector)
{
	char text[sizeof(search->settings->conf)];
	uint64_t at;

	for (uint32_t i = WORDS_FROM; i < WORDS_TO; i += 8) {
		if (!memory_try_u64(search->memory, vector + i, &at) ||
		    at == 0 ||
		    !memory_try_string(search->memory, at, text,
				       sizeof(text)) || !is_text(text))
			continue;
		memcpy(search->settings->conf, text, sizeof(text));
		return;
	}
}

/** What a setting is in the words, or NULL. */
static const char *setting(const struct torch_settings *settings,
			   const char *name)
{
	size_t size = strlen(name);

	for (const char *at = settings->conf; *at;) {
		size_t pair = strcspn(at, ",");

		at += strspn(at, " ");
		if (strncmp(at, name, size) == 0 && at[size] == ':')
			return at + size + 1;
		at += pair < strlen(at) ? pair + 1 : strlen(at);
	}
	return NULL;
}

static bool is_true(const struct torch_settings *settings, const char *name)
{
	const char *value = setting(settings, name);

	return value && strncmp(value, "True", 4) == 0;
}

static bool are_divisions(const uint64_t divisions[DIVISIONS])
{
	for (int i = 0; i < DIVISIONS; i++)
		if (divisions[i] > DIVISION_MAX ||
		    (divisions[i] & (divisions[i] - 1)))
			return false;
	return true;
}

/** What comes in front: max_split_size, and max_non_split_rounding in newer. */
static bool read_limits(const struct search *search, uint64_t vector,
			struct torch_settings *settings)
{
	int64_t before[2];

	if (!memory_try_read(search->memory, vector - sizeof(before), before,
			     sizeof(before)))
		return false;
	settings->max_non_split_rounding = ROUNDING_DEFAULT;
	settings->max_split_size = before[1];
	if (is_limit(before[0]) && before[1] > 0 && is_limit(before[1])) {
		settings->max_split_size = before[0];
		settings->max_non_split_rounding = before[1];
	}
	return is_limit(settings->max_split_size);
}

static bool is_settings(void *context, const struct caching_vector *vector)
{
	struct search *search = context;
	struct torch_settings settings = { 0 };
	const char *threads;
	uint8_t expandable;
	double threshold;

	if (vector->last - vector->first !=
		    sizeof(settings.roundup_power2_divisions) ||
	    !memory_try_read(search->memory, vector->first,
			     settings.roundup_power2_divisions,
			     sizeof(settings.roundup_power2_divisions)) ||
	    !are_divisions(settings.roundup_power2_divisions) ||
	    !read_limits(search, vector->address, &settings) ||
	    !memory_try_read(search->memory, vector->address + THRESHOLD,
			     &threshold, sizeof(threshold)) ||
	    !(threshold >= 0 && threshold < 1) ||
	    !memory_try_read(search->memory, vector->address +
			     (search->old ? EXPANDABLE_OLD : EXPANDABLE),
			     &expandable, 1) || expandable > 1)
		return false;
	settings.garbage_collection_threshold = threshold;
	settings.expandable_segments = expandable;
	settings.source = "the allocator's settings";
	*search->settings = settings;
	read_words(search, vector->address);
	search->settings->release_lock_on_cudamalloc =
		is_true(search->settings, "release_lock_on_cudamalloc") ||
		is_true(search->settings, "release_lock_on_hipmalloc");
	search->settings->pinned_use_cuda_host_register =
		is_true(search->settings, "pinned_use_cuda_host_register") ||
		is_true(search->settings, "pinned_use_hip_host_register");
	threads = setting(search->settings, "pinned_num_register_threads");
	search->settings->pinned_num_register_threads =
		threads ? strtoul(threads, NULL, 10) : 1;
	return true;
}

static bool is_object(struct search *search, uint64_t object)
{
	for (uint32_t at = 8; object % 8 == 0 && at <= OBJECT_MAX; at += 8) {
		struct caching_vector vector = { .address = object + at };

		if (!memory_try_read(search->memory, vector.address,
				     &vector.first, 24))
			return false;
		if (is_settings(search, &vector))
			return true;
	}
	return false;
}

/**
 * Up to 2.8 a pointer leads to it that is a variable of one of the libraries
 * that have its inline function, whichever was loaded first. The allocator's
 * library knows by its table of addresses where that is.
 */
static bool leads_to_settings(void *context, uint64_t word)
{
	struct search *search = context;
	uint64_t object;

	return word % 8 == 0 && memory_try_u64(search->memory, word, &object) &&
	       object != 0 && is_object(search, object);
}

static void read_settings(const struct image *image,
			  struct memory_reader *memory,
			  struct torch_settings *settings)
{
	struct search search = { .memory = memory, .settings = settings };
	size_t count = modules_count(image->modules);

	for (size_t i = 0; i < count; i++) {
		struct module *module = modules_get(image->modules, i);
		const char *name = caching_base_name(module);

		search.old = true;
		if ((strncmp(name, "libc10_cuda", 11) == 0 ||
		     strncmp(name, "libc10_hip", 10) == 0) &&
		    caching_scan_words(image, memory, module->start,
				       module->end, leads_to_settings, &search))
			return;
	}
	search.old = false;
	for (size_t i = 0; i < count; i++) {
		struct module *module = modules_get(image->modules, i);

		if (strncmp(caching_base_name(module), "libc10.so", 9) == 0 &&
		    caching_scan(image, memory, module->start, module->end,
				 is_settings, &search))
			return;
	}
}

/* --- devices ------------------------------------------------------------------- */

/** What a cudaDeviceProp says; false: it can be none. */
static bool read_prop(struct memory_reader *memory, uint64_t address,
		      struct torch_device *device)
{
	uint8_t bytes[PROP_LOOKED];
	uint64_t total;
	int32_t warp;
	size_t size;

	if (!memory_try_read(memory, address, bytes, sizeof(bytes)))
		return false;
	memcpy(&total, bytes + PROP_TOTAL, sizeof(total));
	memcpy(&warp, bytes + PROP_WARP, sizeof(warp));
	size = strnlen((const char *)bytes, PROP_NAME);
	if (size < 2 || size == PROP_NAME || (warp != 32 && warp != 64) ||
	    total < (uint64_t)MIB || total >> 48 != 0)
		return false;
	for (size_t i = 0; i < size; i++)
		if (bytes[i] < ' ' || bytes[i] > '~')
			return false;
	device->total = total;
	if (size >= sizeof(device->name))
		size = sizeof(device->name) - 1;
	memcpy(device->name, bytes, size);
	device->name[size] = '\0';
	return true;
}

/** In the device's own allocator, behind its tables. */
static void read_own_prop(struct memory_reader *memory,
			  struct torch_device *device)
{
	uint32_t from = device->layout.active + CACHING_TABLE;

	for (uint32_t at = from; device->is_known && device->total == 0 &&
				 at < from + 1024; at += 8)
		(void)read_prop(memory, device->address + at, device);
}

struct props {
	struct memory_reader *memory;
	struct caching_allocator *allocator;
};

/** Is this one for each device? Those that were never asked for are empty. */
static bool are_props(void *context, const struct caching_vector *vector)
{
	struct props *props = context;
	size_t count = props->allocator->num_devices;
	uint64_t size = vector->last - vector->first, stride = size / count;
	bool any = false;

	if (size % count || stride < PROP_MIN || stride > PROP_MAX)
		return false;
	for (size_t i = 0; i < count; i++)
		any |= read_prop(props->memory, vector->first + i * stride,
				 &props->allocator->devices[i]);
	return any;
}

static void read_devices(const struct image *image, struct memory_reader *memory,
			 struct caching_allocator *allocator)
{
	struct props props = { .memory = memory, .allocator = allocator };
	size_t count = modules_count(image->modules);

	if (allocator->num_devices == 0)
		return;
	for (size_t i = 0; i < allocator->num_devices; i++)
		read_own_prop(memory, &allocator->devices[i]);
	for (size_t i = 0; i < count && allocator->devices[0].total == 0; i++) {
		struct module *module = modules_get(image->modules, i);
		const char *name = caching_base_name(module);

		if ((strncmp(name, "libtorch_cuda", 13) == 0 ||
		     strncmp(name, "libtorch_hip", 12) == 0) &&
		    caching_scan(image, memory, module->start, module->end,
				 are_props, &props))
			return;
	}
}

void caching_settings_read(struct image *image, struct memory_reader *memory,
			   struct caching_allocator *allocator)
{
	allocator->settings.max_split_size = -1;
	allocator->settings.max_non_split_rounding = ROUNDING_DEFAULT;
	read_settings(image, memory, &allocator->settings);
	read_devices(image, memory, allocator);
	// 1.13 to 2.0 have the settings in another form, or not at all.
	if (!allocator->settings.source && allocator->num_devices)
		allocator->settings.max_split_size =
			allocator->devices[0].stats.max_split_size;
}
