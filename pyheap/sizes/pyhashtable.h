/*
 * Hash tables that CPython keeps for itself, _Py_hashtable_t.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Buckets are singly linked lists of entries. Since 3.9 an entry has a key and
 * a value of one word each; in 3.8 both, of any size, lie behind it.
 *
 * Source: CPython Python/hashtable.c and Include/internal/pycore_hashtable.h
 * (3.8: Modules/hashtable.c).
 */
#ifndef PYHEAP_PYHASHTABLE_H
#define PYHEAP_PYHASHTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/findings.h"
#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/values/pydict.h"

/** A table, checked against itself. */
struct pyh_hashtable {
	uint64_t address;
	uint64_t entries;	/* that it says it has */
	uint64_t buckets;	/* a power of two */
	uint64_t heads;		/* address of the first bucket */
	uint64_t value_at;	/* of a value from its entry, in bytes */
	bool inline_values;	/* 3.8: the value is there, not its address */
	bool repaired;		/* the number of buckets was damaged */
};

struct pyh_hashentry {
	uint64_t address;
	uint64_t hash;
	uint64_t key;		/* 3.8: its first word */
	uint32_t extra;		/* 3.8: an int that a key has behind it, or 0 */
	uint64_t value;		/* inline_values: where it is */
};

/** ret is untouched unless PYH_FOUND. */
enum pyh_found pyh_hashtable_read(const struct pyh_runtime *runtime,
				  struct memory_reader *memory,
				  uint64_t address, struct pyh_hashtable *ret);

/** The hash that tables give to a key that is an address. */
static inline uint64_t pyh_hash_address(uint64_t address)
{
	return address >> 4 | address << 60;
}

/** Return false to end the walk. */
typedef bool pyh_hashentry_fn(void *context,
			      const struct pyh_hashentry *entry);

/**
 * Each entry of some buckets. A list ends at an entry that does not belong
 * into its bucket by its hash (nor as an address by its key), or that was seen
 * in it before: then it is damaged, which is a finding.
 *
 * @param findings  may be NULL
 * @return false where fn ended it
 */
bool pyh_hashtable_each(const struct pyh_runtime *runtime,
			struct memory_reader *memory,
			const struct pyh_hashtable *table, uint64_t first,
			uint64_t count, struct findings *findings,
			pyh_hashentry_fn *fn, void *context);

/** The entry of a key that is an address; no int may be behind it. */
bool pyh_hashtable_find(const struct pyh_runtime *runtime,
			struct memory_reader *memory,
			const struct pyh_hashtable *table, uint64_t key,
			struct pyh_hashentry *ret);

#endif
