/*
 * One device of PyTorch's caching allocator; see cachingdevice.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Blocks are taken from the sets of free ones and the table of active ones, and
 * from their neighbours, as a thread may have been about to move one. By address
 * they make the segments: where each leads to the next one, and ends where that
 * begins. What leads elsewhere is a finding, and another segment begins.
 */
#include "cudaheap/cachingdevice.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/hashmap.h"

enum {
	POOLS_FROM = 40, POOLS_TO = 2560,	/* where a device has them */
	BLOCK_MAX = 256,	/* bytes of a Block */
	BLOCK_STREAM = 8, BLOCK_STREAM_USES = 40,	/* the number of those */
	ENTRY_ACTIVE = 16, ENTRY_PRIVATE = 32,
	/* of a private pool: who uses it. Before it newer ones have the id */
	PRIVATE_NEW = 40, PRIVATE_MAX = 512,
	POOLS_MAX = 1 << 16,
	SMALL = 1 << 20,
	MUTEX_OWNER = 8,
};

#define BLOCKS_MAX UINT32_C(0x10000000)
#define ADDRESS_MAX (UINT64_C(1) << 57)

/* A block as it was read. */
struct raw {
	struct torch_block block;
	uint64_t prev, next, segment_context;
	bool expandable;
};

struct reading {
	struct image *image;
	struct memory_reader *memory;
	struct torch_device *device;
	struct raw *raws;
	size_t num_raws, room;
	size_t pools_room;
	struct hashmap by_address;	/* of a Block: number + 1 */
	struct hashmap by_pool;		/* of a BlockPool, the same */
	struct error *err;
	size_t strays;			/* blocks that only neighbours led to */
};

static uint64_t word_of(const uint8_t *bytes, uint32_t offset)
{
	uint64_t word;

	memcpy(&word, bytes + offset, sizeof(word));
	return word;
}

#define FINDING(reading, address, ...) \
	findings_add((reading)->image->findings, "allocator", address, \
		     __VA_ARGS__)

/* --- pools -------------------------------------------------------------------- */

static bool add_pool(struct reading *reading, const struct torch_pool *pool)
{
	struct torch_device *device = reading->device;

	if (device->num_pools == reading->pools_room) {
		size_t room = reading->pools_room ? reading->pools_room * 2 : 16;
		struct torch_pool *grown =
			realloc(device->pools, room * sizeof(*grown));

		if (!grown) {
			reading->err = error_no_memory();
			return false;
		}
		device->pools = grown;
		reading->pools_room = room;
	}
	device->pools[device->num_pools++] = *pool;
	reading->err = hashmap_put(&reading->by_pool, pool->address,
				   (uint32_t)device->num_pools);
	return !reading->err;
}

/** Large and small of an owner. */
static bool add_pools(struct reading *reading, uint64_t object,
		      const struct caching_layout *where,
		      const struct torch_pool *about)
{
	struct torch_pool pool = *about;

	pool.address = object + where->large;
	if (!add_pool(reading, &pool))
		return false;
	pool.address = object + where->small;
	pool.is_small = true;
	return add_pool(reading, &pool);
}

/** @param id  NULL: not known */
static bool add_private(struct reading *reading, uint64_t owner,
			const uint64_t id[2])
{
	struct torch_pool pool = { .owner = owner, .knows_id = id != NULL };
	struct caching_layout own;
	uint32_t known;
	uint64_t newer[2];

	if (!caching_pools_find(reading->memory, owner, 0, PRIVATE_MAX, owner,
				&own) ||
	    own.pool_size != reading->device->layout.pool_size) {
		FINDING(reading, owner, "what should be a private pool of the "
			"caching allocator at 0x%" PRIx64 " is none", owner);
		return true;
	}
	if (hashmap_get(&reading->by_pool, owner + own.large, &known))
		return true;
	if (id) {
		memcpy(pool.id, id, sizeof(pool.id));
	} else if (own.large >= PRIVATE_NEW &&
		   memory_try_read(reading->memory, owner, newer,
				   sizeof(newer))) {
		memcpy(pool.id, newer, sizeof(pool.id));
		pool.knows_id = true;
	}
	(void)memory_try_read(reading->memory,
			      owner + (own.large >= PRIVATE_NEW ? 16 : 0),
			      &pool.use_count, sizeof(pool.use_count));
	return add_pools(reading, owner, &own, &pool);
}

