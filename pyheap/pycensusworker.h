/*
 * What a census keeps, for the files that take it and look into it; nobody
 * else includes this. See pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYCENSUSWORKER_H
#define PYHEAP_PYCENSUSWORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/pyblocks.h"
#include "pyheap/pycensus.h"
#include "pyheap/pymimalloc.h"
#include "pyheap/pyobject.h"
#include "pyheap/pyspace.h"

enum {
	RECENT_WORDS = 4096,		/* foreign words a worker remembers */
	REFUSED_MAX = 256,		/* … and what is no object after all */
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

struct census_worker {
	struct pyh_census *census;	/* borrowed */
	unsigned int number;
	struct pyh_type_reader types;
	struct memory_reader arena;	/* views of arenas */
	struct memory_reader outside;	/* bodies of objects outside */
	struct memory_reader words;	/* memory that is being scanned */
	struct memory_reader memory;	/* everything else */
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
	/* free-threaded: the page whose free blocks are known, plus one */
	size_t mi_page;
	uint64_t mi_free[PYH_MI_WORDS];
	/* the pool without a header last looked at, and its block size */
	uint64_t guessed_pool;
	uint32_t guessed_size;
	uint64_t recent[RECENT_WORDS];
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
	unsigned int num_workers;
	struct census_worker *workers;
	struct tasks tasks;		/* of the round being worked on */
	uint32_t types_seen;		/* type objects looked at themselves */
	atomic_size_t arenas_done;
	const struct pyh_census_options *options;	/* while being taken */
	const _Atomic uint64_t *least;	/* sizes from here on are shown */
	struct pyh_type_total *totals;
	size_t num_totals;
	struct pyh_coverage coverage;
};

/** What a candidate is to everybody else. */
struct pyh_object census_object(const struct pyh_census *census,
				const struct pyh_candidate *found,
				uint64_t footprint);

/** Show an object to a visitor. */
void census_show(struct census_worker *worker, pyh_visit_fn *fn, void *context,
		 const struct pyh_candidate *found, uint64_t footprint,
		 bool taken_back);

/** Bytes held for an object outside of arenas; a module's own has no block. */
uint64_t census_held_outside(const struct pyh_census *census,
			     const struct pyh_candidate *object);

/** Bytes held for what an object owns. */
uint64_t census_claims(struct census_worker *worker,
		       const struct pyh_candidate *object);

/**
 * The object in the block at an address in an arena.
 *
 * @param ret_size  bytes of the block; set also where there is no object
 */
bool census_object_in(struct census_worker *worker,
		      const struct pyh_arena *arena, uint64_t block,
		      struct pyh_candidate *ret, uint64_t *ret_size);

/** Count an object that a block holds, with what it owns. */
void census_take(struct census_worker *worker,
		 const struct pyh_candidate *object, uint64_t size);

/** Look at words that may lead out of the arenas. */
void census_scan(struct census_worker *worker, const uint8_t *bytes,
		 size_t size);

/** Queue memory to be scanned later. */
void census_push(struct census_worker *worker, uint64_t start, uint64_t end);

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

/** What is left of a pool whose header is damaged. */
void census_recover_pool(struct census_worker *worker, uint64_t address,
			 const uint8_t *bytes, struct pyh_pool *ret);

#endif
