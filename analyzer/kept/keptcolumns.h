/*
 * What is in the columns of kept results: for those who write, read and check
 * them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_KEPTCOLUMNS_H
#define ANALYZER_KEPTCOLUMNS_H

#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/paths.h"
#include "analyzer/heap/suspects.h"
#include "analyzer/kept/kept.h"
#include "analyzer/kept/store.h"
#include "analyzer/ledger/ledger.h"
#include "pyheap/census/pycensus.h"

/* Who changes one of these keeps what is new of it, too: here, in kept.c and in
   keptcheck.c. */
#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(struct heapgraph) == 536 &&
		       sizeof(struct heaproots) == 80 &&
		       sizeof(struct dominators) == 120 &&
		       sizeof(struct domtree) == 104 &&
		       sizeof(struct components) == 24 &&
		       sizeof(struct collector) == 112 &&
		       sizeof(struct pyh_type) == 136 &&
		       sizeof(struct pyh_type_total) == 56 &&
		       sizeof(struct heap_root) == 88 &&
		       sizeof(struct kept_holder) == 88 &&
		       sizeof(struct path_group) == 40 &&
		       sizeof(struct held_storage) == 24 &&
		       sizeof(struct pyh_gc) == 280 &&
		       sizeof(struct suspects) == 6520,
	       "what is kept is all there is");
#endif

enum kept_column {
	KEPT_FACTS,		/* struct kept_facts, one */
	KEPT_COVERAGE,		/* struct pyh_coverage, one */
	KEPT_TEXT,		/* bytes: names, each ended by a NUL */
	KEPT_TYPES,		/* struct kept_type, by id */
	KEPT_TOTALS,		/* struct kept_total, as the census has them */
	KEPT_CHUNKS,		/* uint64_t: addresses of chunks of memory */
	KEPT_CELLS,		/* struct rank_cell, RANK_CELLS of each chunk */
	KEPT_OBJECT_TYPES,	/* from here on of each object: uint32_t */
	KEPT_SIZES,
	KEPT_FOOTPRINTS,
	KEPT_REFCOUNTS,		/* uint16_t */
	KEPT_FLAGS,		/* uint8_t */
	KEPT_BIGS,		/* struct heap_big, by object */
	KEPT_DEFERRED,		/* struct heap_deferred, by object */
	KEPT_OUT_AT,		/* uint32_t, one more than objects */
	KEPT_OUT,		/* uint32_t, of each reference */
	KEPT_IN_AT,
	KEPT_IN,
	KEPT_ROOTS,		/* struct heap_root, by object; name and module
				   are places in KEPT_TEXT plus 1, or 0 */
	KEPT_UNEXPLAINED,	/* sets: uint64_t, a bit for each object */
	KEPT_HELD,
	KEPT_OVER_RELEASED,
	KEPT_PARENTS,		/* uint32_t, of each object */
	KEPT_RETAINED,		/* uint64_t, of each object */
	KEPT_TREE_AT,		/* uint32_t, two more than objects */
	KEPT_TREE,		/* uint32_t: objects that were reached */
	KEPT_COMPONENTS_AT,	/* uint32_t, one more than components */
	KEPT_COMPONENTS,	/* uint32_t: objects */
	KEPT_GARBAGE,		/* sets */
	KEPT_FREED,
	KEPT_FROZEN,
	KEPT_UNCOLLECTABLE,
	KEPT_BY_RETAINED,	/* uint32_t: objects */
	KEPT_BY_SIZE,
	KEPT_REACHED_BY_TYPE,	/* uint32_t, of each type */
	KEPT_RETAINED_BY_TYPE,	/* uint64_t, of each type */
	KEPT_SUSPECTS,		/* struct kept_suspect, at most SUSPECTS_MAX */
	KEPT_RETAINED_BY_MODULE,	/* uint64_t, of the module of each type */
	KEPT_BEFORE,		/* uint32_t, of each object: see reach_tree */
	KEPT_WAYS,		/* struct path_group, at most KEPT_WAYS_MAX */
	KEPT_CYCLE_SIZES,	/* uint64_t, of each component */
	KEPT_CYCLE_SHAPES,	/* uint64_t, the same */
	KEPT_CYCLE_FINALIZERS,	/* uint32_t, the same: twice how many, and 1
				   where it is garbage */
	KEPT_HOLDERS,		/* struct kept_holder, by object; with names as
				   in KEPT_ROOTS */
	KEPT_GROUPS,		/* struct kept_group_row, largest first */
	KEPT_OWNED,		/* struct kept_owned_row */
	KEPT_COLLECTORS,	/* struct pyh_gc */
	KEPT_LEDGER,		/* bytes: a struct ledger */
	KEPT_STORAGES,		/* struct held_storage: data of tensors */
	KEPT_NUM_COLUMNS
};

