/*
 * The census: every object of a CPython heap, counted by type.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	err = pyh_census_take(runtime, types, &options, &census);
 *
 * One pass over the allocator's memory in address order, on all workers: live
 * pymalloc blocks are told apart into objects and raw memory, what objects own
 * (claims) takes back the look-alikes, and GC lists and pointers into other
 * memory lead to the large, static and foreign-allocated objects. Besides two
 * bits for every 16 bytes of arena, only objects outside of arenas take
 * memory.
 *
 * In free-threaded builds mimalloc's pages are what arenas are in others, there
 * are no GC lists, and only static objects lie outside.
 */
#ifndef PYHEAP_PYCENSUS_H
#define PYHEAP_PYCENSUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pytypes.h"

enum pyh_evidence {
	PYH_EVIDENCE_CERTAIN,	/* in a GC list, or another object refers to it:
				   the latter after pyh_evidence_settle() */
	PYH_EVIDENCE_PROBABLE,	/* everything fits and nothing contradicts */
	PYH_EVIDENCE_GUESSED,	/* looks like one; the type cannot confirm it */
};

struct pyh_type_total {
	const struct pyh_type *type;	/* borrowed from the types */
	uint64_t count;
	uint64_t size;			/* sum of sys.getsizeof, bytes */
	uint64_t footprint;		/* held from allocators, claims included */
	uint64_t refcounts;		/* sum, of those that are not immortal */
	uint64_t immortal;		/* objects */
	bool size_exact;
};

/** How much of the allocators' memory the census explains. */
struct pyh_coverage {
	uint64_t arenas, arena_bytes;
	uint64_t pools, pools_free;
	uint64_t blocks_in_use, blocks_in_use_bytes;
	uint64_t blocks_object;		/* … that hold objects */
	uint64_t blocks_claimed;	/* … that are buffers of objects */
	uint64_t blocks_other;		/* … neither: raw memory of C code */
	uint64_t free_bytes;		/* free blocks and free pools */
	uint64_t overhead_bytes;	/* headers, padding */
	uint64_t mimalloc;		/* not 0: arenas are mimalloc's
					   segments, and pools its pages */
	uint64_t objects_outside;	/* objects not in arenas */
	uint64_t gc_tracked;		/* objects linked into GC lists */
};

struct pyh_census;

/** An object of the census. */
struct pyh_object {
	uint64_t address;
	const struct pyh_type *type;
	uint64_t size;			/* sys.getsizeof */
	uint64_t footprint;
	bool size_exact;
	uint64_t refcount;		/* raw ob_refcnt, as far as it counts;
					   free-threaded: of all threads */
	bool immortal;
	bool gc_tracked;		/* linked into a GC list; free-threaded: the
					   collector tracks it */
	enum pyh_evidence evidence;
};

/** An object as a visitor sees it: all of it valid during the call only. */
struct pyh_visit {
	struct pyh_object object;
	unsigned int worker;	/* that calls: 0 … pyh_census_workers() - 1 */
	bool taken_back;	/* shown before, and no object after all */
	enum pyh_evidence alone;	/* without who refers to it */
	const uint8_t *body;	/* its first bytes: at least its basic size,
				   where the dump has them */
	size_t available;	/* bytes at body */
	uint64_t extent;	/* bytes of the object's own block, counted from
				   its address */
	uint32_t before;	/* … and those before its address */
	bool owns;		/* other memory, too */
	bool in_module;		/* it has no block: it is a module's data */
	struct memory_reader *memory;	/* for what lies elsewhere: the worker's
					   own, body does not come from it */
};

typedef void pyh_visit_fn(void *context, const struct pyh_visit *visit);

/** Who is shown objects as they are found, by all workers, in no order. */
struct pyh_visitor {
	pyh_visit_fn *visit;
	void *context;
	/* objects of a smaller size are not shown, which saves most of the
	   work; the visitor may raise it as it goes. NULL: all are shown */
	const _Atomic uint64_t *least;
	/**
	 * For who wants to know no more than where objects are, which saves as
	 * much: where those of a pool begin of which nothing but that is shown.
	 * The others are shown to visit. NULL: all are; least is NULL otherwise.
	 *
	 * @param address  of the pool, a multiple of 512
	 * @param marks  count words: a bit for every 8 bytes of it
	 */
	void (*begins)(void *context, uint64_t address, const uint64_t *marks,
		       size_t count);
};

struct pyh_census_options {
	unsigned int workers;	/* 0: as many as there are processors */
	/* saves reading the image once more; NULL: nobody looks */
	const struct pyh_visitor *visitor;
	void (*progress)(void *context, const char *what, uint64_t done,
			 uint64_t total);
	void *progress_context;
};

