/*
 * One object of every kind that has a value of its own; see tinyvalues.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/lib/tinyvalues.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM = 256 };		/* bytes of most objects */

static uint64_t keep(struct tinyvalues *values, uint64_t address,
		     const char *text)
{
	if (values->count == TINYVALUES_MAX)
		abort();
	values->all[values->count].address = address;
	values->all[values->count++].text = text;
	return address;
}

static uint64_t type(struct tinyvalues *values, const char *name,
		     enum pyh_struct structure, uint64_t flags, uint64_t base)
{
	const uint32_t *size_of = values->heap->runtime.size_of;

	return tinyheap_type(values->heap, name, flags, size_of[structure], 0,
			     base ? base : values->heap->object);
}

/** An object of a new type. */
static uint64_t object(struct tinyvalues *values, const char *name,
		       enum pyh_struct structure, const char *text)
{
	return keep(values,
		    tinyheap_object(values->heap,
				    type(values, name, structure, 0, 0), ROOM),
		    text);
}

static uint64_t make_int(struct tinyvalues *values, int64_t value,
			 const char *text)
{
	struct tinyheap *heap = values->heap;
	bool tagged = pyh_has(&heap->runtime, PYH_LONG_LONG_VALUE_LV_TAG);
	uint64_t number = tinyheap_object(heap, heap->integer, 64);
	uint64_t size = value < 0 ? -(uint64_t)value : (uint64_t)value;
	uint64_t digits = 0;

	for (; size; size >>= 30, digits++)
		tinyheap_put(heap, number + digits * 4 +
			     pyh_offset(&heap->runtime, tagged ?
					PYH_LONG_LONG_VALUE_OB_DIGIT :
					PYH_LONG_OB_DIGIT),
			     size & 0x3fffffff, 4);
	if (tagged)
		tinyheap_set(heap, number, PYH_LONG_LONG_VALUE_LV_TAG,
			     digits << 3 | (value < 0 ? 2 : value == 0));
	else
		tinyheap_set(heap, number, PYH_VAR_OB_SIZE,
			     value < 0 ? -digits : digits);
	return keep(values, number, text);
}

static uint64_t make_str(struct tinyvalues *values, const char *content,
			 const char *text)
{
	return keep(values, tinyheap_str(values->heap, content,
					 strlen(content)), text);
}

static uint64_t make_tuple(struct tinyvalues *values, uint64_t of,
			   const uint64_t *items, size_t count,
			   const char *text)
{
	struct tinyheap *heap = values->heap;
	uint64_t tuple = tinyheap_object(heap, of, ROOM);

	tinyheap_set(heap, tuple, PYH_VAR_OB_SIZE, count);
	for (size_t i = 0; i < count; i++)
		tinyheap_put(heap, tuple + i * 8 +
			     pyh_offset(&heap->runtime, PYH_TUPLE_OB_ITEM),
			     items[i], 8);
	return keep(values, tuple, text);
}

static void make_numbers(struct tinyvalues *values)
{
	struct tinyheap *heap = values->heap;
	uint64_t at;
	double number = 0.1;

	values->none = object(values, "NoneType", PYH_STRUCT_OBJECT, "None");
	values->five = make_int(values, 5, "5");
	(void)make_int(values, 0, "0");
	(void)make_int(values, -(INT64_C(1) << 60), "-1152921504606846976");
	(void)make_int(values, 1000000000, "1000000000");
	values->floating = object(values, "float", PYH_STRUCT_FLOAT, "0.1");
	memcpy(&at, &number, sizeof(at));
	tinyheap_set(heap, values->floating, PYH_FLOAT_OB_FVAL, at);
	(void)object(values, "complex", PYH_STRUCT_COMPLEX, "0j");
	// -150 * 10**-2 as libmpdec has it.
	values->decimal = object(values, "decimal.Decimal", PYH_STRUCT_DECIMAL,
				 "Decimal('-1.50')");
	at = values->decimal + pyh_offset(&heap->runtime, PYH_DECIMAL_DEC);
	tinyheap_put(heap, at, 1, 1);
	tinyheap_put(heap, at + 8, UINT64_MAX - 1, 8);
	tinyheap_put(heap, at + 16, 3, 8);
	tinyheap_put(heap, at + 24, 1, 8);
	tinyheap_put(heap, at + 32, 4, 8);
	tinyheap_put(heap, at + 40, at + 48, 8);
	tinyheap_put(heap, at + 48, 150, 8);
}

