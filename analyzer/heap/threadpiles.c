/*
 * Memory that piles up in threads; see threadpiles.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/threadpiles.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	ALIKE = 4,		/* the largest to the mean of the others */
	FRAMES_MAX = 1 << 12,	/* of one thread that are gone through */
};

/** An object that a thread alone holds. */
struct held {
	uint64_t thread;
	uint64_t retained;
	uint32_t object;
};

struct helds {
	struct held *list;
	size_t count, room;
};

static struct error *add(struct helds *helds, const struct held *one)
{
	if (helds->count == helds->room) {
		size_t room = helds->room ? helds->room * 2 : 256;
		struct held *list = realloc(helds->list, room * sizeof(*list));

		if (!list)
			return error_no_memory();
		helds->list = list;
		helds->room = room;
	}
	helds->list[helds->count++] = *one;
	return NULL;
}

/**
 * The thread of which all roots of an object are that are some thread's; 0: there
 * is none, or are several. The next object's roots begin at *at then.
 */
static uint64_t thread_of(const struct heaproots *roots, size_t *at)
{
	uint32_t object = roots->roots[*at].object;
	uint64_t thread = 0;
	bool several = false;

	for (; *at < roots->num_roots && roots->roots[*at].object == object;
	     (*at)++) {
		const struct pyh_root *root = &roots->roots[*at].root;

		if (root->thread == 0 || root->kind == PYH_ROOT_NATIVE_STACK ||
		    !heaproots_holds(roots, &roots->roots[*at]))
			continue;
		several |= thread != 0 && thread != root->thread;
		thread = root->thread;
	}
	return several ? 0 : thread;
}

/** Up to 3.10 frames are objects: what the largest variable of them is. */
static uint32_t below_frames(const struct analysis *analysis, uint32_t object)
{
	const uint64_t *retained = analysis->dominators.retained;

	for (int i = 0; i < FRAMES_MAX &&
			strcmp(heapgraph_type(analysis->heap, object)->name,
			       "frame") == 0; i++) {
		uint32_t count, largest = GRAPH_NONE;
		const uint32_t *children = domtree_children(&analysis->tree,
							    object, &count);

		for (uint32_t j = 0; j < count; j++)
			if (largest == GRAPH_NONE ||
			    retained[children[j]] > retained[largest])
				largest = children[j];
		if (largest == GRAPH_NONE)
			break;
		object = largest;
	}
	return object;
}

/** What threads hold, of objects that no single other one keeps alive. */
static struct error *gather(const struct analysis *analysis,
			    struct helds *helds)
{
	const struct heaproots *roots = &analysis->roots;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < roots->num_roots;) {
		struct held one = { .object = roots->roots[i].object };

		one.thread = thread_of(roots, &i);
		if (one.thread == 0 || analysis->dominators.parent[one.object] !=
					       DOMINATOR_ROOT)
			continue;
		one.object = below_frames(analysis, one.object);
		one.retained = analysis->dominators.retained[one.object];
		err = add(helds, &one);
	}
	return err;
}

static int by_retained(const struct held *x, const struct held *y)
{
	if (x->retained != y->retained)
		return x->retained > y->retained ? -1 : 1;
	return x->object < y->object ? -1 : x->object > y->object;
}

static int by_thread(const void *a, const void *b)
{
	const struct held *x = a, *y = b;

	if (x->thread != y->thread)
		return x->thread < y->thread ? -1 : 1;
	return by_retained(x, y);
}

static int by_type(const void *a, const void *b, void *context)
{
	const struct held *x = a, *y = b;
	const uint32_t *types = context;

	if (types[x->object] != types[y->object])
		return types[x->object] < types[y->object] ? -1 : 1;
	return by_retained(x, y);
}

/** The largest of each thread, in their place at the beginning. */
static void keep_largest(struct helds *helds)
{
	size_t count = 0;

	if (helds->count > 0)
		qsort(helds->list, helds->count, sizeof(helds->list[0]),
		      by_thread);
	for (size_t i = 0; i < helds->count; i++)
		if (count == 0 ||
		    helds->list[count - 1].thread != helds->list[i].thread)
			helds->list[count++] = helds->list[i];
	helds->count = count;
}

/** Objects of one type, the largest first, are a pile where they are alike. */
static void weigh(const struct held *list, size_t count,
		  struct threadpile *ret)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += list[i].retained;
	// The main thread may have far more than the others.
	if (count > 1 &&
	    list[0].retained > (sum - list[0].retained) / (count - 1) * ALIKE) {
		sum -= list[0].retained;
		list++;
		count--;
	}
	if (count > 1 && sum > ret->retained &&
	    list[0].retained <= sum / count * ALIKE)
		*ret = (struct threadpile){ .threads = (uint32_t)count,
					    .sample = list[0].object,
					    .retained = sum };
}

struct error *threadpile_find(const struct analysis *analysis,
			      struct threadpile *ret)
{
	uint32_t *types = analysis->heap->types;
	struct helds helds = { 0 };
	struct error *err = gather(analysis, &helds);

	*ret = (struct threadpile){ 0 };
	if (!err) {
		keep_largest(&helds);
		if (helds.count > 0)
			qsort_r(helds.list, helds.count, sizeof(helds.list[0]),
				by_type, types);
		for (size_t i = 0, end; i < helds.count; i = end) {
			uint32_t type = types[helds.list[i].object];

			for (end = i + 1; end < helds.count &&
					  types[helds.list[end].object] == type;)
				end++;
			weigh(&helds.list[i], end - i, ret);
		}
	}
	free(helds.list);
	return err;
}
