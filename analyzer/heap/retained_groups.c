/*
 * Retained sizes of groups; see retained_groups.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/retained_groups.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/kept/kept.h"
#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"

/** Types without a module are made in C without saying where. */
const char *retained_module(const struct pyh_type *type)
{
	return type->module ? type->module : "?";
}

struct error *retained_by_type(const struct analysis *analysis, uint64_t **ret)
{
	const struct heapgraph *heap = analysis->heap;
	uint32_t count = pyh_types_count(heap->pyh_types);
	struct error *err;

	*ret = calloc((size_t)count + 1, sizeof(**ret));
	if (!*ret)
		return error_no_memory();
	// Types that have been found since have no objects.
	if (analysis->kept) {
		memcpy(*ret, analysis->kept->retained_by_type,
		       analysis->kept->num_types * sizeof(**ret));
		return NULL;
	}
	err = domtree_by_group(&analysis->tree, heap->types, NULL, count, *ret);
	if (err) {
		free(*ret);
		*ret = NULL;
	}
	return err;
}

/* --- groups and their names ------------------------------------------------ */

struct making {
	const struct analysis *analysis;
	struct retained_groups *groups;
	size_t room;
	struct hashmap numbers;	/* of groups, by the hash of their names */
	uint32_t *of_type;	/* group of each type; or NULL, and then … */
	const struct domtops *tops;
	struct spill_array array;
	uint32_t *of;		/* … of each top */
	uint32_t native;	/* the group of what C++ alone has */
};

static struct error *add_group(struct making *making, const char *name,
			       const struct pyh_type *type)
{
	struct retained_groups *groups = making->groups;

	if (groups->count == making->room) {
		size_t room = making->room ? making->room * 2 : 64;
		struct retained_group *grown =
			realloc(groups->groups, room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		groups->groups = grown;
		making->room = room;
	}
	groups->groups[groups->count] = (struct retained_group){
		.name = strdup(name), .type = type };
	if (!groups->groups[groups->count].name)
		return error_no_memory();
	groups->count++;
	return NULL;
}

/** FNV-1a, never 0. */
static uint64_t hash_name(const char *name)
{
	uint64_t hash = UINT64_C(0xCBF29CE484222325);

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001B3);
	return hash ? hash : 1;
}

/** The group of a name, made if there is none. */
static struct error *group_named(struct making *making, const char *name,
				 uint32_t *ret)
{
	uint64_t hash = hash_name(name);
	struct error *err;

	for (; hashmap_get(&making->numbers, hash, ret); hash = hash * 3 | 1)
		if (strcmp(making->groups->groups[*ret].name, name) == 0)
			return NULL;
	*ret = (uint32_t)making->groups->count;
	err = add_group(making, name, NULL);
	return err ? err : hashmap_put(&making->numbers, hash, *ret);
}

/** A group for each type, or for the module of each. */
static struct error *group_types(struct making *making, bool modules)
{
	const struct heapgraph *heap = making->analysis->heap;
	uint32_t count = pyh_types_count(heap->pyh_types);

	making->of_type = calloc((size_t)count + 1, sizeof(*making->of_type));
	if (!making->of_type)
		return error_no_memory();
	for (uint32_t i = 0; i < count; i++) {
		const struct pyh_type *type = pyh_types_get(heap->pyh_types, i);
		struct error *err;

		making->of_type[i] = i;
		err = modules ? group_named(making, retained_module(type),
					    &making->of_type[i]) :
				add_group(making, type->name, type);
		if (err)
			return err;
	}
	return NULL;
}

/* --- by what holds them ---------------------------------------------------- */

enum { ROOT_NAME_MAX = 64, GROUP_SEVERAL = 0, GROUP_NOTHING = 1 };

/*
 * What comes first has what it leads to; what comes later only what is left.
 * Whatever module a frame runs in refers to all that the module has, and so do
 * many others; nobody would call it theirs.
 */
