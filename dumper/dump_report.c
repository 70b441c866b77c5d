/*
 * What heapdump says about a dump; see dump_report.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/dump_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "image/base/escape.h"
#include "image/base/guard.h"
#include "image/base/json.h"
#include "image/base/units.h"

enum { HEX_SIZE = 2 * PACK_SHA256_SIZE + 1 };

static void to_hex(const uint8_t *digest, char text[HEX_SIZE])
{
	for (size_t i = 0; i < PACK_SHA256_SIZE; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

void shell_quote(FILE *out, const char *path)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789_./:=@%+,-";

	if (path[strspn(path, plain)] == '\0' && path[0] != '-') {
		(void)fputs(path, out);
		return;
	}
	(void)fputc('\'', out);
	for (const char *at = path; *at; ) {
		size_t length = strcspn(at, "'");

		escape_write(out, ESCAPE_TEXT, at, length);
		at += length;
		if (*at) {
			(void)fputs("'\\''", out);
			at++;
		}
	}
	(void)fputc('\'', out);
}

static const char *explain(enum format_reason reason)
{
	static const char *const words[] = {
		[FORMAT_ZERO] = "never touched, reads as zeroes",
		[FORMAT_DEVICE] = "memory of devices, not to be touched",
		[FORMAT_UNREADABLE] = "without permission to read (guards, gaps)",
		[FORMAT_FILE] = "unchanged pages of files",
		[FORMAT_SHARED] = "shared memory (--content full takes it)",
		[FORMAT_DONTDUMP] = "marked by the program not to be dumped",
		[FORMAT_EXCLUDED] = "by --exclude",
		[FORMAT_PAYLOAD] = "data of big buffers",
		[FORMAT_SWAPPED] = "in swap, without room to read it back",
		[FORMAT_KERNEL] = "the kernel's own",
		[FORMAT_DONTFORK] = "not in a snapshot (MADV_DONTFORK)",
		[FORMAT_WIPEONFORK] = "not in a snapshot (MADV_WIPEONFORK)",
		[FORMAT_CONTENT] = "not part of --content stacks",
	};

	return (size_t)reason < sizeof(words) / sizeof(*words) &&
	       words[reason] ? words[reason] : "other";
}

static void show_skipped(FILE *out, const struct live_result *result)
{
	char size[UNITS_TEXT_MAX];

	if (result->payload_kept[0]) {
		(void)fputs("  kept        the data of big buffers: ", out);
		escape_puts(out, ESCAPE_TEXT, result->payload_kept);
		(void)fputc('\n', out);
	}
	if (result->native_only[0]) {
		(void)fputs("  left out    what is not for debuggers: ", out);
		escape_puts(out, ESCAPE_TEXT, result->native_only);
		(void)fputc('\n', out);
	}
	for (unsigned int i = 1; i < FORMAT_NUM_REASONS; i++)
		if (result->skipped[i].ranges > 0)
			(void)fprintf(out, "  left out    %10s in %" PRIu64
				      " ranges: %s\n",
				      units_size(result->skipped[i].bytes, size),
				      result->skipped[i].ranges, explain(i));
}

static void show_missing(FILE *out, const struct live_result *result)
{
	char size[UNITS_TEXT_MAX];

	if (result->dropped)
		(void)fprintf(out, "  INCOMPLETE  the snapshot was given up: %s "
			      "had %s left\n", result->room.of_cgroup ?
			      "the process's memory cgroup" : "the machine",
			      units_size(result->room.left, size));
	if (result->end.zombie_left)
		(void)fprintf(out, "  NOTE        the snapshot's entry in the "
			      "process table stays until the process ends\n");
	if (result->expired)
		(void)fprintf(out, "  INCOMPLETE  the process was let go at the "
			      "limit of the pause; allow more with --max-pause\n");
	if (result->missing_bytes > 0)
		(void)fprintf(out, "  INCOMPLETE  %s could not be read and %s\n",
			      units_size(result->missing_bytes, size),
			      "reads as missing");
	if (result->swapped_bytes > 0)
		(void)fprintf(out, "  INCOMPLETE  %s stayed in swap: reading it "
			      "could exceed the process's memory limit\n",
			      units_size(result->swapped_bytes, size));
}

void dump_report_text(FILE *out, const struct dump_report *report, bool verbose)
{
	const struct live_result *result = report->result;
	char stored[UNITS_TEXT_MAX], memory[UNITS_TEXT_MAX];
	char pause[UNITS_TEXT_MAX], total[UNITS_TEXT_MAX];

	escape_puts(out, ESCAPE_TEXT, report->path);
	(void)fprintf(out, "\n  %s holding %s of memory; process %d stood still "
		      "for %s; %s in all\n",
		      units_size(result->stored, stored),
		      units_size(result->memory_bytes, memory), report->pid,
		      units_time(result->pause_ns, pause),
		      units_time(result->total_ns, total));
	show_missing(out, result);
	if (verbose)
		show_skipped(out, result);
	if (strcmp(report->path, "-") != 0) {
		(void)fputs("  next: heapscan ", out);
		shell_quote(out, report->path);
		(void)fputs(strcmp(report->content, "stacks") == 0 ?
			    " info\n" : " --top 20\n", out);
	}
}

void dump_report_line(FILE *out, const struct dump_report *report)
{
	const struct live_result *result = report->result;
	char stored[UNITS_TEXT_MAX], pause[UNITS_TEXT_MAX];

	(void)fprintf(out, "heapdump: process %d dumped, ", report->pid);
	escape_puts(out, ESCAPE_TEXT, report->reason ? report->reason :
						       report->trigger);
	(void)fputs(": ", out);
	escape_puts(out, ESCAPE_TEXT, report->path);
	(void)fprintf(out, " (%s, stood still for %s)%s\n",
		      units_size(result->stored, stored),
		      units_time(result->pause_ns, pause),
		      result->complete ? "" : ", INCOMPLETE");
}

static void json_skipped(struct json *json, const struct live_result *result)
{
	json_array(json, "skipped");
	for (unsigned int i = 1; i < FORMAT_NUM_REASONS; i++) {
		if (result->skipped[i].ranges == 0)
			continue;
		json_object(json, NULL);
		json_string(json, "reason", select_reason_word(i));
		json_u64(json, "bytes", result->skipped[i].bytes);
		json_u64(json, "ranges", result->skipped[i].ranges);
		json_end(json);
	}
	json_end(json);
}

void dump_report_json(FILE *out, const struct dump_report *report)
{
	const struct live_result *result = report->result;
	char digest[HEX_SIZE];
	struct json json;

	to_hex(result->sha256, digest);
	json_begin(&json, out, /* indent= */ false);
	json_object(&json, NULL);
	json_string(&json, "path", report->path);
	json_i64(&json, "pid", report->pid);
	json_string(&json, "script", report->script);
	json_u64(&json, "bytes", result->stored);
	json_u64(&json, "memory_bytes", result->memory_bytes);
	json_u64(&json, "image_bytes", result->image_bytes);
	json_double(&json, "pause_ms", (double)result->pause_ns / 1e6);
	json_double(&json, "total_ms", (double)result->total_ns / 1e6);
	if (result->snapshot)
		json_double(&json, "window_ms", (double)result->window_ns / 1e6);
	if (result->end.held_ns > 0)
		json_double(&json, "held_ms", (double)result->end.held_ns / 1e6);
	json_string(&json, "method", report->method);
	json_string(&json, "content", report->content);
	json_string(&json, "trigger", report->trigger);
	json_string(&json, "reason", report->reason);
	json_u64(&json, "threads", result->num_threads);
	json_bool(&json, "complete", result->complete);
	if (result->dropped)
		json_bool(&json, "dropped", true);
	json_u64(&json, "missing_bytes",
		 result->missing_bytes + result->swapped_bytes);
	json_skipped(&json, result);
	json_string(&json, "payload_kept", result->payload_kept[0] ?
		    result->payload_kept : NULL);
	if (result->native_only[0])
		json_string(&json, "native_only", result->native_only);
	json_string(&json, "sha256", result->hashed ? digest : NULL);
	json_finish(&json);
}

