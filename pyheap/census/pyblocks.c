/*
 * pymalloc: arenas, pools and live blocks; see pyblocks.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pyblocks.h"

#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* struct pool_header; the same in 3.8 … 3.15 (test_layouts.py) */
	POOL_COUNT = 0,
	POOL_FREEBLOCK = 8,
	POOL_NEXTPOOL = 16,
	POOL_ARENAINDEX = 32,
	POOL_SZIDX = 36,
	POOL_NEXTOFFSET = 40,
	POOL_MAXNEXTOFFSET = 44,

	/* struct arena_object */
	ARENA_ADDRESS = 0,
	ARENA_POOL_ADDRESS = 8,
	ARENA_NFREEPOOLS = 16,
	ARENA_NTOTALPOOLS = 20,
	ARENA_FREEPOOLS = 24,
	ARENA_NEXT = 32,
	ARENA_PREV = 40,
	ARENA_SIZE = 48,

	/* More arenas than this are 16 TiB of small objects: not believed. */
	ARENAS_MAX = 1 << 24,
	MMAP_ALIGN = 4096,	/* where arenas begin, as a rule */
	ARENAS_INITIAL = 16,	/* INITIAL_ARENA_OBJECTS */
	SAMPLES_MAX = 16,	/* arenas whose pools are asked */
	POOLS_ASKED = 8,
	DAMAGED_ENTRIES = 4,	/* in a row that are stepped over */
	DAMAGED_KNOWN = 16,	/* … where the length is known */
	ARRAYS_MAX = 16,	/* lists of arenas remembered */
};

static uint32_t load_u32(const uint8_t *bytes, size_t at)
{
	uint32_t value;

	memcpy(&value, bytes + at, sizeof(value));
	return value;
}

static uint64_t load_u64(const uint8_t *bytes, size_t at)
{
	uint64_t value;

	memcpy(&value, bytes + at, sizeof(value));
	return value;
}

/** Whether 48 bytes can be the header of a pool of this size. */
static const char *check_header(const uint8_t *bytes, uint64_t address,
				uint32_t size)
{
	uint32_t szidx = load_u32(bytes, POOL_SZIDX);
	uint32_t next = load_u32(bytes, POOL_NEXTOFFSET);
	uint32_t max_next = load_u32(bytes, POOL_MAXNEXTOFFSET);
	uint64_t free_block = load_u64(bytes, POOL_FREEBLOCK);
	uint32_t block;

	if (szidx >= PYH_BLOCK_MAX / PYH_BLOCK_ALIGN)
		return "its size class is out of range";
	block = (szidx + 1) * PYH_BLOCK_ALIGN;
	if (max_next != size - block)
		return "its last block offset does not fit its size class";
	if (next < PYH_POOL_HEADER || next > size ||
	    (next - PYH_POOL_HEADER) % block != 0)
		return "its next block offset is no block boundary";
	if (load_u32(bytes, POOL_COUNT) > (next - PYH_POOL_HEADER) / block)
		return "it counts more blocks than it has handed out";
	if (free_block != 0 &&
	    (free_block < address + PYH_POOL_HEADER ||
	     free_block >= address + size))
		return "its free list leads out of it";
	return NULL;
}

/** Follow the free list, marking free blocks; NULL or what is wrong. */
static const char *follow_free_list(const uint8_t *bytes, uint64_t address,
				    uint64_t first, struct pyh_pool *pool)
{
	uint64_t at = first;
	uint32_t expected = pool->carved - pool->in_use, found = 0;

	while (at != 0) {
		uint64_t offset = at - address - PYH_POOL_HEADER;
		uint64_t block = offset / pool->block_size;

		if (at < address + PYH_POOL_HEADER || block >= pool->carved ||
		    offset % pool->block_size != 0)
			return "its free list leaves its blocks";
		if (pool->free[block / 64] & UINT64_C(1) << block % 64)
			return "its free list is a cycle";
		pool->free[block / 64] |= UINT64_C(1) << block % 64;
		found++;
		at = load_u64(bytes, (size_t)(at - address));
	}
	return found == expected ? NULL :
				   "its free list and its count disagree";
}

