/*
 * Dumps a live process into an open file; see live.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/live.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/tempfile.h"
#include "image/base/units.h"
#include "image/live/brief.h"
#include "image/live/pace.h"
#include "image/live/plan.h"
#include "image/live/process_notes.h"

/* How often memory and signals to us are looked after. */
enum { WAIT_MS = 20 };

/* For a copy at once, on a busy machine where nobody is served first. */
static const uint64_t BRIEF_PATIENCE_NS = 200000000;

/* Kept free beyond the estimate, which is one. */
static const uint64_t SPACE_MARGIN = UINT64_C(16) << 20;

/** One dump in progress. */
struct run {
	const struct target *target;
	const struct live_options *options;
	struct freeze *freeze;
	struct plan plan;
	struct copy *copy;
	struct pack *pack;
	const uint8_t *header;	/* of the plan's core */
	size_t header_size;
	uint64_t began_ns;
	bool brief;		/* copied at once, instead of a snapshot */
	uint64_t in_vain_ns;	/* it stood still for what came to nothing */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)now.tv_nsec;
}

static bool still_frozen(const void *context)
{
	return freeze_holds(context);
}

/** The workers' source: the header's bytes, then memory. */
static bool fill(void *context, uint64_t offset, uint8_t *buffer, size_t size)
{
	struct run *run = context;
	bool any = copy_read(run->copy, offset, buffer, size);
	size_t left;

	if (offset >= run->header_size)
		return any;
	left = run->header_size - offset;
	memcpy(buffer, run->header + offset, left < size ? left : size);
	return true;
}

/** Whether it is a snapshot that is read. */
static bool is_snapshot(const struct run *run)
{
	return run->options->snapshot && !run->brief;
}

/** A copy at once is given up where it takes far longer than the fork. */
static uint64_t pause_limit(const struct run *run)
{
	uint64_t limit = run->options->max_pause_ns ?
		run->options->max_pause_ns : LIVE_MAX_PAUSE_NS;
	uint64_t brief = 2 * live_fork_ns(&run->target->info, /* huge= */ 0) +
			 BRIEF_PATIENCE_NS;

	return run->brief && brief < limit ? brief : limit;
}

static struct error *start_freeze(struct run *run)
{
	const struct live_options *options = run->options;
	struct freeze_options freeze = {
		.snapshot = is_snapshot(run),
		.max_ns = pause_limit(run),
		.assume_fork_allowed = options->assume_fork_allowed,
		// Of all others it shows in /proc: see target_allows().
		.ask = !options->force && run->target->info.uid == 0,
	};

	if (options->held)
		return freeze_adopt(run->target, options->held,
				    options->max_pause_ns, &run->freeze);
	return freeze_start(run->target, &freeze, &run->freeze);
}

/** Is what was expected to be little? */
static struct error *check_brief(const struct run *run)
{
	const struct plan *plan = &run->plan;

	return !run->brief || (plan->selection.bytes_read <= BRIEF_BYTES_MAX &&
			       freeze_info(run->freeze)->swap == 0) ?
		NULL : error_new(ERROR_LIMIT, "more is to be copied than was "
				 "expected");
}

/** Freeze it, and find out what is to be copied. */
static struct error *prepare(struct run *run)
{
	struct copy_options options = {
		.snapshot = run->options->snapshot,
		.holds = still_frozen,
		.lost_errno = is_snapshot(run) ? ENOMEM : ETIMEDOUT,
	};
	struct plan_source source = { .target = run->target };
	struct error *err;

	run->plan.snapmaps.itself = run->brief;
	// Not while it stands still.
	if (is_snapshot(run))
		snapmaps_look(&run->plan.snapmaps, run->target->pid);
	err = start_freeze(run);
	source.freeze = run->freeze;
	if (!err)
		err = plan_select(&run->plan, &source, run->options,
				  still_frozen);
	if (!err)
		err = check_brief(run);
	if (!err)
		err = plan_layout(&run->plan, run->options, run->freeze);
	if (err)
		return err;
	options.pid = freeze_memory_pid(run->freeze);
	options.page_size = run->plan.page_size;
	options.context = run->freeze;
	err = copy_create(&options, &run->copy);
	if (!err)
		err = plan_copy(&run->plan, run->freeze, run->copy);
	if (!err)
		plan_discard(&run->plan, run->freeze);
	run->header = corewriter_header(run->plan.writer, &run->header_size);
	return err;
}

static void release(struct run *run, struct freeze_end *ret)
{
	copy_destroy(run->copy);
	plan_deinit(&run->plan);
	freeze_destroy(run->freeze, ret);
	run->copy = NULL;
	run->freeze = NULL;
}

