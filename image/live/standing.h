/*
 * The memory of a process that stands still, for looking at a little of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only what was selected for the dump is read: pages that are there. Any number
 * of threads may read at once. Where the process turns out to run (the limit
 * of its pause has come), every read fails.
 */
#ifndef LIVE_STANDING_H
#define LIVE_STANDING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/live/peek.h"
#include "image/live/procmaps.h"
#include "image/live/select.h"

struct standing_options {
	pid_t pid;		/* whose memory: the target, or its snapshot */
	bool snapshot;		/* as in struct copy_options */
	const struct procmaps *maps;		/* borrowed */
	const struct selection *selection;	/* borrowed */
	/* as in struct copy_options; NULL: it stands still for sure */
	bool (*holds)(const void *context);
	const void *context;
	bool may_run;		/* it does not stand still: what is read need
				   not hold together, and some may be gone */
};

struct page_set;

struct standing {
	struct standing_options options;
	struct page_set *read;	/* gets what standing_read() reads, of one
				   thread, and the page behind; NULL: none */
	struct peek peek;
	/* what can be read of the dump's; ascending, never adjacent */
	struct select_span *there;
	size_t num_there;
	/* the same, and what the dump leaves to files: pointers lead there */
	struct select_span *known;
	size_t num_known;
	atomic_bool failed;	/* a read did, and yet it stands still */
};

struct error *standing_init(struct standing *standing,
			    const struct standing_options *options);
void standing_deinit(struct standing *standing);

/**
 * True where a range is taken and can be read: a snapshot lacks what was not to
 * be inherited.
 */
bool standing_has(const struct standing *standing,
		  const struct select_range *range);

/** The first span that ends above address, or count. */
size_t standing_find(const struct select_span *spans, size_t count,
		     uint64_t address);

/** Bytes from address on that are there, together. */
uint64_t standing_extent(const struct standing *standing, uint64_t address);

/**
 * Read size bytes that are there. False where that failed.
 */
bool standing_read(struct standing *standing, uint64_t address, void *buffer,
		   size_t size);

enum { STANDING_PIECES_MAX = 256 };

/**
 * Read up to STANDING_PIECES_MAX pieces one behind the other into buffer: at
 * each address the same number of bytes.
 *
 * @return how many were read, all of them unless one cannot be
 */
size_t standing_read_pieces(struct standing *standing,
			    const uint64_t *addresses, size_t count,
			    void *buffer, size_t piece);

/** False once the process runs again. */
bool standing_holds(const struct standing *standing);

#endif
