/*
 * What is found out about a heap as a whole; see analysis.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/analysis.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/kept/kept.h"
#include "analyzer/ledger/ledger.h"
#include "analyzer/opened.h"
#include "analyzer/show/scan_progress.h"
#include "analyzer/tensors/tensorlinks.h"
#include "image/base/guard.h"
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
	struct tensorlinks links;
};

static uint64_t weight(void *context, uint32_t object)
{
	return heapgraph_footprint(context, object);
}

/* --- with PyTorch's C++ objects --------------------------------------------- */

static uint64_t weight_linked(void *context, uint32_t node)
{
	const struct making *making = context;
	const struct tensorlinks *links = &making->links;
	const struct held_storage *storage;

	if (node < links->first)
		return heapgraph_footprint(making->analysis->heap, node);
	if (node < links->first_storage)
		return 0;
	storage = &links->storages[node - links->first_storage];
	return storage->flags & HELD_IN_HOST ? storage->bytes : 0;
}

/**
 * What is held from outside: objects, but for those that links account for, and
 * C++ objects that nothing leads to. What only garbage leads to, is garbage; what
 * nothing at all does is C++'s, in a circle.
 */
static struct error *find_held(const struct making *making,
			       const struct graph *graph, struct node_set *ret)
{
	const struct tensorlinks *links = &making->links;
	const struct node_set *held = &making->analysis->roots.held;
	CLEANUP(node_set_deinit) struct node_set found = { 0 };
	struct error *err = node_set_init(ret, graph->num_nodes);

	if (!err)
		err = node_set_init(&found, graph->num_nodes);
	if (err)
		return err;
	memcpy(ret->words, held->words,
	       ((size_t)held->num_nodes + 63) / 64 * sizeof(*held->words));
	for (size_t i = 0; i < links->num_explained; i++)
		node_set_remove(ret, links->explained[i]);
	for (size_t i = 0; i < links->num_starts; i++)
		(void)node_set_add(ret, links->starts[i]);
	memcpy(found.words, ret->words,
	       ((size_t)graph->num_nodes + 63) / 64 * sizeof(*found.words));
	err = reach(graph, GRAPH_MASK_STRONG, NULL, &found);
	for (uint32_t i = 0; !err && i < links->first; i++)
		if (!node_set_has(held, i))
			(void)node_set_add(&found, i);
	if (!err)
		err = reach(graph, GRAPH_MASK_STRONG, NULL, &found);
	for (size_t i = 0; !err && i < links->num_explained; i++)
		if (!node_set_has(&found, links->explained[i]))
			(void)node_set_add(ret, links->explained[i]);
	for (size_t i = 0; !err && i < links->num_links; i++)
		if (!node_set_has(&found, links->links[i].from))
			(void)node_set_add(ret, links->links[i].from);
	return err;
}

/** The nearest above each node that is an object, or what stands for none. */
static void skip_links(const struct tensorlinks *links, uint32_t *parent)
{
	uint32_t first = links->first, end = first + links->count;

	for (uint32_t i = 0; i < end; i++) {
		uint32_t at = i, above;

		while (parent[at] >= first && parent[at] < end)
			at = parent[at];
		above = parent[at];
		for (at = i; parent[at] >= first && parent[at] < end;) {
			uint32_t next = parent[at];

			parent[at] = above;
			at = next;
		}
	}
}

/** Storages get their owners; then only objects are left in the tree. */
static struct error *give_owners(struct making *making)
{
	struct tensorlinks *links = &making->links;
	struct analysis *analysis = making->analysis;
	struct dominators *dominators = &analysis->dominators;
	struct heldbytes *held = calloc(1, sizeof(*held));

	if (!held)
		return error_no_memory();
	analysis->held = held;
	skip_links(links, dominators->parent);
	for (size_t i = 0; i < links->num_storages; i++)
		links->storages[i].owner =
			dominators->parent[links->first_storage + i];
	for (uint32_t i = links->first; i < links->first + links->count; i++)
		dominators->num_reached -=
			dominators->parent[i] != DOMINATOR_UNREACHED;
	dominators->num_nodes = links->first;
	held->storages = links->storages;
	held->num_storages = links->num_storages;
	links->storages = NULL;
	return heldbytes_make(dominators, held);
}

static struct error *find_linked(struct making *making,
				 struct dominators_options *options)
{
	const struct tensorlinks *links = &making->links;
	struct heapgraph *heap = making->analysis->heap;
	CLEANUP(node_set_deinit) struct node_set roots = { 0 };
	CLEANUP(graph_deinit) struct graph graph = { 0 };
	struct error *err = graph_extend(&heap->graph, links->count,
					 links->links, links->num_links,
					 options->workers, &heap->spill,
					 &graph);

	if (!err)
		err = find_held(making, &graph, &roots);
	if (err)
		return err;
	options->roots = &roots;
	options->weights = NULL;
	options->weight = weight_linked;
	options->context = making;
	err = dominators_find(&graph, options, &making->analysis->dominators);
	return err ? err : give_owners(making);
}

static struct error *find_dominators(struct making *making)
{
	struct analysis *analysis = making->analysis;
	struct heapgraph *heap = analysis->heap;
	struct dominators_options options = {
		.workers = opened_workers(making->opened),
		.mask = GRAPH_MASK_STRONG,
		.roots = &analysis->roots.held,
		.weights = heap->footprints,
		.weight = weight,
		.context = heap,
		.spill = &heap->spill };

	return making->links.count ?
		       find_linked(making, &options) :
		       dominators_find(&heap->graph, &options,
				       &analysis->dominators);
}

/* --- the others ------------------------------------------------------------- */

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
				.mask = GRAPH_MASK_STRONG,
				.kinds = heap->types, .kind_nodes = classes,
				.spill = &heap->spill },
			&making->analysis->components);
	free(classes);
	return err;
}

static struct error *replay_collector(const struct making *making)
{
	struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	struct error *err = opened_runtime(making->opened, &runtime);

	if (!err)
		err = opened_shapes(making->opened, &shapes);
	return err ? err : collector_replay(making->analysis->heap, runtime,
					    shapes,
					    &making->analysis->collector);
}

static struct error *make_part(void *context, unsigned int worker, size_t shard)
{
	struct making *making = context;

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
	if (parts & ANALYSIS_DOMINATORS)
		err = tensorlinks_make(opened, *at, &making.links);
	if (!err)
		err = workers_run(opened_workers(opened), count, make_part,
				  &making);
	tensorlinks_deinit(&making.links);
	if (!err && parts & ANALYSIS_TREE)
		err = domtree_make(&(*at)->dominators, &(*at)->heap->spill,
				   &(*at)->tree);
	if (err)
		return err;
	(*at)->have |= parts;
	if (parts & ANALYSIS_REACH && ((*at)->have & ANALYSIS_REACH) ==
					      ANALYSIS_REACH)
		err = collector_find_lost((*at)->heap,
					  (*at)->dominators.parent,
					  &(*at)->collector);
	if (err)
		return err;
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
	heldbytes_destroy(analysis->held);
	dominators_deinit(&analysis->dominators);
	heaproots_deinit(&analysis->roots);
	heapgraph_destroy(analysis->heap);
	free(analysis);
}
