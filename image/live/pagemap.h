/*
 * Which pages of a live process are there, without touching any of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reading a page that is not there has effects in the target: it maps the
 * zero page, brings swap back on the target's account, allocates shared
 * memory. So this is asked first. Source: Linux
 * Documentation/admin-guide/mm/pagemap.rst.
 */
#ifndef LIVE_PAGEMAP_H
#define LIVE_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"

enum page_kind {
	PAGE_ABSENT,	/* never touched, or a file's page not mapped in */
	PAGE_PRIVATE,	/* anonymous memory of the target's own */
	PAGE_FILE,	/* a file's or shared page */
	PAGE_ZERO,	/* the kernel's page of zeroes */
	PAGE_SWAPPED,
	PAGE_GUARD,	/* MADV_GUARD_INSTALL: every access faults */
	PAGE_LEFT_OUT,	/* of a core: who wrote it did not take the page */
};

struct page_run {
	uint64_t start, end;	/* addresses */
	enum page_kind kind;
};

struct pagemap;

/** slow: read the map page by page even where the kernel can scan it. */
struct error *pagemap_open(pid_t pid, bool slow, struct pagemap **ret);
void pagemap_close(struct pagemap *pagemap);

typedef struct error *pagemap_fn(void *context, const struct page_run *run);

/**
 * Call fn with runs that cover [start, end), whole pages, in order and without
 * gaps. Neighbouring runs may be of one kind. Stops at the first error.
 *
 * @param tell_files  false: PAGE_FILE may be reported as PAGE_PRIVATE, for
 *	whoever does not care. To tell them apart the kernel looks at its
 *	record of every page: 14 ms per GiB instead of 2, measured
 */
struct error *pagemap_scan(struct pagemap *pagemap, uint64_t start,
			   uint64_t end, bool tell_files, pagemap_fn *fn,
			   void *context);

/** Whether a page is a part of a huge one; false where the kernel cannot say. */
bool pagemap_is_huge(const struct pagemap *pagemap, uint64_t page);

#endif
