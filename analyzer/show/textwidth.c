/*
 * How wide text is on a terminal; see textwidth.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/show/textwidth.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/escape.h"
#include "image/base/guard.h"

struct span {
	uint32_t first, last;
};

/* Combining marks of the scripts in use. Source: Unicode 15, category Mn. */
static const struct span zero_columns[] = {
	{ 0x0300, 0x036F }, { 0x0483, 0x0487 }, { 0x0591, 0x05BD },
	{ 0x0610, 0x061A }, { 0x064B, 0x065F }, { 0x0E34, 0x0E3A },
	{ 0x0E47, 0x0E4E }, { 0x1AB0, 0x1ABD }, { 0x1DC0, 0x1DFF },
	{ 0x20D0, 0x20DC }, { 0x302A, 0x302D }, { 0x3099, 0x309A },
	{ 0xFE00, 0xFE0F }, { 0xFE20, 0xFE2F },
};

/* East Asian wide and fullwidth. Source: Unicode 15, EastAsianWidth.txt, with
   unassigned gaps inside a block taken along. */
static const struct span two_columns[] = {
	{ 0x1100, 0x115F },   { 0x231A, 0x231B },   { 0x2329, 0x232A },
	{ 0x23E9, 0x23EC },   { 0x23F0, 0x23F0 },   { 0x23F3, 0x23F3 },
	{ 0x25FD, 0x25FE },   { 0x2614, 0x2615 },   { 0x2648, 0x2653 },
	{ 0x267F, 0x267F },   { 0x2693, 0x2693 },   { 0x26A1, 0x26A1 },
	{ 0x26AA, 0x26AB },   { 0x26BD, 0x26BE },   { 0x26C4, 0x26C5 },
	{ 0x26CE, 0x26CE },   { 0x26D4, 0x26D4 },   { 0x26EA, 0x26EA },
	{ 0x26F2, 0x26F3 },   { 0x26F5, 0x26F5 },   { 0x26FA, 0x26FA },
	{ 0x26FD, 0x26FD },   { 0x2705, 0x2705 },   { 0x270A, 0x270B },
	{ 0x2728, 0x2728 },   { 0x274C, 0x274C },   { 0x274E, 0x274E },
	{ 0x2753, 0x2755 },   { 0x2757, 0x2757 },   { 0x2795, 0x2797 },
	{ 0x27B0, 0x27B0 },   { 0x27BF, 0x27BF },   { 0x2B1B, 0x2B1C },
	{ 0x2B50, 0x2B50 },   { 0x2B55, 0x2B55 },   { 0x2E80, 0x303E },
	{ 0x3041, 0x33FF },   { 0x3400, 0x4DBF },   { 0x4E00, 0xA4CF },
	{ 0xA960, 0xA97F },   { 0xAC00, 0xD7A3 },   { 0xF900, 0xFAFF },
	{ 0xFE10, 0xFE19 },   { 0xFE30, 0xFE6F },   { 0xFF01, 0xFF60 },
	{ 0xFFE0, 0xFFE6 },   { 0x16FE0, 0x18CFF }, { 0x1AFF0, 0x1B2FF },
	{ 0x1F004, 0x1F004 }, { 0x1F0CF, 0x1F0CF }, { 0x1F18E, 0x1F18E },
	{ 0x1F191, 0x1F19A }, { 0x1F200, 0x1F320 }, { 0x1F32D, 0x1F335 },
	{ 0x1F337, 0x1F37C }, { 0x1F37E, 0x1F393 }, { 0x1F3A0, 0x1F3CA },
	{ 0x1F3CF, 0x1F3D3 }, { 0x1F3E0, 0x1F3F0 }, { 0x1F3F4, 0x1F3F4 },
	{ 0x1F3F8, 0x1F43E }, { 0x1F440, 0x1F440 }, { 0x1F442, 0x1F4FC },
	{ 0x1F4FF, 0x1F53D }, { 0x1F54B, 0x1F54E }, { 0x1F550, 0x1F567 },
	{ 0x1F57A, 0x1F57A }, { 0x1F595, 0x1F596 }, { 0x1F5A4, 0x1F5A4 },
	{ 0x1F5FB, 0x1F64F }, { 0x1F680, 0x1F6C5 }, { 0x1F6CC, 0x1F6CC },
	{ 0x1F6D0, 0x1F6D2 }, { 0x1F6D5, 0x1F6DF }, { 0x1F6EB, 0x1F6EC },
	{ 0x1F6F4, 0x1F6FC }, { 0x1F7E0, 0x1F7F0 }, { 0x1F90C, 0x1F93A },
	{ 0x1F93C, 0x1F945 }, { 0x1F947, 0x1F9FF }, { 0x1FA70, 0x1FAFF },
	{ 0x20000, 0x3FFFD },
};

