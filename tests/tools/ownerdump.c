/*
 * Print who holds each chunk of malloc in a core that is in use.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: ownerdump CORE
 *
 * "CHUNK START END OWNER INSIDE HEAD NAME" lines: where the user's memory begins
 * and where the chunk ends, a word for enum chunk_owner, 1 if only pointers into
 * its middle are known, the head's memory of what is lost, and the type, the
 * module's path or the thread's number, else "-".
 */
#include <inttypes.h>
#include <stdio.h>

#include "analyzer/malloc/chunkowners.h"
#include "analyzer/malloc/mallocheap.h"
#include "analyzer/opened.h"
#include "analyzer/scan_options.h"

static struct error *print(void *context, const struct chunk_row *row)
{
	static const char *const words[CHUNK_NUM_OWNERS] = {
		[CHUNK_UNUSED] = "unused", [CHUNK_OBJECT] = "object",
		[CHUNK_BUFFER] = "buffer", [CHUNK_BY_OBJECT] = "by-object",
		[CHUNK_BY_PYMALLOC] = "pymalloc", [CHUNK_BY_MODULE] = "module",
		[CHUNK_BY_THREAD] = "thread", [CHUNK_BY_MEMORY] = "memory",
		[CHUNK_LOST] = "lost", [CHUNK_LOST_WITH] = "lost-with",
	};
	const struct chunkowners *owners = context;
	struct chunk_row head = { 0 };
	char tid[16];

	if (row->owner == CHUNK_UNUSED)
		return NULL;
	if (row->owner >= CHUNK_LOST)
		(void)chunkowners_get(owners, row->head, &head);
	(void)snprintf(tid, sizeof(tid), "%u", row->tid);
	printf("CHUNK %" PRIu64 " %" PRIu64 " %s %d %" PRIu64 " %s\n",
	       row->start + CHUNK_HEADER, row->end, words[row->owner],
	       row->inside, head.end ? head.start + CHUNK_HEADER : 0,
	       row->type ? row->type->name :
	       row->module ? row->module->path : row->tid ? tid : "-");
	return NULL;
}

int main(int argc, char **argv)
{
	const struct options options = { .no_index = true };
	struct chunkowners *owners = NULL;
	struct glibc_heap *heap = NULL;
	struct opened *opened = NULL;
	struct error *err;

	if (argc != 2) {
		fputs("usage: ownerdump CORE\n", stderr);
		return 2;
	}
	err = opened_create(argv[1], &options, &opened);
	if (!err)
		err = mallocheap_open(opened, NULL, &heap);
	if (!err)
		err = chunkowners_create(opened, heap, &owners);
	if (!err)
		err = chunkowners_each(owners, print, owners);
	chunkowners_destroy(owners);
	glibc_heap_close(heap);
	opened_destroy(opened);
	if (!err)
		return 0;
	fprintf(stderr, "ownerdump: %s\n", err->message);
	error_free(err);
	return 1;
}
