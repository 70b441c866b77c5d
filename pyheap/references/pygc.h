/*
 * The garbage collector's own numbers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Three collectors: the generational one; the incremental one of 3.14.0 to
 * 3.14.4, whose lists are the young objects and two spaces of old ones; and
 * that of free-threaded builds, which has no lists, so that how many objects
 * there are only a walk over all of them tells.
 *
 * Source: CPython Include/internal/pycore_gc.h (3.14 and later:
 * pycore_interp_structs.h), Modules/gcmodule.c and Python/gc.c: what functions
 * of the module gc return.
 */
#ifndef PYHEAP_PYGC_H
#define PYHEAP_PYGC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"

enum pyh_gc_kind {
	PYH_GC_GENERATIONAL,
	PYH_GC_INCREMENTAL,
	PYH_GC_FREE_THREADED,
};

/** Stands for a number that this release has not, or that cannot be read. */
#define PYH_GC_UNKNOWN INT64_MIN

enum { PYH_GC_GENERATIONS_MAX = 3 };

struct pyh_gc_generation {
	/* Objects in its list. While a collection runs some are in other lists,
	   which only the collector's stack leads to. Incremental: the spaces of
	   old objects in the order of gc.get_count(), the one that is being
	   visited first */
	int64_t objects;
	int64_t threshold;	/* as gc.get_threshold(); incremental: of the
				   last one without a meaning */
	int64_t count;		/* as gc.get_count(); free-threaded: threads
				   have up to some hundred more each */
	/* as gc.get_stats() */
	int64_t collections, collected, uncollectable;
	int64_t candidates;	/* looked at in all collections; 3.15 */
	double duration;	/* of all collections, seconds; 3.15; < 0:
				   unknown */
};

struct pyh_gc {
	enum pyh_gc_kind kind;
	int64_t enabled;	/* gc.isenabled() */
	int64_t debug;		/* gc.get_debug() */
	bool collecting;	/* the dump was taken inside a collection */
	struct pyh_gc_generation generations[PYH_GC_GENERATIONS_MAX];
	int64_t frozen;		/* gc.get_freeze_count() */
	int64_t garbage, callbacks;	/* lengths of gc.garbage, gc.callbacks */
	uint64_t garbage_list;	/* address of that list object; 0: unknown */
	int64_t long_lived_total;	/* objects that survived the last full
					   collection */
	int64_t long_lived_pending;	/* … that the next one would be due
					   to, a quarter of the above */
	int64_t heap_size;	/* tracked objects, as 3.14 and later count */
};

/** Enabled or not, it begins no collection by itself: gc.set_threshold(0). */
static inline bool pyh_gc_never_runs(const struct pyh_gc *gc)
{
	return gc->generations[0].threshold == 0;
}

/**
 * Read the numbers of one interpreter's collector. (In 3.8 all interpreters
 * share one.) A broken list is counted from both ends and is a finding; so no
 * damage keeps the rest from being read.
 *
 * @param interpreter  index in the runtime
 * @param lists  count the objects of the lists, which goes through all of
 *	them; else objects and frozen are unknown
 */
void pyh_gc_read(const struct pyh_runtime *runtime,
		 struct memory_reader *memory, size_t interpreter, bool lists,
		 struct pyh_gc *ret);

#endif
