/*
 * heapdump --list: the Python processes there are, and whether each can be
 * dumped.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dumper/cmd_dump.h"
#include "image/base/escape.h"
#include "image/base/guard.h"
#include "image/base/json.h"
#include "image/base/units.h"
#include "image/live/procinfo.h"
#include "image/live/target.h"

struct process_row {
	struct procinfo info;
	char *script;
	uint64_t limit;		/* bytes; UINT64_MAX: none */
	struct error *refusal;	/* NULL: can be dumped */
};

static void release(struct process_row *row)
{
	free(row->script);
	error_free(row->refusal);
}

/** False where it has ended meanwhile. */
static bool describe(pid_t pid, struct process_row *ret)
{
	struct process_row row = { .limit = UINT64_MAX };
	CLEANUP(free_pointer) char *cmdline = NULL;
	struct target target = { .pidfd = -1, .proc_fd = -1 };
	struct procinfo_cgroup cgroup;
	const char *unused;
	size_t size;
	struct error *err = procinfo_read(pid, &row.info);

	if (!err)
		err = procinfo_file(pid, "cmdline", &cmdline, &size);
	if (err) {
		error_free(err);
		return false;
	}
	row.script = procinfo_script(cmdline, size, &unused);
	procinfo_cgroup(pid, &cgroup);
	row.limit = cgroup.limit;
	row.refusal = target_open(pid, &target);
	target_close(&target);
	*ret = row;
	return true;
}

static void show_text(const struct process_row *row)
{
	char rss[UNITS_TEXT_MAX], share[16] = "-";

	if (row->limit != UINT64_MAX && row->limit > 0)
		(void)snprintf(share, sizeof(share), "%.0f %%",
			       100.0 * (double)row->info.rss /
				       (double)row->limit);
	(void)printf("%8d %11s %7s  ", row->info.pid,
		     units_size(row->info.rss, rss), share);
	escape_puts(stdout, ESCAPE_TEXT, row->script ? row->script : "");
	if (row->refusal) {
		(void)fputs("\n                              no: ", stdout);
		escape_puts(stdout, ESCAPE_TEXT, row->refusal->message);
	}
	(void)putchar('\n');
}

static void show_json(const struct process_row *row)
{
	struct json json;

	json_begin(&json, stdout, /* indent= */ false);
	json_object(&json, NULL);
	json_i64(&json, "pid", row->info.pid);
	json_string(&json, "script", row->script);
	json_u64(&json, "rss", row->info.rss);
	if (row->limit != UINT64_MAX)
		json_u64(&json, "limit", row->limit);
	json_bool(&json, "can_dump", row->refusal == NULL);
	json_string(&json, "reason",
		    row->refusal ? row->refusal->message : NULL);
	json_finish(&json);
}

static int only_numbers(const struct dirent *entry)
{
	return entry->d_name[strspn(entry->d_name, "0123456789")] == '\0';
}

enum dump_exit cmd_processes(const struct dump_options *options)
{
	struct dirent **entries = NULL;
	int count = scandir("/proc", &entries, only_numbers, versionsort);
	size_t shown = 0;

	if (count < 0) {
		dump_complain(error_new(ERROR_OS, "/proc cannot be read"));
		return DUMP_EXIT_FAILED;
	}
	for (int i = 0; i < count; i++) {
		pid_t pid = (pid_t)atoi(entries[i]->d_name);
		struct process_row row;

		free(entries[i]);
		if (pid == getpid() || !procinfo_is_python(pid) ||
		    !describe(pid, &row))
			continue;
		if (!options->json && shown == 0)
			(void)puts("     pid      memory   limit  script");
		shown++;
		if (options->json)
			show_json(&row);
		else
			show_text(&row);
		release(&row);
	}
	free(entries);
	if (shown == 0 && !options->json)
		(void)puts("no Python process that this user may see");
	return DUMP_EXIT_OK;
}