/** Whether blocks of a size end where a pool says that its next one begins. */
static bool fits_next(uint32_t block, uint32_t next, uint32_t size)
{
	return block >= PYH_BLOCK_ALIGN && block <= PYH_BLOCK_MAX &&
	       block % PYH_BLOCK_ALIGN == 0 && next > PYH_POOL_HEADER &&
	       next <= size && (next - PYH_POOL_HEADER) % block == 0;
}

uint32_t pyh_pool_block_size(const uint8_t *bytes, uint32_t size)
{
	uint32_t szidx = load_u32(bytes, POOL_SZIDX);
	uint32_t next = load_u32(bytes, POOL_NEXTOFFSET);
	uint32_t by_class = 0, by_offset = size -
					   load_u32(bytes, POOL_MAXNEXTOFFSET);

	if (szidx < PYH_BLOCK_MAX / PYH_BLOCK_ALIGN)
		by_class = (szidx + 1) * PYH_BLOCK_ALIGN;
	if (by_class == by_offset)
		return by_class;
	// One of the two is damaged. The next block tells which; as a smaller
	// size may fit by chance, the larger is right.
	if (!fits_next(by_class, next, size))
		by_class = 0;
	if (!fits_next(by_offset, next, size))
		by_offset = 0;
	return by_class > by_offset ? by_class : by_offset;
}

void pyh_pool_recover(uint64_t address, const uint8_t *bytes, uint32_t size,
		      struct pyh_pool *ret)
{
	uint8_t header[PYH_POOL_HEADER];
	uint32_t next;

	memcpy(header, bytes, sizeof(header));
	__asm__ volatile("" : : "r"(header) : "memory");
	next = load_u32(header, POOL_NEXTOFFSET);
	memset(ret, 0, sizeof(*ret));
	ret->block_size = pyh_pool_block_size(header, size);
	if (ret->block_size == 0)
		return;
	ret->carved = (size - PYH_POOL_HEADER) / ret->block_size;
	if (next > PYH_POOL_HEADER && next <= size &&
	    (next - PYH_POOL_HEADER) % ret->block_size == 0)
		ret->carved = (next - PYH_POOL_HEADER) / ret->block_size;
	(void)follow_free_list(bytes, address, load_u64(header, POOL_FREEBLOCK),
			       ret);
}

enum pyh_pool_state pyh_pool_parse(uint64_t address, const uint8_t *bytes,
				   uint32_t size, struct pyh_pool *ret,
				   const char **ret_why)
{
	uint8_t header[PYH_POOL_HEADER];
	uint32_t in_use;
	const char *why;

	// The file may change while it is mapped: what is used must be what
	// was checked, so the compiler may not read it twice.
	memcpy(header, bytes, sizeof(header));
	__asm__ volatile("" : : "r"(header) : "memory");
	in_use = load_u32(header, POOL_COUNT);
	// A pool that has run empty keeps a stale header.
	if (in_use == 0)
		return PYH_POOL_FREE;
	why = check_header(header, address, size);
	if (why) {
		pyh_pool_recover(address, bytes, size, ret);
		*ret_why = why;
		return PYH_POOL_DAMAGED;
	}
	ret->block_size = (load_u32(header, POOL_SZIDX) + 1) * PYH_BLOCK_ALIGN;
	ret->in_use = in_use;
	ret->carved = (load_u32(header, POOL_NEXTOFFSET) - PYH_POOL_HEADER) /
		      ret->block_size;
	memset(ret->free, 0, sizeof(ret->free));
	why = follow_free_list(bytes, address, load_u64(header, POOL_FREEBLOCK),
			       ret);
	if (why) {
		*ret_why = why;
		return PYH_POOL_DAMAGED;
	}
	return PYH_POOL_USED;
}

void pyh_free_pools(const struct pyh_arena *arena, uint32_t pool_size,
		    struct memory_reader *memory,
		    uint64_t ret[PYH_ARENA_WORDS])
{
	uint64_t at;

	memset(ret, 0, PYH_ARENA_WORDS * sizeof(*ret));
	if (!memory_try_u64(memory, arena->entry + ARENA_FREEPOOLS, &at))
		return;
	while (at >= arena->start && at < arena->end) {
		uint64_t i = (at - arena->start) / pool_size;

		if (i / 64 >= PYH_ARENA_WORDS ||
		    (ret[i / 64] & UINT64_C(1) << i % 64) ||
		    !memory_try_u64(memory, at + POOL_NEXTPOOL, &at))
			return;
		ret[i / 64] |= UINT64_C(1) << i % 64;
	}
}

