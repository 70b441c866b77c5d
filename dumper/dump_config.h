/*
 * /etc/heapdump.conf: what the machine's owner allows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Lines "key = value"; # begins a comment. What is not understood is an error,
 * and nothing is dumped: a rule must not be lost by a typing mistake. No option
 * and no variable goes around it.
 */
#ifndef DUMPER_DUMP_CONFIG_H
#define DUMPER_DUMP_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "dumper/dump_options.h"
#include "image/base/error.h"

#define DUMP_CONFIG_PATH "/etc/heapdump.conf"
/* Where the kernel's handler puts dumps unless the file says otherwise. */
#define DUMP_CONFIG_FOLDER "/var/lib/heapdump"

struct dump_config {
	/* for every dump */
	bool caps_content;
	enum select_content content;	/* at most this */
	char *folder;			/* only there; NULL: anywhere */
	bool forbidden[NUM_DUMP_METHODS];
	/* for the kernel's handler */
	bool kernel_forbidden;
	bool respect_limit;		/* no dump where "ulimit -c" is 0 */
	uint64_t max_core;		/* of one, uncompressed, in bytes */
	uint64_t max_size;		/* of one, in bytes; 0: no limit */
	uint64_t max_total;		/* of all in the folder; 0: no limit */
	uint64_t min_free;		/* bytes to be left of the disk */
	unsigned int max_rate;		/* an hour */
	unsigned int max_concurrent;
};

/**
 * Read DUMP_CONFIG_PATH; where it is not there, the defaults.
 *
 * @return NULL, or an error that names file and line: not understood, not
 *	owned by root, writable by others, not to be read
 */
struct error *dump_config_read(struct dump_config *ret);

/** Parse its text; name is for messages. */
struct error *dump_config_parse(FILE *in, const char *name,
				struct dump_config *ret);
void dump_config_deinit(struct dump_config *config);

/** An error that says what is not permitted, and what would be. */
struct error *dump_config_check_content(const struct dump_config *config,
					enum select_content content);
struct error *dump_config_check_method(const struct dump_config *config,
				       enum dump_method method);

/** Whether a dump may go there; output is as -o says, NULL: not said. */
struct error *dump_config_check_output(const struct dump_config *config,
				       const char *output);

#endif
