/*
 * `torch-snapshot`: what torch.cuda.memory._snapshot() would have returned.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/allocator/allocator.h"
#include "analyzer/cmd.h"
#include "analyzer/show/scan_progress.h"
#include "analyzer/tensors/torchframes.h"
#include "analyzer/tensors/torchversion.h"
#include "cudaheap/torchsnapshot.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum {
	TOTAL_SEGMENTS, TOTAL_BLOCKS, TOTAL_EVENTS, TOTAL_ANNOTATIONS,
	TOTAL_RESERVED, TOTAL_ALLOCATED, TOTAL_UNREAD,
	NUM_TOTALS
};

/* For --fail-if: the answer itself is no table. */
static const struct column snapshot_totals[NUM_TOTALS] = {
	[TOTAL_SEGMENTS] = { .key = "segments", .unit = UNIT_COUNT,
		.about = "in the file" },
	[TOTAL_BLOCKS] = { .key = "blocks", .unit = UNIT_COUNT,
		.about = "in them" },
	[TOTAL_EVENTS] = { .key = "events", .unit = UNIT_COUNT,
		.about = "of the recorded past" },
	[TOTAL_ANNOTATIONS] = { .key = "annotations", .unit = UNIT_COUNT,
		.about = "that the program made" },
	[TOTAL_RESERVED] = { .key = "reserved", .unit = UNIT_BYTES,
		.about = "of all segments" },
	[TOTAL_ALLOCATED] = { .key = "allocated", .unit = UNIT_BYTES,
		.about = "of the blocks that are allocated" },
	[TOTAL_UNREAD] = { .key = "unread", .unit = UNIT_COUNT,
		.about = "events and annotations that cannot be read" },
};

static struct error *run(struct scan *scan);

const struct view cmd_torchsnapshot_view = {
	.name = "torch-snapshot",
	.bit = VIEW_TORCH_SNAPSHOT,
	.about = "the pickle that torch.cuda.memory._snapshot() would return",
	.totals = snapshot_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.private_file = true,
	.remark =
"Written to -o FILE, with the keys of the release of PyTorch that the process has:\n"
"for pickle.load(), for PyTorch's viewer of memory (torch/cuda/_memory_viz.py and\n"
"its page) and for Mosaic. Segments and blocks need no preparation; the past\n"
"(device_traces) and who asked (frames) are there where the program had called\n"
"torch.cuda.memory._record_memory_history(). Of a dump that is damaged or cut the\n"
"file has what could be read, and says so under a key of its own, \"heapscan\".\n"
"Names of functions and files and texts that the program recorded are in it,\n"
"whether --values is given or not.\n",
};

/** Why there is nothing to write; NULL: there is. */
static struct error *why_none(const struct caching_allocator *allocator)
{
	switch (allocator->kind) {
	case CACHING_NATIVE:
		return NULL;
	case CACHING_ABSENT:
		return error_new(ERROR_NOT_FOUND, "the process has no PyTorch "
				 "with an allocator of GPU memory");
	case CACHING_UNKNOWN:
		return error_new(ERROR_NOT_FOUND, "PyTorch's allocator of GPU "
				 "memory is not to be found in the dump");
	case CACHING_ASYNC:
	case CACHING_PLUGGABLE:
	case CACHING_OTHER:
		break;
	}
	return error_new(ERROR_UNSUPPORTED, "GPU memory is allocated by %s, of "
			 "which PyTorch makes no snapshot either",
			 allocator->class_name[0] ? allocator->class_name :
			 "another allocator than PyTorch's own");
}

static struct error *check_options(const struct scan *scan)
{
	if (scan->options->format != RENDER_TEXT)
		return error_new(ERROR_USAGE, "torch-snapshot writes a pickle: "
				 "--format does not apply to it");
	if (!scan->options->output)
		return error_new(ERROR_USAGE, "torch-snapshot needs -o FILE to "
				 "write to ('-': standard output)");
	if (scan->output->terminal)
		return error_new(ERROR_USAGE, "a pickle is nothing for a "
				 "terminal: give -o a file");
	return NULL;
}