/* --- finding arenas ------------------------------------------------------ */

struct finder {
	const struct pyh_runtime *runtime;
	struct memory_reader reader;
	struct pyh_arenas *arenas;
	size_t room;
	uint64_t arena_size;	/* bytes, of the usual kind */
	bool disbelieved;	/* entries that may hide arenas */
	struct array {
		uint64_t start, entries;
	} arrays[ARRAYS_MAX];		/* lists of arenas that were looked at */
	size_t num_arrays;
	bool unlisted;		/* there is a list that was not found */
};

static struct error *add_arena(struct finder *finder, struct pyh_arena arena)
{
	struct pyh_arenas *arenas = finder->arenas;

	if (arenas->count == finder->room) {
		size_t room = finder->room ? finder->room * 2 : 64;
		struct pyh_arena *grown;

		grown = realloc(arenas->arenas, room * sizeof(*grown));
		if (!grown)
			return error_no_memory();
		arenas->arenas = grown;
		finder->room = room;
	}
	arenas->arenas[arenas->count++] = arena;
	return NULL;
}

/* What the pools of an arena say about its place in the array. */
enum said { SAID_NOTHING, SAID_YES, SAID_NO };

/** Ask pools from start to end whether they are in arena i; a few will do. */
static enum said ask_pools(struct finder *finder, uint64_t start, uint64_t end,
			   uint64_t i)
{
	uint32_t pool = finder->arenas->pool_size;
	enum said said = SAID_NOTHING;

	for (int asked = 0; asked < POOLS_ASKED && start < end; asked++) {
		uint8_t header[PYH_POOL_HEADER];

		if (memory_try_read(&finder->reader, start, header,
				    sizeof(header))) {
			if (load_u32(header, POOL_ARENAINDEX) == i &&
			    !check_header(header, start, pool))
				return SAID_YES;
			said = SAID_NO;
		}
		start += pool;
	}
	return said;
}

/**
 * Whether 48 bytes can be entry i of the array of arena_objects that starts at
 * array: an arena in use whose pools know it by this index, or a free slot
 * that leads to another one. (What leads on from an arena that is full may be
 * stale.)
 */
static bool is_entry(struct finder *finder, uint64_t array, uint64_t i,
		     const uint8_t *bytes, bool check_pool)
{
	uint64_t pool = finder->arenas->pool_size;
	uint64_t address = load_u64(bytes, ARENA_ADDRESS);
	uint64_t carved = load_u64(bytes, ARENA_POOL_ADDRESS);
	uint64_t next = load_u64(bytes, ARENA_NEXT);
	uint32_t pools = load_u32(bytes, ARENA_NTOTALPOOLS);
	uint64_t start = (address + pool - 1) & ~(pool - 1);

	if (address == 0)
		return next == 0 ||
		       (next >= array && (next - array) % ARENA_SIZE == 0);
	// One of malloc, where the program has said so, begins on no page.
	if (address % 8 != 0 || address >> 48 ||
	    pools > 2 * finder->arena_size / pool ||
	    pools + 1 < finder->arena_size / pool ||
	    load_u32(bytes, ARENA_NFREEPOOLS) > pools ||
	    carved < start || carved > start + pools * pool ||
	    carved % pool != 0)
		return false;
	// What was never carved is free, and there may be more that is.
	if (pools - (carved - start) / pool > load_u32(bytes, ARENA_NFREEPOOLS))
		return false;
	if (address % MMAP_ALIGN != 0)
		return ask_pools(finder, start, carved, i) == SAID_YES;
	return !check_pool ||
	       ask_pools(finder, start, carved, i) != SAID_NO;
}

/**
 * Whether a word of an entry leads to an entry of its array, or nowhere. While
 * new_arena() makes the array longer, the last one leads to what comes next.
 */
static bool is_link(const struct array *array, uint64_t word)
{
	return word == 0 ||
	       (word >= array->start && (word - array->start) % ARENA_SIZE == 0 &&
		(word - array->start) / ARENA_SIZE <= array->entries);
}

