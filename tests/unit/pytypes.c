/*
 * Which addresses are types, and what they are called when little is left.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pytypes.h"

#include <elf.h>
#include <stdlib.h>

#include "image/base/workers.h"
#include "image/modules.h"
#include "tests/lib/check.h"
#include "tests/lib/tinyheap.h"

static const char *name_of(struct tinyheap *heap, uint64_t address)
{
	const struct pyh_type *type = pyh_type_find(&heap->reader, address);

	return type ? type->name : "(no type)";
}

static void test_found(void)
{
	struct tinyheap heap;
	uint64_t noted;

	tinyheap_init(&heap, 11);
	tinyheap_open(&heap);
	CHECK_STRING("type", name_of(&heap, heap.type), "type");
	CHECK_STRING("object", name_of(&heap, heap.object), "object");
	CHECK_STRING("list", name_of(&heap, heap.list), "list");
	noted = pyh_types_count(heap.types);
	CHECK("asking again finds the same",
	      pyh_type_find(&heap.reader, heap.list) ==
		      pyh_types_get(heap.types, (uint32_t)noted - 1));
	for (uint64_t i = 0; i < 1 << 18; i++)
		if (pyh_type_find(&heap.reader,
				  TINYHEAP_START + 64 * 1024 + i * 8))
			CHECK("nothing is a type", false);
	CHECK_U64("what is no type is not remembered",
		  pyh_types_count(heap.types), noted);
	CHECK("nor is there one at 0", !pyh_type_find(&heap.reader, 0));
	CHECK("nor beside one", !pyh_type_find(&heap.reader, heap.list + 1) &&
	      !pyh_type_find(&heap.reader, heap.list + 8));
	CHECK("nor where nothing is mapped",
	      !pyh_type_find(&heap.reader, 0x1000) &&
	      !pyh_type_find(&heap.reader, UINT64_MAX & ~UINT64_C(7)));
	tinyheap_deinit(&heap);
}

static void test_refused(void)
{
	struct tinyheap heap;
	uint64_t self, itself, nowhere, chain[1000], two[2], late, mro, cut;
	uint64_t negative;

	tinyheap_init(&heap, 12);
	self = tinyheap_type(&heap, "self", PYH_TPFLAGS_TYPE_SUBCLASS, 32, 0,
			     heap.object);
	tinyheap_set(&heap, self, PYH_OBJECT_OB_TYPE, self);
	itself = tinyheap_type(&heap, "itself", PYH_TPFLAGS_TYPE_SUBCLASS, 1000,
			       0, heap.type);
	tinyheap_set(&heap, itself, PYH_OBJECT_OB_TYPE, itself);
	nowhere = tinyheap_type(&heap, "nowhere", 0, 32, 0, heap.object);
	tinyheap_set(&heap, nowhere, PYH_OBJECT_OB_TYPE, 0x1000);
	for (int i = 0; i < 1000; i++) {
		chain[i] = tinyheap_type(&heap, "chain",
					 PYH_TPFLAGS_TYPE_SUBCLASS, 1000, 0,
					 heap.type);
		if (i > 0)
			tinyheap_set(&heap, chain[i], PYH_OBJECT_OB_TYPE,
				     chain[i - 1]);
	}
	for (int i = 0; i < 2; i++)
		two[i] = tinyheap_type(&heap, "circle",
				       PYH_TPFLAGS_TYPE_SUBCLASS, 1000, 0, 0);
	tinyheap_set(&heap, two[0], PYH_OBJECT_OB_TYPE, two[1]);
	tinyheap_set(&heap, two[1], PYH_OBJECT_OB_TYPE, two[0]);
	late = tinyheap_type(&heap, "late", 0, 32, 0, heap.object);
	tinyheap_set(&heap, late, PYH_TYPE_TP_FLAGS, 0);
	mro = tinyheap_type(&heap, "mro", 0, 32, 0, heap.object);
	tinyheap_set(&heap, mro, PYH_TYPE_TP_MRO, mro);
	negative = tinyheap_type(&heap, "negative", 0, (uint64_t)-32, 0,
				 heap.object);
	cut = tinyheap_type(&heap, "cut", 0, 32, 0, heap.object);
	heap.limit = cut + heap.runtime.size_of[PYH_STRUCT_TYPE] - 8;
	// Its MRO has come to lie behind the end, too.
	tinyheap_open(&heap);

	CHECK_STRING("a class of type may be of itself", name_of(&heap, itself),
		     "itself");
	CHECK("another one of itself is one all the same, by its MRO",
	      pyh_type_find(&heap.reader, self));
	CHECK("a type of nothing is one all the same, by its MRO",
	      pyh_type_find(&heap.reader, nowhere));
	CHECK_STRING("a class of a class of type is one",
		     name_of(&heap, chain[2]), "chain");
	CHECK_STRING("one behind a thousand metatypes is one, too",
		     name_of(&heap, chain[999]), "chain");
	CHECK("types of each other are none",
	      !pyh_type_find(&heap.reader, two[0]) &&
	      !pyh_type_find(&heap.reader, two[1]));
	CHECK("a type that is not ready is none",
	      !pyh_type_find(&heap.reader, late));
	CHECK("a type with another's MRO is none",
	      !pyh_type_find(&heap.reader, mro));
	CHECK("a type of negative size is none",
	      !pyh_type_find(&heap.reader, negative));
	CHECK("a type that is cut off is none",
	      !pyh_type_find(&heap.reader, cut));
	tinyheap_deinit(&heap);
}

#define LIBRARY (TINYHEAP_START + TINYHEAP_SIZE / 2)

/** Have a heap mapped from two files: an interpreter, and LIBRARY. */
static void make_modules(struct tinyheap *heap, struct modules **ret)
{
	static const struct modules_options options = { .sysroot = "" };
	struct memory_range range = {
		.start = TINYHEAP_START, .end = TINYHEAP_START + TINYHEAP_SIZE,
		.protection = PF_R | PF_X, .state = MEMORY_NOT_CAPTURED,
		.source = MEMORY_FROM_NOTHING,
	};
	struct file_mapping files[] = {
		{ .start = range.start, .end = LIBRARY,
		  .path = "/lib/libpython.so" },
		{ .start = LIBRARY, .end = range.end,
		  .path = "/lib/library.so" },
	};
	struct core_notes notes = { .files = files, .num_files = 2 };
	struct memory *memory = NULL;
	struct error *err;

	err = memory_create(NULL, &memory);
	if (!err)
		err = memory_add(memory, &range);
	if (!err)
		err = memory_seal(memory);
	if (!err)
		err = modules_create(&notes, memory, &options, NULL, ret);
	CHECK("two modules", !err && modules_count(*ret) == 2);
	error_free(err);
	memory_destroy(memory);
	heap->image.modules = *ret;
	heap->runtime.module = modules_find(*ret, TINYHEAP_START);
}

