/*
 * Arenas of glibc's malloc, and where their heaps are; see glibcheap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/malloc/glibcstate.h"
#include "image/symbols.h"

enum {
	PAGE = 4096,
	/* struct _heap_info before 2.35, and after */
	HEAP_INFO_OLD = 32,
	HEAP_INFO = 48,
	BINS_BELIEVED = 96,	/* of a state that something leads to */
	BINS_KNOWN = 118,	/* … and of one that nothing does */
	CHAIN_BELIEVED = 16,	/* chunks in a row */
	BINS_SIZE = GLIBC_BINS * 16,
	/* after the bins: binmap (16 bytes), and then */
	NEXT = BINS_SIZE + 16,
	ATTACHED = NEXT + 16,
	SYSTEM = ATTACHED + 8,
	SYSTEM_MAX = SYSTEM + 8,
	STATE_END = SYSTEM_MAX + 8,
	TCACHE_BINS_MAX = 128,
	DATA_MAX = 256 << 20,	/* bytes of a program looked through */
};

static const struct glibc_layout layouts[] = {
	{ .bins = 112, .fast = 16 },	/* 2.27 to 2.42 */
	{ .bins = 24, .fast = 0 },	/* 2.43 */
	{ .bins = 104, .fast = 8 },	/* 2.26 */
};

static uint64_t word_at(struct glibc_heap *heap, uint64_t at)
{
	uint64_t word;

	return memory_try_u64(&heap->memory, at, &word) ? word : 0;
}

/* --- what looks like an arena ------------------------------------------------- */

/** Is this a list's head: of an empty one, or with a chunk that leads back? */
static bool is_bin(struct glibc_heap *heap, uint64_t at)
{
	uint64_t pair[2], head = at - 16;

	if (!memory_try_read(&heap->memory, at, pair, sizeof(pair)))
		return false;
	if (pair[0] == head && pair[1] == head)
		return true;
	if (pair[0] % GLIBC_ALIGN || pair[1] % GLIBC_ALIGN || !pair[0] ||
	    !pair[1])
		return false;
	return word_at(heap, pair[0] + 24) == head ||
	       word_at(heap, pair[1] + 16) == head;
}

/** What stands behind the bins can be what it has to be. */
static bool has_end(struct glibc_heap *heap, uint64_t bins)
{
	uint64_t next = word_at(heap, bins + NEXT);
	uint64_t system = word_at(heap, bins + SYSTEM);

	return next != 0 && next % 8 == 0 &&
	       system <= word_at(heap, bins + SYSTEM_MAX) &&
	       word_at(heap, bins + ATTACHED) < UINT32_MAX;
}

static bool is_state(struct glibc_heap *heap, uint64_t address,
		     const struct glibc_layout *layout)
{
	uint64_t bins = address + layout->bins;
	int found = 0;

	if (address == 0 || address % 8)
		return false;
	for (int i = 0; i < GLIBC_BINS; i++)
		found += is_bin(heap, bins + 16 * (uint64_t)i);
	return found >= BINS_BELIEVED;
}

/** The layout by which the ring that begins here is one. */
static const struct glibc_layout *layout_of(struct glibc_heap *heap,
					    uint64_t bins)
{
	uint64_t next = word_at(heap, bins + NEXT);

	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
		if (next == bins - layouts[i].bins)
			return &layouts[i];
	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
		if (is_state(heap, next, &layouts[i]))
			return &layouts[i];
	return NULL;
}

/** Can there be fast bins, and the flags before them, in front of the bins? */
static bool fronts_fit(struct glibc_heap *heap, uint64_t bins)
{
	uint64_t start = bins - layouts[0].bins;
	uint64_t flags = word_at(heap, start);

	if ((uint32_t)flags > 2 || flags >> 32 > 3 ||
	    (uint32_t)word_at(heap, start + 8) > 1)
		return false;
	for (uint64_t i = 0; i < GLIBC_FAST_BINS; i++)
		if (word_at(heap, start + layouts[0].fast + 8 * i) %
		    GLIBC_ALIGN)
			return false;
	return true;
}

