/*
 * Dumps of one tree of processes: which files, and who is whose child.
 * SPDX-License-Identifier: Apache-2.0
 *
 * heapdump --children writes a manifest of them, see heapdump(1); or they are
 * named one by one, and say themselves who their parents were.
 */
#ifndef ANALYZER_FAMILY_H
#define ANALYZER_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum { FAMILY_MAX = 4096 };	/* processes */

struct family_member {
	char *path;		/* of the dump; owned */
	uint64_t pid, parent;	/* 0: the manifest does not say, or there is
				   none */
};

struct family {
	struct family_member *members;	/* as the manifest has them */
	size_t count;
};

/** Is this file a manifest, rather than a dump? */
bool family_is_manifest(const char *path);

/**
 * The dumps that a manifest lists. Those that failed are left out; a file that
 * is no longer where it was is looked for beside the manifest.
 *
 * @return ERROR_FORMAT where it is no manifest of a version that is known
 */
struct error *family_read(const char *manifest, struct family *ret);

/** Dumps that were named, or one manifest. */
struct error *family_of(char *const *names, size_t count, struct family *ret);
void family_deinit(struct family *family);

#endif