/** A static type as a program's data has it, before PyType_Ready(). */
static uint64_t unready_type(struct tinyheap *heap, const char *name,
			     uint64_t refcount)
{
	uint64_t type = tinyheap_type(heap, name, 0, 32, 0, 0);

	// All of the word: the field is half of it in 3.14.
	tinyheap_put(heap, type + pyh_offset(&heap->runtime,
					     PYH_OBJECT_OB_REFCNT),
		     refcount, 8);
	tinyheap_set(heap, type, PYH_TYPE_TP_FLAGS, 0);
	tinyheap_set(heap, type, PYH_TYPE_TP_MRO, 0);
	return type;
}

static void test_unready(unsigned int minor)
{
	struct modules *modules = NULL;
	struct tinyheap heap;
	uint64_t late, asked, immortal, flagged, pointer, halfway, heap_type;

	tinyheap_init(&heap, minor);
	late = unready_type(&heap, "late", 1);
	asked = unready_type(&heap, "asked", 3);
	immortal = unready_type(&heap, "immortal", UINT32_MAX);
	flagged = unready_type(&heap, "flagged", UINT64_C(0x00070000c0000000));
	pointer = unready_type(&heap, "pointer", TINYHEAP_START + 64);
	halfway = unready_type(&heap, "halfway", 1);
	tinyheap_set(&heap, halfway, PYH_TYPE_TP_BASES, heap.tuple);
	heap_type = unready_type(&heap, "heap", 1);
	tinyheap_set(&heap, heap_type, PYH_TYPE_TP_FLAGS, PYH_TPFLAGS_HEAPTYPE);
	tinyheap_open(&heap);
	make_modules(&heap, &modules);

	CHECK_STRING("a static type that never got ready",
		     name_of(&heap, late), "late");
	CHECK_STRING("one that something refers to", name_of(&heap, asked),
		     "asked");
	CHECK_STRING("an immortal one", name_of(&heap, immortal),
		     minor >= 12 ? "immortal" : "(no type)");
	CHECK_STRING("one with flags beside its count",
		     name_of(&heap, flagged),
		     minor >= 12 ? "flagged" : "(no type)");
	CHECK("one without a count is none",
	      !pyh_type_find(&heap.reader, pointer));
	CHECK("one with a part of what makes it ready is none",
	      !pyh_type_find(&heap.reader, halfway));
	CHECK("a heap type that is not ready is none",
	      !pyh_type_find(&heap.reader, heap_type));
	modules_destroy(modules);
	tinyheap_deinit(&heap);
}

