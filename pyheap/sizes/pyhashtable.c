/*
 * Hash tables that CPython keeps for itself; see pyhashtable.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/sizes/pyhashtable.h"

#include <inttypes.h>
#include <string.h>

enum {
	BUCKETS_MIN = 16,
	BUCKETS_AT_ONCE = 512,
	ENTRY_MAX = 32,		/* bytes of an entry that are read */
	KEY_AT = 16,		/* from the start of an entry */
	KEY_SIZE_MAX = 12,	/* 3.8: a word and an int */
	SAMPLE = 16,		/* filled buckets that tell how many there are */
};

/* More buckets than any memory has room for. */
#define BUCKETS_MAX (UINT64_C(1) << 44)

/* --- the table ------------------------------------------------------------ */

static bool read_entry(const struct pyh_runtime *runtime,
		       struct memory_reader *memory,
		       const struct pyh_hashtable *table, uint64_t address,
		       uint64_t *ret_next, struct pyh_hashentry *ret)
{
	// next, hash, key and, since 3.9, the value
	uint64_t words[ENTRY_MAX / 8];

	if (address % 8 ||
	    !memory_try_read(memory, address, words, sizeof(words)))
		return false;
	*ret_next = words[pyh_offset(runtime, PYH_HASHENTRY_NEXT) / 8];
	*ret = (struct pyh_hashentry){
		.address = address,
		.hash = words[pyh_offset(runtime, PYH_HASHENTRY_KEY_HASH) / 8],
		.key = words[2],
		.value = words[3],
	};
	if (!table->inline_values)
		return true;
	if (table->value_at >= KEY_AT + KEY_SIZE_MAX)
		ret->extra = (uint32_t)words[3];
	ret->value = address + table->value_at;
	return true;
}

static bool is_count_of_buckets(uint64_t buckets)
{
	return buckets >= BUCKETS_MIN && buckets <= BUCKETS_MAX &&
	       (buckets & (buckets - 1)) == 0;
}

static bool belongs(const struct pyh_hashtable *table,
		    const struct pyh_hashentry *entry, uint64_t bucket)
{
	uint64_t mask = table->buckets - 1;

	return (entry->hash & mask) == bucket ||
	       ((pyh_hash_address(entry->key) ^ entry->extra) & mask) ==
	       bucket;
}

/**
 * Whether the last buckets of so many hold what belongs into them. Of a smaller
 * number they do as well, so at least the upper half must not be empty; a part
 * of it may be, as neighbours are filled by neighbours in memory.
 */
static bool ends_here(const struct pyh_runtime *runtime,
		      struct memory_reader *memory,
		      const struct pyh_hashtable *table)
{
	uint64_t at = table->buckets, head, next;
	unsigned int seen = 0;
	struct pyh_hashentry entry;

	while (at-- > table->buckets / 2 && seen < SAMPLE) {
		if (!memory_try_u64(memory, table->heads + at * 8, &head))
			return false;
		if (head == 0)
			continue;
		if (!read_entry(runtime, memory, table, head, &next, &entry) ||
		    !belongs(table, &entry, at))
			return false;
		seen++;
	}
	return seen > 0;
}

/**
 * Tables are between a tenth and a half full. Where one is not, find out how
 * many buckets there are by what is in them.
 */
static void repair(const struct pyh_runtime *runtime,
		   struct memory_reader *memory, struct pyh_hashtable *table)
{
	struct pyh_hashtable tried = *table;

	if (is_count_of_buckets(table->buckets) &&
	    (table->buckets == BUCKETS_MIN ||
	     (table->entries >= table->buckets / 16 &&
	      table->entries <= table->buckets)))
		return;
	if (table->entries > BUCKETS_MAX / 16)
		return;
	for (tried.buckets = BUCKETS_MIN;
	     tried.buckets < table->entries * 16;
	     tried.buckets *= 2) {
		if (tried.buckets < table->entries ||
		    tried.buckets == table->buckets ||
		    !ends_here(runtime, memory, &tried))
			continue;
		table->buckets = tried.buckets;
		table->repaired = true;
	}
}

/** How entries are built: by the table itself up to 3.8. */
static bool read_shape(const struct pyh_runtime *runtime,
		       struct memory_reader *memory,
		       struct pyh_hashtable *table)
{
	uint64_t key, data;

	table->value_at = pyh_offset(runtime, PYH_HASHENTRY_VALUE);
	table->inline_values = pyh_has(runtime, PYH_HASHTABLE_KEY_SIZE);
	if (!table->inline_values)
		return true;
	if (!pyh_field(runtime, memory, table->address, PYH_HASHTABLE_KEY_SIZE,
		       &key) ||
	    !pyh_field(runtime, memory, table->address, PYH_HASHTABLE_DATA_SIZE,
		       &data))
		return false;
	table->value_at = KEY_AT + key;
	return (key == 8 || key == KEY_SIZE_MAX) && data <= 64;
}

