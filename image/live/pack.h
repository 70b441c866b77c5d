/*
 * Writes the container: frames made in parallel, put down in order.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	pack_start(&options, &pack);
 *	while (!pack_wait(pack, ms, &progress)) ...
 *	pack_finish(pack, notes, notes_size, &result);
 *	pack_destroy(pack);
 *
 * Each worker fills a frame's worth of content by itself, compresses it and
 * hands it to one writer (and to one that hashes the file, where that is
 * wanted), so that fetching and writing hide behind compressing. Frames wait in
 * a ring of fixed size: memory does not depend on the content's.
 */
#ifndef LIVE_PACK_H
#define LIVE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum {
	PACK_WORKERS_MAX = 64,
	PACK_SHA256_SIZE = 32,
};

/**
 * Put content [offset, offset + size) into buffer; called by many threads.
 * Returns false if all of it is zero and was never touched (it must be
 * written into buffer nevertheless).
 */
typedef bool pack_fill_fn(void *context, uint64_t offset, uint8_t *buffer,
			  size_t size);

struct pack_options {
	int fd;			/* borrowed; written from where it stands */
	uint64_t size;		/* of the content, in bytes; at least 1 */
	bool compress;
	int level;		/* of zstd */
	unsigned int workers;	/* at least 1 */
	bool own_file;		/* nobody else writes to it, or reads it soon:
				   it may bypass the page cache */
	bool step_back;		/* the target runs meanwhile, and comes first:
				   workers ask for less of the processors */
	bool hash;		/* somebody wants to know it: of a plain dump
				   it costs more than all the rest */
	pack_fill_fn *fill;
	void *context;
};

struct pack_progress {
	uint64_t filled;	/* bytes of content that were fetched */
	uint64_t written;	/* bytes of content that are in the file */
	uint64_t stored;	/* bytes of the file */
	bool all_filled;	/* fill will not be called again */
};

struct pack_result {
	uint64_t stored;	/* bytes of the file */
	bool hashed;
	uint8_t sha256[PACK_SHA256_SIZE];	/* of the whole file, if so */
};

struct pack;

struct error *pack_start(const struct pack_options *options, struct pack **ret);

/**
 * Wait up to timeout_ms for something to be news: that everything is fetched,
 * or that everything is written (or failed).
 *
 * @return true when all content is written or writing it has failed
 */
bool pack_wait(struct pack *pack, unsigned int timeout_ms,
	       struct pack_progress *ret);

/**
 * Append the final notes and the seek table. Reports what failed before, as
 * well. Only after pack_wait() was true.
 */
struct error *pack_finish(struct pack *pack, const void *notes,
			  size_t notes_size, struct pack_result *ret);

/** Stop all threads, whatever they are at, and release. NULL is fine. */
void pack_destroy(struct pack *pack);

#endif