bool dump_report_is_audited(void)
{
	return access(_PATH_LOG, W_OK) == 0;
}

/** The user behind sudo, where the audit system knows; else NULL. */
static const char *login_uid(char text[32])
{
	CLEANUP(close_file) FILE *file = fopen("/proc/self/loginuid", "re");
	unsigned int uid;

	if (!file || fscanf(file, "%u", &uid) != 1 || uid == UINT32_MAX)
		return NULL;
	(void)snprintf(text, 32, "%u", uid);
	return text;
}

void dump_report_audit(const struct dump_report *report)
{
	const struct live_result *result = report->result;
	char digest[HEX_SIZE], login[32];
	const char *user = login_uid(login);
	CLEANUP(free_pointer) char *script = report->script ?
		escape_copy(ESCAPE_TEXT, report->script,
			    strlen(report->script)) : NULL;
	CLEANUP(free_pointer) char *path =
		escape_copy(ESCAPE_TEXT, report->path, strlen(report->path));

	to_hex(result->sha256, digest);
	openlog("heapdump", LOG_PID, LOG_AUTHPRIV);
	syslog(LOG_AUTHPRIV | LOG_NOTICE,
	       "uid %u%s%s dumped process %d (%s) of uid %u: trigger=%s "
	       "content=%s bytes=%" PRIu64 " sha256=%s path=%s",
	       getuid(), user ? " login " : "", user ? user : "", report->pid,
	       script ? script : "?", report->uid, report->trigger,
	       report->content, result->stored, result->hashed ? digest : "none",
	       path ? path : "?");
	closelog();
}

