/*
 * The heap of glibc's malloc of an opened dump.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_MALLOCHEAP_H
#define ANALYZER_MALLOCHEAP_H

#include "analyzer/malloc/allocators.h"
#include "analyzer/opened.h"
#include "image/malloc/glibcheap.h"

/**
 * As glibc_heap_open(), told what others have: no chunk begins there.
 *
 * @param others  NULL: they are looked for
 * @param ret  NULL where others are known, and another allocator has its place
 * @return ERROR_NOT_FOUND where there is no such heap
 */
struct error *mallocheap_open(struct opened *opened,
			      const struct allocators *others,
			      struct glibc_heap **ret);

#endif
