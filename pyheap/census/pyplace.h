/*
 * Where fields are that nothing confirms.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The fields of an interpreter, of the runtime and of a thread that are not
 * calibrated are as far from the nearest one that is as the table has them. What
 * they lead to must be looked at before it is believed.
 */
#ifndef PYHEAP_PYPLACE_H
#define PYHEAP_PYPLACE_H

#include "pyheap/runtime/pyruntime.h"

/** Where a field is; size 0: this release has none. */
struct pyh_field_at pyh_place_of(const struct pyh_runtime *runtime,
				 enum pyh_field field);

#endif
