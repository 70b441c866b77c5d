/*
 * What is counted of objects beside the counts in them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * In free-threaded builds (3.14 and later) a thread counts its references to
 * heap types, code and namespaces of modules in an array of its own, so that no
 * two threads write to the same word: every instance refers to its type. The
 * count in the object itself is only what is left, and may be negative.
 *
 * And while a collection runs, it holds what it has found: lists of objects, by
 * the word that is the owner's number else. Of these one reference is taken off,
 * so that they look like what they were.
 *
 * Source: CPython Include/internal/pycore_uniqueid.h, Python/uniqueid.c,
 * Python/gc_free_threading.c.
 */
#ifndef PYHEAP_PYCOUNTS_H
#define PYHEAP_PYCOUNTS_H

#include "image/base/hashmap.h"
#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"

/**
 * What is to be added to the count of each object, as far as it can be read: an
 * int32_t by its address.
 */
struct error *pyh_counts_beside(const struct pyh_runtime *runtime,
				struct memory_reader *memory,
				struct hashmap *ret);

#endif
