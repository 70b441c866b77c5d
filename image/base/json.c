/*
 * A streaming JSON writer; see json.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>

#include "image/base/escape.h"

void json_begin(struct json *json, FILE *out, bool indent)
{
	*json = (struct json){ .out = out, .indent = indent };
}

/** Comma, line break and key: whatever comes before a value. */
static void lead(struct json *json, const char *key)
{
	if (json->depth > 0 && json->any[json->depth - 1])
		(void)fputc(',', json->out);
	// Rows stay one a line: only the two outer levels are broken up.
	if (json->indent && json->depth > 0 && json->depth <= 2)
		(void)fprintf(json->out, "\n%*s", (int)json->depth, "");
	else if (json->depth > 0 && json->any[json->depth - 1])
		(void)fputc(' ', json->out);
	if (json->depth > 0)
		json->any[json->depth - 1] = true;
	if (key) {
		(void)fputc('"', json->out);
		escape_puts(json->out, ESCAPE_JSON, key);
		(void)fputs("\": ", json->out);
	}
}

static void open_level(struct json *json, const char *key, char opener,
		       char closer)
{
	assert(json->depth < JSON_DEPTH_MAX);
	lead(json, key);
	(void)fputc(opener, json->out);
	json->closer[json->depth] = closer;
	json->any[json->depth] = false;
	json->depth++;
}

void json_object(struct json *json, const char *key)
{
	open_level(json, key, '{', '}');
}

void json_array(struct json *json, const char *key)
{
	open_level(json, key, '[', ']');
}

void json_end(struct json *json)
{
	assert(json->depth > 0);
	json->depth--;
	if (json->indent && json->depth < 2 && json->any[json->depth])
		(void)fprintf(json->out, "\n%*s", (int)json->depth, "");
	(void)fputc(json->closer[json->depth], json->out);
}

void json_finish(struct json *json)
{
	while (json->depth > 0)
		json_end(json);
	(void)fputc('\n', json->out);
}

void json_string(struct json *json, const char *key, const char *value)
{
	if (!value)
		return;
	lead(json, key);
	(void)fputc('"', json->out);
	escape_puts(json->out, ESCAPE_JSON, value);
	(void)fputc('"', json->out);
}

void json_u64(struct json *json, const char *key, uint64_t value)
{
	lead(json, key);
	(void)fprintf(json->out, "%" PRIu64, value);
}

void json_i64(struct json *json, const char *key, int64_t value)
{
	lead(json, key);
	(void)fprintf(json->out, "%" PRIi64, value);
}

void json_double(struct json *json, const char *key, double value)
{
	if (!isfinite(value))
		return;
	lead(json, key);
	(void)fprintf(json->out, "%.10g", value);
}

void json_bool(struct json *json, const char *key, bool value)
{
	lead(json, key);
	(void)fputs(value ? "true" : "false", json->out);
}

void json_address(struct json *json, const char *key, uint64_t value)
{
	lead(json, key);
	(void)fprintf(json->out, "\"0x%" PRIx64 "\"", value);
}
