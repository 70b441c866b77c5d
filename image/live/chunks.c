/*
 * The large chunks of glibc's malloc; see chunks.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/chunks.h"

#include <elf.h>
#include <string.h>
#include <unistd.h>

enum {
	HEADER = 16,		/* prev_size and size: CHUNK_HDR_SZ */
	CHUNK_LEAST = 32,	/* MINSIZE */
	CHUNK_ALIGN = 16,	/* MALLOC_ALIGNMENT */
	IS_MMAPPED = 2,
	SIZE_BITS = 7,		/* PREV_INUSE, IS_MMAPPED, NON_MAIN_ARENA */
	PREV_INUSE = 1,
	/* struct _heap_info before 2.35, and after */
	HEAP_INFO_OLD = 32,
	HEAP_INFO = 48,
	ARENA_MAX = 4096,	/* bytes before an arena's first chunk */
	CHAIN_BELIEVED = 16,	/* chunks in a row */
	WINDOW_LEAST = 4 << 10,
	WINDOW_MOST = 64 << 10,
	PROBES_MOST = 128,	/* pages asked for a header at once */
	/* Pages in a walk that hold no chunk's header, before it gives up. */
	PROBES_IN_VAIN = 1 << 20,
};

static const uint64_t HEAP_ALIGN = UINT64_C(64) << 20;	/* HEAP_MAX_SIZE */

struct walk {
	struct standing *standing;
	const struct select_span *passed;
	size_t num_passed;
	uint64_t least;		/* bytes of chunks that are wanted */
	chunk_fn *fn;
	void *context;
	uint64_t page;
	/* the bytes around the header that was read last */
	uint64_t window_start;
	size_t window_size, window_next;
	uint8_t window[WINDOW_MOST];
	/* first words of pages, one behind the other */
	uint64_t probes_start;
	size_t num_probes, next_probes;
	uint64_t probes[PROBES_MOST][CHUNKS_PROBE / 8];
	uint64_t in_vain;
};

/* --- chains ------------------------------------------------------------------ */

/**
 * Read a chunk's header through the window, which grows while chunks follow
 * closely upon one another.
 */
static bool read_header(struct walk *walk, uint64_t at, uint64_t ret[2])
{
	uint64_t inside = at - walk->window_start;
	uint64_t extent;

	if (inside >= walk->window_size ||
	    walk->window_size - inside < HEADER) {
		bool near = inside < 2 * WINDOW_MOST;

		walk->window_next = near && walk->window_next ?
			2 * walk->window_next : WINDOW_LEAST;
		if (walk->window_next > WINDOW_MOST)
			walk->window_next = WINDOW_MOST;
		extent = standing_extent(walk->standing, at);
		walk->window_size = 0;
		if (extent < HEADER)
			return false;
		if (extent > walk->window_next)
			extent = walk->window_next;
		if (!standing_read(walk->standing, at, walk->window,
				   (size_t)extent))
			return false;
		walk->window_start = at;
		walk->window_size = (size_t)extent;
		inside = 0;
	}
	memcpy(ret, walk->window + inside, HEADER);
	return true;
}

/**
 * The size of a chunk in a chain, or 0 where there is none.
 * @param end  where the chain ends at the latest
 */
static uint64_t chunk_size(struct walk *walk, uint64_t at, uint64_t end)
{
	uint64_t header[2], size;

	if (end - at < CHUNK_LEAST || !read_header(walk, at, header))
		return 0;
	size = header[1] & ~(uint64_t)SIZE_BITS;
	return size < CHUNK_LEAST || size % CHUNK_ALIGN != 0 ||
	       size > end - at || (header[1] & IS_MMAPPED) ? 0 : size;
}

/** Whether a chain begins here: enough chunks, or all there is room for. */
static bool begins_chain(struct walk *walk, uint64_t at, uint64_t end)
{
	uint64_t header[2], size;

	// Nothing before the first one can be free.
	if (end - at < CHUNK_LEAST || !read_header(walk, at, header) ||
	    !(header[1] & PREV_INUSE))
		return false;
	for (int i = 0; i < CHAIN_BELIEVED && at < end; i++, at += size) {
		size = chunk_size(walk, at, end);
		if (size == 0)
			return false;
	}
	return true;
}

