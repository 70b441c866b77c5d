/*
 * Which memory is of allocators other than glibc's malloc.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_ALLOCATORS_H
#define ANALYZER_ALLOCATORS_H

#include "analyzer/opened.h"
#include "image/malloc/glibcheap.h"
#include "image/malloc/otherheap.h"

struct allocators {
	/* those that take malloc's place, and the mimalloc of Python */
	struct other_heaps heaps;
	size_t num_malloc;	/* the first ones: all but Python's */
	/* what they have, and the arenas of pymalloc: by address, and no chunk
	   of glibc's is in there */
	struct glibc_span *spans;
	size_t num_spans;
};

/** Of any process; that it is not Python is no error. */
struct error *allocators_find(struct opened *opened, struct allocators *ret);
void allocators_deinit(struct allocators *allocators);

#endif
