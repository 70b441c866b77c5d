/*
 * Sizes, times and counts as people write and read them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum { UNITS_TEXT_MAX = 40 };	/* bytes that hold any of the texts below */

/** "1536" "64K" "1.5GiB": powers of 1024; a bare number is bytes. */
struct error *units_parse_size(const char *text, uint64_t *ret);

/** "250ms" "90s" "5m" "6h" "7d"; a bare number is seconds. In nanoseconds. */
struct error *units_parse_time(const char *text, uint64_t *ret);

/** "512 B" "332.6 MiB" "1.55 GiB". Returns text. */
const char *units_size(uint64_t bytes, char text[UNITS_TEXT_MAX]);

/** "+332.6 MiB" "-512 B" "0 B". Returns text. */
const char *units_change(int64_t bytes, char text[UNITS_TEXT_MAX]);

/** "13,650,109". Returns text. */
const char *units_count(uint64_t count, char text[UNITS_TEXT_MAX]);

/** "41 ms" "1.3 s" "11 h 48 min". Returns text. */
const char *units_time(uint64_t nanoseconds, char text[UNITS_TEXT_MAX]);

/** "2026-11-20T02:13:41Z" of seconds since the epoch. Returns text. */
const char *units_utc(int64_t seconds, char text[UNITS_TEXT_MAX]);

#endif