/* --- the main arena ----------------------------------------------------------- */

/**
 * The first of the bins around one of them: of all rows of 127 that hold it
 * the one with the most heads.
 */
static uint64_t first_bin(struct glibc_heap *heap, uint64_t some)
{
	bool bins[2 * GLIBC_BINS - 1] = { false };
	uint64_t low = some - 16 * (uint64_t)(GLIBC_BINS - 1), best = 0;
	int count = 0, most = BINS_KNOWN - 1;

	for (int i = 0; i < 2 * GLIBC_BINS - 1; i++)
		bins[i] = is_bin(heap, low + 16 * (uint64_t)i);
	for (int i = 0; i < GLIBC_BINS; i++)
		count += bins[i];
	for (int i = 0; i < GLIBC_BINS; i++) {
		uint64_t at = low + 16 * (uint64_t)i;

		if (count > most && has_end(heap, at)) {
			most = count;
			best = at;
		}
		if (i + 1 < GLIBC_BINS)
			count += bins[i + GLIBC_BINS] - bins[i];
	}
	return best;
}

static bool take_main(struct glibc_heap *heap, struct module *module,
		      uint64_t bins, const char *found_by)
{
	const struct glibc_layout *layout = layout_of(heap, bins);

	// Where the ring leads nowhere, what is in front tells.
	if (!layout)
		layout = fronts_fit(heap, bins) ? &layouts[0] : &layouts[1];
	heap->layout = *layout;
	heap->module = module;
	heap->found_by = found_by;
	heap->arenas[0].address = bins - layout->bins;
	return true;
}

static bool search_range(struct glibc_heap *heap, struct module *module,
			 uint64_t start, uint64_t end)
{
	for (uint64_t at = (start + 7) & ~UINT64_C(7); at + 16 <= end;
	     at += 8) {
		uint64_t pair[2], bins;

		if (!memory_try_read(&heap->memory, at, pair, sizeof(pair)) ||
		    pair[0] != at - 16 || pair[1] != at - 16)
			continue;
		bins = first_bin(heap, at);
		if (bins)
			return take_main(heap, module, bins,
					 "the shape of its bins");
	}
	return false;
}

/** Call fn for the writable pieces of a module until it returns true. */
static bool each_data(struct glibc_heap *heap, struct module *module,
		      bool (*fn)(struct glibc_heap *heap, struct module *module,
				 uint64_t start, uint64_t end))
{
	const struct memory *memory = heap->image->memory;
	const struct memory_range *range;
	uint64_t at = module->start, left = DATA_MAX;

	while (left && (range = memory_find_above(memory, at)) != NULL &&
	       range->start < module->end) {
		uint64_t start = range->start > at ? range->start : at;
		uint64_t end = range->end < module->end ? range->end :
							  module->end;

		if (end - start > left)
			end = start + left;
		if ((range->protection & PF_W) &&
		    range->state == MEMORY_CAPTURED) {
			left -= end - start;
			if (fn(heap, module, start, end))
				return true;
		}
		at = range->end;
	}
	return false;
}

static const char *base_name(const struct module *module)
{
	const char *slash = strrchr(module->path, '/');

	return slash ? slash + 1 : module->path;
}

static bool is_libc(const struct module *module)
{
	const char *name = base_name(module);

	return strncmp(name, "libc.so", 7) == 0 ||
	       strncmp(name, "libc-2.", 7) == 0;
}

static bool search_module(struct glibc_heap *heap, struct module *module)
{
	struct symbol symbol;

	if (symbols_lookup(module, heap->image->memory, "main_arena",
			   &symbol)) {
		for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
			if (is_state(heap, symbol.address, &layouts[i]) &&
			    has_end(heap, symbol.address + layouts[i].bins)) {
				heap->layout = layouts[i];
				heap->module = module;
				heap->found_by = "its symbol";
				heap->arenas[0].address = symbol.address;
				return true;
			}
	}
	return each_data(heap, module, search_range);
}

