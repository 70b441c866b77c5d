/*
 * Sets and tables of C++ as PyTorch's allocator has them; see cachinglayout.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * std::set of libstdc++ is a red-black tree whose header is a node of the set
 * itself: an empty one leads to itself, and the root of another leads to it.
 * ska::flat_hash_set is an array of entries, each with its distance from where
 * it belongs in front; behind the last one is one more, to stop at.
 */
#include "cudaheap/cachinglayout.h"

#include <string.h>

enum {
	/* of a set */
	SET_HEADER = 8, SET_ROOT = 16, SET_LEFT = 24, SET_RIGHT = 32,
	SET_COUNT = 40,
	/* of its nodes */
	NODE_PARENT = 1, NODE_LEFT, NODE_RIGHT, NODE_ITEM, NODE_WORDS,
	/* a tree of so many levels has more nodes than there are bytes */
	DEPTH_MAX = 128,
	/* of a table */
	TABLE_SLOTS = 8, TABLE_LOOKUPS = 17, TABLE_LOAD = 20, TABLE_COUNT = 24,
	LOOKUPS_MAX = 64,
	ENTRY_MAX = 64,
	BATCH = 512,		/* entries read together */
};

#define HALF UINT32_C(0x3F000000)	/* 0.5f: how full it may get */
#define ITEMS_MAX (UINT64_C(1) << 32)

static uint64_t word_of(const uint8_t *bytes, uint32_t offset)
{
	uint64_t word;

	memcpy(&word, bytes + offset, sizeof(word));
	return word;
}

/* --- sets ------------------------------------------------------------------- */

bool caching_set_at(struct memory_reader *memory, uint64_t address,
		    struct caching_set *ret)
{
	uint64_t header = address + SET_HEADER, parent;
	uint8_t bytes[CACHING_SET];
	struct caching_set set = { .address = address };

	if (!memory_try_read(memory, address, bytes, sizeof(bytes)))
		return false;
	set.root = word_of(bytes, SET_ROOT);
	set.leftmost = word_of(bytes, SET_LEFT);
	set.count = word_of(bytes, SET_COUNT);
	if (set.root == 0) {
		if (set.leftmost != header ||
		    word_of(bytes, SET_RIGHT) != header || set.count != 0)
			return false;
	} else if (set.root % 8 || set.leftmost % 8 ||
		   !memory_try_u64(memory, set.root + NODE_PARENT * 8,
				   &parent) ||
		   parent != header) {
		return false;
	}
	*ret = set;
	return true;
}

/* A walk through a tree, in order: the nodes that are to come back to. */
struct walk {
	struct memory_reader *memory;
	uint64_t at[DEPTH_MAX];
	uint64_t nodes[DEPTH_MAX][NODE_WORDS];
	unsigned int depth;
	uint64_t bad;
};

/** A node and all that are left of it. */
static bool descend(struct walk *walk, uint64_t node, uint64_t parent)
{
	while (node != 0) {
		uint64_t *words;

		if (walk->depth == DEPTH_MAX || node % 8) {
			walk->bad = node;
			return false;
		}
		words = walk->nodes[walk->depth];
		// What knows its parent is only in its place, so no node comes
		// up twice; unless it is on both sides of it.
		if (!memory_try_read(walk->memory, node, words,
				     sizeof(walk->nodes[0])) ||
		    words[NODE_PARENT] != parent ||
		    (words[NODE_LEFT] != 0 &&
		     words[NODE_LEFT] == words[NODE_RIGHT])) {
			walk->bad = node;
			return false;
		}
		walk->at[walk->depth++] = node;
		parent = node;
		node = words[NODE_LEFT];
	}
	return true;
}

bool caching_set_each(struct memory_reader *memory, const struct caching_set *set,
		      bool (*fn)(void *context, uint64_t item), void *context,
		      uint64_t *ret_bad)
{
	struct walk walk = { .memory = memory };
	uint64_t count = 0;
	bool fine = descend(&walk, set->root, set->address + SET_HEADER);

	// What hangs on other branches than a damaged one is read all the same.
	while (walk.depth > 0) {
		const uint64_t *words = walk.nodes[--walk.depth];
		uint64_t node = walk.at[walk.depth];
		uint64_t right = words[NODE_RIGHT];

		count++;
		if (!fn(context, words[NODE_ITEM])) {
			*ret_bad = node;
			return false;
		}
		fine &= descend(&walk, right, node);
	}
	if (fine && count != set->count) {
		walk.bad = set->address;
		fine = false;
	}
	*ret_bad = walk.bad;
	return fine;
}

/* --- tables ----------------------------------------------------------------- */

bool caching_table_at(struct memory_reader *memory, uint64_t address,
		      struct caching_table *ret)
{
	struct caching_table table;
	uint8_t bytes[CACHING_TABLE];
	uint32_t load;

	if (!memory_try_read(memory, address, bytes, sizeof(bytes)))
		return false;
	memcpy(&load, bytes + TABLE_LOAD, sizeof(load));
	table.entries = word_of(bytes, 0);
	table.slots = word_of(bytes, TABLE_SLOTS);
	table.count = word_of(bytes, TABLE_COUNT);
	table.lookups = bytes[TABLE_LOOKUPS];
	if (load != HALF || table.entries == 0 || table.entries % 8 ||
	    (table.slots & (table.slots + 1)) || table.slots >= ITEMS_MAX ||
	    table.lookups == 0 || table.lookups > LOOKUPS_MAX ||
	    table.count > table.slots + 1)
		return false;
	*ret = table;
	return true;
}

/** Is where to stop where it should be? Then its size is right. */
static bool has_end(struct memory_reader *memory,
		    const struct caching_table *table, uint32_t entry)
{
	uint64_t end = table->entries + (table->slots + table->lookups) * entry;
	uint8_t distance;

	return memory_try_read(memory, end, &distance, 1) && distance == 0;
}

bool caching_table_each(struct memory_reader *memory,
			const struct caching_table *table, uint32_t entry,
			bool (*fn)(void *context, uint64_t item), void *context,
			uint64_t *ret_bad)
{
	bool whole = has_end(memory, table, entry);
	uint64_t total = table->count || whole ? table->slots + table->lookups :
						 0;
	uint64_t count = 0;
	uint8_t bytes[BATCH * ENTRY_MAX];

	for (uint64_t first = 0; first < total; first += BATCH) {
		uint64_t left = total - first;
		uint64_t address = table->entries + first * entry;
		size_t num = left < BATCH ? (size_t)left : BATCH;

		if (!memory_try_read(memory, address, bytes, num * entry)) {
			*ret_bad = address;
			return false;
		}
		for (size_t i = 0; i < num; i++) {
			if ((int8_t)bytes[i * entry] < 0)
				continue;
			if ((count++ < table->count || whole) &&
			    fn(context, address + i * entry + 8))
				continue;
			*ret_bad = address + i * entry;
			return false;
		}
	}
	*ret_bad = table->entries;
	return whole && count == table->count;
}
