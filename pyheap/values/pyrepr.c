/*
 * The text of a repr(): a buffer that is never overrun.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/values/pyrepr.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char ellipsis[] = "\xe2\x80\xa6";

void pyh_repr_cut(struct pyh_repr *repr)
{
	if (repr->full)
		return;
	memcpy(repr->buffer + repr->cut, ellipsis, sizeof(ellipsis));
	repr->at = repr->cut + sizeof(ellipsis) - 1;
	repr->full = true;
}

/** Bytes of the character at text; 0 if that is no UTF-8. */
static size_t character(const char *text, size_t size)
{
	// The least character that needs so many bytes.
	static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char lead = (unsigned char)text[0];
	size_t count = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 :
		       lead < 0xf0 ? 3 : lead < 0xf8 ? 4 : 0;
	uint32_t c = count > 1 ? lead & (0x7fu >> count) : lead;

	if (count == 0 || count > size)
		return 0;
	for (size_t i = 1; i < count; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | ((unsigned char)text[i] & 0x3f);
	}
	return c < least[count] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ?
		       0 : count;
}

void pyh_repr_whole(struct pyh_repr *repr, const char *text, size_t size)
{
	if (repr->full)
		return;
	if (repr->at + size >= repr->size) {
		pyh_repr_cut(repr);
		return;
	}
	memcpy(repr->buffer + repr->at, text, size);
	repr->at += size;
	repr->buffer[repr->at] = '\0';
	if (repr->at + sizeof(ellipsis) <= repr->size)
		repr->cut = repr->at;
}

void pyh_repr_bytes(struct pyh_repr *repr, const char *text, size_t size)
{
	while (size > 0 && !repr->full) {
		size_t count = character(text, size);
		char escape[8];

		if (count > 0) {
			pyh_repr_whole(repr, text, count);
		} else {
			// Names in a dump may be anything.
			count = 1;
			(void)snprintf(escape, sizeof(escape), "\\x%02x",
				       (unsigned char)text[0]);
			pyh_repr_whole(repr, escape, 4);
		}
		text += count;
		size -= count;
	}
}

void pyh_repr_put(struct pyh_repr *repr, const char *text)
{
	pyh_repr_bytes(repr, text, strlen(text));
}

void pyh_repr_format(struct pyh_repr *repr, const char *format, ...)
{
	char text[256];
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (size > 0)
		pyh_repr_put(repr, text);
}

void pyh_repr_damaged(struct pyh_repr *repr, const char *why)
{
	pyh_repr_format(repr, "<damaged: %s>", why);
}

void pyh_repr_unread(struct pyh_repr *repr, uint64_t address)
{
	if (memory_state_at(repr->memory->memory, address) == MEMORY_UNMAPPED)
		pyh_repr_format(repr, "<damaged: nothing is mapped at 0x%"
				PRIx64 ">", address);
	else
		pyh_repr_put(repr, "<not captured>");
}

bool pyh_repr_step(struct pyh_repr *repr)
{
	if (repr->budget > 0 && !repr->full) {
		repr->budget--;
		return true;
	}
	// Without room it has been cut already.
	if (!repr->full)
		pyh_repr_put(repr, ellipsis);
	repr->full = true;
	return false;
}

bool pyh_repr_field(struct pyh_repr *repr, uint64_t structure,
		    enum pyh_field field, uint64_t *ret)
{
	if (pyh_field(repr->runtime, repr->memory, structure, field, ret))
		return true;
	if (pyh_has(repr->runtime, field))
		pyh_repr_unread(repr, structure +
				pyh_offset(repr->runtime, field));
	else
		pyh_repr_put(repr, "?");
	return false;
}

bool pyh_repr_count(struct pyh_repr *repr, uint64_t address, uint64_t *ret)
{
	if (!pyh_repr_field(repr, address, PYH_VAR_OB_SIZE, ret))
		return false;
	if (*ret >> 47 == 0)
		return true;
	pyh_repr_damaged(repr, "length");
	return false;
}
