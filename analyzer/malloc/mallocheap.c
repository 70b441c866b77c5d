/*
 * The heap of glibc's malloc of an opened dump; see mallocheap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/malloc/mallocheap.h"

struct error *mallocheap_open(struct opened *opened,
			      const struct allocators *others,
			      struct glibc_heap **ret)
{
	struct allocators found = { .num_spans = 0 };
	const struct allocators *all = others ? others : &found;
	struct error *err = opened_check_heap(opened);

	*ret = NULL;
	if (!err && !others)
		err = allocators_find(opened, &found);
	if (!err)
		err = glibc_heap_open(
			opened_image(opened), &(struct glibc_options){
				.others = all->spans,
				.num_others = all->num_spans }, ret);
	allocators_deinit(&found);
	// With another allocator in its place there is nothing to be found.
	if (err && err->kind == ERROR_NOT_FOUND && others &&
	    others->heaps.count) {
		error_free(err);
		err = NULL;
	}
	return err;
}
