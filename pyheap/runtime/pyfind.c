/*
 * Looking for _PyRuntime; see pyfind.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/runtime/pyfind.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/symbols.h"
#include "pyheap/runtime/pydebugoffsets.h"
#include "pyheap/runtime/pylayout.h"
#include "pyheap/runtime/pypath.h"

enum {
	PLACES_MAX = 256,
	PIECE = 1 << 20,	/* bytes looked at in one view */
	BSS_MAX = 256 << 20,	/* of anonymous memory behind a module */
	LIST_MAX = 4096,	/* interpreters */
	/* How far builds of one release differ in _main_interpreter. */
	MAIN_TOLERANCE = 32 << 10,
};

void pyh_places_deinit(struct pyh_places *places)
{
	free(places->items);
	*places = (struct pyh_places){ 0 };
}

static struct error *add_place(struct pyh_places *places,
			       const struct pyh_place *place)
{
	struct pyh_place *more;

	for (size_t i = 0; i < places->count; i++)
		if (places->items[i].address == place->address)
			return NULL;
	if (places->count == PLACES_MAX)
		return NULL;
	if (places->count == places->capacity) {
		size_t capacity = places->capacity ? 2 * places->capacity : 8;

		more = reallocarray(places->items, capacity, sizeof(*more));
		if (!more)
			return error_no_memory();
		places->items = more;
		places->capacity = capacity;
	}
	places->items[places->count++] = *place;
	return NULL;
}

/* --- names ---------------------------------------------------------------- */

static bool is_python_module(const struct module *module)
{
	return module->is_executable ||
	       (module->path && pyh_path_read(module->path).holder);
}

static struct error *find_in_symbols(struct image *image, bool python,
				     struct pyh_places *places)
{
	for (size_t i = 0; i < modules_count(image->modules); i++) {
		struct module *module = modules_get(image->modules, i);
		struct pyh_place place = { .module = module };
		struct symbol symbol;
		struct error *err;
		uint64_t size;

		if (is_python_module(module) != python)
			continue;
		if (symbols_lookup(module, image->memory, "_PyRuntime",
				   &symbol)) {
			place.by = PYH_FIND_BY_SYMBOL;
			place.source = symbol.source;
			place.address = symbol.address;
		} else if (symbols_section(module, ".PyRuntime",
					   &place.address, &size)) {
			place.by = PYH_FIND_BY_SECTION;
		} else {
			continue;
		}
		err = add_place(places, &place);
		if (err)
			return err;
	}
	return NULL;
}

/* --- writable memory ------------------------------------------------------ */

/** Tell fn the captured bytes of a range piece by piece. */
static bool each_piece(struct memory_reader *reader,
		       const struct memory_range *range, pyh_piece_fn *fn,
		       void *context)
{
	uint64_t at = (range->start + 7) & ~UINT64_C(7);

	while (at < range->end) {
		uint64_t left = range->end - at;
		size_t size = left < PIECE ? (size_t)left : PIECE;
		const void *bytes = memory_view(reader, at, size);

		// Of a piece in a lost frame nothing is looked at.
		if (bytes && !fn(context, at, bytes, size))
			return false;
		at += size;
	}
	return true;
}

void pyh_each_writable(struct image *image, struct memory_reader *reader,
		       const struct module *module, bool modules_only,
		       pyh_piece_fn *fn, void *context)
{
	const struct module *owner = NULL;
	uint64_t end = 0, bss = 0;

	for (size_t i = 0; i < memory_num_ranges(image->memory); i++) {
		const struct memory_range *range =
			memory_range(image->memory, i);
		const struct module *here = modules_find(image->modules,
							 range->start);

		// Anonymous memory right behind a module is its bss.
		if (here)
			bss = 0;
		else if (range->start == end && bss < BSS_MAX)
			bss += range->end - range->start;
		else
			owner = NULL;
		owner = here ? here : owner;
		end = range->end;
		if (!(range->protection & PF_W) ||
		    range->state != MEMORY_CAPTURED ||
		    (module && owner != module) || (modules_only && !owner))
			continue;
		if (!each_piece(reader, range, fn, context))
			return;
	}
}

struct scan {
	struct image *image;
	struct memory_reader *reader;	/* another one than the walk's */
	struct pyh_places *places;
	bool anywhere;
	struct error *err;
};

/** Take a place that a scan came upon; false where memory is exhausted. */
static bool take_place(struct scan *scan, struct pyh_place place)
{
	place.module = modules_find(scan->image->modules, place.address);
	// In bss no mapping of the module holds it: the nearest below does.
	for (size_t i = 0; !place.module && !scan->anywhere &&
	     i < modules_count(scan->image->modules); i++) {
		struct module *module = modules_get(scan->image->modules, i);

		if (module->end <= place.address &&
		    place.address - module->end < BSS_MAX &&
		    is_python_module(module))
			place.module = module;
	}
	scan->err = add_place(scan->places, &place);
	return !scan->err;
}

