/*
 * A heap of CPython built by hand, for tests of what is no heap at all.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/lib/tinyheap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READY PYH_TPFLAGS_READY
#define BASETYPE PYH_TPFLAGS_BASETYPE

static void must(struct error *err)
{
	if (!err)
		return;
	fprintf(stderr, "tinyheap: %s\n", err->message);
	abort();
}

uint64_t tinyheap_take(struct tinyheap *heap, size_t size)
{
	uint64_t here = (heap->next + 15) & ~UINT64_C(15);

	if (size > TINYHEAP_SIZE ||
	    here - TINYHEAP_START > TINYHEAP_SIZE - size)
		abort();
	heap->next = here + size;
	return here;
}

void tinyheap_put(struct tinyheap *heap, uint64_t address, uint64_t value,
		  size_t size)
{
	uint64_t at = address - TINYHEAP_START;

	if (size > sizeof(value) || at > TINYHEAP_SIZE - size)
		abort();
	memcpy(heap->bytes + at, &value, size);
}

void tinyheap_set(struct tinyheap *heap, uint64_t structure,
		  enum pyh_field field, uint64_t value)
{
	struct pyh_field_at at = heap->runtime.at[field];

	if (at.size == 0)
		abort();
	tinyheap_put(heap, structure + at.offset, value,
		     at.size < 8 ? at.size : 8);
}

uint64_t tinyheap_object(struct tinyheap *heap, uint64_t type, size_t size)
{
	uint64_t object = tinyheap_take(heap, 64 + size) + 64;

	tinyheap_set(heap, object, PYH_OBJECT_OB_REFCNT, 1);
	tinyheap_set(heap, object, PYH_OBJECT_OB_TYPE, type);
	return object;
}

static uint64_t mro_of(struct tinyheap *heap, uint64_t type)
{
	uint64_t mro = tinyheap_object(heap, heap->tuple, 64);
	uint64_t items = mro + pyh_offset(&heap->runtime, PYH_TUPLE_OB_ITEM);
	uint64_t count = type == heap->object ? 1 : 2;

	tinyheap_set(heap, mro, PYH_VAR_OB_SIZE, count);
	tinyheap_put(heap, items, type, 8);
	if (count == 2)
		tinyheap_put(heap, items + 8, heap->object, 8);
	return mro;
}

uint64_t tinyheap_text(struct tinyheap *heap, const char *text)
{
	uint64_t here = tinyheap_take(heap, strlen(text) + 1);

	memcpy(heap->bytes + (here - TINYHEAP_START), text, strlen(text));
	return here;
}

static void fill_type(struct tinyheap *heap, uint64_t type, const char *name,
		      uint64_t flags, uint64_t basicsize, uint64_t itemsize,
		      uint64_t base)
{
	uint64_t text = 0x1000;		/* where nothing is */

	if (name)
		text = tinyheap_text(heap, name);
	tinyheap_set(heap, type, PYH_OBJECT_OB_REFCNT, 1);
	tinyheap_set(heap, type, PYH_OBJECT_OB_TYPE, heap->type);
	tinyheap_set(heap, type, PYH_TYPE_TP_NAME, text);
	tinyheap_set(heap, type, PYH_TYPE_TP_FLAGS,
		     flags | READY | BASETYPE);
	tinyheap_set(heap, type, PYH_TYPE_TP_BASICSIZE, basicsize);
	tinyheap_set(heap, type, PYH_TYPE_TP_ITEMSIZE, itemsize);
	tinyheap_set(heap, type, PYH_TYPE_TP_BASE, base);
	tinyheap_set(heap, type, PYH_TYPE_TP_MRO, mro_of(heap, type));
}

uint64_t tinyheap_type(struct tinyheap *heap, const char *name, uint64_t flags,
		       uint64_t basicsize, uint64_t itemsize, uint64_t base)
{
	uint64_t type = tinyheap_take(heap, 1024);

	fill_type(heap, type, name, flags, basicsize, itemsize, base);
	return type;
}

uint64_t tinyheap_str(struct tinyheap *heap, const char *text, size_t length)
{
	uint32_t head = heap->runtime.size_of[PYH_STRUCT_ASCII];
	uint64_t str = tinyheap_object(heap, heap->str, head + length + 1);

	tinyheap_set(heap, str, PYH_ASCII_LENGTH, length);
	// One byte a character, compact, ASCII; in 3.11 and older also ready.
	tinyheap_put(heap, str + pyh_offset(&heap->runtime, PYH_ASCII_STATE),
		     heap->runtime.minor < 12 ? 0xe4 : 0x64, 4);
	memcpy(heap->bytes + (str + head - TINYHEAP_START), text, length);
	return str;
}