static struct error *walk_chain(struct walk *walk, uint64_t at, uint64_t end)
{
	while (at < end && standing_holds(walk->standing)) {
		uint64_t size = chunk_size(walk, at, end);
		struct chunk chunk = { at + HEADER, at + size };
		struct error *err;

		if (size == 0)
			break;
		if (size >= walk->least) {
			err = walk->fn(walk->context, &chunk);
			if (err)
				return err;
		}
		at += size;
	}
	return NULL;
}

/**
 * Is this the struct _heap_info of an arena, and how much of it is in use? The
 * first heap of an arena has the arena's own state behind that.
 */
static bool find_arena(struct walk *walk, uint64_t at, uint64_t end,
		       uint64_t *ret_first, uint64_t *ret_end)
{
	uint64_t info[4];	/* ar_ptr, prev, size, mprotect_size */

	if (standing_extent(walk->standing, at) < sizeof(info) ||
	    !standing_read(walk->standing, at, info, sizeof(info)) ||
	    info[0] == 0 || info[0] % 8 != 0 || info[1] % HEAP_ALIGN != 0 ||
	    info[2] < ARENA_MAX || info[2] > HEAP_ALIGN ||
	    info[2] % walk->page != 0 || info[2] > info[3] ||
	    info[3] > HEAP_ALIGN || info[2] > end - at)
		return false;
	*ret_end = at + info[2];
	for (uint64_t first = at + HEAP_INFO_OLD; first < at + ARENA_MAX;
	     first += CHUNK_ALIGN) {
		bool state = info[0] == at + HEAP_INFO_OLD ||
			     info[0] == at + HEAP_INFO;

		// The state takes more than 2 KiB; without it none is skipped.
		if (!state && first > at + HEAP_INFO)
			return false;
		if (state && first < info[0] + 2048)
			continue;
		if (begins_chain(walk, first, *ret_end)) {
			*ret_first = first;
			return true;
		}
	}
	return false;
}

/* --- chunks with a mapping of their own ---------------------------------------- */

/**
 * The first words of a page that is there. Where pages are asked one by
 * one, the next ones are read together with it.
 */
static const uint64_t *probe(struct walk *walk, uint64_t at, uint64_t extent)
{
	uint64_t i = (at - walk->probes_start) / walk->page;
	uint64_t addresses[PROBES_MOST];
	size_t count;

	if (at >= walk->probes_start && i < walk->num_probes)
		return walk->probes[i];
	// After a chunk, most often another one follows.
	walk->next_probes = walk->num_probes > 0 && i == walk->num_probes ?
				    2 * walk->next_probes : 1;
	if (walk->next_probes > PROBES_MOST)
		walk->next_probes = PROBES_MOST;
	for (count = 0; count < walk->next_probes && extent >= CHUNKS_PROBE;
	     count++) {
		addresses[count] = at + count * walk->page;
		extent -= extent < walk->page ? extent : walk->page;
	}
	walk->probes_start = at;
	walk->num_probes = standing_read_pieces(walk->standing, addresses,
						count, walk->probes,
						CHUNKS_PROBE);
	return walk->num_probes > 0 ? walk->probes[0] : NULL;
}

uint64_t chunks_mapped_size(const uint64_t *words, uint64_t left, uint64_t page,
			    uint64_t *ret_first)
{
	for (uint64_t lead = 0; lead < CHUNKS_PROBE; lead += CHUNK_ALIGN) {
		const uint64_t *header = words + lead / 8;
		uint64_t size = header[1] & ~(uint64_t)SIZE_BITS;

		if (header[0] != lead || size < CHUNK_LEAST || size > left ||
		    (header[1] & SIZE_BITS) != IS_MMAPPED)
			continue;
		size += lead;
		if ((size + HEADER) % page == 0)
			size += HEADER;
		*ret_first = lead + HEADER;
		if (size % page == 0 && size <= left)
			return size;
	}
	return 0;
}

