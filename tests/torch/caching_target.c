/*
 * The structures of PyTorch's caching allocator, as several releases lay them
 * out, made of bytes: for test_caching.py.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	caching_target RELEASE SEED SEGMENTS [DAMAGE | LIBRARY]
 *
 * It has what no wheel that runs here has: releases that only old toolkits built,
 * builds without symbols, and damage. Segments are cut up at random and printed
 * as they are; then structures are made of them, by the table below. It is built
 * as a library of the name that PyTorch's has, and as a program that calls it.
 * LIBRARY is the path of another such library, for a process with two of them.
 */
#ifdef PROGRAM

int target(int argc, char **argv);

int main(int argc, char **argv)
{
	return target(argc, argv);
}

#else

#include <dlfcn.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef STRIPPED
#define EXPORTED static
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

/* What each release has, by the declarations in CUDACachingAllocator.cpp. */
static const struct release {
	const char *name;
	int sets;		/* of a pool */
	int pool_tail;		/* bytes behind is_small and the owner */
	int block_pool;		/* offset of a block's pool */
	int size, requested;	/* offsets; requested 0: none */
	int context;		/* offset of the context's pointer; 0: history */
	bool own_totals;	/* statistics have a map of private pools' bytes */
	int counters;		/* of theirs, behind the oversize ones */
	bool device_id;		/* behind the statistics */
	int private_front;	/* bytes of a private pool before its pools */
	int gap;		/* of a device, from active_blocks to graph_pools */
	int list;		/* offset of the devices in the allocator */
	/* of an event, by TraceEntry in its header: offsets behind what all have,
	   0: it has none */
	int event, event_pool, event_time, event_strings;
	bool ring_class;	/* it is in a ring that is a class of its own */
} releases[] = {
	{ "1.13", 1, 0, 56, 48, 0, 0, false, 0, false, 8, 88, 112,
	  0, 0, 0, 0, false },
	{ "2.0", 1, 0, 64, 48, 56, 0, false, 0, false, 8, 128, 80,
	  48, 0, 0, 0, false },
	{ "2.1", 2, 8, 64, 48, 56, 112, false, 3, false, 8, 200, 4000,
	  56, 0, 48, 0, false },
	{ "2.6", 2, 8, 64, 48, 56, 120, false, 3, false, 8, 232, 22584,
	  56, 0, 48, 0, true },
	{ "2.8", 2, 8, 64, 48, 56, 120, false, 3, false, 8, 232, 22584,
	  104, 48, 64, 72, true },
	{ "2.14", 2, 8, 72, 56, 64, 128, true, 4, true, 40, 1400, 22584,
	  136, 48, 64, 72, true },
	{ "2.15", 2, 8, 72, 56, 64, 128, true, 4, true, 40, 1400, 22584,
	  168, 48, 64, 72, true },
	// A pool, the time, and one more word that does not grow.
	{ "3.0", 3, 24, 80, 64, 72, 136, true, 4, false, 56, 1800, 30000,
	  112, 48, 64, 80, true },
};

enum { STATES = 4, ACTIVE = 0, PENDING, FREE, UNMAPPED };
enum { NUM_POOLS = 6, PRIVATES = 2, MAX_DEVICES = 2 };

struct block {
	uint64_t data, size, requested, stream;
	int state, pool;
	size_t segment;
	bool first, last, expandable;
	uint8_t *made;		/* the Block */
};

struct device {
	struct block *blocks;
	size_t count;
	uint8_t *made;		/* the DeviceCachingAllocator */
	uint8_t *privates[PRIVATES];
	uint8_t *pools[NUM_POOLS];
	uint8_t *ring;		/* where the pointer to its vector is */
};

static const struct release *release;
static struct device devices[MAX_DEVICES];
static uint64_t state;
static bool silent;

/* The type's name, its type_info and a table of functions, as a compiler makes
   them. */
static const char class_name[] =
	"N3c104cuda20CUDACachingAllocator6Native22NativeCachingAllocatorE";