/** Copy all at once; false: nothing came of it, and the process runs on. */
static bool copy_at_once(struct run *run)
{
	struct pace usual = pace_hurry();
	struct error *err;
	bool done;

	run->brief = true;
	err = prepare(run);
	if (!err)
		err = copy_gather(run->copy, live_workers(run->options));
	done = !err && freeze_holds(run->freeze);
	error_free(err);
	if (run->freeze)
		freeze_thaw(run->freeze);
	pace_slow_down(&usual);
	if (done)
		return true;
	run->brief = false;
	if (run->freeze)
		run->in_vain_ns = freeze_pause(run->freeze);
	release(run, NULL);
	return false;
}

/** By a copy at once where that is expected to do, else as options say. */
static struct error *start(struct run *run)
{
	bool brief = run->options->snapshot && !run->options->held &&
		     brief_expected(run->target, run->options);

	return brief && copy_at_once(run) ? NULL : prepare(run);
}

static void report(const struct run *run, const struct pack_progress *packed)
{
	struct live_progress progress = {
		.done = copy_done(run->copy),
		.total = copy_total(run->copy),
		.stored = packed->stored,
		.frozen = !is_snapshot(run) && freeze_holds(run->freeze),
	};

	if (run->options->progress)
		run->options->progress(run->options->progress_context,
				       &progress);
}

/** Wait for the packing; let the target go as soon as all is read. */
static struct error *transfer(struct run *run, int fd)
{
	struct pack_options options = {
		.fd = fd,
		.size = corewriter_size(run->plan.writer),
		.compress = !run->options->no_compress,
		.level = run->options->level ? run->options->level : LIVE_LEVEL,
		.workers = live_workers(run->options),
		.own_file = run->options->own_file,
		.step_back = run->options->snapshot,
		.hash = run->options->hash,
		.fill = fill,
		.context = run,
	};
	struct pack_progress progress;
	struct error *err = pack_start(&options, &run->pack);
	bool done = false;

	while (!err && !done) {
		done = pack_wait(run->pack, WAIT_MS, &progress);
		if (progress.all_filled)
			freeze_thaw(run->freeze);
		report(run, &progress);
		if (run->options->stop && atomic_load(run->options->stop))
			err = error_new(ERROR_INTERRUPTED, "interrupted");
		// What happens to a snapshot leaves what was read of it.
		else if (copy_target_gone(run->copy) && !run->options->snapshot)
			err = error_os(ESRCH, "reading process %d",
				       run->target->pid);
	}
	return err;
}

static void summarize(const struct run *run, struct live_result *result)
{
	const struct selection *selection = &run->plan.selection;

	for (size_t i = 0; i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];
		struct live_skipped *skipped = &result->skipped[range->reason];

		skipped->bytes += range->end - range->start;
		skipped->ranges++;
	}
	result->swapped_bytes = selection->bytes[FORMAT_SWAPPED];
	result->num_threads = run->plan.num_threads;
	memcpy(result->payload_kept, run->plan.payload_kept,
	       sizeof(result->payload_kept));
	memcpy(result->native_only, run->plan.native_only,
	       sizeof(result->native_only));
	result->memory_bytes = selection->bytes_read;
	result->image_bytes = corewriter_size(run->plan.writer);
	result->pause_ns = freeze_pause(run->freeze) + run->in_vain_ns;
	// What is copied at once is whole, or none of it is taken.
	result->expired = !run->brief && freeze_expired(run->freeze);
	result->snapshot = is_snapshot(run);
	result->window_ns = freeze_window(run->freeze);
	result->dropped = freeze_dropped(run->freeze, &result->room);
}

static struct error *finish(struct run *run, struct live_result *result)
{
	CLEANUP(free_pointer) uint8_t *data = NULL;
	struct final_notes notes = { 0 };
	struct pack_result packed;
	struct error *err;
	size_t size;

	summarize(run, result);
	notes.missing = copy_missing(run->copy, &notes.num_missing);
	for (size_t i = 0; i < notes.num_missing; i++)
		result->missing_bytes += notes.missing[i].end -
					 notes.missing[i].start;
	result->complete = notes.num_missing == 0 && result->swapped_bytes == 0;
	result->total_ns = now_ns() - run->began_ns;
	notes.complete = result->complete;
	notes.pause_ns = result->pause_ns;
	notes.total_ns = result->total_ns;
	notes.image_bytes = result->image_bytes;
	err = final_notes_make(&notes, &data, &size);
	if (!err)
		err = pack_finish(run->pack, data, size, &packed);
	if (err)
		return err;
	result->stored = packed.stored;
	result->hashed = packed.hashed;
	memcpy(result->sha256, packed.sha256, sizeof(result->sha256));
	return NULL;
}

/** Whatever failed first: that the process is gone explains it. */
static struct error *explain(const struct run *run, struct error *err)
{
	const struct target *target = run->target;

