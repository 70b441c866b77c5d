/*
 * heapdump PID: from the checks to the report.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_CMD_DUMP_H
#define DUMPER_CMD_DUMP_H

#include <stdatomic.h>

#include "dumper/dump_options.h"

enum dump_exit {
	DUMP_EXIT_OK = 0,
	DUMP_EXIT_FAILED = 1,
	DUMP_EXIT_USAGE = 2,
	DUMP_EXIT_PARTIAL = 3,
	DUMP_EXIT_INTERRUPTED = 130,
};

/**
 * Dump (or only estimate) every process of options, one after the other, and
 * say how it went.
 *
 * @param stop  set from a signal handler
 */
enum dump_exit cmd_dump(const struct dump_options *options,
			const atomic_bool *stop);

/** heapdump --list. */
enum dump_exit cmd_processes(const struct dump_options *options);

/** heapdump --demo. */
enum dump_exit cmd_demo(const struct dump_options *options,
			const atomic_bool *stop);

/** heapdump --core-pattern. */
enum dump_exit cmd_core_pattern(const struct dump_options *options,
				const atomic_bool *stop);

/** "heapdump: SENTENCE" on standard error; takes err. */
void dump_complain(struct error *err);

#endif