/** Say what is wrong with an entry that may hide an arena. */
static void disbelieve(struct finder *finder, const struct array *array,
		       uint64_t i, const char *what)
{
	findings_add(finder->runtime->image->findings, "arena",
		     array->start + i * ARENA_SIZE,
		     "the entry of arena %" PRIu64 " is damaged: %s", i, what);
	finder->disbelieved = true;
}

/**
 * A free entry keeps what it said of its last arena, whose pools were all
 * empty: with one in use it is not free.
 */
static void check_free(struct finder *finder, const struct array *array,
		       uint64_t i, const uint8_t *bytes)
{
	uint64_t pool = finder->arenas->pool_size;
	uint64_t last = load_u64(bytes, ARENA_POOL_ADDRESS) - pool;
	uint8_t header[PYH_POOL_HEADER];

	if (!is_link(array, load_u64(bytes, ARENA_NEXT)))
		disbelieve(finder, array, i, "it is free, but does not lead to "
			   "another that is");
	else if (last % pool == 0 &&
		 memory_try_read(&finder->reader, last, header,
				 sizeof(header)) &&
		 load_u32(header, POOL_ARENAINDEX) == i &&
		 load_u32(header, POOL_COUNT) > 0 &&
		 !check_header(header, last, (uint32_t)pool))
		disbelieve(finder, array, i, "it is free, but a pool in use "
			   "knows of it");
}

/** Those with room are in a list, which leads to others with room. */
static void check_links(struct finder *finder, const struct array *array,
			uint64_t i, const uint8_t *bytes)
{
	if (load_u32(bytes, ARENA_NFREEPOOLS) > 0 &&
	    (!is_link(array, load_u64(bytes, ARENA_NEXT)) ||
	     !is_link(array, load_u64(bytes, ARENA_PREV))))
		findings_add(finder->runtime->image->findings, "arena",
			     array->start + i * ARENA_SIZE,
			     "the entry of arena %" PRIu64 " is damaged: it "
			     "does not lead to others with free pools", i);
}

/**
 * Believe an arena_object, or say why not.
 *
 * @param array, i  the array it is in, and its place there
 * @return false if it is no arena in use
 */
static bool check_arena(struct finder *finder, const struct array *array,
			uint64_t i, const uint8_t *bytes,
			struct pyh_arena *ret)
{
	struct findings *findings = finder->runtime->image->findings;
	uint64_t pool = finder->arenas->pool_size;
	uint64_t address = load_u64(bytes, ARENA_ADDRESS);
	uint64_t carved = load_u64(bytes, ARENA_POOL_ADDRESS);
	uint32_t pools = load_u32(bytes, ARENA_NTOTALPOOLS);
	uint64_t start = (address + pool - 1) & ~(pool - 1);

	if (address == 0) {
		check_free(finder, array, i, bytes);
		return false;
	}
	*ret = (struct pyh_arena){
		.start = start, .end = carved, .limit = start + pools * pool,
		.entry = array->start + i * ARENA_SIZE,
		.free_pools = load_u32(bytes, ARENA_NFREEPOOLS),
	};
	// An arena carved to its very end says twice where it is; asking the
	// pools of each would expand a frame of a compressed dump for each.
	if (is_entry(finder, array->start, i, bytes, ret->end != ret->limit ||
		     finder->arenas->count < SAMPLES_MAX)) {
		check_links(finder, array, i, bytes);
		return true;
	}
	// Its pools outweigh a damaged entry, and nothing else does.
	if (address >> 47 ||
	    ask_pools(finder, start, start + finder->arena_size - pool, i) !=
		    SAID_YES) {
		findings_add(findings, "arena", array->start + i * ARENA_SIZE,
			     "arena %" PRIu64 " is said to be at 0x%" PRIx64
			     ", where no pool knows of it", i, address);
		finder->disbelieved = true;
		return false;
	}
	findings_add(findings, "arena", array->start + i * ARENA_SIZE,
		     "the entry of arena %" PRIu64 ", at 0x%" PRIx64 ", is "
		     "damaged: %" PRIu32 " pools, the next at 0x%" PRIx64
		     "; all its pools are looked at", i, address, pools,
		     carved);
	if (pools > finder->arena_size / pool ||
	    pools + 1 < finder->arena_size / pool)
		ret->limit = (address + finder->arena_size) & ~(pool - 1);
	ret->end = ret->limit;
	ret->entry = 0;
	return true;
}

