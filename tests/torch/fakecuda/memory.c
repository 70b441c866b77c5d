/* Devices that are host memory: how many, how large, who has what of them.
 *
 * Memory of device N is at 0x6N0000000000, a TiB, and that of expandable
 * segments of all of them at 0x700000000000; the lowest gap that is large enough
 * is taken, as addresses of real ones are used again. It costs what is written
 * to it (MAP_NORESERVE), and is no part of any core (MADV_DONTDUMP), as the
 * mapping of a real device is none.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fake.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define DEVICE_BASE 0x600000000000u
#define DEVICE_SPAN ((uintptr_t)1 << 40)
/* Addresses without memory are of no device. */
#define RESERVED_BASE 0x700000000000u
#define RESERVED_SPAN ((uintptr_t)1 << 43)

struct fake_physical {
	int device;
	size_t size;
	unsigned mappings;
	bool released;
};

/* A piece of the address space, in a list by address. */
struct range {
	struct range *next;
	uintptr_t begin;
	size_t size;
	int device;
	struct fake_physical *physical;
	bool registered;	/* the caller's own memory, pinned */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct range *allocated[FAKE_MAX_DEVICES];
static struct range *reserved, *mapped, *pinned;
static size_t used[FAKE_MAX_DEVICES];
static bool context[FAKE_MAX_DEVICES];

static size_t number(const char *name, size_t otherwise)
{
	const char *text = getenv(name);
	char *end;
	size_t value;

	if (!text || !*text)
		return otherwise;
	value = strtoull(text, &end, 0);
	switch (*end) {
	case 'T': case 't': value <<= 10; /* fall through */
	case 'G': case 'g': value <<= 10; /* fall through */
	case 'M': case 'm': value <<= 10; /* fall through */
	case 'K': case 'k': value <<= 10;
	}
	return value;
}

int fake_devices(void)
{
	size_t count = number("FAKECUDA_DEVICES", 1);

	return count < FAKE_MAX_DEVICES ? (int)count : FAKE_MAX_DEVICES;
}

size_t fake_capacity(void)
{
	return number("FAKECUDA_MEMORY", (size_t)8 << 30);
}

static size_t left(int device)
{
	size_t taken = used[device] + number("FAKECUDA_OTHERS", 0);
	size_t all = fake_capacity();

	return taken < all ? all - taken : 0;
}

size_t fake_free(int device)
{
	size_t size;

	pthread_mutex_lock(&lock);
	size = left(device);
	pthread_mutex_unlock(&lock);
	return size;
}

size_t fake_used(int device)
{
	return used[device];
}

bool fake_has_context(int device)
{
	return context[device];
}

void fake_use(int device)
{
	context[device] = true;
}

void fake_uuid(char uuid[16], int device)
{
	memcpy(uuid, "fake CUDA GPU  ", 16);
	uuid[15] = (char)device;
}

/* As an A100 answers. */
int fake_attribute(int attribute)
{
	switch (attribute) {
	case 1: return 1024;		/* threads per block */
	case 2: case 3: return 1024;	/* block x, y */
	case 4: return 64;		/* block z */
	case 5: return 0x7fffffff;	/* grid x */
	case 6: case 7: return 65535;	/* grid y, z */
	case 8: return 49152;		/* shared memory per block */
	case 9: return 65536;		/* constant memory */
	case 10: return 32;		/* warp */
	case 12: return 65536;		/* registers per block */
	case 13: return 1410000;	/* kHz */
	case 16: return 108;		/* multiprocessors */
	case 31: return 1;		/* concurrent kernels */
	case 36: return 1215000;	/* kHz of the memory */
	case 37: return 5120;		/* bits of its bus */
	case 38: return 40 << 20;	/* level 2 cache */
	case 39: return 2048;		/* threads per multiprocessor */
	case 40: return 3;		/* engines that copy */
	case 41: return 1;		/* unified addresses */
	case 75: return 8;		/* compute capability */
	case 76: return 0;
	case 78: return 1;		/* priorities of streams */
	case 81: return 167936;		/* shared memory per multiprocessor */
	case 82: return 65536;		/* registers per multiprocessor */
	case 83: return 1;		/* managed memory */
	case 95: return 1;		/* cooperative launch */
	case 97: return 166912;		/* shared memory by request */
	case 102: return 1;		/* virtual memory management */
	case 103: return 1;		/* its handles as descriptors */
	case 106: return 32;		/* blocks per multiprocessor */
	case 115: return 1;		/* memory pools */
	default: return 0;
	}
}

/* ---- Lists of ranges */

static struct range *find(struct range *list, uintptr_t address)
{
	for (; list && list->begin <= address; list = list->next)
		if (address - list->begin < list->size)
			return list;
	return NULL;
}

static struct range *insert(struct range **list, uintptr_t begin, size_t size)
{
	struct range *range = calloc(1, sizeof(*range));

