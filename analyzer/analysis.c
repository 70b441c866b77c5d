/*
 * What is found out about a heap as a whole; see analysis.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/analysis.h"

#include <stdlib.h>

#include "analyzer/kept/kept.h"
#include "analyzer/ledger/ledger.h"
#include "analyzer/opened.h"
#include "analyzer/show/scan_progress.h"
#include "image/base/workers.h"

static struct error *visit_census(void *context,
				  const struct pyh_visitor *visitor,
				  struct pyh_census **ret,
				  struct pyh_shapes **ret_shapes)
{
	struct error *err = opened_census_visited(context, visitor, ret);

	return err ? err : opened_shapes(context, ret_shapes);
}

static struct error *create(struct opened *opened, struct analysis **ret)
{
	struct heapgraph_options options = {
		.workers = opened_workers(opened),
		.memory = opened_memory(opened),
		.tmp_dir = opened_tmp_dir(opened),
		.census = visit_census,
		.context = opened,
		.progress = progress_tell,
	};
	struct analysis *analysis;
	struct pyh_runtime *runtime = NULL;
	struct error *err = opened_runtime(opened, &runtime);

	if (!err)
		err = opened_types(opened, &options.types);
	if (err)
		return err;
	options.runtime = runtime;
	analysis = calloc(1, sizeof(*analysis));
	if (!analysis)
		return error_no_memory();
	err = heapgraph_build(&options, &analysis->heap);
	if (!err)
		err = heaproots_find(analysis->heap, runtime,
				     opened_workers(opened), &analysis->roots);
	if (err)
		analysis_destroy(analysis);
	else
		*ret = analysis;
	return err;
}

/* --- parts, side by side --------------------------------------------------- */

struct making {
	struct opened *opened;
	struct analysis *analysis;
	unsigned int parts[ANALYSIS_PARTS];
};

static uint64_t weight(void *context, uint32_t object)
{
	return heapgraph_footprint(context, object);
}

static struct error *find_dominators(const struct making *making)
{
	struct analysis *analysis = making->analysis;
	struct heapgraph *heap = analysis->heap;

	return dominators_find(&heap->graph, &(struct dominators_options){
		.workers = opened_workers(making->opened),
		.mask = GRAPH_MASK_STRONG,
		.roots = &analysis->roots.held,
		.weights = heap->footprints,
		.weight = heap->num_bigs ? weight : NULL,
		.context = heap,
		.spill = &heap->spill }, &analysis->dominators);
}

/** The objects that are the types, by the types' ids. */
static struct error *list_classes(const struct heapgraph *heap, uint32_t **ret)
{
	uint32_t count = pyh_types_count(heap->pyh_types);

	*ret = calloc((size_t)count + 1, sizeof(**ret));
	if (!*ret)
		return error_no_memory();
	for (uint32_t i = 0; i < count; i++)
		(*ret)[i] = heapgraph_find(
			heap, pyh_types_get(heap->pyh_types, i)->address);
	return NULL;
}

static struct error *find_components(const struct making *making)
{
	struct heapgraph *heap = making->analysis->heap;
	uint32_t *classes = NULL;
	struct error *err = list_classes(heap, &classes);

	if (!err)
		err = components_find(&heap->graph,
			&(struct components_options){
				.mask = GRAPH_MASK_OWNED,
				.kinds = heap->types, .kind_nodes = classes,
				.spill = &heap->spill },
			&making->analysis->components);
	free(classes);
	return err;
}

static struct error *replay_collector(const struct making *making)
{
	struct pyh_runtime *runtime;
	struct error *err = opened_runtime(making->opened, &runtime);

	return err ? err : collector_replay(making->analysis->heap, runtime,
					    &making->analysis->collector);
}

static struct error *make_part(void *context, unsigned int worker, size_t shard)
{
	const struct making *making = context;

	(void)worker;
	switch (making->parts[shard]) {
	case ANALYSIS_DOMINATORS:
		return find_dominators(making);
	case ANALYSIS_COMPONENTS:
		return find_components(making);
	default:
		return replay_collector(making);
	}
}

struct error *analysis_of(struct opened *opened, unsigned int parts,
			  const struct analysis **ret)
{
	struct analysis **at = opened_analysis(opened);
	struct making making = { .opened = opened };
	struct pyh_types *types;
	// That of an earlier run comes with the types.
	struct error *err = opened_types(opened, &types);
	size_t count = 0;

	if (!err && !*at)
		err = create(opened, at);
	if (err)
		return err;
	making.analysis = *at;
	// What was kept has its columns in a file, and needs room for new ones.
	if ((*at)->kept && !(*at)->heap->spill.folder)
		(*at)->heap->spill = (struct spill){
			.folder = opened_tmp_dir(opened),
			.budget = opened_memory(opened) };
	if (parts & ANALYSIS_TREE)
		parts |= ANALYSIS_DOMINATORS;
	parts &= ~(*at)->have;
	for (unsigned int i = 0; i < ANALYSIS_PARTS; i++)
		if (parts >> i & 1)
			making.parts[count++] = 1u << i;
	if (count > 0)
		progress_tell(NULL, "finding who keeps what", 0, 0);
	err = workers_run(opened_workers(opened), count, make_part, &making);
	if (!err && parts & ANALYSIS_TREE)
		err = domtree_make(&(*at)->dominators, &(*at)->heap->spill,
				   &(*at)->tree);
	if (err)
		return err;
	(*at)->have |= parts;
	*ret = *at;
	return NULL;
}

struct error *analysis_keep(struct opened *opened)
{
	const struct analysis *analysis = *opened_analysis(opened);
	const struct ledger *ledger;
	struct index *index = NULL;
	struct error *err;

	if (!analysis || analysis->kept)
		return NULL;
	err = opened_index(opened, &index);
	// What it finds damaged keeps the rest from being kept.
	if (!err && index)
		err = ledger_of(opened, /* owners= */ true, &ledger);
	if (!err && index)
		err = opened_index(opened, &index);
	if (err || !index)
		return err;
	err = analysis_of(opened, ANALYSIS_ALL, &analysis);
	progress_tell(NULL, "keeping it for the next question", 0, 0);
	return err ? err : kept_save(index, opened, analysis);
}

void analysis_destroy(struct analysis *analysis)
{
	if (!analysis)
		return;
	if (analysis->kept) {
		kept_analysis_destroy(analysis);
		return;
	}
	components_deinit(&analysis->components);
	collector_deinit(&analysis->collector);
	domtree_deinit(&analysis->tree);
	dominators_deinit(&analysis->dominators);
	heaproots_deinit(&analysis->roots);
	heapgraph_destroy(analysis->heap);
	free(analysis);
}