static void make_strings(struct tinyvalues *values)
{
	struct tinyheap *heap = values->heap;
	const struct pyh_runtime *runtime = &heap->runtime;
	uint32_t head = runtime->size_of[PYH_STRUCT_COMPACT];
	uint64_t type_of_bytes, i;

	values->str = make_str(values, "it's\n", "\"it's\\n\"");
	// Two characters of two bytes: U+0416, and a lone surrogate.
	values->wide = keep(values, tinyheap_object(heap, heap->str, ROOM),
			    "'\xd0\x96\\ud800'");
	tinyheap_set(heap, values->wide, PYH_ASCII_LENGTH, 2);
	tinyheap_put(heap, values->wide + pyh_offset(runtime, PYH_ASCII_STATE),
		     runtime->minor < 12 ? 0xa8 : 0x28, 4);
	tinyheap_put(heap, values->wide + head, 0xd8000416, 4);
	type_of_bytes = tinyheap_type(heap, "bytes",
				      PYH_TPFLAGS_BYTES_SUBCLASS,
				      pyh_offset(runtime, PYH_BYTES_OB_SVAL) +
					      1, 1, heap->object);
	values->bytes = keep(values, tinyheap_object(heap, type_of_bytes, ROOM),
			     "b'\\x00a'");
	tinyheap_set(heap, values->bytes, PYH_VAR_OB_SIZE, 2);
	i = values->bytes + pyh_offset(runtime, PYH_BYTES_OB_SVAL);
	tinyheap_put(heap, i, 0x6100, 2);
	i = object(values, "bytearray", PYH_STRUCT_BYTEARRAY,
		   "bytearray(b'\\x00a')");
	tinyheap_set(heap, i, PYH_VAR_OB_SIZE, 2);
	tinyheap_set(heap, i, PYH_BYTEARRAY_OB_START, values->bytes +
		     pyh_offset(runtime, PYH_BYTES_OB_SVAL));
}

static void make_set(struct tinyvalues *values)
{
	struct tinyheap *heap = values->heap;
	uint64_t table;

	values->set = keep(values, tinyheap_object(heap, heap->set, ROOM),
			   "{5}");
	table = values->set + pyh_offset(&heap->runtime, PYH_SET_SMALLTABLE);
	tinyheap_set(heap, values->set, PYH_SET_FILL, 2);
	tinyheap_set(heap, values->set, PYH_SET_USED, 1);
	tinyheap_set(heap, values->set, PYH_SET_MASK, 7);
	tinyheap_set(heap, values->set, PYH_SET_TABLE, table);
	// One that was taken out, and one member.
	tinyheap_put(heap, table, values->none, 8);
	tinyheap_put(heap, table + 8, UINT64_MAX, 8);
	tinyheap_put(heap, table + 5 * 16, values->five, 8);
	tinyheap_put(heap, table + 5 * 16 + 8, 5, 8);
}

static void make_deque(struct tinyvalues *values)
{
	struct tinyheap *heap = values->heap;
	uint32_t data = pyh_offset(&heap->runtime, PYH_DEQUEBLOCK_DATA);
	uint32_t size = heap->runtime.size_of[PYH_STRUCT_DEQUEBLOCK];
	uint64_t second;

	values->deque = object(values, "collections.deque", PYH_STRUCT_DEQUE,
			       "deque([5, None], maxlen=3)");
	values->deque_block = tinyheap_take(heap, size);
	second = tinyheap_take(heap, size);
	tinyheap_set(heap, values->deque, PYH_VAR_OB_SIZE, 2);
	tinyheap_set(heap, values->deque, PYH_DEQUE_LEFTBLOCK,
		     values->deque_block);
	tinyheap_set(heap, values->deque, PYH_DEQUE_LEFTINDEX, 63);
	tinyheap_set(heap, values->deque, PYH_DEQUE_MAXLEN, 3);
	tinyheap_set(heap, values->deque_block, PYH_DEQUEBLOCK_RIGHTLINK,
		     second);
	tinyheap_put(heap, values->deque_block + data + 63 * 8, values->five,
		     8);
	tinyheap_put(heap, second + data, values->none, 8);
}

