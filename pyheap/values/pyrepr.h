/*
 * One repr() being written: what the files of pyvalue share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A writer puts the text of one kind of object. It may call
 * pyh_repr_value() for what the object holds, which bounds depth and work;
 * loops ask pyh_repr_step() before each entry.
 */
#ifndef PYHEAP_PYREPR_H
#define PYHEAP_PYREPR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pyshape.h"
#include "pyheap/types/pytypes.h"
#include "pyheap/values/pyvalue.h"

/* Objects that are no containers may stand deeper than these. */
enum { PYH_REPR_OPEN_MAX = PYH_VALUE_DEPTH + 8 };

struct pyh_repr {
	struct pyh_value_reader *reader;
	const struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	struct memory_reader *memory;
	char *buffer;
	size_t size;		/* of buffer */
	size_t at;		/* bytes written */
	size_t cut;		/* where a "…" still fits */
	bool full;		/* it has been cut: all that follows is lost */
	unsigned int depth;	/* objects that are being written */
	uint64_t open[PYH_REPR_OPEN_MAX];	/* their addresses */
	uint64_t budget;	/* entries that may still be looked at */
};

struct pyh_repr_object {
	uint64_t address;
	const struct pyh_type *type;
	/* the nearest base, or the type itself, that a writer is for */
	const struct pyh_type *base;
};

typedef void pyh_repr_writer(struct pyh_repr *repr,
			     const struct pyh_repr_object *object);

/* --- text, pyrepr.c ------------------------------------------------------- */

/** Put a few bytes that a cut must not tear apart. */
void pyh_repr_whole(struct pyh_repr *repr, const char *text, size_t size);
/** Put text, whole characters at a time; what is no UTF-8 as \xNN. */
void pyh_repr_bytes(struct pyh_repr *repr, const char *text, size_t size);
void pyh_repr_put(struct pyh_repr *repr, const char *text);
/** Put at most 255 bytes, of numbers and short constants. */
void pyh_repr_format(struct pyh_repr *repr, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/** Put a "…" and nothing more after it. */
void pyh_repr_cut(struct pyh_repr *repr);

/** Contents that cannot be, with a word why. */
void pyh_repr_damaged(struct pyh_repr *repr, const char *why);
/** Memory that could not be read. */
void pyh_repr_unread(struct pyh_repr *repr, uint64_t address);

/** False, with a "…" put, where there was enough work or text. */
bool pyh_repr_step(struct pyh_repr *repr);

/**
 * Read a field of an object of up to 8 bytes; false, with that said in the
 * text, where it is not to be had.
 */
bool pyh_repr_field(struct pyh_repr *repr, uint64_t structure,
		    enum pyh_field field, uint64_t *ret);

/** ob_size as a count; false, with that said, where it cannot be. */
bool pyh_repr_count(struct pyh_repr *repr, uint64_t address, uint64_t *ret);

/* --- values, pyvalue.c ---------------------------------------------------- */

/** Put the value of another object; 0: "<NULL>". */
void pyh_repr_value(struct pyh_repr *repr, uint64_t address);

/** The same of the object that a field points at. */
void pyh_repr_value_at(struct pyh_repr *repr, uint64_t structure,
		       enum pyh_field field);

/** The type of the object at an address, or NULL. */
const struct pyh_type *pyh_repr_type(struct pyh_repr *repr, uint64_t address);
/** The type object at an address as a type, or NULL. */
const struct pyh_type *pyh_repr_type_at(struct pyh_repr *repr,
					uint64_t address);

/** The last word of a type's name: type(x).__name__. */
const char *pyh_repr_short_name(const struct pyh_type *type);

/* --- strings and numbers -------------------------------------------------- */

/** Put a C string of the target as it is; false if it is not to be had. */
bool pyh_repr_c_string(struct pyh_repr *repr, uint64_t address);
/** Put the str at an address without quotes; "?" if it is none. */
void pyh_repr_plain_str(struct pyh_repr *repr, uint64_t address);
/** Put a double as repr() does, with or without a ".0" where it is whole. */
void pyh_repr_double(struct pyh_repr *repr, double value, bool dot);
/** True where repr() shows a character as it is. */
bool pyh_is_printable(uint32_t c);

/* The writers, by the file they are in. */
pyh_repr_writer pyh_write_str;			/* pyvaluetext.c */
pyh_repr_writer pyh_write_bytes;
pyh_repr_writer pyh_write_bytearray;
pyh_repr_writer pyh_write_int;			/* pyvaluenumber.c */
pyh_repr_writer pyh_write_bool;
pyh_repr_writer pyh_write_float;
pyh_repr_writer pyh_write_complex;
pyh_repr_writer pyh_write_decimal;
pyh_repr_writer pyh_write_list;			/* pyvaluecontainer.c */
pyh_repr_writer pyh_write_tuple;
pyh_repr_writer pyh_write_namedtuple;
pyh_repr_writer pyh_write_structseq;
pyh_repr_writer pyh_write_dict;
pyh_repr_writer pyh_write_frozendict;
pyh_repr_writer pyh_write_defaultdict;
pyh_repr_writer pyh_write_defaultdict_cycle;
pyh_repr_writer pyh_write_odict;
pyh_repr_writer pyh_write_set;
pyh_repr_writer pyh_write_frozenset;
pyh_repr_writer pyh_write_deque;
pyh_repr_writer pyh_write_array;
pyh_repr_writer pyh_write_date;			/* pyvaluetime.c */
pyh_repr_writer pyh_write_datetime;
pyh_repr_writer pyh_write_time;
pyh_repr_writer pyh_write_delta;
pyh_repr_writer pyh_write_timezone;
pyh_repr_writer pyh_write_range;		/* pyvalueobject.c */
pyh_repr_writer pyh_write_slice;
pyh_repr_writer pyh_write_exception;
pyh_repr_writer pyh_write_module;
pyh_repr_writer pyh_write_class;
pyh_repr_writer pyh_write_function;
pyh_repr_writer pyh_write_builtin;
pyh_repr_writer pyh_write_method;
pyh_repr_writer pyh_write_method_wrapper;
pyh_repr_writer pyh_write_frame;
pyh_repr_writer pyh_write_generator;
pyh_repr_writer pyh_write_enum;
pyh_repr_writer pyh_write_other;

/** True if a type is an enumeration: its class is enum.EnumMeta. */
bool pyh_repr_is_enum(struct pyh_repr *repr, const struct pyh_type *type);
/** The tuple of field names of a namedtuple class, or 0. */
uint64_t pyh_repr_fields(struct pyh_repr *repr, const struct pyh_type *type);

#endif
