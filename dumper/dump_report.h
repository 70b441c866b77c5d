/*
 * What heapdump says about a dump: text, JSON, progress, the audit line.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything goes to the stream that is given; names from the target and
 * paths are escaped for it.
 */
#ifndef DUMPER_DUMP_REPORT_H
#define DUMPER_DUMP_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "image/live/live.h"

/** One finished dump. */
struct dump_report {
	const char *path;
	pid_t pid;
	uint32_t uid;		/* of the target */
	const char *script;	/* may be NULL */
	const char *content;	/* stacks, heap, full */
	const char *method;
	const char *trigger;
	const char *reason;	/* may be NULL */
	const struct live_result *result;
};

void dump_report_text(FILE *out, const struct dump_report *report,
		      bool verbose);
/** One line, for who watches: why, where, how large, how long. */
void dump_report_line(FILE *out, const struct dump_report *report);
void dump_report_json(FILE *out, const struct dump_report *report);

/** Whether there is a system log, and so a reader for the dump's hash. */
bool dump_report_is_audited(void);

/** One line in the system log: who, whom, why, size, sha256. */
void dump_report_audit(const struct dump_report *report);

/** What --dry-run found out. */
struct dry_report {
	pid_t pid;
	const char *script;
	const char *path;		/* where it would go */
	const char *content;
	const char *method;
	const char *refusal;		/* why the method cannot be used, or NULL */
	const struct live_estimate *estimate;
	uint64_t max_pause_ns;
	bool pause_fits, space_fits;
	uint64_t free_bytes;		/* UINT64_MAX: unknown */
	uint64_t headroom;		/* of the target's cgroup, as above */
};

void dry_report_text(FILE *out, const struct dry_report *report);
void dry_report_json(FILE *out, const struct dry_report *report);

/** A line that replaces itself, on a terminal. */
struct progress_line {
	FILE *out;
	pid_t pid;
	bool shown;
};

/** For struct live_options: context is a struct progress_line. */
void progress_line_show(void *context, const struct live_progress *progress);
void progress_line_clear(struct progress_line *line);

/** A path as one would type it in a shell, safe to show. */
void shell_quote(FILE *out, const char *path);

#endif
