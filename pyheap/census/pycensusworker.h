/*
 * What a census keeps, for the files that take it and look into it, and for
 * pyrefsvisit.c; nobody else includes this. See pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYCENSUSWORKER_H
#define PYHEAP_PYCENSUSWORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/nativestacks.h"
#include "pyheap/census/pyblocks.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/census/pymimalloc.h"
#include "pyheap/census/pyspace.h"
#include "pyheap/types/pyobject.h"

enum {
	RECENT_WORDS = 4096,		/* foreign words a worker remembers */
	REFUSED_MAX = 256,		/* … and what is no object after all */
	CENSUS_GROUPS = 16,		/* types of a pool that are kept apart */
};

/** Something to look at: an object (size 0), or memory full of words. */
struct task {
	uint64_t address;
	uint64_t size;		/* bytes */
};

struct tasks {
	struct task *tasks;
	size_t count, room;
};

struct tally {
	uint64_t count, size, footprint, refcounts, immortal;
	bool inexact;
};

/**
 * What is known beforehand of the objects of a type in blocks of pymalloc; see
 * census_blocks().
 */
struct census_plan {
	uint64_t address;	/* of the type; 0: none */
	const struct pyh_type *type;
	struct census_group *group;	/* of the pool being looked at, or NULL */
	uint16_t basic;		/* bytes without items */
	int16_t fetch;		/* where a block leads to what is looked at; −1 */
	uint8_t lane;		/* enum pyh_lane; _NONE: the rules must look */
	uint8_t presize;
	uint16_t at;		/* where in a block it begins, where there can
				   be no doubt; PYH_BLOCK_MAX: nowhere */
	bool is_leaf;
};

/** What was counted of the objects that are as plain as they come. */
struct census_sums {
	uint64_t count, size, footprint, refcounts, tracked;
};

/** Blocks of a pool that seem to hold objects of one type. */
struct census_group {
	struct census_plan *plan;	/* NULL: of no type; there are none */
	uint32_t count;
	uint16_t blocks[PYH_POOL_BLOCKS_MAX];	/* by number */
};

/** Blocks of a pool that hold no object. */
struct raw_blocks {
	uint64_t first;		/* address of the first of 64 … */
	uint64_t raw;		/* … which have a bit each */
	uint32_t size;		/* bytes of each */
};

struct census_worker {
	struct pyh_census *census;	/* borrowed */
	unsigned int number;
	struct pyh_type_reader types;
	struct memory_reader arena;	/* views of arenas */
	struct memory_reader outside;	/* bodies of objects outside */
	struct memory_reader words;	/* memory that is being scanned */
	struct memory_reader memory;	/* everything else */
	struct census_plan plans[PYH_TYPE_CACHE];	/* by pyh_type_slot() */
	struct census_sums sums[PYH_TYPE_CACHE];	/* of each plan */
	/* the pool being looked at: its blocks by type, and those that the
	   rules must look at */
	struct census_group groups[CENSUS_GROUPS];
	size_t num_groups;
	size_t next_group;		/* to be counted if there is no other */
	struct census_group unsure;	/* … of no one type */
	struct tally *tallies;		/* by type id */
	size_t num_tallies;
	struct tasks found;
	struct pyh_coverage coverage;
	bool no_memory;
	/* objects by their first words that nothing else agrees with */
	struct {
		uint64_t address;
		const struct pyh_type *type;
	} refused[REFUSED_MAX];
	size_t num_refused;
	/* where claims are marked in the mebibyte that had the last one */
	uint64_t claims_chunk;
	_Atomic uint64_t *claims_bits;	/* NULL: nowhere */
	/* marks of claims that are still to be made, in one word */
	_Atomic uint64_t *claims_at;	/* NULL: there are none */
	uint64_t claims_pending;
	/* free-threaded: the page whose free blocks are known, plus one */
	size_t mi_page;
	uint64_t mi_free[PYH_MI_WORDS];
	/* the pool without a header last looked at, and its block size */
	uint64_t guessed_pool;
	uint32_t guessed_size;
	struct raw_blocks *raws;	/* that are still to be checked */
	size_t num_raws, room_raws;
	size_t num_raws_far;		/* of these not before all is known */
	uint64_t recent[RECENT_WORDS];
};

