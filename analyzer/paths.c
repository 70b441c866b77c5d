/*
 * Paths in words; see paths.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/lookup.h"
#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"

enum {
	NUM_STARTS = 3,
	TAIL_EDGES = 2,		/* object, its dict, a value of that */
};

struct paths {
	const struct analysis *analysis;	/* borrowed */
	struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	struct pyh_type_reader types;
	struct memory_reader memory, body;
	struct pyh_value_reader *values;	/* NULL: not shown */
	struct pyh_naming naming;
	/* objects where a path may start, the best first */
	struct node_set readable;	/* from a variable or a module */
	struct node_set known;		/* from any root */
	const struct node_set *starts[NUM_STARTS];	/* those, and all others */
	struct reach_tree tree;		/* after paths_prepare() */
};

/* --- opening --------------------------------------------------------------- */

/** A place where a person would look. */
static bool is_readable(const struct pyh_root *root)
{
	return root->kind == PYH_ROOT_LOCAL ||
	       (root->kind == PYH_ROOT_INTERPRETER && root->name &&
		strstr(root->name, "modules"));
}

static void sort_roots(struct paths *paths)
{
	const struct heaproots *roots = &paths->analysis->roots;

	for (size_t i = 0; i < roots->num_roots; i++) {
		const struct heap_root *root = &roots->roots[i];

		if (!heaproots_holds(roots, root))
			continue;
		(void)node_set_add(&paths->known, root->object);
		if (is_readable(&root->root))
			(void)node_set_add(&paths->readable, root->object);
	}
	paths->starts[0] = &paths->readable;
	paths->starts[1] = &paths->known;
	paths->starts[2] = &roots->held;
}

