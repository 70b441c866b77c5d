/*
 * References: how they are held, and what is damaged costs nothing but itself.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyrefs.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/check.h"
#include "tests/lib/tinyvalues.h"

enum { TOLD_MAX = 64 };

struct told {
	struct pyh_ref refs[TOLD_MAX];
	size_t count;
	size_t limit;		/* stop after so many; 0: never */
};

static bool tell(void *context, const struct pyh_ref *ref)
{
	struct told *told = context;

	if (told->count < TOLD_MAX)
		told->refs[told->count] = *ref;
	told->count++;
	return told->count != told->limit;
}

/** All references of the object at an address; false: it is none any more. */
static bool ask(struct tinyheap *heap, struct pyh_shapes *shapes,
		uint64_t address, struct told *told)
{
	struct pyh_referrer referrer = {
		.runtime = &heap->runtime, .shapes = shapes,
		.address = address, .memory = &heap->memory,
	};
	struct pyh_measure measure;
	uint64_t type;

	if (!memory_try_u64(&heap->memory, address + 8, &type))
		return false;
	referrer.type = pyh_type_find(&heap->reader, type);
	if (!referrer.type || tinyheap_measure(heap, address, &measure) ==
				      PYH_MEASURE_REFUSED)
		return false;
	referrer.extent = measure.extent;
	told->count = 0;
	pyh_refs_each(&referrer, tell, told);
	return true;
}

static struct pyh_shapes *shapes_of(struct tinyheap *heap)
{
	struct pyh_shapes *shapes = NULL;

	if (pyh_shapes_create(&heap->runtime, heap->types, &shapes))
		abort();
	return shapes;
}

/** A reference of this kind; address 0: to whatever. None: a guessed one. */
static const struct pyh_ref *find(const struct told *told,
				  enum pyh_ref_kind kind, uint64_t address)
{
	static const struct pyh_ref none = { .hold = PYH_HOLD_GUESSED };

	for (size_t i = 0; i < told->count && i < TOLD_MAX; i++)
		if (told->refs[i].kind == kind &&
		    (address == 0 || told->refs[i].address == address))
			return &told->refs[i];
	return &none;
}

static void set_traverse(struct tinyheap *heap, uint64_t type)
{
	tinyheap_set(heap, type, PYH_TYPE_TP_TRAVERSE, 0x1000);
}

/**
 * Keys of a table for any type are visited, as are values; types that are
 * static are not counted; without a tp_traverse nothing is visited.
 */