uint64_t tinyheap_dict(struct tinyheap *heap, const char *const *keys,
		       const uint64_t *values, size_t count)
{
	const struct pyh_runtime *runtime = &heap->runtime;
	uint64_t dict = tinyheap_object(heap, heap->dict, 48);
	uint64_t table = tinyheap_take(heap, 256), entry;

	if (count > 5)
		abort();
	tinyheap_set(heap, dict, PYH_DICT_MA_USED, count);
	tinyheap_set(heap, dict, PYH_DICT_MA_KEYS, table);
	tinyheap_set(heap, table, PYH_KEYS_DK_REFCNT, 1);
	tinyheap_set(heap, table, PYH_KEYS_DK_NENTRIES, count);
	if (pyh_has(runtime, PYH_KEYS_DK_SIZE)) {
		tinyheap_set(heap, table, PYH_KEYS_DK_SIZE, 8);
	} else {
		tinyheap_set(heap, table, PYH_KEYS_DK_LOG2_SIZE, 3);
		tinyheap_set(heap, table, PYH_KEYS_DK_LOG2_INDEX_BYTES, 3);
	}
	tinyheap_set(heap, table, PYH_KEYS_DK_USABLE, 5 - count);
	entry = table + runtime->size_of[PYH_STRUCT_KEYS] + 8;
	for (size_t i = 0; i < count; i++, entry += 24) {
		tinyheap_put(heap, entry + 8,
			     tinyheap_str(heap, keys[i], strlen(keys[i])), 8);
		tinyheap_put(heap, entry + 16, values[i], 8);
	}
	return dict;
}

void tinyheap_init(struct tinyheap *heap, unsigned int minor)
{
	const struct pyh_layout *layout = pyh_layout_for(minor);
	const uint32_t *size_of = layout->size_of;
	uint64_t bytes = PYH_TPFLAGS_TUPLE_SUBCLASS | PYH_TPFLAGS_HAVE_GC;

	*heap = (struct tinyheap){ .next = TINYHEAP_START,
				   .limit = TINYHEAP_START + TINYHEAP_SIZE };
	heap->bytes = calloc(1, TINYHEAP_SIZE);
	if (!heap->bytes)
		abort();
	heap->runtime.minor = minor;
	heap->runtime.version = 3u << 24 | minor << 16;
	heap->runtime.layout = layout;
	memcpy(heap->runtime.at, layout->at, sizeof(layout->at));
	memcpy(heap->runtime.size_of, size_of, sizeof(layout->size_of));
	heap->runtime.image = &heap->image;

	heap->type = tinyheap_take(heap, 1024);
	heap->object = tinyheap_take(heap, 1024);
	heap->tuple = tinyheap_take(heap, 1024);
	fill_type(heap, heap->object, "object", 0, 16, 0, 0);
	fill_type(heap, heap->type, "type",
		  PYH_TPFLAGS_TYPE_SUBCLASS | PYH_TPFLAGS_HAVE_GC,
		  size_of[PYH_STRUCT_HEAPTYPE], 40, heap->object);
	fill_type(heap, heap->tuple, "tuple", bytes,
		  pyh_offset(&heap->runtime, PYH_TUPLE_OB_ITEM), 8,
		  heap->object);
	heap->str = tinyheap_type(heap, "str", PYH_TPFLAGS_UNICODE_SUBCLASS,
				  size_of[PYH_STRUCT_UNICODE], 0, heap->object);
	heap->dict = tinyheap_type(heap, "dict",
				   PYH_TPFLAGS_DICT_SUBCLASS |
					   PYH_TPFLAGS_HAVE_GC,
				   size_of[PYH_STRUCT_DICT], 0, heap->object);
	heap->list = tinyheap_type(heap, "list",
				   PYH_TPFLAGS_LIST_SUBCLASS |
					   PYH_TPFLAGS_HAVE_GC,
				   size_of[PYH_STRUCT_LIST], 0, heap->object);
	heap->integer = tinyheap_type(heap, "int", PYH_TPFLAGS_LONG_SUBCLASS,
				      24, 4, heap->object);
	heap->set = tinyheap_type(heap, "set", PYH_TPFLAGS_HAVE_GC,
				  size_of[PYH_STRUCT_SET], 0, heap->object);
	heap->runtime.types = (struct pyh_core_types){
		.type = heap->type, .object = heap->object,
		.dict = heap->dict, .str = heap->str, .tuple = heap->tuple,
	};
}

void tinyheap_open(struct tinyheap *heap)
{
	struct memory_range range = {
		.start = TINYHEAP_START, .end = heap->limit,
		.state = MEMORY_CAPTURED, .source = MEMORY_FROM_FILE,
		.bytes = heap->bytes,
	};

	must(memory_create(NULL, &heap->image.memory));
	must(memory_add(heap->image.memory, &range));
	must(memory_seal(heap->image.memory));
	must(pyh_types_create(&heap->runtime, &heap->types));
	must(pyh_type_reader_init(&heap->reader, heap->types));
	must(memory_reader_init(&heap->memory, heap->image.memory));
}

void tinyheap_deinit(struct tinyheap *heap)
{
	memory_reader_deinit(&heap->memory);
	pyh_type_reader_deinit(&heap->reader);
	pyh_types_destroy(heap->types);
	memory_destroy(heap->image.memory);
	free(heap->bytes);
}

enum pyh_measured tinyheap_measure(struct tinyheap *heap, uint64_t address,
				   struct pyh_measure *ret)
{
	const struct pyh_type *type;
	uint64_t at = address - TINYHEAP_START, of;

	memcpy(&of, heap->bytes + at +
		       pyh_offset(&heap->runtime, PYH_OBJECT_OB_TYPE), 8);
	type = pyh_type_find(&heap->reader, of);
	if (!type)
		abort();
	return pyh_measure(&heap->runtime, type, address, heap->bytes + at,
			   (size_t)(heap->limit - address), &heap->memory, ret);
}
