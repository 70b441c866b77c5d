/*
 * What the commands share: one run of heapscan, and each command's view.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_CMD_H
#define ANALYZER_CMD_H

#include <stdbool.h>
#include <stdio.h>

#include "analyzer/gate.h"
#include "analyzer/opened.h"
#include "analyzer/scan_options.h"
#include "analyzer/show/render.h"
#include "analyzer/show/scan_output.h"
#include "analyzer/views.h"

/** One run of the program. */
struct scan {
	const struct options *options;
	struct opened *opened;
	struct opened *older;	/* of a view that takes two dumps; else NULL */
	struct family *family;	/* of a view that takes several dumps, the first
				   of which is open; else NULL */
	struct output *output;
	struct render render;
	struct gate gate;	/* --fail-if */
};

extern const struct view cmd_overview_view, cmd_types_view, cmd_objects_view,
	cmd_object_view, cmd_collections_view, cmd_duplicates_view,
	cmd_info_view, cmd_retained_view, cmd_path_view,
	cmd_suspects_view, cmd_cycles_view, cmd_gc_view, cmd_refcounts_view,
	cmd_tracemalloc_view, cmd_threads_view, cmd_malloc_view,
	cmd_memory_view, cmd_shared_view, cmd_tensors_view,
	cmd_allocator_view, cmd_torchsnapshot_view, cmd_diff_view;
extern const struct view cmd_mallocowners_view;	/* malloc --by */
/* allocator --segments, --blocks, --orphans, --history and --fits */
extern const struct view cmd_allocatorsegments_view, cmd_allocatorblocks_view,
	cmd_allocatororphans_view, cmd_allocatorfits_view,
	cmd_allocatorhistory_view;

/** Start the document of a view and its envelope. */
void scan_begin(struct scan *scan, const char *view);

/** Say something on standard error, unless -q. */
void scan_remark(const struct scan *scan, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/**
 * True where nobody reads any more (a closed pipe, a full disk): loops over
 * millions ask now and then.
 */
bool scan_unread(const struct scan *scan);

#endif