/* Where an array of arena_objects ends, as far as its entries tell. */
struct scan {
	uint64_t array, limit;	/* its address; entries looked at, at most */
	uint64_t damaged;	/* entries in a row that are stepped over */
	uint64_t next;		/* entry that was not looked at any more */
	uint64_t good;		/* entries up to the last that is one */
	uint64_t in_use;	/* of these */
	uint64_t used_to;	/* entries up to the last of those */
};

/**
 * Look at entries until more than a few in a row are none. Free entries lead
 * to one another, so only the last of those can be zeroes.
 */
static void scan_entries(struct finder *finder, struct scan *scan)
{
	uint64_t zeroes = 0, reach = 0;
	uint8_t bytes[ARENA_SIZE];

	for (; scan->next < scan->limit &&
	       scan->next - scan->good <= scan->damaged; scan->next++) {
		uint64_t i = scan->next;
		bool check_pool = scan->in_use < SAMPLES_MAX || i > scan->good;

		if (!memory_try_read(&finder->reader,
				     scan->array + i * ARENA_SIZE, bytes,
				     sizeof(bytes)))
			return;
		if (!is_entry(finder, scan->array, i, bytes, check_pool))
			continue;
		if (load_u64(bytes, ARENA_ADDRESS) != 0) {
			scan->in_use++;
			scan->used_to = i + 1;
		} else if (load_u64(bytes, ARENA_NEXT) != 0) {
			reach = (load_u64(bytes, ARENA_NEXT) - scan->array) /
				ARENA_SIZE;
		} else if (++zeroes > 1 && i != reach) {
			continue;
		}
		// A free one is one if it follows one.
		if (load_u64(bytes, ARENA_ADDRESS) != 0 || i == scan->good)
			scan->good = i + 1;
	}
}

/**
 * Free entries form one list, so one of them is the last, and another that
 * leads nowhere was overwritten.
 */
static struct error *check_free_list(struct finder *finder,
				     const struct array *array)
{
	uint8_t *followed = calloc(array->entries / 8 + 1, 1);
	uint64_t last = 0;

	if (!followed)
		return error_no_memory();
	for (uint64_t i = 0; i < 2 * array->entries; i++) {
		uint64_t at = i % array->entries, next;
		uint8_t bytes[ARENA_SIZE];

		if (!memory_try_read(&finder->reader,
				     array->start + at * ARENA_SIZE, bytes,
				     sizeof(bytes)) ||
		    load_u64(bytes, ARENA_ADDRESS) != 0)
			continue;
		next = load_u64(bytes, ARENA_NEXT);
		if (i != at) {
			if (last > 1 && next == 0 &&
			    !(followed[at / 8] >> at % 8 & 1))
				disbelieve(finder, array, at, "it is free, but "
					   "not in the list of those");
		} else if (next == 0) {
			last++;
		} else if (is_link(array, next)) {
			next = (next - array->start) / ARENA_SIZE;
			followed[next / 8] |= (uint8_t)(1 << next % 8);
		}
	}
	free(followed);
	return NULL;
}

/** Add the arenas of an array of count arena_objects. */
static struct error *add_array(struct finder *finder, uint64_t start,
			       uint64_t count)
{
	const struct array array = { start, count };

	if (finder->num_arrays < ARRAYS_MAX)
		finder->arrays[finder->num_arrays++] = array;
	for (uint64_t i = 0; i < count; i++) {
		uint8_t bytes[ARENA_SIZE];
		struct pyh_arena arena;
		struct error *err;

		if (!memory_try_read(&finder->reader, start + i * ARENA_SIZE,
				     bytes, sizeof(bytes))) {
			findings_add(finder->runtime->image->findings,
				     "arena", start + i * ARENA_SIZE,
				     "the list of arenas is cut off after "
				     "%" PRIu64 " of %" PRIu64, i, count);
			break;
		}
		if (!check_arena(finder, &array, i, bytes, &arena))
			continue;
		err = add_arena(finder, arena);
		if (err)
			return err;
	}
	return check_free_list(finder, &array);
}

/**
 * How many entries of an array whose length is known are to be believed: all
 * of them, unless more in a row than damage would explain are none.
 */
