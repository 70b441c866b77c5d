/*
 * Test of image/base/escape: nothing in a name may act where it is shown.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/escape.h"

#include <stdlib.h>

#include "tests/lib/check.h"

/** Compare what becomes of size bytes. */
static void expect(const char *name, enum escape_for destination,
		   const char *text, size_t size, const char *expected)
{
	char *got = escape_copy(destination, text, size);

	CHECK_STRING(name, got, expected);
	free(got);
}

#define EXPECT(name, destination, text, expected) \
	expect(name, destination, text, sizeof(text) - 1, expected)

static void test_text(void)
{
	EXPECT("text: plain stays", ESCAPE_TEXT, "__main__.Node", "__main__.Node");
	EXPECT("text: UTF-8 stays", ESCAPE_TEXT, "Grün.数据.😀", "Grün.数据.😀");
	EXPECT("text: escape sequence", ESCAPE_TEXT, "a\033[31mb", "a\\x1b[31mb");
	EXPECT("text: line breaks", ESCAPE_TEXT, "a\nb\rc", "a\\x0ab\\x0dc");
	EXPECT("text: NUL", ESCAPE_TEXT, "a\0b", "a\\x00b");
	EXPECT("text: delete", ESCAPE_TEXT, "\x7f", "\\x7f");
	// U+009B is a one-character CSI where terminals know C1.
	EXPECT("text: C1", ESCAPE_TEXT, "\xC2\x9B" "31m", "\\x9b31m");
	EXPECT("text: right-to-left override", ESCAPE_TEXT,
	       "\xE2\x80\xAE" "txt", "\\u202etxt");
	EXPECT("text: line separator", ESCAPE_TEXT, "\xE2\x80\xA8", "\\u2028");
	EXPECT("text: zero width space", ESCAPE_TEXT, "\xE2\x80\x8B", "\\u200b");
	EXPECT("text: tag characters", ESCAPE_TEXT, "\xF3\xA0\x81\x81",
	       "\\ue0041");
}

static void test_invalid(void)
{
	EXPECT("invalid: lone continuation", ESCAPE_TEXT, "\x80", "\\x80");
	EXPECT("invalid: overlong", ESCAPE_TEXT, "\xC0\xAF", "\\xc0\\xaf");
	EXPECT("invalid: overlong of three", ESCAPE_TEXT, "\xE0\x80\xAF",
	       "\\xe0\\x80\\xaf");
	EXPECT("invalid: surrogate", ESCAPE_TEXT, "\xED\xA0\x80",
	       "\\xed\\xa0\\x80");
	EXPECT("invalid: past the last", ESCAPE_TEXT, "\xF4\x90\x80\x80",
	       "\\xf4\\x90\\x80\\x80");
	EXPECT("invalid: cut off", ESCAPE_TEXT, "a\xE6\x95", "a\\xe6\\x95");
	EXPECT("invalid: in JSON", ESCAPE_JSON, "a\xFFz",
	       "a\xEF\xBF\xBDz");
}

static void test_json(void)
{
	EXPECT("json: quotes and backslash", ESCAPE_JSON, "a\"b\\c",
	       "a\\\"b\\\\c");
	EXPECT("json: control", ESCAPE_JSON, "\n\033", "\\u000a\\u001b");
	EXPECT("json: script needs no more", ESCAPE_JSON, "</script>",
	       "</script>");
	EXPECT("json: pair of surrogates", ESCAPE_JSON, "\xF3\xA0\x81\x81",
	       "\\udb40\\udc41");
}

static void test_csv(void)
{
	EXPECT("csv: plain", ESCAPE_CSV, "dict", "dict");
	EXPECT("csv: empty", ESCAPE_CSV, "", "");
	EXPECT("csv: comma", ESCAPE_CSV, "a,b", "\"a,b\"");
	EXPECT("csv: quote", ESCAPE_CSV, "a\"b", "\"a\"\"b\"");
	EXPECT("csv: formula", ESCAPE_CSV, "=cmd|' /C calc'!A0",
	       "\"'=cmd|' /C calc'!A0\"");
	EXPECT("csv: plus", ESCAPE_CSV, "+1", "\"'+1\"");
	EXPECT("csv: minus", ESCAPE_CSV, "-1", "\"'-1\"");
	EXPECT("csv: at", ESCAPE_CSV, "@SUM(1)", "\"'@SUM(1)\"");
	EXPECT("csv: line break", ESCAPE_CSV, "a\nb", "a\\x0ab");
}

static void test_pages(void)
{
	EXPECT("html: tag", ESCAPE_HTML, "<script>'&\"",
	       "&lt;script&gt;&#39;&amp;&quot;");
	EXPECT("md: tag", ESCAPE_MARKDOWN, "<script>", "&lt;script&gt;");
	EXPECT("md: cell border", ESCAPE_MARKDOWN, "a|b", "a\\|b");
	EXPECT("md: link", ESCAPE_MARKDOWN, "![x](y)", "\\!\\[x\\](y)");
	EXPECT("md: emphasis", ESCAPE_MARKDOWN, "__init__*`",
	       "\\_\\_init\\_\\_\\*\\`");
	EXPECT("md: line break", ESCAPE_MARKDOWN, "a\nb", "a\\x0ab");
}

/** Whatever bytes come, text and JSON are printable and end where they end. */
static void test_all_bytes(void)
{
	static const enum escape_for destinations[] = {
		ESCAPE_TEXT, ESCAPE_JSON, ESCAPE_CSV, ESCAPE_MARKDOWN,
		ESCAPE_HTML,
	};
	bool harmless = true;

	for (size_t i = 0; i < sizeof(destinations) / sizeof(*destinations);
	     i++) {
		for (unsigned int pair = 0; pair < 0x10000; pair++) {
			char text[2] = { (char)(pair >> 8), (char)pair };
			char *got = escape_copy(destinations[i], text, 2);

			for (char *at = got; got && *at; at++)
				harmless &= (unsigned char)*at >= 0x20 &&
					    (unsigned char)*at != 0x7F;
			harmless &= got != NULL;
			free(got);
		}
	}
	CHECK("no control character comes through", harmless);
}

int main(void)
{
	test_text();
	test_invalid();
	test_json();
	test_csv();
	test_pages();
	test_all_bytes();
	return check_result();
}