static bool find_main(struct glibc_heap *heap)
{
	struct modules *modules = heap->image->modules;

	for (size_t i = 0; i < modules_count(modules); i++)
		if (is_libc(modules_get(modules, i)) &&
		    search_module(heap, modules_get(modules, i)))
			return true;
	for (size_t i = 0; i < modules_count(modules); i++)
		if (modules_get(modules, i)->is_executable &&
		    search_module(heap, modules_get(modules, i)))
			return true;
	return false;
}

/* --- heaps -------------------------------------------------------------------- */

/** The size of the chunk in a chain whose header is here; 0: there is none. */
static uint64_t chunk_size(struct glibc_heap *heap, uint64_t at, uint64_t end,
			   uint64_t *ret_word)
{
	uint64_t word, size;

	if (at >= end || end - at < GLIBC_LEAST ||
	    !memory_try_u64(&heap->memory, at + 8, &word))
		return 0;
	size = word & ~(uint64_t)GLIBC_SIZE_BITS;
	*ret_word = word;
	return size < GLIBC_LEAST || size % GLIBC_ALIGN || size > end - at ||
			       (word & GLIBC_IS_MMAPPED) ? 0 : size;
}

static bool begins_chain(struct glibc_heap *heap, uint64_t at, uint64_t end)
{
	uint64_t word = 0, size = chunk_size(heap, at, end, &word);

	// Nothing before the first one can be free.
	if (size == 0 || !(word & GLIBC_PREV_INUSE))
		return false;
	for (int i = 0; i < CHAIN_BELIEVED && at < end; i++, at += size) {
		size = chunk_size(heap, at, end, &word);
		if (size == 0)
			return false;
	}
	return true;
}

uint64_t glibc_heap_from(const struct glibc_heap *heap,
			 const struct memory_range *range)
{
	const struct module *module = modules_find(heap->image->modules,
						   range->start);
	uint64_t page = GLIBC_PAGE - 1, start = range->start;

	if (!(range->protection & PF_W))
		return range->end;
	if (module)
		start = module->end < range->end ?
				(module->end + page) & ~page : range->end;
	return start >= range->start && start < range->end ? start : range->end;
}

bool glibc_may_be_heap(const struct glibc_heap *heap,
		       const struct memory_range *range)
{
	return range->start < range->end &&
	       glibc_heap_from(heap, range) == range->start;
}

/** Ranges one behind the other that may be of one heap. */
static struct glibc_span span_around(const struct glibc_heap *heap,
				     uint64_t address)
{
	const struct memory *memory = heap->image->memory;
	const struct memory_range *range = memory_find(memory, address);
	struct glibc_span span = { address, address };

	if (!range || glibc_heap_from(heap, range) > address)
		return span;
	span = (struct glibc_span){ glibc_heap_from(heap, range), range->end };
	while ((range = memory_find(memory, span.end)) != NULL &&
	       glibc_may_be_heap(heap, range))
		span.end = range->end;
	while ((range = memory_find(memory, span.start - 1)) != NULL &&
	       glibc_heap_from(heap, range) < span.start)
		span.start = glibc_heap_from(heap, range);
	return span;
}

/** [heap], as the notes have it; false: they do not tell. */
static bool noted_heap(const struct glibc_heap *heap, struct glibc_span *ret)
{
	const struct core_notes *notes = &heap->image->notes;
	bool found = false;

	for (size_t i = 0; i < notes->num_mappings; i++) {
		const struct format_mapping *map = &notes->mappings[i];

		if (map->name >= notes->mapping_names_size ||
		    strcmp(notes->mapping_names + map->name, "[heap]") != 0)
			continue;
		if (found && ret->end != map->start)
			break;
		if (!found)
			ret->start = map->start;
		ret->end = map->end;
		found = true;
	}
	return found;
}

static struct error *add_region(struct glibc_heap *heap,
				struct glibc_region region)
{
	struct glibc_region *regions;

