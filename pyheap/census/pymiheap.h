/*
 * The mimalloc that free-threaded builds allocate with, as a heap of blocks.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYMIHEAP_H
#define PYHEAP_PYMIHEAP_H

#include "image/malloc/otherheap.h"
#include "pyheap/runtime/pyruntime.h"

/**
 * All segments of a runtime. Its parts are what pages are for: memory of C code
 * (PyMem_Malloc), objects that the collector does not track and those that it
 * does, without and with a pre-header, and what belongs to no page: headers of
 * segments, and pages that nobody has. Of a page that is kept for blocks of one
 * size, what no block was made of yet counts as unused.
 *
 * @return ERROR_NOT_FOUND where the runtime has none
 */
struct error *pyh_mi_heap_open(const struct pyh_runtime *runtime,
			       struct other_heap **ret);

#endif
