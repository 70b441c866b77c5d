/*
 * Which builtin and library types this model knows from the inside: the table
 * behind enum pyh_kind.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYKINDS_H
#define PYHEAP_PYKINDS_H

#include <stdbool.h>

#include "pyheap/types/pytypes.h"
#include "pyheap/types/pytypeview.h"

/**
 * Whether a type can be one of the interpreter's own, by where it lies. Names
 * without a module are free for everyone: Cython's generators, for one, are
 * called as those of the interpreter.
 */
bool pyh_kind_may_be_builtin(const struct pyh_runtime *runtime,
			     const struct pyh_type_view *view);

/**
 * The kind of a type by what it is itself, not by its bases.
 *
 * @param name  "dict", "collections.deque"; as in struct pyh_type
 * @return PYH_KIND_OTHER if it is no type of the table, or too small for one
 */
enum pyh_kind pyh_kind_by_name(const struct pyh_runtime *runtime,
			       const struct pyh_type_view *view,
			       const char *name);

/** The kind that tp_flags give away, for types whose bases have no names. */
enum pyh_kind pyh_kind_by_flags(const struct pyh_runtime *runtime,
				const struct pyh_type_view *view);

/** True if types of this kind compute sys.getsizeof in their own way. */
bool pyh_kind_has_sizeof(const struct pyh_runtime *runtime,
			 enum pyh_kind kind);

#endif