static bool take_private(void *context, uint64_t item)
{
	struct reading *reading = context;
	uint64_t words[3];

	if (reading->device->num_pools >= POOLS_MAX ||
	    !memory_try_read(reading->memory, item, words, sizeof(words)) ||
	    words[2] == 0 || words[2] % 8)
		return false;
	return add_private(reading, words[2], words);
}

/** The number of a pool; one that no map leads to is added. */
static uint32_t pool_of(struct reading *reading, uint64_t block, uint64_t size,
			uint64_t address)
{
	const struct caching_layout *layout = &reading->device->layout;
	struct torch_pool pool = { .address = address };
	uint64_t owner = 0;
	uint32_t number;
	uint8_t small = 2;

	if (hashmap_get(&reading->by_pool, address, &number))
		return number - 1;
	if (address % 8 == 0 &&
	    memory_try_u64(reading->memory, address + layout->owner, &owner) &&
	    owner != 0 && owner % 8 == 0 && owner < address &&
	    address - owner < PRIVATE_MAX &&
	    reading->device->num_pools < POOLS_MAX) {
		if (!add_private(reading, owner, NULL))
			return 0;
		if (hashmap_get(&reading->by_pool, address, &number))
			return number - 1;
	}
	FINDING(reading, block, "the block at 0x%" PRIx64 " is in a pool at "
		"0x%" PRIx64 " that is none of its device", block, address);
	if (address == 0 || reading->device->num_pools >= POOLS_MAX)
		return size > SMALL ? 0 : 1;
	(void)memory_try_read(reading->memory, address + layout->is_small,
			      &small, 1);
	pool.is_small = small > 1 ? size <= SMALL : small;
	if (!add_pool(reading, &pool))
		return 0;
	return (uint32_t)reading->device->num_pools - 1;
}

/* --- blocks ------------------------------------------------------------------- */

static enum caching_state state_of(const struct caching_layout *layout,
				   const uint8_t *bytes)
{
	int32_t events;

	memcpy(&events, bytes + layout->events, sizeof(events));
	if (layout->mapped && !bytes[layout->mapped])
		return CACHING_UNMAPPED;
	if (bytes[layout->allocated])
		return CACHING_ACTIVE;
	return events > 0 || word_of(bytes, BLOCK_STREAM_USES) != 0 ?
		       CACHING_PENDING : CACHING_FREE;
}

static bool is_block(const struct reading *reading, const uint8_t *bytes)
{
	const struct caching_layout *layout = &reading->device->layout;
	uint64_t size = word_of(bytes, layout->size);
	uint64_t data = word_of(bytes, layout->data);

	return size != 0 && data != 0 && data < ADDRESS_MAX &&
	       size < ADDRESS_MAX - data && bytes[layout->allocated] <= 1 &&
	       (!layout->mapped || bytes[layout->mapped] <= 1) &&
	       word_of(bytes, layout->prev) % 8 == 0 &&
	       word_of(bytes, layout->next) % 8 == 0;
}

/** What of its fields the release has; 0 otherwise. */
static uint64_t field(const uint8_t *bytes, uint32_t offset)
{
	return offset ? word_of(bytes, offset) : 0;
}

static struct raw raw_of(struct reading *reading, uint64_t address,
			 const uint8_t *bytes)
{
	const struct caching_layout *layout = &reading->device->layout;
	uint64_t size = word_of(bytes, layout->size);

	return (struct raw){
		.block = {
			.address = address,
			.data = word_of(bytes, layout->data),
			.size = size,
			.requested = field(bytes, layout->requested),
			.stream = word_of(bytes, BLOCK_STREAM),
			.context = field(bytes, layout->context),
			.history = field(bytes, layout->history),
			.segment = UINT32_MAX,
			.pool = pool_of(reading, address, size,
					word_of(bytes, layout->pool)),
			.state = (uint8_t)state_of(layout, bytes),
		},
		.prev = word_of(bytes, layout->prev),
		.next = word_of(bytes, layout->next),
		.segment_context = field(bytes, layout->segment_context),
		.expandable = field(bytes, layout->expandable) != 0,
	};
}