	if (heap->num_regions % 64 == 0) {
		regions = realloc(heap->regions, (heap->num_regions + 64) *
						 sizeof(*regions));
		if (!regions)
			return error_no_memory();
		heap->regions = regions;
	}
	heap->regions[heap->num_regions++] = region;
	heap->arenas[region.arena].num_heaps++;
	return NULL;
}

/**
 * The heap of brk: from where the parameters, the notes or the mapping say to
 * the end of the mapping.
 */
static struct error *add_brk(struct glibc_heap *heap)
{
	struct glibc_arena *arena = &heap->arenas[0];
	struct glibc_span span, noted = { 0, 0 };
	uint64_t first = heap->parameters.known ? heap->parameters.first : 0;
	bool has_noted = noted_heap(heap, &noted);
	struct error *err;

	if (!first && has_noted)
		first = noted.start;
	span = span_around(heap, first ? first : arena->top);
	if (has_noted && span.start <= noted.start && noted.start < span.end)
		span = noted;
	if (!first)
		first = span.start;
	first = (first + GLIBC_ALIGN - 1) & ~(uint64_t)(GLIBC_ALIGN - 1);
	if (first < span.end && begins_chain(heap, first, span.end)) {
		err = add_region(heap, (struct glibc_region){
			.start = first, .end = span.end, .first = first });
		if (err || (arena->top >= first && arena->top < span.end))
			return err;
	}
	// Where brk could not grow, malloc goes on in a mapping.
	span = span_around(heap, arena->top);
	if (span.start == span.end || !begins_chain(heap, span.start, span.end))
		return NULL;
	for (size_t i = 0; i < heap->num_regions; i++)
		if (span.start < heap->regions[i].end &&
		    heap->regions[i].start < span.end)
			return NULL;
	return add_region(heap, (struct glibc_region){
		.start = span.start, .end = span.end, .first = span.start });
}

/** A struct _heap_info, as far as it tells by itself. */
static bool is_heap_info(struct glibc_heap *heap, uint64_t at, uint64_t info[4])
{
	// ar_ptr, prev, size, mprotect_size
	return memory_try_few(&heap->memory, at, info, 4 * sizeof(*info)) &&
	       info[0] != 0 && info[0] % 8 == 0 &&
	       info[1] % GLIBC_HEAP_ALIGN == 0 && info[2] >= PAGE &&
	       info[2] <= GLIBC_HEAP_ALIGN && info[2] % PAGE == 0 &&
	       info[2] <= info[3] && info[3] <= GLIBC_HEAP_ALIGN;
}

static size_t find_arena(const struct glibc_heap *heap, uint64_t address)
{
	for (size_t i = 0; i < heap->num_arenas; i++)
		if (heap->arenas[i].address == address)
			return i;
	return heap->num_arenas;
}

static struct error *add_arena(struct glibc_heap *heap, uint64_t address)
{
	struct glibc_arena *arenas;

	if (heap->num_arenas >= GLIBC_ARENAS_MAX)
		return NULL;
	arenas = realloc(heap->arenas,
			 (heap->num_arenas + 1) * sizeof(*arenas));
	if (!arenas)
		return error_no_memory();
	heap->arenas = arenas;
	arenas[heap->num_arenas++] =
		(struct glibc_arena){ .address = address };
	return NULL;
}

/** Where a heap's first chunk is: behind its header, and its arena's state. */
static uint64_t first_chunk(struct glibc_heap *heap, uint64_t at,
			    const uint64_t info[4])
{
	uint64_t ends[2] = { at + HEAP_INFO, at + HEAP_INFO_OLD };

	if (info[0] == at + HEAP_INFO || info[0] == at + HEAP_INFO_OLD)
		ends[0] = ends[1] = info[0] + heap->layout.bins + STATE_END;
	for (int i = 0; i < 2; i++) {
		uint64_t first = (ends[i] + GLIBC_ALIGN - 1) &
				 ~(uint64_t)(GLIBC_ALIGN - 1);

		if (begins_chain(heap, first, at + info[2]))
			return first;
	}
	return 0;
}

static struct error *add_heap(struct glibc_heap *heap, uint64_t at)
{
	uint64_t info[4], first;
	struct error *err = NULL;
	size_t i;

