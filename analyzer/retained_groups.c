/*
 * Retained sizes of groups; see retained_groups.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/retained_groups.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"

struct error *retained_by_type(const struct analysis *analysis, uint64_t **ret)
{
	const struct heapgraph *heap = analysis->heap;
	uint32_t count = pyh_types_count(heap->pyh_types);
	struct error *err;

	*ret = calloc((size_t)count + 1, sizeof(**ret));
	if (!*ret)
		return error_no_memory();
	err = domtree_by_group(&analysis->tree, heap->types, count, *ret);
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
	uint32_t *of;		/* group of each object */
};

/** The group of a name, made if there is none; GRAPH_NONE without memory. */
static uint32_t group_named(struct making *making, const char *name)
{
	struct retained_groups *groups = making->groups;

	for (size_t i = 0; i < groups->count; i++)
		if (strcmp(groups->groups[i].name, name) == 0)
			return (uint32_t)i;
	if (groups->count == making->room) {
		size_t room = making->room ? making->room * 2 : 64;
		struct retained_group *grown =
			realloc(groups->groups, room * sizeof(*grown));

		if (!grown)
			return GRAPH_NONE;
		groups->groups = grown;
		making->room = room;
	}
	groups->groups[groups->count] = (struct retained_group){
		.name = strdup(name) };
	return groups->groups[groups->count].name ?
		       (uint32_t)groups->count++ : GRAPH_NONE;
}

/** A group for each type, or for the module of each: for most heaps few. */
static struct error *group_types(struct making *making, bool modules)
{
	const struct heapgraph *heap = making->analysis->heap;
	uint32_t count = pyh_types_count(heap->pyh_types);
	CLEANUP(free_pointer) uint32_t *of_type =
		calloc((size_t)count + 1, sizeof(*of_type));

	if (!of_type)
		return error_no_memory();
	if (!modules) {
		making->groups->groups = calloc((size_t)count + 1,
						sizeof(struct retained_group));
		if (!making->groups->groups)
			return error_no_memory();
	}
	for (uint32_t i = 0; i < count; i++) {
		const struct pyh_type *type = pyh_types_get(heap->pyh_types, i);

		if (modules) {
			of_type[i] = group_named(making, type->module ?
						 type->module : "builtins");
		} else {
			of_type[i] = i;
			making->groups->groups[i] = (struct retained_group){
				.name = strdup(type->name), .type = type };
			making->groups->count++;
			if (!making->groups->groups[i].name)
				of_type[i] = GRAPH_NONE;
		}
		if (of_type[i] == GRAPH_NONE)
			return error_no_memory();
	}
	for (uint32_t i = 0; i < heap->count; i++)
		making->of[i] = of_type[heap->types[i]];
	return NULL;
}

enum { ROOT_NAME_MAX = 64 };

/** What holds an object at the top, in words that others share. */
static void name_of_root(const struct analysis *analysis, uint32_t object,
			 bool threads, char name[ROOT_NAME_MAX])
{
	static const char *const kinds[] = {
		[PYH_ROOT_LOCAL] = "frames", [PYH_ROOT_STACK] = "frames",
		[PYH_ROOT_FRAME] = "frames", [PYH_ROOT_THREAD] = "thread states",
		[PYH_ROOT_INTERPRETER] = "interpreters",
		[PYH_ROOT_RUNTIME] = "the runtime",
		[PYH_ROOT_STATIC] = "static variables",
		[PYH_ROOT_NATIVE_STACK] = "native stacks",
		[PYH_ROOT_NATIVE] = "native memory",
	};
	const struct pyh_root *best = NULL;
	const char *word = "several roots";
	size_t count;
	const struct heap_root *roots = heaproots_of(&analysis->roots, object,
						     &count);

	for (size_t i = 0; i < count; i++)
		if (roots[i].root.hold != PYH_HOLD_NONE &&
		    (!best || (threads && !best->thread)))
			best = &roots[i].root;
	if (best && threads)
		(void)snprintf(name, ROOT_NAME_MAX, best->thread ?
			       "thread %" PRIu64 : "no thread", best->thread);
	if (best && threads)
		return;
	if (best)
		word = kinds[best->kind];
	else if (analysis->heap->flags[object] & HEAP_IMMORTAL)
		word = threads ? "no thread" : "immortal";
	else if (node_set_has(&analysis->roots.held, object))
		word = threads ? "no thread" : "native code";
	(void)snprintf(name, ROOT_NAME_MAX, "%s", word);
}