static bool in_spans(const struct span *spans, size_t count, uint32_t character)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (character > spans[middle].last)
			low = middle + 1;
		else if (character < spans[middle].first)
			high = middle;
		else
			return true;
	}
	return false;
}

#define IN_SPANS(spans, character) \
	in_spans(spans, sizeof(spans) / sizeof(*(spans)), character)

/** Bytes of the character at text (size > 0), and the columns it takes. */
static size_t step(const char *text, size_t size, size_t *ret_columns)
{
	unsigned char lead = (unsigned char)text[0];
	size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
	uint32_t character = length == 1 ? lead : lead & (0xFFu >> (length + 1));

	*ret_columns = 1;
	if (length == 1 || length > size)
		return 1;
	for (size_t i = 1; i < length; i++) {
		if (((unsigned char)text[i] & 0xC0) != 0x80)
			return 1;
		character = character << 6 | ((unsigned char)text[i] & 0x3Fu);
	}
	if (IN_SPANS(zero_columns, character))
		*ret_columns = 0;
	else if (IN_SPANS(two_columns, character))
		*ret_columns = 2;
	return length;
}

size_t textwidth(const char *text, size_t size)
{
	size_t total = 0, columns;

	for (size_t i = 0; i < size; total += columns)
		i += step(text + i, size - i, &columns);
	return total;
}

/** Bytes at the start of text that fit into columns. */
static size_t head_bytes(const char *text, size_t size, size_t columns)
{
	size_t at = 0, used = 0, width;

	while (at < size) {
		size_t length = step(text + at, size - at, &width);

		if (used + width > columns)
			break;
		used += width;
		at += length;
	}
	return at;
}

/** Bytes to leave out at the start so that the rest fits into columns. */
static size_t tail_start(const char *text, size_t size, size_t columns)
{
	size_t total = textwidth(text, size), at = 0, width;

	while (at < size && total > columns) {
		at += step(text + at, size - at, &width);
		total -= width;
	}
	// A combining mark without its letter would land on the ellipsis.
	while (at < size) {
		size_t length = step(text + at, size - at, &width);

		if (width != 0)
			break;
		at += length;
	}
	return at;
}

/** head's start and tail's end with an ellipsis between, in columns. */
static char *join(const char *head, const char *tail, size_t columns)
{
	static const char ellipsis[] = "…";
	size_t right = (columns - 1) / 2, left = columns - 1 - right;
	size_t head_size = head_bytes(head, strlen(head), left);
	size_t tail_size = strlen(tail);
	size_t skip = tail_start(tail, tail_size, right);
	char *joined = malloc(head_size + sizeof(ellipsis) + tail_size - skip);

	if (!joined)
		return NULL;
	memcpy(joined, head, head_size);
	memcpy(joined + head_size, ellipsis, sizeof(ellipsis) - 1);
	memcpy(joined + head_size + sizeof(ellipsis) - 1, tail + skip,
	       tail_size - skip + 1);
	return joined;
}

/** True for what needs no escape and takes a column a byte: most names. */
static bool is_plain(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (text[i] < 0x20 || text[i] >= 0x7F)
			return false;
	}
	return true;
}

static bool is_continuation(char byte)
{
	return ((unsigned char)byte & 0xC0) == 0x80;
}

/** As join(), looking only at as many bytes of a huge text as can matter. */
static char *fit_huge(const char *text, size_t size, size_t near,
		      size_t columns)
{
	CLEANUP(free_pointer) char *head = NULL;
	CLEANUP(free_pointer) char *tail = NULL;
	size_t first = near, last = near;

	// Not to make escapes of halves of a character.
	for (int i = 0; i < 3 && is_continuation(text[first]); i++)
		first--;
	for (int i = 0; i < 3 && is_continuation(text[size - last]); i++)
		last--;
	head = escape_copy(ESCAPE_TEXT, text, first);
	tail = escape_copy(ESCAPE_TEXT, text + size - last, last);
	return head && tail ? join(head, tail, columns) : NULL;
}

char *textwidth_fit(const char *text, size_t size, size_t columns)
{
	CLEANUP(free_pointer) char *whole = NULL;
	// At most 4 bytes a character, and room for four marks on each.
	size_t near = (columns + 2) * 20;

	if (size <= columns && is_plain(text, size))
		return strndup(text, size);
	if (size > 2 * near)
		return fit_huge(text, size, near, columns);
	whole = escape_copy(ESCAPE_TEXT, text, size);
	if (!whole)
		return NULL;
	if (textwidth(whole, strlen(whole)) <= columns)
		return TAKE(whole);
	return join(whole, whole, columns);
}
