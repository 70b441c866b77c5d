/*
 * A core that somebody else writes (the kernel, gdb), read as it comes.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	corestream_open(fd, &stream);	(reads the headers and the notes)
 *	corestream_read(stream, offset, buffer, size);
 *
 * From a pipe, offsets must not go back, and what lies between two reads is
 * thrown away; a file may be read in any order and by many threads. A core that
 * ends too early has given what it had: a short read is no error.
 */
#ifndef LIVE_CORESTREAM_H
#define LIVE_CORESTREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum {
	/* More than a process can have unless vm.max_map_count is raised. */
	CORESTREAM_SEGMENTS_MAX = 1 << 20,
	/* Registers of some ten thousand threads. */
	CORESTREAM_NOTES_MAX = 64 << 20,
};

struct corestream_segment {
	uint64_t start, end;	/* addresses, whole pages */
	uint64_t captured;	/* bytes from start that the core says it has */
	uint64_t offset;	/* of start in the core */
	uint32_t protection;	/* PF_R, PF_W, PF_X of elf.h */
};

struct corestream {
	uint16_t machine;
	uint32_t page_size;	/* bytes */
	struct corestream_segment *segments;	/* ascending, no overlap */
	size_t num_segments;
	uint8_t *notes;		/* whole notes only */
	size_t notes_size;
	bool notes_cut;		/* there were more */
	bool any_order;		/* a file */
	/* the rest is its own */
	int fd;
	uint64_t start;		/* where in the file the core begins */
	uint64_t at;		/* bytes of a pipe that are gone */
	atomic_bool cancelled;
};

/**
 * Read up to the end of the notes.
 *
 * @param fd  borrowed
 * @return NULL; ERROR_FORMAT or ERROR_UNSUPPORTED where it is no core, or ends
 *	before its first segment is known. A sentence without the file's name
 */
struct error *corestream_open(int fd, struct corestream *ret);
void corestream_close(struct corestream *stream);

/** The segment that holds address, or the next one above it; NULL: none. */
const struct corestream_segment *
corestream_segment_at(const struct corestream *stream, uint64_t address);

/** Returns how many of the bytes there are; fewer at the end only. */
size_t corestream_read(struct corestream *stream, uint64_t offset,
		       uint8_t *buffer, size_t size);

/** Make all reads end soon, with what they have. */
void corestream_cancel(struct corestream *stream);

#endif