	if (!is_heap_info(heap, at, info))
		return NULL;
	i = find_arena(heap, info[0]);
	if (i == heap->num_arenas) {
		// Only its own heap can show what no ring leads to.
		if ((info[0] != at + HEAP_INFO &&
		     info[0] != at + HEAP_INFO_OLD) ||
		    !is_state(heap, info[0], &heap->layout))
			return NULL;
		findings_add(heap->image->findings, "malloc-ring", info[0],
			     "the ring of malloc's arenas does not lead to the "
			     "one at 0x%llx", (unsigned long long)info[0]);
		err = add_arena(heap, info[0]);
		if (err || i == heap->num_arenas)
			return err;
	}
	first = first_chunk(heap, at, info);
	if (!first)
		findings_add(heap->image->findings, "malloc-heap", at,
			     "malloc's heap at 0x%llx does not begin with "
			     "chunks", (unsigned long long)at);
	return add_region(heap, (struct glibc_region){
		.start = at, .end = at + info[2], .arena = (uint32_t)i,
		.first = first ? first : at + info[2],
	});
}

static struct error *add_heaps(struct glibc_heap *heap)
{
	const struct memory *memory = heap->image->memory;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);
		uint64_t at = (glibc_heap_from(heap, range) +
			       GLIBC_HEAP_ALIGN - 1) & ~(GLIBC_HEAP_ALIGN - 1);

		if (range->state != MEMORY_CAPTURED)
			continue;
		for (; !err && at >= range->start && at < range->end;
		     at += GLIBC_HEAP_ALIGN)
			err = add_heap(heap, at);
	}
	return err;
}

/* --- the ring, and the parameters ---------------------------------------------- */

static struct error *follow_ring(struct glibc_heap *heap)
{
	uint64_t start = heap->arenas[0].address, from = start, at;
	struct error *err = NULL;

	while (!err) {
		at = word_at(heap, from + heap->layout.bins + NEXT);
		if (at == start)
			break;
		if (find_arena(heap, at) < heap->num_arenas ||
		    !is_state(heap, at, &heap->layout)) {
			findings_add(heap->image->findings, "malloc-ring", from,
				     "the arena of malloc at 0x%llx is followed "
				     "by one at 0x%llx, which is none",
				     (unsigned long long)from,
				     (unsigned long long)at);
			break;
		}
		if (heap->num_arenas >= GLIBC_ARENAS_MAX)
			break;
		err = add_arena(heap, at);
		from = at;
	}
	return err;
}

static void read_arena(struct glibc_heap *heap, struct glibc_arena *arena)
{
	uint64_t bins = arena->address + heap->layout.bins;
	uint32_t mutex = 0;

	arena->top = word_at(heap, bins - 16);
	arena->system = word_at(heap, bins + SYSTEM);
	arena->attached = word_at(heap, bins + ATTACHED);
	(void)memory_try_u32(&heap->memory, arena->address, &mutex);
	arena->locked = mutex != 0;
}

static uint32_t half_at(struct glibc_heap *heap, uint64_t at)
{
	uint32_t half;

	return memory_try_u32(&heap->memory, at, &half) ? half : 0;
}

/**
 * Is this word sbrk_base of struct malloc_par? In front of it are mmapped_mem,
 * max_mmapped_mem and, before those, n_mmaps, n_mmaps_max, max_n_mmaps and
 * no_dyn_threshold (in 2.35 and later with a gap behind), after it the sizes of
 * tcache.
 */