static void test_holds(unsigned int minor)
{
	struct tinyvalues values;
	struct pyh_shapes *shapes;
	struct tinyheap heap;
	struct told told = { .limit = 0 };

	tinyheap_init(&heap, minor);
	tinyvalues_build(&values, &heap);
	set_traverse(&heap, heap.dict);
	set_traverse(&heap, heap.list);
	tinyheap_open(&heap);
	shapes = shapes_of(&heap);
	CHECK("a dict", ask(&heap, shapes, values.dict, &told));
	CHECK_U64("references of a dict", told.count, 5);
	CHECK_U64("its type", find(&told, PYH_REF_TYPE, 0)->hold,
		  PYH_HOLD_NONE);
	CHECK_U64("its key, in a table for keys of any type",
		  find(&told, PYH_REF_KEY, 0)->hold, PYH_HOLD_TRAVERSED);
	CHECK_U64("its value", find(&told, PYH_REF_VALUE, 0)->hold,
		  PYH_HOLD_TRAVERSED);
	CHECK("list", ask(&heap, shapes, values.list, &told));
	CHECK_U64("its item", find(&told, PYH_REF_ITEM, values.tuple)->hold,
		  PYH_HOLD_TRAVERSED);
	CHECK("tuple", ask(&heap, shapes, values.tuple, &told));
	CHECK_U64("item of what is not collected",
		  find(&told, PYH_REF_ITEM, values.five)->hold,
		  PYH_HOLD_UNTRAVERSED);
	CHECK("set", ask(&heap, shapes, values.set, &told));
	CHECK_U64("references of a set", told.count, 2);
	pyh_shapes_destroy(shapes);
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

/** What a class statement or PyType_Ready() makes of a type and its base. */
static void set_mro(struct tinyheap *heap, uint64_t type, uint64_t base)
{
	uint64_t mro = tinyheap_object(heap, heap->tuple, 64);
	uint64_t items = mro + pyh_offset(&heap->runtime, PYH_TUPLE_OB_ITEM);

	tinyheap_set(heap, mro, PYH_VAR_OB_SIZE, 3);
	tinyheap_put(heap, items, type, 8);
	tinyheap_put(heap, items + 8, base, 8);
	tinyheap_put(heap, items + 16, heap->object, 8);
	tinyheap_set(heap, type, PYH_TYPE_TP_MRO, mro);
}

/** A type that passes for functions, and one that is called as cells are. */
static void test_namesakes(unsigned int minor)
{
	struct tinyheap heap;
	struct pyh_shapes *shapes;
	struct told told = { .limit = 0 };
	uint64_t function, compiled, namesake, spec, objects[3], referent;

	tinyheap_init(&heap, minor);
	function = tinyheap_type(&heap, "function", PYH_TPFLAGS_HAVE_GC, 168, 0,
				 heap.object);
	tinyheap_set(&heap, function, PYH_TYPE_TP_FLAGS,
		     PYH_TPFLAGS_READY | PYH_TPFLAGS_HAVE_GC);
	compiled = tinyheap_type(&heap, "compiled", PYH_TPFLAGS_HAVE_GC, 240, 0,
				 function);
	set_mro(&heap, compiled, function);
	spec = tinyheap_type(&heap, "cell", PYH_TPFLAGS_HEAPTYPE, 64, 0,
			     heap.object);
	tinyheap_set(&heap, spec, PYH_HEAPTYPE_HT_QUALNAME,
		     tinyheap_str(&heap, "cell", 4));
	namesake = tinyheap_type(&heap, "cell", 0, 24, 0, heap.object);
	referent = tinyheap_object(&heap, heap.object, 16);
	objects[0] = tinyheap_object(&heap, compiled, 240);
	tinyheap_set(&heap, objects[0], PYH_FUNCTION_FUNC_CODE, referent);
	objects[1] = tinyheap_object(&heap, spec, 64);
	tinyheap_set(&heap, objects[1], PYH_CELL_OB_REF, referent);
	objects[2] = tinyheap_object(&heap, namesake, 24);
	tinyheap_set(&heap, objects[2], PYH_CELL_OB_REF, referent);
	tinyheap_open(&heap);
	shapes = shapes_of(&heap);
	CHECK("fields of its own", ask(&heap, shapes, objects[0], &told));
	CHECK_U64("are guessed", find(&told, PYH_REF_GUESS, referent)->address,
		  referent);
	CHECK("a heap type's", ask(&heap, shapes, objects[1], &told));
	CHECK_U64("are guessed, too",
		  find(&told, PYH_REF_GUESS, referent)->address, referent);
	CHECK("the interpreter's own", ask(&heap, shapes, objects[2], &told));
	CHECK_U64("are known", find(&told, PYH_REF_FIELD, referent)->hold,
		  PYH_HOLD_UNTRAVERSED);
	pyh_shapes_destroy(shapes);
	tinyheap_deinit(&heap);
}

static void test_stop(void)
{
	struct tinyvalues values;
	struct pyh_shapes *shapes;
	struct tinyheap heap;
	uint64_t walks = 0, bad = 0;

	tinyheap_init(&heap, 12);
	tinyvalues_build(&values, &heap);
	tinyheap_open(&heap);
	shapes = shapes_of(&heap);
	for (size_t i = 0; i < values.count; i++) {
		struct told all = { .limit = 0 }, some = { .limit = 0 };

		if (!ask(&heap, shapes, values.all[i].address, &all))
			continue;
		for (some.limit = 1; some.limit < all.count; some.limit++) {
			(void)ask(&heap, shapes, values.all[i].address, &some);
			walks++;
			bad += some.count != some.limit;
		}
	}
	CHECK("walks are stopped", walks > 50);
	CHECK_U64("walks that went on", bad, 0);
	pyh_shapes_destroy(shapes);
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

/** What a word may be spoilt to, so that lengths, links and pointers lie. */
static uint64_t spoilt(const struct tinyvalues *values, unsigned int how,
		       uint64_t at)
{
	const uint64_t words[] = {
		0, 1, UINT64_MAX, INT64_MAX, 1 << 20, at, values->start,
		values->list, values->dict, values->end - 8, UINT64_C(1) << 40,
	};

	return words[how % (sizeof(words) / sizeof(words[0]))];
}

/**
 * Each word of all objects is damaged in turn, and all objects are walked over:
 * nothing may be read beyond memory, and every walk has to end soon.
 */
static void test_damage(unsigned int minor)
{
	struct tinyvalues values;
	struct tinyheap heap;
	uint64_t asked = 0, longest = 0;
	unsigned int how = minor;

	tinyheap_init(&heap, minor);
	tinyvalues_build(&values, &heap);
	set_traverse(&heap, heap.dict);
	tinyheap_open(&heap);
	for (uint64_t at = values.start; at < values.end; at += 8, how++) {
		uint8_t *word = heap.bytes + (at - TINYHEAP_START);
		struct pyh_shapes *shapes;
		uint64_t was, now;

		memcpy(&was, word, sizeof(was));
		if (was == 0)
			continue;
		now = spoilt(&values, how, at);
		memcpy(word, &now, sizeof(now));
		shapes = shapes_of(&heap);
		for (size_t i = 0; i < values.count; i++) {
			struct told told = { .limit = 0 };

			asked += ask(&heap, shapes, values.all[i].address,
				     &told);
			if (told.count > longest)
				longest = told.count;
		}
		pyh_shapes_destroy(shapes);
		memcpy(word, &was, sizeof(was));
	}
	CHECK("most objects are still some", asked > 1000);
	CHECK("no walk is longer than memory", longest < TINYHEAP_SIZE / 8);
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
}

int main(void)
{
	for (unsigned int minor = PYH_MINOR_FIRST; minor <= PYH_MINOR_LAST;
	     minor++)
		test_holds(minor);
	test_namesakes(8);
	test_namesakes(12);
	test_stop();
	test_damage(8);
	test_damage(12);
	test_damage(14);
	return check_result();
}