static bool add_raw(struct reading *reading, const struct raw *raw)
{
	if (reading->num_raws == reading->room) {
		size_t room = reading->room ? reading->room * 2 : 1024;
		struct raw *grown = realloc(reading->raws,
					    room * sizeof(*grown));

		if (!grown) {
			reading->err = error_no_memory();
			return false;
		}
		reading->raws = grown;
		reading->room = room;
	}
	reading->raws[reading->num_raws++] = *raw;
	return true;
}

/** False where nothing more can be done: reading->err says why, or too many. */
static bool add_block(struct reading *reading, uint64_t address)
{
	uint32_t size = reading->device->layout.block_size, known;
	uint8_t bytes[BLOCK_MAX];
	struct raw raw;

	if (address != 0 && hashmap_get(&reading->by_address, address, &known))
		return true;
	if (reading->num_raws >= BLOCKS_MAX)
		return false;
	if (address == 0 || address % 8 ||
	    !memory_try_read(reading->memory, address, bytes, size) ||
	    !is_block(reading, bytes)) {
		FINDING(reading, address, "what should be a block of the caching "
			"allocator at 0x%" PRIx64 " is none, or was not "
			"captured", address);
		return true;
	}
	raw = raw_of(reading, address, bytes);
	if (reading->err || !add_raw(reading, &raw))
		return false;
	reading->err = hashmap_put(&reading->by_address, address,
				   (uint32_t)reading->num_raws);
	return !reading->err;
}

static bool take_block(void *context, uint64_t item)
{
	return add_block(context, item);
}

static bool take_active(void *context, uint64_t item)
{
	struct reading *reading = context;
	uint64_t address;

	return memory_try_u64(reading->memory, item, &address) &&
	       add_block(reading, address);
}

static void read_pool(struct reading *reading, uint64_t address)
{
	uint32_t num_sets = reading->device->layout.num_sets;
	struct caching_set set;
	uint64_t bad, at = address;

	for (uint32_t i = 0; i < num_sets && !reading->err; i++) {
		at = address + i * CACHING_SET;
		if (!caching_set_at(reading->memory, at, &set))
			bad = at;
		else if (caching_set_each(reading->memory, &set, take_block,
					  reading, &bad))
			continue;
		FINDING(reading, bad, "the free blocks of the pool at 0x%" PRIx64
			" cannot all be read: their set breaks off at 0x%"
			PRIx64, address, bad);
	}
}

/** Those that lead to each other, though no set has them. */
static void read_neighbours(struct reading *reading)
{
	size_t in_sets = reading->num_raws;

	for (size_t i = 0; i < reading->num_raws && !reading->err; i++) {
		uint64_t sides[] = { reading->raws[i].prev,
				     reading->raws[i].next };

		for (int j = 0; j < 2 && !reading->err; j++)
			if (sides[j] != 0)
				(void)add_block(reading, sides[j]);
	}
	reading->strays = reading->num_raws - in_sets;
}

static void read_blocks(struct reading *reading)
{
	struct torch_device *device = reading->device;
	uint64_t table_at = device->address + device->layout.active, bad;
	struct caching_table table;

	// Pools that blocks lead to are added while these are read.
	for (size_t i = 0; i < device->num_pools && !reading->err; i++)
		read_pool(reading, device->pools[i].address);
	bad = table_at;
	if (!reading->err &&
	    (!caching_table_at(reading->memory, table_at, &table) ||
	     !caching_table_each(reading->memory, &table, ENTRY_ACTIVE,
				 take_active, reading, &bad)) && !reading->err)
		FINDING(reading, bad, "the active blocks of device %d cannot all "
			"be read: their table breaks off at 0x%" PRIx64,
			device->index, bad);
	if (!reading->err)
		read_neighbours(reading);
}

/* --- segments ----------------------------------------------------------------- */

