/*
 * What a dump would be like, by a sample of the memory; see live.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <time.h>
#include <zstd.h>

#include "image/base/guard.h"
#include "image/format.h"
#include "image/live/copy.h"
#include "image/live/plan.h"

enum {
	SAMPLE_SIZE = 1 << FORMAT_FRAME_LOG2,
	SAMPLES = 16,
	FIXED_PAUSE_MS = 10,	/* stopping threads, reading the mappings */
	FORK_MS_PER_GIB = 25,	/* of small pages */
	FORK_HUGE_MS_PER_GIB = 3,
	/* Two threads on two processors do not do twice the work of one. */
	PARALLEL_PERCENT = 85,
};

/*
 * Reading and writing without compression, bytes a second: gcore does about
 * this on disks of today, and the page cache takes it faster.
 */
static const double PLAIN_RATE = 1e9;

/* A worker's rate at level 1 where all goes badly, bytes a second. */
static const double SLOWEST_RATE = 1e8;

/* For what is taken beside the resident memory: pages of modules. */
static const uint64_t BOUND_EXTRA = UINT64_C(64) << 20;

struct sample {
	uint64_t bytes, stored;	/* before and after */
	uint64_t ns;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)now.tv_nsec;
}

static void close_context(ZSTD_CCtx **context)
{
	(void)ZSTD_freeCCtx(*context);
}

static void close_copy(struct copy **copy)
{
	copy_destroy(*copy);
}

/** Lay all that would be read end to end, as if it were one file. */
static struct error *lay_out(const struct selection *selection,
			     struct copy *copy)
{
	uint64_t offset = 0;

	for (size_t i = 0; i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];
		uint64_t size = range->end - range->start;
		struct error *err;

		if (range->reason != FORMAT_CAPTURED || range->known_zero)
			continue;
		err = copy_add(copy, offset, range->start, size);
		if (err)
			return err;
		offset += size;
	}
	return NULL;
}

static struct error *take_sample(pid_t pid, const struct plan *plan, int level,
				 struct sample *ret)
{
	size_t bound = ZSTD_compressBound(SAMPLE_SIZE);
	struct copy_options options = {
		.pid = pid,
		.page_size = plan->page_size,
	};
	CLEANUP(free_pointer) uint8_t *input = malloc(SAMPLE_SIZE);
	CLEANUP(free_pointer) uint8_t *output = malloc(bound);
	CLEANUP(close_context) ZSTD_CCtx *context = ZSTD_createCCtx();
	CLEANUP(close_copy) struct copy *copy = NULL;
	struct sample sample = { 0 };
	struct error *err = copy_create(&options, &copy);

	if (!err)
		err = lay_out(&plan->selection, copy);
	if (!err && (!input || !output || !context))
		err = error_no_memory();
	if (err)
		return err;
	for (uint64_t i = 0; i < SAMPLES; i++) {
		uint64_t total = copy_total(copy), size = SAMPLE_SIZE, began;
		uint64_t at = total / SAMPLES * i;

		if (size > total - at)
			size = total - at;
		began = now_ns();
		(void)copy_read(copy, at, input, size);
		size_t stored = ZSTD_compressCCtx(context, output, bound, input,
						  size, level);
		// The first round pays for tables that later ones find ready.
		if (i > 0 || total < SAMPLE_SIZE)
			sample.ns += now_ns() - began;
		if (i > 0 || total < SAMPLE_SIZE) {
			sample.bytes += size;
			sample.stored += ZSTD_isError(stored) ? size : stored;
		}
		if (total <= SAMPLE_SIZE)
			break;
	}
	*ret = sample;
	return NULL;
}

uint64_t live_fork_ns(const struct procinfo *info, uint64_t huge)
{
	uint64_t small = info->rss_anonymous > huge ?
		info->rss_anonymous - huge : 0;
	double ms = FIXED_PAUSE_MS +
		    FORK_MS_PER_GIB * (double)small / (1 << 30) +
		    FORK_HUGE_MS_PER_GIB * (double)huge / (1 << 30);

	return (uint64_t)(ms * 1e6);
}

void live_estimate_bound(const struct target *target,
			 const struct live_options *options,
			 struct live_estimate *ret)
{
	const struct procinfo *info = &target->info;
	unsigned int workers = live_workers(options);
	uint64_t bytes = info->rss + info->swap + BOUND_EXTRA;
	double seconds = (double)bytes / (SLOWEST_RATE * workers);

	// Higher levels are slower by orders of magnitude.
	if (options->level > LIVE_LEVEL)
		seconds *= 100;
	*ret = (struct live_estimate){
		.read_bytes = bytes,
		.image_bytes = bytes,
		.stored_bytes = bytes,
		.pause_ns = options->snapshot ? live_fork_ns(info, 0) :
						(uint64_t)(seconds * 1e9),
		.total_ns = (uint64_t)(seconds * 1e9),
		.workers = workers,
	};
}

struct error *live_estimate(const struct target *target,
			    const struct live_options *options,
			    struct live_estimate *ret)
{
	CLEANUP(plan_deinit) struct plan plan = { 0 };
	struct live_estimate estimate = { .workers = live_workers(options) };
	const struct plan_source source = { .target = target };
	uint64_t began = now_ns(), looking;
	struct sample sample;
	double seconds, rate, ratio;
	struct error *err = plan_select(&plan, &source, options, NULL);

	// The same will be done while it stands still.
	looking = now_ns() - began;
	if (!err)
		err = take_sample(target->pid, &plan,
				  options->level ? options->level : LIVE_LEVEL,
				  &sample);
	if (err)
		return err;
	estimate.read_bytes = plan.selection.bytes_read;
	estimate.image_bytes = plan.selection.bytes[FORMAT_CAPTURED];
	estimate.swapped_bytes = plan.selection.bytes[FORMAT_SWAPPED];
	ratio = sample.bytes ?
		(double)sample.stored / (double)sample.bytes : 1;
	rate = sample.ns ?
		(double)sample.bytes * 1e9 / (double)sample.ns : PLAIN_RATE;
	if (estimate.workers > 1)
		rate *= estimate.workers * PARALLEL_PERCENT / 100.0;
	if (options->no_compress) {
		ratio = 1;
		rate = PLAIN_RATE;
	}
	seconds = (double)estimate.read_bytes / rate;
	estimate.stored_bytes = (uint64_t)((double)estimate.read_bytes * ratio);
	estimate.pause_ns = (uint64_t)(seconds * 1e9) + looking +
			    FIXED_PAUSE_MS * UINT64_C(1000000);
	estimate.total_ns = estimate.pause_ns;
	if (options->snapshot)
		estimate.pause_ns = live_fork_ns(&target->info,
						 procinfo_huge(target->pid));
	*ret = estimate;
	return NULL;
}