static uint64_t word_at(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

static bool scan_cookie(void *context, uint64_t address, const uint8_t *bytes,
			size_t size)
{
	struct scan *scan = context;
	struct pyh_debug_offsets_head head;

	for (size_t at = 0; at + 8 <= size; at += 8) {
		if (word_at(bytes + at) != PYH_DEBUG_OFFSETS_COOKIE ||
		    !pyh_debug_offsets_read(scan->reader, address + at, &head))
			continue;
		if (!take_place(scan, (struct pyh_place){
					.address = address + at,
					.by = PYH_FIND_BY_COOKIE }))
			return false;
	}
	return true;
}

/**
 * Could an interpreter stand here? Its first thread state names it and has
 * none before it.
 */
static bool names_interpreter(struct memory_reader *reader,
			      const struct pyh_layout *layout,
			      uint64_t interpreter)
{
	enum pyh_field threads = layout->at[PYH_INTERP_THREADS_HEAD].size ?
				 PYH_INTERP_THREADS_HEAD :
				 PYH_INTERP_TSTATE_HEAD;
	uint64_t thread, owner, prev;

	return memory_try_u64(reader, interpreter + layout->at[threads].offset,
			      &thread) && thread != 0 &&
	       memory_try_u64(reader, thread +
			      layout->at[PYH_TSTATE_INTERP].offset, &owner) &&
	       owner == interpreter &&
	       memory_try_u64(reader, thread +
			      layout->at[PYH_TSTATE_PREV].offset, &prev) &&
	       prev == 0;
}

/** The list of interpreters leads from head to main. */
static bool leads_to(struct memory_reader *reader,
		     const struct pyh_layout *layout, uint64_t head,
		     uint64_t main)
{
	for (unsigned int i = 0; i < LIST_MAX && head != 0; i++) {
		if (head == main)
			return true;
		if (!memory_try_u64(reader, head +
				    layout->at[PYH_INTERP_NEXT].offset, &head))
			return false;
	}
	return false;
}

/**
 * Is the word `main` at this address the `interpreters.main` of a runtime of
 * this release? From 3.11 on the main interpreter lies in the runtime itself,
 * before that it is allocated.
 */
static bool is_main_of(struct scan *scan, const struct pyh_layout *layout,
		       uint64_t address, uint64_t head, uint64_t main)
{
	struct pyh_field_at embedded = layout->at[PYH_RUNTIME_MAIN_INTERPRETER];
	uint64_t runtime = address -
			   layout->at[PYH_RUNTIME_INTERPRETERS_MAIN].offset;

	if (embedded.size != 0) {
		if (main - runtime - embedded.offset + MAIN_TOLERANCE >
		    2 * MAIN_TOLERANCE)
			return false;
	} else if (head != main && scan->anywhere) {
		// Sub-interpreters are looked for in modules only: most of
		// what looks like two pointers is nothing of the kind.
		return false;
	}
	return names_interpreter(scan->reader, layout, main) &&
	       leads_to(scan->reader, layout, head, main);
}

static bool scan_invariants(void *context, uint64_t address,
			    const uint8_t *bytes, size_t size)
{
	struct scan *scan = context;

	for (size_t at = 8; at + 8 <= size; at += 8) {
		uint64_t head = word_at(bytes + at - 8);
		uint64_t main = word_at(bytes + at);

		if (head == 0 || main == 0 || (head & 7) != 0 ||
		    (main & 7) != 0 || main >> 56 != 0 || head >> 56 != 0)
			continue;
		for (unsigned int minor = PYH_MINOR_FIRST; minor <= 12;
		     minor++) {
			const struct pyh_layout *layout =
				pyh_layout_for(minor);
			uint32_t offset =
				layout->at[PYH_RUNTIME_INTERPRETERS_MAIN]
					.offset;

			if (!is_main_of(scan, layout, address + at, head,
					main))
				continue;
			if (!take_place(scan, (struct pyh_place){
					.address = address + at - offset,
					.by = PYH_FIND_BY_INVARIANTS,
					.minor = minor }))
				return false;
		}
	}
	return true;
}

static struct error *find_in_memory(struct image *image, bool anywhere,
				    struct pyh_places *places)
{
	struct scan scan = {
		.image = image, .places = places, .anywhere = anywhere,
	};
	struct memory_reader views = { 0 }, reader = { 0 };
	struct error *err;

	err = memory_reader_init(&views, image->memory);
	if (err)
		return err;
	err = memory_reader_init(&reader, image->memory);
	if (!err) {
		scan.reader = &reader;
		pyh_each_writable(image, &views, NULL, !anywhere, scan_cookie,
				  &scan);
		if (!scan.err && places->count == 0)
			pyh_each_writable(image, &views, NULL, !anywhere,
					  scan_invariants, &scan);
		memory_reader_deinit(&reader);
		err = scan.err;
	}
	memory_reader_deinit(&views);
	return err;
}

struct error *pyh_find(struct image *image, enum pyh_find_where where,
		       struct pyh_places *places)
{
	switch (where) {
	case PYH_FIND_PYTHON_MODULES:
		return find_in_symbols(image, true, places);
	case PYH_FIND_OTHER_MODULES:
		return find_in_symbols(image, false, places);
	case PYH_FIND_MODULE_DATA:
		return find_in_memory(image, false, places);
	case PYH_FIND_ANYWHERE:
	case PYH_NUM_FIND_WHERE:
		break;
	}
	return find_in_memory(image, true, places);
}