static const void *const type_info[2] = { &type_info, class_name };
static const void *const table[4] = { NULL, type_info, &table, &table };

static uint64_t native[8192];		/* the allocator */
enum { CLOCK = 32768 };			/* bytes of it in front of its clock */
EXPORTED void *_ZN3c104cuda20CUDACachingAllocator9allocatorE;

static uint64_t number(uint64_t below)
{
	state = state * UINT64_C(6364136223846793005) +
		UINT64_C(1442695040888963407);
	return (state >> 33) % below;
}

static void put(uint8_t *at, uint64_t word)
{
	memcpy(at, &word, sizeof(word));
}

static uint64_t at(const void *pointer)
{
	return (uint64_t)(uintptr_t)pointer;
}

/* --- what there is ------------------------------------------------------------ */

static void cut(struct device *device, size_t segment, uint64_t *address)
{
	int pool = (int)number(NUM_POOLS);
	uint64_t total = pool % 2 ? UINT64_C(2) << 20 :
				    (10 + number(40)) * (UINT64_C(2) << 20);
	uint64_t stream = number(4) ? 0 : UINT64_C(0x5500) + number(3) * 256;
	bool expandable = release->sets > 1 && number(4) == 0;
	uint64_t used = 0;

	*address += total + (number(3) ? 0 : UINT64_C(64) << 20);
	while (used < total) {
		struct block *block = &device->blocks[device->count++];
		uint64_t size = (1 + number(total / 512)) * 512;

		if (number(3) == 0 || size > total - used)
			size = total - used;
		*block = (struct block){
			.data = *address + used, .size = size,
			.stream = stream, .pool = pool, .segment = segment,
			.first = used == 0, .expandable = expandable,
			.state = (int)number(expandable ? STATES : UNMAPPED),
		};
		block->requested = release->requested && block->state != UNMAPPED ?
					   size - number(512) : 0;
		used += size;
		block->last = used == total;
	}
	*address += total;
}

static bool in_use(const struct block *block)
{
	return block->state == ACTIVE || block->state == PENDING;
}

static void tell(int index, const struct device *device)
{
	static const char *const states[] = { "active_allocated",
					      "active_pending_free",
					      "inactive" };

	for (size_t i = 0; i < device->count; i++) {
		const struct block *block = &device->blocks[i];
		uint64_t sums[4] = { 0 };
		bool head = block->first ||
			    device->blocks[i - 1].state == UNMAPPED;

		if (block->state == UNMAPPED)
			continue;
		for (size_t j = i; head && j < device->count; j++) {
			const struct block *one = &device->blocks[j];

			if (one->state == UNMAPPED || (j > i && one->first))
				break;
			sums[0] += one->size;
			sums[1] += one->state == ACTIVE ? one->size : 0;
			sums[2] += in_use(one) ? one->size : 0;
			sums[3] += in_use(one) ? one->requested : 0;
		}
		if (head)
			printf("SEGMENT %d %" PRIu64 " %" PRIu64 " %" PRIu64
			       " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d %d %d\n",
			       index, block->data, sums[0], sums[1], sums[2],
			       sums[3], block->stream, block->pool % 2,
			       block->pool / 2, block->expandable);
		printf("BLOCK %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", index,
		       block->data, block->size, block->requested,
		       states[block->state]);
	}
}

/* --- as it is laid out ---------------------------------------------------------- */

static int pool_size(void)
{
	return release->sets * 48 + 16 + release->pool_tail;
}

/** A tree of nodes; returns its root. */
static uint8_t *grow(struct block *const *items, size_t count, uint64_t parent)
{
	size_t middle = count / 2;
	uint8_t *node;

	if (count == 0)
		return NULL;
	node = malloc(40);
	put(node, 0);
	put(node + 8, parent);
	put(node + 16, at(grow(items, middle, at(node))));
	put(node + 24, at(grow(items + middle + 1, count - middle - 1,
			       at(node))));
	put(node + 32, at(items[middle]->made));
	return node;
}

