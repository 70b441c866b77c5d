/*
 * Values of strings: str of every kind, bytes, bytearray.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/unicodeobject.c (unicode_repr), bytesobject.c and
 * bytearrayobject.c.
 */
#include <stdio.h>
#include <string.h>

#include "pyheap/values/pyrepr.h"
#include "pyheap/values/pystr.h"

enum {
	CHUNK = 256,			/* characters read at one go */
	/* Characters looked at for quotes. In a longer str or bytes that is
	   shown cut, a quote behind these does not change what stands around
	   it. */
	QUOTES_LOOK = 1 << 16,
	NAME_MAX_BYTES = 1024,
};

/** Characters of 1, 2 or 4 bytes each somewhere in the target. */
struct characters {
	struct memory_reader *memory;
	uint64_t data, length;
	size_t width;
	uint64_t start, count;		/* those at buffer */
	uint8_t buffer[CHUNK * 4];
};

/** Character i, which is below length; false if it is not to be had. */
static bool character_at(struct characters *chars, uint64_t i, uint32_t *ret)
{
	uint64_t left = chars->length - i, want = left < CHUNK ? left : CHUNK;

	if (i - chars->start >= chars->count) {
		chars->start = i;
		chars->count = 0;
		// Where a chunk is not to be had, a part of it may be.
		while (want > 0 &&
		       !memory_try_read(chars->memory,
					chars->data + i * chars->width,
					chars->buffer,
					(size_t)want * chars->width))
			want /= 2;
		chars->count = want;
		if (want == 0)
			return false;
	}
	*ret = 0;
	memcpy(ret, chars->buffer + (i - chars->start) * chars->width,
	       chars->width);
	return true;
}

/** The quote that repr() puts around: ' unless only that is inside. */
static char choose_quote(struct characters *chars)
{
	bool single = false, twice = false;
	uint32_t c;

	for (uint64_t i = 0; i < chars->length && i < QUOTES_LOOK &&
			     character_at(chars, i, &c); i++) {
		single |= c == '\'';
		twice |= c == '"';
	}
	return single && !twice ? '"' : '\'';
}

static void put_utf8(struct pyh_repr *repr, uint32_t c)
{
	char text[4];
	size_t size;

	if (c < 0x80) {
		text[0] = (char)c;
		size = 1;
	} else if (c < 0x800) {
		text[0] = (char)(0xc0 | c >> 6);
		text[1] = (char)(0x80 | (c & 0x3f));
		size = 2;
	} else if (c < 0x10000) {
		text[0] = (char)(0xe0 | c >> 12);
		text[1] = (char)(0x80 | (c >> 6 & 0x3f));
		text[2] = (char)(0x80 | (c & 0x3f));
		size = 3;
	} else {
		text[0] = (char)(0xf0 | (c >> 18 & 7));
		text[1] = (char)(0x80 | (c >> 12 & 0x3f));
		text[2] = (char)(0x80 | (c >> 6 & 0x3f));
		text[3] = (char)(0x80 | (c & 0x3f));
		size = 4;
	}
	pyh_repr_bytes(repr, text, size);
}

/** An escape stands whole or not at all. */
static void put_escape(struct pyh_repr *repr, uint32_t c)
{
	char text[16];

	if (c == '\'' || c == '"' || c == '\\')
		(void)snprintf(text, sizeof(text), "\\%c", (char)c);
	else if (c == '\t')
		(void)snprintf(text, sizeof(text), "\\t");
	else if (c == '\n')
		(void)snprintf(text, sizeof(text), "\\n");
	else if (c == '\r')
		(void)snprintf(text, sizeof(text), "\\r");
	else if (c <= 0xff)
		(void)snprintf(text, sizeof(text), "\\x%02x", c);
	else if (c <= 0xffff)
		(void)snprintf(text, sizeof(text), "\\u%04x", c);
	else
		(void)snprintf(text, sizeof(text), "\\U%08x", c);
	pyh_repr_whole(repr, text, strlen(text));
}

/** What is in the quotes. */
enum content {
	CONTENT_TEXT,
	CONTENT_BYTES,
	CONTENT_BYTEARRAY,	/* up to 3.14 has ' escaped in any quotes */
};