enum root_rank {
	RANK_INTERPRETER,	/* modules above all */
	RANK_FRAME,
	RANK_THREAD,
	RANK_RUNTIME,
	RANK_STATIC,
	RANK_NATIVE_STACK,
	RANK_NATIVE,
	RANK_UNEXPLAINED,
	RANK_IMMORTAL,
	NUM_ROOT_RANKS,

	/* by thread */
	RANK_NO_THREAD = 0,
	RANK_SOME_THREAD,
	NUM_THREAD_RANKS,
};

static const char *const rank_names[NUM_ROOT_RANKS] = {
	[RANK_INTERPRETER] = "interpreters", [RANK_FRAME] = "frames",
	[RANK_THREAD] = "thread states", [RANK_RUNTIME] = "the runtime",
	[RANK_STATIC] = "static variables",
	[RANK_NATIVE_STACK] = "native stacks", [RANK_NATIVE] = "native memory",
	[RANK_UNEXPLAINED] = "native code", [RANK_IMMORTAL] = "immortal",
};

static unsigned int rank_of_root(const struct pyh_root *root, bool threads)
{
	if (threads)
		return root->thread ? RANK_SOME_THREAD : RANK_NO_THREAD;
	switch (root->kind) {
	case PYH_ROOT_LOCAL:
	case PYH_ROOT_STACK:
	case PYH_ROOT_FRAME:
		return RANK_FRAME;
	case PYH_ROOT_THREAD:
		return RANK_THREAD;
	case PYH_ROOT_INTERPRETER:
		return RANK_INTERPRETER;
	case PYH_ROOT_RUNTIME:
		return RANK_RUNTIME;
	case PYH_ROOT_STATIC:
		return RANK_STATIC;
	case PYH_ROOT_NATIVE_STACK:
		return RANK_NATIVE_STACK;
	case PYH_ROOT_NATIVE:
		break;
	}
	return RANK_NATIVE;
}

/**
 * Tops are given to groups, rank by rank: objects that no single other one keeps
 * alive, the held ones among them. Whatever leads to an object that lives by
 * another one leads to that first, so that all below a top are of its group.
 */
struct rooting {
	struct making *making;
	bool threads;
	unsigned int rank;
	struct spill_array array;
	uint32_t *pending;	/* whose edges have not been followed: room for
				   all */
	uint32_t num_pending;
	struct node_set several;	/* that several groups of a rank lead to */
};

static struct error *group_of_rank(const struct rooting *rooting,
				   uint64_t thread, uint32_t *ret)
{
	char name[ROOT_NAME_MAX];

	if (!rooting->threads)
		return group_named(rooting->making, rank_names[rooting->rank],
				   ret);
	if (rooting->rank == RANK_NO_THREAD)
		return group_named(rooting->making, "no thread", ret);
	(void)snprintf(name, sizeof(name), "thread %" PRIu64, thread);
	return group_named(rooting->making, name, ret);
}

/** The group of an object by those of its roots that are of the rank at hand;
 * GRAPH_NONE: there are none. */
static struct error *group_of_held(const struct rooting *rooting,
				   uint32_t object, uint32_t *ret)
{
	const struct analysis *analysis = rooting->making->analysis;
	bool immortal = analysis->heap->flags[object] & HEAP_IMMORTAL;
	unsigned int otherwise = rooting->threads ? RANK_NO_THREAD :
				 immortal ? RANK_IMMORTAL : RANK_UNEXPLAINED;
	struct error *err = NULL;
	bool any = false;
	size_t count;
	const struct heap_root *roots = heaproots_of(&analysis->roots, object,
						     &count);

	*ret = GRAPH_NONE;
	for (size_t i = 0; !err && i < count; i++) {
		const struct pyh_root *root = &roots[i].root;
		uint32_t group;

		if (!heaproots_holds(&analysis->roots, &roots[i]))
			continue;
		any = true;
		if (rank_of_root(root, rooting->threads) != rooting->rank)
			continue;
		err = group_of_rank(rooting, root->thread, &group);
		*ret = *ret == GRAPH_NONE || *ret == group ? group :
							     GROUP_SEVERAL;
	}
	return !err && !any && rooting->rank == otherwise ?
		       group_of_rank(rooting, 0, ret) : err;
}

