/*
 * Test of image/base/units: sizes, counts and times as people write them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/units.h"

#include "tests/lib/check.h"

/** UINT64_MAX where it is refused. */
static uint64_t size_of(const char *text)
{
	uint64_t bytes = UINT64_MAX;
	struct error *err = units_parse_size(text, &bytes);

	if (err && (err->kind != ERROR_USAGE || bytes != UINT64_MAX))
		bytes = 0xBAD;	// refused, but not as promised
	error_free(err);
	return bytes;
}

static uint64_t time_of(const char *text)
{
	uint64_t nanoseconds = UINT64_MAX;
	struct error *err = units_parse_time(text, &nanoseconds);

	error_free(err);
	return nanoseconds;
}

static void test_parse_size(void)
{
	CHECK_U64("bare number", size_of("1536"), 1536);
	CHECK_U64("zero", size_of("0"), 0);
	CHECK_U64("K", size_of("64K"), 65536);
	CHECK_U64("Ki", size_of("64Ki"), 65536);
	CHECK_U64("kb", size_of("64kb"), 65536);
	CHECK_U64("MiB", size_of("1.5MiB"), 1572864);
	CHECK_U64("G", size_of("2G"), UINT64_C(2) << 30);
	CHECK_U64("TiB", size_of("1TiB"), UINT64_C(1) << 40);
	CHECK_U64("no number", size_of("K"), UINT64_MAX);
	CHECK_U64("negative", size_of("-1"), UINT64_MAX);
	CHECK_U64("unknown suffix", size_of("1X"), UINT64_MAX);
	CHECK_U64("something behind", size_of("1K "), UINT64_MAX);
	CHECK_U64("empty", size_of(""), UINT64_MAX);
	CHECK_U64("too large", size_of("99999999T"), UINT64_MAX);
	CHECK_U64("not finite", size_of("1e999"), UINT64_MAX);
	CHECK_U64("nan", size_of("nan"), UINT64_MAX);
}

static void test_parse_time(void)
{
	CHECK_U64("bare seconds", time_of("90"), UINT64_C(90000000000));
	CHECK_U64("ms", time_of("250ms"), 250000000);
	CHECK_U64("minutes", time_of("5m"), UINT64_C(300000000000));
	CHECK_U64("hours", time_of("6h"), UINT64_C(21600000000000));
	CHECK_U64("days", time_of("7d"), UINT64_C(604800000000000));
	CHECK_U64("not a time", time_of("5x"), UINT64_MAX);
}

static void test_print(void)
{
	char text[UNITS_TEXT_MAX];

	CHECK_STRING("bytes", units_size(0, text), "0 B");
	CHECK_STRING("below a KiB", units_size(1023, text), "1023 B");
	CHECK_STRING("KiB", units_size(1024, text), "1.0 KiB");
	CHECK_STRING("MiB", units_size(348756378, text), "332.6 MiB");
	CHECK_STRING("more", units_change(348756378, text), "+332.6 MiB");
	CHECK_STRING("less", units_change(-512, text), "-512 B");
	CHECK_STRING("no change", units_change(0, text), "0 B");
	CHECK_STRING("as much less as there can be",
		     units_change(INT64_MIN, text), "-8.00 EiB");
	CHECK_STRING("GiB", units_size(1664299827, text), "1.55 GiB");
	CHECK_STRING("never 1024.0", units_size((1 << 20) - 1, text), "1.0 MiB");
	CHECK_STRING("largest", units_size(UINT64_MAX, text), "16.00 EiB");
	CHECK_STRING("small count", units_count(999, text), "999");
	CHECK_STRING("count", units_count(13650109, text), "13,650,109");
	CHECK_STRING("largest count", units_count(UINT64_MAX, text),
		     "18,446,744,073,709,551,615");
	CHECK_STRING("ms", units_time(41000000, text), "41 ms");
	CHECK_STRING("s", units_time(1300000000, text), "1.3 s");
	CHECK_STRING("h", units_time(UINT64_C(42480000000000), text),
		     "11 h 48 min");
	// date -u -d @1795140821
	CHECK_STRING("utc", units_utc(1795140821, text),
		     "2026-11-20T02:13:41Z");
	CHECK_STRING("the epoch", units_utc(0, text), "1970-01-01T00:00:00Z");
	CHECK_STRING("a year that does not fit", units_utc(INT64_MAX, text),
		     "@9223372036854775807");
}

int main(void)
{
	test_parse_size();
	test_parse_time();
	test_print();
	return check_result();
}