static void make_containers(struct tinyvalues *values)
{
	static const char *const keys[] = { "a", "me" };
	struct tinyheap *heap = values->heap;
	uint64_t entries[2], dict;

	values->tuple = make_tuple(values, heap->tuple, &values->five, 1,
				   "(5,)");
	values->list_items = tinyheap_take(heap, 32);
	values->list = keep(values, tinyheap_object(heap, heap->list, ROOM),
			    "[5, (5,), [...]]");
	tinyheap_set(heap, values->list, PYH_VAR_OB_SIZE, 3);
	tinyheap_set(heap, values->list, PYH_LIST_ALLOCATED, 4);
	tinyheap_set(heap, values->list, PYH_LIST_OB_ITEM, values->list_items);
	tinyheap_put(heap, values->list_items, values->five, 8);
	tinyheap_put(heap, values->list_items + 8, values->tuple, 8);
	tinyheap_put(heap, values->list_items + 16, values->list, 8);
	entries[0] = values->five;
	entries[1] = values->none;
	values->dict = keep(values, tinyheap_dict(heap, keys, entries, 2),
			    "{'a': 5, 'me': None}");
	make_set(values);
	make_deque(values);
	// The same table in other kinds of dict.
	memcpy(&dict, heap->bytes + (values->dict - TINYHEAP_START) +
	       pyh_offset(&heap->runtime, PYH_DICT_MA_KEYS), 8);
	entries[0] = keep(values, tinyheap_object(
		heap, type(values, "collections.defaultdict",
			   PYH_STRUCT_DEFAULTDICT, PYH_TPFLAGS_DICT_SUBCLASS,
			   heap->dict), ROOM),
		"defaultdict(None, {'a': 5, 'me': None})");
	entries[1] = keep(values, tinyheap_object(
		heap, type(values, "collections.OrderedDict", PYH_STRUCT_ODICT,
			   PYH_TPFLAGS_DICT_SUBCLASS, heap->dict), ROOM),
		heap->runtime.minor < 12 ?
			"OrderedDict([('a', 5), ('me', None)])" :
			"OrderedDict({'a': 5, 'me': None})");
	for (int i = 0; i < 2; i++) {
		tinyheap_set(heap, entries[i], PYH_DICT_MA_USED, 2);
		tinyheap_set(heap, entries[i], PYH_DICT_MA_KEYS, dict);
	}
}

static void make_times(struct tinyvalues *values)
{
	struct tinyheap *heap = values->heap;
	const struct pyh_runtime *runtime = &heap->runtime;
	uint64_t zone, at;

	values->delta = object(values, "datetime.timedelta", PYH_STRUCT_DELTA,
			       "datetime.timedelta(days=-1, seconds=60)");
	tinyheap_set(heap, values->delta, PYH_DELTA_DAYS, UINT32_MAX);
	tinyheap_set(heap, values->delta, PYH_DELTA_SECONDS, 60);
	zone = object(values, "datetime.timezone", PYH_STRUCT_TIMEZONE,
		      "datetime.timezone(datetime.timedelta(days=-1, "
		      "seconds=60))");
	tinyheap_set(heap, zone, PYH_TIMEZONE_OFFSET, values->delta);
	values->date = object(values, "datetime.date", PYH_STRUCT_DATE,
			      "datetime.date(2024, 2, 29)");
	at = values->date + pyh_offset(runtime, PYH_DATE_DATA);
	tinyheap_put(heap, at, 0x1d02e807, 4);
	at = object(values, "datetime.datetime", PYH_STRUCT_DATETIME,
		    "datetime.datetime(2024, 2, 29, 1, 2, 3, fold=1)");
	tinyheap_put(heap, at + pyh_offset(runtime, PYH_DATETIME_DATA),
		     0x0302011d02e807, 7);
	tinyheap_set(heap, at, PYH_DATETIME_FOLD, 1);
	at = object(values, "datetime.time", PYH_STRUCT_TIME,
		    "datetime.time(1, 2, tzinfo=datetime.timezone("
		    "datetime.timedelta(days=-1, seconds=60)))");
	tinyheap_put(heap, at + pyh_offset(runtime, PYH_TIME_DATA), 0x0201, 2);
	tinyheap_set(heap, at, PYH_TIME_HASTZINFO, 1);
	tinyheap_set(heap, at, PYH_TIME_TZINFO, zone);
}

/** A class as Python code makes one. */
static uint64_t make_class(struct tinyvalues *values, const char *name,
			   uint64_t flags, uint64_t basicsize,
			   uint64_t itemsize, uint64_t base,
			   uint64_t attributes)
{
	struct tinyheap *heap = values->heap;
	uint64_t class = tinyheap_type(heap, name, flags | PYH_TPFLAGS_HEAPTYPE,
				       basicsize, itemsize, base);
	uint64_t text = tinyheap_str(heap, name, strlen(name));

	tinyheap_set(heap, class, PYH_HEAPTYPE_HT_NAME, text);
	tinyheap_set(heap, class, PYH_HEAPTYPE_HT_QUALNAME, text);
	tinyheap_set(heap, class, PYH_TYPE_TP_DICT, attributes);
	return class;
}

