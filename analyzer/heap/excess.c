/*
 * Objects whose counts are others than the references found; see excess.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/excess.h"

#include <stdlib.h>

#include "analyzer/kept/kept.h"
#include "image/base/guard.h"
#include "pyheap/references/pyholders.h"

static struct excess excess_of(const struct analysis *analysis, uint32_t object)
{
	const struct heapgraph *heap = analysis->heap;
	struct heap_count count = heaproots_count(heap, &analysis->roots,
						  object);
	/* found, but no count tells of them */
	uint64_t deferred = heapgraph_references(heap, object) -
			    heapgraph_refcount(heap, object);

	return (struct excess){
		.object = object,
		.found = count.objects + count.roots - deferred,
		.excess = (int64_t)(heapgraph_references(heap, object) -
				    count.objects - count.roots),
		.guessed = count.guessed + count.maybe_roots };
}

static struct error *gather(const struct analysis *analysis,
			    struct excesses *ret)
{
	const struct heapgraph *heap = analysis->heap;
	const struct heaproots *roots = &analysis->roots;

	ret->list = calloc((size_t)roots->num_unexplained +
				   roots->num_over_released + 1,
			   sizeof(*ret->list));
	if (!ret->list)
		return error_no_memory();
	for (size_t i = 0; i < (size_t)heap->count / 64 + 1; i++) {
		uint64_t bits = roots->unexplained.words[i] |
				roots->over_released.words[i];

		for (; bits; bits &= bits - 1)
			ret->list[ret->count++] = excess_of(
				analysis, (uint32_t)(i * 64) +
					(uint32_t)__builtin_ctzll(bits));
	}
	return NULL;
}

/** The order of the list; of equal ones by address. */
static int by_weight(const void *a, const void *b)
{
	const struct excess *x = a, *y = b;
	uint64_t left = excess_left(x), other = excess_left(y);

	if ((x->excess < 0) != (y->excess < 0))
		return x->excess < 0 ? -1 : 1;
	if (x->excess < 0 && x->excess != y->excess)
		return x->excess < y->excess ? -1 : 1;
	if (left != other)
		return left > other ? -1 : 1;
	if (x->excess != y->excess)
		return x->excess > y->excess ? -1 : 1;
	return x->object < y->object ? -1 : x->object > y->object;
}

/* --- holders --------------------------------------------------------------- */

struct looking {
	const struct heapgraph *heap;
	struct excess *first;		/* those looked for */
	size_t count;
	struct excess **by_object;	/* the same */
};

static int by_object(const void *a, const void *b)
{
	uint32_t x = (*(struct excess *const *)a)->object;
	uint32_t y = (*(struct excess *const *)b)->object;

	return x < y ? -1 : x > y;
}

static bool see_holder(void *context, const struct pyh_root *root)
{
	const struct looking *looking = context;
	struct excess one = {
		.object = heapgraph_find(looking->heap, root->address) };
	struct excess *key = &one, **found;

	found = bsearch(&key, looking->by_object, looking->count,
			sizeof(*looking->by_object), by_object);
	if (!found)
		return true;
	// What is surely a reference says more than a word left over.
	if ((*found)->holders++ == 0 ||
	    (pyh_holder_is_closure(root) &&
	     !pyh_holder_is_closure(&(*found)->holder)))
		(*found)->holder = *root;
	return true;
}

static bool begins_object(void *context, uint64_t address)
{
	const struct looking *looking = context;

	return heapgraph_find(looking->heap, address) != GRAPH_NONE;
}

/** By what an earlier look has found. */
static void recall(const struct kept *kept, struct looking *looking)
{
	for (size_t i = 0; i < kept->num_holders; i++) {
		const struct kept_holder *holder = &kept->holders[i];
		struct excess one = { .object = holder->object };
		struct excess *key = &one, **found;

		found = bsearch(&key, looking->by_object, looking->count,
				sizeof(*looking->by_object), by_object);
		if (!found)
			continue;
		(*found)->holders = holder->holders;
		(*found)->holder = holder->first;
	}
}

static struct error *search(struct opened *opened, struct looking *looking)
{
	CLEANUP(free_pointer) uint64_t *addresses =
		calloc(looking->count, sizeof(*addresses));
	struct pyh_census *census;
	struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	bool all;
	struct error *err = opened_census(opened, &census);

	if (!err)
		err = opened_runtime(opened, &runtime);
	if (!err)
		err = opened_shapes(opened, &shapes);
	if (!err && !addresses)
		err = error_no_memory();
	if (err)
		return err;
	for (size_t i = 0; i < looking->count; i++)
		addresses[i] = heapgraph_address(looking->heap,
						 looking->first[i].object);
	return pyh_holders_each(runtime, census, shapes, addresses,
				looking->count, begins_object, see_holder,
				looking, &all);
}

/** Of a list in order: those that were released too often need no holder. */
static struct error *find_holders(struct opened *opened,
				  const struct analysis *analysis,
				  struct excesses *list)
{
	struct looking looking = { .heap = analysis->heap };
	size_t first = 0;
	struct error *err = NULL;

	while (first < list->count && list->list[first].excess < 0)
		first++;
	looking.first = &list->list[first];
	looking.count = list->count - first < PYH_HOLDERS_OBJECTS ?
				list->count - first : PYH_HOLDERS_OBJECTS;
	if (looking.count == 0)
		return NULL;
	looking.by_object = calloc(looking.count, sizeof(*looking.by_object));
	if (!looking.by_object)
		return error_no_memory();
	for (size_t i = 0; i < looking.count; i++) {
		looking.by_object[i] = &looking.first[i];
		looking.first[i].looked = true;
	}
	qsort(looking.by_object, looking.count, sizeof(*looking.by_object),
	      by_object);
	if (analysis->kept)
		recall(analysis->kept, &looking);
	else
		err = search(opened, &looking);
	free(looking.by_object);
	return err;
}

struct error *excess_find(struct opened *opened,
			  const struct analysis *analysis, uint32_t object,
			  struct excess *ret)
{
	struct looking looking = { .heap = analysis->heap, .first = ret,
				   .count = 1, .by_object = &ret };

	*ret = excess_of(analysis, object);
	ret->looked = ret->excess > 0;
	if (!ret->looked)
		return NULL;
	if (!analysis->kept)
		return search(opened, &looking);
	recall(analysis->kept, &looking);
	return NULL;
}

struct error *excesses_find(struct opened *opened,
			    const struct analysis *analysis,
			    struct excesses *ret)
{
	struct error *err;

	*ret = (struct excesses){ 0 };
	err = gather(analysis, ret);
	if (!err) {
		qsort(ret->list, ret->count, sizeof(*ret->list), by_weight);
		err = find_holders(opened, analysis, ret);
	}
	if (err) {
		excesses_deinit(ret);
		return err;
	}
	qsort(ret->list, ret->count, sizeof(*ret->list), by_weight);
	for (size_t i = 0; i < ret->count; i++)
		ret->left += excess_left(&ret->list[i]) > 0;
	return NULL;
}

void excesses_deinit(struct excesses *excesses)
{
	free(excesses->list);
	*excesses = (struct excesses){ 0 };
}
