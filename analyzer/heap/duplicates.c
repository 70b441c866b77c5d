/*
 * Equal values in bounded memory; see duplicates.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/duplicates.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/typefilter.h"
#include "image/base/guard.h"
#include "pyheap/references/pycontent.h"

enum {
	RANGES = 256,			/* of hashes, by their highest byte */
	BATCH = 16,			/* values a worker brings at once */
	RANGE_ROOM_MIN = 16,		/* groups */
	SIEVE_BITS = 8,			/* for each object, twice */
	BUDGET_MIN = 1 << 20,		/* bytes */
};

/** Groups whose hashes begin with one byte: open addressing. */
struct range {
	pthread_mutex_t lock;
	struct duplicate *groups;	/* count 0: a free slot */
	size_t room, used;		/* room: a power of two, or 0 */
};

/** What a worker has seen and not yet brought. */
struct batch {
	struct duplicate values[BATCH];
	unsigned int count;
};

struct share {
	_Alignas(128) struct typefilter *filter;
	struct error *err;
	struct batch *batches;		/* RANGES */
	uint64_t looked_at, unread;
};

struct search {
	const struct duplicates_options *options;
	struct pyh_contents contents;
	struct share *shares;		/* by worker */
	/* bits by hash: seen, and seen again; NULL: all are grouped at once */
	_Atomic uint64_t *seen, *again;
	uint64_t sieve_mask;
	struct range ranges[RANGES];
	unsigned int first;		/* ranges before it are done */
	atomic_uint end;		/* those from it on are put off */
	atomic_uint_fast64_t bytes;	/* of all groups */
	uint64_t budget;		/* for them */
	atomic_bool no_memory;
};

/* --- ranges -------------------------------------------------------------- */

static void range_clear(struct search *search, struct range *range)
{
	atomic_fetch_sub(&search->bytes, range->room * sizeof(*range->groups));
	free(range->groups);
	range->groups = NULL;
	range->room = range->used = 0;
}

static struct duplicate *slot_of(struct duplicate *groups, size_t room,
				 const struct duplicate *value)
{
	size_t at = (size_t)value->hash[1] & (room - 1);

	while (groups[at].count && (groups[at].hash[0] != value->hash[0] ||
				    groups[at].hash[1] != value->hash[1]))
		at = (at + 1) & (room - 1);
	return &groups[at];
}

/**
 * Put off the highest range that this pass still has, unless it is the only
 * one. Whoever is just filling it clears it afterwards.
 */
static void put_off_one(struct search *search)
{
	unsigned int end = atomic_load(&search->end);
	struct range *range;

	if (end <= search->first + 1 ||
	    !atomic_compare_exchange_strong(&search->end, &end, end - 1))
		return;
	range = &search->ranges[end - 1];
	if (pthread_mutex_trylock(&range->lock) == 0) {
		range_clear(search, range);
		(void)pthread_mutex_unlock(&range->lock);
	}
}

static bool range_grow(struct search *search, struct range *range)
{
	size_t room = range->room ? range->room * 2 : RANGE_ROOM_MIN;
	struct duplicate *groups = calloc(room, sizeof(*groups));

	if (!groups)
		return false;
	for (size_t i = 0; i < range->room; i++) {
		if (range->groups[i].count)
			*slot_of(groups, room, &range->groups[i]) =
				range->groups[i];
	}
	free(range->groups);
	range->groups = groups;
	atomic_fetch_add(&search->bytes,
			 (room - range->room) * sizeof(*groups));
	range->room = room;
	return true;
}

static bool range_add(struct search *search, struct range *range,
		      const struct duplicate *value)
{
	struct duplicate *group;

	if (range->used >= range->room / 4 * 3 && !range_grow(search, range))
		return false;
	group = slot_of(range->groups, range->room, value);
	if (group->count == 0) {
		*group = *value;
		range->used++;
		return true;
	}
	group->count++;
	group->size += value->size;
	if (group->largest < value->size)
		group->largest = value->size;
	if (group->address > value->address)
		group->address = value->address;
	return true;
}

static void bring(struct search *search, unsigned int number,
		  struct batch *batch)
{
	struct range *range = &search->ranges[number];

