/*
 * The first objects in some order; see ranking.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/ranking.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/typefilter.h"
#include "analyzer/kept/kept.h"
#include "analyzer/lookup.h"
#include "analyzer/show/toplist.h"
#include "image/base/guard.h"
#include "image/base/units.h"

/** What one worker has, in cache lines of its own. */
struct share {
	_Alignas(128) struct typefilter *filter;
	struct error *err;		/* why it stopped looking */
	struct pyh_object *kept;	/* a heap, the least wanted on top */
	size_t num_kept, room;
	uint64_t count, size;
};

struct ranking {
	struct ranking_options options;
	_Atomic uint64_t least;		/* bytes: smaller ones have no place */
	struct share *shares;		/* by worker */
	atomic_size_t kept;		/* by all */
	atomic_bool spoilt;
	struct pyh_object *merged;
};

void ranking_reset(struct ranking *ranking)
{
	for (unsigned int i = 0; i < ranking->options.workers; i++) {
		struct share *share = &ranking->shares[i];

		error_free(TAKE(share->err));
		free(TAKE(share->kept));
		share->num_kept = share->room = 0;
		share->count = share->size = 0;
	}
	free(TAKE(ranking->merged));
	atomic_store(&ranking->kept, 0);
	atomic_store(&ranking->spoilt, false);
	atomic_store(&ranking->least, ranking->options.min_size);
}

void ranking_destroy(struct ranking *ranking)
{
	if (!ranking)
		return;
	if (ranking->shares)
		ranking_reset(ranking);
	for (unsigned int i = 0; ranking->shares && i < ranking->options.workers;
	     i++)
		typefilter_destroy(ranking->shares[i].filter);
	free(ranking->shares);
	free(ranking);
}

struct error *ranking_create(const struct ranking_options *options,
			     struct ranking **ret)
{
	struct ranking *ranking = calloc(1, sizeof(*ranking));
	struct error *err = NULL;

	if (!ranking)
		return error_no_memory();
	ranking->options = *options;
	atomic_init(&ranking->least, options->min_size);
	ranking->shares = aligned_alloc(_Alignof(struct share),
					options->workers *
						sizeof(*ranking->shares));
	if (ranking->shares)
		memset(ranking->shares, 0,
		       options->workers * sizeof(*ranking->shares));
	else
		err = error_no_memory();
	for (unsigned int i = 0; !err && i < options->workers; i++)
		err = typefilter_create(options->type, options->match,
					&ranking->shares[i].filter);
	if (err) {
		ranking_destroy(ranking);
		return err;
	}
	*ret = ranking;
	return NULL;
}

static int order(const struct ranking *ranking, const struct pyh_object *a,
		 const struct pyh_object *b)
{
	return ranking->options.order(a, b, ranking->options.context);
}

static void swap(struct pyh_object *a, struct pyh_object *b)
{
	struct pyh_object other = *a;

	*a = *b;
	*b = other;
}

/** Move the newest up until what is above stands behind it. */
static void sift_up(const struct ranking *ranking, struct share *share)
{
	size_t at = share->num_kept - 1;

	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (order(ranking, &share->kept[at], &share->kept[parent]) <= 0)
			return;
		swap(&share->kept[at], &share->kept[parent]);
		at = parent;
	}
}

static void sift_down(const struct ranking *ranking, struct share *share)
{
	size_t at = 0;

	for (;;) {
		size_t last = at, child = at * 2 + 1;

		for (size_t i = child; i < child + 2 && i < share->num_kept;
		     i++) {
			if (order(ranking, &share->kept[i],
				  &share->kept[last]) > 0)
				last = i;
		}
		if (last == at)
			return;
		swap(&share->kept[at], &share->kept[last]);
		at = last;
	}
}

static struct error *over_budget(const struct ranking *ranking)
{
	char size[UNITS_TEXT_MAX];

	(void)units_size(ranking->options.budget * sizeof(struct pyh_object),
			 size);
	return error_new(ERROR_LIMIT, "ordering that many objects takes more "
			 "than %s: give more with --memory, fewer with --top, "
			 "--type or --min-size, or leave out --sort", size);
}

