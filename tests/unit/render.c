/*
 * Test of analyzer/render and analyzer/textwidth.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The analyzer is a program and not a library, so what is tested is compiled
 * in.
 */
#include "analyzer/show/render.c"
#include "analyzer/show/textwidth.c"

#include "tests/lib/check.h"

static char *text;
static size_t text_size;

static FILE *begin(struct render *render, enum render_format format)
{
	FILE *out = open_memstream(&text, &text_size);

	render_begin(render, out, format, "types");
	return out;
}

/** Close, compare and release what was written. */
static void expect(const char *name, FILE *out, const char *expected)
{
	(void)fclose(out);
	CHECK_STRING(name, text, expected);
	free(text);
}

static const struct column columns[] = {
	{ .key = "type", .title = "type", .unit = UNIT_TEXT },
	{ .key = "count", .title = "count", .unit = UNIT_COUNT },
	{ .key = "size", .title = "size", .unit = UNIT_BYTES },
	{ .key = "share", .title = "share", .unit = UNIT_SHARE },
	{ .key = "at", .title = "at", .unit = UNIT_ADDRESS, .hidden = true },
	{ .key = "exact", .title = "exact", .unit = UNIT_BOOL, .hidden = true },
};

static const struct table_spec spec = {
	.json_key = "rows", .title = "TYPES  by size", .columns = columns,
	.num_columns = 6,
};

/** Two rows, a remainder and totals, in any format. */
static FILE *document(enum render_format format, struct render *render)
{
	FILE *out = begin(render, format);
	const struct cell first[] = {
		cell_text("dict"), cell_number(UNIT_COUNT, 1234567),
		cell_number(UNIT_BYTES, 1536), cell_share(0.75),
		cell_number(UNIT_ADDRESS, 0xabc), cell_number(UNIT_BOOL, 1),
	};
	const struct cell second[] = {
		cell_text("=a,<b>\n"), cell_number(UNIT_COUNT, 2),
		cell_number(UNIT_BYTES, 512), cell_unknown(),
		cell_number(UNIT_ADDRESS, 0xdef), cell_number(UNIT_BOOL, 0),
	};
	const struct cell rest[] = {
		cell_text("3 more types"), cell_number(UNIT_COUNT, 4),
		cell_unknown(), cell_unknown(), cell_unknown(), cell_unknown(),
	};

	render_object(render, "totals", columns + 1, first + 1, 2);
	render_table(render, &spec);
	render_row(render, first);
	render_row(render, second);
	render_rest(render, rest);
	render_table_end(render);
	render_line(render, "coverage %d %%", 99);
	render_end(render);
	return out;
}

static void test_formats(void)
{
	struct render render;

	expect("text", document(RENDER_TEXT, &render),
	       "TYPES  by size      count     size   share\n"
	       "  dict          1,234,567  1.5 KiB  75.0 %\n"
	       "  =a,<b>\\x0a            2    512 B\n"
	       "  3 more types          4\n"
	       "coverage 99 %\n");
	expect("json", document(RENDER_JSON, &render),
	       "{\n \"schema\": \"heapscan.types/1\",\n"
	       " \"totals\": {\n  \"count\": 1234567,\n"
	       "  \"size\": 1536\n },\n"
	       " \"rows\": [\n"
	       "  {\"type\": \"dict\", \"count\": 1234567, \"size\": 1536, "
	       "\"share\": 0.75, \"at\": \"0xabc\", \"exact\": true},\n"
	       "  {\"type\": \"=a,<b>\\u000a\", \"count\": 2, \"size\": 512, "
	       "\"at\": \"0xdef\", \"exact\": false}\n ]\n}\n");
	expect("ndjson", document(RENDER_NDJSON, &render),
	       "{\"type\": \"dict\", \"count\": 1234567, \"size\": 1536, "
	       "\"share\": 0.75, \"at\": \"0xabc\", \"exact\": true}\n"
	       "{\"type\": \"=a,<b>\\u000a\", \"count\": 2, \"size\": 512, "
	       "\"at\": \"0xdef\", \"exact\": false}\n");
	expect("csv", document(RENDER_CSV, &render),
	       "type,count,size,share,at,exact\n"
	       "dict,1234567,1536,0.75,0xabc,true\n"
	       "\"'=a,<b>\\x0a\",2,512,,0xdef,false\n");
	expect("md", document(RENDER_MD, &render),
	       "### TYPES  by size\n\n"
	       "| type | count | size | share |\n|---|---:|---:|---:|\n"
	       "| dict | 1,234,567 | 1.5 KiB | 75.0 % |\n"
	       "| =a,&lt;b&gt;\\\\x0a | 2 | 512 B |  |\n"
	       "| 3 more types | 4 |  |  |\n"
	       "- coverage 99 %\n");
}