static void test_bases(void)
{
	struct tinyheap heap;
	uint64_t own, two[2], deep[1000], base, lost;
	const struct pyh_type *type;

	tinyheap_init(&heap, 10);
	own = tinyheap_type(&heap, "own", 0, 32, 0, 0);
	tinyheap_set(&heap, own, PYH_TYPE_TP_BASE, own);
	two[0] = tinyheap_type(&heap, "one", 0, 32, 0, 0);
	two[1] = tinyheap_type(&heap, "two", 0, 32, 0, two[0]);
	tinyheap_set(&heap, two[0], PYH_TYPE_TP_BASE, two[1]);
	base = heap.list;
	for (int i = 0; i < 1000; i++)
		base = deep[i] = tinyheap_type(&heap, "deep",
					       PYH_TPFLAGS_LIST_SUBCLASS, 40, 0,
					       base);
	lost = tinyheap_type(&heap, "lost", PYH_TPFLAGS_DICT_SUBCLASS, 48, 0,
			     0x1000);
	tinyheap_open(&heap);

	CHECK_STRING("a type that is its own base", name_of(&heap, own), "own");
	CHECK_STRING("two that are each other's", name_of(&heap, two[1]), "two");
	type = pyh_type_find(&heap.reader, deep[999]);
	CHECK("a thousand bases", type && type->kind == PYH_KIND_LIST);
	CHECK("an own kind that is inherited",
	      pyh_type_find(&heap.reader, deep[0])->kind == PYH_KIND_LIST);
	type = pyh_type_find(&heap.reader, lost);
	CHECK("without its base, flags tell the kind",
	      type && type->kind == PYH_KIND_DICT);
	tinyheap_deinit(&heap);
}

static uint64_t heap_type(struct tinyheap *heap, const char *qualname,
			  size_t length, uint64_t module)
{
	static const char *const keys[] = { "x", "__module__" };
	uint64_t type = tinyheap_type(heap, NULL, PYH_TPFLAGS_HEAPTYPE, 32, 0,
				      heap->object);

	tinyheap_set(heap, type, PYH_HEAPTYPE_HT_QUALNAME,
		     tinyheap_str(heap, qualname, length));
	tinyheap_set(heap, type, PYH_TYPE_TP_DICT,
		     tinyheap_dict(heap, keys, (uint64_t[]){ type, module },
				   2));
	return type;
}

