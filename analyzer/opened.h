/*
 * A dump opened for the commands: each part made when first asked for.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_OPENED_H
#define ANALYZER_OPENED_H

#include <stdbool.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pyshape.h"
#include "pyheap/types/pytypes.h"

struct analysis;
struct index;
struct ledger;
struct options;
struct opened;
struct residency;
struct tensors;

/**
 * Open what was named: a core file, or the live process of that number (in
 * digits only), which is captured into an unlinked temporary file and runs
 * again before this returns.
 */
struct error *opened_create(const char *name, const struct options *options,
			    struct opened **ret);
void opened_destroy(struct opened *opened);

/** True if the name stands for a process. */
bool opened_is_pid(const char *name);

/**
 * Ask a capture under way to let its process go and give up; false if there
 * is none. Safe in a signal handler.
 */
bool opened_interrupt(void);

/** The rest is borrowed and lives as long as opened. */
struct image *opened_image(struct opened *opened);
const char *opened_name(const struct opened *opened);

/**
 * ERROR_UNSUPPORTED where the dump was made without the heap: what lies around the
 * frames would pass for it.
 */
struct error *opened_check_heap(const struct opened *opened);

/** As pyh_runtime_open(); asked again, the same answer. */
struct error *opened_runtime(struct opened *opened, struct pyh_runtime **ret);
struct error *opened_types(struct opened *opened, struct pyh_types **ret);
struct error *opened_census(struct opened *opened, struct pyh_census **ret);

/** What the census counts by type: totals in its order, and its coverage. */
struct type_counts {
	const struct pyh_type_total *totals;
	size_t num_totals;
	const struct pyh_coverage *coverage;
};

/** From kept results, or else of the census. */
struct error *opened_counts(struct opened *opened, struct type_counts *ret);

/**
 * The census with objects shown to a visitor: in the same pass where the census
 * has not been taken yet, else all of them.
 */
struct error *opened_census_visited(struct opened *opened,
				    const struct pyh_visitor *visitor,
				    struct pyh_census **ret);
/** Where references lie in the instances of each type. */
struct error *opened_shapes(struct opened *opened, struct pyh_shapes **ret);

/**
 * Settle what is certain by who refers to it (see pyevidence.h), once. The
 * census must have been taken.
 */
struct error *opened_settle(struct opened *opened);
struct error *opened_settle_few(struct opened *opened,
				struct pyh_object *objects, size_t count);

/** Workers that a census is, or would be, taken by. */
unsigned int opened_workers(const struct opened *opened);

/** Bytes that tables may take in memory, and the folder for those beyond. */
uint64_t opened_memory(const struct opened *opened);
const char *opened_tmp_dir(const struct opened *opened);

/** Where analysis_of() keeps what it made; *NULL at first. */
struct analysis **opened_analysis(struct opened *opened);

/** Where tensors_of() keeps what it found; *NULL at first. */
struct tensors **opened_tensors(struct opened *opened);

/** Where residency_of_dump() keeps what it made; *NULL at first. */
struct residency **opened_residency(struct opened *opened);

/** Where ledger_of() keeps what it made, or an earlier run kept; *NULL at first. */
struct ledger **opened_ledger(struct opened *opened);

/**
 * Where results are to be kept.
 *
 * @param ret  borrowed; NULL: nowhere, as that was not wanted
 * @return why they cannot be kept
 */
struct error *opened_index(struct opened *opened, struct index **ret);

/** Why there were some, but of no use; NULL: there is nothing to say. */
const char *opened_dropped(const struct opened *opened);

/** The runtime if it has been looked for and found, else NULL. */
struct pyh_runtime *opened_runtime_if_found(const struct opened *opened);
const struct pyh_coverage *
opened_coverage_if_known(const struct opened *opened);

/** True where the answer is partial: missing bytes, lost ranges. */
bool opened_partial(const struct opened *opened);

#endif
