/*
 * Which bytes of the process were in memory: mapping by mapping, page by page.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Where the dump has the kernel's numbers (notes of heapdump), a mapping's are
 * those, and what is not told by its captured pages is somewhere in it. Of other
 * cores all is known that was captured, and nothing of pages that were not;
 * those of zeroes are counted apart, as they may never have been touched.
 */
#ifndef ANALYZER_RESIDENCY_H
#define ANALYZER_RESIDENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"

struct resident_mapping {
	uint64_t start, end;	/* addresses */
	const char *name;	/* of the file, "[heap]" …; "": anonymous.
				   Borrowed from the image */
	uint32_t protection;	/* PF_R, PF_W, PF_X of elf.h */
	uint32_t flags;		/* enum format_mapping_flag */
	uint64_t placed;	/* bytes in memory, of which it is known where */
	uint64_t resident;	/* bytes in memory: at least those */
	uint64_t holes;		/* bytes of zeroes found in it that may be none of
				   its pages, while these are looked for */
	/* for the ledger: bytes with a row so far, and whether chunks of malloc
	   lie in it that are not mappings of their own */
	uint64_t told;
	bool is_malloc;
	uint64_t swapped;	/* bytes; not of the above */
};

struct resident_span {
	uint64_t start, end;
};

struct opened;

struct residency {
	struct resident_mapping *mappings;	/* by address, never overlapping */
	size_t count;
	struct resident_span *spans;	/* pages in memory; the same */
	size_t num_spans;
	bool noted;		/* by the kernel's numbers */
	uint64_t total;		/* bytes: of all mappings, and zeroes */
	uint64_t zeroes;	/* bytes of captured pages that hold nothing but
				   zeroes, where there are no such numbers */
};

/** That of a dump, made once; borrowed from opened. */
struct error *residency_of_dump(struct opened *opened, struct residency **ret);

/** Whether a dump has the kernel's numbers: without them a look at all of it
 * would not tell what was in memory. */
bool residency_is_noted(const struct image *image);

/** Forget what a ledger has told. */
void residency_untell(struct residency *residency);

/** For opened. NULL is fine. */
void residency_destroy(struct residency *residency);

/** The first mapping that ends above an address; NULL: there is none. */
struct resident_mapping *residency_above(const struct residency *residency,
					 uint64_t address);
/** The mapping that holds it, or NULL. */
struct resident_mapping *residency_at(const struct residency *residency,
				      uint64_t address);

/**
 * Bytes of [start, end) in memory, as far as it is known where they are.
 *
 * @param hint  where it was last; 0 at first. Quick where ranges ascend
 */
uint64_t residency_of(const struct residency *residency, uint64_t start,
		      uint64_t end, size_t *hint);

#endif
