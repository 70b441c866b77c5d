/*
 * How often, how many at once, how much of the disk: for dumps nobody asked for.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program that crashes again and again must not fill the disk. The state is
 * in a folder of root's below /run, and is gone after a restart.
 */
#ifndef DUMPER_CORE_LIMITS_H
#define DUMPER_CORE_LIMITS_H

#include <stdint.h>

#include "dumper/dump_config.h"

#define CORE_LIMITS_FOLDER "/run/heapdump"

/**
 * Take a place among those that may dump now. It is given back when this
 * process ends.
 *
 * @param folder  where dumps go
 * @param now  seconds since the epoch
 * @param ret_bytes  how large the dump may become
 * @return NULL, or ERROR_LIMIT with the limit that was reached
 */
struct error *core_limits_enter(const struct dump_config *config,
				const char *folder, int64_t now,
				uint64_t *ret_bytes);

#endif
