/*
 * Paths in words; see paths.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"

struct paths {
	const struct analysis *analysis;	/* borrowed */
	struct pyh_runtime *runtime;
	struct pyh_census *census;
	struct pyh_shapes *shapes;
	struct pyh_type_reader types;
	struct memory_reader memory;
	struct pyh_value_reader *values;	/* NULL: not shown */
	struct pyh_naming naming;
	/* objects where a path may start, the best first */
	struct node_set readable;	/* from a variable or a module */
	struct node_set known;		/* from any root */
};

/* --- opening --------------------------------------------------------------- */

static bool is_strong(const struct pyh_root *root)
{
	return root->hold != PYH_HOLD_NONE;
}

/** A place where a person would look. */
static bool is_readable(const struct pyh_root *root)
{
	return is_strong(root) &&
	       (root->kind == PYH_ROOT_LOCAL ||
		(root->kind == PYH_ROOT_INTERPRETER && root->name &&
		 strstr(root->name, "modules")));
}

static void sort_roots(struct paths *paths)
{
	const struct heaproots *roots = &paths->analysis->roots;

	for (size_t i = 0; i < roots->num_roots; i++) {
		const struct heap_root *root = &roots->roots[i];

		if (is_strong(&root->root))
			(void)node_set_add(&paths->known, root->object);
		if (is_readable(&root->root))
			(void)node_set_add(&paths->readable, root->object);
	}
}

static struct error *open_readers(struct opened *opened, struct paths *paths,
				  bool values)
{
	struct pyh_types *types = NULL;
	struct error *err = opened_census(opened, &paths->census);

	if (!err)
		err = opened_runtime(opened, &paths->runtime);
	if (!err)
		err = opened_types(opened, &types);
	if (!err)
		err = opened_shapes(opened, &paths->shapes);
	if (!err)
		err = pyh_type_reader_init(&paths->types, types);
	if (!err)
		err = memory_reader_init(&paths->memory,
					 opened_image(opened)->memory);
	if (!err && values)
		err = pyh_value_reader_create(paths->runtime, types,
					      paths->shapes, &paths->values);
	return err;
}

struct error *paths_open(struct opened *opened,
			 const struct analysis *analysis, bool values,
			 struct paths **ret)
{
	uint32_t count = analysis->heap->count;
	struct paths *paths = calloc(1, sizeof(*paths));
	struct error *err;

	if (!paths)
		return error_no_memory();
	paths->analysis = analysis;
	err = open_readers(opened, paths, values);
	if (!err)
		err = node_set_init(&paths->readable, count);
	if (!err)
		err = node_set_init(&paths->known, count);
	if (err) {
		paths_close(paths);
		return err;
	}
	sort_roots(paths);
	paths->naming = (struct pyh_naming){
		.runtime = paths->runtime,
		.types = &paths->types,
		.memory = &paths->memory,
		.values = paths->values,
	};
	*ret = paths;
	return NULL;
}

void paths_close(struct paths *paths)
{
	if (!paths)
		return;
	node_set_deinit(&paths->readable);
	node_set_deinit(&paths->known);
	pyh_value_reader_destroy(paths->values);
	memory_reader_deinit(&paths->memory);
	pyh_type_reader_deinit(&paths->types);
	free(paths);
}

/* --- the references between two objects ------------------------------------ */

struct between {
	struct paths *paths;
	uint64_t target;
	struct pyh_edge *edge;
	bool found;
};

/** The first that owns a count, else the first at all. */
static bool see_reference(void *context, const struct pyh_ref *ref)
{
	struct between *between = context;

	if (ref->address != between->target || ref->hold == PYH_HOLD_NONE ||
	    (between->found && ref->hold == PYH_HOLD_GUESSED))
		return true;
	between->edge->ref = *ref;
	between->found = true;
	return ref->hold == PYH_HOLD_GUESSED;
}

static void see_holder(void *context, const struct pyh_visit *visit)
{
	struct between *between = context;
	struct paths *paths = between->paths;
	struct pyh_referrer referrer = pyh_referrer(paths->runtime,
						    paths->shapes, visit);

	between->edge->holder = visit->object.address;
	between->edge->type = visit->object.type;
	pyh_refs_each(&referrer, see_reference, between);
}

