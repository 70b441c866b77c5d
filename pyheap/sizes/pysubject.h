/*
 * One object being measured: what the handlers of pysize share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A handler computes size (without what lies before the object) and extent,
 * and claims the buffers. It returns false for what cannot be such an object.
 * Bytes that are not to be had make it go on with a lower bound after setting
 * `missing`.
 */
#ifndef PYHEAP_PYSUBJECT_H
#define PYHEAP_PYSUBJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/sizes/pysize.h"
#include "pyheap/values/pydict.h"

struct pyh_subject {
	const struct pyh_runtime *runtime;
	const struct pyh_type *type;
	uint64_t address;
	const uint8_t *body;		/* borrowed */
	size_t available;
	struct memory_reader *memory;
	struct pyh_measure *measure;
	/* where claims go beside measure->claims; NULL: nowhere, and chains are
	   not walked */
	void (*emit)(void *context, struct pyh_claim claim);
	void *context;
	uint8_t presize;	/* what sys.getsizeof adds for bytes before it */
	bool missing;
};

typedef bool pyh_handler(struct pyh_subject *subject);

/** Copy bytes of the object itself. */
static inline bool pyh_subject_read(struct pyh_subject *subject,
				    uint32_t offset, void *ret, size_t size)
{
	if (size <= subject->available &&
	    offset <= subject->available - size) {
		memcpy(ret, subject->body + offset, size);
		return true;
	}
	if (memory_try_read(subject->memory, subject->address + offset, ret,
			    size))
		return true;
	subject->missing = true;
	return false;
}

/** A field of 1, 2, 4 or 8 bytes as an unsigned number. */
static inline bool pyh_subject_get(struct pyh_subject *subject,
				   enum pyh_field field, uint64_t *ret)
{
	struct pyh_field_at at = subject->runtime->at[field];

	if (at.size == 8)
		return pyh_subject_read(subject, at.offset, ret, 8);
	*ret = 0;
	return at.size >= 1 && at.size <= 4 &&
	       pyh_subject_read(subject, at.offset, ret, at.size);
}

/** As pyh_subject_get(), from a structure elsewhere in the target. */
bool pyh_subject_at(struct pyh_subject *subject, uint64_t structure,
		    enum pyh_field field, uint64_t *ret);

/** True if size bytes at address may exist; little is not looked at twice. */
bool pyh_subject_fits(const struct pyh_subject *subject, uint64_t address,
		      uint64_t size);

/** Claim a buffer; false if it cannot exist. Address 0 claims nothing. */
bool pyh_subject_claim(struct pyh_subject *subject, uint64_t address,
		       uint64_t size);

/**
 * Claim a buffer with a mapping of its own, of which only so many bytes, up to
 * the end of a page, were ever used: the others take no memory.
 */
bool pyh_subject_claim_part(struct pyh_subject *subject, uint64_t address,
			    uint64_t size, uint64_t used);

/** Claim a buffer in which nothing is a reference any more. */
bool pyh_subject_claim_dead(struct pyh_subject *subject, uint64_t address,
			    uint64_t size);

/** May a chain of count links of size bytes each exist? */
static inline bool pyh_subject_chain_fits(const struct pyh_subject *subject,
					  uint64_t count, uint64_t size)
{
	const struct pyh_chains *chains = subject->type->chains;

	return !chains || count <= chains->bytes / size;
}

/** Take a step along a chain; false when there have been too many in all. */
static inline bool pyh_subject_step(const struct pyh_subject *subject)
{
	struct pyh_chains *chains = subject->type->chains;

	return chains && atomic_fetch_sub_explicit(&chains->steps, 1,
						   memory_order_relaxed) > 0;
}

/** Claim the values of a split table, wherever their buffer starts. */
bool pyh_subject_claim_values(struct pyh_subject *subject, uint64_t values,
			      uint64_t count);

/** Claim a C string of the target with its NUL, and add that to *total. */
void pyh_subject_claim_string(struct pyh_subject *subject, uint64_t address,
			      uint64_t *total);

/**
 * Size and extent of an object with items after its basic size.
 * @param spare  items that there is room for in addition
 */
bool pyh_subject_items(struct pyh_subject *subject, uint64_t count,
		       uint64_t spare);

/**
 * The spare items of a kind whose classes written in Python get one more than
 * they ask for, as room for a terminating zero (PyType_GenericAlloc).
 */
static inline uint64_t pyh_subject_spare(const struct pyh_subject *subject)
{
	return subject->type->is_static ? 0 : 1;
}

/** ob_size as a count; false if it is negative or not to be had. */
bool pyh_subject_count(struct pyh_subject *subject, uint64_t *ret);

/** What pyh_keys_read() says of a table, as handlers need it. */
static inline bool pyh_subject_keys(struct pyh_subject *subject,
				    uint64_t address, struct pyh_keys *keys)
{
	switch (pyh_keys_read(subject->runtime, subject->memory, address,
			      keys)) {
	case PYH_FOUND:
		return pyh_subject_fits(subject, keys->address, keys->bytes);
	case PYH_FOUND_MISSING:
		*keys = (struct pyh_keys){ 0 };
		subject->missing = true;
		return true;
	default:
		return false;
	}
}

/* The handlers, by the file they are in. */
pyh_handler pyh_size_other;		/* pysize.c */
pyh_handler pyh_size_list;		/* pysizecontainers.c */
pyh_handler pyh_size_dict;
pyh_handler pyh_size_set;
pyh_handler pyh_size_deque;
pyh_handler pyh_size_odict;
pyh_handler pyh_size_array;
pyh_handler pyh_size_str;		/* pysizevalues.c */
pyh_handler pyh_size_bytes;
pyh_handler pyh_size_bytearray;
pyh_handler pyh_size_int;
pyh_handler pyh_size_tuple;
pyh_handler pyh_size_structseq;
pyh_handler pyh_size_decimal;
pyh_handler pyh_size_datetime;
pyh_handler pyh_size_time;
pyh_handler pyh_size_type;		/* pysizecode.c */
pyh_handler pyh_size_code;
pyh_handler pyh_size_frame;
pyh_handler pyh_size_generator;
pyh_handler pyh_size_module;
pyh_handler pyh_size_ctype;
pyh_handler pyh_size_cdata;		/* pysizelibrary.c */
pyh_handler pyh_size_stgdict;
pyh_handler pyh_size_bytesio;
pyh_handler pyh_size_stringio;
pyh_handler pyh_size_buffered;
pyh_handler pyh_size_element;
pyh_handler pyh_size_simplequeue;
pyh_handler pyh_size_structpack;
pyh_handler pyh_size_pickler;
pyh_handler pyh_size_unpickler;
pyh_handler pyh_size_product;
pyh_handler pyh_size_combinations;
pyh_handler pyh_size_permutations;
pyh_handler pyh_size_ndarray;		/* pysizeextension.c */
pyh_handler pyh_size_greenlet;
pyh_handler pyh_size_khash;
pyh_handler pyh_size_arrow;

/**
 * Claim, and return the size of, what describes a ctypes class outside of the
 * structure at info: its format, its shape, and the types of its elements.
 *
 * @param fields  length, elements, format, ndim and shape of that structure
 */
uint64_t pyh_size_ctypes_info(struct pyh_subject *subject, uint64_t info,
			      const enum pyh_field fields[5]);

#endif
