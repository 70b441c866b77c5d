/*
 * Selection: what is taken of this process, page by page, and what never.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/live/pagemap.h"
#include "image/live/select.h"
#include "tests/lib/check.h"

enum { PAGES = 128 };

static size_t page;

struct kinds {
	uint64_t start;
	unsigned char kind[PAGES];
	size_t count;
};

static struct error *record(void *context, const struct page_run *run)
{
	struct kinds *kinds = context;

	for (uint64_t at = run->start; at < run->end; at += page)
		if (kinds->count < PAGES &&
		    at == kinds->start + kinds->count * page)
			kinds->kind[kinds->count++] = (unsigned char)run->kind;
	return NULL;
}

/** Pages 0-9 written, 10 read only, 40 written, the rest untouched. */
static uint8_t *make_memory(int flags)
{
	uint8_t *memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE,
			       flags | MAP_ANONYMOUS, -1, 0);

	(void)madvise(memory, PAGES * page, MADV_NOHUGEPAGE);
	memset(memory, 7, 10 * page);
	*(volatile uint8_t *)(memory + 10 * page);
	memory[40 * page] = 9;
	return memory;
}

static void check_pagemap(bool slow)
{
	uint8_t *memory = make_memory(MAP_PRIVATE);
	struct kinds kinds = { .start = (uint64_t)(uintptr_t)memory };
	struct pagemap *pagemap = NULL;
	struct error *err = pagemap_open(getpid(), slow, &pagemap);

	if (!err)
		err = pagemap_scan(pagemap, kinds.start,
				   kinds.start + PAGES * page,
				   /* tell_files= */ true, record, &kinds);
	CHECK(slow ? "slow: the map is read" : "fast: the map is read",
	      err == NULL);
	error_free(err);
	CHECK_U64("runs cover every page once", kinds.count, PAGES);
	CHECK_U64("a written page", kinds.kind[9], PAGE_PRIVATE);
	// Bit by bit the map does not tell the page of zeroes from others.
	CHECK("a page that was only read", kinds.kind[10] == PAGE_ZERO ||
	      (slow && kinds.kind[10] != PAGE_ABSENT));
	CHECK_U64("an untouched page", kinds.kind[11], PAGE_ABSENT);
	CHECK_U64("a written page on its own", kinds.kind[40], PAGE_PRIVATE);
	CHECK_U64("the last page", kinds.kind[PAGES - 1], PAGE_ABSENT);
	pagemap_close(pagemap);
	(void)munmap(memory, PAGES * page);
}

static const struct select_range *range_at(const struct selection *selection,
					   uint64_t address)
{
	for (size_t i = 0; i < selection->count; i++)
		if (selection->ranges[i].start <= address &&
		    address < selection->ranges[i].end)
			return &selection->ranges[i];
	return NULL;
}

static enum format_reason reason_at(const struct selection *selection,
				    const void *address)
{
	const struct select_range *range =
		range_at(selection, (uint64_t)(uintptr_t)address);

	return range ? range->reason : FORMAT_FAILED;
}

/** Select from this process. False where that failed. */
static bool select_own(enum select_content content,
		       const struct select_rules *rules, struct procmaps *maps,
		       struct selection *selection)
{
	struct select_options options = {
		.content = content,
		.rules = rules,
		.read_swap = true,
		.page_size = (uint32_t)page,
		.process_fd = -1,
	};
	struct pagemap *pagemap = NULL;
	struct error *err = procmaps_read(getpid(), maps);

	if (!err)
		err = pagemap_open(getpid(), false, &pagemap);
	if (!err)
		err = select_ranges(maps, pagemap, &options, selection);
	pagemap_close(pagemap);
	CHECK("ranges are selected", err == NULL);
	error_free(err);
	return err == NULL;
}

static void check_covers(const struct procmaps *maps,
			 const struct selection *selection)
{
	uint64_t mapped = 0, at = 0;
	bool ordered = true;

	for (size_t i = 0; i < maps->count; i++)
		mapped += maps->items[i].end - maps->items[i].start;
	for (size_t i = 0; i < selection->count; i++) {
		ordered &= selection->ranges[i].start >= at;
		at = selection->ranges[i].end;
		mapped -= at - selection->ranges[i].start;
	}
	CHECK("ranges are in order", ordered);
	CHECK_U64("and cover every mapping", mapped, 0);
}

