/*
 * mimalloc's segments and pages, hand-made as both bundled versions lay them
 * out, and damaged in each of the ways that a dump can be.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pymimalloc.h"

#include <elf.h>
#include <stdlib.h>

#include "tests/lib/check.h"

#define SEGMENT UINT64_C(0x200000000000)
#define SLICE (UINT64_C(1) << PYH_MI_SLICE_LOG2)
#define COOKIE UINT64_C(0x123456789abcdef0)
#define BLOCK 48

enum {
	SLICES = 16,		/* of the segment that are captured */
	CAPACITY = 100,
	SMALL = 1,		/* the page of BLOCK bytes has this slice */
	LARGE = 2,		/* and a page of one block the eight from here */
	LARGE_SLICES = 8,
};

struct fixture {
	uint8_t *bytes;		/* SLICES * SLICE of them */
	struct image image;
	struct pyh_runtime runtime;
	struct memory_reader reader;
	struct pyh_mi_pages pages;
	uint64_t free[PYH_MI_WORDS];
};

static void put(struct fixture *fixture, uint64_t address, uint64_t value,
		size_t size)
{
	memcpy(fixture->bytes + (address - SEGMENT), &value, size);
}

static void set(struct fixture *fixture, uint64_t structure,
		enum pyh_field field, uint64_t value)
{
	struct pyh_field_at at = fixture->runtime.at[field];

	if (at.size)
		put(fixture, structure + at.offset, value, at.size);
}

static uint64_t descriptor(const struct fixture *fixture, uint64_t slice)
{
	return SEGMENT + pyh_offset(&fixture->runtime, PYH_MISEGMENT_SLICES) +
	       slice * fixture->runtime.size_of[PYH_STRUCT_MIPAGE];
}

/** Where blocks of BLOCK bytes begin, in the version at hand. */
static uint64_t first_block(const struct fixture *fixture)
{
	return SEGMENT + SMALL * SLICE +
	       (pyh_has(&fixture->runtime, PYH_MIPAGE_PAGE_START) ? 160 :
								     3 * BLOCK);
}

static uint64_t block(const struct fixture *fixture, uint64_t i)
{
	return first_block(fixture) + i * BLOCK;
}

static void make_page(struct fixture *fixture, uint64_t slice, uint64_t count,
		      uint64_t first, uint64_t size, uint64_t capacity,
		      enum pyh_mi_heap heap)
{
	uint64_t page = descriptor(fixture, slice);

	set(fixture, page, PYH_MIPAGE_SLICE_COUNT, count);
	set(fixture, page, PYH_MIPAGE_SLICE_OFFSET, 0);
	set(fixture, page, PYH_MIPAGE_CAPACITY, capacity);
	set(fixture, page, PYH_MIPAGE_RESERVED, capacity);
	set(fixture, page, PYH_MIPAGE_XBLOCK_SIZE, size);
	set(fixture, page, PYH_MIPAGE_BLOCK_SIZE, size);
	set(fixture, page, PYH_MIPAGE_PAGE_START, first);
	set(fixture, page, PYH_MIPAGE_HEAP_TAG, heap);
	set(fixture, page, PYH_MIPAGE_TAG, (uint64_t)heap << 3 | 1);
}

/**
 * Free are blocks 1, 3 and 5, which wait to be used, 7 and 9, just freed, and
 * 11, which another thread has freed.
 */
static void make_lists(struct fixture *fixture)
{
	uint64_t page = descriptor(fixture, SMALL);

	set(fixture, page, PYH_MIPAGE_FREE, block(fixture, 3));
	put(fixture, block(fixture, 3), block(fixture, 1), 8);
	put(fixture, block(fixture, 1), block(fixture, 5), 8);
	set(fixture, page, PYH_MIPAGE_LOCAL_FREE, block(fixture, 9));
	put(fixture, block(fixture, 9), block(fixture, 7), 8);
	set(fixture, page, PYH_MIPAGE_XTHREAD_FREE, block(fixture, 11) | 2);
	set(fixture, page, PYH_MIPAGE_USED, CAPACITY - 5);
}

