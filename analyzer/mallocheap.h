/*
 * The heap of glibc's malloc of an opened dump.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_MALLOCHEAP_H
#define ANALYZER_MALLOCHEAP_H

#include "analyzer/opened.h"
#include "image/glibcheap.h"

/**
 * As glibc_heap_open(), told where pymalloc has its blocks: no chunk begins
 * there. That there is no Python is no error.
 *
 * @return ERROR_NOT_FOUND where there is no such heap
 */
struct error *mallocheap_open(struct opened *opened, struct glibc_heap **ret);

#endif
