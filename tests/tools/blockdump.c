/*
 * Print every piece of the heaps of other allocators in a core.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: blockdump CORE [SYSROOT]
 *
 * For each heap "HEAP NAME UNREAD" (- where it is read), "CACHES UNREAD",
 * "KIND NAME BYTES BLOCKS" for each kind of piece and "CLASS BLOCK SPANS BYTES
 * USED CACHED FREE", then "PIECE KIND START END" lines; and in the end "FINDING
 * CODE TEXT" lines. With NONE as SYSROOT no file of the target is read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "image/malloc/otherheap.h"

static const char *const kinds[NUM_OTHER_KINDS] = {
	[OTHER_USED] = "used", [OTHER_CACHED] = "cached",
	[OTHER_FREE] = "free", [OTHER_UNUSED] = "unused",
	[OTHER_RETURNED] = "returned", [OTHER_OVERHEAD] = "overhead",
	[OTHER_METADATA] = "metadata",
};

static struct error *print(void *context, const struct other_piece *piece)
{
	(void)context;
	printf("PIECE %s %" PRIu64 " %" PRIu64 "\n", kinds[piece->kind],
	       piece->start, piece->end);
	return NULL;
}

static struct error *print_heap(struct other_heap *heap)
{
	struct other_totals totals = other_heap_totals(heap);
	const char *unread = other_heap_unread(heap);
	const char *caches = other_heap_caches_unread(heap);

	printf("HEAP %s %s\n", other_heap_name(heap), unread ? unread : "-");
	printf("CACHES %s\n", caches ? caches : "-");
	for (int i = 0; i < NUM_OTHER_KINDS; i++)
		printf("KIND %s %" PRIu64 " %" PRIu64 "\n", kinds[i],
		       totals.bytes[i], totals.blocks[i]);
	for (size_t i = 0; i < other_heap_num_classes(heap); i++) {
		const struct other_class *class = other_heap_class(heap, i);

		printf("CLASS %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
		       " %" PRIu64 " %" PRIu64 "\n", class->block,
		       class->spans, class->span_bytes, class->used,
		       class->cached, class->free);
	}
	return other_heap_each(heap, print, NULL);
}

static struct error *dump(struct image *image)
{
	struct other_heaps heaps;
	struct error *err = other_heaps_find(image, &heaps);

	if (err)
		return err;
	for (size_t i = 0; !err && i < heaps.count; i++)
		err = print_heap(heaps.heaps[i]);
	other_heaps_deinit(&heaps);
	for (size_t i = 0; i < findings_kept(image->findings); i++) {
		const struct finding *one = findings_get(image->findings, i);

		printf("FINDING %s %s\n", one->code, one->text);
	}
	return err;
}

int main(int argc, char **argv)
{
	struct image_options options = { 0 };
	struct image *image = NULL;
	struct error *err;
	bool failed;

	if (argc < 2 || argc > 3) {
		(void)fprintf(stderr, "usage: blockdump CORE [SYSROOT]\n");
		return 2;
	}
	if (argc == 3)
		options.sysroot = strcmp(argv[2], "NONE") == 0 ? "" : argv[2];
	err = image_open(argv[1], &options, &image);
	if (!err)
		err = dump(image);
	if (err)
		(void)fprintf(stderr, "blockdump: %s\n", err->message);
	failed = err != NULL;
	image_close(image);
	error_free(err);
	return failed;
}