/** Every line of text in columns, in a line's middle or at its end. */
static void test_width(void)
{
	enum { ROWS = 2000 };
	struct render render;
	FILE *out = begin(&render, RENDER_TEXT);
	char *name = malloc(3 * 200000 + 1), *line;
	bool narrow = true;
	size_t lines = 0;

	render_table(&render, &spec);
	for (size_t i = 0; i < ROWS; i++) {
		// Ever longer names, of characters two columns wide.
		size_t length = i < ROWS - 1 ? i : 200000;

		for (size_t j = 0; j < length; j++)
			memcpy(name + j * 3, "数", 3);
		name[length * 3] = '\0';
		render_row(&render, (struct cell[]){
			cell_text(name), cell_number(UNIT_COUNT, i),
			cell_number(UNIT_BYTES, UINT64_MAX), cell_share(1),
			cell_unknown(), cell_unknown(),
		});
	}
	render_table_end(&render);
	render_end(&render);
	(void)fclose(out);
	for (char *rest = text; (line = strsep(&rest, "\n"));) {
		narrow &= textwidth(line, strlen(line)) <= 120;
		lines += *line != '\0';
	}
	CHECK_U64("a line for each row and the head", lines, ROWS + 1);
	CHECK("no line is wider than 120 columns", narrow);
	free(text);
	free(name);
}

static void check_fit(const char *name, const char *given, size_t columns_wide,
		      const char *expected)
{
	char *got = textwidth_fit(given, strlen(given), columns_wide);

	CHECK_STRING(name, got, expected);
	free(got);
}

static void test_fit(void)
{
	CHECK_U64("ASCII", textwidth("abc", 3), 3);
	CHECK_U64("wide", textwidth("数据", 6), 4);
	CHECK_U64("combining", textwidth("e\xCC\x81", 3), 1);
	CHECK_U64("emoji", textwidth("😀", 4), 2);
	CHECK_U64("invalid", textwidth("\xFF\xE6\x95", 3), 3);
	check_fit("fits", "abcdef", 6, "abcdef");
	check_fit("cut in the middle", "abcdefghij", 7, "abc…hij");
	check_fit("cut to an even width", "abcdefghij", 6, "abc…ij");
	check_fit("no half characters", "数据数据数据", 8, "数据…据");
	check_fit("escaped first", "a\033b", 10, "a\\x1bb");
	check_fit("marks go with their letter", "abcde\xCC\x81" "fgh", 5,
		  "ab…gh");
}

static void test_compare(void)
{
	CHECK("larger numbers first",
	      cell_compare(cell_number(UNIT_BYTES, 2),
			   cell_number(UNIT_BYTES, 1)) < 0);
	CHECK("texts ascend",
	      cell_compare(cell_text("a"), cell_text("b")) < 0);
	CHECK("addresses ascend",
	      cell_compare(cell_number(UNIT_ADDRESS, 1),
			   cell_number(UNIT_ADDRESS, 2)) < 0);
	CHECK("unknown ones last",
	      cell_compare(cell_unknown(), cell_text("z")) > 0);
	CHECK("equal", cell_compare(cell_share(0.5), cell_share(0.5)) == 0);
}

static void test_names(void)
{
	struct render render = { .format = RENDER_MD };
	char name[RENDER_NAME_MAX], *marks;

	CHECK_STRING("a name in Markdown",
		     render_name(&render, "<i>_a_", 50, name),
		     "&lt;i&gt;\\_a\\_");
	CHECK_STRING("no name", render_name(&render, NULL, 50, name), "?");
	marks = malloc(1 + 2 * 4000 + 1);
	marks[0] = 'a';
	for (size_t i = 0; i < 4000; i++)
		memcpy(marks + 1 + 2 * i, "\xCC\x81", 2);
	marks[1 + 2 * 4000] = '\0';
	CHECK("a letter with 4000 marks stays in bounds",
	      strlen(render_name(&render, marks, 50, name)) < RENDER_NAME_MAX);
	free(marks);
}

int main(void)
{
	test_formats();
	test_width();
	test_fit();
	test_compare();
	test_names();
	return check_result();
}