static struct error *open_readers(struct opened *opened, struct paths *paths,
				  bool values)
{
	struct pyh_types *types = NULL;
	struct error *err = opened_runtime(opened, &paths->runtime);

	if (!err)
		err = opened_types(opened, &types);
	if (!err)
		err = opened_shapes(opened, &paths->shapes);
	if (!err)
		err = pyh_type_reader_init(&paths->types, types);
	if (!err)
		err = memory_reader_init(&paths->memory,
					 opened_image(opened)->memory);
	if (!err)
		err = memory_reader_init(&paths->body,
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
	reach_tree_deinit(&paths->tree);
	node_set_deinit(&paths->readable);
	node_set_deinit(&paths->known);
	pyh_value_reader_destroy(paths->values);
	memory_reader_deinit(&paths->memory);
	memory_reader_deinit(&paths->body);
	pyh_type_reader_deinit(&paths->types);
	free(paths);
}

/* --- the references between two objects ------------------------------------ */

struct between {
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

static void fill_edge(struct paths *paths, uint32_t from, uint32_t to,
		      struct pyh_edge *edge)
{
	const struct heapgraph *heap = paths->analysis->heap;
	struct between between = {
		.target = heapgraph_address(heap, to), .edge = edge,
	};
	struct pyh_referrer referrer = {
		.runtime = paths->runtime, .shapes = paths->shapes,
		.type = heapgraph_type(heap, from),
		.address = heapgraph_address(heap, from),
		.memory = &paths->memory,
	};

	*edge = (struct pyh_edge){ .holder = referrer.address,
				   .type = referrer.type };
	edge->ref = (struct pyh_ref){ .kind = PYH_REF_GUESS,
				      .hold = PYH_HOLD_GUESSED,
				      .address = between.target };
	referrer.extent = lookup_extent(paths->runtime, referrer.type,
					referrer.address, &paths->body,
					&paths->memory);
	pyh_refs_each(&referrer, see_reference, &between);
}

/* --- finding --------------------------------------------------------------- */

struct error *paths_prepare(struct paths *paths)
{
	struct heapgraph *heap = paths->analysis->heap;

	if (paths->tree.before)
		return NULL;
	return reach_tree_make(&heap->graph, GRAPH_MASK_STRONG, paths->starts,
			       NUM_STARTS, &heap->spill, &paths->tree);
}

/** Of the roots of an object the one that reads best. */
static const struct pyh_root *best_root(const struct paths *paths,
					uint32_t object)
{
	const struct heaproots *all = &paths->analysis->roots;
	const struct pyh_root *best = NULL;
	size_t count;
	const struct heap_root *roots = heaproots_of(all, object, &count);

	for (size_t i = 0; i < count; i++) {
		if (!heaproots_holds(all, &roots[i]))
			continue;
		if (is_readable(&roots[i].root))
			return &roots[i].root;
		if (!best)
			best = &roots[i].root;
	}
	return best;
}

/** The best way to a node. */
static struct error *find_way(struct paths *paths, uint32_t object,
			      const struct node_set *avoid, struct path *ret)
{
	struct reach_way_options options = {
		.mask = GRAPH_MASK_STRONG,
		.starts = paths->starts, .num_starts = NUM_STARTS,
		.avoid = avoid,
		.from_others = avoid && node_set_has(avoid, object),
	};

	if (paths->tree.before && !avoid)
		return reach_tree_way(&paths->tree, object, &ret->objects,
				      &ret->count);
	return reach_way(&paths->analysis->heap->graph, &options, object,
			 &ret->objects, &ret->count);
}

/** What holds the first object, and the first references. */
static struct error *describe(struct paths *paths, struct path *path)
{
	const struct heapgraph *heap = paths->analysis->heap;

	path->num_edges = path->count - 1 < PATH_EDGES_MAX ? path->count - 1 :
							     PATH_EDGES_MAX;
	path->edges = calloc((size_t)path->num_edges + 1, sizeof(*path->edges));
	if (!path->edges)
		return error_no_memory();
	path->root = best_root(paths, path->objects[0]);
	path->start = path->root ? PATH_ROOT :
		      heap->flags[path->objects[0]] & HEAP_IMMORTAL ?
				   PATH_IMMORTAL : PATH_UNEXPLAINED;
	for (uint32_t i = 0; i < path->num_edges; i++)
		fill_edge(paths, path->objects[i], path->objects[i + 1],
			  &path->edges[i]);
	return NULL;
}

struct error *paths_find(struct paths *paths, uint32_t object, struct path *ret)
{
	struct error *err;

	*ret = (struct path){ 0 };
	err = find_way(paths, object, NULL, ret);
	if (!err && ret->count > 0)
		err = describe(paths, ret);
	if (err)
		path_deinit(ret);
	return err;
}

struct error *paths_find_other(struct paths *paths, uint32_t object,
			       struct node_set *avoid, struct path *ret)
{
	struct error *err;

	*ret = (struct path){ 0 };
	err = find_way(paths, object, avoid, ret);
	if (!err && ret->count > 0)
		err = describe(paths, ret);
	if (err) {
		path_deinit(ret);
		return err;
	}
	if (ret->count == 1)
		(void)node_set_add(avoid, object);
	for (uint32_t i = 0; i + 1 < ret->count; i++)
		if (i > 0 || !ret->root ||
		    ret->root->kind != PYH_ROOT_INTERPRETER)
			(void)node_set_add(avoid, ret->objects[i]);
	return NULL;
}

void path_deinit(struct path *path)
{
	free(path->objects);
	free(path->edges);
	*path = (struct path){ 0 };
}

/* --- ways of many ---------------------------------------------------------- */

enum {
	WAY_EXACT = 32,		/* steps; beyond these circles are seen as one */
	WAY_CIRCLE = 4,		/* steps of a circle, at most */
	WAY_NONE = 0,		/* that of what nothing leads to */
};

/** The types along some objects' ways: the way before, and one type more. */
struct way {
	uint32_t before, type, length;
	uint32_t group;		/* plus 1; 0: none yet */
};

/** Of an object whose way is known. */
struct place {
	uint32_t way;		/* plus 1; 0: not known */
	uint32_t depth;		/* objects before it */
};

struct grouping {
	const struct heapgraph *heap;
	uint32_t *before;		/* see reach_tree; whole between calls */
	struct spill_array array;
	struct place *places;		/* by object */
	struct hashmap longer;		/* way and type -> longer way */
	struct way *ways;
	size_t num_ways, ways_room;
	struct path_group *groups;
	size_t count, room;
};

/** What follows a way: a longer one, or one that it has come round to. */
static struct error *extend_way(struct grouping *grouping, uint32_t way,
				uint32_t type, uint32_t *ret)
{
	uint64_t key = ((uint64_t)way << 32 | type) + 1;
	uint32_t at = way;

	if (hashmap_get(&grouping->longer, key, ret))
		return NULL;
	for (int i = 0; grouping->ways[way].length >= WAY_EXACT &&
			i < WAY_CIRCLE; i++, at = grouping->ways[at].before) {
		if (grouping->ways[at].type == type) {
			*ret = at;
			return NULL;
		}
	}
	if (grouping->num_ways == grouping->ways_room) {
		size_t room = grouping->ways_room * 2;
		struct way *ways = realloc(grouping->ways, room * sizeof(*ways));

		if (!ways)
			return error_no_memory();
		grouping->ways = ways;
		grouping->ways_room = room;
	}
	*ret = (uint32_t)grouping->num_ways++;
	grouping->ways[*ret] = (struct way){
		.before = way, .type = type,
		.length = grouping->ways[way].length + 1 };
	return hashmap_put(&grouping->longer, key, *ret);
}

/**
 * Find the place of an object: up to one whose place is known, then down again.
 * Going up, the links are turned round, and turned back on the way down.
 */
static struct error *find_place(struct grouping *grouping, uint32_t object)
{
	uint32_t *before = grouping->before;
	const uint32_t *types = grouping->heap->types;
	struct place *places = grouping->places, last = { WAY_NONE + 1, 0 };
	uint32_t at = object, below = GRAPH_NONE;
	struct error *err = NULL;

	if (before[object] == GRAPH_NONE)
		places[object] = last;
	while (at < REACH_START && places[at].way == 0) {
		uint32_t above = before[at];

		before[at] = below;
		below = at;
		at = above;
	}
	if (at < REACH_START) {
		last = places[at];
		last.depth++;
	}
	while (below != GRAPH_NONE) {
		uint32_t next = before[below], way;

		before[below] = at;
		at = below;
		below = next;
		if (!err)
			err = extend_way(grouping, last.way - 1, types[at],
					 &way);
		if (err)
			continue;
		last.way = way + 1;
		places[at] = last;
		last.depth++;
	}
	return err;
}

static struct error *make_group(struct grouping *grouping, struct way *way,
				uint32_t object)
{
	if (grouping->count == grouping->room) {
		size_t room = grouping->room ? grouping->room * 2 : 64;
		struct path_group *groups = realloc(grouping->groups,
						    room * sizeof(*groups));

		if (!groups)
			return error_no_memory();
		grouping->groups = groups;
		grouping->room = room;
	}
	grouping->groups[grouping->count++] = (struct path_group){
		.sample = object, .depth = grouping->places[object].depth };
	way->group = (uint32_t)grouping->count;
	return NULL;
}

/** Ways to what nothing leads to differ by type alone. */
static struct error *find_way_of(struct grouping *grouping, uint32_t object,
				 uint32_t *ret)
{
	struct error *err = grouping->places[object].way ?
				    NULL : find_place(grouping, object);

	if (err)
		return err;
	*ret = grouping->places[object].way - 1;
	return *ret == WAY_NONE ? extend_way(grouping, WAY_NONE,
					     ~grouping->heap->types[object],
					     ret) : NULL;
}

static struct error *put_in_group(struct grouping *grouping, uint32_t object)
{
	struct path_group *group;
	struct way *way;
	uint32_t number;
	struct error *err = find_way_of(grouping, object, &number);

	if (err)
		return err;
	way = &grouping->ways[number];
	err = way->group ? NULL : make_group(grouping, way, object);
	if (err)
		return err;
	group = &grouping->groups[way->group - 1];
	if (grouping->places[object].depth < group->depth) {
		group->depth = grouping->places[object].depth;
		group->sample = object;
	}
	group->count++;
	group->size += heapgraph_size(grouping->heap, object);
	return NULL;
}

static int by_count(const void *a, const void *b)
{
	const struct path_group *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return x->sample < y->sample ? -1 : x->sample > y->sample;
}

static struct error *grouping_init(struct grouping *grouping,
				   struct paths *paths)
{
	struct heapgraph *heap = paths->analysis->heap;
	struct error *err = paths_prepare(paths);

	if (!err)
		err = spill_alloc(&heap->spill, (uint64_t)heap->count *
						   sizeof(struct place),
				  &grouping->array);
	if (err)
		return err;
	grouping->heap = heap;
	grouping->before = paths->tree.before;
	grouping->places = grouping->array.data;
	grouping->ways_room = 256;
	grouping->ways = calloc(grouping->ways_room, sizeof(*grouping->ways));
	grouping->num_ways = 1;		/* WAY_NONE */
	return grouping->ways ? NULL : error_no_memory();
}

static void grouping_deinit(struct grouping *grouping)
{
	hashmap_deinit(&grouping->longer);
	free(grouping->ways);
	spill_free(&grouping->array);
	free(grouping->groups);
}

struct error *paths_group(struct paths *paths,
			  struct error *(*pass)(void *context, uint32_t object,
						bool *ret),
			  void *context, struct path_group **ret,
			  size_t *ret_count)
{
	CLEANUP(grouping_deinit) struct grouping grouping = { 0 };
	struct error *err = grouping_init(&grouping, paths);

	for (uint32_t i = 0; !err && i < paths->analysis->heap->count; i++) {
		bool wanted;

		err = pass(context, i, &wanted);
		if (!err && wanted)
			err = put_in_group(&grouping, i);
	}
	if (err)
		return err;
	if (grouping.count > 0)
		qsort(grouping.groups, grouping.count, sizeof(*grouping.groups),
		      by_count);
	*ret = TAKE(grouping.groups);
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
			      path->num_edges, text + length,
			      PATH_TEXT_MAX - length);
	else if (path->count == 1)
		(void)snprintf(text + length, PATH_TEXT_MAX - length, "<%s>",
			       heapgraph_type(paths->analysis->heap,
					      path->objects[0])->name);
}

static struct pyh_edge edge_at(struct paths *paths, const struct path *path,
			       uint32_t i)
{
	struct pyh_edge edge;

	if (i < path->num_edges)
		edge = path->edges[i];
	else
		fill_edge(paths, path->objects[i], path->objects[i + 1], &edge);
	return edge;
}

void paths_step_text(struct paths *paths, const struct path *path, uint32_t i,
		     char text[PATH_TEXT_MAX])
{
	struct pyh_edge before, edge;

	if (i > 0)
		before = edge_at(paths, path, i - 1);
	edge = edge_at(paths, path, i);
	pyh_step_text(&paths->naming, path->root, i > 0 ? &before : NULL, &edge,
		      text, PATH_TEXT_MAX);
}

void paths_attribute_text(struct paths *paths, const struct path *path,
			  uint32_t i, char text[PATH_TEXT_MAX])
{
	uint32_t count = i < path->num_edges ? path->num_edges - i : 0;
	const char *steps;

	text[0] = '\0';
	if (count == 0)
		return;
	// A path without a root begins with "<TYPE>". What it is called where
	// it comes to a module is of no interest here.
	pyh_path_text(&paths->naming, NULL, &path->edges[i],
		      count < TAIL_EDGES ? count : TAIL_EDGES, text,
		      PATH_TEXT_MAX);
	steps = strchr(text, '>');
	if (steps)
		(void)memmove(text, steps + 1, strlen(steps));
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
