/*
 * Print every chunk of glibc's malloc in a core.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: chunkdump CORE [SYSROOT]
 *
 * "ARENA ADDRESS USED FREE FAST TCACHE TOP OVERHEAD LOST SYSTEM" lines, "MAPPED
 * COUNT BYTES COUNTED COUNT BYTES", "FINDING CODE TEXT" lines, and "CHUNK KIND
 * START END ARENA" lines. With NONE as SYSROOT no file of the target is read;
 * with COUNT in its place chunks are counted, and "CHUNKS N SECONDS" is printed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "image/malloc/glibcheap.h"

static struct error *print(void *context, const struct glibc_chunk *chunk)
{
	static const char *const kinds[] = {
		[GLIBC_USED] = "used", [GLIBC_FREE] = "free",
		[GLIBC_FAST] = "fast", [GLIBC_TCACHE] = "tcache",
		[GLIBC_TOP] = "top", [GLIBC_MAPPED] = "mapped",
	};

	(void)context;
	printf("CHUNK %s %" PRIu64 " %" PRIu64 " %" PRIu32 "\n",
	       kinds[chunk->kind], chunk->start, chunk->end, chunk->arena);
	return NULL;
}

static struct error *count(void *context, const struct glibc_chunk *chunk)
{
	(void)chunk;
	++*(uint64_t *)context;
	return NULL;
}

static struct error *time_walk(struct glibc_heap *heap)
{
	struct timespec start, end;
	uint64_t chunks = 0;
	struct error *err;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	err = glibc_each_chunk(heap, count, &chunks);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	printf("CHUNKS %" PRIu64 " %.4f\n", chunks,
	       (double)(end.tv_sec - start.tv_sec) +
	       (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	return err;
}

static void print_findings(const struct findings *findings)
{
	for (size_t i = 0; i < findings_kept(findings); i++) {
		const struct finding *one = findings_get(findings, i);

		printf("FINDING %s %s\n", one->code, one->text);
	}
}

static struct error *dump(struct image *image, bool counting)
{
	struct glibc_options options = { 0 };
	struct glibc_heap *heap = NULL;
	struct error *err = glibc_heap_open(image, &options, &heap);
	struct glibc_mapped mapped;

	if (err)
		return err;
	for (size_t i = 0; i < glibc_num_arenas(heap); i++) {
		const struct glibc_arena *arena = glibc_arena(heap, i);

		printf("ARENA %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
		       " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
		       " %" PRIu64 "\n", arena->address, arena->used,
		       arena->free, arena->fast, arena->tcache,
		       arena->top_size, arena->overhead, arena->lost,
		       arena->system);
	}
	mapped = glibc_mapped(heap);
	printf("MAPPED %" PRIu64 " %" PRIu64 " %d %" PRIu64 " %" PRIu64 "\n",
	       mapped.count, mapped.bytes, mapped.counted, mapped.count_said,
	       mapped.bytes_said);
	print_findings(image->findings);
	err = counting ? time_walk(heap) : glibc_each_chunk(heap, print, NULL);
	glibc_heap_close(heap);
	return err;
}

int main(int argc, char **argv)
{
	struct image_options options = { 0 };
	struct image *image = NULL;
	struct error *err;
	bool failed, counting = argc == 3 && strcmp(argv[2], "COUNT") == 0;

	if (argc < 2 || argc > 3) {
		(void)fprintf(stderr, "usage: chunkdump CORE [NONE | COUNT]\n");
		return 2;
	}
	if (argc == 3 && !counting)
		options.sysroot = strcmp(argv[2], "NONE") == 0 ? "" : argv[2];
	err = image_open(argv[1], &options, &image);
	if (!err)
		err = dump(image, counting);
	if (err)
		(void)fprintf(stderr, "chunkdump: %s\n", err->message);
	failed = err != NULL;
	image_close(image);
	error_free(err);
	return failed;
}
