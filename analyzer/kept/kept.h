/*
 * An analysis as columns of a file, and back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * No values of the program are among them: addresses, sizes, counts, and names
 * of types, of CPython's fields and of C symbols.
 */
#ifndef ANALYZER_KEPT_H
#define ANALYZER_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/suspects.h"
#include "analyzer/kept/index.h"
#include "analyzer/kept/store.h"
#include "analyzer/scan_options.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/references/pygc.h"
#include "pyheap/types/pytypes.h"

/** Words of memory that lead to an object with counts too many. */
struct kept_holder {
	uint32_t object;
	uint32_t holders;	/* how many there are */
	struct pyh_root first;
};

/** A row of `retained --by thread` or `--by root`. */
struct kept_group {
	const char *name;
	enum group_by by;
	uint64_t count, size, retained, device;
};

/** Objects of a type that instances of another one own. */
struct kept_owned {
	struct pyh_type_total total;
	const struct pyh_type *owner;	/* NULL: none */
	uint64_t retained, device;	/* by them together */
};

struct ledger;
struct path_group;

/** Results of an earlier run. Columns are borrowed from its file. */
struct kept {
	const struct store *store;	/* borrowed */
	uint32_t num_types;		/* those that the columns know */
	struct pyh_type_total *totals;	/* as the census has them */
	size_t num_totals;
	struct pyh_coverage coverage;
	/* the objects that retain the most, and the largest: largest first, of
	   equal ones the lower first */
	const uint32_t *by_retained, *by_size;
	uint32_t num_by_retained, num_by_size;
	const uint32_t *reached_by_type;	/* objects, of each type */
	const uint64_t *retained_by_type;	/* as retained_by_type() has it */
	const uint64_t *retained_by_module;	/* … of the module of each type */
	const uint32_t *before;		/* see reach_tree: as paths has it */
	const struct path_group *ways;	/* as paths_group_all() has them */
	size_t num_ways;
	bool ways_known;		/* there were not too many */
	/* of each component: see struct cycle, cycles_shape() */
	const uint64_t *cycle_sizes, *cycle_shapes;
	const uint32_t *cycle_finalizers;	/* twice; 1 more if garbage */
	struct kept_holder *holders;	/* by object; owned */
	size_t num_holders;
	struct kept_group *groups;	/* largest first; owned */
	size_t num_groups;
	struct kept_owned *owned;	/* by owners_tally(); owned */
	size_t num_owned;
	const struct pyh_gc *collectors;	/* with lists counted */
	size_t num_collectors;
	struct suspects suspects;	/* without values */
	struct ledger *ledger;		/* owned, until opened takes it */
};

/**
 * Take up types and totals.
 *
 * @param types  in which none has been looked for yet
 * @return ERROR_FORMAT where they are not what they should be
 */
struct error *kept_open(const struct store *store, struct pyh_types *types,
			struct kept **ret);
/** NULL is fine. */
void kept_close(struct kept *kept);

/**
 * Hold all numbers of large columns against what they may be: with believed
 * files, which hold what was written, that is not needed.
 */
struct error *kept_check(const struct kept *kept, unsigned int workers);

/**
 * The analysis, with all its parts. To be destroyed by analysis_destroy(),
 * before kept and the types.
 */
struct error *kept_analysis(const struct kept *kept, struct pyh_types *types,
			    struct analysis **ret);
/** For analysis_destroy(): of one that kept_analysis() made. */
void kept_analysis_destroy(struct analysis *analysis);

/** Put an analysis of opened, with all its parts, into an index. */
struct error *kept_save(struct index *index, struct opened *opened,
			const struct analysis *analysis);

#endif
