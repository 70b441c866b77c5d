/*
 * Which pages of a live process are there; see pagemap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "image/base/guard.h"

/* PAGEMAP_SCAN of linux/fs.h, which is there only from Linux 6.7 on. */
struct scan_region {
	uint64_t start, end, categories;
};

struct scan_argument {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask;
	uint64_t return_mask;
};

#define SCAN_REQUEST _IOWR('f', 16, struct scan_argument)

enum scan_category {
	SCAN_FILE = 1 << 2,
	SCAN_PRESENT = 1 << 3,
	SCAN_SWAPPED = 1 << 4,
	SCAN_ZERO = 1 << 5,
	SCAN_HUGE = 1 << 6,
	SCAN_GUARD = 1 << 8,		/* from Linux 6.15 on */
};

/* Bits of an entry of /proc/PID/pagemap. */
static const uint64_t ENTRY_PRESENT = UINT64_C(1) << 63;
static const uint64_t ENTRY_SWAPPED = UINT64_C(1) << 62;
static const uint64_t ENTRY_FILE = UINT64_C(1) << 61;
static const uint64_t ENTRY_GUARD = UINT64_C(1) << 58;

enum {
	REGIONS_AT_ONCE = 1024,
	ENTRIES_AT_ONCE = 8192,
};

struct pagemap {
	int fd;
	bool can_scan;
	uint64_t known_categories;	/* without SCAN_GUARD on older kernels */
	uint64_t page_size;
	union {
		struct scan_region regions[REGIONS_AT_ONCE];
		uint64_t entries[ENTRIES_AT_ONCE];
	};
};

struct error *pagemap_open(pid_t pid, bool slow, struct pagemap **ret)
{
	struct pagemap *pagemap;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	pagemap = malloc(sizeof(*pagemap));
	if (!pagemap)
		return error_no_memory();
	pagemap->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pagemap->fd < 0) {
		struct error *err = error_os(errno, "%s", path);

		free(pagemap);
		return err;
	}
	pagemap->can_scan = !slow;
	pagemap->known_categories = SCAN_FILE | SCAN_PRESENT | SCAN_SWAPPED |
				    SCAN_ZERO | SCAN_GUARD;
	pagemap->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	*ret = pagemap;
	return NULL;
}

void pagemap_close(struct pagemap *pagemap)
{
	if (!pagemap)
		return;
	(void)close(pagemap->fd);
	free(pagemap);
}

static enum page_kind kind_of_region(uint64_t categories)
{
	return categories & SCAN_GUARD ? PAGE_GUARD :
	       categories & SCAN_ZERO ? PAGE_ZERO :
	       categories & SCAN_SWAPPED ? PAGE_SWAPPED :
	       categories & SCAN_FILE ? PAGE_FILE :
	       categories & SCAN_PRESENT ? PAGE_PRIVATE : PAGE_ABSENT;
}

static enum page_kind kind_of_entry(uint64_t entry)
{
	return entry & ENTRY_GUARD ? PAGE_GUARD :
	       entry & ENTRY_SWAPPED ? PAGE_SWAPPED :
	       !(entry & ENTRY_PRESENT) ? PAGE_ABSENT :
	       entry & ENTRY_FILE ? PAGE_FILE : PAGE_PRIVATE;
}

static struct error *emit(pagemap_fn *fn, void *context, uint64_t start,
			  uint64_t end, enum page_kind kind)
{
	struct page_run run = { .start = start, .end = end, .kind = kind };

	return start < end ? fn(context, &run) : NULL;
}

/** One call of the kernel's scan; how many regions it found, or -1. */
static int scan_once(struct pagemap *pagemap, uint64_t start, uint64_t end,
		     bool tell_files, uint64_t *ret_end)
{
	uint64_t unwanted = tell_files ? 0 : SCAN_FILE;
	struct scan_argument argument = {
		.size = sizeof(argument),
		.start = start,
		.end = end,
		.vec = (uint64_t)(uintptr_t)pagemap->regions,
		.vec_len = REGIONS_AT_ONCE,
		.category_anyof_mask = pagemap->known_categories &
				       ~(uint64_t)(SCAN_FILE | SCAN_ZERO),
		.return_mask = pagemap->known_categories & ~unwanted,
	};
	int found = ioctl(pagemap->fd, SCAN_REQUEST, &argument);

	if (found < 0 && errno == EINVAL &&
	    (pagemap->known_categories & SCAN_GUARD)) {
		pagemap->known_categories &= ~(uint64_t)SCAN_GUARD;
		return scan_once(pagemap, start, end, tell_files, ret_end);
	}
	*ret_end = argument.walk_end;
	return found;
}

