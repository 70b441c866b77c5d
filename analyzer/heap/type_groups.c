/*
 * Objects grouped by owner or module; see type_groups.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/type_groups.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/heap/retained_groups.h"
#include "analyzer/kept/kept.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "pyheap/census/pyowners.h"

struct type_groups {
	struct type_row *rows;		/* owned; names as below */
	char **names;			/* the owned ones, or NULL */
	size_t count, room;
};

static struct error *add_row(struct type_groups *groups,
			     const struct type_row *row, char *name)
{
	if (groups->count == groups->room) {
		size_t room = groups->room ? groups->room * 2 : 256;
		struct type_row *rows = reallocarray(groups->rows, room,
						     sizeof(*rows));
		char **names;

		if (!rows)
			goto fail;
		groups->rows = rows;
		names = reallocarray(groups->names, room, sizeof(*names));
		if (!names)
			goto fail;
		groups->names = names;
		groups->room = room;
	}
	groups->rows[groups->count] = *row;
	groups->names[groups->count++] = name;
	return NULL;
fail:
	free(name);
	return error_no_memory();
}

static void add_total(struct pyh_type_total *sum,
		      const struct pyh_type_total *add)
{
	sum->count += add->count;
	sum->size += add->size;
	sum->footprint += add->footprint;
	sum->refcounts += add->refcounts;
	sum->immortal += add->immortal;
	sum->size_exact &= add->size_exact;
}

static bool wanted(const struct scan *scan, const struct pyh_type *type)
{
	return !scan->options->type ||
	       strcmp(scan->options->type, type->name) == 0;
}

/** @param device  NULL: no tensor is on a device */
static void put_retained(struct type_row *row, uint64_t retained,
			 const uint64_t *device)
{
	row->retained = retained;
	row->retained_known = true;
	row->device = device ? *device : 0;
	row->device_known = device != NULL;
}

/* --- by module ----------------------------------------------------------- */