static void make_set(uint8_t *set, const struct device *device, int pool,
		     int wanted)
{
	struct block **items = calloc(device->count + 1, sizeof(*items));
	uint8_t *root, *left, *right;
	size_t count = 0;

	for (size_t i = 0; i < device->count; i++)
		if (device->blocks[i].pool == pool &&
		    device->blocks[i].state == wanted)
			items[count++] = &device->blocks[i];
	root = left = right = grow(items, count, at(set + 8));
	for (uint8_t *next = root; next; memcpy(&next, left + 16, 8))
		left = next;
	for (uint8_t *next = root; next; memcpy(&next, right + 24, 8))
		right = next;
	put(set, at(make_set));		/* how it compares */
	put(set + 16, at(root));
	put(set + 24, root ? at(left) : at(set + 8));
	put(set + 32, root ? at(right) : at(set + 8));
	put(set + 40, count);
	free(items);
}

static void make_pool(struct device *device, int pool, uint8_t *made,
		      const void *owner)
{
	device->pools[pool] = made;
	make_set(made, device, pool, FREE);
	for (int i = 1; i < release->sets; i++)
		make_set(made + 48 * i, device, pool,
			 i == 1 ? UNMAPPED : STATES);
	made[48 * release->sets] = (uint8_t)(pool % 2);
	put(made + 48 * release->sets + 8, at(owner));
}

/** A table of entries whose values have these words; slots for twice as many. */
static void make_table(uint8_t *made, const uint64_t (*values)[3], size_t count,
		       size_t words)
{
	size_t slots = 4, entry = 8 + words * 8, lookups = 6;
	float load = 0.5F;
	uint8_t *entries;

	while (slots < count * 2)
		slots *= 2;
	entries = calloc(slots + lookups, entry);
	for (size_t i = 0; i < slots + lookups; i++)
		entries[i * entry] = 0xFF;
	for (size_t i = 0; i < count; i++) {
		uint8_t *place = entries + i * 2 % slots * entry;

		while (*place != 0xFF)
			place += entry;
		*place = 0;
		memcpy(place + 8, values[i], words * 8);
	}
	entries[(slots + lookups - 1) * entry] = 0;	/* where to stop */
	put(made, at(entries));
	put(made + 8, count ? slots - 1 : 0);
	made[16] = 60;
	made[17] = (uint8_t)(count ? lookups : 3);
	memcpy(made + 20, &load, sizeof(load));
	put(made + 24, count);
}

static void make_block(struct device *device, size_t i)
{
	struct block *block = &device->blocks[i];
	int pool = release->block_pool;
	uint8_t *made = block->made;
	uint64_t none[1][3];

	memset(made, 0xA5, 8);		/* a byte, and what was there before */
	made[0] = (uint8_t)(device - devices);
	put(made + 8, block->stream);
	make_table(made + 16, none, 0, 1);
	if (block->state == PENDING && i % 2)
		put(made + 40, 1);	/* a stream uses it */
	put(made + release->size, block->size);
	if (release->requested)
		put(made + release->requested, block->requested);
	put(made + pool, at(device->pools[block->pool]));
	put(made + pool + 8, block->data);
	made[pool + 16] = block->state == ACTIVE;
	if (release->sets > 1)
		made[pool + 17] = block->state != UNMAPPED;
	put(made + pool + 24, block->first ? 0 :
						at(device->blocks[i - 1].made));
	put(made + pool + 32, block->last ? 0 :
						at(device->blocks[i + 1].made));
	put(made + pool + 40, block->state == PENDING && i % 2 == 0 ? 2 : 0);
	if (release->context && block->expandable)
		put(made + release->context + 32, at(device->made));
}

static void add(int64_t stat[3][4], int small, int64_t value)
{
	int kinds[] = { 0, small ? 1 : 2 };

	for (int i = 0; i < 2; i++) {
		stat[kinds[i]][0] += value;
		stat[kinds[i]][1] += value;
		stat[kinds[i]][2] += value;
	}
}

