/*
 * From a live process to the geometry of its core; see plan.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/plan.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/workers.h"
#include "image/live/pagemap.h"
#include "image/live/process_notes.h"

/* Asking costs as much as a thousand pages do. */
static const uint64_t DISCARD_LEAST = UINT64_C(4) << 20;

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

static struct error *count_run(void *context, const struct page_run *run)
{
	uint64_t *resident = context;

	if (run->kind == PAGE_PRIVATE || run->kind == PAGE_FILE)
		*resident += run->end - run->start;
	return NULL;
}

/**
 * Pages of files and shared memory are not in a snapshot's page tables: how
 * much of them is resident the process itself must be asked.
 */
static struct error *count_resident(struct procmaps *maps,
				    struct pagemap *running)
{
	for (size_t i = 0; i < maps->count; i++) {
		struct procmap *map = &maps->items[i];
		uint64_t resident = 0;
		struct error *err;

		if (map->inode == 0 && !(map->flags & FORMAT_MAPPING_SHARED))
			continue;
		err = pagemap_scan(running, map->start, map->end,
				   /* tell_files= */ false, count_run,
				   &resident);
		if (err)
			return err;
		if (resident > map->resident)
			map->resident = resident;
	}
	return NULL;
}

static struct error *add_held(struct procmaps *maps, const struct freeze *freeze)
{
	size_t count;
	const struct freeze_held *held = freeze_held(freeze, &count);
	struct error *err = NULL;

	for (size_t i = 0; !err && i < count; i++) {
		struct procmap map = held[i].map;

		map.flags |= FORMAT_MAPPING_DONTFORK | PROCMAP_NOT_INHERITED |
			     (held[i].data ? PROCMAP_HELD : 0);
		err = procmaps_add(maps, &map);
	}
	return err;
}

/** What a snapshot does not tell, and the process it was made of does. */
static struct error *ask_running(struct plan *plan,
				 const struct plan_source *source,
				 struct pagemap **ret)
{
	struct error *err = pagemap_open(source->target->pid, /* slow= */ false,
					 ret);

	if (!err && !plan->snapmaps.presumed)
		err = count_resident(&plan->maps, *ret);
	if (err && err->kind == ERROR_OS) {
		// It is about to end, and its snapshot is all there is.
		pagemap_close(*ret);
		*ret = NULL;
		error_free(err);
		err = NULL;
	}
	if (!err)
		err = add_held(&plan->maps, source->freeze);
	for (size_t i = 0; !err && i < plan->maps.count; i++)
		if (plan->maps.items[i].flags & FORMAT_MAPPING_SHARED)
			plan->maps.items[i].flags |= FORMAT_MAPPING_NOT_SNAPSHOT;
	return err;
}

static pid_t memory_pid(const struct plan_source *source)
{
	return source->freeze ? freeze_memory_pid(source->freeze) :
				source->target->pid;
}

static struct error *select_memory(struct plan *plan,
				   const struct plan_source *source,
				   const struct live_options *options)
{
	CLEANUP(close_pagemap) struct pagemap *pagemap = NULL;
	CLEANUP(close_pagemap) struct pagemap *running = NULL;
	pid_t pid = memory_pid(source);
	struct select_options select = {
		.content = options->content,
		.rules = options->rules,
	};
	char path[40];
	struct error *err;

	plan->page_size = select.page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	(void)snprintf(path, sizeof(path), "/proc/%d", pid);
	CLEANUP(close_fd) int proc_fd =
		open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	select.process_fd = proc_fd;
	if (plan->maps.count == 0)
		return error_new(ERROR_NOT_FOUND, "process %d has no memory: it "
				 "has ended", pid);
	err = pagemap_open(pid, /* slow= */ false, &pagemap);
	if (!err && pid != source->target->pid)
		err = ask_running(plan, source, &running);
	if (err)
		return err;
	select.running = running;
	select.read_swap = swap_fits(&plan->maps, source->target->pid);
	return select_ranges(&plan->maps, pagemap, &select, &plan->selection);
}

/* Words in the first register set. struct user_regs_struct: rsp, fs_base; struct
 * user_pt_regs: sp follows x0 … x30. */
#if defined(__x86_64__)
enum { WORD_STACK = 19, WORD_LOCAL = 21 };
#else
enum { WORD_STACK = 31, WORD_LOCAL = -1 };
#endif

static uint64_t register_word(const struct freeze_regset *set, size_t word)
{
	uint64_t value = 0;

	if (set->data && set->size >= (word + 1) * sizeof(value))
		memcpy(&value, set->data + word * sizeof(value), sizeof(value));
	return value;
}

