/*
 * The ledger: every byte that was in memory in exactly one row; see ledger.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/ledger/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/ledger/ledgerparts.h"
#include "image/base/units.h"

static const struct {
	const char *name;
	const char *counts;
	enum ledger_group group;
} categories[LEDGER_NUM_CATEGORIES] = {
	[LEDGER_TEXT] = { "str, bytes and bytearray", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_NUMBERS] = { "numbers and dates", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_DICTS] = { "dicts", "objects", LEDGER_OF_OBJECTS },
	[LEDGER_DICT_TABLES] = { "tables of dicts", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_LISTS] = { "lists", "objects", LEDGER_OF_OBJECTS },
	[LEDGER_LIST_TABLES] = { "tables of lists", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_SETS] = { "sets", "objects", LEDGER_OF_OBJECTS },
	[LEDGER_SET_TABLES] = { "tables of sets", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_TUPLES] = { "tuples", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_INSTANCES] = { "instances of classes", "objects", LEDGER_OF_OBJECTS },
	[LEDGER_ATTRIBUTES] = { "attributes of instances", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_CODE_OBJECTS] = { "functions, code and frames", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_CLASSES] = { "classes and modules", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_OTHER_OBJECTS] = { "other objects", "objects", LEDGER_OF_OBJECTS },
	[LEDGER_BUFFERS] = { "buffers of other objects", "blocks", LEDGER_OF_OBJECTS },
	[LEDGER_FRAMES] = { "data stacks of Python threads", "pieces", LEDGER_OF_OBJECTS },
	[LEDGER_TENSORS] = { "data of tensors", "storages", LEDGER_OF_ARRAYS },
	[LEDGER_ARRAYS] = { "data of arrays", "blocks", LEDGER_OF_ARRAYS },
	[LEDGER_RAW_BLOCKS] = { "blocks of pymalloc, of C code", NULL, LEDGER_OF_MALLOC_USED },
	[LEDGER_FREE_BLOCKS] = { "free blocks in pools in use", NULL, LEDGER_OF_PYMALLOC },
	[LEDGER_EMPTY_POOLS] = { "empty pools", NULL, LEDGER_OF_PYMALLOC },
	[LEDGER_PINNED] = { "free, in arenas that few blocks keep", NULL, LEDGER_OF_PYMALLOC },
	[LEDGER_POOL_OVERHEAD] = { "headers and ends of pools", NULL, LEDGER_OF_PYMALLOC },
	[LEDGER_MALLOC_PYTHON] = { "chunks that Python objects refer to", "chunks", LEDGER_OF_MALLOC_USED },
	[LEDGER_MALLOC_MODULE] = { "chunks that modules refer to", "chunks", LEDGER_OF_MALLOC_USED },
	[LEDGER_MALLOC_THREAD] = { "chunks that threads refer to", "chunks", LEDGER_OF_MALLOC_USED },
	[LEDGER_MALLOC_MEMORY] = { "chunks that other memory refers to", "chunks", LEDGER_OF_MALLOC_USED },
	[LEDGER_MALLOC_NOBODY] = { "chunks that nothing refers to", "chunks", LEDGER_OF_MALLOC_USED },
	[LEDGER_MALLOC_USED] = { "chunks of unknown use", "chunks", LEDGER_OF_MALLOC_USED },
	[LEDGER_MALLOC_TRIM] = { "free, malloc_trim() gives it back", "chunks", LEDGER_OF_MALLOC_FREE },
	[LEDGER_MALLOC_CACHED] = { "free, kept at hand", "chunks", LEDGER_OF_MALLOC_FREE },
	[LEDGER_MALLOC_BURIED] = { "free, between chunks in use", "chunks", LEDGER_OF_MALLOC_FREE },
	[LEDGER_MALLOC_TOP] = { "free, at the top", "chunks", LEDGER_OF_MALLOC_FREE },
	[LEDGER_MALLOC_OVERHEAD] = { "headers of chunks and heaps", NULL, LEDGER_OF_MALLOC_FREE },
	[LEDGER_MALLOC_LOST] = { "not understood, in malloc's heaps", NULL, LEDGER_OF_UNEXPLAINED },
	[LEDGER_ALLOCATOR_USED] = { "other allocators, in use", "blocks", LEDGER_OF_ALLOCATORS },
	[LEDGER_ALLOCATOR_FREE] = { "other allocators, free", NULL, LEDGER_OF_ALLOCATORS },
	[LEDGER_ALLOCATOR_OVERHEAD] = { "other allocators, overhead and records", NULL, LEDGER_OF_ALLOCATORS },
	[LEDGER_ALLOCATOR] = { "other allocators, not broken down", NULL, LEDGER_OF_ALLOCATORS },
	[LEDGER_STACKS] = { "stacks, in use", "threads", LEDGER_OF_STACKS },
	[LEDGER_STACKS_BELOW] = { "stacks, touched before", NULL, LEDGER_OF_STACKS },
	[LEDGER_STACKS_ENDED] = { "stacks of ended threads", "stacks", LEDGER_OF_STACKS },
	[LEDGER_TLS] = { "thread-local data", NULL, LEDGER_OF_STACKS },
	[LEDGER_MODULE_CODE] = { "code of modules", "mappings", LEDGER_OF_MODULES },
	[LEDGER_MODULE_CONSTANTS] = { "constants of modules", "mappings", LEDGER_OF_MODULES },
	[LEDGER_MODULE_DATA] = { "variables of modules", "mappings", LEDGER_OF_MODULES },
	[LEDGER_FILES] = { "other mapped files", "mappings", LEDGER_OF_FILES },
	[LEDGER_SHARED] = { "shared memory", "mappings", LEDGER_OF_SHARED },
	[LEDGER_PINNED_HOST] = { "pinned memory, by the CUDA driver", "mappings", LEDGER_OF_DRIVER },
	[LEDGER_DRIVER] = { "mappings of devices", "mappings", LEDGER_OF_DRIVER },
	[LEDGER_KERNEL] = { "the kernel's own", "mappings", LEDGER_OF_FILES },
	[LEDGER_MAPPED] = { "mapped by modules for themselves", "mappings", LEDGER_OF_MAPPED },
	[LEDGER_ZEROES] = { "pages of zeroes, touched or not", NULL, LEDGER_OF_ZEROES },
	[LEDGER_UNEXPLAINED] = { "unexplained", "mappings", LEDGER_OF_UNEXPLAINED },
};

static const char *const groups[LEDGER_NUM_GROUPS] = {
	[LEDGER_OF_OBJECTS] = "Python objects",
	[LEDGER_OF_ARRAYS] = "tensors and arrays",
	[LEDGER_OF_PYMALLOC] = "pymalloc free and overhead",
	[LEDGER_OF_MALLOC_USED] = "other malloc",
	[LEDGER_OF_MALLOC_FREE] = "malloc free and overhead",
	[LEDGER_OF_ALLOCATORS] = "other allocators",
	[LEDGER_OF_STACKS] = "stacks",
	[LEDGER_OF_MODULES] = "modules",
	[LEDGER_OF_FILES] = "mapped files",
	[LEDGER_OF_SHARED] = "shared memory",
	[LEDGER_OF_DRIVER] = "drivers",
	[LEDGER_OF_MAPPED] = "mapped by modules",
	[LEDGER_OF_ZEROES] = "zeroes",
	[LEDGER_OF_UNEXPLAINED] = "unexplained",
};

const char *ledger_measure(const struct ledger *ledger,
			   const struct image *image)
{
	return ledger->noted ? "resident" :
	       image->missing_bytes ? "captured or missing" : "captured";
}

const char *ledger_name(enum ledger_category category)
{
	return categories[category].name;
}

const char *ledger_counts(enum ledger_category category)
{
	return categories[category].counts;
}

enum ledger_group ledger_group_of(enum ledger_category category)
{
	return categories[category].group;
}

const char *ledger_group_name(enum ledger_group group)
{
	return groups[group];
}

/* --- telling ------------------------------------------------------------------ */

