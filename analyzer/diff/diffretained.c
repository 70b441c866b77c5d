/*
 * Two dumps beside each other: what keeps more alive, and what less; see diff.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Looked at are the objects that keep most alive in either dump. Of those that
 * stand one behind the other (an instance, its dict, the list in that) only the
 * last is told that has most of what was added: there it piles up.
 */
#include <stdlib.h>
#include <string.h>

#include "analyzer/analysis.h"
#include "analyzer/diff/diff.h"
#include "analyzer/heap/objecttop.h"
#include "analyzer/heap/paths.h"
#include "analyzer/opened.h"
#include "image/base/guard.h"

enum {
	TOPS = 64,		/* of each dump */
	TOPS_BY_PATH = 1024,	/* of the old one, where paths are all there is
				   to go by */
	BEHIND_PERCENT = 80,	/* of what was added is behind the next one */
	OWN_PERCENT = 50,	/* else it is no more than an item of it */
	CHAIN_MAX = 1 << 16,	/* dominators above each other */
};

struct top {
	uint32_t object;
	uint64_t retained;	/* on devices, too */
	char *path;		/* owned */
};

struct tops {
	const struct analysis *analysis;
	struct top *items;
	size_t count;
	bool all;		/* there are no more */
};

static void tops_deinit(struct tops *tops)
{
	for (size_t i = 0; i < tops->count; i++)
		free(tops->items[i].path);
	free(tops->items);
}

static struct error *find_paths(struct diff *diff, enum diff_side side,
				struct tops *tops)
{
	CLEANUP(paths_release) struct paths *paths = NULL;
	struct error *err = paths_open(diff->sides[side], tops->analysis,
				       diff->values, &paths);

	for (size_t i = 0; !err && i < tops->count; i++) {
		CLEANUP(path_deinit) struct path path = { 0 };
		char text[PATH_TEXT_MAX];

		err = paths_find(paths, tops->items[i].object, &path);
		if (err)
			break;
		paths_text(paths, &path, text);
		tops->items[i].path = strdup(text);
		if (!tops->items[i].path)
			err = error_no_memory();
	}
	return err;
}

static struct error *find_tops(struct diff *diff, enum diff_side side,
			       size_t limit, struct tops *ret)
{
	CLEANUP(toplist_deinit) struct toplist list;
	struct opened *opened = diff->sides[side];
	uint64_t passed, size;
	struct error *err = analysis_of(opened, ANALYSIS_TREE, &ret->analysis);

	toplist_init(&list, limit);
	if (!err)
		err = objecttop_find(ret->analysis, &(struct objecttop_options){
			.workers = opened_workers(opened),
			.key = OBJECT_BY_RETAINED_REACHED }, &list, &passed,
			&size);
	if (!err)
		err = objecttop_with_devices(ret->analysis, NULL, NULL, &list);
	if (err)
		return err;
	toplist_sort(&list);
	ret->items = calloc(list.count + 1, sizeof(*ret->items));
	if (!ret->items)
		return error_no_memory();
	for (size_t i = 0; i < list.count; i++)
		ret->items[i] = (struct top){
			.object = list.entries[i].id,
			.retained = list.entries[i].value };
	ret->count = list.count;
	ret->all = list.count == passed;
	return find_paths(diff, side, ret);
}

/** The same object in the other dump: of that address and type. */
static bool find_there(const struct analysis *here, uint32_t object,
		       const struct analysis *there, uint32_t *ret)
{
	uint32_t other = heapgraph_find(
		there->heap, heapgraph_address(here->heap, object));

	if (other == GRAPH_NONE ||
	    there->dominators.parent[other] == DOMINATOR_UNREACHED ||
	    strcmp(heapgraph_type(here->heap, object)->name,
		   heapgraph_type(there->heap, other)->name) != 0)
		return false;
	*ret = other;
	return true;
}

static const struct top *find_path(const struct tops *tops, const char *path)
{
	for (size_t i = 0; i < tops->count; i++)
		if (strcmp(tops->items[i].path, path) == 0)
			return &tops->items[i];
	return NULL;
}

/** What an object keeps alive, on one side of a row. */
static void put_side(const struct analysis *analysis, uint32_t object,
		     enum diff_side side, struct diff_row *row)
{
	row->size[side] = analysis->dominators.retained[object];
	row->device[side] = heldbytes_device(analysis->held, object);
	row->on_devices |= heldbytes_has_device(analysis->held);
}

static uint64_t least_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/** What a top of the new dump kept alive in the old one. */
static void look_back(const struct diff *diff, const struct tops *old,
		      const struct tops *new, const struct top *top,
		      struct diff_row *row)
{
	const struct top *before;
	uint32_t object;

