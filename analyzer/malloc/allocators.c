/*
 * Which memory is of other allocators; see allocators.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/malloc/allocators.h"

#include <stdlib.h>

#include "pyheap/census/pyblocks.h"
#include "pyheap/census/pymiheap.h"

static int by_start(const void *a, const void *b)
{
	const struct glibc_span *left = a, *right = b;

	return (left->start > right->start) - (left->start < right->start);
}

/** One more; neighbours are joined. */
static void add_span(struct allocators *all, uint64_t start, uint64_t end)
{
	struct glibc_span *last = all->num_spans ?
					  &all->spans[all->num_spans - 1] :
					  NULL;

	if (last && start == last->end)
		last->end = end;
	else
		all->spans[all->num_spans++] = (struct glibc_span){ start, end };
}

/** The arenas of pymalloc, and what other allocators have. */
static struct error *collect(struct allocators *all,
			     const struct pyh_arenas *arenas)
{
	size_t count = arenas->count + 1;

	for (size_t i = 0; i < all->heaps.count; i++)
		count += other_heap_num_spans(all->heaps.heaps[i]);
	all->spans = calloc(count, sizeof(*all->spans));
	if (!all->spans)
		return error_no_memory();
	for (size_t i = 0; i < arenas->count; i++)
		add_span(all, arenas->arenas[i].start, arenas->arenas[i].limit);
	for (size_t i = 0; i < all->heaps.count; i++) {
		const struct other_heap *heap = all->heaps.heaps[i];

		for (size_t j = 0; j < other_heap_num_spans(heap); j++)
			add_span(all, other_heap_span(heap, j)->start,
				 other_heap_span(heap, j)->end);
	}
	qsort(all->spans, all->num_spans, sizeof(*all->spans), by_start);
	return NULL;
}

/** What is Python's, if it is one: that is no error otherwise. */
static struct error *find_pythons(struct opened *opened,
				  struct other_heaps *heaps,
				  struct pyh_arenas *arenas)
{
	struct pyh_runtime *runtime;
	struct error *err = opened_runtime(opened, &runtime);

	if (!err)
		err = pyh_arenas_find(runtime, arenas);
	if (!err && heaps->count < OTHER_HEAPS_MAX) {
		err = pyh_mi_heap_open(runtime, &heaps->heaps[heaps->count]);
		heaps->count += !err;
	}
	if (err && err->kind != ERROR_NO_MEMORY) {
		error_free(err);
		err = NULL;
	}
	return err;
}

struct error *allocators_find(struct opened *opened, struct allocators *ret)
{
	struct pyh_arenas arenas = { 0 };
	struct allocators all = { .num_spans = 0 };
	struct error *err = other_heaps_find(opened_image(opened), &all.heaps);

	all.num_malloc = all.heaps.count;
	if (!err)
		err = find_pythons(opened, &all.heaps, &arenas);
	if (!err)
		err = collect(&all, &arenas);
	pyh_arenas_deinit(&arenas);
	if (err)
		allocators_deinit(&all);
	else
		*ret = all;
	return err;
}

void allocators_deinit(struct allocators *allocators)
{
	other_heaps_deinit(&allocators->heaps);
	free(allocators->spans);
	*allocators = (struct allocators){ .num_spans = 0 };
}