	if (!range)
		abort();
	while (*list && (*list)->begin < begin)
		list = &(*list)->next;
	range->begin = begin;
	range->size = size;
	range->next = *list;
	*list = range;
	return range;
}

static void take_out(struct range **list, struct range *range)
{
	while (*list != range)
		list = &(*list)->next;
	*list = range->next;
	free(range);
}

/* The lowest gap of this size in a part of the address space, or 0. */
static uintptr_t gap(const struct range *list, uintptr_t base, uintptr_t span,
		     size_t size)
{
	uintptr_t at = base;

	for (; list; list = list->next) {
		if (list->begin - at >= size)
			break;
		at = list->begin + list->size;
	}
	return size <= base + span - at ? at : 0;
}

static size_t rounded(size_t size)
{
	return (size + FAKE_GRANULARITY - 1) & ~(FAKE_GRANULARITY - 1);
}

static int map_at(uintptr_t address, size_t size, int protection, int flags)
{
	void *got = mmap((void *)address, size, protection, MAP_PRIVATE |
			 MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

	if (got == MAP_FAILED)
		return FAKE_OUT_OF_MEMORY;
	if (got != (void *)address) {	/* a kernel without NOREPLACE */
		munmap(got, size);
		return FAKE_OUT_OF_MEMORY;
	}
	madvise(got, size, MADV_DONTDUMP);
	return FAKE_OK;
}

/* ---- cudaMalloc */

int fake_malloc(int device, size_t size, void **memory)
{
	int error = FAKE_OUT_OF_MEMORY;
	uintptr_t at;

	*memory = NULL;
	if (!size)
		return FAKE_OK;
	if (size > DEVICE_SPAN)
		return FAKE_OUT_OF_MEMORY;
	size = rounded(size);
	pthread_mutex_lock(&lock);
	context[device] = true;
	at = gap(allocated[device], DEVICE_BASE + device * DEVICE_SPAN,
		 DEVICE_SPAN, size);
	if (at && size <= left(device))
		error = map_at(at, size, PROT_READ | PROT_WRITE,
			       MAP_FIXED_NOREPLACE);
	if (!error) {
		insert(&allocated[device], at, size)->device = device;
		used[device] += size;
		*memory = (void *)at;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

int fake_release(void *memory)
{
	int error = FAKE_INVALID;

	if (!memory)
		return FAKE_OK;
	pthread_mutex_lock(&lock);
	for (int device = 0; device < FAKE_MAX_DEVICES; device++) {
		struct range *range = find(allocated[device],
					   (uintptr_t)memory);

		if (!range || range->begin != (uintptr_t)memory)
			continue;
		munmap(memory, range->size);
		used[device] -= range->size;
		take_out(&allocated[device], range);
		error = FAKE_OK;
		break;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

/* ---- Expandable segments: addresses, memory, and the two put together */

int fake_reserve(size_t size, uintptr_t hint, void **address)
{
	int error = FAKE_OUT_OF_MEMORY;
	uintptr_t at;

	if (!size || size % FAKE_GRANULARITY || size > RESERVED_SPAN)
		return FAKE_INVALID;
	pthread_mutex_lock(&lock);
	at = gap(reserved, RESERVED_BASE, RESERVED_SPAN, size);
	if (hint >= RESERVED_BASE && hint % FAKE_GRANULARITY == 0 &&
	    hint < RESERVED_BASE + RESERVED_SPAN) {
		struct range *range = reserved;

		while (range && range->begin + range->size <= hint)
			range = range->next;
		if (!range || range->begin - hint >= size)
			at = hint;
	}
	if (at)
		error = map_at(at, size, PROT_NONE, MAP_FIXED_NOREPLACE);
	if (!error) {
		insert(&reserved, at, size);
		*address = (void *)at;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

int fake_unreserve(void *address, size_t size)
{
	int error = FAKE_INVALID;
	struct range *range;

	pthread_mutex_lock(&lock);
	range = find(reserved, (uintptr_t)address);
	if (range && range->begin == (uintptr_t)address &&
	    range->size == size) {
		munmap(address, size);
		take_out(&reserved, range);
		error = FAKE_OK;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

int fake_create(int device, size_t size, struct fake_physical **physical)
{
	int error = FAKE_OUT_OF_MEMORY;

	if (!size || size % FAKE_GRANULARITY)
		return FAKE_INVALID;
	pthread_mutex_lock(&lock);
	context[device] = true;
	if (size <= left(device)) {
		*physical = calloc(1, sizeof(**physical));
		if (!*physical)
			abort();
		(*physical)->device = device;
		(*physical)->size = size;
		used[device] += size;
		error = FAKE_OK;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

static void give_back(struct fake_physical *physical)
{
	if (!physical->released || physical->mappings)
		return;
	used[physical->device] -= physical->size;
	free(physical);
}

int fake_destroy(struct fake_physical *physical)
{
	pthread_mutex_lock(&lock);
	physical->released = true;
	give_back(physical);
	pthread_mutex_unlock(&lock);
	return FAKE_OK;
}

int fake_physical_device(const struct fake_physical *physical)
{
	return physical->device;
}

int fake_map(void *address, size_t size, struct fake_physical *physical)
{
	int error = FAKE_INVALID;
	uintptr_t at = (uintptr_t)address;
	struct range *range, *other;

	pthread_mutex_lock(&lock);
	range = find(reserved, at);
	other = mapped;
	while (other && other->begin + other->size <= at)
		other = other->next;
	if (range && size <= physical->size && at % FAKE_GRANULARITY == 0 &&
	    size <= range->begin + range->size - at &&
	    (!other || other->begin - at >= size))
		error = map_at(at, size, PROT_READ | PROT_WRITE, MAP_FIXED);
	if (!error) {
		range = insert(&mapped, at, size);
		range->device = physical->device;
		range->physical = physical;
		physical->mappings++;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

int fake_unmap(void *address, size_t size)
{
	uintptr_t at = (uintptr_t)address, end = at + size;
	int error = FAKE_INVALID;
	struct range *range;

	pthread_mutex_lock(&lock);
	/* May be several mappings, of which none is cut. */
	while (at < end && (range = find(mapped, at)) != NULL &&
	       range->begin == at && range->size <= end - at) {
		struct fake_physical *physical = range->physical;

		at += range->size;
		map_at(range->begin, range->size, PROT_NONE, MAP_FIXED);
		take_out(&mapped, range);
		physical->mappings--;
		give_back(physical);
	}
	if (at == end)
		error = FAKE_OK;
	pthread_mutex_unlock(&lock);
	return error;
}

/* ---- Pinned memory */

int fake_host_alloc(size_t size, void **memory)
{
	void *got;

	*memory = NULL;
	if (!size)
		return FAKE_OK;
	size = (size + 4095) & ~(size_t)4095;
	got = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (got == MAP_FAILED)
		return FAKE_OUT_OF_MEMORY;
	pthread_mutex_lock(&lock);
	insert(&pinned, (uintptr_t)got, size);
	pthread_mutex_unlock(&lock);
	*memory = got;
	return FAKE_OK;
}

static int unpin(void *memory, bool registered)
{
	int error = registered ? FAKE_NOT_REGISTERED : FAKE_INVALID;
	struct range *range;

	pthread_mutex_lock(&lock);
	range = find(pinned, (uintptr_t)memory);
	if (range && range->begin == (uintptr_t)memory &&
	    range->registered == registered) {
		if (!registered)
			munmap(memory, range->size);
		take_out(&pinned, range);
		error = FAKE_OK;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

int fake_host_free(void *memory)
{
	return memory ? unpin(memory, false) : FAKE_OK;
}

int fake_host_register(void *memory, size_t size)
{
	int error = FAKE_ALREADY_REGISTERED;

	pthread_mutex_lock(&lock);
	if (!find(pinned, (uintptr_t)memory)) {
		insert(&pinned, (uintptr_t)memory, size)->registered = true;
		error = FAKE_OK;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

int fake_host_unregister(void *memory)
{
	return unpin(memory, true);
}

enum fake_kind fake_lookup(const void *address, void **begin, size_t *size,
			   int *device)
{
	enum fake_kind kind = FAKE_DEVICE;
	uintptr_t at = (uintptr_t)address;
	struct range *range = NULL;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < FAKE_MAX_DEVICES && !range; i++)
		range = find(allocated[i], at);
	if (!range)
		range = find(mapped, at);
	if (!range) {
		range = find(pinned, at);
		kind = range ? FAKE_HOST : FAKE_UNKNOWN;
	}
	if (range) {
		*begin = (void *)range->begin;
		*size = range->size;
		*device = range->device;
	}
	pthread_mutex_unlock(&lock);
	return kind;
}