/** By address on the device; those without memory last. */
static int by_data(const void *a, const void *b)
{
	const struct raw *x = a, *y = b;
	bool of_x = x->block.state == CACHING_UNMAPPED;
	bool of_y = y->block.state == CACHING_UNMAPPED;

	if (of_x != of_y)
		return of_x - of_y;
	if (x->block.data != y->block.data)
		return x->block.data < y->block.data ? -1 : 1;
	return (x->block.address > y->block.address) -
	       (x->block.address < y->block.address);
}

static bool is_unmapped(const struct reading *reading, uint64_t address)
{
	uint32_t number;

	return hashmap_get(&reading->by_address, address, &number) &&
	       reading->raws[number - 1].block.state == CACHING_UNMAPPED;
}

/** Does one go on from the one before it? Where it says so wrongly: finding. */
static bool goes_on(struct reading *reading, size_t i)
{
	const struct raw *raw = &reading->raws[i];
	const struct raw *before = i ? raw - 1 : NULL;
	bool joined = before && raw->prev == before->block.address &&
		      before->next == raw->block.address;

	if (before && raw->block.data < before->block.data + before->block.size)
		FINDING(reading, raw->block.address, "the block at 0x%" PRIx64
			" begins at 0x%" PRIx64 " of the device, inside the one "
			"at 0x%" PRIx64, raw->block.address, raw->block.data,
			before->block.address);
	else if (joined &&
		 raw->block.data == before->block.data + before->block.size)
		return true;
	if (raw->prev != 0 && !is_unmapped(reading, raw->prev))
		FINDING(reading, raw->block.address, "the block at 0x%" PRIx64
			" (0x%" PRIx64 " of the device) does not go on from the "
			"one that it says is before it, at 0x%" PRIx64,
			raw->block.address, raw->block.data, raw->prev);
	return false;
}

static void add_to_segment(struct torch_segment *segment,
			   const struct torch_block *block)
{
	bool active = block->state != CACHING_FREE;

	segment->num_blocks++;
	segment->total += block->size;
	if (block->state == CACHING_ACTIVE)
		segment->allocated += block->size;
	if (active) {
		segment->active += block->size;
		segment->requested += block->requested;
	}
}

static void make_segments(struct reading *reading)
{
	struct torch_device *device = reading->device;
	struct torch_segment *segment = NULL;

	for (size_t i = 0; i < device->num_blocks; i++) {
		const struct raw *raw = &reading->raws[i];

		if (!goes_on(reading, i)) {
			segment = &device->segments[device->num_segments++];
			*segment = (struct torch_segment){
				.address = raw->block.data,
				.stream = raw->block.stream,
				.context = raw->segment_context,
				.first_block = (uint32_t)i,
				.pool = raw->block.pool,
				.is_expandable = raw->expandable,
			};
			// 1.13 and 2.0 ask of a segment what its first block has.
			segment->is_whole =
				raw->block.state == CACHING_FREE &&
				raw->prev == 0 && raw->next == 0;
		}
		device->blocks[i] = raw->block;
		device->blocks[i].segment = (uint32_t)device->num_segments - 1;
		add_to_segment(segment, &raw->block);
	}
	for (size_t i = 0; i < device->num_segments; i++) {
		device->reserved += device->segments[i].total;
		device->allocated += device->segments[i].allocated;
		device->active += device->segments[i].active;
		device->requested += device->segments[i].requested;
	}
}

static struct error *order_blocks(struct reading *reading)
{
	struct torch_device *device = reading->device;
	size_t total = reading->num_raws;

	if (total)
		qsort(reading->raws, total, sizeof(*reading->raws), by_data);
	device->blocks = calloc(total + 1, sizeof(*device->blocks));
	device->segments = calloc(total + 1, sizeof(*device->segments));
	if (!device->blocks || !device->segments)
		return error_no_memory();
	for (size_t i = 0; i < total; i++) {
		struct error *err = hashmap_put(
			&reading->by_address, reading->raws[i].block.address,
			(uint32_t)i + 1);

		if (err)
			return err;
		if (reading->raws[i].block.state != CACHING_UNMAPPED) {
			device->num_blocks++;
			continue;
		}
		device->num_unmapped++;
		device->blocks[i] = reading->raws[i].block;
	}
	make_segments(reading);
	return NULL;
}

/* --- statistics --------------------------------------------------------------- */