	(void)pthread_mutex_lock(&range->lock);
	for (unsigned int i = 0; i < batch->count &&
	     number < atomic_load(&search->end); i++) {
		if (!range_add(search, range, &batch->values[i]))
			atomic_store(&search->no_memory, true);
		// Twice as much is needed for a moment when a range grows.
		while (atomic_load(&search->bytes) > search->budget &&
		       atomic_load(&search->end) > search->first + 1)
			put_off_one(search);
	}
	if (number >= atomic_load(&search->end))
		range_clear(search, range);
	(void)pthread_mutex_unlock(&range->lock);
	batch->count = 0;
}

/* --- looking at the heap ------------------------------------------------- */

/** True, with the value, if an object is one to compare. */
static bool value_of(struct search *search, const struct pyh_visit *visit,
		     struct duplicate *ret)
{
	struct share *share = &search->shares[visit->worker];
	const struct pyh_object *object = &visit->object;
	struct pyh_content content;
	bool pass;

	if (!pyh_has_content(object->type) || share->err)
		return false;
	share->err = typefilter_pass(share->filter, object->type, &pass);
	if (share->err || !pass)
		return false;
	share->looked_at++;
	if (pyh_content_read(&search->contents, object->type, object->address,
			     visit->body, visit->available, visit->memory,
			     &content) != PYH_FOUND) {
		share->unread++;
		return false;
	}
	*ret = (struct duplicate){
		.hash = { content.hash[0], content.hash[1] },
		.address = object->address,
		.count = 1,
		.size = object->size,
		.largest = object->size,
		.length = content.length,
		.type = object->type->id,
	};
	return true;
}

static void sift(void *context, const struct pyh_visit *visit)
{
	struct search *search = context;
	struct duplicate value;
	uint64_t at, bit;

	if (!value_of(search, visit, &value))
		return;
	at = value.hash[1] & search->sieve_mask;
	bit = UINT64_C(1) << at % 64;
	if (atomic_fetch_or_explicit(&search->seen[at / 64], bit,
				     memory_order_relaxed) & bit)
		atomic_fetch_or_explicit(&search->again[at / 64], bit,
					 memory_order_relaxed);
}

static bool occurs_once(const struct search *search,
			const struct duplicate *value)
{
	uint64_t at = value->hash[1] & search->sieve_mask;

	return search->again &&
	       !(atomic_load_explicit(&search->again[at / 64],
				      memory_order_relaxed) >> at % 64 & 1);
}

static void group(void *context, const struct pyh_visit *visit)
{
	struct search *search = context;
	struct duplicate value;
	struct batch *batch;
	unsigned int number;

	if (!value_of(search, visit, &value) || occurs_once(search, &value))
		return;
	number = (unsigned int)(value.hash[0] >> 56);
	if (number < search->first || number >= atomic_load(&search->end))
		return;
	batch = &search->shares[visit->worker].batches[number];
	batch->values[batch->count++] = value;
	if (batch->count == BATCH)
		bring(search, number, batch);
}

/* --- the whole ----------------------------------------------------------- */

static struct error *check_shares(struct search *search)
{
	for (unsigned int i = 0; i < search->options->workers; i++) {
		if (search->shares[i].err)
			return TAKE(search->shares[i].err);
	}
	return atomic_load(&search->no_memory) ? error_no_memory() : NULL;
}

static void reset_counts(struct search *search)
{
	for (unsigned int i = 0; i < search->options->workers; i++) {
		search->shares[i].looked_at = 0;
		search->shares[i].unread = 0;
	}
}

/** Bits for the sieve: a power of two that the budget has room for. */
static struct error *make_sieve(struct search *search, uint64_t objects,
				uint64_t budget)
{
	uint64_t bits = 1 << 12;

	while (bits < objects * SIEVE_BITS && bits / 8 * 4 <= budget)
		bits *= 2;
	search->seen = calloc(bits / 64, sizeof(*search->seen));
	search->again = calloc(bits / 64, sizeof(*search->again));
	search->sieve_mask = bits - 1;
	return search->seen && search->again ? NULL : error_no_memory();
}

/** Tell those of the ranges that are complete. */
static struct error *tell(struct search *search, unsigned int end)
{
	struct error *err = NULL;