/** Of what nobody has, that which is held by roots of this rank. */
static struct error *group_held(struct rooting *rooting)
{
	const struct analysis *analysis = rooting->making->analysis;
	const struct domtops *tops = rooting->making->tops;
	uint32_t *of = rooting->making->of;
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < tops->count; i++) {
		if (of[i] != GRAPH_NONE ||
		    !node_set_has(&analysis->roots.held, tops->nodes[i]))
			continue;
		err = group_of_held(rooting, tops->nodes[i], &of[i]);
		if (err || of[i] == GRAPH_NONE)
			continue;
		if (of[i] == GROUP_SEVERAL)
			(void)node_set_add(&rooting->several, i);
		else
			rooting->pending[rooting->num_pending++] = i;
	}
	return err;
}

/** What these lead to, as far as nobody has it. */
static void group_reached(struct rooting *rooting, uint32_t first_group)
{
	const struct graph *graph = &rooting->making->tops->graph;
	uint32_t *of = rooting->making->of;

	while (rooting->num_pending > 0) {
		uint32_t node = rooting->pending[--rooting->num_pending];

		for (uint32_t j = graph->out_at[node];
		     j < graph->out_at[node + 1]; j++) {
			uint32_t target = graph_end(graph->out[j]);

			if (of[target] == of[node])
				continue;
			if (of[target] == GRAPH_NONE) {
				of[target] = of[node];
				rooting->pending[rooting->num_pending++] =
					target;
			} else if (of[target] >= first_group) {
				// Of another one of this rank.
				(void)node_set_add(&rooting->several, target);
			}
		}
	}
}

static struct error *group_all(struct rooting *rooting)
{
	struct making *making = rooting->making;
	const struct domtops *tops = making->tops;
	unsigned int ranks = rooting->threads ? NUM_THREAD_RANKS :
						NUM_ROOT_RANKS;
	struct error *err = NULL;
	uint32_t last = 0;	/* the first group of the last rank */

	for (uint32_t i = 0; i < tops->count; i++)
		making->of[i] = GRAPH_NONE;
	for (; !err && rooting->rank < ranks; rooting->rank++) {
		last = (uint32_t)making->groups->count;
		err = group_held(rooting);
		if (!err)
			group_reached(rooting, last);
	}
	// Only of threads, which come last, are there several in a rank.
	if (!err)
		err = reach(&tops->graph, GRAPH_MASK_STRONG, NULL,
			    &rooting->several);
	for (uint32_t i = 0; !err && i < tops->count; i++) {
		if (making->of[i] == GRAPH_NONE)
			making->of[i] = node_set_has(&rooting->several, i) ?
						GROUP_SEVERAL : GROUP_NOTHING;
		else if (making->of[i] >= last &&
			 node_set_has(&rooting->several, i))
			making->of[i] = GROUP_SEVERAL;
	}
	return err;
}

/** By what leads to them. */
static struct error *group_roots(struct making *making, bool threads)
{
	struct heapgraph *heap = making->analysis->heap;
	struct rooting rooting = { .making = making, .threads = threads };
	uint64_t bytes = (uint64_t)making->tops->count * sizeof(uint32_t);
	struct error *err = node_set_init(&rooting.several,
					  making->tops->count);

	// In the order of GROUP_….
	if (!err)
		err = add_group(making, "several threads", NULL);
	if (!err)
		err = add_group(making, "nothing", NULL);
	if (!err)
		err = spill_alloc(&heap->spill, bytes, &making->array);
	if (!err)
		err = spill_alloc(&heap->spill, bytes, &rooting.array);
	if (!err && making->analysis->held)
		err = group_named(making, threads ? "no thread" :
				  rank_names[RANK_UNEXPLAINED],
				  &making->native);
	making->of = making->array.data;
	rooting.pending = rooting.array.data;
	if (!err)
		err = group_all(&rooting);
	spill_free(&rooting.array);
	node_set_deinit(&rooting.several);
	return err;
}

