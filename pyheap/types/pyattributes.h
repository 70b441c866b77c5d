/*
 * Attributes of an instance by name, whether it keeps them in slots of its own,
 * in values without a dict or in a dict.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYATTRIBUTES_H
#define PYHEAP_PYATTRIBUTES_H

#include <stddef.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pyshape.h"
#include "pyheap/types/pytypes.h"

/**
 * Look attributes of an instance up that have ASCII names.
 *
 * @param type  of the instance
 * @param values  gets the address of each, 0 for those it lacks
 */
void pyh_attributes_find(const struct pyh_runtime *runtime,
			 struct pyh_shapes *shapes,
			 struct memory_reader *memory,
			 const struct pyh_type *type, uint64_t address,
			 const char *const *names, size_t count,
			 uint64_t *values);

/**
 * An attribute.
 *
 * @param name  of a slot: valid as long as the shapes; else NULL
 * @param key  address of the name otherwise
 * @return false: no more
 */
typedef bool pyh_attribute_fn(void *context, const char *name, uint64_t key,
			      uint64_t value);

/** Call fn for each attribute that an instance has itself, up to some number. */
void pyh_attributes_each(const struct pyh_runtime *runtime,
			 struct pyh_shapes *shapes,
			 struct memory_reader *memory,
			 const struct pyh_type *type, uint64_t address,
			 pyh_attribute_fn *fn, void *context);

#endif