static uint64_t believe_entries(struct finder *finder, uint64_t array,
				uint64_t count)
{
	struct scan scan = { .array = array, .limit = count,
			     .damaged = DAMAGED_KNOWN };

	scan_entries(finder, &scan);
	if (scan.in_use == 0)
		return 0;
	return scan.next - scan.good > DAMAGED_KNOWN ? scan.good : count;
}

/** Add the arenas that the allocator state of an interpreter tells of. */
static struct error *add_state(struct finder *finder, uint64_t state,
			       uint64_t array, uint64_t count)
{
	const struct pyh_runtime *runtime = finder->runtime;
	size_t before = finder->arenas->count;
	uint64_t believed, in_use;
	struct error *err;

	believed = believe_entries(finder, array,
				   count < ARENAS_MAX ? count : ARENAS_MAX);
	if (believed == 0) {
		findings_add(runtime->image->findings, "arena",
			     state + pyh_offset(runtime,
						PYH_OBMALLOC_MGMT_ARENAS),
			     "the list of arenas is said to be at 0x%" PRIx64
			     ", where there is none", array);
		finder->disbelieved = finder->unlisted = true;
		return NULL;
	}
	if (believed < count)
		findings_add(runtime->image->findings, "arena",
			     state + pyh_offset(runtime,
						PYH_OBMALLOC_MGMT_MAXARENAS),
			     "the list of arenas is said to have %" PRIu64
			     " entries, but only %" PRIu64 " are some", count,
			     believed);
	err = add_array(finder, array, believed);
	// More are in use: some are not in the list, or beyond its end.
	if (pyh_field(runtime, &finder->reader, state,
		      PYH_OBMALLOC_MGMT_NARENAS_CURRENTLY_ALLOCATED, &in_use) &&
	    in_use > finder->arenas->count - before)
		finder->disbelieved = true;
	return err;
}

/** Through the allocator state of each interpreter (3.12 and later). */
static struct error *find_by_state(struct finder *finder)
{
	const struct pyh_runtime *runtime = finder->runtime;

	for (size_t i = 0; i < runtime->num_interpreters; i++) {
		uint64_t state = runtime->interpreters[i].obmalloc;
		uint64_t array, count;
		struct error *err;
		bool seen = state == 0;

		// One whose state was not found may have any number.
		if (state == 0 && pyh_has(runtime, PYH_INTERP_OBMALLOC))
			finder->disbelieved = finder->unlisted = true;
		for (size_t j = 0; j < i && !seen; j++)
			seen = runtime->interpreters[j].obmalloc == state;
		if (seen || !pyh_field(runtime, &finder->reader, state,
				       PYH_OBMALLOC_MGMT_ARENAS, &array) ||
		    !pyh_field(runtime, &finder->reader, state,
			       PYH_OBMALLOC_MGMT_MAXARENAS, &count))
			continue;
		if (array == 0 || count == 0)
			continue;
		err = add_state(finder, state, array, count);
		if (err)
			return err;
	}
	return NULL;
}

/* A pool seen by its header alone. */
struct sighting {
	uint64_t address;
	uint32_t arena_index;
	bool used;		/* blocks of it are in use */
};

struct sightings {
	struct sighting *seen;
	size_t count, room;
};

static struct error *add_sighting(struct sightings *sightings,
				  struct sighting sighting)
{
	if (sightings->count == sightings->room) {
		size_t room = sightings->room ? sightings->room * 2 : 1024;
		struct sighting *grown;

		grown = realloc(sightings->seen, room * sizeof(*grown));
		if (!grown)
			return error_no_memory();
		sightings->seen = grown;
		sightings->room = room;
	}
	sightings->seen[sightings->count++] = sighting;
	return NULL;
}

/** Look at every pool-aligned address of private writable memory. */
static struct error *scan_for_pools(struct finder *finder,
				    struct sightings *sightings)
{
	const struct memory *memory = finder->runtime->image->memory;
	uint64_t pool = finder->arenas->pool_size;

	for (size_t i = 0; i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);
		uint64_t at = (range->start + pool - 1) & ~(pool - 1);

