/*
 * What heapdump can be told to do, one function each.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_CMD_DUMP_H
#define DUMPER_CMD_DUMP_H

#include <stdatomic.h>

#include "dumper/dump_one.h"
#include "dumper/dump_options.h"

/**
 * Dump (or only estimate) every process of options, one after the other, and
 * say how it went.
 *
 * @param stop  set from a signal handler
 */
enum dump_exit cmd_dump(const struct dump_options *options,
			const atomic_bool *stop);

/** heapdump --watch; heapdump -- CMD, with the command's own status. */
int cmd_watch(const struct dump_options *options, const atomic_bool *stop);

/** heapdump --list. */
enum dump_exit cmd_processes(const struct dump_options *options);

/** heapdump --demo. */
enum dump_exit cmd_demo(const struct dump_options *options,
			const atomic_bool *stop);

/** heapdump --core-pattern. */
enum dump_exit cmd_core_pattern(const struct dump_options *options,
				const atomic_bool *stop);

#endif
