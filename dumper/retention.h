/*
 * Keeps a folder of dumps within its limits: --max-total and --min-free.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Removed are only dumps that heapdump made for this user: regular files of
 * the name that it gives them, owned by this user, complete, and of our
 * container by what is in them. Links are not followed.
 */
#ifndef DUMPER_RETENTION_H
#define DUMPER_RETENTION_H

#include <stdint.h>

#include "image/base/error.h"

/**
 * Remove the oldest dumps of a folder until what is left and coming bytes are
 * at most max_total in all.
 *
 * @param keep  the name of a dump that counts but is never removed; may be NULL
 * @param told  called with the name of each that was removed; may be NULL
 * @return ERROR_LIMIT where that is not enough
 */
struct error *retention_make_room(int folder_fd, const char *folder,
				  uint64_t max_total, uint64_t coming,
				  const char *keep,
				  void (*told)(const char *name));

/** ERROR_LIMIT where less than min_free would be left beside coming bytes. */
struct error *retention_check_free(int fd, const char *folder,
				   uint64_t min_free, uint64_t coming);

#endif
