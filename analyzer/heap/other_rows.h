/*
 * Heaps of allocators that take malloc's place, as rows.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_OTHER_ROWS_H
#define ANALYZER_OTHER_ROWS_H

#include "analyzer/show/render.h"
#include "image/malloc/otherheap.h"

/**
 * All of them by parts ("others"), and their blocks by size ("sizes"). For
 * people nothing where there is no such heap.
 *
 * @param top  sizes at most; 0: all
 */
void other_rows(const struct other_heaps *heaps, struct render *render,
		uint64_t top);

#endif