static void test_names(unsigned int minor)
{
	static const char *const keys[] = { "Hidden", "None" };
	static char text[10000];
	struct tinyheap heap;
	uint64_t named, builtin, moduleless, length, hidden, none, nameless;
	uint64_t unended, object;
	const struct pyh_type *type;

	tinyheap_init(&heap, minor);
	memset(text, 'x', sizeof(text));
	named = heap_type(&heap, "Outer.Inner", 11,
			  tinyheap_str(&heap, "package.module", 14));
	builtin = heap_type(&heap, "Thing", 5,
			    tinyheap_str(&heap, "builtins", 8));
	moduleless = heap_type(&heap, "Alone", 5, 0);
	length = heap_type(&heap, text, sizeof(text), 0);
	hidden = tinyheap_type(&heap, NULL, 0, 32, 0, heap.object);
	none = tinyheap_type(&heap, NULL, 0, 16, 0, heap.object);
	nameless = tinyheap_type(&heap, NULL, 0, 16, 0, heap.object);
	unended = tinyheap_type(&heap, NULL, 0, 16, 0, heap.object);
	object = tinyheap_object(&heap, none, 16);
	heap.interpreter.builtins = tinyheap_dict(
		&heap, keys, (uint64_t[]){ hidden, object }, 2);
	heap.runtime.interpreters = &heap.interpreter;
	heap.runtime.num_interpreters = 1;
	// A name that runs up to the end of memory.
	heap.limit = (heap.next + 4095) & ~UINT64_C(4095);
	memset(heap.bytes + (heap.next - TINYHEAP_START), 'n',
	       heap.limit - heap.next);
	tinyheap_set(&heap, unended, PYH_TYPE_TP_NAME, heap.next);
	tinyheap_open(&heap);

	CHECK_STRING("a class", name_of(&heap, named),
		     "package.module.Outer.Inner");
	type = pyh_type_find(&heap.reader, named);
	CHECK_STRING("its module", type->module, "package.module");
	CHECK_STRING("its qualified name", type->qualname, "Outer.Inner");
	CHECK_STRING("a class of builtins", name_of(&heap, builtin), "Thing");
	CHECK_STRING("a class without a module", name_of(&heap, moduleless),
		     "Alone");
	CHECK("which it has not got",
	      !pyh_type_find(&heap.reader, moduleless)->module);
	type = pyh_type_find(&heap.reader, length);
	CHECK_U64("a long name is cut", strlen(type->qualname), 4095);
	CHECK_STRING("and says so", type->qualname + 4092, "\xe2\x80\xa6");
	CHECK_STRING("a static type by builtins", name_of(&heap, hidden),
		     "Hidden");
	CHECK("its name is known",
	      pyh_type_find(&heap.reader, hidden)->name_known);
	type = pyh_type_find(&heap.reader, nameless);
	CHECK("a static type without a name",
	      type && !type->name_known && strncmp(type->name, "?0x7f", 5) == 0);
	type = pyh_type_find(&heap.reader, unended);
	CHECK("a name without an end", type && !type->name_known);
	tinyheap_deinit(&heap);
}

/** A heap type made from a spec, with something under __module__. */
static uint64_t spec_type(struct tinyheap *heap, const char *name,
			  const char *qualname, uint64_t module)
{
	static const char *const keys[] = { "__module__" };
	uint64_t type = tinyheap_type(heap, name, PYH_TPFLAGS_HEAPTYPE, 144, 8,
				      heap->object);

	tinyheap_set(heap, type, PYH_HEAPTYPE_HT_QUALNAME,
		     tinyheap_str(heap, qualname, strlen(qualname)));
	tinyheap_set(heap, type, PYH_TYPE_TP_DICT,
		     tinyheap_dict(heap, keys, &module, 1));
	return type;
}

static enum pyh_kind kind_of(struct tinyheap *heap, uint64_t address)
{
	const struct pyh_type *type = pyh_type_find(&heap->reader, address);

	return type ? type->kind : PYH_NUM_KINDS;
}

