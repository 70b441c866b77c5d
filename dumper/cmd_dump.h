/*
 * heapdump PID: from the checks to the report.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_CMD_DUMP_H
#define DUMPER_CMD_DUMP_H

#include <stdatomic.h>

#include "dumper/dump_config.h"
#include "dumper/dump_options.h"
#include "image/live/live.h"

enum dump_exit {
	DUMP_EXIT_OK = 0,
	DUMP_EXIT_FAILED = 1,
	DUMP_EXIT_USAGE = 2,
	DUMP_EXIT_PARTIAL = 3,
	DUMP_EXIT_UNTRIGGERED = 4,	/* it ended before a trigger */
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

/** One process to be dumped, and why. */
struct dump_request {
	pid_t pid;
	const struct dump_config *config;
	const char *trigger;	/* a word: "request", "rss" … */
	const char *reason;	/* a sentence, or NULL */
	const struct freeze_standing *held;	/* NULL: it runs; see live_options */
	bool brief;		/* a line on standard error tells it */
	FILE *json;		/* where the object of --json goes */
	bool keep_others;	/* replace no file, not even one named by -o */
	const atomic_bool *stop;
};

struct dump_outcome {
	enum dump_exit status;
	char *path;		/* NULL: none; the caller frees */
	uint64_t bytes;
};

/**
 * Dump (or only estimate) a process, say how it went, and run what --exec
 * says.
 */
void dump_one(const struct dump_options *options,
	      const struct dump_request *request, struct dump_outcome *ret);

/** Of two results of one run, that which the run reports. */
enum dump_exit dump_exit_worse(enum dump_exit a, enum dump_exit b);

/** What the machine's owner allows; --force does not go around that. */
struct error *dump_check_config(const struct dump_options *options,
				const struct dump_config *config);

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

/** "heapdump: SENTENCE" on standard error; takes err. */
void dump_complain(struct error *err);

#endif