/** Marks of a pool: a bit for every 8 bytes. */
struct pool_marks {
	uint64_t words[PYH_POOL_MAX / 8 / 64];
};

struct pyh_census {
	const struct pyh_runtime *runtime;	/* borrowed */
	struct pyh_types *types;		/* borrowed */
	struct pyh_object_rules rules;
	struct hashmap counts_beside;	/* free-threaded */
	struct pyh_arenas arenas;	/* free-threaded: an arena for each … */
	struct pyh_mi_pages mi;		/* … of these pages, in the same order */
	uint64_t pymalloc_end;		/* smaller requests are its; 0: none */
	struct pyh_space space;
	struct pool_marks starts[PYH_BLOCK_SIZES];	/* of blocks, by size */
	unsigned int num_workers;
	struct census_worker *workers;
	struct native_stacks stacks;	/* where no object lies */
	struct tasks tasks;		/* of the round being worked on */
	uint32_t types_seen;		/* type objects looked at themselves */
	atomic_size_t arenas_done;
	const struct pyh_census_options *options;	/* while being taken */
	const _Atomic uint64_t *least;	/* sizes from here on are shown */
	struct pyh_type_total *totals;
	size_t num_totals;
	struct pyh_coverage coverage;
};

/* --- pycensuscount.c: tallies and claims --- */

/** What a candidate is to everybody else. */
struct pyh_object census_object(const struct pyh_census *census,
				const struct pyh_candidate *found,
				uint64_t footprint);

/** Show an object to a visitor. */
void census_show(struct census_worker *worker, pyh_visit_fn *fn, void *context,
		 const struct pyh_candidate *found, uint64_t footprint,
		 bool taken_back);

/** A worker's tally of a type; without memory one that nobody reads. */
struct tally *census_tally(struct census_worker *worker,
			   const struct pyh_type *type);

/** Count an object, or take that back, and tell the visitor. */
void census_count(struct census_worker *worker,
		  const struct pyh_candidate *object, uint64_t footprint);
void census_uncount(struct census_worker *worker,
		    const struct pyh_candidate *object, uint64_t footprint);

/** Bytes held for an object outside of arenas; a module's own has no block. */
uint64_t census_held_outside(struct census_worker *worker,
			     const struct pyh_candidate *object);

/** Bytes held for what an object owns; the second marks that as well. */
uint64_t census_claims(struct census_worker *worker,
		       const struct pyh_candidate *object);
uint64_t census_take_claims(struct census_worker *worker,
			    const struct pyh_candidate *object);

/** Count an object that a block holds, with what it owns. */
void census_take(struct census_worker *worker,
		 const struct pyh_candidate *object, uint64_t size);

/** An object counted by less than all of it: is the rest not in the dump? */
void census_check_partly(struct census_worker *worker,
			 const struct pyh_candidate *object);

/* --- pycensuswords.c: what words and links lead to; see pycensuswords.h --- */

/** Queue something to look at: in the next round, or later in this one. */
void census_push_task(struct census_worker *worker, struct task task);

/** The GC list leads from one object to its neighbours. */
void census_follow_link(struct census_worker *worker,
			const struct pyh_candidate *object);

/** The same for the head of a list, whose ends nobody else looks at. */
void census_check_list(struct census_worker *worker, uint64_t head);

/** Look at a block that is no object for signs that it was one. */
void census_check_raw(struct census_worker *worker, uint64_t block,
		      const uint8_t *bytes, uint32_t size);

/* --- pycensuslook.c: what it has found --- */

