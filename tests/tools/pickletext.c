/*
 * A pickle written as lines of standard input say, for tests that load it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each line is "WHAT KEY [VALUE]", KEY being "-" inside lists. What:
 *
 *	dict, list	begin one		end		end the innermost
 *	keep		remember it: must follow it
 *	again		VALUE is the number of something kept, from 0 on
 *	text, kept	VALUE is in hexadecimal, as texts may be anything
 *	u64, i64, double, bool, none, pair (VALUE: "A,B")
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/pickle.h"

enum { KEPT_MAX = 1 << 16, TEXT_MAX = 1 << 17 };

static uint32_t kept[KEPT_MAX];
static size_t num_kept;

static void unhex(const char *hex, char *text)
{
	size_t size = strlen(hex) / 2;
	char digits[3] = "";

	for (size_t i = 0; i < size; i++) {
		memcpy(digits, hex + 2 * i, 2);
		text[i] = (char)strtoul(digits, NULL, 16);
	}
	text[size] = '\0';
}

static int apply(struct pickle *pickle, const char *what, const char *key,
		 const char *value)
{
	static char text[TEXT_MAX];

	if (strcmp(what, "dict") == 0)
		pickle_dict(pickle, key);
	else if (strcmp(what, "list") == 0)
		pickle_list(pickle, key);
	else if (strcmp(what, "end") == 0)
		pickle_end(pickle);
	else if (strcmp(what, "keep") == 0 && num_kept < KEPT_MAX)
		kept[num_kept++] = pickle_keep(pickle);
	else if (strcmp(what, "again") == 0)
		pickle_again(pickle, key, kept[strtoul(value, NULL, 10)]);
	else if (strcmp(what, "u64") == 0)
		pickle_u64(pickle, key, strtoull(value, NULL, 10));
	else if (strcmp(what, "i64") == 0)
		pickle_i64(pickle, key, strtoll(value, NULL, 10));
	else if (strcmp(what, "double") == 0)
		pickle_double(pickle, key, strtod(value, NULL));
	else if (strcmp(what, "bool") == 0)
		pickle_bool(pickle, key, *value == '1');
	else if (strcmp(what, "none") == 0)
		pickle_none(pickle, key);
	else if (strcmp(what, "pair") == 0)
		pickle_pair(pickle, key, strtoull(value, NULL, 10),
			    strtoull(strchr(value, ',') + 1, NULL, 10));
	else if (unhex(value, text), strcmp(what, "text") == 0)
		pickle_string(pickle, key, text);
	else if (strcmp(what, "kept") == 0 && num_kept < KEPT_MAX)
		kept[num_kept++] = pickle_kept_string(pickle, key, text);
	else
		return 1;
	return 0;
}

int main(void)
{
	static char line[2 * TEXT_MAX];
	struct pickle pickle;

	pickle_begin(&pickle, stdout);
	while (fgets(line, sizeof(line), stdin)) {
		char *what = strtok(line, " \n");
		char *key = strtok(NULL, " \n");
		char *value = strtok(NULL, " \n");

		if (!what || !key ||
		    apply(&pickle, what, strcmp(key, "-") == 0 ? NULL : key,
			  value ? value : "")) {
			(void)fprintf(stderr, "pickletext: bad line\n");
			return 2;
		}
	}
	pickle_finish(&pickle);
	return fflush(stdout) == 0 ? 0 : 1;
}
