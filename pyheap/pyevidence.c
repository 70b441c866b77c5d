/*
 * Who is referred to by an object; see pyevidence.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/pyevidence.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "image/base/guard.h"
#include "pyheap/pyrefs.h"

struct settling {
	const struct pyh_runtime *runtime;
	struct pyh_census *census;
	struct pyh_shapes *shapes;
};

static bool hold(void *context, const struct pyh_ref *ref)
{
	if (ref->kind != PYH_REF_GUESS && ref->kind != PYH_REF_TYPE)
		pyh_census_hold(context, ref->address);
	return true;
}

static void follow(void *context, const struct pyh_visit *visit)
{
	const struct settling *settling = context;
	struct pyh_referrer referrer;

	// What only looks like an object proves nothing.
	if (visit->alone == PYH_EVIDENCE_GUESSED)
		return;
	referrer = pyh_referrer(settling->runtime, settling->shapes, visit);
	pyh_refs_each(&referrer, hold, settling->census);
}

/** A few objects that are looked for. */
struct search {
	struct settling settling;
	const uint64_t *wanted;		/* addresses, sorted */
	atomic_bool *found;		/* for each */
	size_t count;
	atomic_size_t left;
	uint64_t filter;		/* of bits of the addresses */
	atomic_bool over;
};

static inline uint64_t filter_bit(uint64_t address)
{
	return UINT64_C(1) << ((address >> 4 ^ address >> 12) & 63);
}

static int compare_addresses(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool look(void *context, const struct pyh_ref *ref)
{
	struct search *search = context;
	const uint64_t *hit;

	if (!(search->filter & filter_bit(ref->address)) ||
	    ref->kind == PYH_REF_GUESS || ref->kind == PYH_REF_TYPE)
		return true;
	hit = bsearch(&ref->address, search->wanted, search->count,
		      sizeof(*search->wanted), compare_addresses);
	if (hit && !atomic_exchange(&search->found[hit - search->wanted],
				    true)) {
		pyh_census_hold(search->settling.census, ref->address);
		if (atomic_fetch_sub(&search->left, 1) == 1)
			atomic_store(&search->over, true);
	}
	return true;
}

static void look_in(void *context, const struct pyh_visit *visit)
{
	struct search *search = context;
	struct pyh_referrer referrer;

	if (visit->alone == PYH_EVIDENCE_GUESSED)
		return;
	referrer = pyh_referrer(search->settling.runtime,
				search->settling.shapes, visit);
	pyh_refs_each(&referrer, look, search);
}

/** Raise the evidence of those known to be held; the others' addresses. */
static size_t still_open(const struct pyh_census *census,
			 struct pyh_object *objects, size_t count,
			 uint64_t *addresses)
{
	size_t open = 0;

	for (size_t i = 0; i < count; i++) {
		if (pyh_census_held(census, objects[i].address))
			objects[i].evidence = PYH_EVIDENCE_CERTAIN;
		else if (objects[i].evidence != PYH_EVIDENCE_CERTAIN)
			addresses[open++] = objects[i].address;
	}
	return open;
}

/** Large objects are not in arenas; what is as old as they are is. */
static size_t add_anchor(const struct pyh_runtime *runtime, uint64_t *near,
			 size_t count)
{
	if (runtime->num_interpreters > 0)
		near[count++] = runtime->interpreters[0].modules;
	return count;
}

struct error *pyh_evidence_settle_few(const struct pyh_runtime *runtime,
				      struct pyh_census *census,
				      struct pyh_shapes *shapes,
				      struct pyh_object *objects, size_t count)
{
	CLEANUP(free_pointer) uint64_t *wanted = calloc(count + 1,
							sizeof(*wanted));
	CLEANUP(free_pointer) atomic_bool *found = calloc(count + 1,
							  sizeof(*found));
	struct search search = {
		.settling = { runtime, census, shapes },
		.wanted = wanted, .found = found,
	};
	struct error *err;

	if (!wanted || !found)
		return error_no_memory();
	search.count = still_open(census, objects, count, wanted);
	if (search.count == 0)
		return NULL;
	atomic_store(&search.left, search.count);
	for (size_t i = 0; i < search.count; i++)
		search.filter |= filter_bit(wanted[i]);
	qsort(wanted, search.count, sizeof(*wanted), compare_addresses);
	err = pyh_census_search(census, wanted,
				add_anchor(runtime, wanted, search.count),
				look_in, &search, &search.over);
	(void)still_open(census, objects, count, wanted);
	return err;
}

struct error *pyh_evidence_settle(const struct pyh_runtime *runtime,
				  struct pyh_census *census,
				  struct pyh_shapes *shapes)
{
	struct settling settling = { runtime, census, shapes };

	return pyh_census_visit(census, follow, &settling);
}
