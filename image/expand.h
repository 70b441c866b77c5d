/*
 * Compressed files without random access, expanded once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The expansion goes into an unlinked temporary file in which pages of zeroes
 * are holes. It never takes more disk than the folder can spare: the size is
 * checked before (where the format tells it, else a lower bound), and while it
 * grows.
 */
#ifndef IMAGE_EXPAND_H
#define IMAGE_EXPAND_H

#include <stdbool.h>
#include <stdint.h>

#include "image/backing.h"
#include "image/base/error.h"

enum expand_format {
	EXPAND_ZSTD,	/* any number of frames */
	EXPAND_GZIP,	/* any number of members */
	EXPAND_XZ,	/* any number of streams */
	EXPAND_LZ4,	/* any number of frames */
};

struct expanded {
	int fd;		/* the temporary file; the caller's to close */
	uint64_t size;	/* bytes */
	bool damaged;	/* the rest is lost; reported as a finding */
};

/** "gzip" and so on. */
const char *expand_format_name(enum expand_format format);

/**
 * Expand the whole of fd.
 *
 * Input that ends early or turns bad keeps what came before it: a finding,
 * and findings_set_partial().
 *
 * @param fd  read with pread(), from its start
 * @param stored_size  bytes of it
 * @param name  for sentences
 * @return NULL, or ERROR_LIMIT naming the folder and the space it lacks (or
 *	the memory that the file's window asks for), or ERROR_FORMAT where not
 *	even a first byte can be had, or ERROR_OS
 */
struct error *expand(int fd, uint64_t stored_size, enum expand_format format,
		     const char *name, const struct backing_options *options,
		     struct expanded *ret);

#endif
