/*
 * Values: each kind as repr() shows it, and what is damaged, missing or too
 * much said so.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/values/pyvalue.h"

#include <stdlib.h>

#include "tests/lib/check.h"
#include "tests/lib/tinyvalues.h"

static void test_all(unsigned int minor)
{
	struct tinyvalues values;
	struct tinyheap heap;
	char name[64], text[512];

	tinyheap_init(&heap, minor);
	tinyvalues_build(&values, &heap);
	tinyheap_open(&heap);
	for (size_t i = 0; i < values.count; i++) {
		if (!values.all[i].text)
			continue;
		(void)snprintf(name, sizeof(name), "3.%u value %zu", minor, i);
		CHECK_STRING(name,
			     tinyvalues_text(&values, values.all[i].address,
					     text, sizeof(text)),
			     values.all[i].text);
	}
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

/** Whatever the size of the buffer, it holds a beginning of the text. */
static void test_sizes(void)
{
	struct tinyvalues values;
	struct tinyheap heap;
	unsigned int bad = 0;

	tinyheap_init(&heap, 12);
	tinyvalues_build(&values, &heap);
	tinyheap_open(&heap);
	for (size_t i = 0; i < values.count; i++) {
		for (size_t size = PYH_VALUE_TEXT_MIN; size < 80; size++) {
			const char *whole = values.all[i].text;
			// Of exactly this size, for the sanitizers.
			char *text = malloc(size), *dots;

			if (!text)
				abort();
			(void)tinyvalues_text(&values, values.all[i].address,
					      text, size);
			dots = strstr(text, "\xe2\x80\xa6");
			if (whole && (dots ? strncmp(text, whole,
						     (size_t)(dots - text)) :
					     strcmp(text, whole)) != 0)
				bad++;
			bad += strlen(text) >= size;
			bad += whole && !!dots != (strlen(whole) >= size);
			free(text);
		}
	}
	CHECK_U64("values in buffers of every size", bad, 0);
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

typedef void spoiler(struct tinyvalues *values, struct tinyheap *heap);

static void spoil_list_length(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->list, PYH_VAR_OB_SIZE, UINT64_MAX);
}

static void spoil_list_items(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->list, PYH_LIST_OB_ITEM, 0x1001);
}

static void unmap_list_items(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->list, PYH_LIST_OB_ITEM, 0x1000);
}

static void spoil_item(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_put(heap, values->list_items + 8, values->list_items, 8);
}

static void null_item(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_put(heap, values->list_items + 8, 0, 8);
}

static void lose_item(struct tinyvalues *values, struct tinyheap *heap)
{
	// Beyond what was captured; see check_spoilt().
	tinyheap_put(heap, values->list_items + 8,
		     TINYHEAP_START + TINYHEAP_SIZE - 4096, 8);
}

static void spoil_type(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->five, PYH_OBJECT_OB_TYPE, values->tuple);
}

static void spoil_digit(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_put(heap, values->five +
		     pyh_offset(&heap->runtime, PYH_LONG_LONG_VALUE_OB_DIGIT),
		     UINT32_MAX, 4);
}

static void spoil_int(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->five, PYH_LONG_LONG_VALUE_LV_TAG,
		     UINT64_MAX << 3);
}

static void spoil_str(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_put(heap, values->str +
		     pyh_offset(&heap->runtime, PYH_ASCII_STATE), 0x6c, 4);
}

static void spoil_character(struct tinyvalues *values, struct tinyheap *heap)
{
	// Two bytes a character become four.
	tinyheap_set(heap, values->wide, PYH_ASCII_LENGTH, 1);
	tinyheap_put(heap, values->wide +
		     pyh_offset(&heap->runtime, PYH_ASCII_STATE), 0x30, 4);
}

static void spoil_str_length(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->str, PYH_ASCII_LENGTH, TINYHEAP_SIZE);
}

static void spoil_dict(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->dict, PYH_DICT_MA_KEYS, values->five);
}

static void spoil_set(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->set, PYH_SET_MASK, UINT64_MAX);
}

static void spoil_deque(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->deque, PYH_DEQUE_LEFTINDEX, 65);
}

static void spoil_deque_link(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->deque_block, PYH_DEQUEBLOCK_RIGHTLINK,
		     0x1000);
}

static void spoil_date(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_put(heap, values->date +
		     pyh_offset(&heap->runtime, PYH_DATE_DATA), 0xff, 4);
}