/**
 * Take the census. Findings go to the image's. Unreadable arenas, damaged
 * pools and lists are findings; the rest is counted.
 *
 * @return NULL, or ERROR_UNSUPPORTED where the heap is of a kind this model
 *	cannot enumerate (--with-trace-refs), with the reason
 */
struct error *pyh_census_take(const struct pyh_runtime *runtime,
			      struct pyh_types *types,
			      const struct pyh_census_options *options,
			      struct pyh_census **ret);
void pyh_census_destroy(struct pyh_census *census);

/** Totals by type, largest size first; types without objects are left out. */
size_t pyh_census_num_types(const struct pyh_census *census);
const struct pyh_type_total *pyh_census_type(const struct pyh_census *census,
					     size_t i);
const struct pyh_coverage *pyh_census_coverage(const struct pyh_census *census);

/**
 * What begins like an object, is nobody's buffer, and yet cannot be one by what
 * it says of itself: damaged objects, and memory that had another use before.
 *
 * @param ret  in order of address; the caller frees it. NULL: none, or no
 *	memory for it
 * @return how many
 */
size_t pyh_census_refused(const struct pyh_census *census,
			  struct pyh_object **ret);

/** Workers that the census was taken by. */
unsigned int pyh_census_workers(const struct pyh_census *census);

/**
 * Call fn for every object in address order until it returns false. Reads the
 * image once more.
 */
struct error *pyh_census_each(struct pyh_census *census,
			      bool (*fn)(void *context,
					 const struct pyh_object *object),
			      void *context);

/**
 * Remember that an object refers to the one at an address, which is then
 * certain. Safe from any worker while visiting; pyh_evidence_settle() does it
 * for all.
 */
void pyh_census_hold(struct pyh_census *census, uint64_t address);
bool pyh_census_held(const struct pyh_census *census, uint64_t address);

/**
 * The same on all workers, which makes the order any; fn cannot stop it.
 */
struct error *pyh_census_visit(struct pyh_census *census, pyh_visit_fn *fn,
			       void *context);

/**
 * The same, from around some addresses outwards, until stop is set: for what
 * is likely to be found near.
 */
struct error *pyh_census_search(struct pyh_census *census,
				const uint64_t *near, size_t num_near,
				pyh_visit_fn *fn, void *context,
				const atomic_bool *stop);

/* --- looking one address up ----------------------------------------------- */

enum pyh_place {
	PYH_PLACE_OBJECT,	/* in an object, or in the words before it */
	PYH_PLACE_CLAIMED,	/* in memory that an object owns */
	PYH_PLACE_RAW,		/* in a block of C code that is no object */
	PYH_PLACE_FREE,		/* in a free block, or in room for blocks */
	PYH_PLACE_POOL,		/* in the header of a pool, or its end */
	PYH_PLACE_OTHER,	/* in other memory, where no object is known */
	PYH_PLACE_NOT_CAPTURED,
	PYH_PLACE_UNMAPPED,
};

struct pyh_lookup {
	enum pyh_place place;
	struct pyh_object object;	/* PYH_PLACE_OBJECT */
	uint64_t extent;		/* bytes of it, from its address */
	/* the block of the allocator around; 0: not of pymalloc */
	uint64_t block, block_size;
};

/**
 * What is at an address. Not for concurrent use.
 *
 * Memory outside of arenas that an object owns is PYH_PLACE_OTHER, unless the
 * address is its very first.
 */
void pyh_census_lookup(struct pyh_census *census, uint64_t address,
		       struct pyh_lookup *ret);

/** The same for several workers at once, each with a number of its own. */
void pyh_census_lookup_by(struct pyh_census *census, unsigned int worker,
			  uint64_t address, struct pyh_lookup *ret);

/**
 * Show the object that an address lies in, if there is one, to fn. For several
 * workers at once, each with a number of its own.
 *
 * @param ret_buffer  where there is none: the address of the memory claimed by
 *	an object that this one lies in, or, outside of arenas, may lie in; 0:
 *	none. NULL: not asked for, as that may be far to look
 * @return what is there
 */
enum pyh_place pyh_census_show(struct pyh_census *census, unsigned int worker,
			       uint64_t address, pyh_visit_fn *fn,
			       void *context, uint64_t *ret_buffer);

/** True if an object of the census begins at an address: quicker to tell. */
bool pyh_census_holds(struct pyh_census *census, uint64_t address);

#endif