static bool is_escaped(uint32_t c, char quote, enum content content)
{
	if (c == (uint32_t)quote || c == '\\' ||
	    (c == '\'' && content == CONTENT_BYTEARRAY))
		return true;
	return content == CONTENT_TEXT ? !pyh_is_printable(c) :
					 c < 0x20 || c >= 0x7f;
}

/** The characters in quotes. */
static void put_quoted(struct pyh_repr *repr, struct characters *chars,
		       enum content content)
{
	char quote = choose_quote(chars);
	uint32_t c;

	pyh_repr_bytes(repr, &quote, 1);
	for (uint64_t i = 0; i < chars->length && !repr->full; i++) {
		if (!character_at(chars, i, &c)) {
			pyh_repr_unread(repr, chars->data + i * chars->width);
			break;
		}
		if (c > 0x10ffff) {
			pyh_repr_damaged(repr, "no such character");
			break;
		}
		if (is_escaped(c, quote, content))
			put_escape(repr, c);
		else
			put_utf8(repr, c);
	}
	pyh_repr_bytes(repr, &quote, 1);
}

void pyh_write_str(struct pyh_repr *repr, const struct pyh_repr_object *object)
{
	struct characters chars = { .memory = repr->memory };
	struct pyh_str str;

	switch (pyh_str_read(repr->runtime, repr->memory, object->address,
			     &str)) {
	case PYH_FOUND:
		break;
	case PYH_FOUND_MISSING:
		pyh_repr_unread(repr, object->address);
		return;
	default:
		pyh_repr_damaged(repr, "str");
		return;
	}
	// Up to 3.11 some have nothing but wide characters.
	chars.data = str.width ? str.data : str.wstr;
	chars.length = str.width ? str.length : str.wstr_length;
	chars.width = str.width ? str.width : 4;
	if (chars.length && !chars.data)
		pyh_repr_damaged(repr, "str without characters");
	else if (chars.length >> 45)
		pyh_repr_damaged(repr, "length");
	else
		put_quoted(repr, &chars, CONTENT_TEXT);
}

static void put_bytes(struct pyh_repr *repr, uint64_t data, uint64_t length,
		      enum content content)
{
	struct characters chars = {
		.memory = repr->memory, .data = data, .length = length,
		.width = 1,
	};

	pyh_repr_put(repr, "b");
	put_quoted(repr, &chars, content);
}

void pyh_write_bytes(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	uint64_t length;

	if (pyh_repr_count(repr, object->address, &length))
		put_bytes(repr, object->address +
				pyh_offset(repr->runtime, PYH_BYTES_OB_SVAL),
			  length, CONTENT_BYTES);
}

void pyh_write_bytearray(struct pyh_repr *repr,
			 const struct pyh_repr_object *object)
{
	uint64_t length, start = 0;

	pyh_repr_put(repr, pyh_repr_short_name(object->type));
	pyh_repr_put(repr, "(");
	if (pyh_repr_count(repr, object->address, &length) &&
	    pyh_repr_field(repr, object->address, PYH_BYTEARRAY_OB_START,
			   &start))
		put_bytes(repr, start, length, repr->runtime->minor < 15 ?
				CONTENT_BYTEARRAY : CONTENT_BYTES);
	pyh_repr_put(repr, ")");
}

bool pyh_repr_c_string(struct pyh_repr *repr, uint64_t address)
{
	char text[NAME_MAX_BYTES];

	if (address == 0 ||
	    !memory_try_string(repr->memory, address, text, sizeof(text)))
		return false;
	pyh_repr_put(repr, text);
	return true;
}

void pyh_repr_plain_str(struct pyh_repr *repr, uint64_t address)
{
	char text[NAME_MAX_BYTES];
	struct pyh_str str;
	const struct pyh_type *type = pyh_repr_type(repr, address);

	if (type && type->kind == PYH_KIND_STR &&
	    pyh_str_read(repr->runtime, repr->memory, address, &str) ==
		    PYH_FOUND &&
	    pyh_str_copy(repr->memory, &str, text, sizeof(text)))
		pyh_repr_put(repr, text);
	else
		pyh_repr_put(repr, "?");
}
