/*
 * A streaming writer of pickles; see pickle.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/pickle.h"

#include <assert.h>
#include <string.h>

/* By the names that pickletools.py has for them. */
enum opcode {
	OP_PROTO = 0x80,
	OP_STOP = '.',
	OP_MARK = '(',
	OP_EMPTY_DICT = '}',
	OP_EMPTY_LIST = ']',
	OP_SETITEMS = 'u',
	OP_APPENDS = 'e',
	OP_NONE = 'N',
	OP_NEWTRUE = 0x88,
	OP_NEWFALSE = 0x89,
	OP_BININT = 'J',
	OP_BININT1 = 'K',
	OP_BININT2 = 'M',
	OP_LONG1 = 0x8a,
	OP_BINFLOAT = 'G',
	OP_SHORT_BINUNICODE = 0x8c,
	OP_BINUNICODE = 'X',
	OP_TUPLE2 = 0x86,
	OP_MEMOIZE = 0x94,
	OP_BINGET = 'h',
	OP_LONG_BINGET = 'j',
};

enum { PROTOCOL = 4 };

static void put(struct pickle *pickle, int byte)
{
	(void)fputc(byte, pickle->out);
}

/** The low bytes of a number, the lowest first. */
static void put_low(struct pickle *pickle, uint64_t value, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		put(pickle, (int)(value >> (8 * i) & 0xff));
}

static uint32_t memoize(struct pickle *pickle)
{
	put(pickle, OP_MEMOIZE);
	return pickle->kept++;
}

static void get(struct pickle *pickle, uint32_t number)
{
	assert(number < pickle->kept);
	put(pickle, number <= UINT8_MAX ? OP_BINGET : OP_LONG_BINGET);
	put_low(pickle, number, number <= UINT8_MAX ? 1 : 4);
}

/* --- text ----------------------------------------------------------------- */