static struct error *append(struct ranking *ranking, struct share *share,
			    const struct pyh_object *object)
{
	if (atomic_fetch_add(&ranking->kept, 1) >= ranking->options.budget)
		return over_budget(ranking);
	if (share->num_kept == share->room) {
		size_t room = share->room ? share->room * 2 : 64;
		struct pyh_object *kept = reallocarray(share->kept, room,
						       sizeof(*kept));

		if (!kept)
			return over_budget(ranking);
		share->kept = kept;
		share->room = room;
	}
	share->kept[share->num_kept++] = *object;
	return NULL;
}

/** True if the heap has no place for what is this small: most objects. */
static inline bool too_small(const struct ranking *ranking,
			     const struct share *share, uint64_t size)
{
	return ranking->options.by_size && ranking->options.limit > 0 &&
	       share->num_kept == ranking->options.limit &&
	       size < share->kept[0].size;
}

const _Atomic uint64_t *ranking_least(const struct ranking *ranking)
{
	return &ranking->least;
}

/**
 * True if the totals are those of whole types. Else each object must be seen.
 */
static bool counts_types(const struct ranking *ranking)
{
	return ranking->options.by_size && ranking->options.min_size == 0;
}

/** One worker has enough of this size: nobody needs smaller ones. */
static void raise_least(struct ranking *ranking, uint64_t size)
{
	uint64_t least = atomic_load(&ranking->least);

	while (size > least &&
	       !atomic_compare_exchange_weak(&ranking->least, &least, size))
		;
}

static void keep(struct ranking *ranking, struct share *share,
		 const struct pyh_object *object)
{
	size_t limit = ranking->options.limit;

	if (limit == 0 || share->num_kept < limit) {
		share->err = append(ranking, share, object);
		if (!share->err && limit > 0)
			sift_up(ranking, share);
	} else if (order(ranking, object, &share->kept[0]) < 0) {
		share->kept[0] = *object;
		sift_down(ranking, share);
	}
	if (limit > 0 && share->num_kept == limit && counts_types(ranking))
		raise_least(ranking, share->kept[0].size);
}

/** Count it no longer; if it may have a place, the ranking is spoilt. */
static void take_back(struct ranking *ranking, struct share *share,
		      const struct pyh_object *object)
{
	// Unsigned: another worker may have counted it.
	share->count--;
	share->size -= object->size;
	for (unsigned int i = 0; i < ranking->options.workers; i++) {
		const struct share *other = &ranking->shares[i];

		if (!too_small(ranking, other, object->size))
			atomic_store(&ranking->spoilt, true);
	}
}

void ranking_visit(void *context, const struct pyh_visit *visit)
{
	struct ranking *ranking = context;
	struct share *share = &ranking->shares[visit->worker];
	const struct pyh_object *object = &visit->object;
	bool pass;

	if (share->err)
		return;
	share->err = typefilter_pass(share->filter, object->type, &pass);
	if (share->err || !pass || object->size < ranking->options.min_size)
		return;
	if (visit->taken_back) {
		take_back(ranking, share, object);
		return;
	}
	share->count++;
	share->size += object->size;
	if (!too_small(ranking, share, object->size))
		keep(ranking, share, object);
}

bool ranking_spoilt(const struct ranking *ranking)
{
	return atomic_load(&ranking->spoilt);
}

static int compare(const void *a, const void *b, void *context)
{
	return order(context, a, b);
}

/** What the filters let through, by the types that they let through. */
static struct error *count_types(struct ranking *ranking,
				 const struct pyh_type_total *totals,
				 size_t num_totals, struct ranking_result *ret)
{
	ret->count = ret->size = 0;
	for (size_t i = 0; i < num_totals; i++) {
		const struct pyh_type_total *total = &totals[i];
		bool pass;
		struct error *err = typefilter_pass(ranking->shares[0].filter,
						    total->type, &pass);

		if (err)
			return err;
		ret->count += pass ? total->count : 0;
		ret->size += pass ? total->size : 0;
	}
	return NULL;
}

struct error *ranking_finish(struct ranking *ranking,
			     const struct pyh_census *census,
			     struct ranking_result *ret)
{
	struct error *err;
	struct ranking_result result = { 0 };
	size_t total = 0;

