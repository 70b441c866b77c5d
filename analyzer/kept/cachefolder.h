/*
 * The folder that results are kept in: the user's own, of bounded size.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is in it: NAME.index, results of one dump; NAME.seen, what was found
 * right when they were last used, and by its time when that was; NAME.XXXXXX,
 * an index being written, locked by who writes it. Other files are left alone.
 */
#ifndef ANALYZER_CACHEFOLDER_H
#define ANALYZER_CACHEFOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "image/base/error.h"

enum { CACHE_NAME = 32 };	/* characters of a name: hexadecimal digits */

/** Bytes that all indexes together may take. */
#define CACHE_MOST	(UINT64_C(10) << 30)

/**
 * Open the folder.
 *
 * @param named  NULL: "heapscan" in $XDG_CACHE_HOME, else in ~/.cache
 * @param make  make it if it is not there; else *ret_fd is -1 then
 * @param ret_fd  the caller closes it
 * @return ERROR_DENIED where somebody else owns it or can write to it
 */
struct error *cachefolder_open(const char *named, bool make, int *ret_fd);

/**
 * Make room for an index of so many bytes: what a killed program left goes
 * first, then those that were not used for longest.
 *
 * @param name  of the index; one of this name is to be replaced
 * @return ERROR_LIMIT where there can be no room, in the folder or on the disk
 */
struct error *cachefolder_make_room(int folder, const char *name,
				    uint64_t size);

/** "NAME.SUFFIX" */
void cachefolder_path(const char *name, const char *suffix, char path[64]);

#endif
