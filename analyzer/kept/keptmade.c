/*
 * What views need beyond the analysis; see keptmade.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Most of it takes one worker, and is made side by side.
 */
#include "analyzer/kept/keptmade.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/collectors.h"
#include "analyzer/heap/cycles.h"
#include "analyzer/heap/owners.h"
#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "image/base/workers.h"

struct making {
	const struct analysis *analysis;
	struct keptmade *made;
	uint32_t num_types;	/* those that objects are of, and maybe more */
	struct finalizers finalizers;
};

/* --- what types and modules retain ----------------------------------------- */

static int by_module(const void *a, const void *b)
{
	const struct pyh_type *const *x = a, *const *y = b;

	return strcmp(retained_module(*x), retained_module(*y));
}

/** Number the modules. @return how many there are */
static uint32_t number_modules(const struct pyh_type **sorted, uint32_t count,
			       uint32_t *of_type)
{
	uint32_t number = 0;

	qsort(sorted, count, sizeof(struct pyh_type *), by_module);
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0 && by_module(&sorted[i - 1], &sorted[i]) != 0)
			number++;
		of_type[sorted[i]->id] = number;
	}
	return number + 1;
}

static struct error *sum_modules(const struct making *making)
{
	const struct heapgraph *heap = making->analysis->heap;
	uint32_t count = pyh_types_count(heap->pyh_types), modules;
	CLEANUP(free_pointer) const struct pyh_type **sorted =
		calloc((size_t)count + 1, sizeof(struct pyh_type *));
	CLEANUP(free_pointer) uint32_t *of_type = calloc((size_t)count + 1,
							 sizeof(*of_type));
	CLEANUP(free_pointer) uint64_t *sums = calloc((size_t)count + 1,
						      sizeof(*sums));
	struct error *err;

	making->made->by_module = calloc((size_t)count + 1, sizeof(*sums));
	if (!sorted || !of_type || !sums || !making->made->by_module)
		return error_no_memory();
	for (uint32_t i = 0; i < count; i++)
		sorted[i] = pyh_types_get(heap->pyh_types, i);
	modules = number_modules(sorted, count, of_type);
	err = domtree_by_group(&making->analysis->tree, heap->types, of_type,
			       modules, sums);
	for (uint32_t i = 0; !err && i < count; i++)
		making->made->by_module[i] = sums[of_type[i]];
	return err;
}

/* --- parts, side by side --------------------------------------------------- */

static struct error *group_roots(const struct making *making)
{
	const struct analysis *analysis = making->analysis;
	struct heapgraph *heap = analysis->heap;
	struct domtops tops;
	struct error *err = domtops_make(&analysis->dominators, &heap->graph,
					 GRAPH_MASK_STRONG, &heap->spill,
					 &tops);

	if (err)
		return err;
	err = retained_groups_of_roots(analysis, &tops, BY_THREAD,
				       &making->made->by_thread);
	if (!err)
		err = retained_groups_of_roots(analysis, &tops, BY_ROOT,
					       &making->made->by_root);
	domtops_deinit(&tops);
	return err;
}

static struct error *sum_cycles(struct making *making)
{
	const struct analysis *analysis = making->analysis;
	struct keptmade *made = making->made;
	uint32_t count = analysis->components.count;

	made->cycle_sizes = calloc((size_t)count + 1, sizeof(uint64_t));
	made->cycle_shapes = calloc((size_t)count + 1, sizeof(uint64_t));
	made->cycle_finalizers = calloc((size_t)count + 1, sizeof(uint32_t));
	if (!made->cycle_sizes || !made->cycle_shapes ||
	    !made->cycle_finalizers)
		return error_no_memory();
	for (uint32_t i = 0; i < count; i++) {
		struct cycle cycle = cycles_get(analysis, &making->finalizers,
						i);

		made->cycle_sizes[i] = cycle.size;
		made->cycle_shapes[i] = cycles_shape(analysis, &cycle);
		made->cycle_finalizers[i] = (uint32_t)cycle.finalizers << 1 |
					    cycle.garbage;
	}
	return NULL;
}

enum part { PART_WAYS, PART_ROOTS, PART_TYPES, PART_MODULES, PART_CYCLES,
	    NUM_KEPT_PARTS };

static struct error *make_part(void *context, unsigned int worker, size_t shard)
{
	struct making *making = context;
	struct keptmade *made = making->made;

	(void)worker;
	switch ((enum part)shard) {
	case PART_WAYS:
		return paths_group_all(made->paths, &made->ways,
				       &made->num_ways);
	case PART_ROOTS:
		return group_roots(making);
	case PART_TYPES:
		return retained_by_type(making->analysis, &made->by_type);
	case PART_MODULES:
		return sum_modules(making);
	case PART_CYCLES:
	case NUM_KEPT_PARTS:
		break;
	}
	return sum_cycles(making);
}

static struct error *prepare(struct opened *opened, struct making *making)
{
	struct keptmade *made = making->made;
	struct pyh_runtime *runtime;
	struct error *err = opened_runtime(opened, &runtime);

	making->num_types = pyh_types_count(making->analysis->heap->pyh_types);
	if (!err)
		err = paths_open(opened, making->analysis, /* values= */ false,
				 &made->paths);
	if (!err)
		err = finalizers_init(&making->finalizers,
				      making->analysis->heap, runtime);
	return err ? err : collectors_read(opened, making->analysis,
					   &made->collectors,
					   &made->num_collectors);
}

/** Types that were found while all this was made have no objects. */
static struct error *fit_types(const struct making *making, uint64_t **sums)
{
	uint32_t count = pyh_types_count(making->analysis->heap->pyh_types);
	uint64_t *fitting = calloc((size_t)count + 1, sizeof(*fitting));

	if (!fitting)
		return error_no_memory();
	memcpy(fitting, *sums, making->num_types * sizeof(*fitting));
	free(*sums);
	*sums = fitting;
	return NULL;
}

struct error *keptmade_make(struct opened *opened,
			    const struct analysis *analysis,
			    struct keptmade *ret)
{
	struct making making = { .analysis = analysis, .made = ret };
	struct error *err;

	*ret = (struct keptmade){ 0 };
	err = prepare(opened, &making);
	if (!err)
		err = workers_run(opened_workers(opened), NUM_KEPT_PARTS,
				  make_part, &making);
	finalizers_deinit(&making.finalizers);
	if (!err)
		err = owners_tally(opened, analysis, &ret->owned,
				   &ret->num_owned);
	if (!err)
		err = ledger_of(opened, /* owners= */ true, &ret->ledger);
	if (!err)
		err = excesses_find(opened, analysis, &ret->excesses);
	if (!err)
		err = fit_types(&making, &ret->by_type);
	if (!err)
		err = fit_types(&making, &ret->by_module);
	if (!err)
		ret->before = paths_before(ret->paths);
	else
		keptmade_deinit(ret);
	return err;
}

void keptmade_deinit(struct keptmade *made)
{
	paths_close(made->paths);
	retained_groups_deinit(&made->by_thread);
	retained_groups_deinit(&made->by_root);
	free(made->by_type);
	free(made->by_module);
	excesses_deinit(&made->excesses);
	free(made->owned);
	free(made->collectors);
	free(made->cycle_sizes);
	free(made->cycle_shapes);
	free(made->cycle_finalizers);
	*made = (struct keptmade){ 0 };
}