static bool is_parameters(struct glibc_heap *heap, uint64_t at)
{
	struct glibc_parameters found = { .first = word_at(heap, at) };
	uint64_t most = word_at(heap, at - 8);
	uint64_t top = heap->arenas[0].top;
	struct glibc_span span;

	found.mapped = word_at(heap, at - 16);
	if (found.first == 0 || found.first > top || found.mapped > most ||
	    word_at(heap, at + 8) > TCACHE_BINS_MAX ||
	    word_at(heap, at + 24) > UINT16_MAX)
		return false;
	for (uint64_t gap = 0; gap <= 4; gap += 4) {
		uint64_t ints = at - 32 - gap;
		uint32_t count = half_at(heap, ints);
		uint32_t limit = half_at(heap, ints + 4);
		uint32_t count_most = half_at(heap, ints + 8);

		if (half_at(heap, ints + 12) > 1 || count > count_most ||
		    limit == 0 || limit > INT32_MAX || count > limit ||
		    (gap && half_at(heap, at - 20) != 0) ||
		    (count == 0) != (found.mapped == 0) ||
		    (count_most == 0) != (most == 0))
			continue;
		found.num_mapped = count;
		found.known = true;
	}
	if (!found.known)
		return false;
	span = span_around(heap, found.first);
	if (!begins_chain(heap, (found.first + GLIBC_ALIGN - 1) &
				~(uint64_t)(GLIBC_ALIGN - 1), span.end))
		return false;
	found.tcache_count = word_at(heap, at + 24);
	heap->parameters = found;
	return true;
}

static bool search_parameters(struct glibc_heap *heap, struct module *module,
			      uint64_t start, uint64_t end)
{
	(void)module;
	for (uint64_t at = start + 64; at + 40 <= end; at += 8)
		if (is_parameters(heap, at))
			return true;
	return false;
}

/* --- all of it ---------------------------------------------------------------- */

static int by_start(const void *a, const void *b)
{
	const struct glibc_region *left = a, *right = b;

	return (left->start > right->start) - (left->start < right->start);
}

const struct glibc_region *glibc_region_at(const struct glibc_heap *heap,
					   uint64_t address)
{
	size_t low = 0, high = heap->num_regions;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (heap->regions[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < heap->num_regions && heap->regions[low].start <= address ?
		       &heap->regions[low] : NULL;
}

/** An arena's last chunk must lie in one of its heaps. */
static void check_tops(struct glibc_heap *heap)
{
	for (size_t i = 0; i < heap->num_arenas; i++) {
		const struct glibc_arena *arena = &heap->arenas[i];
		const struct glibc_region *region =
			glibc_region_at(heap, arena->top);
		// Before its first chunk an arena's top is one of its bins.
		bool fresh = arena->top ==
			     arena->address + heap->layout.bins - 16;

		if (!fresh && (!region || region->arena != i ||
			       arena->top % GLIBC_ALIGN))
			findings_add(heap->image->findings, "malloc-top",
				     arena->address, "the arena of malloc at "
				     "0x%llx ends at 0x%llx, which is not in "
				     "its heap",
				     (unsigned long long)arena->address,
				     (unsigned long long)arena->top);
	}
}

struct error *glibc_find_arenas(struct glibc_heap *heap)
{
	struct error *err = add_arena(heap, 0);

	if (err)
		return err;
	if (!find_main(heap))
		return error_new(ERROR_NOT_FOUND, "there is no heap of glibc's "
				 "malloc, or it is not in the dump");
	heap->arenas[0].is_main = true;
	read_arena(heap, &heap->arenas[0]);
	(void)each_data(heap, heap->module, search_parameters);
	err = follow_ring(heap);
	if (!err)
		err = add_brk(heap);
	if (!err)
		err = add_heaps(heap);
	if (err)
		return err;
	for (size_t i = 1; i < heap->num_arenas; i++)
		read_arena(heap, &heap->arenas[i]);
	if (heap->num_regions)
		qsort(heap->regions, heap->num_regions, sizeof(*heap->regions),
		      by_start);
	// Damage may make heaps overlap: no byte is walked over twice.
	for (size_t i = 1; i < heap->num_regions; i++)
		if (heap->regions[i - 1].end > heap->regions[i].start) {
			heap->regions[i - 1].end = heap->regions[i].start;
			if (heap->regions[i - 1].first >
			    heap->regions[i - 1].end)
				heap->regions[i - 1].first =
					heap->regions[i - 1].end;
		}
	check_tops(heap);
	return NULL;
}