static void make_segment(struct fixture *fixture)
{
	uint64_t header = descriptor(fixture, 0);

	set(fixture, SEGMENT, PYH_MISEGMENT_COOKIE, SEGMENT ^ COOKIE);
	set(fixture, SEGMENT, PYH_MISEGMENT_SEGMENT_SLICES, 512);
	set(fixture, SEGMENT, PYH_MISEGMENT_SEGMENT_INFO_SLICES, 1);
	set(fixture, SEGMENT, PYH_MISEGMENT_SLICE_ENTRIES, 512);
	make_page(fixture, 0, 1, 0, 1, 0, PYH_MI_MEM);
	set(fixture, header, PYH_MIPAGE_USED, 0);
	make_page(fixture, SMALL, 1, first_block(fixture), BLOCK, CAPACITY,
		  PYH_MI_OBJECT);
	make_lists(fixture);
	make_page(fixture, LARGE, LARGE_SLICES, SEGMENT + LARGE * SLICE,
		  LARGE_SLICES * SLICE, 1, PYH_MI_MEM);
	set(fixture, descriptor(fixture, LARGE), PYH_MIPAGE_USED, 1);
	// The rest is one free span.
	make_page(fixture, LARGE + LARGE_SLICES, 512 - LARGE - LARGE_SLICES, 0,
		  0, 0, PYH_MI_MEM);
}

static struct fixture *fixture_new(unsigned int minor)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	const struct pyh_layout *layout = pyh_layout_for_free_threaded(minor);

	if (!fixture || !layout)
		exit(2);
	fixture->bytes = calloc(SLICES, SLICE);
	fixture->runtime = (struct pyh_runtime){
		.image = &fixture->image, .minor = minor,
		.free_threaded = true, .layout = layout,
	};
	memcpy(fixture->runtime.at, layout->at, sizeof(layout->at));
	memcpy(fixture->runtime.size_of, layout->size_of,
	       sizeof(layout->size_of));
	if (!fixture->bytes || findings_create(&fixture->image.findings))
		exit(2);
	make_segment(fixture);
	return fixture;
}

/** Close the memory and find. */
static void look(struct fixture *fixture)
{
	struct memory_range range = {
		.start = SEGMENT, .end = SEGMENT + SLICES * SLICE,
		.state = MEMORY_CAPTURED, .source = MEMORY_FROM_FILE,
		.protection = PF_R | PF_W, .bytes = fixture->bytes,
	};

	if (memory_create(NULL, &fixture->image.memory) ||
	    memory_add(fixture->image.memory, &range) ||
	    memory_seal(fixture->image.memory) ||
	    memory_reader_init(&fixture->reader, fixture->image.memory) ||
	    pyh_mi_find(&fixture->runtime, &fixture->pages))
		exit(2);
}

static void fixture_free(struct fixture *fixture)
{
	pyh_mi_deinit(&fixture->pages);
	memory_reader_deinit(&fixture->reader);
	memory_destroy(fixture->image.memory);
	findings_destroy(fixture->image.findings);
	free(fixture->bytes);
	free(fixture);
}

static bool is_free(const struct fixture *fixture, unsigned int i)
{
	return fixture->free[i / 64] >> i % 64 & 1;
}

static void test_sound(unsigned int minor)
{
	struct fixture *fixture = fixture_new(minor);
	const struct pyh_mi_page *pages;
	uint32_t live;
	const char *why;

	look(fixture);
	pages = fixture->pages.pages;
	CHECK_U64("segments", fixture->pages.num_segments, 1);
	if (!CHECK_U64("pages", fixture->pages.count, 2)) {
		fixture_free(fixture);
		return;
	}
	CHECK_U64("its first block", pages[0].first, first_block(fixture));
	CHECK_U64("block size", pages[0].block_size, BLOCK);
	CHECK_U64("its heap", pages[0].heap, PYH_MI_OBJECT);
	CHECK_U64("the large one", pages[1].block_size, LARGE_SLICES * SLICE);
	CHECK_U64("the large one's end", pages[1].limit,
		  SEGMENT + (LARGE + LARGE_SLICES) * SLICE);
	why = pyh_mi_free_blocks(&pages[0], &fixture->reader, fixture->free,
				 &live);
	CHECK_STRING("its lists are sound", why ? why : "", "");
	CHECK_U64("live blocks", live, CAPACITY - 6);
	for (unsigned int i = 0; i < 12; i++)
		CHECK_U64("free blocks", is_free(fixture, i), i % 2);
	CHECK_U64("no findings", findings_total(fixture->image.findings), 0);
	fixture_free(fixture);
}