/** From the start of the statistics; returns their end. */
static uint8_t *make_stats(const struct device *device, uint8_t *stats)
{
	int64_t sums[9][3][4] = { 0 };
	uint64_t none[1][3];

	for (size_t i = 0; i < device->count; i++) {
		const struct block *block = &device->blocks[i];
		int small = block->pool % 2;
		int64_t size = (int64_t)block->size;

		if (block->state == UNMAPPED)
			continue;
		add(sums[5], small, size);
		if (block->state == ACTIVE) {
			add(sums[0], small, 1);
			add(sums[4], small, size);
		}
		if (!in_use(block))
			continue;
		add(sums[2], small, 1);
		add(sums[6], small, size);
		add(sums[8], small, (int64_t)block->requested);
	}
	memcpy(stats, sums, sizeof(sums[0]) * 6);
	stats += sizeof(sums[0]) * 6;
	if (release->own_totals) {
		make_table(stats, none, 0, 3);
		stats += 32;
	}
	memcpy(stats, sums[6], sizeof(sums[0]) * 2);
	stats += sizeof(sums[0]) * 2;
	if (release->requested) {
		memcpy(stats, sums[8], sizeof(sums[0]));
		stats += sizeof(sums[0]);
	}
	put(stats, 7);			/* retries */
	put(stats + 8, 3);		/* and failures */
	stats += 16 + 64;
	for (int i = 0; i < release->counters; i++, stats += 8)
		put(stats, 100 + (uint64_t)i);
	put(stats, UINT64_MAX);		/* max_split_size */
	stats += 8;
	if (release->device_id) {
		memset(stats, 0xA5, 8);
		stats[0] = (uint8_t)(device - devices);
		stats += 8;
	}
	return stats;
}

static void make_privates(struct device *device, uint8_t *map)
{
	uint64_t values[PRIVATES][3];

	for (int i = 0; i < PRIVATES; i++) {
		uint8_t *made = device->privates[i];
		uint8_t *pools = made + release->private_front;

		// (0, 1) is a MemPool's, (2, 0) a graph's.
		values[i][0] = i ? 2 : 0;
		values[i][1] = i ? 0 : 1;
		values[i][2] = at(made);
		if (release->private_front >= 40)
			memcpy(made, values[i], 16);
		make_pool(device, 2 + i * 2, pools, made);
		make_pool(device, 3 + i * 2, pools + pool_size(), made);
	}
	make_table(map, values, PRIVATES, 3);
}

/* --- the past ------------------------------------------------------------------- */

enum { ACTIONS_OLD = 7, OOM = 8, MUTEX = 40 };

/** A std::string: short ones are inside of it. */
static void make_string(uint8_t *made, int length)
{
	uint8_t *text = length < 16 ? made + 16 : malloc((size_t)length + 1);

	put(made + 8, (uint64_t)length);
	if (length >= 16)
		put(made + 16, (uint64_t)length);
	memset(text, 'a' + length % 26, (size_t)length);
	text[length] = '\0';
	put(made, at(text));
}

/** The number of strings is what there is room for. */
static int num_strings(void)
{
	return release->event_strings ?
		       (release->event - release->event_strings) / 32 : 0;
}