/** Each object has the group of the one at the top of its branch. */
static struct error *group_roots(struct making *making, bool threads)
{
	const struct dominators *dominators = &making->analysis->dominators;
	const struct heapgraph *heap = making->analysis->heap;
	char name[ROOT_NAME_MAX];

	for (uint32_t i = 0; i < heap->count; i++)
		making->of[i] = GRAPH_NONE;
	for (uint32_t i = 0; i < heap->count; i++) {
		uint32_t at = i, group;

		// Up to the top, or to one that is known; then down again.
		while (making->of[at] == GRAPH_NONE &&
		       dominators->parent[at] < heap->count)
			at = dominators->parent[at];
		group = making->of[at];
		if (group == GRAPH_NONE) {
			if (dominators->parent[at] == DOMINATOR_UNREACHED)
				(void)strcpy(name, "nothing");
			else
				name_of_root(making->analysis, at, threads,
					     name);
			group = group_named(making, name);
			if (group == GRAPH_NONE)
				return error_no_memory();
		}
		making->of[at] = group;
		for (at = i; making->of[at] == GRAPH_NONE;
		     at = dominators->parent[at])
			making->of[at] = group;
	}
	return NULL;
}

/* --- sums ------------------------------------------------------------------ */

static int by_retained(const void *a, const void *b)
{
	const struct retained_group *x = a, *y = b;

	if (x->retained != y->retained)
		return x->retained > y->retained ? -1 : 1;
	return strcmp(x->name, y->name);
}

static struct error *sum_up(struct making *making)
{
	const struct heapgraph *heap = making->analysis->heap;
	struct retained_groups *groups = making->groups;
	CLEANUP(free_pointer) uint64_t *sums = calloc(groups->count + 1,
						      sizeof(*sums));
	struct error *err;
	size_t kept = 0;

	if (!sums)
		return error_no_memory();
	err = domtree_by_group(&making->analysis->tree, making->of,
			       (uint32_t)groups->count, sums);
	if (err)
		return err;
	for (uint32_t i = 0; i < heap->count; i++) {
		groups->groups[making->of[i]].count++;
		groups->groups[making->of[i]].size += heapgraph_size(heap, i);
	}
	for (size_t i = 0; i < groups->count; i++) {
		groups->groups[i].retained = sums[i];
		if (groups->groups[i].count > 0)
			groups->groups[kept++] = groups->groups[i];
		else
			free(groups->groups[i].name);
	}
	groups->count = kept;
	if (kept > 0)
		qsort(groups->groups, kept, sizeof(*groups->groups),
		      by_retained);
	return NULL;
}

struct error *retained_groups_make(const struct analysis *analysis,
				   enum group_by by,
				   struct retained_groups *ret)
{
	struct making making = { .analysis = analysis, .groups = ret };
	struct error *err;

	*ret = (struct retained_groups){ 0 };
	making.of = calloc((size_t)analysis->heap->count + 1,
			   sizeof(*making.of));
	if (!making.of)
		return error_no_memory();
	err = by == BY_THREAD || by == BY_ROOT ?
		      group_roots(&making, by == BY_THREAD) :
		      group_types(&making, by == BY_MODULE);
	if (!err)
		err = sum_up(&making);
	free(making.of);
	if (err)
		retained_groups_deinit(ret);
	return err;
}

void retained_groups_deinit(struct retained_groups *groups)
{
	for (size_t i = 0; i < groups->count; i++)
		free(groups->groups[i].name);
	free(groups->groups);
	*groups = (struct retained_groups){ 0 };
}
