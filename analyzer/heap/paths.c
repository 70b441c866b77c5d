/*
 * Paths in words; see paths.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/namespaces.h"
#include "analyzer/heap/pathedges.h"
#include "analyzer/kept/kept.h"
#include "analyzer/lookup.h"
#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "pyheap/values/pydict.h"

enum {
	NUM_STARTS = 3,
	TAIL_EDGES = 2,		/* object, its dict, a value of that */
	/* To look for ways one by one may cost a part of what it costs to find
	   all at once, which each search adds to, whatever it finds. */
	ALONE_PART = 4, ALONE_LEAST = 1 << 10,
};

/* As its root is called from 3.12 on. */
#define INTERNED "interned strings"

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
	uint64_t alone;			/* edges that may still be looked at for
					   single ways, instead of … */
	struct reach_tree tree;		/* … after find_all() */
	struct path_group *groups;	/* after paths_group_all(), num_groups */
	size_t num_groups;
	bool grouped;
	struct path_edges edges;
	struct namespaces namespaces;
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
	paths->alone = analysis->heap->graph.out_at[count] / ALONE_PART +
		       ALONE_LEAST;
	// Only read: reach_tree_deinit() lets it be, as there is no array.
	if (analysis->kept)
		paths->tree.before =
			(uint32_t *)(uintptr_t)analysis->kept->before;
	paths->naming = (struct pyh_naming){
		.runtime = paths->runtime,
		.types = &paths->types,
		.memory = &paths->memory,
		.values = paths->values,
	};
	namespaces_init(&paths->namespaces, analysis, &paths->naming);
	*ret = paths;
	return NULL;
}

struct error *paths_is_namespace(struct paths *paths, uint32_t object,
				 bool *ret)
{
	return namespaces_has(&paths->namespaces, object, ret);
}

void paths_close(struct paths *paths)
{
	if (!paths)
		return;
	reach_tree_deinit(&paths->tree);
	free(paths->groups);
	path_edges_deinit(&paths->edges);
	namespaces_deinit(&paths->namespaces);
	node_set_deinit(&paths->readable);
	node_set_deinit(&paths->known);
	pyh_value_reader_destroy(paths->values);
	memory_reader_deinit(&paths->memory);
	memory_reader_deinit(&paths->body);
	pyh_type_reader_deinit(&paths->types);
	free(paths);
}

/* --- the references between two objects ------------------------------------ */

static void fill_edge(struct paths *paths, uint32_t from, uint32_t to,
		      struct pyh_edge *edge)
{
	const struct heapgraph *heap = paths->analysis->heap;
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
				      .address = heapgraph_address(heap, to) };
	referrer.extent = lookup_extent(paths->runtime, referrer.type,
					referrer.address, &paths->body,
					&paths->memory);
	path_edges_find(&paths->edges, heap, &referrer, from, to, &edge->ref);
}

/* --- finding --------------------------------------------------------------- */

/** The ways to all objects at once. */
static struct error *find_all(struct paths *paths)
{
	struct heapgraph *heap = paths->analysis->heap;

	return reach_tree_make(&heap->graph, GRAPH_MASK_STRONG, paths->starts,
			       NUM_STARTS, NULL, &heap->spill, &paths->tree);
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

/** The best way to a node, of which the search may give up: then alone is 0. */
static struct error *find_alone(struct paths *paths, uint32_t object,
				struct path *ret)
{
	struct reach_way_options options = {
		.mask = GRAPH_MASK_STRONG,
		.starts = paths->starts, .num_starts = NUM_STARTS,
		.budget = &paths->alone,
	};

	paths->alone -= paths->alone < ALONE_LEAST ? paths->alone : ALONE_LEAST;
	return reach_way(&paths->analysis->heap->graph, &options, object,
			 &ret->objects, &ret->count);
}

/** The best way to a node. */
static struct error *find_way(struct paths *paths, uint32_t object,
			      struct path *ret)
{
	struct error *err = NULL;

