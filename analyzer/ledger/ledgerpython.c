/*
 * The ledger: what the interpreter's own memory holds; see ledgerparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of an arena all is in one of these rows: blocks of objects, blocks that they
 * own, other blocks in use, free ones. How much is in use say the headers of
 * pools, what holds it says the census; the rest of what was in memory is free.
 */
#include "analyzer/ledger/ledgerparts.h"

#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/units.h"
#include "pyheap/census/pyholdings.h"
#include "pyheap/threads/pystack.h"

enum {
	PINNED_SHARE = 8,	/* an arena of which less than this part is in
				   use is pinned by what is */
	DATA_STACKS_MAX = 1 << 16,	/* pieces of one */
};

/* --- what kind of memory it is ------------------------------------------------ */

static bool is_code(const struct pyh_type *type)
{
	static const char *const names[] = {
		"builtin_function_or_method", "cell", "classmethod",
		"classmethod_descriptor", "function", "getset_descriptor",
		"member_descriptor", "method", "method_descriptor", "property",
		"staticmethod", "wrapper_descriptor",
	};

	for (size_t i = 0; type->is_static && i < sizeof(names) / sizeof(*names);
	     i++)
		if (strcmp(type->name, names[i]) == 0)
			return true;
	return false;
}

/** Of a type's instances, or of what these own beside themselves. */
static enum ledger_category category_of(const struct pyh_type *type,
					bool claimed)
{
	switch (type->kind) {
	case PYH_KIND_STR: case PYH_KIND_BYTES: case PYH_KIND_BYTEARRAY:
		return LEDGER_TEXT;
	case PYH_KIND_INT: case PYH_KIND_FLOAT: case PYH_KIND_COMPLEX:
	case PYH_KIND_DECIMAL: case PYH_KIND_DATETIME: case PYH_KIND_TIME:
		return LEDGER_NUMBERS;
	case PYH_KIND_DICT: case PYH_KIND_ODICT: case PYH_KIND_STGDICT:
		return claimed ? LEDGER_DICT_TABLES : LEDGER_DICTS;
	case PYH_KIND_LIST:
		return claimed ? LEDGER_LIST_TABLES : LEDGER_LISTS;
	case PYH_KIND_SET:
		return claimed ? LEDGER_SET_TABLES : LEDGER_SETS;
	case PYH_KIND_TUPLE: case PYH_KIND_STRUCTSEQ:
		return LEDGER_TUPLES;
	case PYH_KIND_TYPE: case PYH_KIND_CTYPE: case PYH_KIND_MODULE:
		return LEDGER_CLASSES;
	case PYH_KIND_CODE: case PYH_KIND_FRAME: case PYH_KIND_GENERATOR:
		return LEDGER_CODE_OBJECTS;
	case PYH_KIND_NDARRAY: case PYH_KIND_ARRAY: case PYH_KIND_ARROW_BUFFER:
	case PYH_KIND_ARROW_ARRAY: case PYH_KIND_ARROW_CHUNKED:
	case PYH_KIND_ARROW_TABLE: case PYH_KIND_ARROW_BATCH:
		return claimed ? LEDGER_ARRAYS : LEDGER_OTHER_OBJECTS;
	case PYH_KIND_OTHER:
		if (is_code(type))
			return LEDGER_CODE_OBJECTS;
		if (!type->is_static)
			return claimed ? LEDGER_ATTRIBUTES : LEDGER_INSTANCES;
		break;
	default:
		break;
	}
	return claimed ? LEDGER_BUFFERS : LEDGER_OTHER_OBJECTS;
}

/* --- adding up ---------------------------------------------------------------- */

/* What one worker has seen. */
struct adder {
	uint64_t in_arenas[LEDGER_NUM_CATEGORIES];	/* bytes */
	uint64_t counts[LEDGER_NUM_CATEGORIES];
	uint64_t (*types)[2];	/* by type: bytes of objects, and of claims */
	uint64_t (*pins)[2];	/* by type, in pinned arenas: objects, bytes */
	size_t num_types;
	struct ledger_block *blocks;
	size_t num_blocks, room;
	uint64_t objects;
	bool no_memory;
	char padding[64];	/* of another worker's cache line */
};

