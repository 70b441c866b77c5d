/*
 * From a live process to the geometry of its core; see plan.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/plan.h"

#include <elf.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/workers.h"
#include "image/live/pagemap.h"
#include "image/live/process_notes.h"

/* Reading swapped pages brings them back on the target's account. */
static const uint64_t SWAP_HEADROOM = UINT64_C(64) << 20;

static void close_pagemap(struct pagemap **pagemap)
{
	pagemap_close(*pagemap);
}

/** Whether the target's cgroup has room for all that is in swap. */
static bool swap_fits(const struct procmaps *maps, pid_t pid)
{
	struct procinfo_cgroup cgroup;
	uint64_t swapped = 0;

	for (size_t i = 0; i < maps->count; i++)
		swapped += maps->items[i].swapped;
	if (swapped == 0)
		return true;
	procinfo_cgroup(pid, &cgroup);
	return cgroup.limit == UINT64_MAX || cgroup.current == 0 ||
	       (cgroup.current < cgroup.limit &&
		swapped + SWAP_HEADROOM < cgroup.limit - cgroup.current);
}

struct error *plan_select(struct plan *plan, const struct target *target,
			  const struct live_options *options)
{
	CLEANUP(close_pagemap) struct pagemap *pagemap = NULL;
	struct select_options select = {
		.content = options->content,
		.rules = options->rules,
		.process_fd = target->proc_fd,
	};
	struct error *err;

	plan->page_size = select.page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	err = procmaps_read(target->pid, &plan->maps);
	if (!err && plan->maps.count == 0)
		err = error_new(ERROR_NOT_FOUND, "process %d has no memory: it "
				"has ended", target->pid);
	if (!err)
		err = pagemap_open(target->pid, /* slow= */ false, &pagemap);
	if (err)
		return err;
	select.read_swap = swap_fits(&plan->maps, target->pid);
	return select_ranges(&plan->maps, pagemap, &select, &plan->selection);
}

static const char *content_word(enum select_content content)
{
	return content == SELECT_FULL ? "full" : "heap";
}

static struct error *make_notes(struct plan *plan, const struct target *target,
				const struct live_options *options,
				const struct freeze *freeze)
{
	CLEANUP(free_pointer) uint8_t *data = NULL;
	struct process_notes notes = {
		.maps = &plan->maps,
		.selection = &plan->selection,
		.page_size = plan->page_size,
		.compressed = !options->no_compress,
		.no_cmdline = options->no_cmdline,
		.method = "stop",
		.content = content_word(options->content),
		.trigger = options->trigger ? options->trigger : "request",
		.extra = options->extra,
		.extra_size = options->extra_size,
	};
	struct timespec now;
	struct procinfo info;
	size_t size;
	struct error *err = procinfo_read(target->pid, &info);

	if (err)
		return err;
	notes.info = &info;
	notes.threads = freeze_threads(freeze, &notes.num_threads);
	plan->num_threads = notes.num_threads;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	notes.captured_at_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	err = process_notes_make(&notes, &data, &size);
	if (!err)
		err = corewriter_set_notes(plan->writer, data, size);
	return err;
}

struct error *plan_layout(struct plan *plan, const struct target *target,
			  const struct live_options *options,
			  const struct freeze *freeze)
{
#if defined(__x86_64__)
	uint16_t machine = EM_X86_64;
#else
	uint16_t machine = EM_AARCH64;
#endif
	struct error *err = corewriter_create(machine, plan->page_size,
					      &plan->writer);

	if (!err)
		err = make_notes(plan, target, options, freeze);
	if (!err)
		err = select_segments(&plan->selection, &plan->maps,
				      plan->writer);
	return err ? err : corewriter_plan(plan->writer);
}

/**
 * Segments and ranges are both in address order; a segment may hold ranges
 * that are known to be zero, which are not read.
 */
struct error *plan_copy(const struct plan *plan, struct copy *copy)
{
	const struct core_segment *segments = corewriter_segments(plan->writer);
	size_t count = corewriter_num_segments(plan->writer), at = 0;

	for (size_t i = 0; i < plan->selection.count; i++) {
		const struct select_range *range = &plan->selection.ranges[i];
		struct error *err;

		if (range->reason != FORMAT_CAPTURED || range->known_zero)
			continue;
		while (at < count && segments[at].end <= range->start)
			at++;
		if (at == count)
			break;
		err = copy_add(copy, segments[at].offset + range->start -
					     segments[at].start,
			       range->start, range->end - range->start);
		if (err)
			return err;
	}
	return NULL;
}

void plan_deinit(struct plan *plan)
{
	procmaps_deinit(&plan->maps);
	selection_deinit(&plan->selection);
	corewriter_destroy(plan->writer);
	*plan = (struct plan){ 0 };
}

unsigned int live_workers(const struct live_options *options)
{
	unsigned int workers = options->workers;

	if (workers == 0) {
		workers = workers_available();
		if (workers > LIVE_WORKERS_MAX)
			workers = LIVE_WORKERS_MAX;
	}
	return workers > PACK_WORKERS_MAX ? PACK_WORKERS_MAX : workers;
}