static int by_module(const void *a, const void *b)
{
	const struct type_row *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/** Make one row of rows of one name, which stand together. */
static void merge_rows(struct type_groups *groups)
{
	size_t kept = 0;

	qsort(groups->rows, groups->count, sizeof(*groups->rows), by_module);
	for (size_t i = 0; i < groups->count; i++) {
		struct type_row *last = kept ? &groups->rows[kept - 1] : NULL;

		if (last && strcmp(last->name, groups->rows[i].name) == 0)
			add_total(&last->total, &groups->rows[i].total);
		else
			groups->rows[kept++] = groups->rows[i];
	}
	groups->count = kept;
}

/** The row of a type's module; the rows are in order of their names. */
static struct type_row *row_of(const struct type_groups *groups,
			       const struct pyh_type *type)
{
	return bsearch(&(struct type_row){ .name = retained_module(type) },
		       groups->rows, groups->count, sizeof(*groups->rows),
		       by_module);
}

/**
 * What an earlier run has kept of each module as a whole, or of a type that is
 * the only one of its row.
 *
 * @return false where it does not say what several types retain together
 */
static bool recall_retained(struct scan *scan, const struct analysis *analysis,
			    struct type_groups *groups)
{
	const struct kept *kept = analysis->kept;
	bool whole = !scan->options->type;
	const uint64_t *retained = !kept ? NULL :
				   whole ? kept->retained_by_module :
					   kept->retained_by_type;
	uint32_t seen = 0;

	for (uint32_t i = 0; kept && i < kept->num_types; i++) {
		const struct pyh_type *type = pyh_types_get(
			analysis->heap->pyh_types, i);
		struct type_row *row = row_of(groups, type);

		if (!row || !wanted(scan, type))
			continue;
		seen++;
		row->retained_known = true;
		// Of types that were found late nothing is known, and they have
		// no objects.
		if (retained[i] > row->retained)
			row->retained = retained[i];
	}
	return kept && (whole || seen == 1);
}

/** What each module's row retains. */
static struct error *retained_by_module(struct scan *scan,
					struct type_groups *groups)
{
	const struct analysis *analysis;
	struct error *err = analysis_of(scan->opened, ANALYSIS_TREE, &analysis);
	const struct pyh_types *types = err ? NULL : analysis->heap->pyh_types;
	uint32_t count = err ? 0 : pyh_types_count(types);
	CLEANUP(free_pointer) uint32_t *of_type = calloc((size_t)count + 1,
							 sizeof(*of_type));
	CLEANUP(free_pointer) uint64_t *sums = calloc(groups->count + 1,
						      sizeof(*sums));
	CLEANUP(free_pointer) uint64_t *devices = NULL;

	if (err || !of_type || !sums)
		return err ? err : error_no_memory();
	for (uint32_t i = 0; i < count; i++) {
		const struct pyh_type *type = pyh_types_get(types, i);
		struct type_row *row = row_of(groups, type);

		// The last group is of those that are not wanted.
		of_type[i] = (uint32_t)(row && wanted(scan, type) ?
						row - groups->rows :
						(ptrdiff_t)groups->count);
	}
	err = heldbytes_by_group(analysis->held, analysis->heap->types, of_type,
				 (uint32_t)groups->count + 1, &devices);
	for (size_t i = 0; devices && i < groups->count; i++)
		put_retained(&groups->rows[i], 0, &devices[i]);
	if (err || recall_retained(scan, analysis, groups))
		return err;
	err = domtree_by_group(&analysis->tree, analysis->heap->types, of_type,
			       (uint32_t)groups->count + 1, sums);
	for (size_t i = 0; !err && i < groups->count; i++)
		put_retained(&groups->rows[i], sums[i],
			     devices ? &devices[i] : NULL);
	return err;
}

static struct error *group_by_module(struct scan *scan,
				     const struct type_counts *counts,
				     struct type_groups *groups)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < counts->num_totals; i++) {
		const struct pyh_type_total *total = &counts->totals[i];
		struct type_row row = { .name = retained_module(total->type),
					.total = *total };

		row.total.type = NULL;
		if (wanted(scan, total->type))
			err = add_row(groups, &row, NULL);
	}
	if (err)
		return err;
	merge_rows(groups);
	return type_rows_want_retained(scan) && groups->count > 0 ?
		       retained_by_module(scan, groups) : NULL;
}

/* --- by owner ------------------------------------------------------------ */

/** Sums of one worker, by the types of object and owner. */
struct share {
	_Alignas(128) struct hashmap numbers;	/* pair of type ids → total */
	struct pyh_type_total *totals;
	const struct pyh_type **owners;		/* NULL: none */
	uint32_t count, room;
	struct error *err;
};

struct tallying {
	const struct scan *scan;
	const struct pyh_owners *owners;
	struct share *shares;
	unsigned int num_shares;
};

static struct error *share_grow(struct share *share)
{
	uint32_t room = share->room ? share->room * 2 : 256;
	struct pyh_type_total *totals;
	const struct pyh_type **owners;

	if (share->count < share->room)
		return NULL;
	totals = reallocarray(share->totals, room, sizeof(*totals));
	if (!totals)
		return error_no_memory();
	share->totals = totals;
	owners = reallocarray(share->owners, room, sizeof(*owners));
	if (!owners)
		return error_no_memory();
	share->owners = owners;
	share->room = room;
	return NULL;
}

/** Of the types of an object and its owner. */
static uint64_t pair_of(uint32_t type, const struct pyh_type *owner)
{
	return (uint64_t)(type + 1) << 32 | (owner ? owner->id + 1 : 0);
}

static struct error *share_add(struct share *share,
			       const struct pyh_type *owner,
			       const struct pyh_type_total *one)
{
	uint64_t key = pair_of(one->type->id, owner);
	struct error *err;
	uint32_t number;

	if (hashmap_get(&share->numbers, key, &number)) {
		add_total(&share->totals[number], one);
		return NULL;
	}
	err = share_grow(share);
	if (!err)
		err = hashmap_put(&share->numbers, key, share->count);
	if (err)
		return err;
	share->totals[share->count] = *one;
	share->owners[share->count++] = owner;
	return NULL;
}