static void fill_edge(struct paths *paths, uint32_t from, uint32_t to,
		      struct pyh_edge *edge)
{
	const struct heapgraph *heap = paths->analysis->heap;
	struct between between = {
		.paths = paths, .target = heapgraph_address(heap, to),
		.edge = edge,
	};
	uint64_t buffer;

	*edge = (struct pyh_edge){ .holder = heapgraph_address(heap, from),
				   .type = heapgraph_type(heap, from) };
	edge->ref = (struct pyh_ref){ .kind = PYH_REF_GUESS,
				      .hold = PYH_HOLD_GUESSED,
				      .address = between.target };
	(void)pyh_census_show(paths->census, 0, edge->holder, see_holder,
			      &between, &buffer);
}

/* --- finding --------------------------------------------------------------- */

static bool is_member(void *context, uint32_t node)
{
	return node_set_has(context, node);
}

/** Of the roots of an object the one that reads best. */
static const struct pyh_root *best_root(const struct paths *paths,
					uint32_t object)
{
	const struct pyh_root *best = NULL;
	size_t count;
	const struct heap_root *roots = heaproots_of(&paths->analysis->roots,
						     object, &count);

	for (size_t i = 0; i < count; i++) {
		if (is_readable(&roots[i].root))
			return &roots[i].root;
		if (!best && is_strong(&roots[i].root))
			best = &roots[i].root;
	}
	return best;
}

/** The best way to a node: from where is said by the sets, tried in turn. */
static struct error *find_way(struct paths *paths, uint32_t object,
			      const struct node_set *avoid, struct path *ret)
{
	const struct analysis *analysis = paths->analysis;
	const struct node_set *starts[] = { &paths->readable, &paths->known,
					    &analysis->roots.held };
	struct error *err = NULL;

	for (size_t i = 0; !err && ret->count == 0 &&
			   i < sizeof(starts) / sizeof(starts[0]); i++)
		err = reach_way(&analysis->heap->graph, GRAPH_MASK_STRONG,
				object, avoid, is_member,
				(void *)(uintptr_t)starts[i], &ret->objects,
				&ret->count);
	return err;
}

struct error *paths_find_other(struct paths *paths, uint32_t object,
			       struct node_set *avoid, struct path *ret)
{
	const struct heapgraph *heap = paths->analysis->heap;
	struct error *err;

	*ret = (struct path){ 0 };
	err = find_way(paths, object, avoid, ret);
	if (err || ret->count == 0)
		return err;
	ret->edges = calloc(ret->count, sizeof(*ret->edges));
	if (!ret->edges) {
		path_deinit(ret);
		return error_no_memory();
	}
	ret->root = best_root(paths, ret->objects[0]);
	ret->start = ret->root ? PATH_ROOT :
		     heap->flags[ret->objects[0]] & HEAP_IMMORTAL ?
				 PATH_IMMORTAL : PATH_UNEXPLAINED;
	for (uint32_t i = 0; i + 1 < ret->count; i++) {
		fill_edge(paths, ret->objects[i], ret->objects[i + 1],
			  &ret->edges[i]);
		if (avoid)
			(void)node_set_add(avoid, ret->objects[i]);
	}
	return NULL;
}

struct error *paths_find(struct paths *paths, uint32_t object, struct path *ret)
{
	return paths_find_other(paths, object, NULL, ret);
}

void path_deinit(struct path *path)
{
	free(path->objects);
	free(path->edges);
	*path = (struct path){ 0 };
}

/* --- ways of many ---------------------------------------------------------- */

enum { WAY_STEPS_MAX = 64 };	/* that two ways are compared by */

struct grouping {
	const struct heapgraph *heap;
	const uint32_t *before;		/* see reach_tree() */
	struct hashmap map;		/* of a way's hash -> group */
	struct path_group *groups;
	size_t count, room;
};

/** Of the types along the way to an object. */
static uint64_t hash_way(const struct grouping *grouping, uint32_t object)
{
	uint64_t hash = UINT64_C(0xCBF29CE484222325);

	for (int i = 0; i < WAY_STEPS_MAX && object < REACH_START; i++) {
		hash = (hash ^ grouping->heap->types[object]) *
		       UINT64_C(0x100000001B3);
		hash ^= hash >> 29;
		object = grouping->before[object];
	}
	return (hash ^ object) | 1;
}