struct adding {
	struct ledger_making *making;
	struct pyh_census *census;
	struct adder *adders;
	unsigned int num_adders;
	uint64_t *pinned;	/* a bit for each arena */
	uint64_t resident;	/* bytes of arenas that were in memory */
	uint64_t used;		/* … of blocks in use */
	uint64_t overhead, empty, kept;
};

static void adding_deinit(struct adding *adding)
{
	for (unsigned int i = 0; adding->adders && i < adding->num_adders; i++) {
		free(adding->adders[i].types);
		free(adding->adders[i].pins);
		free(adding->adders[i].blocks);
	}
	free(adding->adders);
	free(adding->pinned);
}

static bool grow_types(struct adder *adder, uint32_t id)
{
	size_t room = (id | 1023) + 1, had = adder->num_types;
	void *types = realloc(adder->types, room * sizeof(*adder->types));
	void *pins;

	if (types)
		adder->types = types;
	pins = types ? realloc(adder->pins, room * sizeof(*adder->pins)) : NULL;
	if (!pins)
		return false;
	adder->pins = pins;
	memset(adder->types + had, 0, (room - had) * sizeof(*adder->types));
	memset(adder->pins + had, 0, (room - had) * sizeof(*adder->pins));
	adder->num_types = room;
	return true;
}

static bool add_block(struct adder *adder, const struct pyh_holding *holding,
		      enum ledger_category category)
{
	if (adder->num_blocks == adder->room) {
		size_t room = adder->room ? adder->room * 2 : 1024;
		struct ledger_block *grown =
			realloc(adder->blocks, room * sizeof(*grown));

		if (!grown)
			return false;
		adder->blocks = grown;
		adder->room = room;
	}
	adder->blocks[adder->num_blocks++] = (struct ledger_block){
		.key = holding->start << 8 | category,
		.size = holding->size ? holding->size : 1 };
	return true;
}

static void add(void *context, const struct pyh_holding *holding)
{
	const struct adding *adding = context;
	struct adder *adder = &adding->adders[holding->worker];
	enum ledger_category category = category_of(holding->type,
						    holding->claimed);
	uint32_t id = holding->type->id, arena = holding->arena;

	adder->objects += !holding->claimed;
	if (holding->in_module)
		return;
	if (id >= adder->num_types && !grow_types(adder, id)) {
		adder->no_memory = true;
		return;
	}
	adder->counts[category]++;
	adder->types[id][holding->claimed] += holding->size;
	if (arena == PYH_HOLDING_OUTSIDE) {
		adder->no_memory |= !add_block(adder, holding, category);
		return;
	}
	adder->in_arenas[category] += holding->size;
	if (adding->pinned[arena / 64] >> arena % 64 & 1) {
		adder->pins[id][0] += !holding->claimed;
		adder->pins[id][1] += holding->size;
	}
}

/* --- arenas --------------------------------------------------------------------- */

/** Bytes of the empty pools of an arena that were in memory. */
static uint64_t empty_of(struct ledger_making *making,
			 const struct pyh_arena_use *use)
{
	uint64_t bytes = 0, end;

	for (uint64_t at = use->start, i = 0;
	     at < use->limit && i / 64 < PYH_ARENA_WORDS; at = end, i++) {
		end = at + use->pool_size < use->limit ? at + use->pool_size :
							 use->limit;
		if (use->empty[i / 64] >> i % 64 & 1)
			bytes += residency_of(making->residency, at,
					      end, &making->hint);
	}
	return bytes;
}

static void add_arena(struct adding *adding, uint32_t i)
{
	struct ledger_pinned *pinned = &adding->making->ledger->pinned;
	struct pyh_arena_use use;
	uint64_t resident;

	pyh_arena_use(adding->census, i, &use);
	resident = residency_of(adding->making->residency, use.start,
				use.limit, &adding->making->hint);
	adding->resident += resident;
	adding->used += use.used;
	adding->overhead += use.overhead;
	if (use.blocks > 0 && use.used + use.overhead <= resident &&
	    use.used < resident / PINNED_SHARE) {
		adding->pinned[i / 64] |= UINT64_C(1) << i % 64;
		pinned->arenas++;
		pinned->bytes += resident;
		pinned->used += use.used;
		pinned->blocks += use.blocks;
		adding->kept += resident - use.used - use.overhead;
	} else {
		adding->empty += empty_of(adding->making, &use);
	}
}