		if (range->state != MEMORY_CAPTURED ||
		    !(range->protection & PF_W))
			continue;
		for (; at < range->end && range->end - at >= pool; at += pool) {
			uint8_t header[PYH_POOL_HEADER];
			struct error *err;

			if (!memory_try_read(&finder->reader, at, header,
					     sizeof(header)) ||
			    load_u32(header, POOL_ARENAINDEX) >= ARENAS_MAX ||
			    check_header(header, at, (uint32_t)pool))
				continue;
			err = add_sighting(sightings, (struct sighting){
				at, load_u32(header, POOL_ARENAINDEX),
				load_u32(header, POOL_COUNT) > 0 });
			if (err)
				return err;
		}
	}
	return NULL;
}

/**
 * Call fn for every pointer in the writable data of the module that holds the
 * runtime, until it returns true; that pointer, or 0.
 */
static uint64_t search_data(struct finder *finder,
			    bool (*fn)(struct finder *finder, uint64_t pointer,
				       const void *context),
			    const void *context)
{
	const struct module *module = finder->runtime->module;
	const struct memory *memory = finder->runtime->image->memory;
	const struct memory_range *range;

	if (!module)
		return 0;
	// The bss follows the last file mapping: a mebibyte covers it.
	for (range = memory_find_above(memory, module->start);
	     range && range->start < module->end + (UINT64_C(1) << 20);
	     range = memory_find_above(memory, range->end)) {
		uint64_t at = (range->start + 7) & ~UINT64_C(7);

		if (range->state != MEMORY_CAPTURED ||
		    !(range->protection & PF_W))
			continue;
		for (; at < range->end && range->end - at >= 8; at += 8) {
			uint64_t pointer;

			if (memory_try_u64(&finder->reader, at, &pointer) &&
			    pointer >= 4096 && pointer % 8 == 0 &&
			    fn(finder, pointer, context))
				return pointer;
		}
	}
	return 0;
}

/**
 * How many entries an array of arena_objects has; 0: it is none. It begins with
 * 16 of them and only ever doubles. What malloc has behind it may look like a
 * free entry or two.
 */
static uint64_t count_entries(struct finder *finder, uint64_t array)
{
	struct scan scan = { .array = array, .limit = ARENAS_MAX,
			     .damaged = DAMAGED_ENTRIES };
	uint64_t whole = ARENAS_INITIAL;

	scan_entries(finder, &scan);
	if (scan.in_use == 0 || scan.good < ARENAS_INITIAL)
		return 0;
	while (whole * 2 <= scan.good)
		whole *= 2;
	return scan.used_to <= whole && scan.good - whole < whole / 2 ?
		       whole : scan.good;
}

static bool is_array(struct finder *finder, uint64_t pointer,
		     const void *context)
{
	const struct module *module = finder->runtime->module;

	(void)context;
	// It was allocated; most pointers in a module's data lead into the
	// module itself.
	return pointer % PYH_BLOCK_ALIGN == 0 &&
	       (pointer < module->start || pointer >= module->end) &&
	       count_entries(finder, pointer) > 0;
}

/**
 * By the static variable `arenas` (3.11 and older), which is found by what it
 * points at: nothing but a few arenas has to be looked at for that.
 */
static struct error *find_by_array(struct finder *finder)
{
	uint64_t array = search_data(finder, is_array, NULL);

	if (array == 0)
		return NULL;
	finder->arenas->found_by =
		"the list of arenas, found in the module's data";
	return add_array(finder, array, count_entries(finder, array));
}

static int by_arena(const void *a, const void *b)
{
	const struct sighting *x = a, *y = b;

	if (x->arena_index != y->arena_index)
		return x->arena_index < y->arena_index ? -1 : 1;
	return x->address < y->address ? -1 : x->address > y->address;
}

/** Whether one of the arenas, sorted by address, holds an address. */
static bool is_known(const struct pyh_arenas *arenas, size_t count,
		     uint64_t address)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (arenas->arenas[middle].limit <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && arenas->arenas[low].start <= address;
}

/** Say that the list of arenas lacks one: where, if that is known. */
static void report_missing(struct finder *finder, const struct pyh_arena *arena,
			   uint32_t i)
{
	uint64_t entry = arena->start;

	for (size_t j = 0; j < finder->num_arrays && !finder->unlisted; j++) {
		uint64_t at = finder->arrays[j].start + i * (uint64_t)ARENA_SIZE;
		uint8_t bytes[ARENA_SIZE];

		// Interpreters may each have an arena of this number.
		if (i < finder->arrays[j].entries &&
		    memory_try_read(&finder->reader, at, bytes,
				    sizeof(bytes)) &&
		    (load_u64(bytes, ARENA_ADDRESS) == 0 ||
		     !is_entry(finder, finder->arrays[j].start, i, bytes,
			       true))) {
			entry = at;
			break;
		}
	}
	findings_add(finder->runtime->image->findings, "arena", entry,
		     "arena %" PRIu32 ", at 0x%" PRIx64 ", is missing from the "
		     "list of arenas; it is known by its pools alone", i,
		     arena->start);
}