static struct error *put_in_group(struct grouping *grouping, uint32_t object)
{
	uint64_t hash = hash_way(grouping, object);
	struct error *err = NULL;
	uint32_t group;

	if (!hashmap_get(&grouping->map, hash, &group)) {
		if (grouping->count == grouping->room) {
			size_t room = grouping->room ? grouping->room * 2 : 64;
			struct path_group *groups =
				realloc(grouping->groups,
					room * sizeof(*groups));

			if (!groups)
				return error_no_memory();
			grouping->groups = groups;
			grouping->room = room;
		}
		group = (uint32_t)grouping->count++;
		grouping->groups[group] = (struct path_group){
			.sample = object };
		err = hashmap_put(&grouping->map, hash, group);
	}
	grouping->groups[group].count++;
	grouping->groups[group].size += heapgraph_size(grouping->heap, object);
	return err;
}

static int by_count(const void *a, const void *b)
{
	const struct path_group *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return x->sample < y->sample ? -1 : x->sample > y->sample;
}

struct error *paths_group(struct paths *paths,
			  struct error *(*pass)(void *context, uint32_t object,
						bool *ret),
			  void *context, struct path_group **ret,
			  size_t *ret_count)
{
	const struct analysis *analysis = paths->analysis;
	const struct node_set *starts[] = { &paths->readable, &paths->known,
					    &analysis->roots.held };
	struct grouping grouping = { .heap = analysis->heap };
	CLEANUP(free_pointer) uint32_t *before = NULL;
	struct error *err = reach_tree(&analysis->heap->graph,
				       GRAPH_MASK_STRONG, starts,
				       sizeof(starts) / sizeof(starts[0]),
				       &before);

	grouping.before = before;
	for (uint32_t i = 0; !err && i < analysis->heap->count; i++) {
		bool wanted;

		err = pass(context, i, &wanted);
		if (!err && wanted)
			err = put_in_group(&grouping, i);
	}
	hashmap_deinit(&grouping.map);
	if (err) {
		free(grouping.groups);
		return err;
	}
	if (grouping.count > 0)
		qsort(grouping.groups, grouping.count, sizeof(*grouping.groups),
		      by_count);
	*ret = grouping.groups;
	*ret_count = grouping.count;
	return NULL;
}

/* --- in words -------------------------------------------------------------- */

/** What stands before the type of the first object where no root is known. */
static const char *start_words(const struct path *path)
{
	switch (path->start) {
	case PATH_IMMORTAL:
		return "immortal ";
	case PATH_UNEXPLAINED:
		return "held by native code: ";
	case PATH_NOWHERE:
		return "nothing: ";
	case PATH_ROOT:
		break;
	}
	return "";
}

void paths_text(struct paths *paths, const struct path *path,
		char text[PATH_TEXT_MAX])
{
	const char *words = start_words(path);
	size_t length = strlen(words);

	memcpy(text, words, length);
	text[length] = '\0';
	if (path->count > 1 || path->root)
		pyh_path_text(&paths->naming, path->root, path->edges,
			      path->count ? path->count - 1 : 0, text + length,
			      PATH_TEXT_MAX - length);
	else if (path->count == 1)
		(void)snprintf(text + length, PATH_TEXT_MAX - length, "<%s>",
			       heapgraph_type(paths->analysis->heap,
					      path->objects[0])->name);
}

void paths_step_text(struct paths *paths, const struct path *path, uint32_t i,
		     char text[PATH_TEXT_MAX])
{
	pyh_edge_text(&paths->naming, &path->edges[i], text, PATH_TEXT_MAX);
}

void paths_start_text(struct paths *paths, const struct path *path,
		      char text[PATH_TEXT_MAX])
{
	const char *words = start_words(path);

	if (path->root) {
		pyh_path_text(&paths->naming, path->root, NULL, 0, text,
			      PATH_TEXT_MAX);
		return;
	}
	(void)snprintf(text, PATH_TEXT_MAX, "%s<%s>", words,
		       path->count ? heapgraph_type(paths->analysis->heap,
						    path->objects[0])->name :
				     "");
}
