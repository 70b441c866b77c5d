/*
 * PyTorch's allocator of pinned memory; see cachinghost.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It is reached by a variable of libtorch_cuda, known by its class.
 */
#include "cudaheap/cachinghost.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cudaheap/cachingscan.h"
#include "cudaheap/torchclass.h"

enum {
	OBJECT_MAX = 4096,	/* bytes of the object that are looked at */
	/* of a pool: the set of its blocks, the same by address */
	POOL_BY_DATA = CACHING_TABLE,
	ENTRY_BLOCK = 16, ENTRY_DATA = 24, ENTRY_PRIVATE = 32,
	/* of a private pool, from the start of that */
	PRIVATE_POINTER = 16, PRIVATE_POOL = 64, PRIVATE_MUTEX = 40,
	/* of a block */
	BLOCK_SIZE = 40, BLOCK_DATA = 48, BLOCK_ALLOCATED = 56,
	BLOCK_EVENTS = 64, BLOCK_STREAMS = 72, BLOCK_POOL = 104,
	BLOCK_CONTEXT = 128, BLOCK_BYTES = 144,
};

#define BLOCKS_MAX (UINT64_C(1) << 24)
#define ADDRESS_MAX (UINT64_C(1) << 57)

struct reading {
	struct image *image;
	struct memory_reader *memory;
	struct caching_host *host;
	size_t room;
	uint64_t bad;		/* a block that is none; 0: all are */
	struct error *err;
};

static bool is_it(void *context, uint64_t word)
{
	struct reading *reading = context;
	char text[TORCH_CLASS_MAX];
	const char *name;

	// It is allocated, for members that are aligned to lines of the cache.
	if (word % 64 || word > ADDRESS_MAX ||
	    modules_find(reading->image->modules, word))
		return false;
	name = torch_class(reading->memory, word, text);
	if (!name || strcmp(name, "CUDACachingHostAllocatorImpl") != 0)
		return false;
	reading->host->address = word;
	return true;
}

static void find(struct reading *reading)
{
	const struct image *image = reading->image;

	for (size_t i = 0; i < modules_count(image->modules); i++) {
		struct module *module = modules_get(image->modules, i);

		if (strncmp(caching_base_name(module), "libtorch_cuda.", 14) ==
			    0 &&
		    caching_scan_words(image, reading->memory, module->start,
				       module->end, is_it, reading))
			return;
	}
}

static uint64_t word_of(const uint8_t *bytes, uint32_t offset)
{
	uint64_t word;

	memcpy(&word, bytes + offset, sizeof(word));
	return word;
}

static bool read_block(struct memory_reader *memory, uint64_t address,
		       struct torch_host_block *ret)
{
	uint8_t bytes[BLOCK_BYTES];
	struct caching_table streams;

	if (address == 0 || address % 8 ||
	    !memory_try_read(memory, address, bytes, sizeof(bytes)) ||
	    !caching_table_at(memory, address + BLOCK_STREAMS, &streams) ||
	    bytes[BLOCK_ALLOCATED] > 1 || word_of(bytes, BLOCK_DATA) == 0 ||
	    word_of(bytes, BLOCK_DATA) > ADDRESS_MAX ||
	    word_of(bytes, BLOCK_SIZE) > ADDRESS_MAX)
		return false;
	*ret = (struct torch_host_block){
		.address = address, .data = word_of(bytes, BLOCK_DATA),
		.size = word_of(bytes, BLOCK_SIZE),
		.context = word_of(bytes, BLOCK_CONTEXT),
		.state = bytes[BLOCK_ALLOCATED] ? CACHING_ACTIVE :
			 word_of(bytes, BLOCK_EVENTS) ? CACHING_PENDING :
							CACHING_FREE,
	};
	memcpy(ret->pool, bytes + BLOCK_POOL, sizeof(ret->pool));
	return true;
}

static bool take_block(void *context, uint64_t item)
{
	struct reading *reading = context;
	struct caching_host *host = reading->host;
	struct torch_host_block block;
	uint64_t address;

	if (!memory_try_u64(reading->memory, item, &address) ||
	    !read_block(reading->memory, address, &block)) {
		reading->bad = item;
		return true;
	}
	if (host->num_blocks == reading->room) {
		size_t room = reading->room ? reading->room * 2 : 256;
		struct torch_host_block *grown =
			room > BLOCKS_MAX ? NULL :
			reallocarray(host->blocks, room, sizeof(*grown));

		if (!grown) {
			reading->err = error_no_memory();
			return false;
		}
		host->blocks = grown;
		reading->room = room;
	}
	host->blocks[host->num_blocks++] = block;
	return true;
}

/** Has a table this block? Both of a pool have the same. */
struct wanted {
	struct memory_reader *memory;
	uint64_t item, block;
	bool found;
};