/** The allocator has counted all along: what it says must be what there is. */
static void compare(struct reading *reading)
{
	struct torch_device *device = reading->device;
	const struct torch_device_stats *stats = &device->stats;
	const struct {
		const char *what;
		uint64_t is;
		int64_t said;
	} sums[] = {
		{ "reserved", device->reserved,
		  stats->reserved_bytes[TORCH_STAT_ALL].current },
		{ "allocated", device->allocated,
		  stats->allocated_bytes[TORCH_STAT_ALL].current },
		{ "active", device->active,
		  stats->active_bytes[TORCH_STAT_ALL].current },
	};

	device->agrees = true;
	for (size_t i = 0; i < sizeof(sums) / sizeof(*sums); i++) {
		if ((int64_t)sums[i].is == sums[i].said)
			continue;
		device->agrees = false;
		FINDING(reading, device->address, "%s bytes of device %d are %"
			PRIu64 " by its blocks, and %" PRId64 " by its "
			"statistics%s", sums[i].what, device->index, sums[i].is,
			sums[i].said, device->is_locked ?
			": a thread was in the allocator" : "");
	}
	if (reading->strays && !device->is_locked)
		FINDING(reading, device->address, "%zu blocks of device %d are "
			"neither active nor free: only their neighbours lead to "
			"them", reading->strays, device->index);
}

/* --- all of it ---------------------------------------------------------------- */

static void read_mutex(struct reading *reading)
{
	struct torch_device *device = reading->device;
	uint32_t words[3];

	if (!memory_try_read(reading->memory, device->address, words,
			     sizeof(words)))
		return;
	device->is_locked = words[0] != 0;
	device->locked_by = words[0] ? words[MUTEX_OWNER / 4] : 0;
}

static struct error *read_all(struct reading *reading)
{
	static const uint64_t none[2];
	struct torch_device *device = reading->device;
	struct torch_pool of_device = { .knows_id = true };
	struct caching_table table;
	uint64_t map = device->address + device->layout.private_pools, bad = map;

	memcpy(of_device.id, none, sizeof(none));
	read_mutex(reading);
	if (!add_pools(reading, device->address, &device->layout, &of_device))
		return reading->err;
	if (device->layout.private_pools &&
	    (!caching_table_at(reading->memory, map, &table) ||
	     !caching_table_each(reading->memory, &table, ENTRY_PRIVATE,
				 take_private, reading, &bad)) && !reading->err)
		FINDING(reading, bad, "the private pools of device %d cannot all "
			"be read: their map breaks off at 0x%" PRIx64,
			device->index, bad);
	if (!reading->err)
		read_blocks(reading);
	if (!reading->err)
		reading->err = order_blocks(reading);
	if (reading->err)
		return reading->err;
	caching_stats_read(reading->memory, reading->device);
	compare(reading);
	return NULL;
}

bool caching_device_is(struct memory_reader *memory, uint64_t address)
{
	struct caching_layout layout;

	return address != 0 && address % 8 == 0 &&
	       caching_pools_find(memory, address, POOLS_FROM, POOLS_TO, 0,
				  &layout);
}

struct error *caching_device_read(struct image *image,
				  struct memory_reader *memory,
				  struct torch_device *device)
{
	struct reading reading = { .image = image, .memory = memory,
				   .device = device };
	struct error *err;

	if (!caching_pools_find(memory, device->address, POOLS_FROM, POOLS_TO,
				0, &device->layout) ||
	    !caching_layout_find(memory, device->address, device->size,
				 &device->layout) ||
	    device->layout.block_size > BLOCK_MAX) {
		findings_add(image->findings, "allocator", device->address,
			     "the caching allocator of device %d at 0x%" PRIx64
			     " is not laid out as in any release that is known "
			     "(1.13 to 2.15), is damaged, or was not captured: "
			     "what it holds is not known", device->index,
			     device->address);
		return NULL;
	}
	device->is_known = true;
	err = read_all(&reading);
	hashmap_deinit(&reading.by_address);
	hashmap_deinit(&reading.by_pool);
	free(reading.raws);
	return err;
}

void caching_device_deinit(struct torch_device *device)
{
	free(device->blocks);
	free(device->segments);
	free(device->pools);
	*device = (struct torch_device){ 0 };
}
