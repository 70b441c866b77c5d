/*
 * Files of the target's own system, as the analyst's machine has them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The names come from a dump, that is from a stranger: a path is resolved as
 * if the sysroot were "/", so neither ".." nor an absolute link leads out of
 * it, and nothing but a regular file is ever opened.
 */
#ifndef IMAGE_SYSROOT_H
#define IMAGE_SYSROOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/mapping.h"

/**
 * Map the regular file at path (absolute in the target) below root.
 *
 * @param root  a folder; "/" for this machine's own files
 * @return false where there is no such file, or an empty one, or it may not
 *	be read
 */
bool sysroot_map(const char *root, const char *path, struct mapping *ret);

/** "ROOT/PATH" without a doubled slash, to be freed; NULL without memory. */
char *sysroot_join(const char *root, const char *path);

/**
 * "PREFIX/.build-id/ab/cdef…SUFFIX", to be freed; NULL without memory or for
 * a build id of less than two bytes.
 */
char *sysroot_build_id_path(const char *prefix, const uint8_t *build_id,
			    size_t size, const char *suffix);

#endif