/**
 * The object at a mark, by all the rules.
 *
 * @param arena  which the mark is in; NULL: none
 * @param ret_footprint  bytes held for it and for what it owns
 */
bool census_object_at(struct census_worker *worker,
		      const struct pyh_arena *arena, uint64_t mark,
		      struct pyh_candidate *ret, uint64_t *ret_footprint);

/* --- pycensusarena.c: step 1 --- */

/** Look at an arena of pymalloc's. */
struct error *census_arena(void *context, unsigned int worker_index,
			   size_t shard);

/** Look at a block by all the rules; true if there is an object in it. */
bool census_block(struct census_worker *worker, uint64_t block,
		  const uint8_t *bytes, uint32_t size);

/** What is left of a pool whose header is damaged. */
void census_recover_pool(struct census_worker *worker, uint64_t address,
			 const uint8_t *bytes, struct pyh_pool *ret);

/**
 * The object in the block at an address in an arena.
 *
 * @param ret_size  bytes of the block; set also where there is no object
 */
bool census_object_in(struct census_worker *worker,
		      const struct pyh_arena *arena, uint64_t block,
		      struct pyh_candidate *ret, uint64_t *ret_size);

/* --- pycensusquick.c: its blocks --- */

/**
 * Look at the live blocks of a pool.
 *
 * @param bytes  all of the pool, borrowed
 * @return how many there are
 */
uint32_t census_blocks(struct census_worker *worker, uint64_t address,
		       const uint8_t *bytes, uint32_t pool_size,
		       const struct pyh_pool *pool);

/** Add what census_blocks() has counted to the worker's tallies. */
void census_settle_plans(struct census_worker *worker);

/* --- pycensusraw.c: what is no object --- */

/**
 * Remember blocks to look at once it is known what most of them are.
 *
 * @param first  address of the first of 64
 * @param size  bytes of each
 * @param raw  a bit for each that is meant
 */
void census_keep_raws(struct census_worker *worker, uint64_t first,
		      uint32_t size, uint64_t raw);

/**
 * Check the blocks of an arena that census_blocks() found no object in, but for
 * what objects own: that is most of them, and what those next to it own is known
 * by then.
 */
void census_check_raws(struct census_worker *worker);

/** The same, after step 2, of what has to do with what was not at hand. */
struct error *census_check_raws_far(void *context, unsigned int worker_index,
				    size_t shard);

/* --- pycensusoutside.c: step 2 --- */

/** Follow what lies outside, from the roots and from what step 1 has found. */
struct error *census_follow_outside(struct pyh_census *census);

/** Queue memory to be scanned later, in pieces. */
void census_push(struct census_worker *worker, uint64_t start, uint64_t end);

/** What the runtime itself has pointers to is held, without an object. */
void census_hold_roots(struct census_worker *worker);

/* --- pycensusprune.c: step 3 --- */

/** Take back in an arena, and between the arenas. */
struct error *census_prune_arena(void *context, unsigned int worker_index,
				 size_t shard);
void census_prune_outside(struct pyh_census *census);

/* --- pycensusmi.c: free-threaded builds --- */

/** Find mimalloc's pages: an arena for each. */
struct error *census_mi_find(struct pyh_census *census);

/** Step 1: look at the blocks of a page. */
struct error *census_mi_page(void *context, unsigned int worker_index,
			     size_t shard);

/** census_object_in() there. */
bool census_mi_object(struct census_worker *worker,
		      const struct pyh_mi_page *page, uint64_t block,
		      struct pyh_candidate *ret);

/**
 * The block at an address, free or not; false if there is none.
 *
 * @param ret_block  its address
 */
bool census_mi_block(struct census_worker *worker,
		     const struct pyh_mi_page *page, uint64_t address,
		     uint64_t *ret_block, bool *ret_free);

/** What no page tells: segments, and what of them is no page. */
void census_mi_cover(struct pyh_census *census);

#endif
