/*
 * The chunk of glibc's malloc around an address; see mallocchunk.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/malloc/mallocchunk.h"

enum {
	HEADER = 16,		/* prev_size and size: CHUNK_HDR_SZ */
	CHUNK_LEAST = 32,	/* MINSIZE */
	CHUNK_ALIGN = 16,	/* MALLOC_ALIGNMENT */
	PREV_INUSE = 1,
	IS_MMAPPED = 2,
	SIZE_BITS = 7,
	PAGE = 4096,
	/* struct _heap_info before 2.35, and after */
	HEAP_INFO_OLD = 32,
	HEAP_INFO = 48,
	STATE_LEAST = 2048,	/* bytes of struct malloc_state, and more */
	ARENA_MAX = 4096,	/* bytes before an arena's first chunk */
	CHAIN_BELIEVED = 16,	/* chunks in a row */
	PAGES_BACK = 4096,	/* looked at for the start of a mapping's chunk */
};

#define HEAP_ALIGN (UINT64_C(64) << 20)	/* HEAP_MAX_SIZE */

/** The size of the chunk in a chain whose header is here; 0: there is none. */
static uint64_t chunk_size(struct memory_reader *memory, uint64_t at,
			   uint64_t end, uint64_t *ret_bits)
{
	uint64_t word, size;

	if (at >= end || end - at < CHUNK_LEAST ||
	    !memory_try_u64(memory, at + 8, &word))
		return 0;
	size = word & ~(uint64_t)SIZE_BITS;
	*ret_bits = word & SIZE_BITS;
	return size < CHUNK_LEAST || size % CHUNK_ALIGN || size > end - at ||
			       word & IS_MMAPPED ? 0 : size;
}

static bool begins_chain(struct memory_reader *memory, uint64_t at,
			 uint64_t end)
{
	uint64_t bits = 0, size = chunk_size(memory, at, end, &bits);

	// Nothing before the first one can be free.
	if (size == 0 || !(bits & PREV_INUSE))
		return false;
	for (int i = 0; i < CHAIN_BELIEVED && at < end; i++, at += size) {
		size = chunk_size(memory, at, end, &bits);
		if (size == 0)
			return false;
	}
	return true;
}

/** The arena of a thread around an address: the header of its first chunk. */
static bool find_arena(struct malloc_walk *walk, uint64_t mapping_end,
		       uint64_t address)
{
	uint64_t at = address & ~(HEAP_ALIGN - 1), first, info[4];
	bool state;

	// ar_ptr, prev, size, mprotect_size
	if (!memory_try_read(walk->memory, at, info, sizeof(info)) ||
	    info[0] == 0 || info[0] % 8 || info[1] % HEAP_ALIGN ||
	    info[2] < ARENA_MAX || info[2] > HEAP_ALIGN || info[2] % PAGE ||
	    info[2] > info[3] || info[3] > HEAP_ALIGN ||
	    address - at >= info[2] || at + info[2] > mapping_end)
		return false;
	state = info[0] == at + HEAP_INFO_OLD || info[0] == at + HEAP_INFO;
	first = state ? info[0] + STATE_LEAST : at + HEAP_INFO_OLD;
	for (first &= ~(uint64_t)(CHUNK_ALIGN - 1);
	     first < at + (state ? ARENA_MAX : HEAP_INFO + CHUNK_ALIGN);
	     first += CHUNK_ALIGN) {
		if (!begins_chain(walk->memory, first, at + info[2]))
			continue;
		walk->start = at;
		walk->end = at + info[2];
		walk->first = walk->at = first;
		return true;
	}
	return false;
}

/** The heap of brk: a chain that begins with the mapping. */
static bool find_heap(struct malloc_walk *walk, uint64_t start, uint64_t end)
{
	if (!begins_chain(walk->memory, start, end))
		return false;
	walk->start = start;
	walk->end = end;
	walk->first = walk->at = start;
	return true;
}

