/*
 * The numbers of all collectors; see collectors.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/collectors.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/kept/kept.h"
#include "analyzer/opened.h"

static size_t count_of(const struct pyh_runtime *runtime)
{
	return pyh_has(runtime, PYH_RUNTIME_GC) ||
			       runtime->num_interpreters == 0 ?
		       1 : runtime->num_interpreters;
}

struct error *collectors_read(struct opened *opened,
			      const struct analysis *analysis,
			      struct pyh_gc **ret, size_t *ret_count)
{
	const struct kept *kept = analysis->kept;
	struct pyh_runtime *runtime;
	struct memory_reader memory;
	struct pyh_gc *all;
	struct error *err = opened_runtime(opened, &runtime);
	size_t count;

	if (err)
		return err;
	count = count_of(runtime);
	all = calloc(count, sizeof(*all));
	if (!all)
		return error_no_memory();
	if (kept && kept->num_collectors == count) {
		memcpy(all, kept->collectors, count * sizeof(*all));
	} else {
		err = memory_reader_init(&memory, runtime->image->memory);
		if (err) {
			free(all);
			return err;
		}
		for (size_t i = 0; i < count; i++)
			pyh_gc_read(runtime, &memory, i, /* lists= */ true,
				    &all[i]);
		memory_reader_deinit(&memory);
	}
	*ret = all;
	*ret_count = count;
	return NULL;
}
