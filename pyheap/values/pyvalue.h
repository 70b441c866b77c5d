/*
 * Values of objects, as repr() would show them.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	err = pyh_value_reader_create(runtime, types, shapes, &reader);
 *	pyh_value_repr(reader, address, text, sizeof(text));
 *
 * What a class of the program does in a __repr__ of its own cannot be known;
 * its objects show as what they are built on (a subclass of dict as a dict), or
 * as "<m.N object at 0x…>". Where the text ends early there is a "…". Two
 * things more are not as repr() has them: an int of more than 60 digits shows the
 * first of them and how many bits it has, and a module its name alone.
 *
 * Contents that cannot be show as "<damaged: why>", those that the dump lacks
 * as "<not captured>". Texts are UTF-8 without lone surrogates (these are
 * escaped, as repr() does), but not yet escaped for where they go.
 */
#ifndef PYHEAP_PYVALUE_H
#define PYHEAP_PYVALUE_H

#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pyshape.h"
#include "pyheap/types/pytypes.h"

enum {
	PYH_VALUE_TEXT_MIN = 16,	/* bytes of the smallest buffer */
	PYH_VALUE_DEPTH = 12,		/* containers inside of each other */
	/* entries of containers, empty ones too, looked at for one text */
	PYH_VALUE_BUDGET = 1 << 16,
	PYH_VALUE_INT_DIGITS = 60,	/* decimal digits of an int shown */
};

/** A way in; one for each thread. */
struct pyh_value_reader;

/** All are borrowed and must outlive the reader. */
struct error *pyh_value_reader_create(const struct pyh_runtime *runtime,
				      struct pyh_types *types,
				      struct pyh_shapes *shapes,
				      struct pyh_value_reader **ret);
void pyh_value_reader_destroy(struct pyh_value_reader *reader);

/**
 * The value of the object at an address: always a text with a NUL.
 *
 * @param buffer  gets it
 * @param size  bytes of buffer, at least PYH_VALUE_TEXT_MIN
 */
void pyh_value_repr(struct pyh_value_reader *reader, uint64_t address,
		    char *buffer, size_t size);

#endif