enum mapped { MAPPED_UNREADABLE, MAPPED_NONE, MAPPED_CHUNK };

/** Whether a chunk with a mapping of its own begins on a page. */
static enum mapped look_at_page(struct memory_reader *memory, uint64_t at,
				uint64_t end, struct malloc_chunk *ret)
{
	uint64_t header[2], size;

	if (!memory_try_read(memory, at, header, sizeof(header)))
		return MAPPED_UNREADABLE;
	size = header[1] & ~(uint64_t)SIZE_BITS;
	// In 2.43 and later it is a header's size less.
	if (header[0] != 0 || (header[1] & SIZE_BITS) != IS_MMAPPED ||
	    size < CHUNK_LEAST || size > end - at ||
	    (size % PAGE && (size + HEADER) % PAGE))
		return MAPPED_NONE;
	*ret = (struct malloc_chunk){
		.start = at + HEADER, .in_use = true,
		.end = (at + size + PAGE - 1) & ~(uint64_t)(PAGE - 1),
	};
	return MAPPED_CHUNK;
}

/** Remember that nothing begins on the pages from low up to page. */
static void keep_bare(struct malloc_bare *bare, uint64_t low, uint64_t page)
{
	// Pages that were known are a part of these, or they are elsewhere.
	if (low > bare->to || page < bare->from || page >= bare->to)
		bare->to = page + PAGE;
	bare->from = low;
}

/**
 * A chunk with a mapping of its own: its header is on a page's start. Memory of
 * another allocator may be full of words to ask about, and none of them is to
 * look at thousands of pages again.
 */
static bool find_mapped(struct malloc_walk *walk, uint64_t start, uint64_t end,
			uint64_t address, struct malloc_chunk *ret)
{
	uint64_t page = address & ~(uint64_t)(PAGE - 1), at = page;
	uint64_t least = start, low = page + PAGE;
	struct malloc_bare *bare = &walk->bare;
	enum mapped found = MAPPED_NONE;

	if (page < start)
		return false;
	if (page - start >= (uint64_t)PAGES_BACK * PAGE)
		least = page - (uint64_t)(PAGES_BACK - 1) * PAGE;
	if (bare->start != start || bare->end != end)
		*bare = (struct malloc_bare){ .start = start, .end = end };
	for (;; at -= PAGE) {
		if (at >= bare->from && at < bare->to)
			at = bare->from;
		else
			found = look_at_page(walk->memory, at, end, ret);
		if (found != MAPPED_NONE)
			break;
		low = at;
		if (at < least || at - least < PAGE)
			break;
	}
	if (low <= page)
		keep_bare(bare, low, page);
	return found == MAPPED_CHUNK && address < ret->end;
}

/** Walk on to the chunk that reaches beyond an address. */
static bool walk_to(struct malloc_walk *walk, uint64_t address,
		    struct malloc_chunk *ret)
{
	uint64_t size, next, bits;

	if (address < walk->at)
		walk->at = walk->first;
	for (;;) {
		size = chunk_size(walk->memory, walk->at, walk->end, &bits);
		if (size == 0)
			return false;
		// The words up to the next one's size are this one's.
		if (address < walk->at + size + 8)
			break;
		walk->at += size;
	}
	next = chunk_size(walk->memory, walk->at + size, walk->end, &bits);
	*ret = (struct malloc_chunk){
		.start = walk->at + HEADER, .end = walk->at + size + 8,
		.in_use = next != 0 && bits & PREV_INUSE,
	};
	return address >= ret->start;
}

bool malloc_chunk_at(struct malloc_walk *walk, uint64_t start, uint64_t end,
		     uint64_t address, struct malloc_chunk *ret)
{
	bool known = address >= walk->first && address < walk->end;

	if (!known && !find_arena(walk, end, address) &&
	    !find_heap(walk, start, end))
		return find_mapped(walk, start, end, address, ret);
	return walk_to(walk, address, ret);
}