/** Types that are called as those of the interpreter, and are others. */
static void test_namesakes(unsigned int minor)
{
	uint64_t size = minor >= 11 ? 144 : 96, items = minor >= 11 ? 8 : 0;
	struct modules *modules = NULL;
	struct tinyheap heap;
	uint64_t real, linked, cython, shared, object, spec, dotted, builtin;

	tinyheap_init(&heap, minor);
	real = tinyheap_type(&heap, "generator", 0, size, items, heap.object);
	linked = tinyheap_type(&heap, "generator", 0, 136, 0, heap.object);
	object = tinyheap_object(&heap, heap.object, 16);
	shared = spec_type(&heap, "_cython_3.generator", "generator", object);
	spec = spec_type(&heap, "builtins.coroutine", "coroutine",
			 tinyheap_str(&heap, "builtins", 8));
	dotted = spec_type(&heap, "a.b", "a.b", object);
	heap.next = LIBRARY;
	cython = tinyheap_type(&heap, "generator", 0, size, items,
			       heap.object);
	builtin = tinyheap_type(&heap, "list", 0, 64, 0, heap.object);
	tinyheap_open(&heap);
	make_modules(&heap, &modules);

	CHECK_U64("the interpreter's own", kind_of(&heap, real),
		  PYH_KIND_GENERATOR);
	CHECK_U64("one of another structure, linked into the interpreter",
		  kind_of(&heap, linked), PYH_KIND_OTHER);
	CHECK_U64("one of a library", kind_of(&heap, cython), PYH_KIND_OTHER);
	CHECK_U64("a list of a library", kind_of(&heap, builtin),
		  PYH_KIND_OTHER);
	CHECK_U64("a list", kind_of(&heap, heap.list), PYH_KIND_LIST);
	CHECK_U64("a heap type", kind_of(&heap, spec), PYH_KIND_OTHER);
	CHECK_U64("a heap type of a module", kind_of(&heap, shared),
		  PYH_KIND_OTHER);
	CHECK_STRING("whose __module__ is no text", name_of(&heap, shared),
		     "_cython_3.generator");
	CHECK_STRING("a class with a dot in its name, and none either",
		     name_of(&heap, dotted), "a.b");
	modules_destroy(modules);
	tinyheap_deinit(&heap);
}

/** A static type upon another one; traverse: its tp_traverse. */
static uint64_t upon(struct tinyheap *heap, uint64_t size, uint64_t base,
		     uint64_t traverse)
{
	uint64_t type = tinyheap_type(heap, "upon", PYH_TPFLAGS_HAVE_GC, size,
				      0, base);

	tinyheap_set(heap, type, PYH_TYPE_TP_TRAVERSE, traverse);
	return type;
}

/** A static type that the release does not take for a base. */
static uint64_t no_base(struct tinyheap *heap, const char *name, uint64_t size,
			uint64_t items)
{
	uint64_t type = tinyheap_type(heap, name, 0, size, items, heap->object);

	tinyheap_set(heap, type, PYH_TYPE_TP_FLAGS,
		     PYH_TPFLAGS_READY | PYH_TPFLAGS_HAVE_GC);
	tinyheap_set(heap, type, PYH_TYPE_TP_TRAVERSE, 0x1000);
	return type;
}

