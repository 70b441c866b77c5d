/*
 * The command line of heapscan: one table for the parser, --help and the
 * shells' completion.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_SCAN_OPTIONS_H
#define ANALYZER_SCAN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "analyzer/show/render.h"
#include "image/base/error.h"

struct view;

enum color_when { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

/** Groups of --by; a view says which of them it has. */
enum group_by { BY_TYPE, BY_OWNER, BY_MODULE, BY_THREAD, BY_ROOT, NUM_BY };

enum { OPTIONS_TOP_DEFAULT = 20 };

#define OPTIONS_NO_SIZE UINT64_MAX

/** What was asked for. Strings are borrowed from the arguments. */
struct options {
	const struct view *view;
	bool view_given;	/* else it is the overview by default */
	uint64_t address;	/* the view's argument, where it takes one */
	bool address_given;
	char **dumps;		/* owned array */
	size_t num_dumps;
	uint64_t top;		/* 0: all */
	unsigned int format;	/* enum render_format */
	unsigned int color;	/* enum color_when */
	unsigned int by;	/* enum group_by */
	bool by_given;
	const char *output;	/* NULL or "-": standard output */
	const char *match, *type, *sort, *fail_if;
	uint64_t min_size;	/* bytes */
	bool values;
	bool dot;		/* of path: a digraph */
	bool retained;		/* add what is retained */
	bool locals;		/* of threads: variables of frames */
	bool each;		/* of tensors: no groups of equal ones */
	bool segments, blocks, orphans, history;	/* of allocator: rows of these */
	uint64_t fits;		/* of allocator: bytes; OPTIONS_NO_SIZE: not
				   asked */
	uint64_t device_free;	/* the same: what each device had free */
	bool arrays;		/* of tensors: arrays of NumPy and CuPy, too */
	bool native_only;	/* of threads: nothing of Python */
	bool tracebacks;	/* of tracemalloc: whole ones, not lines */
	const char *sysroot, *tmp_dir;
	bool debuginfod;
	const char *index;	/* a folder; NULL: the default one */
	bool no_index;
	uint64_t memory;	/* bytes; 0: not given */
	uint64_t threads;	/* 0: as many as there are */
	bool no_progress, quiet, verbose;
	bool help, version;
	const char *completion;	/* a shell */
};

/**
 * Parse the arguments. Options may stand anywhere, "--" ends them.
 *
 * @return NULL, or ERROR_USAGE with a sentence that says what would be right
 */
struct error *options_parse(struct options *options, int argc, char **argv);
void options_deinit(struct options *options);

/** The text of --help, of the program or of one view. */
void options_help(FILE *out, const struct view *view);

/** A completion script; ERROR_USAGE for a shell that we have none for. */
struct error *options_completion(FILE *out, const char *shell);

#endif