static void spoil_delta(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->delta, PYH_DELTA_SECONDS, UINT32_MAX);
}

static void spoil_decimal(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_put(heap, values->decimal + 24 +
		     pyh_offset(&heap->runtime, PYH_DECIMAL_DEC),
		     INT64_MAX, 8);
}

static void spoil_coefficient(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_put(heap, values->decimal + 48 +
		     pyh_offset(&heap->runtime, PYH_DECIMAL_DEC),
		     UINT64_MAX, 8);
}

static void spoil_args(struct tinyvalues *values, struct tinyheap *heap)
{
	tinyheap_set(heap, values->exception, PYH_EXCEPTION_ARGS,
		     values->list_items);
}

static void check_spoilt(const char *name, spoiler *spoil, uint64_t object,
			 const char *expected)
{
	struct tinyvalues values;
	struct tinyheap heap;
	char text[512];

	tinyheap_init(&heap, 12);
	tinyvalues_build(&values, &heap);
	spoil(&values, &heap);
	heap.limit = TINYHEAP_START + TINYHEAP_SIZE - 8192;
	tinyheap_open(&heap);
	CHECK_STRING(name, tinyvalues_text(&values, object, text, sizeof(text)),
		     expected);
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

static void test_damage(void)
{
	struct tinyvalues at;
	struct tinyheap heap;
	char expected[128];

	// Every heap is built alike, so the addresses are those of this one.
	tinyheap_init(&heap, 12);
	tinyvalues_build(&at, &heap);
	tinyheap_open(&heap);
	tinyvalues_deinit(&at);
	tinyheap_deinit(&heap);

	check_spoilt("length of a list", spoil_list_length, at.list,
		     "[<damaged: length>]");
	check_spoilt("items of a list", spoil_list_items, at.list,
		     "[<damaged: items of a list>]");
	check_spoilt("items that are not mapped", unmap_list_items, at.list,
		     "[<damaged: nothing is mapped at 0x1000>]");
	(void)snprintf(expected, sizeof(expected),
		       "[5, <damaged: no object at 0x%llx>, [...]]",
		       (unsigned long long)at.list_items);
	check_spoilt("an item that is none", spoil_item, at.list, expected);
	check_spoilt("an item that is not there", null_item, at.list,
		     "[5, <NULL>, [...]]");
	(void)snprintf(expected, sizeof(expected),
		       "[5, <damaged: nothing is mapped at 0x%llx>, [...]]",
		       (unsigned long long)(TINYHEAP_START + TINYHEAP_SIZE -
					    4096));
	check_spoilt("an item beyond memory", lose_item, at.list, expected);
	(void)snprintf(expected, sizeof(expected),
		       "(<damaged: no object at 0x%llx>,)",
		       (unsigned long long)at.five);
	check_spoilt("type of an item", spoil_type, at.tuple, expected);
	check_spoilt("digit of an int", spoil_digit, at.five,
		     "<damaged: digit of an int>");
	check_spoilt("digits of an int", spoil_int, at.five, "<damaged: int>");
	check_spoilt("kind of a str", spoil_str, at.str, "<damaged: str>");
	check_spoilt("character of a str", spoil_character, at.wide,
		     "'<damaged: no such character>'");
	check_spoilt("keys of a dict", spoil_dict, at.dict,
		     "{<damaged: keys of a dict>}");
	check_spoilt("table of a set", spoil_set, at.set,
		     "{<damaged: table of a set>}");
	check_spoilt("index of a deque", spoil_deque, at.deque,
		     "deque([<damaged: blocks of a deque>], maxlen=3)");
	(void)snprintf(expected, sizeof(expected),
		       "deque([5, <damaged: nothing is mapped at 0x%x>], "
		       "maxlen=3)", 0x1000 + 8);
	check_spoilt("link of a deque", spoil_deque_link, at.deque, expected);
	check_spoilt("a date", spoil_date, at.date,
		     "datetime.date(<damaged: date>)");
	check_spoilt("a timedelta", spoil_delta, at.delta,
		     "datetime.timedelta(<damaged: timedelta>)");
	check_spoilt("words of a Decimal", spoil_decimal, at.decimal,
		     "Decimal('<damaged: mpd_t>')");
	check_spoilt("coefficient of a Decimal", spoil_coefficient, at.decimal,
		     "Decimal('<damaged: coefficient>')");
	(void)snprintf(expected, sizeof(expected),
		       "BaseException<damaged: no object at 0x%llx>",
		       (unsigned long long)at.list_items);
	check_spoilt("arguments of an exception", spoil_args, at.exception,
		     expected);
}

/** A str that claims all of memory is read up to what is shown of it. */
static void test_long_str(void)
{
	struct tinyvalues values;
	struct tinyheap heap;
	char text[64];

	tinyheap_init(&heap, 12);
	tinyvalues_build(&values, &heap);
	spoil_str_length(&values, &heap);
	tinyheap_open(&heap);
	(void)tinyvalues_text(&values, values.str, text, sizeof(text));
	CHECK("a str that claims too much begins as it did",
	      strncmp(text, "'it\\'s\\n", 8) == 0 ||
		      strncmp(text, "\"it's\\n", 7) == 0);
	CHECK("and is cut", strstr(text, "\xe2\x80\xa6") != NULL);
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

/** Lists in lists, deeper than anybody reads. */
static void test_depth(void)
{
	struct tinyvalues values;
	struct tinyheap heap;
	char text[512], expected[512] = "";
	uint64_t inner = 0;

	tinyheap_init(&heap, 12);
	tinyvalues_build(&values, &heap);
	for (int i = 0; i < 1000; i++) {
		uint64_t list = tinyheap_object(&heap, heap.list, 40);
		uint64_t items = tinyheap_take(&heap, 8);

		tinyheap_set(&heap, list, PYH_VAR_OB_SIZE, 1);
		tinyheap_set(&heap, list, PYH_LIST_ALLOCATED, 1);
		tinyheap_set(&heap, list, PYH_LIST_OB_ITEM, items);
		tinyheap_put(&heap, items, inner ? inner : values.five, 8);
		inner = list;
	}
	tinyheap_open(&heap);
	for (int i = 0; i < PYH_VALUE_DEPTH; i++)
		(void)strcat(expected, "[");
	(void)strcat(expected, "[\xe2\x80\xa6]");
	for (int i = 0; i < PYH_VALUE_DEPTH; i++)
		(void)strcat(expected, "]");
	CHECK_STRING("lists in lists",
		     tinyvalues_text(&values, inner, text, sizeof(text)),
		     expected);
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

/** A set of one member in a table of very many is given up. */
static void test_work(void)
{
	const uint64_t slots = 1 << 17;
	struct tinyvalues values;
	struct tinyheap heap;
	uint64_t table;
	char text[64];

	tinyheap_init(&heap, 12);
	tinyvalues_build(&values, &heap);
	table = tinyheap_take(&heap, slots * 16);
	tinyheap_put(&heap, table + (slots - 1) * 16, values.five, 8);
	tinyheap_set(&heap, values.set, PYH_SET_TABLE, table);
	tinyheap_set(&heap, values.set, PYH_SET_MASK, slots - 1);
	tinyheap_open(&heap);
	CHECK_STRING("a sparse set",
		     tinyvalues_text(&values, values.set, text, sizeof(text)),
		     "{\xe2\x80\xa6");
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

static void test_not_captured(void)
{
	struct memory_range hole = {
		.start = TINYHEAP_START + TINYHEAP_SIZE - 4096,
		.end = TINYHEAP_START + TINYHEAP_SIZE,
		.state = MEMORY_NOT_CAPTURED,
	};
	struct memory_range range = { 0 };
	struct tinyvalues values;
	struct tinyheap heap;
	struct memory *memory;
	char text[64];

	tinyheap_init(&heap, 12);
	tinyvalues_build(&values, &heap);
	lose_item(&values, &heap);
	heap.limit = hole.start;
	tinyheap_open(&heap);
	// The same memory, with a range behind it that the dump lacks.
	range = *memory_range(heap.image.memory, 0);
	if (memory_create(NULL, &memory) || memory_add(memory, &range) ||
	    memory_add(memory, &hole) || memory_seal(memory))
		abort();
	memory_destroy(heap.image.memory);
	heap.image.memory = memory;
	CHECK_STRING("an item that was not captured",
		     tinyvalues_text(&values, values.list, text, sizeof(text)),
		     "[5, <not captured>, [...]]");
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

int main(void)
{
	for (unsigned int minor = 8; minor <= 15; minor++)
		test_all(minor);
	test_sizes();
	test_damage();
	test_long_str();
	test_depth();
	test_work();
	test_not_captured();
	return check_result();
}