static void make_classes(struct tinyvalues *values)
{
	static const char *const class_keys[] = { "_fields", "_make",
						  "__module__" };
	static const char *const member_keys[] = { "_name_", "_value_" };
	struct tinyheap *heap = values->heap;
	uint64_t name = tinyheap_str(heap, "x", 1);
	uint64_t module = tinyheap_str(heap, "m", 1), entries[3], class, meta;

	entries[0] = make_tuple(values, heap->tuple, &name, 1, "('x',)");
	entries[1] = values->none;
	entries[2] = module;
	class = make_class(values, "Point", PYH_TPFLAGS_TUPLE_SUBCLASS |
			   PYH_TPFLAGS_HAVE_GC,
			   pyh_offset(&heap->runtime, PYH_TUPLE_OB_ITEM), 8,
			   heap->tuple,
			   tinyheap_dict(heap, class_keys, entries, 3));
	(void)keep(values, class, "<class 'm.Point'>");
	values->named = make_tuple(values, class, &values->five, 1,
				   "Point(x=5)");
	// The member of an enumeration, with a dict behind the header.
	meta = type(values, "enum.EnumMeta", PYH_STRUCT_HEAPTYPE,
		    PYH_TPFLAGS_TYPE_SUBCLASS | PYH_TPFLAGS_HAVE_GC,
		    heap->type);
	class = make_class(values, "Color", PYH_TPFLAGS_HAVE_GC, 24, 0,
			   heap->object,
			   tinyheap_dict(heap, class_keys + 2, &module, 1));
	tinyheap_set(heap, class, PYH_OBJECT_OB_TYPE, meta);
	tinyheap_set(heap, class, PYH_TYPE_TP_DICTOFFSET, 16);
	(void)keep(values, class, "<enum 'Color'>");
	entries[0] = tinyheap_str(heap, "RED", 3);
	entries[1] = values->five;
	values->color = keep(values, tinyheap_object(heap, class, ROOM),
			     "<Color.RED: 5>");
	tinyheap_put(heap, values->color + 16,
		     tinyheap_dict(heap, member_keys, entries, 2), 8);
}

static void make_others(struct tinyvalues *values)
{
	static const char *const keys[] = { "__name__" };
	struct tinyheap *heap = values->heap;
	uint64_t name = tinyheap_str(heap, "m", 1), at;

	values->exception = tinyheap_object(heap, type(
		values, "BaseException", PYH_STRUCT_EXCEPTION,
		PYH_TPFLAGS_BASE_EXC_SUBCLASS | PYH_TPFLAGS_HAVE_GC, 0), ROOM);
	(void)keep(values, values->exception, "BaseException(5)");
	tinyheap_set(heap, values->exception, PYH_EXCEPTION_ARGS,
		     values->tuple);
	at = object(values, "module", PYH_STRUCT_MODULE, "<module 'm'>");
	tinyheap_set(heap, at, PYH_MODULE_MD_DICT,
		     tinyheap_dict(heap, keys, &name, 1));
	at = object(values, "range", PYH_STRUCT_RANGE, "range(5, 5, 5)");
	tinyheap_set(heap, at, PYH_RANGE_START, values->five);
	tinyheap_set(heap, at, PYH_RANGE_STOP, values->five);
	tinyheap_set(heap, at, PYH_RANGE_STEP, values->five);
	at = object(values, "slice", PYH_STRUCT_SLICE, "slice(None, 5, None)");
	tinyheap_set(heap, at, PYH_SLICE_START, values->none);
	tinyheap_set(heap, at, PYH_SLICE_STOP, values->five);
	tinyheap_set(heap, at, PYH_SLICE_STEP, values->none);
	values->function = object(values, "function", PYH_STRUCT_FUNCTION,
				  NULL);
	tinyheap_set(heap, values->function, PYH_FUNCTION_FUNC_QUALNAME, name);
	at = object(values, "method", PYH_STRUCT_METHOD,
		    "<bound method m of 5>");
	tinyheap_set(heap, at, PYH_METHOD_IM_FUNC, values->function);
	tinyheap_set(heap, at, PYH_METHOD_IM_SELF, values->five);
	(void)keep(values, heap->list, "<class 'list'>");
}

void tinyvalues_build(struct tinyvalues *values, struct tinyheap *heap)
{
	*values = (struct tinyvalues){ .heap = heap, .start = heap->next };
	make_numbers(values);
	make_strings(values);
	make_containers(values);
	make_times(values);
	make_classes(values);
	make_others(values);
	values->end = heap->next;
}

static void must(struct error *err)
{
	if (err)
		abort();
}

const char *tinyvalues_text(struct tinyvalues *values, uint64_t address,
			    char *text, size_t size)
{
	struct tinyheap *heap = values->heap;

	if (!values->reader) {
		must(pyh_shapes_create(&heap->runtime, heap->types,
				       &values->shapes));
		must(pyh_value_reader_create(&heap->runtime, heap->types,
					     values->shapes, &values->reader));
	}
	pyh_value_repr(values->reader, address, text, size);
	return text;
}

void tinyvalues_deinit(struct tinyvalues *values)
{
	pyh_value_reader_destroy(values->reader);
	pyh_shapes_destroy(values->shapes);
}
