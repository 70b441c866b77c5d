/*
 * Ranges of memory that were to be captured and could not be had.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LIVE_MISSING_H
#define LIVE_MISSING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/format.h"

struct missing {
	pthread_mutex_t lock;
	struct format_skipped *items;
	size_t count, capacity;
};

void missing_init(struct missing *missing);
void missing_deinit(struct missing *missing);

/** Remember a range of addresses; from any thread. */
void missing_add(struct missing *missing, uint64_t start, uint64_t end,
		 int os_errno);

/** Sort, and join what touches. Not while others add. */
const struct format_skipped *missing_list(struct missing *missing,
					  size_t *ret_count);

#endif
