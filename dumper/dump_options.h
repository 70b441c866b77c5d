/*
 * The command line of heapdump, as one table.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Parsing, --help, the hint after a mistyped option and shell completion all
 * come from the table, so that they cannot disagree. Options of parts that
 * this version does not have stand in it too, and are refused by name.
 */
#ifndef DUMPER_DUMP_OPTIONS_H
#define DUMPER_DUMP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "dumper/watch_options.h"
#include "image/base/error.h"
#include "image/live/select.h"

enum dump_mode {
	DUMP_MODE_PIDS,
	DUMP_MODE_WATCH,	/* --watch, and -- CMD */
	DUMP_MODE_LIST,
	DUMP_MODE_DEMO,
	DUMP_MODE_CORE_PATTERN,
	DUMP_MODE_HELP,
	DUMP_MODE_VERSION,
	DUMP_MODE_COMPLETION,
};

/** How a process becomes a file; see --method in --help. */
enum dump_method {
	DUMP_METHOD_SNAPSHOT,
	DUMP_METHOD_STOP,
	DUMP_METHOD_GCORE,
	DUMP_METHOD_SIGNAL,
	NUM_DUMP_METHODS,
};

enum { DUMP_OPTIONS_WORDS = 16 };

struct dump_options {
	enum dump_mode mode;
	pid_t *pids;
	size_t num_pids;
	/* what the kernel gives to DUMP_MODE_CORE_PATTERN; borrowed */
	char *words[DUMP_OPTIONS_WORDS];
	size_t num_words;
	bool install, uninstall;	/* of that */
	const char *output;		/* borrowed from argv; NULL: default */
	enum select_content content;
	struct select_rules rules;
	/* to be tried in this order: a later one where one is impossible */
	enum dump_method methods[NUM_DUMP_METHODS];
	size_t num_methods;
	int signal;			/* of DUMP_METHOD_SIGNAL; 0: SIGABRT */
	bool assume_fork_allowed;
	uint64_t max_pause_ns;		/* 0: the default */
	int level;			/* 0: the default */
	bool no_compress;
	bool no_cmdline;
	bool environ;
	bool gpu_off;
	bool dry_run;
	bool force;
	bool quiet, verbose, json, no_progress;
	struct watch_options watch;
};

/** ERROR_USAGE with a sentence that names the option and what was expected. */
struct error *dump_options_parse(int argc, char **argv,
				 struct dump_options *ret);
void dump_options_deinit(struct dump_options *options);

/** "stop", "signal". Static storage. */
const char *dump_method_word(enum dump_method method);

/** What --help shows. */
void dump_options_help(FILE *out);

/** A bash completion script. */
void dump_options_completion(FILE *out);

#endif
