/*
 * Where a _PyRuntime could be, by ever weaker evidence.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A place is a claim: whether a runtime stands there, and whether it is the
 * live one, is for calibration to say. An image may well have several: a
 * static executable beside a libpython that a library pulled in, a copy
 * relocation, a second mapping of the same file.
 */
#ifndef PYHEAP_PYFIND_H
#define PYHEAP_PYFIND_H

#include <stddef.h>
#include <stdint.h>

#include "image/image.h"
#include "image/symbols.h"

enum pyh_find_by {
	PYH_FIND_BY_SYMBOL,	/* _PyRuntime */
	PYH_FIND_BY_SECTION,	/* .PyRuntime, 3.10 and later */
	PYH_FIND_BY_COOKIE,	/* of _Py_DebugOffsets, 3.13 and later */
	PYH_FIND_BY_INVARIANTS,	/* interpreters and threads, 3.12 and older */
};

struct pyh_place {
	uint64_t address;
	struct module *module;	/* that holds it, or NULL; borrowed */
	enum pyh_find_by by;
	enum symbols_source source;	/* of the symbol, if by that */
	unsigned int minor;	/* whose invariants they were; 0: not said */
};

struct pyh_places {
	struct pyh_place *items;
	size_t count, capacity;
};

/* Where to look, in this order, until a runtime is found. */
enum pyh_find_where {
	PYH_FIND_PYTHON_MODULES,	/* symbols and sections of what is
					   called python, and the executable */
	PYH_FIND_MODULE_DATA,		/* writable data of all modules */
	PYH_FIND_OTHER_MODULES,		/* symbols and sections of the rest */
	PYH_FIND_ANYWHERE,		/* all writable memory */
	PYH_NUM_FIND_WHERE
};

/** Append the places found; those that are known already are not repeated. */
struct error *pyh_find(struct image *image, enum pyh_find_where where,
		       struct pyh_places *places);

void pyh_places_deinit(struct pyh_places *places);

/** Told 8-aligned pieces of memory; false ends the walk. */
typedef bool pyh_piece_fn(void *context, uint64_t address,
			  const uint8_t *bytes, size_t size);

/**
 * Walk over captured writable memory in address order.
 *
 * @param reader  used for the pieces' bytes: fn must read with another one
 * @param module  only its data and the bss behind it; NULL: all
 * @param modules_only  leave out what belongs to no module
 */
void pyh_each_writable(struct image *image, struct memory_reader *reader,
		       const struct module *module, bool modules_only,
		       pyh_piece_fn *fn, void *context);

#endif