static void make_event(int index, uint8_t *made, uint64_t i, bool old)
{
	static const char *const names[] = {
		"alloc", "free_requested", "free_completed", "segment_alloc",
		"segment_free", "segment_map", "segment_unmap", "snapshot", "oom",
	};
	int action = (int)number(old ? ACTIONS_OLD : OOM + 1);
	// 2.0 knows no expandable segments.
	int name = old && action > 4 ? action + 2 : action;
	uint64_t address = UINT64_C(0x7e0000000000) + number(1000) * 512;
	uint64_t size = (1 + number(1000)) * 512, stream = number(3) * 256;

	put(made, UINT64_C(0xA5A5A5) << 40 | (uint64_t)index << 32 |
		  (uint64_t)action);
	put(made + 8, address);
	put(made + 32, stream);
	put(made + 40, size);
	if (release->event_pool)
		put(made + release->event_pool, number(2));
	if (release->event_time)
		put(made + release->event_time, 1000 + i * 977);
	if (!silent)
		printf("EVENT %d %s %" PRIu64 " %" PRIu64 " %" PRIu64, index,
		       names[name], address, size, stream);
	for (int k = 0; k < num_strings(); k++) {
		int length = (int)number(40);

		make_string(made + release->event_strings + 32 * k, length);
		if (!silent)
			printf(" %d", length);
	}
	if (!silent)
		printf("\n");
}

/** A ring that went round, in front of what comes at the end of a device. */
static void make_ring(struct device *device, uint8_t *end)
{
	int index = (int)(device - devices);
	uint64_t count = index ? 1 : 100, next = count / 3;
	uint8_t *events, *vector = malloc(24);

	if (release->event == 0)
		return;
	events = calloc(count, (size_t)release->event);
	for (uint64_t i = 0; i < count; i++)
		make_event(index, events + (next + i) % count *
			   (uint64_t)release->event, i, release->sets == 1);
	put(vector, at(events));
	put(vector + 8, at(events) + count * (uint64_t)release->event);
	put(vector + 16, at(events) + count * (uint64_t)release->event);
	device->ring = end - 8;
	put(end - 8, at(vector));
	put(end - (release->ring_class ? 16 : 32), next);
	put(end - (release->ring_class ? 24 + MUTEX : 16), count);
}

static void make_device(struct device *device)
{
	uint64_t (*actives)[3] = calloc(device->count + 1, sizeof(*actives));
	uint8_t *made, *large, *active;
	size_t count = 0;

	device->made = made = calloc(1, 8192);
	for (int i = 0; i < PRIVATES; i++)
		device->privates[i] = calloc(1, 512);
	for (size_t i = 0; i < device->count; i++)
		device->blocks[i].made = calloc(1, 192);
	put(made + 16, 1);		/* a recursive mutex */
	large = make_stats(device, made + 40);
	make_pool(device, 0, large, NULL);
	make_pool(device, 1, large + pool_size(), NULL);
	active = large + 2 * pool_size();
	make_privates(device, active + 32 + release->gap);
	make_ring(device, active + 32 + release->gap);
	for (size_t i = 0; i < device->count; i++) {
		make_block(device, i);
		if (in_use(&device->blocks[i]))
			actives[count++][0] = at(device->blocks[i].made);
	}
	make_table(active, (const uint64_t (*)[3])actives, count, 1);
	free(actives);
}

/* --- damage ----------------------------------------------------------------------- */

/** One that has others on both sides. */
static struct block *middle(struct device *device)
{
	for (size_t i = device->count / 2; i + 2 < device->count; i++)
		if (!device->blocks[i].first && !device->blocks[i].last)
			return &device->blocks[i];
	return &device->blocks[1];
}

static uint8_t *events_of(const struct device *device)
{
	uint64_t *vector;

	memcpy(&vector, device->ring, sizeof(vector));
	return (uint8_t *)(uintptr_t)vector[0];
}