/* What is done to a sound segment, and what is left of it. */
static const struct damage {
	const char *name;
	enum pyh_field field;		/* of the small page */
	uint64_t value;
	size_t pages;			/* still found */
	bool lists;			/* only its lists are damaged */
} damages[] = {
	{ "a block size of nothing", PYH_MIPAGE_BLOCK_SIZE, 4, 1, false },
	{ "a block size beyond the page", PYH_MIPAGE_BLOCK_SIZE, SLICE * 2, 1,
	  false },
	{ "a block size that is odd", PYH_MIPAGE_BLOCK_SIZE, 49, 1, false },
	{ "more blocks than room", PYH_MIPAGE_CAPACITY, 60000, 1, false },
	{ "more in use than carved", PYH_MIPAGE_USED, CAPACITY + 1, 1, false },
	{ "a heap that is none", PYH_MIPAGE_HEAP_TAG, 9, 1, false },
	{ "blocks elsewhere", PYH_MIPAGE_PAGE_START, 0x1234560, 1, false },
	{ "slices without end", PYH_MIPAGE_SLICE_COUNT, UINT32_MAX, 1, false },
	{ "no slices", PYH_MIPAGE_SLICE_COUNT, 0, 1, false },
	{ "a list that leads away", PYH_MIPAGE_FREE, 0x1000, 2, true },
	{ "a list between blocks", PYH_MIPAGE_FREE, SEGMENT + SLICE + 176, 2,
	  true },
	{ "a list that is lost", PYH_MIPAGE_FREE, 0, 2, true },
};

static void test_damaged(const struct damage *damage)
{
	struct fixture *fixture = fixture_new(14);
	const char *why = NULL;
	uint32_t live;

	set(fixture, descriptor(fixture, SMALL), damage->field, damage->value);
	look(fixture);
	CHECK_U64(damage->name, fixture->pages.count, damage->pages);
	if (damage->lists && fixture->pages.count == 2)
		why = pyh_mi_free_blocks(&fixture->pages.pages[0],
					 &fixture->reader, fixture->free,
					 &live);
	CHECK(damage->name, damage->lists ? why != NULL :
	      findings_total(fixture->image.findings) > 0);
	fixture_free(fixture);
}

static void test_cycle(void)
{
	struct fixture *fixture = fixture_new(15);
	uint32_t live = 0;

	put(fixture, block(fixture, 5), block(fixture, 1), 8);
	look(fixture);
	CHECK("a list that is a cycle",
	      pyh_mi_free_blocks(&fixture->pages.pages[0], &fixture->reader,
				 fixture->free, &live) != NULL);
	CHECK_U64("… still tells of its blocks", live, CAPACITY - 6);
	fixture_free(fixture);
}

/** Links of debug builds: what mi_ptr_encode() makes of one. */
static uint64_t encode(uint64_t link, uint64_t page, const uint64_t keys[2])
{
	unsigned int turn = keys[0] % 64;

	link = (link ? link : page) ^ keys[1];
	return (link << turn | link >> (64 - turn)) + keys[0];
}

static void test_encoded(void)
{
	static const uint64_t keys[2] = { UINT64_C(0x9d3f10c2a5b7e611),
					  UINT64_C(0x42fe0b5a77c1938d) };
	struct fixture *fixture = fixture_new(14);
	struct pyh_mi_page page;
	uint64_t at;
	uint32_t live;

	at = descriptor(fixture, SMALL);
	put(fixture, block(fixture, 3), encode(block(fixture, 1), at, keys), 8);
	put(fixture, block(fixture, 1), encode(block(fixture, 5), at, keys), 8);
	put(fixture, block(fixture, 5), encode(0, at, keys), 8);
	put(fixture, block(fixture, 9), encode(block(fixture, 7), at, keys), 8);
	put(fixture, block(fixture, 7), encode(0, at, keys), 8);
	put(fixture, block(fixture, 11), encode(0, at, keys), 8);
	look(fixture);
	page = fixture->pages.pages[0];
	memcpy(page.keys, keys, sizeof(keys));
	CHECK("links of debug builds",
	      pyh_mi_free_blocks(&page, &fixture->reader, fixture->free,
				 &live) == NULL);
	CHECK_U64("live blocks of debug builds", live, CAPACITY - 6);
	fixture_free(fixture);
}

/** Every size that mimalloc has blocks of holds all requests down to the next. */
static void test_sizes(void)
{
	static const uint64_t wanted[][2] = {
		{ 1, 8 }, { 8, 8 }, { 9, 16 }, { 17, 32 }, { 33, 48 },
		{ 64, 64 }, { 65, 80 }, { 80, 80 }, { 81, 96 }, { 128, 128 },
		{ 129, 160 }, { 161, 192 }, { 1024, 1024 }, { 1025, 1280 },
		{ 200000, 262144 },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		CHECK_U64("size of a block", pyh_mi_block_size(wanted[i][0]),
			  wanted[i][1]);
}

int main(void)
{
	for (unsigned int minor = 13; minor <= 15; minor++)
		test_sound(minor);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++)
		test_damaged(&damages[i]);
	test_cycle();
	test_encoded();
	test_sizes();
	return check_result();
}
