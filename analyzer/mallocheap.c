/*
 * The heap of glibc's malloc of an opened dump; see mallocheap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/mallocheap.h"

#include <stdlib.h>

#include "image/base/guard.h"
#include "pyheap/pyblocks.h"

/** Where pymalloc has its blocks no chunk begins. None is no error. */
static struct error *find_pymalloc(struct opened *opened,
				   struct glibc_span **ret, size_t *ret_count)
{
	struct pyh_runtime *runtime;
	struct pyh_arenas arenas = { 0 };
	struct error *err = opened_runtime(opened, &runtime);
	struct glibc_span *spans = NULL;

	if (!err)
		err = pyh_arenas_find(runtime, &arenas);
	if (!err && arenas.count) {
		spans = calloc(arenas.count, sizeof(*spans));
		if (!spans)
			err = error_no_memory();
	}
	for (size_t i = 0; spans && i < arenas.count; i++)
		spans[i] = (struct glibc_span){ arenas.arenas[i].start,
						arenas.arenas[i].limit };
	*ret = spans;
	*ret_count = spans ? arenas.count : 0;
	pyh_arenas_deinit(&arenas);
	if (err && err->kind != ERROR_NO_MEMORY) {
		error_free(err);
		err = NULL;
	}
	return err;
}

struct error *mallocheap_open(struct opened *opened, struct glibc_heap **ret)
{
	CLEANUP(free_pointer) struct glibc_span *spans = NULL;
	struct glibc_options options = { 0 };
	struct error *err = find_pymalloc(opened, &spans, &options.num_others);

	options.others = spans;
	return err ? err : glibc_heap_open(opened_image(opened), &options, ret);
}
