/*
 * Test of image/base/json.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/json.h"

#include <math.h>
#include <stdlib.h>

#include "tests/lib/check.h"

static char *text;
static size_t text_size;

static FILE *begin(struct json *json, bool indent)
{
	FILE *out = open_memstream(&text, &text_size);

	json_begin(json, out, indent);
	return out;
}

static void end(const char *name, struct json *json, FILE *out,
		const char *expected)
{
	json_finish(json);
	(void)fclose(out);
	CHECK_STRING(name, text, expected);
	free(text);
}

static void test_values(void)
{
	struct json json;
	FILE *out = begin(&json, false);

	json_object(&json, NULL);
	json_u64(&json, "count", UINT64_MAX);
	json_i64(&json, "less", INT64_MIN);
	json_string(&json, "type", "a\"\n");
	json_string(&json, "absent", NULL);
	json_double(&json, "share", 0.25);
	json_double(&json, "no number", NAN);
	json_bool(&json, "whole", true);
	json_address(&json, "address", 0x7f00dead0000);
	json_string(&json, "k\"ey", "");
	end("values", &json, out,
	    "{\"count\": 18446744073709551615, \"less\": -9223372036854775808, "
	    "\"type\": \"a\\\"\\u000a\", \"share\": 0.25, \"whole\": true, "
	    "\"address\": \"0x7f00dead0000\", \"k\\\"ey\": \"\"}\n");
}

static void test_nesting(void)
{
	struct json json;
	FILE *out = begin(&json, false);

	json_array(&json, NULL);
	json_array(&json, NULL);
	json_end(&json);
	json_object(&json, NULL);
	json_array(&json, "rows");
	json_u64(&json, NULL, 1);
	json_u64(&json, NULL, 2);
	json_end(&json);
	json_end(&json);
	// Left open on purpose: json_finish() closes all.
	json_object(&json, NULL);
	json_array(&json, "open");
	end("nesting", &json, out, "[[], {\"rows\": [1, 2]}, {\"open\": []}]\n");
}

static void test_indent(void)
{
	struct json json;
	FILE *out = begin(&json, true);

	json_object(&json, NULL);
	json_array(&json, "rows");
	json_object(&json, NULL);
	json_u64(&json, "a", 1);
	json_u64(&json, "b", 2);
	json_end(&json);
	json_end(&json);
	json_array(&json, "none");
	end("a row is a line", &json, out,
	    "{\n \"rows\": [\n  {\"a\": 1, \"b\": 2}\n ],\n \"none\": []\n}\n");
}

int main(void)
{
	test_values();
	test_nesting();
	test_indent();
	return check_result();
}
