/*
 * str objects of a CPython heap.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Include/cpython/unicodeobject.h.
 */
#ifndef PYHEAP_PYSTR_H
#define PYHEAP_PYSTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/values/pydict.h"

struct pyh_str {
	uint64_t address;
	uint64_t length;	/* characters */
	uint8_t width;		/* bytes a character: 1, 2, 4; 0: a legacy one
				   that has only wide characters (3.11) */
	bool ascii;
	bool compact;		/* the characters follow the object's fields */
	bool is_static;		/* 3.12+: in a module's data, with all its forms */
	bool separate_utf8;	/* its UTF-8 form is a buffer of its own */
	uint64_t data;		/* address of the characters; 0: none */
	uint64_t utf8, utf8_length;	/* bytes, without the NUL; 0: none */
	uint64_t wstr, wstr_length;	/* 3.11 and older: wchar_t, or 0 */
};

/**
 * Understand the str (of whatever subclass) at an address. Its type is not
 * looked at. ret is untouched unless PYH_FOUND.
 *
 * @param body  its first bytes, borrowed; what is not in it comes from memory
 * @param available  bytes at body; 0: none
 */
enum pyh_found pyh_str_parse(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t address,
			     const uint8_t *body, size_t available,
			     struct pyh_str *ret);

/* Bits of PyASCIIObject.state, as compilers lay them out. */
enum {
	PYH_STATE_KIND_SHIFT = 2,
	PYH_STATE_KIND_MASK = 7,
	PYH_STATE_COMPACT = 1 << 5,
	PYH_STATE_ASCII = 1 << 6,
	PYH_STATE_FREE_SHIFT = 6,	/* all of these in free-threaded ones */
};

/**
 * True, with its length, if a str is compact ASCII: by far the most common, and
 * the quickest to tell.
 *
 * @param body  at least sizeof(PyASCIIObject) bytes of it
 */
static inline bool pyh_str_is_plain_ascii(const struct pyh_runtime *runtime,
					  const uint8_t *body,
					  uint64_t *ret_length)
{
	const uint32_t wanted = 1 << PYH_STATE_KIND_SHIFT | PYH_STATE_COMPACT |
				PYH_STATE_ASCII;
	const uint32_t mask = PYH_STATE_KIND_MASK << PYH_STATE_KIND_SHIFT |
			      PYH_STATE_COMPACT | PYH_STATE_ASCII;
	uint32_t state;

	memcpy(&state, body + pyh_offset(runtime, PYH_ASCII_STATE),
	       sizeof(state));
	// Free-threaded 3.14 and later have `interned` in a byte of its own.
	if (runtime->free_threaded && runtime->minor >= 14)
		state >>= PYH_STATE_FREE_SHIFT;
	if ((state & mask) != wanted)
		return false;
	memcpy(ret_length, body + pyh_offset(runtime, PYH_ASCII_LENGTH),
	       sizeof(*ret_length));
	return true;
}

static inline enum pyh_found pyh_str_read(const struct pyh_runtime *runtime,
					  struct memory_reader *memory,
					  uint64_t address, struct pyh_str *ret)
{
	return pyh_str_parse(runtime, memory, address, NULL, 0, ret);
}

/** True if str is this ASCII text. */
bool pyh_str_is(struct memory_reader *memory, const struct pyh_str *str,
		const char *text);

/**
 * The text in UTF-8, NUL-terminated, cut at a character and ended with "…"
 * where it would take more than size - 1 bytes. Lone surrogates and NUL come
 * out as the byte sequences that UTF-8 forbids for them, so that no two texts
 * look the same.
 *
 * @param size  bytes at buffer, at least 4
 * @return false where the characters were not captured; buffer is then
 *	undefined
 */
bool pyh_str_copy(struct memory_reader *memory, const struct pyh_str *str,
		  char *buffer, size_t size);

#endif