/* --- dry run ------------------------------------------------------------------ */

void dry_report_text(FILE *out, const struct dry_report *report)
{
	const struct live_estimate *estimate = report->estimate;
	char text[UNITS_TEXT_MAX], limit[UNITS_TEXT_MAX];

	(void)fprintf(out, "process %d", report->pid);
	if (report->script) {
		(void)fputs(" (", out);
		escape_puts(out, ESCAPE_TEXT, report->script);
		(void)fputc(')', out);
	}
	(void)fputs(": may be read; nothing was stopped\n", out);
	(void)fprintf(out, "  method     %s%s", report->method,
		      report->refusal ? ": WOULD BE REFUSED: " : "");
	if (report->refusal)
		escape_puts(out, ESCAPE_TEXT, report->refusal);
	(void)fprintf(out, "\n  memory     %s to copy (content %s)\n",
		      units_size(estimate->read_bytes, text), report->content);
	(void)fprintf(out, "  file       about %s, ",
		      units_size(estimate->stored_bytes, text));
	escape_puts(out, ESCAPE_TEXT, report->path);
	(void)fprintf(out, "\n  pause      about %s with %u workers; limit %s%s\n",
		      units_time(estimate->pause_ns, text), estimate->workers,
		      units_time(report->max_pause_ns, limit),
		      report->pause_fits ? "" : ": WOULD BE REFUSED");
	if (report->free_bytes != UINT64_MAX)
		(void)fprintf(out, "  space      %s free%s\n",
			      units_size(report->free_bytes, text),
			      report->space_fits ? "" : ": NOT ENOUGH");
	if (report->headroom != UINT64_MAX)
		(void)fprintf(out, "  headroom   %s below the memory limit of "
			      "its cgroup\n", units_size(report->headroom, text));
	if (estimate->swapped_bytes > 0)
		(void)fprintf(out, "  swap       %s would be left out\n",
			      units_size(estimate->swapped_bytes, text));
}

void dry_report_json(FILE *out, const struct dry_report *report)
{
	const struct live_estimate *estimate = report->estimate;
	struct json json;

	json_begin(&json, out, /* indent= */ false);
	json_object(&json, NULL);
	json_bool(&json, "dry_run", true);
	json_i64(&json, "pid", report->pid);
	json_string(&json, "script", report->script);
	json_string(&json, "path", report->path);
	json_u64(&json, "bytes", estimate->stored_bytes);
	json_u64(&json, "memory_bytes", estimate->read_bytes);
	json_double(&json, "pause_ms", (double)estimate->pause_ns / 1e6);
	json_double(&json, "max_pause_ms", (double)report->max_pause_ns / 1e6);
	json_string(&json, "method", report->method);
	json_string(&json, "content", report->content);
	json_bool(&json, "method_fits", !report->refusal);
	json_string(&json, "refusal", report->refusal);
	json_bool(&json, "pause_fits", report->pause_fits);
	json_bool(&json, "space_fits", report->space_fits);
	if (report->free_bytes != UINT64_MAX)
		json_u64(&json, "free_bytes", report->free_bytes);
	if (report->headroom != UINT64_MAX)
		json_u64(&json, "headroom_bytes", report->headroom);
	json_finish(&json);
}

/* --- progress ------------------------------------------------------------------- */

void progress_line_show(void *context, const struct live_progress *progress)
{
	struct progress_line *line = context;
	char done[UNITS_TEXT_MAX], total[UNITS_TEXT_MAX];
	char stored[UNITS_TEXT_MAX];

	if (progress->total == 0)
		return;
	(void)fprintf(line->out, "\r\033[K%d: %s of %s (%.0f %%), %s written%s",
		      line->pid, units_size(progress->done, done),
		      units_size(progress->total, total),
		      100.0 * (double)progress->done / (double)progress->total,
		      units_size(progress->stored, stored),
		      progress->frozen ? ", stopped" : ", running again");
	(void)fflush(line->out);
	line->shown = true;
}

void progress_line_clear(struct progress_line *line)
{
	if (!line->shown)
		return;
	(void)fputs("\r\033[K", line->out);
	(void)fflush(line->out);
	line->shown = false;
}