/**
 * Make arenas of the sightings alone: runs of one index, close together. Those
 * that are known already are left out.
 */
static struct error *group_sightings(struct finder *finder,
				     struct sightings *sightings)
{
	uint64_t pool = finder->arenas->pool_size;
	size_t known = finder->arenas->count;

	if (sightings->count > 0)
		qsort(sightings->seen, sightings->count,
		      sizeof(*sightings->seen), by_arena);
	for (size_t i = 0; i < sightings->count;) {
		const struct sighting *first = &sightings->seen[i];
		struct pyh_arena arena = { .start = first->address };
		bool used = false;
		struct error *err;

		for (; i < sightings->count &&
		       sightings->seen[i].arena_index == first->arena_index &&
		       sightings->seen[i].address - first->address <
			       finder->arena_size; i++) {
			arena.end = sightings->seen[i].address + pool;
			used |= sightings->seen[i].used;
		}
		arena.limit = arena.end;
		if (!used || is_known(finder->arenas, known, arena.start))
			continue;
		report_missing(finder, &arena, first->arena_index);
		err = add_arena(finder, arena);
		if (err)
			return err;
	}
	return NULL;
}

/** Add the arenas that pools tell of, besides those that are known. */
static struct error *find_by_pools(struct finder *finder)
{
	size_t known = finder->arenas->count;
	struct sightings sightings = { 0 };
	struct error *err = scan_for_pools(finder, &sightings);

	if (!err)
		err = group_sightings(finder, &sightings);
	if (known == 0)
		finder->arenas->found_by = "pool headers";
	free(sightings.seen);
	return err;
}

static int by_start(const void *a, const void *b)
{
	const struct pyh_arena *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/** Sort, and let no pool be in two arenas: only damage brings that about. */
static void settle(const struct pyh_runtime *runtime, struct pyh_arenas *arenas)
{
	size_t kept = 0;

	if (arenas->count > 0)
		qsort(arenas->arenas, arenas->count, sizeof(*arenas->arenas),
		      by_start);
	for (size_t i = 0; i < arenas->count; i++) {
		if (kept > 0 && arenas->arenas[i].start <
					arenas->arenas[kept - 1].limit) {
			findings_add(runtime->image->findings, "arena",
				     arenas->arenas[i].start,
				     "arena overlaps another and is left out");
			continue;
		}
		arenas->arenas[kept++] = arenas->arenas[i];
	}
	arenas->count = kept;
}

struct error *pyh_arenas_find(const struct pyh_runtime *runtime,
			      struct pyh_arenas *ret)
{
	struct pyh_arenas arenas = {
		.pool_size = runtime->minor >= 10 ? 16384 : 4096,
		.found_by = "the interpreter's allocator state",
	};
	struct finder finder = {
		.runtime = runtime,
		.arenas = &arenas,
		.arena_size = runtime->minor >= 10 ? 1 << 20 : 256 << 10,
	};
	struct error *err;

	err = memory_reader_init(&finder.reader, runtime->image->memory);
	if (err)
		return err;
	err = find_by_state(&finder);
	if (!err && arenas.count == 0 && runtime->minor < 12)
		err = find_by_array(&finder);
	settle(runtime, &arenas);
	if (!err && (arenas.count == 0 || finder.disbelieved) &&
	    runtime->allocator == PYH_ALLOCATOR_PYMALLOC)
		err = find_by_pools(&finder);
	memory_reader_deinit(&finder.reader);
	if (err) {
		free(arenas.arenas);
		return err;
	}
	settle(runtime, &arenas);
	*ret = arenas;
	return NULL;
}

void pyh_arenas_deinit(struct pyh_arenas *arenas)
{
	free(arenas->arenas);
	*arenas = (struct pyh_arenas){ 0 };
}