static struct stacks_thread thread_registers(const struct frozen_thread *thread)
{
	struct stacks_thread ret = { 0 };

	if (thread->num_regsets == 0)
		return ret;
	ret.stack = register_word(&thread->regsets[0], WORD_STACK);
	if (WORD_LOCAL >= 0)
		ret.local = register_word(&thread->regsets[0], WORD_LOCAL);
	for (size_t i = 1; WORD_LOCAL < 0 && i < thread->num_regsets; i++)
		if (thread->regsets[i].type == NT_ARM_TLS)
			ret.local = register_word(&thread->regsets[i], 0);
	return ret;
}

/** The threads' stack pointers; their number, 0 without memory for them. */
static size_t stack_pointers(const struct freeze *freeze, uint64_t **ret)
{
	size_t count = 0, found = 0;
	const struct frozen_thread *threads =
		freeze ? freeze_threads(freeze, &count) : NULL;
	uint64_t *pointers = calloc(count + 1, sizeof(*pointers));

	for (size_t i = 0; pointers && i < count; i++) {
		uint64_t pointer = thread_registers(&threads[i]).stack;

		if (pointer != 0)
			pointers[found++] = pointer;
	}
	*ret = pointers;
	return found;
}

static struct error *leave_payload_out(struct plan *plan,
				       const struct plan_source *source,
				       const struct live_options *options,
				       struct standing *standing)
{
	CLEANUP(payload_deinit) struct payload payload = { 0 };
	CLEANUP(free_pointer) uint64_t *pointers = NULL;
	struct payload_options find = {
		.models = options->models,
		.rules = options->rules,
		.workers = live_workers(options),
	};
	struct error *err;

	find.num_stack_pointers = stack_pointers(source->freeze, &pointers);
	find.stack_pointers = pointers;
	err = payload_find(standing, &find, &payload);
	(void)snprintf(plan->payload_kept, sizeof(plan->payload_kept), "%s",
		       payload.kept_because);
	if (!err && payload.count > 0)
		err = selection_leave_out(&plan->selection, payload.spans,
					  payload.count, FORMAT_PAYLOAD);
	return err;
}

/** Of a process that runs the threads are not known; they are small. */
static struct error *keep_stacks_only(struct plan *plan,
				      const struct plan_source *source,
				      const struct live_options *options,
				      struct standing *standing)
{
	CLEANUP(stacks_deinit) struct stacks stacks = { 0 };
	size_t count = 0;
	const struct frozen_thread *frozen =
		source->freeze ? freeze_threads(source->freeze, &count) : NULL;
	CLEANUP(free_pointer) struct stacks_thread *threads =
		calloc(count + 1, sizeof(*threads));
	const struct stacks_options find = {
		.models = options->models,
		.rules = options->rules,
		.threads = threads,
		.num_threads = count,
		.page_size = plan->page_size,
	};
	struct error *err;

	if (!threads)
		return error_no_memory();
	for (size_t i = 0; i < count; i++)
		threads[i] = thread_registers(&frozen[i]);
	err = stacks_find(standing, &find, &stacks);
	if (err)
		return err;
	(void)snprintf(plan->native_only, sizeof(plan->native_only), "%s",
		       stacks.native_only);
	return selection_keep_only(&plan->selection, stacks.spans, stacks.count,
				   FORMAT_CONTENT);
}

/** Leave out payload, or all but the threads, where options ask for it. */
static struct error *select_content(struct plan *plan,
				    const struct plan_source *source,
				    const struct live_options *options,
				    bool (*holds)(const void *context))
{
	CLEANUP(standing_deinit) struct standing standing = { .peek.mem_fd = -1 };
	struct standing_options memory = {
		.pid = memory_pid(source),
		.snapshot = source->freeze && options->snapshot,
		.maps = &plan->maps,
		.selection = &plan->selection,
		.holds = holds,
		.context = source->freeze,
		.may_run = !source->freeze,
	};
	struct error *err;

	if (options->content == SELECT_FULL ||
	    (options->content == SELECT_HEAP && !options->models))
		return NULL;
	err = standing_init(&standing, &memory);
	if (err)
		return err;
	return options->content == SELECT_HEAP ?
		leave_payload_out(plan, source, options, &standing) :
		keep_stacks_only(plan, source, options, &standing);
}