	for (unsigned int i = 0; i < ranking->options.workers; i++) {
		struct share *share = &ranking->shares[i];

		if (share->err)
			return TAKE(share->err);
		total += share->num_kept;
	}
	ranking->merged = calloc(total ? total : 1, sizeof(*ranking->merged));
	if (!ranking->merged)
		return over_budget(ranking);
	for (unsigned int i = 0; i < ranking->options.workers; i++) {
		struct share *share = &ranking->shares[i];

		if (share->num_kept > 0)
			memcpy(ranking->merged + result.num_objects, share->kept,
			       share->num_kept * sizeof(*share->kept));
		result.num_objects += share->num_kept;
		result.count += share->count;
		result.size += share->size;
		free(TAKE(share->kept));
		share->num_kept = share->room = 0;
	}
	qsort_r(ranking->merged, total, sizeof(*ranking->merged), compare,
		ranking);
	if (ranking->options.limit > 0 && total > ranking->options.limit)
		result.num_objects = ranking->options.limit;
	result.objects = ranking->merged;
	err = counts_types(ranking) ?
		      count_types(ranking, pyh_census_type(census, 0),
				  pyh_census_num_types(census), &result) :
		      NULL;
	*ret = result;
	return err;
}

/* --- from kept results ------------------------------------------------------- */

enum { KEPT_RANKED = 1 << 20 };	/* at most: more are no question of a moment */

/** Those of the largest that the filters let through, up to the limit. */
static struct error *pick(struct ranking *ranking,
			  const struct analysis *analysis,
			  struct ranking_result *ret)
{
	const struct kept *kept = analysis->kept;
	const struct heapgraph *heap = analysis->heap;
	size_t limit = ranking->options.limit;
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < kept->num_by_size &&
			     ret->num_objects < limit; i++) {
		uint32_t id = kept->by_size[i];
		bool pass;

		err = typefilter_pass(ranking->shares[0].filter,
				      heapgraph_type(heap, id), &pass);
		if (!err && pass)
			ranking->merged[ret->num_objects++] =
				lookup_object(heap, id);
	}
	return err;
}

/** By the list of the largest; false where it is too short to tell. */
static struct error *rank_listed(struct ranking *ranking,
				 const struct analysis *analysis,
				 struct ranking_result *ret, bool *ret_done)
{
	const struct kept *kept = analysis->kept;
	struct error *err;

	*ret_done = false;
	if (!counts_types(ranking) || ranking->options.limit > kept->num_by_size)
		return NULL;
	err = count_types(ranking, kept->totals, kept->num_totals, ret);
	if (!err)
		err = pick(ranking, analysis, ret);
	// There may be smaller ones, which the list does not have.
	*ret_done = !err && (ret->num_objects == ranking->options.limit ||
			     ret->num_objects == ret->count);
	return err;
}

static struct error *rank_columns(struct ranking *ranking,
				  const struct analysis *analysis,
				  struct ranking_result *ret)
{
	const struct ranking_options *options = &ranking->options;
	CLEANUP(toplist_deinit) struct toplist list;
	struct error *err;

	toplist_init(&list, options->limit);
	err = objecttop_find(analysis, &(struct objecttop_options){
		.workers = options->workers, .type = options->type,
		.match = options->match, .min_size = options->min_size,
		.key = options->key }, &list, &ret->count, &ret->size);
	if (err)
		return err;
	ret->num_objects = list.count;
	for (size_t i = 0; i < list.count; i++)
		ret->objects[i] = lookup_object(analysis->heap,
						list.entries[i].id);
	return NULL;
}

struct error *ranking_from_kept(struct ranking *ranking,
				const struct analysis *analysis,
				struct ranking_result *ret, bool *ret_done)
{
	size_t limit = ranking->options.limit;
	struct ranking_result result = { 0 };
	struct error *err;

	*ret_done = false;
	if (!analysis->kept || limit == 0 || limit > KEPT_RANKED)
		return NULL;
	ranking->merged = calloc(limit, sizeof(*ranking->merged));
	if (!ranking->merged)
		return over_budget(ranking);
	result.objects = ranking->merged;
	err = rank_listed(ranking, analysis, &result, ret_done);
	if (!err && !*ret_done) {
		result = (struct ranking_result){ .objects = ranking->merged };
		err = rank_columns(ranking, analysis, &result);
	}
	*ret_done = !err;
	*ret = result;
	return err;
}