/** What the file has, for who waits for it. */
static void say(const struct scan *scan, const char *version,
		const struct torch_snapshot_counts *counts)
{
	char segments[UNITS_TEXT_MAX], blocks[UNITS_TEXT_MAX];
	char events[UNITS_TEXT_MAX];

	scan_remark(scan, "a snapshot as of PyTorch %s: %s segments, %s blocks, "
		    "%s events%s", *version ? version : "(version not found)",
		    units_count(counts->segments, segments),
		    units_count(counts->blocks, blocks),
		    units_count(counts->events, events),
		    counts->recorded ? "" : "; the program had recorded no "
					    "past and no stacks");
	if (counts->clock_unknown)
		scan_remark(scan, "how the clock of its events ran is not in "
			    "the dump: their time_us are counts of cycles");
	if (counts->unread)
		scan_remark(scan, "%s events or annotations cannot be read, and "
			    "are left out", units_count(counts->unread, events));
	if (counts->partial)
		scan_remark(scan, "the file is partial, and says so under the "
			    "key 'heapscan'");
}

static void gate(struct scan *scan, const struct caching_allocator *allocator,
		 const struct torch_snapshot_counts *counts)
{
	struct cell cells[NUM_TOTALS];
	uint64_t reserved = 0, allocated = 0;

	for (size_t i = 0; i < allocator->num_devices; i++) {
		reserved += allocator->devices[i].reserved;
		allocated += allocator->devices[i].allocated;
	}
	cells[TOTAL_SEGMENTS] = cell_number(UNIT_COUNT, counts->segments);
	cells[TOTAL_BLOCKS] = cell_number(UNIT_COUNT, counts->blocks);
	cells[TOTAL_EVENTS] = cell_number(UNIT_COUNT, counts->events);
	cells[TOTAL_ANNOTATIONS] = cell_number(UNIT_COUNT,
					       counts->annotations);
	cells[TOTAL_RESERVED] = cell_number(UNIT_BYTES, reserved);
	cells[TOTAL_ALLOCATED] = cell_number(UNIT_BYTES, allocated);
	cells[TOTAL_UNREAD] = cell_number(UNIT_COUNT, counts->unread);
	gate_totals(&scan->gate, cells);
}

static struct error *write_it(struct scan *scan,
			      const struct caching_allocator *allocator,
			      size_t first_finding)
{
	CLEANUP(torchframes_release) struct torchframes *frames = NULL;
	struct image *image = opened_image(scan->opened);
	struct torch_snapshot_counts counts;
	char version[TORCH_VERSION_MAX] = "";
	struct memory_reader memory;
	struct error *err = torchframes_open(scan->opened, &frames);

	if (err)
		return err;
	// Without it the structures tell.
	error_free(torch_version(scan->opened, version));
	err = memory_reader_init(&memory, image->memory);
	if (err)
		return err;
	err = torch_snapshot_write(&(struct torch_snapshot_source){
		.allocator = allocator, .memory = &memory, .image = image,
		.findings = image->findings,
		.release = torch_release_parse(version),
		.frames = torchframes_put, .context = frames,
		.first_finding = first_finding,
		.partial = opened_partial(scan->opened),
	}, scan->output->file, &counts);
	memory_reader_deinit(&memory);
	if (!err)
		err = torchframes_failed(frames);
	progress_clear();
	if (err)
		return err;
	say(scan, version, &counts);
	gate(scan, allocator, &counts);
	return NULL;
}

static struct error *run(struct scan *scan)
{
	CLEANUP(caching_allocator_release)
	struct caching_allocator *allocator = NULL;
	struct image *image = opened_image(scan->opened);
	struct error *err = check_options(scan);
	size_t first_finding = findings_kept(image->findings);

	if (!err)
		err = caching_allocator_open(image, &allocator);
	if (!err)
		err = allocator_check(image, allocator);
	if (!err)
		err = why_none(allocator);
	return err ? err : write_it(scan, allocator, first_finding);
}