enum pyh_found pyh_hashtable_read(const struct pyh_runtime *runtime,
				  struct memory_reader *memory,
				  uint64_t address, struct pyh_hashtable *ret)
{
	struct pyh_hashtable table = { .address = address };
	enum memory_state state = memory_state_at(memory->memory, address);
	uint64_t allocator[2];	/* malloc and free */

	if (address == 0 || address % 8 || state == MEMORY_UNMAPPED)
		return PYH_FOUND_BAD;
	if (state == MEMORY_NOT_CAPTURED)
		return PYH_FOUND_MISSING;
	if (!pyh_field(runtime, memory, address, PYH_HASHTABLE_NENTRIES,
		       &table.entries) ||
	    !pyh_field(runtime, memory, address, PYH_HASHTABLE_NBUCKETS,
		       &table.buckets) ||
	    !pyh_field(runtime, memory, address, PYH_HASHTABLE_BUCKETS,
		       &table.heads) ||
	    !memory_try_read(memory, address +
			     pyh_offset(runtime, PYH_HASHTABLE_ALLOC),
			     allocator, sizeof(allocator)) ||
	    !read_shape(runtime, memory, &table) ||
	    allocator[0] == 0 || allocator[1] == 0 ||
	    table.heads == 0 || table.heads % 8)
		return PYH_FOUND_BAD;
	state = memory_state_at(memory->memory, table.heads);
	if (state < MEMORY_CAPTURED)
		return state == MEMORY_UNMAPPED ? PYH_FOUND_BAD :
						  PYH_FOUND_MISSING;
	repair(runtime, memory, &table);
	if (!is_count_of_buckets(table.buckets))
		return PYH_FOUND_BAD;
	*ret = table;
	return PYH_FOUND;
}

/* --- its entries ---------------------------------------------------------- */

/** A walk over the entries of one bucket. */
struct chain {
	uint64_t at;		/* address of the next entry; 0: the end */
	uint64_t steps;
	uint64_t seen;		/* an entry passed: to come back is a cycle */
};

/** Step to the next entry; NULL, or what is wrong with it. */
static const char *chain_step(const struct pyh_runtime *runtime,
			      struct memory_reader *memory,
			      const struct pyh_hashtable *table,
			      uint64_t bucket, struct chain *chain,
			      struct pyh_hashentry *ret)
{
	uint64_t next;

	if (!read_entry(runtime, memory, table, chain->at, &next, ret))
		return "an entry that cannot be read";
	if (!belongs(table, ret, bucket))
		return "an entry of another bucket";
	if (chain->at == chain->seen)
		return "an entry that was in it before";
	// Brent: a cycle comes back to where it was at a power of two.
	if ((chain->steps & (chain->steps - 1)) == 0)
		chain->seen = chain->at;
	chain->steps++;
	chain->at = next;
	return NULL;
}

static bool each_of_bucket(const struct pyh_runtime *runtime,
			   struct memory_reader *memory,
			   const struct pyh_hashtable *table, uint64_t bucket,
			   uint64_t head, struct findings *findings,
			   pyh_hashentry_fn *fn, void *context)
{
	struct chain chain = { .at = head };
	struct pyh_hashentry entry;
	const char *wrong;

	while (chain.at != 0) {
		wrong = chain_step(runtime, memory, table, bucket, &chain,
				   &entry);
		if (wrong) {
			findings_add(findings, "hashtable-bucket", chain.at,
				     "bucket %" PRIu64 " of the table at 0x%"
				     PRIx64 " leads to %s", bucket,
				     table->address, wrong);
			return true;
		}
		if (!fn(context, &entry))
			return false;
	}
	return true;
}

bool pyh_hashtable_each(const struct pyh_runtime *runtime,
			struct memory_reader *memory,
			const struct pyh_hashtable *table, uint64_t first,
			uint64_t count, struct findings *findings,
			pyh_hashentry_fn *fn, void *context)
{
	uint64_t heads[BUCKETS_AT_ONCE], part;

	for (; count > 0; first += part, count -= part) {
		part = count < BUCKETS_AT_ONCE ? count : BUCKETS_AT_ONCE;
		if (!memory_try_read(memory, table->heads + first * 8, heads,
				     part * 8)) {
			findings_add(findings, "hashtable-buckets",
				     table->heads + first * 8,
				     "%" PRIu64 " buckets of the table at 0x%"
				     PRIx64 " are not all in the dump", part,
				     table->address);
			continue;
		}
		for (uint64_t i = 0; i < part; i++)
			if (!each_of_bucket(runtime, memory, table, first + i,
					    heads[i], findings, fn, context))
				return false;
	}
	return true;
}

bool pyh_hashtable_find(const struct pyh_runtime *runtime,
			struct memory_reader *memory,
			const struct pyh_hashtable *table, uint64_t key,
			struct pyh_hashentry *ret)
{
	uint64_t bucket = pyh_hash_address(key) & (table->buckets - 1);
	struct chain chain = { 0 };

	if (!memory_try_u64(memory, table->heads + bucket * 8, &chain.at))
		return false;
	while (chain.at != 0 &&
	       !chain_step(runtime, memory, table, bucket, &chain, ret))
		if (ret->key == key && ret->extra == 0)
			return true;
	return false;
}
