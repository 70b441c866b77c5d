/*
 * str objects of a CPython heap.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/values/pystr.h"

enum {
	STATE_READY = 1 << 7,	/* 3.11 and older */
	STATE_STATIC = 1 << 7,	/* 3.12 and later */
	HEAD_MAX = 128,		/* more than sizeof(PyUnicodeObject) */
};

/* Free-threaded 3.14 and later keep `interned` in a byte of its own. */
static uint32_t normal_state(const struct pyh_runtime *runtime, uint32_t state)
{
	return runtime->free_threaded && runtime->minor >= 14 ?
		       state >> PYH_STATE_FREE_SHIFT : state;
}

struct head {
	const struct pyh_runtime *runtime;
	const uint8_t *bytes;
	size_t size;
};

static uint64_t head_u64(const struct head *head, enum pyh_field field)
{
	uint64_t value = 0;
	uint32_t offset = pyh_offset(head->runtime, field);

	if (pyh_has(head->runtime, field) && head->size >= sizeof(value) &&
	    offset <= head->size - sizeof(value))
		memcpy(&value, head->bytes + offset, sizeof(value));
	return value;
}

/* The buffers beside the characters: UTF-8, and wide characters once. */
static void parse_copies(const struct head *head, struct pyh_str *str)
{
	if (!str->ascii || !str->compact) {
		str->utf8 = head_u64(head, PYH_COMPACT_UTF8);
		str->utf8_length = head_u64(head, PYH_COMPACT_UTF8_LENGTH);
		str->separate_utf8 = str->utf8 && str->utf8 != str->data;
	}
	str->wstr = head_u64(head, PYH_ASCII_WSTR);
	if (!str->wstr)
		return;
	str->wstr_length = str->ascii && str->compact ?
		str->length : head_u64(head, PYH_COMPACT_WSTR_LENGTH);
	// Where characters are as wide as wchar_t, one buffer serves both.
	if (str->wstr == str->data)
		str->wstr = 0;
}

static enum pyh_found parse_head(const struct head *head, struct pyh_str *str)
{
	const struct pyh_runtime *runtime = head->runtime;
	uint32_t state;

	memcpy(&state, head->bytes + pyh_offset(runtime, PYH_ASCII_STATE),
	       sizeof(state));
	state = normal_state(runtime, state);
	str->length = head_u64(head, PYH_ASCII_LENGTH);
	str->width = state >> PYH_STATE_KIND_SHIFT & PYH_STATE_KIND_MASK;
	str->compact = state & PYH_STATE_COMPACT;
	str->ascii = state & PYH_STATE_ASCII;
	str->is_static = runtime->minor >= 12 && (state & STATE_STATIC);
	if (str->length >> 46)
		return PYH_FOUND_BAD;
	switch (str->width) {
	case 0:
		// Made by long-deprecated calls and not yet looked at.
		if (runtime->minor >= 12 || str->compact ||
		    (state & STATE_READY))
			return PYH_FOUND_BAD;
		break;
	case 1:
		break;
	case 2:
	case 4:
		if (str->ascii)
			return PYH_FOUND_BAD;
		break;
	default:
		return PYH_FOUND_BAD;
	}
	if (str->compact)
		str->data = str->address +
			    runtime->size_of[str->ascii ? PYH_STRUCT_ASCII :
							  PYH_STRUCT_COMPACT];
	else
		str->data = head_u64(head, PYH_UNICODE_DATA_ANY);
	parse_copies(head, str);
	return PYH_FOUND;
}

enum pyh_found pyh_str_parse(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t address,
			     const uint8_t *body, size_t available,
			     struct pyh_str *ret)
{
	uint8_t copy[HEAD_MAX];
	uint32_t small = runtime->size_of[PYH_STRUCT_ASCII];
	uint32_t whole = runtime->size_of[PYH_STRUCT_UNICODE];
	struct head head = { runtime, body, available };
	struct pyh_str str = { .address = address };
	enum pyh_found found;

	if (small < 24 || whole > sizeof(copy) || address % 8 ||
	    pyh_offset(runtime, PYH_ASCII_STATE) > small - 4)
		return PYH_FOUND_BAD;
	if (available < whole) {
		// The shortest strings are shorter than the longest head.
		head.bytes = copy;
		if (memory_try_read(memory, address, copy, whole))
			head.size = whole;
		else if (memory_try_read(memory, address, copy, small))
			head.size = small;
		else
			return PYH_FOUND_MISSING;
	}
	found = parse_head(&head, &str);
	if (found == PYH_FOUND)
		*ret = str;
	return found;
}

bool pyh_str_is(struct memory_reader *memory, const struct pyh_str *str,
		const char *text)
{
	char copy[64];
	size_t length = strlen(text);

	return str->ascii && str->length == length && length < sizeof(copy) &&
	       memory_try_read(memory, str->data, copy, length) &&
	       memcmp(copy, text, length) == 0;
}

/* Encode one character; returns the bytes written, at most 4. */
static size_t encode(uint32_t c, char *out)
{
	if (c < 0x80 && c != 0) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	c &= 0x1fffff;
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

bool pyh_str_copy(struct memory_reader *memory, const struct pyh_str *str,
		  char *buffer, size_t size)
{
	static const char ellipsis[] = "\xe2\x80\xa6";
	size_t at = 0, cut = 0;		/* cut: where an ellipsis still fits */
	uint64_t data = str->width ? str->data : str->wstr;
	uint64_t length = str->width ? str->length : str->wstr_length;
	size_t width = str->width ? str->width : 4;

	if (length && !data)
		return false;
	for (uint64_t i = 0; i < length; i++) {
		char bytes[4];
		uint32_t c = 0;
		size_t count;

		if (!memory_try_read(memory, data + i * width, &c, width))
			return false;
		count = encode(c, bytes);
		if (at + count > size - 1) {
			memcpy(buffer + cut, ellipsis, sizeof(ellipsis));
			return true;
		}
		memcpy(buffer + at, bytes, count);
		at += count;
		if (at <= size - sizeof(ellipsis))
			cut = at;
	}
	buffer[at] = '\0';
	return true;
}