struct error *plan_select(struct plan *plan, const struct plan_source *source,
			  const struct live_options *options,
			  bool (*holds)(const void *context))
{
	pid_t pid = memory_pid(source);
	bool same = true;
	struct error *err = source->freeze && options->snapshot ?
		snapmaps_presume(&plan->snapmaps, pid, &plan->maps) :
		procmaps_read(pid, &plan->maps);

	if (!err)
		err = select_memory(plan, source, options);
	if (!err)
		err = select_content(plan, source, options, holds);
	if (!err)
		err = snapmaps_confirm(&plan->snapmaps, &plan->maps, &same);
	if (err || same)
		return err;
	selection_deinit(&plan->selection);
	err = select_memory(plan, source, options);
	return err ? err : select_content(plan, source, options, holds);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	return clock_gettime(clock, &now) == 0 ?
		(int64_t)now.tv_sec * 1000000000 + now.tv_nsec : 0;
}

static struct error *make_notes(struct plan *plan,
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
		.environ = options->environ,
		.info = freeze_info(freeze),
		// A snapshot shares every page with the process: its own list
		// would not tell.
		.sharing = freeze_is_snapshot(freeze) ?
			&plan->snapmaps.before.sharing : &plan->maps.sharing,
		.memory_pid = freeze_memory_pid(freeze),
		.method = options->snapshot ? "snapshot" : "stop",
		.content = select_content_word(options->content),
		.payload_kept = plan->payload_kept[0] ? plan->payload_kept :
							NULL,
		.trigger = options->trigger ? options->trigger : "request",
		.reason = options->reason,
		.extra = options->extra,
		.extra_size = options->extra_size,
	};
	struct error *err;
	size_t size;

	notes.threads = freeze_threads(freeze, &notes.num_threads);
	plan->num_threads = notes.num_threads;
	notes.captured_at_ns = clock_ns(CLOCK_REALTIME);
	notes.captured_monotonic_ns = clock_ns(CLOCK_MONOTONIC);
	err = process_notes_make(&notes, &data, &size);
	if (!err)
		err = corewriter_set_notes(plan->writer, data, size);
	return err;
}

struct error *plan_layout(struct plan *plan, const struct live_options *options,
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
		err = make_notes(plan, options, freeze);
	if (!err)
		err = select_segments(&plan->selection, &plan->maps,
				      /* rearrange= */ true, plan->writer);
	return err ? err : corewriter_plan(plan->writer);
}

/** The data of a mapping that the snapshot has not. */
static const uint8_t *held_data(const struct freeze *freeze, uint64_t address)
{
	size_t count;
	const struct freeze_held *held = freeze_held(freeze, &count);

	for (size_t i = 0; i < count; i++)
		if (address - held[i].map.start <
		    held[i].map.end - held[i].map.start)
			return held[i].data + (address - held[i].map.start);
	return NULL;
}

/**
 * Segments and ranges are both in address order; a segment may hold ranges
 * that are known to be zero, which are not read.
 */
struct error *plan_copy(const struct plan *plan, const struct freeze *freeze,
			struct copy *copy)
{
	const struct core_segment *segments = corewriter_segments(plan->writer);
	size_t count = corewriter_num_segments(plan->writer), at = 0;

	for (size_t i = 0; i < plan->selection.count; i++) {
		const struct select_range *range = &plan->selection.ranges[i];
		const struct procmap *map = &plan->maps.items[range->mapping];
		uint64_t size = range->end - range->start, offset;
		struct error *err;

		if (range->reason != FORMAT_CAPTURED || range->known_zero)
			continue;
		while (at < count && segments[at].end <= range->start)
			at++;
		if (at == count)
			break;
		offset = segments[at].offset + range->start - segments[at].start;
		err = map->flags & PROCMAP_HELD ?
			copy_add_held(copy, offset, range->start,
				      held_data(freeze, range->start), size) :
			copy_add(copy, offset, range->start, size);
		if (err)
			return err;
	}
	copy_arrange(copy);
	return NULL;
}

void plan_discard(const struct plan *plan, struct freeze *freeze)
{
	const struct selection *selection = &plan->selection;
	CLEANUP(free_pointer) struct select_span *spans =
		calloc(selection->count + 1, sizeof(*spans));
	size_t count = 0;

	for (size_t i = 0; spans && i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];
		const struct procmap *map = &plan->maps.items[range->mapping];

		if ((range->reason != FORMAT_PAYLOAD &&
		     range->reason != FORMAT_CONTENT) ||
		    (map->flags & FORMAT_MAPPING_SHARED) ||
		    range->end - range->start < DISCARD_LEAST)
			continue;
		spans[count++] = (struct select_span){ range->start,
						       range->end };
	}
	if (spans)
		freeze_discard(freeze, spans, count);
}

void plan_deinit(struct plan *plan)
{
	snapmaps_deinit(&plan->snapmaps);
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