/* --- sums ------------------------------------------------------------------ */

static int by_retained(const void *a, const void *b)
{
	const struct retained_group *x = a, *y = b;

	if (x->retained + x->device != y->retained + y->device)
		return x->retained + x->device > y->retained + y->device ?
			       -1 : 1;
	if (strcmp(x->name, y->name) != 0)
		return strcmp(x->name, y->name);
	return x->type && y->type ? (x->type->address > y->type->address) -
				    (x->type->address < y->type->address) : 0;
}

/** Each group of those that live by nobody of another one. */
static struct error *sum_tree(struct making *making)
{
	struct retained_groups *groups = making->groups;
	CLEANUP(free_pointer) uint64_t *sums = calloc(groups->count + 1,
						      sizeof(*sums));
	struct error *err;

	if (!sums)
		return error_no_memory();
	err = domtree_by_group(&making->analysis->tree,
			       making->analysis->heap->types, making->of_type,
			       (uint32_t)groups->count, sums);
	for (size_t i = 0; !err && i < groups->count; i++)
		groups->groups[i].retained = sums[i];
	return err;
}

/** Of what groups of types keep on devices, which is never kept. */
static struct error *sum_devices(struct making *making)
{
	struct retained_groups *groups = making->groups;
	CLEANUP(free_pointer) uint64_t *sums = NULL;
	struct error *err = heldbytes_by_group(
		making->analysis->held, making->analysis->heap->types,
		making->of_type, (uint32_t)groups->count, &sums);

	for (size_t i = 0; sums && i < groups->count; i++)
		groups->groups[i].device = sums[i];
	return err;
}

/**
 * Data of tensors: that of the owner's group; where no single object has it, of
 * the group of one that leads to it.
 */
static void sum_storages(struct making *making)
{
	const struct heldbytes *held = making->analysis->held;
	const uint32_t *top_of = making->tops->of;

	for (size_t i = 0; held && i < held->num_storages; i++) {
		const struct held_storage *storage = &held->storages[i];
		uint32_t object = storage->owner == DOMINATOR_ROOT ?
					  storage->via : storage->owner;
		uint32_t top = object < making->analysis->heap->count ?
				       top_of[object] : GRAPH_NONE;
		struct retained_group *group = &making->groups->groups[
			top != GRAPH_NONE ? making->of[top] :
			storage->owner == DOMINATOR_ROOT ? making->native :
							   GROUP_NOTHING];

		if (storage->flags & HELD_IN_HOST)
			group->retained += storage->bytes;
		else
			group->device += storage->bytes;
	}
}

/** All objects, as their tops are of groups. */
static void sum_tops(struct making *making)
{
	const struct heapgraph *heap = making->analysis->heap;
	const uint32_t *top_of = making->tops->of;

	for (uint32_t i = 0; i < heap->count; i++) {
		struct retained_group *group = &making->groups->groups[
			top_of[i] == GRAPH_NONE ? GROUP_NOTHING :
						  making->of[top_of[i]]];

		group->count++;
		group->size += heapgraph_size(heap, i);
		group->retained += heapgraph_footprint(heap, i);
	}
}

static void sum_types(struct making *making,
		      const struct pyh_type_total *totals, size_t num_totals)
{
	for (size_t i = 0; i < num_totals; i++) {
		struct retained_group *group = &making->groups->groups[
			making->of_type[totals[i].type->id]];

		group->count += totals[i].count;
		group->size += totals[i].size;
	}
}

/** Without those that have no object; in order. */
static void settle(struct retained_groups *groups)
{
	size_t kept = 0;

	for (size_t i = 0; i < groups->count; i++) {
		const struct retained_group *group = &groups->groups[i];

		if (group->count + group->retained + group->device > 0)
			groups->groups[kept++] = groups->groups[i];
		else
			free(groups->groups[i].name);
	}
	groups->count = kept;
	if (kept > 0)
		qsort(groups->groups, kept, sizeof(*groups->groups),
		      by_retained);
}