static void doubled(struct ledger_making *making,
		    const struct resident_mapping *mapping, uint64_t bytes)
{
	making->ledger->balanced = 0;
	if (making->said++ == 0)
		findings_add(making->image->findings, "ledger", mapping->start,
			     "%" PRIu64 " bytes more are told of the mapping at "
			     "0x%" PRIx64 " than were in memory: two uses claim "
			     "the same bytes", bytes, mapping->start);
}

void ledger_tell_left(struct ledger_making *making,
		      struct resident_mapping *mapping, uint64_t bytes,
		      enum ledger_category category)
{
	uint64_t left = mapping->resident - mapping->told;

	if (bytes > left) {
		doubled(making, mapping, bytes - left);
		bytes = left;
	}
	mapping->told += bytes;
	making->ledger->rows[category].bytes += bytes;
}

uint64_t ledger_tell(struct ledger_making *making, uint64_t start, uint64_t end,
		     enum ledger_category category)
{
	const struct residency *residency = making->residency;
	struct resident_mapping *mapping = making->mapping;
	uint64_t told = 0;

	if (!mapping || start < mapping->start || start >= mapping->end)
		mapping = residency_above(residency, start);
	for (; mapping && mapping->start < end && start < end; mapping++) {
		uint64_t from = start > mapping->start ? start : mapping->start;
		uint64_t to = end < mapping->end ? end : mapping->end;
		uint64_t bytes = residency_of(residency, from, to,
					      &making->hint);
		uint64_t before = mapping->told;

		ledger_tell_left(making, mapping, bytes, category);
		told += mapping->told - before;
		making->mapping = mapping;
		start = to;
		if (mapping + 1 == residency->mappings + residency->count)
			break;
	}
	return told;
}

