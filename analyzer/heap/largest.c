/*
 * The largest owners; see largest.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/largest.h"

#include <stdlib.h>

#include "image/base/guard.h"

enum {
	SHARE_LEAST = 100,	/* a hundredth of the memory in question */
	STEPS_MAX = 1000,	/* up the tree, to a suspect's ancestors */
	VISITS_MAX = 1 << 20,	/* objects looked at */
	BRANCHES_MAX = 1 << 12,	/* that are kept in mind */
};

struct choosing {
	const struct analysis *analysis;
	const struct suspects *suspects;
	struct paths *paths;
	struct largest *result;
	uint32_t branches[BRANCHES_MAX];
	size_t num_branches;
	uint64_t visits;
};

/** A suspect, or what lives by one. */
static bool is_said(const struct choosing *choosing, uint32_t object)
{
	for (size_t i = 0; i < choosing->suspects->count; i++)
		if (choosing->suspects->list[i].object == object)
			return true;
	return false;
}

/** A suspect lives by it. */
static bool leads_to_said(const struct choosing *choosing, uint32_t object)
{
	const uint32_t *parent = choosing->analysis->dominators.parent;

	for (size_t i = 0; i < choosing->suspects->count; i++) {
		uint32_t at = choosing->suspects->list[i].object;

		for (int steps = 0; steps < STEPS_MAX && at < DOMINATOR_ROOT &&
				    at != GRAPH_NONE; steps++) {
			if (at == object)
				return true;
			at = parent[at];
		}
	}
	return false;
}

/**
 * Modules, classes and their namespaces, which hold what has nothing else in
 * common. That of a module need not stand under it in the tree: frames that run
 * hold it, too.
 */
static struct error *is_namespace(const struct choosing *choosing,
				  uint32_t object, bool *ret)
{
	const struct heapgraph *heap = choosing->analysis->heap;
	uint32_t parent = choosing->analysis->dominators.parent[object];
	enum pyh_kind kind = heapgraph_type(heap, object)->kind;

	*ret = kind == PYH_KIND_MODULE || kind == PYH_KIND_TYPE;
	if (kind != PYH_KIND_DICT)
		return NULL;
	if (parent < heap->count) {
		kind = heapgraph_type(heap, parent)->kind;
		*ret = kind == PYH_KIND_MODULE || kind == PYH_KIND_TYPE;
	}
	return *ret ? NULL : paths_is_namespace(choosing->paths, object, ret);
}

/** The branches under an object that are large enough; how much they keep. */
static uint64_t add_branches(struct choosing *choosing, uint32_t object,
			     uint64_t *ret_largest)
{
	uint64_t sum = 0;
	uint32_t count;
	const uint32_t *children = domtree_children(&choosing->analysis->tree,
						    object, &count);

	*ret_largest = 0;
	choosing->visits += (uint64_t)count + 1;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t retained = analysis_retained(choosing->analysis,
						     children[i]);

		if (retained < choosing->result->least ||
		    choosing->num_branches == BRANCHES_MAX)
			continue;
		choosing->branches[choosing->num_branches++] = children[i];
		sum += retained;
		if (retained > *ret_largest)
			*ret_largest = retained;
	}
	return sum;
}

static uint32_t take_largest(struct choosing *choosing)
{
	const struct analysis *analysis = choosing->analysis;
	size_t best = 0;
	uint32_t object;

	for (size_t i = 1; i < choosing->num_branches; i++) {
		uint32_t one = choosing->branches[i];
		uint32_t other = choosing->branches[best];
		uint64_t retained = analysis_retained(analysis, one);
		uint64_t most = analysis_retained(analysis, other);

		if (retained > most || (retained == most && one < other))
			best = i;
	}
	object = choosing->branches[best];
	choosing->branches[best] =
		choosing->branches[--choosing->num_branches];
	return object;
}

/** One branch: it is one of them, or those below it are looked at instead. */
static struct error *look_at(struct choosing *choosing, uint32_t object)
{
	uint64_t whole = analysis_retained(choosing->analysis, object);
	size_t before = choosing->num_branches;
	bool said = leads_to_said(choosing, object);
	uint64_t largest, below;
	bool opened = false;
	struct error *err = NULL;

	if (is_said(choosing, object))
		return NULL;
	below = add_branches(choosing, object, &largest);
	if (said || largest >= whole - whole / 10)
		return NULL;
	if (below >= whole / 2)
		err = is_namespace(choosing, object, &opened);
	if (err || opened)
		return err;
	choosing->num_branches = before;
	choosing->result->objects[choosing->result->count++] = object;
	return NULL;
}

struct error *largest_find(const struct analysis *analysis,
			   const struct suspects *suspects,
			   struct paths *paths, struct largest *ret)
{
	CLEANUP(free_pointer) struct choosing *choosing =
		calloc(1, sizeof(*choosing));
	struct error *err = NULL;
	uint64_t largest;

	*ret = (struct largest){ .memory = suspects->memory };
	if (analysis->held)
		ret->memory += analysis->held->device;
	ret->least = ret->memory / SHARE_LEAST;
	if (!choosing)
		return error_no_memory();
	choosing->analysis = analysis;
	choosing->suspects = suspects;
	choosing->paths = paths;
	choosing->result = ret;
	(void)add_branches(choosing, DOMINATOR_ROOT, &largest);
	while (!err && choosing->num_branches > 0 &&
	       ret->count < LARGEST_MAX && choosing->visits < VISITS_MAX)
		err = look_at(choosing, take_largest(choosing));
	return err;
}