static void making_deinit(struct making *making)
{
	free(making->of_type);
	spill_free(&making->array);
	hashmap_deinit(&making->numbers);
}

/**
 * What an earlier run has kept, of each type. Of those that were found late
 * nothing is known, and they have no objects.
 */
static void recall_types(struct making *making, const uint64_t *retained)
{
	for (uint32_t i = 0; i < making->analysis->kept->num_types; i++) {
		struct retained_group *group =
			&making->groups->groups[making->of_type[i]];

		if (retained[i] > group->retained)
			group->retained = retained[i];
	}
}

struct error *retained_groups_of_types(const struct analysis *analysis,
				       const struct type_counts *counts,
				       bool modules,
				       struct retained_groups *ret)
{
	CLEANUP(making_deinit) struct making making = { .analysis = analysis,
							.groups = ret };
	const struct kept *kept = analysis->kept;
	struct error *err;

	*ret = (struct retained_groups){ 0 };
	err = group_types(&making, modules);
	if (!err && kept)
		recall_types(&making, modules ? kept->retained_by_module :
						kept->retained_by_type);
	else if (!err)
		err = sum_tree(&making);
	if (!err)
		err = sum_devices(&making);
	if (err) {
		retained_groups_deinit(ret);
		return err;
	}
	sum_types(&making, counts->totals, counts->num_totals);
	settle(ret);
	return NULL;
}

/** The rows that an earlier run has kept. */
static struct error *recall_roots(const struct kept *kept, enum group_by by,
				  struct retained_groups *ret)
{
	struct making making = { .groups = ret };
	struct error *err = NULL;

	for (size_t i = 0; !err && i < kept->num_groups; i++) {
		const struct kept_group *from = &kept->groups[i];
		struct retained_group *group;

		if (from->by != by)
			continue;
		err = add_group(&making, from->name, NULL);
		if (err)
			break;
		group = &ret->groups[ret->count - 1];
		group->count = from->count;
		group->size = from->size;
		group->retained = from->retained;
		group->device = from->device;
	}
	return err;
}

struct error *retained_groups_of_roots(const struct analysis *analysis,
				       const struct domtops *tops,
				       enum group_by by,
				       struct retained_groups *ret)
{
	CLEANUP(making_deinit) struct making making = {
		.analysis = analysis, .groups = ret, .tops = tops };
	struct error *err;

	*ret = (struct retained_groups){ 0 };
	err = group_roots(&making, by == BY_THREAD);
	if (err) {
		retained_groups_deinit(ret);
		return err;
	}
	sum_tops(&making);
	sum_storages(&making);
	settle(ret);
	return NULL;
}

struct error *retained_groups_make(struct opened *opened,
				   const struct analysis *analysis,
				   enum group_by by,
				   struct retained_groups *ret)
{
	struct heapgraph *heap = analysis->heap;
	struct domtops tops = { 0 };
	struct type_counts counts;
	struct error *err;

	*ret = (struct retained_groups){ 0 };
	if (by != BY_THREAD && by != BY_ROOT) {
		err = opened_counts(opened, &counts);
		return err ? err : retained_groups_of_types(
					   analysis, &counts, by == BY_MODULE,
					   ret);
	}
	if (analysis->kept) {
		err = recall_roots(analysis->kept, by, ret);
		if (err)
			retained_groups_deinit(ret);
		return err;
	}
	err = domtops_make(&analysis->dominators, &heap->graph,
			   GRAPH_MASK_STRONG, &heap->spill, &tops);
	if (!err)
		err = retained_groups_of_roots(analysis, &tops, by, ret);
	domtops_deinit(&tops);
	return err;
}

void retained_groups_deinit(struct retained_groups *groups)
{
	for (size_t i = 0; i < groups->count; i++)
		free(groups->groups[i].name);
	free(groups->groups);
	*groups = (struct retained_groups){ 0 };
}
