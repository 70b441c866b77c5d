/*
 * What views need beyond the analysis, so that none has to look at all objects
 * again: made once, when an analysis is kept.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_KEPTMADE_H
#define ANALYZER_KEPTMADE_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/heap/excess.h"
#include "analyzer/heap/paths.h"
#include "analyzer/heap/retained_groups.h"
#include "analyzer/kept/kept.h"
#include "analyzer/ledger/ledger.h"

struct keptmade {
	struct paths *paths;
	const uint32_t *before;		/* the paths' */
	const struct path_group *ways;	/* the same */
	size_t num_ways;
	struct retained_groups by_thread, by_root;
	uint64_t *by_type, *by_module;	/* retained, of each type */
	struct excesses excesses;
	struct kept_owned *owned;
	size_t num_owned;
	struct pyh_gc *collectors;
	size_t num_collectors;
	const struct ledger *ledger;	/* of opened */
	/* of each component, as kept has them */
	uint64_t *cycle_sizes, *cycle_shapes;
	uint32_t *cycle_finalizers;
};

/** @param analysis  with all its parts, made just now */
struct error *keptmade_make(struct opened *opened,
			    const struct analysis *analysis,
			    struct keptmade *ret);
/** Safe on a zeroed one. */
void keptmade_deinit(struct keptmade *made);

#endif