static struct error *scan_fast(struct pagemap *pagemap, uint64_t start,
			       uint64_t end, bool tell_files, pagemap_fn *fn,
			       void *context, bool *ret_unsupported)
{
	uint64_t first = start;

	while (start < end) {
		uint64_t walked, at = start;
		int found = scan_once(pagemap, start, end, tell_files,
				      &walked);
		struct error *err = NULL;

		if (found < 0 && errno == EINTR)
			continue;
		if (found < 0 && start == first) {
			*ret_unsupported = true;
			return NULL;
		}
		if (found < 0)
			return error_os(errno, "scanning the page map");
		// Guard against a kernel that does not advance.
		if (walked <= start || walked > end)
			walked = end;
		for (int i = 0; !err && i < found; i++) {
			const struct scan_region *region = &pagemap->regions[i];

			if (region->start < at || region->end > walked)
				continue;
			err = emit(fn, context, at, region->start, PAGE_ABSENT);
			if (!err)
				err = emit(fn, context, region->start,
					   region->end,
					   kind_of_region(region->categories));
			at = region->end;
		}
		if (!err)
			err = emit(fn, context, at, walked, PAGE_ABSENT);
		if (err)
			return err;
		start = walked;
	}
	return NULL;
}

static struct error *scan_slow(struct pagemap *pagemap, uint64_t start,
			       uint64_t end, pagemap_fn *fn, void *context)
{
	uint64_t page = pagemap->page_size;

	while (start < end) {
		size_t want = (end - start) / page < ENTRIES_AT_ONCE ?
			(end - start) / page : ENTRIES_AT_ONCE;
		ssize_t got = pread(pagemap->fd, pagemap->entries,
				    want * sizeof(uint64_t),
				    (off_t)(start / page * sizeof(uint64_t)));
		size_t first = 0, count = got > 0 ?
			(size_t)got / sizeof(uint64_t) : 0;

		if (count == 0)
			return error_os(got < 0 ? errno : EIO,
					"reading the page map of the process");
		for (size_t i = 1; i <= count; i++) {
			enum page_kind kind =
				kind_of_entry(pagemap->entries[first]);
			struct error *err;

			if (i < count &&
			    kind_of_entry(pagemap->entries[i]) == kind)
				continue;
			err = emit(fn, context, start + first * page,
				   start + i * page, kind);
			if (err)
				return err;
			first = i;
		}
		start += count * page;
	}
	return NULL;
}

struct error *pagemap_scan(struct pagemap *pagemap, uint64_t start,
			   uint64_t end, bool tell_files, pagemap_fn *fn,
			   void *context)
{
	bool unsupported = false;
	struct error *err = NULL;

	if (pagemap->can_scan)
		err = scan_fast(pagemap, start, end, tell_files, fn, context,
				&unsupported);
	if (!unsupported && pagemap->can_scan)
		return err;
	// The first scan tells whether the kernel knows it: nothing was
	// emitted then, so starting over repeats no run.
	pagemap->can_scan = false;
	return scan_slow(pagemap, start, end, fn, context);
}

bool pagemap_is_huge(const struct pagemap *pagemap, uint64_t page)
{
	struct scan_region region;
	struct scan_argument argument = {
		.size = sizeof(argument),
		.start = page,
		.end = page + pagemap->page_size,
		.vec = (uint64_t)(uintptr_t)&region,
		.vec_len = 1,
		.category_mask = SCAN_HUGE,
		.return_mask = SCAN_HUGE,
	};

	return pagemap->can_scan &&
	       ioctl(pagemap->fd, SCAN_REQUEST, &argument) == 1;
}
