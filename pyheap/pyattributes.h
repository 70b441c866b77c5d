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
#include "pyheap/pyruntime.h"
#include "pyheap/pyshape.h"
#include "pyheap/pytypes.h"

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

#endif