	if (!err || err->kind == ERROR_INTERRUPTED)
		return err;
	if (run->freeze && is_snapshot(run) && err->kind == ERROR_OS &&
	    (err->os_errno == ESRCH || err->os_errno == ENOENT)) {
		error_free(err);
		return error_new(ERROR_OS, "the snapshot of process %d was "
				 "killed before it was read (for lack of "
				 "memory?)", target->pid);
	}
	if (target_alive(target) && err->kind != ERROR_NOT_FOUND)
		return err;
	error_free(err);
	return error_new(ERROR_NOT_FOUND, "process %d ended while it was being "
			 "dumped", target->pid);
}

struct error *live_dump(const struct target *target,
			const struct live_options *options, int fd,
			struct live_result *ret)
{
	struct run run = {
		.target = target,
		.options = options,
		.began_ns = now_ns(),
	};
	struct live_result result = { 0 };
	struct error *err = start(&run);

	if (!err)
		err = transfer(&run, fd);
	err = explain(&run, err);
	// First of all, whatever happened: the target runs again.
	if (run.freeze)
		freeze_thaw(run.freeze);
	if (!err)
		err = finish(&run, &result);
	pack_destroy(run.pack);
	release(&run, &result.end);
	if (err)
		return err;
	*ret = result;
	return NULL;
}

/* --- for reading at once ----------------------------------------------------- */

struct error *live_check_method(const struct target *target,
				const struct live_options *options)
{
	struct error *err = options->force ? NULL : target_allows(target);

	return err || !options->snapshot ? err : room_check(&target->info);
}

struct error *live_check_pause(const struct live_estimate *estimate,
			       const struct live_options *options)
{
	uint64_t limit = options->max_pause_ns ? options->max_pause_ns :
						 LIVE_MAX_PAUSE_NS;
	char pause[UNITS_TEXT_MAX], allowed[UNITS_TEXT_MAX];
	char size[UNITS_TEXT_MAX];

	if (estimate->pause_ns <= limit)
		return NULL;
	if (options->snapshot)
		return error_new(ERROR_LIMIT,
				 "making a snapshot would stop the process for "
				 "about %s, and %s is allowed",
				 units_time(estimate->pause_ns, pause),
				 units_time(limit, allowed));
	return error_new(ERROR_LIMIT,
			 "copying %s would stop the process for about %s, and "
			 "%s is allowed",
			 units_size(estimate->read_bytes, size),
			 units_time(estimate->pause_ns, pause),
			 units_time(limit, allowed));
}

struct error *live_check_space(const struct live_estimate *estimate, int fd,
			       const char *folder)
{
	uint64_t needed = estimate->stored_bytes + estimate->stored_bytes / 8 +
			  SPACE_MARGIN;
	char need[UNITS_TEXT_MAX], have[UNITS_TEXT_MAX];
	struct statvfs status;
	uint64_t available;

	if (fstatvfs(fd, &status) != 0 || status.f_blocks == 0)
		return NULL;	/* a pipe, or a file system that cannot say */
	available = (uint64_t)status.f_bavail * status.f_frsize;
	if (available >= needed)
		return NULL;
	return error_new(ERROR_LIMIT, "%s has %s free and the dump needs about "
			 "%s", folder, units_size(available, have),
			 units_size(needed, need));
}

struct error *live_check(const struct target *target,
			 const struct live_options *options, int fd,
			 const char *folder)
{
	struct live_estimate estimate;
	struct error *err = live_check_method(target, options);

	if (err)
		return err;
	live_estimate_bound(target, options, &estimate);
	err = live_check_pause(&estimate, options);
	if (!err)
		err = live_check_space(&estimate, fd, folder);
	if (!err)
		return NULL;
	error_free(err);
	err = live_estimate(target, options, &estimate);
	if (!err)
		err = live_check_pause(&estimate, options);
	return err ? err : live_check_space(&estimate, fd, folder);
}

struct error *live_dump_to_fd(pid_t pid, const struct live_options *options,
			      const char *tmp_dir, int *ret_fd,
			      struct live_result *ret)
{
	const char *folder = tempfile_folder(tmp_dir);
	CLEANUP(target_close) struct target target = {
		.pidfd = -1, .proc_fd = -1,
	};
	CLEANUP(close_fd) int fd = -1;
	struct error *err;

	err = target_open(pid, &target);
	if (!err)
		err = tempfile_create(folder, &fd);
	if (!err)
		err = live_check(&target, options, fd, folder);
	if (!err)
		err = live_dump(&target, options, fd, ret);
	if (err)
		return err;
	if (lseek(fd, 0, SEEK_SET) != 0)
		return error_os(errno, "the temporary dump");
	*ret_fd = fd;
	fd = -1;
	return NULL;
}
