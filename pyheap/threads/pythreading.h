/*
 * What Python's module threading knows of the threads: their names.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Lib/threading.py: _active maps get_ident() to Thread, whose
 * attributes are _ident and _name.
 */
#ifndef PYHEAP_PYTHREADING_H
#define PYHEAP_PYTHREADING_H

#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pyshape.h"
#include "pyheap/types/pytypes.h"

enum { PYH_THREAD_NAMES_MAX = 1 << 16 };

struct pyh_thread_name {
	uint64_t ident;		/* as in struct pyh_thread */
	uint64_t name;		/* a str object */
};

/**
 * The names of the threads of the main interpreter, in the order of the dict;
 * none where threading was not imported or is not in the dump.
 *
 * @param ret  to be freed
 */
struct error *pyh_thread_names(const struct pyh_runtime *runtime,
			       struct pyh_type_reader *types,
			       struct pyh_shapes *shapes,
			       struct memory_reader *memory,
			       struct pyh_thread_name **ret,
			       size_t *ret_count);

#endif