/** Says where it is. */
static void damage(struct device *device, const char *what)
{
	uint8_t *large = device->pools[0], *made = middle(device)->made;
	int pool = release->block_pool;
	uint64_t root;

	memcpy(&root, large + 16, sizeof(root));
	if (strcmp(what, "next") == 0)
		put(made + pool + 32, at(device->blocks[0].made));
	else if (strcmp(what, "prev") == 0)
		put(made + pool + 24, UINT64_C(0x123456789008));
	else if (strcmp(what, "size") == 0)
		put(made + release->size, UINT64_C(1) << 62);
	else if (strcmp(what, "overlap") == 0)
		put(made + release->size, middle(device)->size + (1 << 20));
	else if (strcmp(what, "pool") == 0)
		put(made + pool, at(native));
	else if (strcmp(what, "allocated") == 0)
		made[pool + 16] = 0xA5;
	else if (strcmp(what, "count") == 0)
		put(made = large + 40, UINT64_C(1) << 31);
	else if (strcmp(what, "loop") == 0)
		put(made = (uint8_t *)(uintptr_t)root + 16, root);
	else if (strcmp(what, "node") == 0)
		put(made = (uint8_t *)(uintptr_t)root + 24, 0xDEADBEE8);
	else if (strcmp(what, "actives") == 0)
		put(made = large + 2 * pool_size() + 24, 1);
	else if (strcmp(what, "slots") == 0)
		put(made = large + 2 * pool_size() + 8, 0xFFFFFF);
	else if (strcmp(what, "stats") == 0)
		put(made = device->made + 40 + 384, 12345);
	else if (strcmp(what, "ring") == 0)
		put(made = device->ring, 0);
	else if (strcmp(what, "events") == 0)
		memset(made = events_of(device), 0xA5,
		       (size_t)release->event * 100);
	else if (strcmp(what, "device") == 0)
		memset(made = device->made, 0xA5, 2048);
	printf("DAMAGE %" PRIu64 "\n", at(made));
}

/** Its clock, whose cycles are nanoseconds, was measured so many times. */
static void make_clock(uint8_t *pairs)
{
	for (uint64_t i = 0; i < 1001; i++) {
		put(pairs + i * 16, UINT64_C(1700000000000000000) + i * 100);
		put(pairs + i * 16 + 8, i * 100);
	}
}

static void make_list(int count)
{
	uint8_t *object = (uint8_t *)native;
	uint64_t *list = calloc((size_t)count, 8);

	for (int i = 0; i < count; i++)
		list[i] = at(devices[i].made);
	put(object, at(table + 2));
	if (release->event_time)
		make_clock(object + CLOCK);
	put(object + release->list, at(list));
	put(object + release->list + 8, at(list + count));
	put(object + release->list + 16, at(list + count));
	_ZN3c104cuda20CUDACachingAllocator9allocatorE = native;
}

/** All of it, by RELEASE, SEED and SEGMENTS; false: there is no such release. */
__attribute__((visibility("default"))) bool make(char **argv, bool quiet)
{
	size_t segments = strtoul(argv[3], NULL, 0);

	for (size_t i = 0; i < sizeof(releases) / sizeof(*releases); i++)
		if (strcmp(releases[i].name, argv[1]) == 0)
			release = &releases[i];
	if (!release)
		return false;
	silent = quiet;
	state = strtoull(argv[2], NULL, 0);
	for (int i = 0; i < MAX_DEVICES; i++) {
		uint64_t address = UINT64_C(0x7e0000000000);

		// No more blocks than words of a segment: it is cut by halves.
		devices[i].blocks = calloc(segments * 64 + 64,
					   sizeof(struct block));
		for (size_t j = 0; j < segments; j++)
			if (devices[i].count < segments * 64)
				cut(&devices[i], j, &address);
		make_device(&devices[i]);
		if (!silent)
			tell(i, &devices[i]);
	}
	make_list(MAX_DEVICES);
	return true;
}

/** The same in another library, of which nothing is told. */
static bool make_another(const char *path, char **argv)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	bool (*other)(char **argv, bool quiet);

	if (!library)
		return false;
	*(void **)&other = dlsym(library, "make");
	return other(argv, true);
}

__attribute__((visibility("default"))) int target(int argc, char **argv)
{
	if (argc < 4 || !make(argv, false))
		return 2;
	if (argc > 4 && strchr(argv[4], '/')) {
		if (!make_another(argv[4], argv))
			return 2;
	} else if (argc > 4) {
		damage(&devices[0], argv[4]);
	}
	printf("READY %d\n", (int)getpid());
	fflush(stdout);
	while (getchar() != EOF)
		continue;
	return 0;
}

#endif