static void tally(void *context, const struct pyh_visit *visit)
{
	struct tallying *tallying = context;
	struct share *share = &tallying->shares[visit->worker];
	const struct pyh_object *object = &visit->object;
	const struct pyh_type *owner;

	if (share->err || !wanted(tallying->scan, object->type))
		return;
	owner = pyh_owner_of(tallying->owners, object->address);
	share->err = share_add(share, owner, &(struct pyh_type_total){
		.type = object->type,
		.count = 1,
		.size = object->size,
		.footprint = object->footprint,
		.refcounts = object->immortal ? 0 : object->refcount,
		.immortal = object->immortal,
		.size_exact = object->size_exact,
	});
}

/** All shares into the first. */
static struct error *merge_shares(struct tallying *tallying)
{
	struct share *first = &tallying->shares[0];
	struct error *err = TAKE(first->err);

	for (unsigned int i = 1; !err && i < tallying->num_shares; i++) {
		struct share *share = &tallying->shares[i];

		err = TAKE(share->err);
		for (uint32_t j = 0; !err && j < share->count; j++)
			err = share_add(first, share->owners[j],
					&share->totals[j]);
	}
	return err;
}

/** A row: "list of __main__.Node". */
static struct error *add_owned(struct type_groups *groups,
			       const struct pyh_type_total *total,
			       const struct pyh_type *owner)
{
	struct type_row row = { .name = total->type->name, .total = *total,
				.owner = owner };
	char *name = NULL;

	if (owner) {
		if (asprintf(&name, "%s of %s", total->type->name,
			     owner->name) < 0)
			return error_no_memory();
		row.name = name;
	}
	return add_row(groups, &row, name);
}

static struct error *make_rows(const struct share *share,
			       struct type_groups *groups)
{
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < share->count; i++)
		err = add_owned(groups, &share->totals[i], share->owners[i]);
	return err;
}

/** What each row retains; the rows are in order of the share's numbers. */
static struct error *retained_by_owner(const struct tallying *tallying,
				       struct type_groups *groups)
{
	const struct hashmap *numbers = &tallying->shares[0].numbers;
	const struct analysis *analysis;
	struct error *err = analysis_of(tallying->scan->opened, ANALYSIS_TREE,
					&analysis);
	CLEANUP(free_pointer) uint64_t *sums = calloc(groups->count + 1,
						      sizeof(*sums));
	CLEANUP(free_pointer) uint64_t *devices = NULL;
	struct spill_array array;
	uint32_t *of;		/* row of each object */

	if (err || !sums)
		return err ? err : error_no_memory();
	err = spill_alloc(&analysis->heap->spill, (uint64_t)analysis->heap->count *
						  sizeof(*of), &array);
	if (err)
		return err;
	of = array.data;
	for (uint32_t i = 0; i < analysis->heap->count; i++) {
		uint64_t address = heapgraph_address(analysis->heap, i);
		const struct pyh_type *owner = pyh_owner_of(tallying->owners,
							    address);

		// The last group is of those that are not wanted.
		if (!hashmap_get(numbers, pair_of(analysis->heap->types[i],
						  owner), &of[i]))
			of[i] = (uint32_t)groups->count;
	}
	err = domtree_by_group(&analysis->tree, of, NULL,
			       (uint32_t)groups->count + 1, sums);
	if (!err)
		err = heldbytes_by_group(analysis->held, of, NULL,
					 (uint32_t)groups->count + 1, &devices);
	for (size_t i = 0; !err && i < groups->count; i++)
		put_retained(&groups->rows[i], sums[i],
			     devices ? &devices[i] : NULL);
	spill_free(&array);
	return err;
}