static struct error *keep_area(struct ledger_making *making, uint64_t start,
			       uint64_t end)
{
	if (making->num_areas == making->room_areas) {
		size_t room = making->room_areas ? making->room_areas * 2 : 64;
		struct ledger_area *grown = reallocarray(making->areas, room,
							 sizeof(*grown));

		if (!grown)
			return error_no_memory();
		making->areas = grown;
		making->room_areas = room;
	}
	making->areas[making->num_areas++] = (struct ledger_area){ start, end };
	return NULL;
}

static int by_area(const void *a, const void *b)
{
	const struct ledger_area *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/** Sort, and join what overlaps: only damage brings that about. */
static void settle_areas(struct ledger_making *making)
{
	struct ledger_area *areas = making->areas;
	size_t kept = 0;

	if (making->num_areas == 0)
		return;
	qsort(areas, making->num_areas, sizeof(*areas), by_area);
	for (size_t i = 1; i < making->num_areas; i++) {
		if (areas[i].start >= areas[kept].end)
			areas[++kept] = areas[i];
		else if (areas[i].end > areas[kept].end)
			areas[kept].end = areas[i].end;
	}
	making->num_areas = kept + 1;
}

/** Tell of the memory that arenas are in, and keep where that is. */
static struct error *tell_areas(struct adding *adding, uint64_t *ret_bytes)
{
	struct ledger_making *making = adding->making;
	uint64_t start, limit, last = 0;
	struct error *err = NULL;

	*ret_bytes = 0;
	for (uint32_t i = 0; !err && i < pyh_area_count(adding->census); i++) {
		pyh_area(adding->census, i, &start, &limit);
		if (start < last)
			start = last;
		last = limit;
		if (start >= limit)
			continue;
		*ret_bytes += ledger_tell(making, start, limit,
					  LEDGER_FREE_BLOCKS);
		err = keep_area(making, start, limit);
	}
	return err;
}

/** All of it free, until something else is known. */
static struct error *add_arenas(struct adding *adding)
{
	uint32_t count = pyh_arena_count(adding->census);
	uint64_t in_areas;
	struct error *err;

	adding->pinned = calloc((size_t)count / 64 + 1, sizeof(uint64_t));
	if (!adding->pinned)
		return error_no_memory();
	for (uint32_t i = 0; i < count; i++)
		add_arena(adding, i);
	err = tell_areas(adding, &in_areas);
	// Ends of arenas, and headers of segments.
	if (in_areas > adding->resident)
		adding->overhead += in_areas - adding->resident;
	return err;
}

/* --- putting together --------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const struct ledger_block *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

static struct error *gather_blocks(struct adding *adding)
{
	struct ledger_blocks *blocks = &adding->making->blocks;
	size_t count = 0;

	for (unsigned int i = 0; i < adding->num_adders; i++) {
		if (adding->adders[i].no_memory)
			return error_no_memory();
		count += adding->adders[i].num_blocks;
	}
	blocks->items = calloc(count + 1, sizeof(*blocks->items));
	if (!blocks->items)
		return error_no_memory();
	for (unsigned int i = 0; i < adding->num_adders; i++) {
		struct adder *adder = &adding->adders[i];

		if (adder->num_blocks)
			memcpy(blocks->items + blocks->count, adder->blocks,
			       adder->num_blocks * sizeof(*adder->blocks));
		blocks->count += adder->num_blocks;
		free(adder->blocks);
		adder->blocks = NULL;
	}
	return NULL;
}

static void sort_blocks(struct ledger_blocks *blocks)
{
	if (blocks->count > 0)
		qsort(blocks->items, blocks->count, sizeof(*blocks->items),
		      by_key);
}

static uint64_t sum_of(const struct adding *adding, uint32_t type,
		       bool pins, unsigned int which)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < adding->num_adders; i++) {
		const struct adder *adder = &adding->adders[i];

		if (type < adder->num_types)
			sum += pins ? adder->pins[type][which] :
				      adder->types[type][which];
	}
	return sum;
}

static void weigh(const struct pyh_type **largest, uint64_t *most,
		  const struct pyh_type *type, enum ledger_category category,
		  uint64_t bytes)
{
	if (bytes > most[category]) {
		most[category] = bytes;
		largest[category] = type;
	}
}

/** What takes the most of each category: "shop.Session, 37.8 MiB". */
static void tell_largest(const struct adding *adding,
			 const struct pyh_types *types)
{
	struct ledger *ledger = adding->making->ledger;
	const struct pyh_type *largest[LEDGER_NUM_CATEGORIES] = { 0 };
	uint64_t most[LEDGER_NUM_CATEGORIES] = { 0 };

	for (uint32_t id = 0; id < pyh_types_count(types); id++) {
		const struct pyh_type *type = pyh_types_get(types, id);

		uint64_t own = sum_of(adding, id, false, 0);
		uint64_t claimed = sum_of(adding, id, false, 1);

		if (category_of(type, true) == category_of(type, false)) {
			own += claimed;
			claimed = 0;
		}
		weigh(largest, most, type, category_of(type, false), own);
		weigh(largest, most, type, category_of(type, true), claimed);
	}
	for (int i = 0; i < LEDGER_NUM_CATEGORIES; i++) {
		char size[UNITS_TEXT_MAX];

		// Of memory that was never touched the row has nothing.
		if (most[i] > ledger->rows[i].bytes)
			most[i] = ledger->rows[i].bytes;
		if (most[i] > 0)
			(void)snprintf(ledger->rows[i].detail, LEDGER_DETAIL,
				       "%.96s, %s", largest[i]->name,
				       units_size(most[i], size));
	}
}

static void tell_pins(const struct adding *adding,
		      const struct pyh_types *types)
{
	struct ledger_pinned *pinned = &adding->making->ledger->pinned;
	const size_t room = sizeof(pinned->types) / sizeof(*pinned->types);

	for (uint32_t id = 0; id < pyh_types_count(types); id++) {
		struct ledger_pins pins = {
			.objects = sum_of(adding, id, true, 0),
			.bytes = sum_of(adding, id, true, 1) };
		size_t at = pinned->num_types;

		if (pins.bytes == 0)
			continue;
		while (at > 0 && pinned->types[at - 1].bytes < pins.bytes)
			at--;
		if (at == room)
			continue;
		(void)snprintf(pins.type, sizeof(pins.type), "%s",
			       pyh_types_get(types, id)->name);
		pinned->num_types += pinned->num_types < room;
		memmove(&pinned->types[at + 1], &pinned->types[at],
			(pinned->num_types - at - 1) * sizeof(pins));
		pinned->types[at] = pins;
	}
}

/** What is in use, out of what was taken for free. */
static void settle(const struct adding *adding)
{
	struct ledger *ledger = adding->making->ledger;
	uint64_t held = 0;

	for (int i = 0; i < LEDGER_NUM_CATEGORIES; i++) {
		for (unsigned int j = 0; j < adding->num_adders; j++) {
			const struct adder *adder = &adding->adders[j];

			ledger->rows[i].count += adder->counts[i];
			held += ledger_move(ledger, LEDGER_FREE_BLOCKS,
					    (enum ledger_category)i,
					    adder->in_arenas[i]);
		}
	}
	if (adding->used > held)
		(void)ledger_move(ledger, LEDGER_FREE_BLOCKS,
				  LEDGER_RAW_BLOCKS, adding->used - held);
	(void)ledger_move(ledger, LEDGER_FREE_BLOCKS, LEDGER_POOL_OVERHEAD,
			  adding->overhead);
	(void)ledger_move(ledger, LEDGER_FREE_BLOCKS, LEDGER_PINNED,
			  adding->kept);
	(void)ledger_move(ledger, LEDGER_FREE_BLOCKS, LEDGER_EMPTY_POOLS,
			  adding->empty);
	for (unsigned int j = 0; j < adding->num_adders; j++)
		ledger->objects += adding->adders[j].objects;
}

/* --- data stacks ---------------------------------------------------------------- */

struct data_stacks {
	struct ledger_making *making;
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	struct error *err;
};

/**
 * Where frames lie in 3.11 and later. Source: CPython
 * Include/cpython/pystate.h, struct _stack_chunk: {previous, size, top}.
 */
static bool tell_data_stack(void *context, const struct pyh_thread *thread)
{
	struct data_stacks *stacks = context;
	struct ledger_making *making = stacks->making;
	uint64_t at, chunk[2];

	if (!pyh_field(stacks->runtime, stacks->memory, thread->address,
		       PYH_TSTATE_DATASTACK_CHUNK, &at))
		return true;
	for (int i = 0; i < DATA_STACKS_MAX && at != 0 && !stacks->err; i++) {
		const struct resident_mapping *mapping =
			residency_at(making->residency, at);

		if (!mapping ||
		    !memory_try_read(stacks->memory, at, chunk,
				     sizeof(chunk)) ||
		    chunk[1] > mapping->end - at)
			break;
		(void)ledger_tell(making, at, at + chunk[1], LEDGER_FRAMES);
		making->ledger->rows[LEDGER_FRAMES].count++;
		stacks->err = keep_area(making, at, at + chunk[1]);
		at = chunk[0];
	}
	return !stacks->err;
}

static struct error *tell_data_stacks(struct ledger_making *making,
				      const struct pyh_runtime *runtime)
{
	struct memory_reader memory;
	struct data_stacks stacks = { making, runtime, &memory, NULL };
	struct error *err = memory_reader_init(&memory, making->image->memory);

	if (err)
		return err;
	pyh_threads_each(runtime, &memory, tell_data_stack, &stacks);
	memory_reader_deinit(&memory);
	settle_areas(making);
	return stacks.err;
}

static struct error *tell_python(struct ledger_making *making,
				 const struct pyh_runtime *runtime,
				 struct pyh_types *types,
				 struct pyh_census *census)
{
	CLEANUP(adding_deinit) struct adding adding = {
		.making = making, .census = census,
		.num_adders = pyh_census_workers(census),
	};
	struct error *err;

	adding.adders = calloc(adding.num_adders, sizeof(*adding.adders));
	if (!adding.adders)
		return error_no_memory();
	err = add_arenas(&adding);
	if (!err)
		err = pyh_holdings_each(census, add, &adding);
	if (!err)
		err = gather_blocks(&adding);
	if (!err)
		err = ledger_tensors(making);
	if (!err)
		sort_blocks(&making->blocks);
	if (err)
		return err;
	settle(&adding);
	tell_largest(&adding, types);
	tell_pins(&adding, types);
	return tell_data_stacks(making, runtime);
}

struct error *ledger_python(struct ledger_making *making)
{
	struct pyh_runtime *runtime = NULL;
	struct pyh_types *types = NULL;
	struct pyh_census *census = NULL;
	struct error *err = opened_runtime(making->opened, &runtime);

	if (!err)
		err = opened_types(making->opened, &types);
	if (!err)
		err = opened_census(making->opened, &census);
	return err ? err : tell_python(making, runtime, types, census);
}

/** Is it the process's own? What is in a file's mapping stays the file's. */
static bool is_own(const struct ledger_making *making,
		   const struct resident_mapping *mapping, uint64_t start)
{
	return *mapping->name != '/' &&
	       !(mapping->flags & FORMAT_MAPPING_SHARED) &&
	       !modules_find(making->image->modules, start);
}

/**
 * Where a block ends at the latest. One may reach over several mappings: numpy
 * asks for huge pages, for a large array but not for its first page.
 */
static uint64_t end_of_own(const struct ledger_making *making,
			   const struct resident_mapping *mapping, uint64_t end)
{
	const struct residency *residency = making->residency;
	const struct resident_mapping *after =
		residency->mappings + residency->count;
	uint64_t last = mapping->end;

	while (last < end && ++mapping < after && mapping->start == last &&
	       is_own(making, mapping, last))
		last = mapping->end;
	return last < end ? last : end;
}

void ledger_python_rest(struct ledger_making *making)
{
	uint64_t last = 0;	/* where the one before ends */

	for (size_t i = 0; i < making->blocks.count; i++) {
		struct ledger_block *block = &making->blocks.items[i];
		uint64_t start = ledger_block_start(block);
		uint64_t end = start + block->size;
		const struct resident_mapping *mapping;

		if (block->size == 0)
			continue;
		mapping = residency_at(making->residency, start);
		if (!mapping || !is_own(making, mapping, start))
			continue;
		end = end < start ? mapping->end :
				    end_of_own(making, mapping, end);
		if (start < last)
			start = last;
		if (start < end) {
			(void)ledger_tell(making, start, end,
					  ledger_block_category(block));
			last = end;
		}
		block->size = 0;
	}
}
