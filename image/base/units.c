/*
 * Sizes, times and counts as people write and read them; see units.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/** A suffix and how many base units it stands for. */
struct suffix {
	const char *text;
	double factor;
};

static const struct suffix size_suffixes[] = {
	{ "", 1 },		    { "B", 1 },
	{ "K", 0x1p10 },	    { "Ki", 0x1p10 },
	{ "KB", 0x1p10 },	    { "KiB", 0x1p10 },
	{ "M", 0x1p20 },	    { "Mi", 0x1p20 },
	{ "MB", 0x1p20 },	    { "MiB", 0x1p20 },
	{ "G", 0x1p30 },	    { "Gi", 0x1p30 },
	{ "GB", 0x1p30 },	    { "GiB", 0x1p30 },
	{ "T", 0x1p40 },	    { "Ti", 0x1p40 },
	{ "TB", 0x1p40 },	    { "TiB", 0x1p40 },
	{ NULL, 0 },
};

static const struct suffix time_suffixes[] = {
	{ "", 1e9 },  { "ms", 1e6 },  { "s", 1e9 },    { "m", 60e9 },
	{ "h", 3600e9 }, { "d", 86400e9 }, { NULL, 0 },
};

static struct error *parse(const char *text, const struct suffix *suffixes,
			   const char *what, const char *example, uint64_t *ret)
{
	char *end = (char *)text;
	double number;

	errno = 0;
	number = isdigit((unsigned char)text[0]) || text[0] == '.' ?
			 strtod(text, &end) : NAN;
	for (; isfinite(number) && errno == 0 && suffixes->text; suffixes++) {
		if (strcasecmp(end, suffixes->text) != 0)
			continue;
		number *= suffixes->factor;
		if (number >= 0x1p63)
			break;
		*ret = (uint64_t)number;
		return NULL;
	}
	return error_new(ERROR_USAGE, "'%s' is not a %s (%s)", text, what,
			 example);
}

struct error *units_parse_size(const char *text, uint64_t *ret)
{
	return parse(text, size_suffixes, "size", "as in 512M or 1.5GiB", ret);
}

struct error *units_parse_time(const char *text, uint64_t *ret)
{
	return parse(text, time_suffixes, "time", "as in 90s, 5m or 6h", ret);
}

const char *units_size(uint64_t bytes, char text[UNITS_TEXT_MAX])
{
	static const char *const names[] = { "KiB", "MiB", "GiB", "TiB",
					     "PiB", "EiB" };
	double value = (double)bytes / 1024;
	size_t i = 0;

	if (bytes < 1024) {
		(void)snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 " B", bytes);
		return text;
	}
	while (value >= 1023.95 && i + 1 < sizeof(names) / sizeof(*names)) {
		value /= 1024;
		i++;
	}
	// One decimal up to MiB, two above: about the same precision on screen.
	(void)snprintf(text, UNITS_TEXT_MAX, "%.*f %s", i >= 2 ? 2 : 1, value,
		       names[i]);
	return text;
}

const char *units_change(int64_t bytes, char text[UNITS_TEXT_MAX])
{
	uint64_t size = bytes < 0 ? 0 - (uint64_t)bytes : (uint64_t)bytes;
	char number[UNITS_TEXT_MAX];

	(void)snprintf(text, UNITS_TEXT_MAX, "%s%.30s",
		       bytes < 0 ? "-" : bytes > 0 ? "+" : "",
		       units_size(size, number));
	return text;
}

const char *units_count(uint64_t count, char text[UNITS_TEXT_MAX])
{
	char digits[24];
	size_t length, at = 0;

	length = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count);
	for (size_t i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			text[at++] = ',';
		text[at++] = digits[i];
	}
	text[at] = '\0';
	return text;
}

const char *units_time(uint64_t nanoseconds, char text[UNITS_TEXT_MAX])
{
	uint64_t seconds = nanoseconds / UINT64_C(1000000000);
	double ms = (double)nanoseconds / 1e6;

	if (ms < 10)
		(void)snprintf(text, UNITS_TEXT_MAX, "%.1f ms", ms);
	else if (ms < 1000)
		(void)snprintf(text, UNITS_TEXT_MAX, "%.0f ms", ms);
	else if (seconds < 120)
		(void)snprintf(text, UNITS_TEXT_MAX, "%.1f s", ms / 1000);
	else if (seconds < 7200)
		(void)snprintf(text, UNITS_TEXT_MAX,
			       "%" PRIu64 " min %" PRIu64 " s", seconds / 60,
			       seconds % 60);
	else
		(void)snprintf(text, UNITS_TEXT_MAX,
			       "%" PRIu64 " h %" PRIu64 " min", seconds / 3600,
			       seconds / 60 % 60);
	return text;
}

const char *units_utc(int64_t seconds, char text[UNITS_TEXT_MAX])
{
	time_t when = (time_t)seconds;
	struct tm parts;

	if (!gmtime_r(&when, &parts) ||
	    strftime(text, UNITS_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		(void)snprintf(text, UNITS_TEXT_MAX, "@%" PRIi64, seconds);
	return text;
}
