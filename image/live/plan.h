/*
 * From a live process to the geometry of its core, in the steps of live_dump().
 * SPDX-License-Identifier: Apache-2.0
 *
 * Shared by what dumps and what only estimates; not for use outside this
 * folder.
 */
#ifndef LIVE_PLAN_H
#define LIVE_PLAN_H

#include "image/base/error.h"
#include "image/corewriter.h"
#include "image/live/copy.h"
#include "image/live/freeze.h"
#include "image/live/live.h"
#include "image/live/payload.h"
#include "image/live/procmaps.h"
#include "image/live/select.h"
#include "image/live/snapmaps.h"
#include "image/live/stacks.h"

/** Where a plan is made from. */
struct plan_source {
	const struct target *target;
	const struct freeze *freeze;	/* NULL: the target, as it runs */
};

struct plan {
	uint32_t page_size;
	struct snapmaps snapmaps;
	struct procmaps maps;
	struct selection selection;
	struct corewriter *writer;
	size_t num_threads;
	char payload_kept[PAYLOAD_WHY_MAX];	/* why no payload was left out,
						   where that went wrong */
	char native_only[STACKS_WHY_MAX];	/* see struct stacks */
};

/**
 * Read the mappings and decide what is taken, by what options ask for. Where
 * they ask for a snapshot, plan->snapmaps have looked at the process before, or
 * know that it stands still itself.
 *
 * @param holds  as in struct copy_options, of source->freeze; NULL where that
 *	is, too: the target runs, and an estimate will do
 */
struct error *plan_select(struct plan *plan, const struct plan_source *source,
			  const struct live_options *options,
			  bool (*holds)(const void *context));

/** After plan_select(): make the notes and fix the geometry. */
struct error *plan_layout(struct plan *plan, const struct live_options *options,
			  const struct freeze *freeze);

/** After plan_layout(): tell copy which address each byte comes from. */
struct error *plan_copy(const struct plan *plan, const struct freeze *freeze,
			struct copy *copy);

/** At last: let a snapshot go of the large ranges that are not taken. */
void plan_discard(const struct plan *plan, struct freeze *freeze);

void plan_deinit(struct plan *plan);

/**
 * How long a fork takes that copies the page tables of private memory, huge
 * bytes of it in huge pages; ns.
 */
uint64_t live_fork_ns(const struct procinfo *info, uint64_t huge);

/** The number of workers that options mean. */
unsigned int live_workers(const struct live_options *options);

#endif
