/*
 * Single objects: by the analysis where there is one, else by the census.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_LOOKUP_H
#define ANALYZER_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/heap/heapgraph.h"
#include "image/base/error.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/runtime/pyruntime.h"

struct opened;

/** All that a census says of an object, settled by who refers to it. */
struct pyh_object lookup_object(const struct heapgraph *heap, uint32_t id);

/**
 * Bytes of an object's own block, from its address on; 0: they cannot be had.
 *
 * @param body, memory  two readers, for what it holds and where that leads
 */
uint64_t lookup_extent(const struct pyh_runtime *runtime,
		       const struct pyh_type *type, uint64_t address,
		       struct memory_reader *body, struct memory_reader *memory);

/**
 * What is at an address; an object with settled evidence. block and block_size
 * are only told where it is no object.
 */
struct error *lookup_at(struct opened *opened, uint64_t address,
			struct pyh_lookup *ret);

/** True if an object begins at an address. */
bool lookup_holds(struct opened *opened, uint64_t address);

#endif