	if (!paths->tree.before) {
		err = find_alone(paths, object, ret);
		if (err || paths->alone > 0)
			return err;
		path_deinit(ret);
		err = find_all(paths);
	}
	return err ? err : reach_tree_way(&paths->tree, object, &ret->objects,
					  &ret->count);
}

/**
 * True if all ways lead over one that is used: over that which dominates the
 * object. Where the dominators are not known the search has to find out.
 */
static bool is_cut_off(const struct paths *paths, struct paths_search *search)
{
	const struct analysis *analysis = paths->analysis;
	uint32_t at;

	if (!(analysis->have & ANALYSIS_DOMINATORS))
		return false;
	at = analysis->dominators.parent[search->object];
	for (; at < DOMINATOR_ROOT && search->budget > 0; search->budget--) {
		if (node_set_has(&search->used, at))
			return true;
		at = analysis->dominators.parent[at];
	}
	return false;
}

static struct error *find_other_way(struct paths *paths,
				    struct paths_search *search,
				    struct path *ret)
{
	struct reach_way_options options = {
		.mask = GRAPH_MASK_STRONG,
		.starts = paths->starts, .num_starts = NUM_STARTS,
		.avoid = &search->used,
		.from_others = node_set_has(&search->used, search->object),
		.budget = &search->budget,
	};

	return is_cut_off(paths, search) ? NULL :
		reach_way(&paths->analysis->heap->graph, &options,
			  search->object, &ret->objects, &ret->count);
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
	return namespaces_say(&paths->namespaces, path);
}

struct error *paths_find(struct paths *paths, uint32_t object, struct path *ret)
{
	struct error *err;

	*ret = (struct path){ 0 };
	err = find_way(paths, object, ret);
	if (!err && ret->count > 0)
		err = describe(paths, ret);
	if (err)
		path_deinit(ret);
	return err;
}

struct error *paths_find_next(struct paths *paths, struct paths_search *search,
			      struct path *ret)
{
	struct error *err = NULL;

