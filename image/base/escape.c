/*
 * Bytes from a dump made harmless for where they go; see escape.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/escape.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/**
 * Decode one UTF-8 sequence of at most size bytes at text.
 *
 * @return its length, or 0 where it is invalid (overlong, surrogate, cut off)
 */
static size_t utf8_decode(const unsigned char *text, size_t size, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = text[0] < 0x80 ? 1 : text[0] < 0xC2 ? 0 :
			text[0] < 0xE0 ? 2 : text[0] < 0xF0 ? 3 :
			text[0] < 0xF5 ? 4 : 0;
	uint32_t value;

	if (length == 0 || length > size)
		return 0;
	value = length == 1 ? text[0] : text[0] & (0xFFu >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xC0) != 0x80)
			return 0;
		value = value << 6 | (text[i] & 0x3Fu);
	}
	if (value < least[length] || value > 0x10FFFF ||
	    (value >= 0xD800 && value < 0xE000))
		return 0;
	*ret = value;
	return length;
}

/** Characters that move the cursor, break the line or reverse the text. */
static bool is_control(uint32_t character)
{
	return character < 0x20 || (character >= 0x7F && character < 0xA0) ||
	       character == 0xAD || character == 0x61C ||
	       (character >= 0x200B && character <= 0x200F) ||
	       (character >= 0x2028 && character <= 0x202E) ||
	       (character >= 0x2060 && character <= 0x206F) ||
	       character == 0xFEFF ||
	       (character >= 0xFFF0 && character <= 0xFFFB) ||
	       (character >= 0xE0000 && character <= 0xE0FFF);
}

/** What a backslash of ours needs before it. */
static const char *before_backslash(enum escape_for destination)
{
	return destination == ESCAPE_DOT ? "\\" : "";
}

static void write_control(FILE *out, enum escape_for destination,
			  uint32_t character)
{
	if (destination == ESCAPE_JSON) {
		if (character >= 0x10000) {
			character -= 0x10000;
			(void)fprintf(out, "\\u%04x\\u%04x",
				      0xD800 + (character >> 10),
				      0xDC00 + (character & 0x3FF));
		} else {
			(void)fprintf(out, "\\u%04x", character);
		}
	} else {
		(void)fprintf(out, character < 0x100 ? "%s\\x%02x" :
						       "%s\\u%04x",
			      before_backslash(destination), character);
	}
}

/** What an ASCII character must become at its destination; NULL: itself. */
static const char *replacement(enum escape_for destination, char character)
{
	switch (destination) {
	case ESCAPE_JSON:
		return character == '"' ? "\\\"" :
		       character == '\\' ? "\\\\" : NULL;
	case ESCAPE_CSV:
		return character == '"' ? "\"\"" : NULL;
	case ESCAPE_HTML:
		return character == '&' ? "&amp;" : character == '<' ? "&lt;" :
		       character == '>' ? "&gt;" : character == '"' ? "&quot;" :
		       character == '\'' ? "&#39;" : NULL;
	case ESCAPE_MARKDOWN:
		return character == '&' ? "&amp;" : character == '<' ? "&lt;" :
		       character == '>' ? "&gt;" : character == '|' ? "\\|" :
		       character == '\\' ? "\\\\" : character == '`' ? "\\`" :
		       character == '*' ? "\\*" : character == '_' ? "\\_" :
		       character == '[' ? "\\[" : character == ']' ? "\\]" :
		       character == '!' ? "\\!" : character == '~' ? "\\~" :
		       NULL;
	case ESCAPE_DOT:
		return character == '"' ? "\\\"" :
		       character == '\\' ? "\\\\" :
		       character == '&' ? "&amp;" : NULL;
	case ESCAPE_TEXT:
		break;
	}
	return NULL;
}

/** Bytes at the start of text that stay as they are: most of most names. */
static size_t plain_run(enum escape_for destination, const unsigned char *text,
			size_t size)
{
	size_t run = 0;

	while (run < size && text[run] >= 0x20 && text[run] < 0x7F &&
	       !replacement(destination, (char)text[run]))
		run++;
	return run;
}

static void write_plain(FILE *out, enum escape_for destination,
			const unsigned char *text, size_t size)
{
	for (size_t i = 0; i < size;) {
		size_t run = plain_run(destination, text + i, size - i), length;
		const char *instead;
		uint32_t character;

		(void)fwrite(text + i, 1, run, out);
		i += run;
		if (i == size)
			break;
		length = utf8_decode(text + i, size - i, &character);
		if (length == 0) {
			// JSON strings hold characters, not bytes.
			if (destination == ESCAPE_JSON)
				(void)fputs("\xEF\xBF\xBD", out);
			else
				(void)fprintf(out, "%s\\x%02x",
					      before_backslash(destination),
					      text[i]);
			i++;
			continue;
		}
		instead = length == 1 ?
			replacement(destination, (char)text[i]) : NULL;
		if (is_control(character))
			write_control(out, destination, character);
		else if (instead)
			(void)fputs(instead, out);
		else
			(void)fwrite(text + i, 1, length, out);
		i += length;
	}
}

void escape_write(FILE *out, enum escape_for destination, const char *text,
		  size_t size)
{
	bool formula, quote;

	if (destination != ESCAPE_CSV) {
		write_plain(out, destination, (const unsigned char *)text, size);
		return;
	}
	formula = size > 0 && memchr("=+-@\t\r", text[0], 6) != NULL;
	quote = formula;
	for (size_t i = 0; i < size && !quote; i++)
		quote = memchr(",;\" ", text[i], 4) != NULL;
	(void)fputs(quote ? formula ? "\"'" : "\"" : "", out);
	write_plain(out, destination, (const unsigned char *)text, size);
	(void)fputs(quote ? "\"" : "", out);
}

void escape_puts(FILE *out, enum escape_for destination, const char *text)
{
	escape_write(out, destination, text, strlen(text));
}

char *escape_copy(enum escape_for destination, const char *text, size_t size)
{
	char *copy = NULL;
	size_t length;
	FILE *out = open_memstream(&copy, &length);

	if (!out)
		return NULL;
	escape_write(out, destination, text, size);
	if (fclose(out) != 0) {
		free(copy);
		return NULL;
	}
	return copy;
}