static bool take_item(void *context, uint64_t item)
{
	struct wanted *wanted = context;

	wanted->item = item;
	wanted->found = true;
	return false;
}

static bool look(void *context, uint64_t item)
{
	struct wanted *wanted = context;
	uint64_t block;

	wanted->found = memory_try_u64(wanted->memory, item + 8, &block) &&
			block == wanted->block;
	return !wanted->found;
}

static bool is_pool(struct memory_reader *memory, uint64_t address,
		    struct caching_table *ret)
{
	struct wanted wanted = { .memory = memory };
	struct caching_table by_data;
	uint64_t bad;

	if (!caching_table_at(memory, address, ret) ||
	    !caching_table_at(memory, address + POOL_BY_DATA, &by_data) ||
	    ret->count != by_data.count)
		return false;
	(void)caching_table_each(memory, ret, ENTRY_BLOCK, take_item, &wanted,
				 &bad);
	if (!memory_try_u64(memory, wanted.item, &wanted.block))
		return false;
	wanted.found = false;
	(void)caching_table_each(memory, &by_data, ENTRY_DATA, look, &wanted,
				 &bad);
	return wanted.found;
}

static void read_pool(struct reading *reading, uint64_t address,
		      const struct caching_table *table)
{
	uint64_t bad = 0;

	if ((!caching_table_each(reading->memory, table, ENTRY_BLOCK,
				 take_block, reading, &bad) || reading->bad) &&
	    !reading->err)
		findings_add(reading->image->findings, "allocator",
			     reading->bad ? reading->bad : bad,
			     "blocks of pinned memory cannot all be read: the "
			     "pool at 0x%" PRIx64 " is damaged, or laid out "
			     "otherwise than in 2.14 and 2.15", address);
}

static bool take_private(void *context, uint64_t item)
{
	struct reading *reading = context;
	uint64_t pool;
	struct caching_table table;

	if (!memory_try_u64(reading->memory, item + PRIVATE_POINTER, &pool) ||
	    pool == 0 || pool % 64 ||
	    !caching_table_at(reading->memory, pool + PRIVATE_POOL +
			      PRIVATE_MUTEX, &table))
		findings_add(reading->image->findings, "allocator", item,
			     "a private pool of pinned memory at 0x%" PRIx64
			     " cannot be read", pool);
	else if (table.count)
		read_pool(reading, pool, &table);
	return !reading->err;
}

/** Is this the map of private pools? */
static bool is_private_map(struct memory_reader *memory,
			   const struct caching_table *table)
{
	struct wanted first = { .memory = memory };
	struct caching_table blocks;
	uint64_t id[2], key[2], bad;

	(void)caching_table_each(memory, table, ENTRY_PRIVATE, take_item, &first,
				 &bad);
	// Each begins with its own key.
	return first.found &&
	       memory_try_read(memory, first.item, key, sizeof(key)) &&
	       memory_try_u64(memory, first.item + PRIVATE_POINTER,
			      &first.block) &&
	       first.block != 0 && first.block % 64 == 0 &&
	       memory_try_read(memory, first.block, id, sizeof(id)) &&
	       memcmp(id, key, sizeof(id)) == 0 &&
	       caching_table_at(memory, first.block + PRIVATE_POOL +
				PRIVATE_MUTEX, &blocks);
}

/**
 * The default pool and the map of private ones, wherever they are among its
 * tables. What has no block has no pool either that could be told from others.
 */
static void read_all(struct reading *reading)
{
	uint64_t object = reading->host->address, bad;
	struct caching_table table;
	bool private = false, pool = false;

	for (uint32_t at = 8; at < OBJECT_MAX && !reading->err; at += 8) {
		if (!caching_table_at(reading->memory, object + at, &table) ||
		    table.count == 0)
			continue;
		if (!pool && is_pool(reading->memory, object + at, &table)) {
			read_pool(reading, object + at, &table);
			pool = true;
		} else if (!private && is_private_map(reading->memory, &table)) {
			reading->bad = 0;
			(void)caching_table_each(reading->memory, &table,
						 ENTRY_PRIVATE, take_private,
						 reading, &bad);
			private = true;
		}
	}
}

struct error *caching_host_read(struct image *image,
				struct memory_reader *memory,
				struct caching_host *ret)
{
	struct reading reading = { .image = image, .memory = memory,
				   .host = ret };

	*ret = (struct caching_host){ 0 };
	find(&reading);
	if (ret->address)
		read_all(&reading);
	if (reading.err)
		caching_host_deinit(ret);
	return reading.err;
}

void caching_host_deinit(struct caching_host *host)
{
	free(host->blocks);
	*host = (struct caching_host){ 0 };
}