static struct error *tally_all(struct tallying *tallying,
			       struct pyh_census *census,
			       struct type_groups *groups)
{
	size_t size = tallying->num_shares * sizeof(*tallying->shares);
	struct error *err;

	tallying->shares = aligned_alloc(_Alignof(struct share), size);
	if (!tallying->shares)
		return error_no_memory();
	memset(tallying->shares, 0, size);
	err = pyh_census_visit(census, tally, tallying);
	if (!err)
		err = merge_shares(tallying);
	if (!err)
		err = make_rows(&tallying->shares[0], groups);
	if (!err && type_rows_want_retained(tallying->scan))
		err = retained_by_owner(tallying, groups);
	for (unsigned int i = 0; i < tallying->num_shares; i++) {
		struct share *share = &tallying->shares[i];

		hashmap_deinit(&share->numbers);
		free(share->totals);
		free(share->owners);
		error_free(share->err);
	}
	free(tallying->shares);
	return err;
}

static void owners_release(struct pyh_owners **owners)
{
	pyh_owners_destroy(*owners);
}

/** The rows that an earlier run has kept. */
static struct error *recall_owned(struct scan *scan,
				  const struct analysis *analysis,
				  struct type_groups *groups)
{
	bool device = heldbytes_has_device(analysis->held);
	bool retained = type_rows_want_retained(scan);
	const struct kept *kept = analysis->kept;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < kept->num_owned; i++) {
		const struct kept_owned *from = &kept->owned[i];

		if (!wanted(scan, from->total.type))
			continue;
		err = add_owned(groups, &from->total, from->owner);
		if (err)
			break;
		if (retained)
			put_retained(&groups->rows[groups->count - 1],
				     from->retained,
				     device ? &from->device : NULL);
	}
	return err;
}

static struct error *group_by_owner(struct scan *scan,
				    struct type_groups *groups)
{
	CLEANUP(owners_release) struct pyh_owners *owners = NULL;
	struct tallying tallying = { .scan = scan };
	const struct analysis *analysis;
	struct pyh_runtime *runtime;
	struct pyh_census *census;
	struct pyh_types *types;
	// What an earlier run has kept comes with the types.
	struct error *err = opened_types(scan->opened, &types);

	if (err)
		return err;
	analysis = *opened_analysis(scan->opened);
	if (analysis && analysis->kept)
		return recall_owned(scan, analysis, groups);
	err = opened_census(scan->opened, &census);
	if (!err)
		err = opened_runtime(scan->opened, &runtime);
	if (!err)
		err = pyh_owners_create(runtime, types, &owners);
	if (!err)
		err = pyh_census_visit(census, pyh_owners_mark, owners);
	if (!err)
		err = pyh_owners_find(owners, census);
	if (err)
		return err;
	tallying.owners = owners;
	tallying.num_shares = pyh_census_workers(census);
	return tally_all(&tallying, census, groups);
}

/* --- what is asked for --------------------------------------------------- */

struct error *type_groups_make(struct scan *scan,
			       const struct type_counts *counts,
			       struct type_groups **ret)
{
	struct type_groups *groups = calloc(1, sizeof(*groups));
	struct error *err;

	if (!groups)
		return error_no_memory();
	err = scan->options->by == BY_MODULE ?
		      group_by_module(scan, counts, groups) :
		      group_by_owner(scan, groups);
	if (err) {
		type_groups_destroy(groups);
		return err;
	}
	*ret = groups;
	return NULL;
}

void type_groups_destroy(struct type_groups *groups)
{
	if (!groups)
		return;
	for (size_t i = 0; i < groups->count; i++)
		free(groups->names[i]);
	free(groups->names);
	free(groups->rows);
	free(groups);
}

size_t type_groups_count(const struct type_groups *groups)
{
	return groups->count;
}

const struct type_row *type_groups_row(const struct type_groups *groups,
				       size_t i)
{
	return &groups->rows[i];
}