	if (diff->same && find_there(new->analysis, top->object, old->analysis,
				     &object)) {
		put_side(old->analysis, object, DIFF_OLD, row);
		return;
	}
	before = find_path(old, top->path);
	if (before) {
		put_side(old->analysis, before->object, DIFF_OLD, row);
	} else if (!diff->same && !old->all && old->count > 0) {
		// It was less than all that are listed, of either memory.
		uint64_t most = old->items[old->count - 1].retained;

		row->size[DIFF_OLD] = least_of(most, row->size[DIFF_NEW]);
		row->device[DIFF_OLD] = least_of(most, row->device[DIFF_NEW]);
		row->at_least = true;
	}
}

/* A row to be, and the object of the new dump that it is of. */
struct candidate {
	struct diff_row row;
	uint32_t object;
};

/** True if the second lives by the first, perhaps over others. */
static bool dominates(const struct analysis *analysis, uint32_t above,
		      uint32_t object)
{
	uint32_t at = object;

	for (int i = 0; i < CHAIN_MAX; i++) {
		at = analysis->dominators.parent[at];
		if (at == above)
			return true;
		if (at >= analysis->heap->count)
			return false;
	}
	return false;
}

/** Is this one of the candidates worth a row? */
static bool stands(const struct analysis *analysis,
		   const struct candidate *candidates, size_t count, size_t i)
{
	const struct candidate *one = &candidates[i];
	uint64_t changed = diff_changed(&one->row);

	for (size_t j = 0; j < count && changed > 0; j++) {
		const struct candidate *other = &candidates[j];
		uint64_t change = diff_changed(&other->row);

		if (j == i || (diff_grown(&other->row) < 0) !=
				      (diff_grown(&one->row) < 0))
			continue;
		// Of two that have each other's change, the one behind.
		if (change >= changed / 100 * BEHIND_PERCENT &&
		    dominates(analysis, one->object, other->object))
			return false;
		if (changed < change / 100 * OWN_PERCENT &&
		    dominates(analysis, other->object, one->object))
			return false;
	}
	return true;
}

static struct error *add_standing(struct diff *diff,
				  const struct analysis *analysis,
				  const struct candidate *candidates,
				  size_t count)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < count; i++)
		if (stands(analysis, candidates, count, i))
			err = diff_add(diff, DIFF_RETAINED,
				       &candidates[i].row);
	return err;
}

static struct error *add_tops(struct diff *diff, const struct tops *old,
			      const struct tops *new)
{
	const struct heapgraph *heap = new->analysis->heap;
	CLEANUP(free_pointer) struct candidate *candidates =
		calloc(new->count + 1, sizeof(*candidates));

	if (!candidates)
		return error_no_memory();
	for (size_t i = 0; i < new->count; i++) {
		const struct top *top = &new->items[i];

		candidates[i].object = top->object;
		candidates[i].row = (struct diff_row){
			.name = top->path,
			.address = heapgraph_address(heap, top->object),
			.type = heapgraph_type(heap, top->object)->name,
		};
		put_side(new->analysis, top->object, DIFF_NEW,
			 &candidates[i].row);
		look_back(diff, old, new, top, &candidates[i].row);
	}
	return add_standing(diff, new->analysis, candidates, new->count);
}

static bool among(const struct tops *tops, uint32_t object)
{
	for (size_t i = 0; i < tops->count; i++)
		if (tops->items[i].object == object)
			return true;
	return false;
}

/** What the old dump kept alive most, and the new one does not. */
static struct error *add_less(struct diff *diff, const struct tops *old,
			      const struct tops *new)
{
	const struct heapgraph *heap = old->analysis->heap;
	CLEANUP(free_pointer) struct candidate *candidates =
		calloc(old->count + 1, sizeof(*candidates));
	size_t count = 0;
	uint32_t there;

	if (!candidates)
		return error_no_memory();
	for (size_t i = 0; i < old->count; i++) {
		const struct top *top = &old->items[i];
		struct diff_row row = {
			.name = top->path,
			.type = heapgraph_type(heap, top->object)->name };

		put_side(old->analysis, top->object, DIFF_OLD, &row);
		if (find_there(old->analysis, top->object, new->analysis,
			       &there)) {
			if (among(new, there))
				continue;
			put_side(new->analysis, there, DIFF_NEW, &row);
			row.address = heapgraph_address(new->analysis->heap,
							there);
		} else if (find_path(new, top->path)) {
			continue;
		}
		candidates[count++] = (struct candidate){
			.row = row, .object = top->object };
	}
	return add_standing(diff, old->analysis, candidates, count);
}

struct error *diff_retained(struct diff *diff)
{
	CLEANUP(tops_deinit) struct tops old = { 0 };
	CLEANUP(tops_deinit) struct tops new = { 0 };
	struct error *err = find_tops(diff, DIFF_OLD,
				      diff->same ? TOPS : TOPS_BY_PATH, &old);

	if (!err)
		err = find_tops(diff, DIFF_NEW, TOPS, &new);
	if (!err)
		err = add_tops(diff, &old, &new);
	// Of another process, what is not among the largest may be there still.
	if (!err && diff->same)
		err = add_less(diff, &old, &new);
	return diff_forgive(diff, DIFF_RETAINED, err);
}