_Static_assert((int)KEPT_NUM_COLUMNS <= (int)STORE_COLUMNS_MAX,
	       "a store has room for them");

enum {
	KEPT_WAYS_MAX = 1 << 18,	/* where there are more, none is kept */
};

/** What is in no column: numbers of each part. Pointers in it mean nothing. */
struct kept_facts {
	uint64_t footprint;
	uint32_t num_objects;
	uint32_t num_edges;
	struct heaproots roots;
	struct dominators dominators;
	struct components components;
	struct collector collector;
	/* of the suspects, as struct suspects has them */
	uint64_t memory, garbage_bytes, unexplained, unexplained_bytes;
	uint64_t memory_is_rss;		/* 0 or 1 */
	uint64_t ways_known;		/* 0 or 1 */
};

enum {
	KEPT_HAS_GC = 1 << 0,
	KEPT_IS_STATIC = 1 << 1,
	KEPT_SIZE_EXACT = 1 << 2,
	KEPT_NAME_KNOWN = 1 << 3,
	KEPT_IS_LEAF = 1 << 4,
	KEPT_DEFINES_KIND = 1 << 5,
	KEPT_FOREIGN = 1 << 6,
	KEPT_OWN_LAYOUT = 1 << 7,
};

struct kept_type {
	uint64_t address, flags, metatype, base;
	int64_t basicsize, itemsize, dictoffset, weaklistoffset;
	uint32_t name, module, qualname; /* places in the text plus 1; 0: none */
	uint32_t kind, lane, hidden_items;
	uint8_t bits;			/* KEPT_… */
	uint8_t presize, shared_values, own_sizeof;
	uint32_t unused;
};

struct kept_total {
	uint64_t count, size, footprint, refcounts, immortal;
	uint32_t type;			/* id */
	uint32_t size_exact;		/* 0 or 1 */
};

struct kept_suspect {
	uint64_t elements, retained, in_tensors, tensors;
	double share;
	uint32_t pattern, object, sample;
	uint32_t element;		/* id of the type plus 1; 0: none */
	uint32_t path, sentence, evidence; /* places in the text plus 1 */
	uint8_t device;
	int8_t index;
	uint8_t of_scalars;		/* 0 or 1 */
	uint8_t unused;
};

struct kept_group_row {
	uint64_t count, size, retained;
	uint32_t name;			/* a place in the text plus 1 */
	uint32_t by;			/* enum group_by */
	uint64_t device;
};

struct kept_owned_row {
	struct kept_total total;
	uint64_t retained, device;
	uint32_t owner;			/* id of the type plus 1; 0: none */
	uint32_t unused;
};

/** A column of so many elements, or NULL where it is not that. */
static inline const void *kept_column(const struct store *store,
				      enum kept_column id, uint32_t width,
				      uint64_t count)
{
	uint64_t found;
	const void *data = store_column(store, id, width, &found);

	return data && found == count ? data : NULL;
}

#endif
