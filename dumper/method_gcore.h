/*
 * --method gcore: gdb writes a core of the process, which goes on.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_METHOD_GCORE_H
#define DUMPER_METHOD_GCORE_H

#include "image/live/live.h"

/**
 * Whether it can be expected to work within the limits: gdb is there, the pause
 * will not be too long (ERROR_LIMIT; *ret_pause_ns is the estimate), and folder
 * has the space for what gdb writes. Nothing is stopped.
 *
 * @param folder  where the dump goes; NULL: nowhere in particular
 */
struct error *method_gcore_check(const struct target *target,
				 const struct live_options *live,
				 const char *folder, bool force,
				 uint64_t *ret_pause_ns);

/**
 * Have gdb write a core into an unlinked file in folder, and make a dump of it.
 * The process runs again whatever happens to gdb or to this program.
 */
struct error *method_gcore_dump(const struct target *target,
				const struct live_options *live,
				const char *folder, int fd,
				struct live_result *ret);

#endif
