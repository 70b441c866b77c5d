/*
 * The dump of one process, from the checks to the report.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_DUMP_ONE_H
#define DUMPER_DUMP_ONE_H

#include <stdatomic.h>
#include <stdio.h>

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

/** "heapdump: SENTENCE" on standard error; takes err. */
void dump_complain(struct error *err);

#endif