	for (unsigned int i = search->first; i < end; i++) {
		struct range *range = &search->ranges[i];

		for (size_t j = 0; !err && j < range->room; j++) {
			if (range->groups[j].count > 1)
				err = search->options->found(
					search->options->context,
					&range->groups[j]);
		}
		range_clear(search, range);
	}
	return err;
}

/** One look: as many ranges as there is memory for. */
static struct error *group_some(struct search *search,
				struct pyh_census *census)
{
	struct error *err;
	unsigned int end;

	atomic_store(&search->end, RANGES);
	reset_counts(search);
	err = pyh_census_visit(census, group, search);
	for (unsigned int i = 0; i < search->options->workers; i++) {
		for (unsigned int j = 0; j < RANGES; j++)
			bring(search, j, &search->shares[i].batches[j]);
	}
	if (!err)
		err = check_shares(search);
	end = atomic_load(&search->end);
	if (!err)
		err = tell(search, end);
	search->first = end;
	return err;
}

static struct error *search_all(struct search *search,
				struct pyh_census *census,
				struct duplicates_result *ret)
{
	uint64_t objects = 0, budget = search->options->budget;
	struct error *err = NULL;

	if (budget < BUDGET_MIN)
		budget = BUDGET_MIN;
	for (size_t i = 0; i < pyh_census_num_types(census); i++) {
		const struct pyh_type_total *total = pyh_census_type(census, i);

		if (pyh_has_content(total->type))
			objects += total->count;
	}
	search->budget = budget;
	// While a table grows there are two of it, at most two thirds full.
	if (objects * sizeof(struct duplicate) > budget / 3) {
		search->budget = budget / 4 * 3;
		err = make_sieve(search, objects, budget / 4);
		if (!err)
			err = pyh_census_visit(census, sift, search);
		if (!err)
			err = check_shares(search);
		free(TAKE(search->seen));
		ret->looks++;
	}
	while (!err && search->first < RANGES) {
		err = group_some(search, census);
		ret->looks++;
	}
	for (unsigned int i = 0; i < search->options->workers; i++) {
		ret->looked_at += search->shares[i].looked_at;
		ret->unread += search->shares[i].unread;
	}
	return err;
}

static struct error *search_init(struct search *search)
{
	const struct duplicates_options *options = search->options;
	struct error *err = NULL;

	for (unsigned int i = 0; i < RANGES; i++)
		(void)pthread_mutex_init(&search->ranges[i].lock, NULL);
	search->shares = aligned_alloc(_Alignof(struct share),
				       options->workers *
					       sizeof(*search->shares));
	if (!search->shares)
		return error_no_memory();
	memset(search->shares, 0, options->workers * sizeof(*search->shares));
	for (unsigned int i = 0; !err && i < options->workers; i++) {
		struct share *share = &search->shares[i];

		share->batches = calloc(RANGES, sizeof(*share->batches));
		err = share->batches ? typefilter_create(options->type,
							 options->match,
							 &share->filter) :
				       error_no_memory();
	}
	return err;
}

static void search_deinit(struct search *search)
{
	for (unsigned int i = 0; i < RANGES; i++) {
		free(search->ranges[i].groups);
		(void)pthread_mutex_destroy(&search->ranges[i].lock);
	}
	for (unsigned int i = 0; search->shares && i < search->options->workers;
	     i++) {
		typefilter_destroy(search->shares[i].filter);
		error_free(search->shares[i].err);
		free(search->shares[i].batches);
	}
	free(search->shares);
	free(search->seen);
	free(search->again);
}

struct error *duplicates_find(struct pyh_census *census,
			      const struct pyh_runtime *runtime,
			      const struct pyh_types *types,
			      const struct duplicates_options *options,
			      struct duplicates_result *ret)
{
	struct search *search = calloc(1, sizeof(*search));
	struct error *err;

	*ret = (struct duplicates_result){ 0 };
	if (!search)
		return error_no_memory();
	search->options = options;
	pyh_contents_init(&search->contents, runtime, types);
	err = search_init(search);
	if (!err)
		err = search_all(search, census, ret);
	search_deinit(search);
	free(search);
	return err;
}
