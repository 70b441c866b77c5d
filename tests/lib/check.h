/*
 * Unit tests in C: one line a check on standard output, for tests/run.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	CHECK("empty table", hashmap_get(&map, 1, &value) == false);
 *	CHECK_U64("size of a list", size, 56);
 *	return check_result();
 */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int check_failures;

static inline bool check_that(const char *name, bool holds, const char *source,
			      int line)
{
	if (holds) {
		printf("ok %s\n", name);
	} else {
		printf("not ok %s: line %d: %s\n", name, line, source);
		check_failures++;
	}
	fflush(stdout);
	return holds;
}

static inline bool check_u64(const char *name, uint64_t got, uint64_t expected,
			     int line)
{
	if (got == expected) {
		printf("ok %s\n", name);
	} else {
		printf("not ok %s: line %d: expected %" PRIu64 ", got %" PRIu64
		       "\n", name, line, expected, got);
		check_failures++;
	}
	fflush(stdout);
	return got == expected;
}

static inline bool check_string(const char *name, const char *got,
				const char *expected, int line)
{
	bool same = got && strcmp(got, expected) == 0;

	if (same) {
		printf("ok %s\n", name);
	} else {
		printf("not ok %s: line %d: expected '%s', got '%s'\n", name,
		       line, expected, got ? got : "(null)");
		check_failures++;
	}
	fflush(stdout);
	return same;
}

#define CHECK(name, condition) \
	check_that(name, condition, #condition, __LINE__)
#define CHECK_U64(name, got, expected) \
	check_u64(name, got, expected, __LINE__)
#define CHECK_STRING(name, got, expected) \
	check_string(name, got, expected, __LINE__)

static inline int check_result(void)
{
	return check_failures ? 1 : 0;
}

#endif