/** Past what is not there, and what is known to hold no chunk. */
static uint64_t next_place(const struct walk *walk, uint64_t at)
{
	const struct standing *standing = walk->standing;

	for (;;) {
		size_t i = standing_find(standing->there, standing->num_there,
					 at);
		size_t j = standing_find(walk->passed, walk->num_passed, at);

		if (i == standing->num_there)
			return UINT64_MAX;
		if (standing->there[i].start > at)
			at = standing->there[i].start;
		else if (j < walk->num_passed && walk->passed[j].start <= at)
			at = (walk->passed[j].end + walk->page - 1) &
			     ~(walk->page - 1);
		else
			return at;
	}
}

/** Whatever begins at a page: an arena, a chunk, or nothing known. */
static struct error *walk_place(struct walk *walk, uint64_t *at, uint64_t end)
{
	const uint64_t *words = probe(walk, *at,
				      standing_extent(walk->standing, *at));
	uint64_t first = 0, last, size = 0;
	struct chunk chunk;
	struct error *err;

	if (words)
		size = chunks_mapped_size(words, end - *at, walk->page,
					  &first);
	if (size > 0) {
		chunk = (struct chunk){ *at + first, *at + size };
		*at += size;
		return size >= walk->least ? walk->fn(walk->context, &chunk) :
					     NULL;
	}
	if (words && *at % HEAP_ALIGN == 0 &&
	    find_arena(walk, *at, end, &first, &last)) {
		err = walk_chain(walk, first, last);
		*at = last;
		return err;
	}
	walk->in_vain++;
	*at += walk->page;
	return NULL;
}

static struct error *walk_mapped(struct walk *walk, uint64_t at, uint64_t end)
{
	struct error *err = NULL;

	while (!err && walk->in_vain < PROBES_IN_VAIN &&
	       standing_holds(walk->standing)) {
		at = next_place(walk, at);
		if (at >= end)
			break;
		err = walk_place(walk, &at, end);
	}
	return err;
}

static bool is_brk(const struct procmap *map)
{
	return strcmp(map->name, "[heap]") == 0;
}

bool chunks_may_be_mapped(const struct procmap *map)
{
	return !(map->flags & FORMAT_MAPPING_SHARED) &&
	       (map->protection & PF_W) && map->inode == 0 &&
	       (map->name[0] == '\0' || strncmp(map->name, "[anon", 5) == 0);
}

/** As chunks_end(), of any kind. */
static uint64_t end_of_kind(const struct procmaps *maps, size_t *i,
			    bool (*kind)(const struct procmap *map))
{
	while (*i + 1 < maps->count &&
	       maps->items[*i + 1].start == maps->items[*i].end &&
	       kind(&maps->items[*i + 1]))
		(*i)++;
	return maps->items[*i].end;
}

uint64_t chunks_end(const struct procmaps *maps, size_t *i)
{
	return end_of_kind(maps, i, chunks_may_be_mapped);
}

struct error *chunks_each(struct standing *standing,
			  const struct select_span *passed,
			  size_t num_passed, uint64_t size, chunk_fn *fn,
			  void *context)
{
	const struct procmaps *maps = standing->options.maps;
	struct walk walk = {
		.standing = standing,
		.passed = passed,
		.num_passed = num_passed,
		.least = size,
		.fn = fn,
		.context = context,
		.page = (uint64_t)sysconf(_SC_PAGESIZE),
	};
	struct error *err = NULL;

	for (size_t i = 0; !err && i < maps->count; i++) {
		const struct procmap *map = &maps->items[i];
		uint64_t end;

		if (is_brk(map)) {
			end = end_of_kind(maps, &i, is_brk);
			if (begins_chain(&walk, map->start, end))
				err = walk_chain(&walk, map->start, end);
		} else if (chunks_may_be_mapped(map)) {
			end = chunks_end(maps, &i);
			if (end - map->start >= size)
				err = walk_mapped(&walk, map->start, end);
		}
	}
	return err;
}
