/*
 * A streaming JSON writer that cannot produce broken JSON.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	json_begin(&json, out);
 *	json_object(&json, NULL);
 *	json_u64(&json, "count", 3);
 *	json_string(&json, "type", "dict");
 *	json_end(&json);
 *	json_finish(&json);
 *
 * Inside an object every value takes its key, inside an array key is NULL.
 * Strings are escaped; a NULL string writes nothing at all, because in our
 * JSON absent means unknown.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { JSON_DEPTH_MAX = 16 };

struct json {
	FILE *out;			/* borrowed */
	unsigned int depth;
	bool indent;			/* one item a line; else all on one */
	char closer[JSON_DEPTH_MAX];
	bool any[JSON_DEPTH_MAX];	/* something was written at this depth */
};

void json_begin(struct json *json, FILE *out, bool indent);
/** Close what is open, end the line. Write errors stay in ferror(out). */
void json_finish(struct json *json);

void json_object(struct json *json, const char *key);
void json_array(struct json *json, const char *key);
/** Close the innermost object or array. */
void json_end(struct json *json);

void json_string(struct json *json, const char *key, const char *value);
void json_u64(struct json *json, const char *key, uint64_t value);
void json_i64(struct json *json, const char *key, int64_t value);
void json_double(struct json *json, const char *key, double value);
void json_bool(struct json *json, const char *key, bool value);
/** As the string "0x…". */
void json_address(struct json *json, const char *key, uint64_t value);

#endif