	*ret = (struct path){ 0 };
	if (!search->used.words)
		err = node_set_init(&search->used,
				    paths->analysis->heap->count);
	if (!err)
		err = search->begun ? find_other_way(paths, search, ret) :
				      find_way(paths, search->object, ret);
	search->begun = true;
	if (!err && ret->count > 0)
		err = describe(paths, ret);
	if (err) {
		path_deinit(ret);
		return err;
	}
	if (ret->count == 1)
		(void)node_set_add(&search->used, search->object);
	for (uint32_t i = 0; i + 1 < ret->count; i++)
		if (i > 0 || !ret->root ||
		    ret->root->kind != PYH_ROOT_INTERPRETER)
			(void)node_set_add(&search->used, ret->objects[i]);
	return NULL;
}

void path_deinit(struct path *path)
{
	free(path->objects);
	free(path->edges);
	free(path->said);
	*path = (struct path){ 0 };
}

/* --- ways of many ---------------------------------------------------------- */

enum {
	WAY_EXACT = 32,		/* steps; beyond these circles are seen as one */
	WAY_CIRCLE = 4,		/* steps of a circle, at most */
	WAY_NONE = 0,		/* that of what nothing leads to */
	CACHED = 1 << 12,	/* longer ways found lately */
};

/** The types along some objects' ways: the way before, and one type more. */
struct way {
	uint32_t before, type, length;
	struct path_group group;	/* of the objects of this very way */
};

struct grouping {
	const struct heapgraph *heap;
	struct hashmap longer;		/* way and type -> longer way */
	struct {
		uint64_t key;
		uint32_t way;
	} lately[CACHED];		/* the same */
	struct way *ways;
	size_t num_ways, room;
	uint32_t *of;			/* way of each object; NULL: they keep
					   nothing on devices */
	struct spill_array of_array;
	struct error *err;
};

/** What follows a way: a longer one, or one that it has come round to. */
static struct error *make_longer(struct grouping *grouping, uint64_t key,
				 uint32_t way, uint32_t type, uint32_t *ret)
{
	uint32_t at = way;

	for (int i = 0; grouping->ways[way].length >= WAY_EXACT &&
			i < WAY_CIRCLE; i++, at = grouping->ways[at].before) {
		if (grouping->ways[at].type == type) {
			*ret = at;
			return NULL;
		}
	}
	if (grouping->num_ways == grouping->room) {
		size_t room = grouping->room * 2;
		struct way *ways = realloc(grouping->ways, room * sizeof(*ways));

		if (!ways)
			return error_no_memory();
		grouping->ways = ways;
		grouping->room = room;
	}
	*ret = (uint32_t)grouping->num_ways++;
	grouping->ways[*ret] = (struct way){
		.before = way, .type = type,
		.length = grouping->ways[way].length + 1 };
	return hashmap_put(&grouping->longer, key, *ret);
}

/** WAY_NONE where there was no memory. */
static uint32_t longer(struct grouping *grouping, uint32_t way, uint32_t type)
{
	uint64_t key = ((uint64_t)way << 32 | type) + 1;
	size_t slot = (way * 31 ^ type) % CACHED;
	uint32_t ret = WAY_NONE;

	if (grouping->lately[slot].key == key)
		return grouping->lately[slot].way;
	if (!hashmap_get(&grouping->longer, key, &ret)) {
		if (!grouping->err)
			grouping->err = make_longer(grouping, key, way, type,
						    &ret);
		if (grouping->err)
			return WAY_NONE;
	}
	grouping->lately[slot].key = key;
	grouping->lately[slot].way = ret;
	return ret;
}

static void put_in_group(struct grouping *grouping, uint32_t way,
			 uint32_t object, uint32_t depth)
{
	struct path_group *group = &grouping->ways[way].group;

	if (group->count == 0 || depth < group->depth ||
	    (depth == group->depth && object < group->sample)) {
		group->depth = depth;
		group->sample = object;
	}
	group->type = grouping->heap->types[object];
	group->count++;
	group->size += heapgraph_size(grouping->heap, object);
	if (grouping->of)
		grouping->of[object] = way;
}

/** See reach_labels. */
static uint32_t label(void *context, uint32_t before, uint32_t node,
		      uint32_t depth)
{
	struct grouping *grouping = context;
	uint32_t way = longer(grouping, before, grouping->heap->types[node]);

	put_in_group(grouping, way, node, depth);
	return way;
}

/** Ways to what nothing leads to differ by type alone. */
static void group_unreached(struct grouping *grouping, const uint32_t *before)
{
	const struct heapgraph *heap = grouping->heap;

	for (uint32_t i = 0; i < heap->count; i++)
		if (before[i] == GRAPH_NONE)
			put_in_group(grouping, longer(grouping, WAY_NONE,
						      ~heap->types[i]), i, 0);
}

static struct error *sum_devices(struct grouping *grouping,
				 const struct heldbytes *held)
{
	CLEANUP(free_pointer) uint64_t *sums = NULL;
	struct error *err = heldbytes_by_group(held, grouping->of, NULL,
					       (uint32_t)grouping->num_ways,
					       &sums);

	for (size_t i = 0; sums && i < grouping->num_ways; i++)
		grouping->ways[i].group.device = sums[i];
	return err;
}

/** Only the groups are left of the ways. */
static struct error *take_groups(struct paths *paths,
				 const struct grouping *grouping)
{
	paths->groups = calloc(grouping->num_ways + 1, sizeof(*paths->groups));
	if (!paths->groups)
		return error_no_memory();
	for (size_t i = 0; i < grouping->num_ways; i++)
		if (grouping->ways[i].group.count > 0)
			paths->groups[paths->num_groups++] =
				grouping->ways[i].group;
	paths->grouped = true;
	return NULL;
}

static void grouping_release(struct grouping **grouping)
{
	if (!*grouping)
		return;
	hashmap_deinit(&(*grouping)->longer);
	free((*grouping)->ways);
	spill_free(&(*grouping)->of_array);
	error_free((*grouping)->err);
	free(*grouping);
}

static struct error *group_all(struct paths *paths)
{
	CLEANUP(grouping_release) struct grouping *grouping =
		calloc(1, sizeof(*grouping));
	struct heapgraph *heap = paths->analysis->heap;
	struct reach_labels labels = { label, grouping };
	struct error *err;

