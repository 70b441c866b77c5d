/*
 * Tells the watcher that memory has run out, and waits for it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Called wherever that happens, by any thread, with next to no memory left:
 * nothing here allocates, takes a lock, throws, is a point of cancellation, or
 * changes errno.
 */
#ifndef DUMPER_ONOOM_TELL_H
#define DUMPER_ONOOM_TELL_H

#include <stdbool.h>
#include <stdint.h>

#include "dumper/onoom/onoom_protocol.h"

/** False where no watcher is to be told, and so nothing is to be done. */
bool onoom_is_wanted(void);

/**
 * Returns when the watcher has answered or is gone, or when it takes too long;
 * at once where it wants no more of this process, or another thread waits.
 *
 * @param type, text  may be NULL
 */
void onoom_tell(enum onoom_kind kind, const char *type, const char *text,
		uint64_t size);

#endif