uint64_t ledger_move(struct ledger *ledger, enum ledger_category from,
		     enum ledger_category to, uint64_t bytes)
{
	if (bytes > ledger->rows[from].bytes)
		bytes = ledger->rows[from].bytes;
	ledger->rows[from].bytes -= bytes;
	ledger->rows[to].bytes += bytes;
	return bytes;
}

/* --- making ------------------------------------------------------------------- */

/** A part that could not be told has its reason, and the others are told. */
static struct error *excuse(struct error *err, char why[LEDGER_DETAIL])
{
	if (!err || err->kind == ERROR_NO_MEMORY ||
	    err->kind == ERROR_INTERRUPTED)
		return err;
	(void)snprintf(why, LEDGER_DETAIL, "%s", err->message);
	error_free(err);
	return NULL;
}

static struct error *make(struct ledger_making *making)
{
	struct ledger *ledger = making->ledger;
	const struct core_notes *notes = &making->image->notes;
	struct error *err;

	err = residency_of_dump(making->opened, &making->residency);
	if (err)
		return err;
	residency_untell(making->residency);
	ledger->total = making->residency->total;
	ledger->noted = making->residency->noted;
	ledger->rows[LEDGER_ZEROES].bytes = making->residency->zeroes;
	ledger->has_page_tables = core_notes_number(
		notes, FORMAT_FACT_PAGE_TABLES, &ledger->page_tables);
	ledger->has_swapped = core_notes_number(notes, FORMAT_FACT_SWAP,
						&ledger->swapped);
	err = excuse(ledger_python(making), ledger->no_python);
	if (!err)
		err = excuse(ledger_malloc(making), ledger->no_malloc);
	if (err)
		return err;
	ledger_python_rest(making);
	return ledger_places(making);
}

static uint64_t sum_of(const struct ledger *ledger)
{
	uint64_t sum = 0;

	for (int i = 0; i < LEDGER_NUM_CATEGORIES; i++)
		sum += ledger->rows[i].bytes;
	return sum;
}

/** That the program itself checks its sum. */
static void check_sum(struct ledger_making *making)
{
	struct ledger *ledger = making->ledger;
	uint64_t sum = sum_of(ledger);

	if (sum == ledger->total)
		return;
	ledger->balanced = 0;
	findings_add(making->image->findings, "ledger", 0, "rows of the ledger "
		     "sum up to %" PRIu64 " bytes, not to %" PRIu64, sum,
		     ledger->total);
}

static struct error *make_anew(struct opened *opened, bool owners,
			       struct ledger *ret)
{
	struct ledger_making making = {
		.opened = opened, .image = opened_image(opened), .ledger = ret,
	};
	struct error *err;

	ret->balanced = 1;
	ret->owners = owners;
	err = make(&making);
	free(making.blocks.items);
	free(making.areas);
	if (!err)
		check_sum(&making);
	return err;
}

struct error *ledger_of(struct opened *opened, bool owners,
			const struct ledger **ret)
{
	struct ledger **slot = opened_ledger(opened);
	struct ledger *ledger;
	struct error *err;

	if (!*slot || (owners && !(*slot)->owners)) {
		ledger = calloc(1, sizeof(*ledger));
		err = ledger ? make_anew(opened, owners, ledger) :
			       error_no_memory();
		if (err) {
			free(ledger);
			return err;
		}
		free(*slot);
		*slot = ledger;
	}
	*ret = *slot;
	return NULL;
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

bool ledger_is_sound(const struct ledger *ledger)
{
	const struct ledger_pinned *pinned = &ledger->pinned;
	bool sound = ends(ledger->no_python, LEDGER_DETAIL) &&
		     ends(ledger->no_malloc, LEDGER_DETAIL) &&
		     pinned->num_types <=
			     sizeof(pinned->types) / sizeof(*pinned->types);

	for (size_t i = 0; sound && i < pinned->num_types; i++)
		sound = ends(pinned->types[i].type,
			     sizeof(pinned->types[i].type));
	for (int i = 0; sound && i < LEDGER_NUM_CATEGORIES; i++)
		sound = ends(ledger->rows[i].detail, LEDGER_DETAIL);
	return sound && (!ledger->balanced || sum_of(ledger) == ledger->total);
}

uint64_t ledger_group_bytes(const struct ledger *ledger,
			    enum ledger_group group)
{
	uint64_t sum = 0;

	for (int i = 0; i < LEDGER_NUM_CATEGORIES; i++)
		if (categories[i].group == group)
			sum += ledger->rows[i].bytes;
	return sum;
}
