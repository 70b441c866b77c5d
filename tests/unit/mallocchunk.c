/*
 * The chunk of malloc around an address, held against a plain loop; and that
 * memory of another allocator is not looked through for each word of it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/malloc/mallocchunk.h"

#include <elf.h>

#include "tests/lib/check.h"

enum {
	PAGE = 4096,
	PAGES = 6000,		/* more than are looked at */
	BACK = 4096,		/* … before an address */
	HEADER = 16,
	IS_MMAPPED = 2,
};

#define BASE UINT64_C(0x7f0000123000)
#define END (BASE + (uint64_t)PAGES * PAGE)

static uint64_t words[PAGES][PAGE / 8];

static const struct {
	size_t page, pages;	/* where a chunk begins, what it takes */
} planted[] = { { 3, 10 }, { 100, 1 }, { 101, 50 }, { 1500, 20 } };

/** The chunk by which an address on a page is judged, or -1. */
static int chunk_of(size_t page)
{
	int ret = -1;

	for (size_t i = 0; i < sizeof(planted) / sizeof(planted[0]); i++)
		if (planted[i].page <= page && planted[i].page + BACK > page)
			ret = (int)i;
	return ret;
}

static void check_page(struct malloc_walk *walk, size_t page, unsigned int *bad)
{
	uint64_t address = BASE + (uint64_t)page * PAGE + 8 * (page % 512);
	int i = chunk_of(page);
	bool in = i >= 0 && page < planted[i].page + planted[i].pages;
	uint64_t at = BASE + (i >= 0 ? planted[i].page : 0) * PAGE;
	struct malloc_chunk chunk;

	if (malloc_chunk_at(walk, BASE, END, address, &chunk) != in ||
	    (in && (chunk.start != at + HEADER || !chunk.in_use ||
		    chunk.end != at + planted[i].pages * PAGE)))
		++*bad;
}

static void test_order(struct memory_reader *memory, const char *what,
		       size_t step)
{
	struct malloc_walk walk = { .memory = memory };
	unsigned int bad = 0;

	// All steps have no divisor in common with the number of pages.
	for (size_t i = 0, page = 0; i < PAGES; i++, page += step)
		check_page(&walk, page % PAGES, &bad);
	CHECK_U64(what, bad, 0);
}

/**
 * Pages that were looked at are not read again: a chunk that is put there later,
 * as in no image, is not seen by words behind them, and by another walk it is.
 */
static void test_looked_at_once(struct memory_reader *memory)
{
	struct malloc_walk walk = { .memory = memory };
	struct malloc_walk other = { .memory = memory };
	struct malloc_chunk chunk;
	uint64_t at = BASE + 3000 * PAGE, found = 0;

	CHECK("no chunk", !malloc_chunk_at(&walk, BASE, END, at, &chunk));
	words[2500][1] = 3000 * PAGE | IS_MMAPPED;
	for (at += 16; at < END; at += 16)
		found += malloc_chunk_at(&walk, BASE, END, at, &chunk);
	CHECK_U64("what is known of pages is not asked again", found, 0);
	CHECK("by another walk it is",
	      malloc_chunk_at(&other, BASE, END, BASE + 3000 * PAGE, &chunk));
	words[2500][1] = 0;
}

int main(void)
{
	struct memory *memory = NULL;
	struct memory_reader reader;

	for (size_t i = 0; i < sizeof(planted) / sizeof(planted[0]); i++)
		words[planted[i].page][1] =
			(planted[i].pages * PAGE) | IS_MMAPPED;
	CHECK("create", !memory_create(NULL, &memory));
	CHECK("add", !memory_add(memory, &(struct memory_range){
		.start = BASE, .end = END, .protection = PF_R | PF_W,
		.state = MEMORY_CAPTURED, .source = MEMORY_FROM_FILE,
		.bytes = (const uint8_t *)words,
	}));
	CHECK("seal", !memory_seal(memory));
	CHECK("reader", !memory_reader_init(&reader, memory));
	test_order(&reader, "chunks by ascending addresses", 1);
	test_order(&reader, "by descending ones", PAGES - 1);
	test_order(&reader, "to and fro", 2497);
	test_order(&reader, "here and there", 709);
	test_looked_at_once(&reader);
	memory_reader_deinit(&reader);
	memory_destroy(memory);
	return check_result();
}