	if (!grouping)
		return error_no_memory();
	grouping->heap = heap;
	grouping->room = 256;
	grouping->ways = calloc(grouping->room, sizeof(*grouping->ways));
	if (!grouping->ways)
		return error_no_memory();
	grouping->num_ways = 1;		/* WAY_NONE */
	if (heldbytes_has_device(paths->analysis->held)) {
		err = spill_alloc(&heap->spill, (uint64_t)heap->count *
						    sizeof(*grouping->of),
				  &grouping->of_array);
		if (err)
			return err;
		grouping->of = grouping->of_array.data;
	}
	// Along the same tree, if there is one.
	reach_tree_deinit(&paths->tree);
	err = reach_tree_make(&heap->graph, GRAPH_MASK_STRONG, paths->starts,
			      NUM_STARTS, &labels, &heap->spill, &paths->tree);
	if (!err)
		group_unreached(grouping, paths->tree.before);
	if (!err)
		err = TAKE(grouping->err);
	if (!err)
		err = sum_devices(grouping, paths->analysis->held);
	return err ? err : take_groups(paths, grouping);
}

struct error *paths_group_all(struct paths *paths,
			      const struct path_group **ret, size_t *ret_count)
{
	const struct kept *kept = paths->analysis->kept;
	struct error *err = NULL;

	if (kept && kept->ways_known) {
		*ret = kept->ways;
		*ret_count = kept->num_ways;
		return NULL;
	}
	if (!paths->grouped)
		err = group_all(paths);
	*ret = paths->groups;
	*ret_count = paths->num_groups;
	return err;
}

const uint32_t *paths_before(const struct paths *paths)
{
	return paths->tree.before;
}

static int by_count(const void *a, const void *b)
{
	const struct path_group *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return x->sample < y->sample ? -1 : x->sample > y->sample;
}

struct error *paths_group(struct paths *paths,
			  struct error *(*pass)(void *context,
						const struct pyh_type *type,
						bool *ret),
			  void *context, struct path_group **ret,
			  size_t *ret_count)
{
	const struct pyh_types *types = paths->analysis->heap->pyh_types;
	CLEANUP(free_pointer) struct path_group *groups = NULL;
	const struct path_group *all = NULL;
	size_t count = 0, passed = 0;
	struct error *err = paths_group_all(paths, &all, &count);

	if (err)
		return err;
	groups = calloc(count + 1, sizeof(*groups));
	if (!groups)
		return error_no_memory();
	for (size_t i = 0; !err && i < count; i++) {
		bool wanted;

		err = pass(context, pyh_types_get(types, all[i].type), &wanted);
		if (!err && wanted)
			groups[passed++] = all[i];
	}
	if (err)
		return err;
	if (passed > 0)
		qsort(groups, passed, sizeof(*groups), by_count);
	*ret = TAKE(groups);
	*ret_count = passed;
	return NULL;
}

/* --- in words -------------------------------------------------------------- */

/**
 * Up to 3.11 a variable of the interpreter holds the table of interned strings,
 * which nothing but what is in it tells from any other dict.
 */
static bool is_interned(struct paths *paths, const struct path *path)
{
	const struct heapgraph *heap = paths->analysis->heap;
	struct pyh_dict_walk dict;

	return path->start == PATH_UNEXPLAINED && path->count == 1 &&
	       paths->runtime->minor < 12 &&
	       heapgraph_type(heap, path->objects[0])->kind == PYH_KIND_DICT &&
	       pyh_dict_walk(paths->runtime, &paths->memory,
			     heapgraph_address(heap, path->objects[0]),
			     &dict) == PYH_FOUND &&
	       pyh_dict_is_interned(&dict);
}

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
	const char *words = path->said_root ? "" : start_words(path);
	size_t length = strlen(words);

	memcpy(text, words, length);
	text[length] = '\0';
	if (path->said)
		pyh_path_text(&paths->naming, path->said_root, path->said,
			      path->num_said, text + length,
			      PATH_TEXT_MAX - length);
	else if (path->count > 1 || path->root)
		pyh_path_text(&paths->naming, path->root, path->edges,
			      path->num_edges, text + length,
			      PATH_TEXT_MAX - length);
	else if (is_interned(paths, path))
		(void)snprintf(text, PATH_TEXT_MAX, INTERNED);
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
	if (is_interned(paths, path)) {
		(void)snprintf(text, PATH_TEXT_MAX, INTERNED);
		return;
	}
	(void)snprintf(text, PATH_TEXT_MAX, "%s<%s>", words,
		       path->count ? heapgraph_type(paths->analysis->heap,
						    path->objects[0])->name :
				     "");
}