/** Bytes of the character of UTF-8 that begins here; 0: none does. */
static size_t character(const unsigned char *at, size_t left)
{
	uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 }, code;
	size_t size = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 :
		      at[0] >= 0xe0 ? 3 : 2;

	if (size == 1)
		return 1;
	if (at[0] < 0xc0 || at[0] > 0xf7 || size > left)
		return 0;
	code = at[0] & (0x7fu >> size);
	for (size_t i = 1; i < size; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	if (code < least[size] || code > 0x10ffff ||
	    (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return size;
}

static const char replacement[] = "\xef\xbf\xbd";	/* U+FFFD */

/** Go over a text as it is to be written; returns how many bytes that takes. */
static size_t put_characters(FILE *out, const char *text, size_t size)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t put_bytes = 0;

	while (size > 0) {
		size_t bytes = character(at, size);

		if (out && bytes)
			(void)fwrite(at, 1, bytes, out);
		else if (out)
			(void)fwrite(replacement, 1, 3, out);
		put_bytes += bytes ? bytes : 3;
		at += bytes ? bytes : 1;
		size -= bytes ? bytes : 1;
	}
	return put_bytes;
}

static void put_text(struct pickle *pickle, const char *text)
{
	size_t size = strnlen(text, PICKLE_TEXT_MAX);
	size_t bytes = put_characters(NULL, text, size);

	if (bytes <= UINT8_MAX) {
		put(pickle, OP_SHORT_BINUNICODE);
		put(pickle, (int)bytes);
	} else {
		put(pickle, OP_BINUNICODE);
		put_low(pickle, bytes, 4);
	}
	(void)put_characters(pickle->out, text, size);
}

/** Keys are few, and come again and again. */
static void put_key(struct pickle *pickle, const char *key)
{
	size_t size = strlen(key);

	for (size_t i = 0; i < pickle->num_keys; i++)
		if (strcmp(pickle->keys[i].text, key) == 0) {
			get(pickle, pickle->keys[i].number);
			return;
		}
	put_text(pickle, key);
	if (pickle->num_keys >= PICKLE_KEYS_MAX || size >= PICKLE_KEY_MAX)
		return;
	memcpy(pickle->keys[pickle->num_keys].text, key, size + 1);
	pickle->keys[pickle->num_keys++].number = memoize(pickle);
}

/* --- items ---------------------------------------------------------------- */

/** Whatever comes before a value. */
static void lead(struct pickle *pickle, const char *key)
{
	if (pickle->depth == 0)
		return;
	assert(pickle->levels[pickle->depth - 1].dict == (key != NULL));
	if (pickle->levels[pickle->depth - 1].batch++ == 0)
		put(pickle, OP_MARK);
	if (key)
		put_key(pickle, key);
}

static void end_batch(struct pickle *pickle)
{
	bool dict = pickle->levels[pickle->depth - 1].dict;

	put(pickle, dict ? OP_SETITEMS : OP_APPENDS);
	pickle->levels[pickle->depth - 1].batch = 0;
}

/** Whatever comes behind it. */
static void trail(struct pickle *pickle)
{
	if (pickle->depth > 0 &&
	    pickle->levels[pickle->depth - 1].batch == PICKLE_BATCH)
		end_batch(pickle);
}

static void open_level(struct pickle *pickle, const char *key, bool dict)
{
	assert(pickle->depth < PICKLE_DEPTH_MAX);
	lead(pickle, key);
	put(pickle, dict ? OP_EMPTY_DICT : OP_EMPTY_LIST);
	pickle->levels[pickle->depth].dict = dict;
	pickle->levels[pickle->depth].batch = 0;
	pickle->depth++;
}

void pickle_begin(struct pickle *pickle, FILE *out)
{
	*pickle = (struct pickle){ .out = out };
	put(pickle, OP_PROTO);
	put(pickle, PROTOCOL);
}

void pickle_finish(struct pickle *pickle)
{
	while (pickle->depth > 0)
		pickle_end(pickle);
	put(pickle, OP_STOP);
}

void pickle_dict(struct pickle *pickle, const char *key)
{
	open_level(pickle, key, true);
}

void pickle_list(struct pickle *pickle, const char *key)
{
	open_level(pickle, key, false);
}

void pickle_end(struct pickle *pickle)
{
	assert(pickle->depth > 0);
	if (pickle->levels[pickle->depth - 1].batch)
		end_batch(pickle);
	pickle->depth--;
	trail(pickle);
}

uint32_t pickle_keep(struct pickle *pickle)
{
	assert(pickle->depth > 0 &&
	       pickle->levels[pickle->depth - 1].batch == 0);
	return memoize(pickle);
}

void pickle_again(struct pickle *pickle, const char *key, uint32_t number)
{
	lead(pickle, key);
	get(pickle, number);
	trail(pickle);
}

/* --- values --------------------------------------------------------------- */

void pickle_string(struct pickle *pickle, const char *key, const char *value)
{
	if (!value) {
		pickle_none(pickle, key);
		return;
	}
	lead(pickle, key);
	put_text(pickle, value);
	trail(pickle);
}

uint32_t pickle_kept_string(struct pickle *pickle, const char *key,
			    const char *value)
{
	uint32_t number;

	lead(pickle, key);
	put_text(pickle, value);
	number = memoize(pickle);
	trail(pickle);
	return number;
}

static void put_int(struct pickle *pickle, int64_t value)
{
	unsigned int bytes = 5;

	if (value >= 0 && value <= UINT8_MAX) {
		put(pickle, OP_BININT1);
		put_low(pickle, (uint64_t)value, 1);
	} else if (value >= 0 && value <= UINT16_MAX) {
		put(pickle, OP_BININT2);
		put_low(pickle, (uint64_t)value, 2);
	} else if (value >= INT32_MIN && value <= INT32_MAX) {
		put(pickle, OP_BININT);
		put_low(pickle, (uint64_t)value, 4);
	} else {
		// As few as hold it with its sign.
		while (bytes < 8 && (value >= (int64_t)1 << (8 * bytes - 1) ||
				     value < -((int64_t)1 << (8 * bytes - 1))))
			bytes++;
		put(pickle, OP_LONG1);
		put(pickle, (int)bytes);
		put_low(pickle, (uint64_t)value, bytes);
	}
}

static void put_unsigned(struct pickle *pickle, uint64_t value)
{
	if (value <= INT64_MAX) {
		put_int(pickle, (int64_t)value);
		return;
	}
	put(pickle, OP_LONG1);
	put(pickle, 9);
	put_low(pickle, value, 8);
	put(pickle, 0);
}

void pickle_u64(struct pickle *pickle, const char *key, uint64_t value)
{
	lead(pickle, key);
	put_unsigned(pickle, value);
	trail(pickle);
}

void pickle_i64(struct pickle *pickle, const char *key, int64_t value)
{
	lead(pickle, key);
	put_int(pickle, value);
	trail(pickle);
}

void pickle_double(struct pickle *pickle, const char *key, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	lead(pickle, key);
	put(pickle, OP_BINFLOAT);
	for (int shift = 56; shift >= 0; shift -= 8)
		put(pickle, (int)(bits >> shift & 0xff));
	trail(pickle);
}

void pickle_bool(struct pickle *pickle, const char *key, bool value)
{
	lead(pickle, key);
	put(pickle, value ? OP_NEWTRUE : OP_NEWFALSE);
	trail(pickle);
}

void pickle_none(struct pickle *pickle, const char *key)
{
	lead(pickle, key);
	put(pickle, OP_NONE);
	trail(pickle);
}

void pickle_pair(struct pickle *pickle, const char *key, uint64_t a,
		 uint64_t b)
{
	lead(pickle, key);
	put_unsigned(pickle, a);
	put_unsigned(pickle, b);
	put(pickle, OP_TUPLE2);
	trail(pickle);
}
