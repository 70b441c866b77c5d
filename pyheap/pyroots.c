/*
 * Roots; see pyroots.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/pyroots.h"

void pyh_roots_each(const struct pyh_runtime *runtime,
		    struct memory_reader *memory, pyh_root_fn *fn,
		    void *context)
{
	(void)runtime;
	(void)memory;
	(void)fn;
	(void)context;
}
