/*
 * What /proc says of a process, kept for when it is gone; see lastseen.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/lastseen.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "image/base/guard.h"
#include "image/live/process_notes.h"

static struct error *read_threads(pid_t pid, struct last_seen *seen)
{
	CLEANUP(free_pointer) pid_t *tids = NULL;
	struct error *err;
	size_t count;

	err = procinfo_threads(pid, &tids, &count);
	if (err)
		return err;
	seen->threads = calloc(count + 1, sizeof(*seen->threads));
	if (!seen->threads)
		return error_no_memory();
	for (size_t i = 0; i < count; i++) {
		struct procinfo info = { 0 };
		struct format_thread *thread =
			&seen->threads[seen->num_threads];

		err = procinfo_read_thread(pid, tids[i], &info);
		if (err) {
			error_free(err);
			continue;
		}
		*thread = (struct format_thread){
			.tid = (uint32_t)info.inside_pid,
			.host_tid = (uint32_t)tids[i],
			.state = (uint32_t)(unsigned char)info.state,
		};
		memcpy(thread->name, info.name, sizeof(thread->name));
		seen->num_threads++;
	}
	return NULL;
}

/** Only our own lack of memory is an error; the process may be gone. */
static struct error *forgive(struct error *err)
{
	if (!err || err->kind == ERROR_NO_MEMORY)
		return err;
	error_free(err);
	return NULL;
}

struct error *last_seen_read(pid_t pid, const struct live_options *options,
			     const char *method, struct last_seen *ret)
{
	struct last_seen seen = { 0 };
	struct process_notes notes = {
		.no_cmdline = options->no_cmdline,
		.environ = options->environ,
		.method = method,
		.content = select_content_word(options->content),
		.trigger = options->trigger ? options->trigger : "request",
		.extra = options->extra,
		.extra_size = options->extra_size,
		.info = &seen.info,
		.memory_pid = pid,
	};
	struct timespec now;
	struct error *err = forgive(procinfo_read(pid, &seen.info));

	if (!err)
		err = forgive(procmaps_read(pid, &seen.maps));
	if (!err)
		err = forgive(read_threads(pid, &seen));
	if (seen.info.pid == 0)
		seen.info.pid = seen.info.inside_pid = pid;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	notes.captured_at_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	if (!err)
		err = process_facts_make(&notes, &seen.facts, &seen.facts_size);
	if (err) {
		last_seen_deinit(&seen);
		return err;
	}
	*ret = seen;
	return NULL;
}

void last_seen_deinit(struct last_seen *seen)
{
	procmaps_deinit(&seen->maps);
	free(seen->threads);
	free(seen->facts);
	*seen = (struct last_seen){ 0 };
}