static void check_memory(void)
{
	uint8_t *memory = make_memory(MAP_PRIVATE);
	uint8_t *shared = make_memory(MAP_SHARED);
	uint8_t *hidden = make_memory(MAP_PRIVATE);
	uint8_t *closed = make_memory(MAP_PRIVATE);
	struct procmaps maps = { 0 };
	struct selection selection = { 0 };
	const struct select_range *range;

	(void)madvise(hidden, PAGES * page, MADV_DONTDUMP);
	(void)mprotect(closed, PAGES * page, PROT_NONE);
	if (!select_own(SELECT_HEAP, NULL, &maps, &selection))
		return;
	check_covers(&maps, &selection);
	CHECK_U64("written pages are taken", reason_at(&selection, memory),
		  FORMAT_CAPTURED);
	range = range_at(&selection, (uint64_t)(uintptr_t)(memory + 30 * page));
	CHECK("a long hole is left out as zero", range && (page > 4096 ||
	      (range->reason == FORMAT_ZERO && range->known_zero)));
	CHECK_U64("the tail is zero",
		  reason_at(&selection, memory + 127 * page), FORMAT_ZERO);
	CHECK_U64("shared memory is taken", reason_at(&selection, shared),
		  FORMAT_CAPTURED);
	CHECK_U64("not to be dumped", reason_at(&selection, hidden),
		  FORMAT_DONTDUMP);
	CHECK_U64("not to be read", reason_at(&selection, closed),
		  FORMAT_UNREADABLE);
	CHECK_U64("text is left to the file",
		  reason_at(&selection, (const void *)(uintptr_t)check_memory),
		  FORMAT_FILE);
	CHECK_U64("read-only data is taken",
		  reason_at(&selection, "a string of this program"),
		  FORMAT_CAPTURED);
	CHECK_U64("the stack is taken", reason_at(&selection, &range),
		  FORMAT_CAPTURED);
	selection_deinit(&selection);
	procmaps_deinit(&maps);
	(void)munmap(memory, PAGES * page);
	(void)munmap(shared, PAGES * page);
	(void)munmap(hidden, PAGES * page);
	(void)munmap(closed, PAGES * page);
}

static void check_rules(void)
{
	uint8_t *memory = make_memory(MAP_PRIVATE);
	struct select_rules rules = { 0 };
	struct procmaps maps = { 0 };
	struct selection selection = { 0 };
	char text[64];
	struct error *err;

	(void)snprintf(text, sizeof(text), "0x%llx-0x%llx",
		       (unsigned long long)(uintptr_t)(memory + 2 * page),
		       (unsigned long long)(uintptr_t)(memory + 4 * page));
	err = select_rules_add(&rules, true, text);
	CHECK("a range", err == NULL);
	error_free(err);
	err = select_rules_add(&rules, true, "^\\[st.ck\\]$");
	CHECK("a pattern", err == NULL);
	error_free(err);
	err = select_rules_add(&rules, false, "liveselect");
	CHECK("an inclusion", err == NULL);
	error_free(err);
	err = select_rules_add(&rules, false, "(");
	CHECK("a bad pattern is refused", err && err->kind == ERROR_USAGE);
	error_free(err);
	if (!select_own(SELECT_HEAP, &rules, &maps, &selection))
		return;
	check_covers(&maps, &selection);
	CHECK_U64("before the range", reason_at(&selection, memory + page),
		  FORMAT_CAPTURED);
	CHECK_U64("in the range", reason_at(&selection, memory + 2 * page),
		  FORMAT_EXCLUDED);
	CHECK_U64("after the range", reason_at(&selection, memory + 4 * page),
		  FORMAT_CAPTURED);
	CHECK_U64("the stack is excluded by name",
		  reason_at(&selection, &selection), FORMAT_EXCLUDED);
	CHECK_U64("text is included by name",
		  reason_at(&selection, (const void *)(uintptr_t)check_rules),
		  FORMAT_CAPTURED);
	select_rules_deinit(&rules);
	selection_deinit(&selection);
	procmaps_deinit(&maps);
	(void)munmap(memory, PAGES * page);
}

static void check_never(void)
{
	static const struct {
		const char *name;
		uint32_t protection, flags;
		enum format_reason reason;
	} cases[] = {
		{ "/dev/nvidia0", PF_R | PF_W, 0, FORMAT_DEVICE },
		{ "/dev/nvidia-uvm", PF_R | PF_W, 0, FORMAT_DEVICE },
		{ "/dev/dri/renderD128", PF_R, 0, FORMAT_DEVICE },
		{ "anon_inode:[io_uring]", PF_R, 0, FORMAT_DEVICE },
		{ "/sys/devices/pci0000:00/0000:00:02.0/resource0",
		  PF_R | PF_W, 0, FORMAT_DEVICE },
		{ "/proc/bus/pci/00/02.0", PF_R, 0, FORMAT_DEVICE },
		{ "/tmp/x", PF_R, PROCMAP_IO, FORMAT_DEVICE },
		{ "", PF_R, PROCMAP_PFN, FORMAT_DEVICE },
		{ "", 0, 0, FORMAT_UNREADABLE },
		{ "[vvar]", PF_R, 0, FORMAT_KERNEL },
		{ "[vvar_vclock]", PF_R, PROCMAP_PFN, FORMAT_KERNEL },
		{ "[vsyscall]", PF_X, 0, FORMAT_KERNEL },
		{ "[vdso]", PF_R | PF_X, 0, FORMAT_CAPTURED },
		{ "/dev/zero", PF_R | PF_W, 0, FORMAT_CAPTURED },
		{ "/dev/shm/x", PF_R | PF_W, 0, FORMAT_CAPTURED },
		{ "/memfd:x", PF_R | PF_W, 0, FORMAT_CAPTURED },
		{ "[heap]", PF_R | PF_W, 0, FORMAT_CAPTURED },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct procmap map = {
			.end = page,
			.name = cases[i].name,
			.protection = cases[i].protection,
			.flags = cases[i].flags,
			.inode = cases[i].name[0] == '/' ? 1 : 0,
		};
		char label[80];

		(void)snprintf(label, sizeof(label), "never %zu %s", i,
			       cases[i].name);
		CHECK_U64(label, select_never(&map), cases[i].reason);
	}
}

int main(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	check_pagemap(/* slow= */ false);
	check_pagemap(/* slow= */ true);
	check_memory();
	check_rules();
	check_never();
	return check_result();
}
