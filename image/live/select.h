/*
 * Which ranges of a live process go into a dump, and why the others do not.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	select_ranges(&maps, pagemap, &options, &selection);
 *
 * First each mapping is judged by what it is (a device, a library's text,
 * shared memory …), then its pages by whether they are there. The result
 * covers every mapping without gaps, in address order.
 */
#ifndef LIVE_SELECT_H
#define LIVE_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/corewriter.h"
#include "image/format.h"
#include "image/live/pagemap.h"
#include "image/live/procmaps.h"

enum select_content {
	/*
	 * All private memory and shared memory up to SELECT_SHARED_MAX a
	 * mapping; later without payload, see payload.h.
	 */
	SELECT_HEAP,
	SELECT_FULL,	/* all private and all shared memory */
	/* Private memory; later only what stacks.h finds of it. */
	SELECT_STACKS,
};

enum {
	/* Holes of zeroes shorter than this are written as zeroes. */
	SELECT_HOLE_MIN = 64 << 10,
	SELECT_SHARED_MAX = 64 << 20,
	/* As many of them are told of within what is left out: each is 48 bytes
	   of notes. */
	SELECT_HOLES_TOLD = 1 << 17,
};

/** One --include or --exclude: a range or a regular expression on names. */
struct select_rule {
	bool exclude;
	uint64_t start, end;	/* end 0: a pattern */
	void *pattern;		/* pcre2_code, owned */
	char *text;		/* as it was written, owned */
};

struct select_rules {
	struct select_rule *items;
	size_t count;
};

/**
 * Add a rule: "0xSTART-0xEND", or else a PCRE2 pattern that is searched for
 * in mapping names. Exclusion wins over inclusion. ERROR_USAGE where it is
 * neither.
 */
struct error *select_rules_add(struct select_rules *rules, bool exclude,
			       const char *text);
void select_rules_deinit(struct select_rules *rules);

/** As pagemap_scan(), of something that is no live process. */
typedef struct error *select_scan_fn(void *context, uint64_t start,
				     uint64_t end, pagemap_fn *fn,
				     void *fn_context);

struct select_options {
	enum select_content content;
	const struct select_rules *rules;	/* borrowed; may be NULL */
	bool read_swap;		/* else swapped pages are left out */
	uint32_t page_size;
	int process_fd;		/* /proc/PID, to ask shared files; or -1 */
	/* of the process that this one is the snapshot of; NULL: it is none */
	struct pagemap *running;
	select_scan_fn *scan;	/* instead of a page map; NULL: there is one */
	void *scan_context;
};

struct select_range {
	uint64_t start, end;	/* addresses, whole pages */
	uint32_t mapping;	/* index in struct procmaps */
	uint16_t reason;	/* enum format_reason; FORMAT_CAPTURED: taken */
	bool known_zero;	/* FORMAT_ZERO, or taken but not to be read */
};

/** Addresses that belong together; several are ascending and apart. */
struct select_span {
	uint64_t start, end;
};

struct selection {
	struct select_range *ranges;
	size_t count;
	uint64_t bytes[FORMAT_NUM_REASONS];	/* by reason */
	uint64_t bytes_read;	/* of FORMAT_CAPTURED, those not known_zero */
};

struct error *select_ranges(const struct procmaps *maps,
			    struct pagemap *pagemap,
			    const struct select_options *options,
			    struct selection *ret);
void selection_deinit(struct selection *selection);

/** True where a rule wants the piece of a mapping at address. */
bool select_is_included(const struct select_rules *rules,
			const struct procmap *map, uint64_t address);

/**
 * Leave holes out for a reason, as far as they were taken: whole pages. Pages in
 * them that were never touched are FORMAT_ZERO, unless there are too many of them.
 */
struct error *selection_leave_out(struct selection *selection,
				  const struct select_span *holes,
				  size_t count, enum format_reason reason);

/** Leave out all that lies outside of spans, for a reason. */
struct error *selection_keep_only(struct selection *selection,
				  const struct select_span *spans, size_t count,
				  enum format_reason reason);

/** True where a mapping is of a file that is mapped for execution, too. */
bool select_is_module(const struct procmaps *maps, size_t i);

/**
 * Why none of a mapping may be taken, by what it is and whatever the options
 * say: a device, no permission to read, the kernel's own. FORMAT_CAPTURED:
 * nothing speaks against it.
 */
enum format_reason select_never(const struct procmap *map);

/**
 * Give the core's segments: each starts taken and may end in a hole.
 *
 * @param rearrange  what tells what the rest is comes first in the file, so that
 *	one that is cut off can be read
 */
struct error *select_segments(const struct selection *selection,
			      const struct procmaps *maps, bool rearrange,
			      struct corewriter *writer);

/** "stacks", "heap", "full". Static storage. */
const char *select_content_word(enum select_content content);

/** By its word. ERROR_USAGE where it is none. */
struct error *select_content_parse(const char *word, enum select_content *ret);

/** The more it takes the higher. */
int select_content_rank(enum select_content content);

/** A word for a reason: "device", "file". Static storage. */
const char *select_reason_word(enum format_reason reason);

#endif
