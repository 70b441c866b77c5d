/*
 * The parts of the ledger, for the files that make it; nobody else includes
 * this. See ledger.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_LEDGERPARTS_H
#define ANALYZER_LEDGERPARTS_H

#include "analyzer/ledger/ledger.h"
#include "analyzer/ledger/residency.h"
#include "analyzer/opened.h"

/* Memory outside of arenas that an object holds: 16 bytes, as there is one for
 * every object where Python allocates with malloc. */
struct ledger_block {
	uint64_t key;		/* its address << 8 | enum ledger_category */
	uint64_t size;		/* bytes asked for, at least; 0: it has a row */
};

static inline uint64_t ledger_block_start(const struct ledger_block *block)
{
	return block->key >> 8;
}

static inline enum ledger_category
ledger_block_category(const struct ledger_block *block)
{
	return (enum ledger_category)(block->key & 0xFF);
}

struct ledger_blocks {
	struct ledger_block *items;	/* by address */
	size_t count;
};

/* Memory of an arena, with what is before its first pool and after its last, or
 * of a data stack: what Python has from the allocator of arenas. */
struct ledger_area {
	uint64_t start, end;
};

struct ledger_making {
	struct opened *opened;
	struct image *image;
	struct ledger *ledger;
	struct residency *residency;	/* borrowed from opened */
	struct ledger_blocks blocks;	/* Python's outside of its arenas */
	struct ledger_area *areas;	/* by address, never overlapping */
	size_t num_areas, room_areas;
	size_t hint;			/* of residency_of() */
	struct resident_mapping *mapping;	/* the one last told of */
	unsigned int said;		/* findings */
};

/**
 * Give bytes of a range a row, as far as they were in memory. Of several
 * mappings each has its part.
 *
 * @return how many there are
 */
uint64_t ledger_tell(struct ledger_making *making, uint64_t start, uint64_t end,
		     enum ledger_category category);

/** Give bytes of a mapping a row, of those that have none yet. */
void ledger_tell_left(struct ledger_making *making,
		      struct resident_mapping *mapping, uint64_t bytes,
		      enum ledger_category category);

/** Move bytes from one row to another, as many as the first has. */
uint64_t ledger_move(struct ledger *ledger, enum ledger_category from,
		     enum ledger_category to, uint64_t bytes);

/** ledgerpython.c: arenas, objects, what they own, data stacks. */
struct error *ledger_python(struct ledger_making *making);
/** … and what of the latter nobody else has told. */
void ledger_python_rest(struct ledger_making *making);

/** ledgertensors.c: add the storages of tensors in the process to the blocks. */
struct error *ledger_tensors(struct ledger_making *making);

/** ledgermalloc.c: chunks. */
struct error *ledger_malloc(struct ledger_making *making);

/** ledgerplaces.c: stacks, and then what is left of each mapping. */
struct error *ledger_places(struct ledger_making *making);

#endif