/** Bases that are named only to pass for them. */
static void test_pretended(void)
{
	enum { DICT_AT = 16 };
	struct tinyheap heap;
	uint64_t generator, other, same, class, frame, compiled, module, elsewhere;
	uint64_t proper, small;

	tinyheap_init(&heap, 12);
	generator = no_base(&heap, "generator", 144, 8);
	other = upon(&heap, 250, generator, 0x2000);
	same = upon(&heap, 144, generator, 0x1000);
	class = upon(&heap, 160, generator, 0x2000);
	tinyheap_set(&heap, class, PYH_TYPE_TP_FLAGS,
		     PYH_TPFLAGS_READY | PYH_TPFLAGS_HEAPTYPE);
	frame = no_base(&heap, "frame", 120, 8);
	compiled = upon(&heap, 208, frame, 0x2000);
	module = upon(&heap, heap.runtime.size_of[PYH_STRUCT_MODULE],
		      heap.object, 0x1000);
	tinyheap_set(&heap, module, PYH_TYPE_TP_NAME,
		     tinyheap_text(&heap, "module"));
	tinyheap_set(&heap, module, PYH_TYPE_TP_DICTOFFSET, DICT_AT);
	proper = upon(&heap, 64, module, 0x1000);
	tinyheap_set(&heap, proper, PYH_TYPE_TP_DICTOFFSET, DICT_AT);
	elsewhere = upon(&heap, 64, module, 0x2000);
	tinyheap_set(&heap, elsewhere, PYH_TYPE_TP_DICTOFFSET, DICT_AT + 8);
	small = upon(&heap, heap.runtime.size_of[PYH_STRUCT_LIST] - 8,
		     heap.list, 0x1000);
	tinyheap_open(&heap);

	CHECK_U64("fields of its own", kind_of(&heap, other), PYH_KIND_OTHER);
	CHECK("which it says", pyh_type_find(&heap.reader, other)->own_layout);
	CHECK_U64("the same for the collector", kind_of(&heap, same),
		  PYH_KIND_GENERATOR);
	CHECK_U64("a class has been checked", kind_of(&heap, class),
		  PYH_KIND_GENERATOR);
	CHECK_U64("frames are no choice", kind_of(&heap, compiled),
		  PYH_KIND_FRAME);
	CHECK_U64("a type of modules", kind_of(&heap, proper), PYH_KIND_MODULE);
	CHECK_U64("one with its dict elsewhere", kind_of(&heap, elsewhere),
		  PYH_KIND_OTHER);
	CHECK("one that is too small for its base",
	      pyh_type_find(&heap.reader, small)->own_layout);
	tinyheap_deinit(&heap);
}

struct crowd {
	struct tinyheap *heap;
	const uint64_t *addresses;
	size_t count;
	const struct pyh_type **found;	/* [worker][address] */
};

static struct error *ask_all(void *context, unsigned int worker, size_t shard)
{
	struct crowd *crowd = context;
	struct pyh_type_reader *reader = malloc(sizeof(*reader));
	struct error *err;

	(void)worker;
	if (!reader)
		return error_no_memory();
	err = pyh_type_reader_init(reader, crowd->heap->types);
	for (size_t i = 0; !err && i < crowd->count; i++) {
		size_t at = shard % 2 ? crowd->count - 1 - i : i;

		crowd->found[shard * crowd->count + at] =
			pyh_type_find(reader, crowd->addresses[at]);
	}
	if (!err)
		pyh_type_reader_deinit(reader);
	free(reader);
	return err;
}

/* More types than the first index holds, found by several threads at once. */
static void test_threads(void)
{
	enum { COUNT = 2500, THREADS = 4 };
	static uint64_t addresses[COUNT];
	static const struct pyh_type *found[THREADS * COUNT];
	struct tinyheap heap;
	struct crowd crowd = { &heap, addresses, COUNT, found };
	struct error *err;
	bool same = true;

	tinyheap_init(&heap, 9);
	for (size_t i = 0; i < COUNT; i++)
		addresses[i] = tinyheap_type(&heap, "many", 0, 32, 0,
					     i ? addresses[i / 2] : heap.object);
	tinyheap_open(&heap);
	err = workers_run(THREADS, THREADS, ask_all, &crowd);
	CHECK("all threads ask", !err);
	error_free(err);
	for (size_t i = 0; i < THREADS * COUNT; i++)
		same = same && found[i] && found[i] == found[i % COUNT] &&
		       found[i]->address == addresses[i % COUNT];
	CHECK("and get the same answers", same);
	CHECK_U64("each type once", pyh_types_count(heap.types), COUNT + 1);
	tinyheap_deinit(&heap);
}

int main(void)
{
	test_found();
	test_refused();
	test_unready(10);
	test_unready(11);
	test_unready(12);
	test_unready(14);
	test_bases();
	test_names(8);
	test_names(11);
	test_namesakes(9);
	test_namesakes(12);
	test_pretended();
	test_threads();
	return check_result();
}
