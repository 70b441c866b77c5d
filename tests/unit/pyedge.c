/*
 * Paths as text: what folds, what is shown of values, and small buffers.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyedge.h"

#include <stdlib.h>

#include "tests/lib/check.h"
#include "tests/lib/tinyheap.h"

enum { TEXT = 400, EDGES = 8, THREAD = 4713 };

/** Names of a heap built by hand. */
struct names {
	struct tinyheap heap;
	struct pyh_naming naming;
	struct pyh_shapes *shapes;
	struct pyh_value_reader *values;
	struct pyh_type list, dict, set, function, cell, frame, module;
	uint64_t attribute, odd, key, module_name, main_name;
	uint64_t code, call, namespace, main_namespace;
};

static void must(struct error *err)
{
	if (!err)
		return;
	fprintf(stderr, "%s\n", err->message);
	abort();
}

static uint64_t str(struct tinyheap *heap, const char *text)
{
	return tinyheap_str(heap, text, strlen(text));
}

static uint64_t tuple(struct tinyheap *heap, const uint64_t *items,
		      size_t count)
{
	uint32_t first = pyh_offset(&heap->runtime, PYH_TUPLE_OB_ITEM);
	uint64_t made = tinyheap_object(heap, heap->tuple, first + count * 8);

	tinyheap_set(heap, made, PYH_VAR_OB_SIZE, count);
	for (size_t i = 0; i < count; i++)
		tinyheap_put(heap, made + first + i * 8, items[i], 8);
	return made;
}

/** def make(loss, *, state): with state of a closure. */
static void build_code(struct names *names)
{
	struct tinyheap *heap = &names->heap;
	uint64_t type = tinyheap_type(heap, "code", 0, 200, 0, heap->object);
	uint64_t variables[2] = { str(heap, "loss"), str(heap, "state") };
	uint64_t closure[1] = { 0 };
	bool joint = pyh_has(&heap->runtime, PYH_CODE_CO_LOCALSPLUSNAMES);

	names->code = tinyheap_object(heap, type, 256);
	tinyheap_set(heap, names->code, PYH_CODE_CO_NAME, str(heap, "make"));
	if (joint) {
		tinyheap_set(heap, names->code, PYH_CODE_CO_LOCALSPLUSNAMES,
			     tuple(heap, variables, 2));
	} else {
		tinyheap_set(heap, names->code, PYH_CODE_CO_VARNAMES,
			     tuple(heap, variables, 1));
		tinyheap_set(heap, names->code, PYH_CODE_CO_FREEVARS,
			     tuple(heap, variables + 1, 1));
	}
	names->call = tinyheap_object(heap, heap->object, 256);
	tinyheap_set(heap, names->call, PYH_FUNCTION_FUNC_CODE, names->code);
	tinyheap_set(heap, names->call, PYH_FUNCTION_FUNC_CLOSURE,
		     tuple(heap, closure, 1));
}

static void build(struct names *names, unsigned int minor)
{
	static const char *const keys[] = { "__name__", "__file__" };
	struct tinyheap *heap = &names->heap;
	uint64_t values[2];

	*names = (struct names){ .list.name = "list", .dict.name = "dict",
		.set = { .name = "set", .kind = PYH_KIND_SET },
		.function.name = "function", .cell.name = "cell",
		.frame = { .name = "frame", .kind = PYH_KIND_FRAME },
		.module = { .name = "module", .kind = PYH_KIND_MODULE } };
	tinyheap_init(heap, minor);
	names->attribute = str(heap, "cache");
	names->odd = str(heap, "not a name");
	names->key = str(heap, "k");
	names->module_name = values[0] = str(heap, "shop.sessions");
	values[1] = str(heap, "/srv/shop/sessions.py");
	names->namespace = tinyheap_dict(heap, keys, values, 2);
	names->main_name = values[0] = str(heap, "__main__");
	values[1] = str(heap, "/srv/shop/train.py");
	names->main_namespace = tinyheap_dict(heap, keys, values, 2);
	build_code(names);
	tinyheap_open(heap);
	must(pyh_shapes_create(&heap->runtime, heap->types, &names->shapes));
	must(pyh_value_reader_create(&heap->runtime, heap->types,
				     names->shapes, &names->values));
	names->naming = (struct pyh_naming){
		.runtime = &heap->runtime, .types = &heap->reader,
		.memory = &heap->memory };
}

static void finish(struct names *names)
{
	pyh_value_reader_destroy(names->values);
	pyh_shapes_destroy(names->shapes);
	tinyheap_deinit(&names->heap);
}

/** Edges, one behind the other. */
struct way {
	struct pyh_edge edges[EDGES];
	size_t count;
};

static void go(struct way *way, uint64_t holder, const struct pyh_type *type,
	       struct pyh_ref ref)
{
	way->edges[way->count++] = (struct pyh_edge){ holder, type, ref };
}

static void by_value(struct way *way, const struct names *names, uint64_t key)
{
	go(way, 0x1000, &names->dict, (struct pyh_ref){
		.kind = PYH_REF_VALUE, .key = key });
}

static void by_field(struct way *way, uint64_t holder,
		     const struct pyh_type *type, const char *field)
{
	go(way, holder, type, (struct pyh_ref){
		.kind = PYH_REF_FIELD, .name = field });
}

static void by_kind(struct way *way, const struct pyh_type *type,
		    enum pyh_ref_kind kind, uint64_t index, uint64_t address)
{
	go(way, 0x1000, type, (struct pyh_ref){
		.kind = kind, .index = index, .address = address });
}

static void check(const struct names *names, const struct pyh_root *root,
		  const struct way *way, const char *expected)
{
	char text[TEXT];

	pyh_path_text(&names->naming, root, way->edges, way->count, text,
		      sizeof(text));
	CHECK_STRING(expected, text, expected);
}

static const struct pyh_root modules = {
	.kind = PYH_ROOT_INTERPRETER, .name = "imports.modules",
};

/** sys.modules[key].__dict__[…] */
static struct way to_module(const struct names *names, uint64_t key,
			    uint64_t namespace)
{
	struct way way = { 0 };

	by_value(&way, names, key);
	by_kind(&way, &names->module, PYH_REF_DICT, 0, namespace);
	return way;
}

static void test_modules(struct names *names)
{
	struct way way = to_module(names, names->main_name,
				   names->main_namespace);

	by_value(&way, names, names->attribute);
	check(names, &modules, &way, "train.py:cache");
	by_kind(&way, &names->list, PYH_REF_ITEM, 3, 0);
	by_kind(&way, NULL, PYH_REF_DICT, 0, 0);
	by_value(&way, names, names->attribute);
	by_value(&way, names, names->key);
	check(names, &modules, &way, "train.py:cache[3].cache[...]");
	names->naming.values = names->values;
	check(names, &modules, &way, "train.py:cache[3].cache['k']");
	names->naming.values = NULL;

	way = to_module(names, names->module_name, names->namespace);
	by_value(&way, names, names->attribute);
	check(names, &modules, &way, "shop.sessions.cache");
	way.count = 1;
	check(names, &modules, &way, "sys.modules['shop.sessions']");
	way = to_module(names, names->module_name, names->namespace);
	by_value(&way, names, names->odd);
	check(names, &modules, &way, "shop.sessions.__dict__[...]");
}

static void test_steps(struct names *names)
{
	struct way way = { 0 };
	char text[TEXT];

	by_kind(&way, NULL, PYH_REF_DICT, 0, 0);
	by_value(&way, names, names->odd);
	by_kind(&way, &names->set, PYH_REF_KEY, 0, names->key);
	by_kind(&way, &names->dict, PYH_REF_KEY, 0, names->key);
	by_kind(&way, NULL, PYH_REF_TYPE, 0, 0);
	by_field(&way, 0x1000, NULL, "func_defaults");
	by_kind(&way, NULL, PYH_REF_DICT, 0, 0);
	check(names, NULL, &way, "<>.__dict__[...]{...}.<key ...>.__class__"
	      ".__defaults__.__dict__");
	names->naming.values = names->values;
	check(names, NULL, &way, "<>.__dict__['not a name']{'k'}.<key 'k'>"
	      ".__class__.__defaults__.__dict__");
	names->naming.values = NULL;

	way = (struct way){ 0 };
	by_field(&way, names->call, &names->function, "func_closure");
	by_kind(&way, NULL, PYH_REF_ITEM, 0, 0);
	by_field(&way, 0x1000, &names->cell, "ob_ref");
	check(names, NULL, &way, "<function>.<closure state>");
	way.edges[1].ref.index = 1;
	check(names, NULL, &way, "<function>.__closure__[1].cell_contents");

	way = (struct way){ 0 };
	by_field(&way, names->call, &names->function, "func_globals");
	way.edges[0].ref.address = names->namespace;
	by_value(&way, names, names->attribute);
	check(names, NULL, &way, "shop.sessions.cache");
	way.edges[0].ref.address = 0x1000;
	check(names, NULL, &way, "<function>.__globals__['cache']");
	pyh_step_text(&names->naming, NULL, &way.edges[0], &way.edges[1], text,
		      sizeof(text));
	CHECK_STRING("one step", text, "['cache']");
	pyh_step_text(&names->naming, NULL, NULL, &way.edges[1], text,
		      sizeof(text));
	CHECK_STRING("one step by itself", text, "[...]");
	pyh_step_text(&names->naming, &(struct pyh_root){
		.kind = PYH_ROOT_INTERPRETER, .name = "sysdict" }, NULL,
		      &way.edges[1], text, sizeof(text));
	CHECK_STRING("one step from a root", text, "['cache']");
	pyh_step_text(&names->naming, &(struct pyh_root){
		.kind = PYH_ROOT_INTERPRETER, .name = "codec_search_path" },
		      NULL, &way.edges[1], text, sizeof(text));
	CHECK_STRING("one step from a root that has no names", text, "[...]");

	way = (struct way){ 0 };
	by_kind(&way, &names->list, PYH_REF_ITEM, 0, 0);
	by_kind(&way, &names->module, PYH_REF_DICT, 0, names->namespace);
	by_value(&way, names, names->attribute);
	check(names, NULL, &way, "shop.sessions.cache");
}

static void test_frames(struct names *names)
{
	struct pyh_root root = { .kind = PYH_ROOT_LOCAL, .thread = THREAD,
				 .code = names->code };
	struct way way = { 0 };

	check(names, &root, &way, "local loss in make() thread 4713");
	by_field(&way, 0x1000, &names->cell, "ob_ref");
	by_kind(&way, NULL, PYH_REF_DICT, 0, 0);
	by_value(&way, names, names->attribute);
	check(names, &root, &way, "local loss.cache in make() thread 4713");
	way.count = 0;
	root.index = 7;
	check(names, &root, &way, "local ? in make() thread 4713");
	root.code = 0x1000;
	check(names, &root, &way, "local ? in ?() thread 4713");
	root = (struct pyh_root){ .kind = PYH_ROOT_FRAME, .name = "frame",
				  .code = names->code, .thread = THREAD };
	by_value(&way, names, names->attribute);
	way.edges[1] = way.edges[0];
	by_value(&way, names, names->attribute);
	way.edges[0].ref = (struct pyh_ref){ .kind = PYH_REF_FIELD,
					     .name = "f_locals" };
	check(names, &root, &way, "local cache in make() thread 4713");
}

static void test_native(struct names *names)
{
	struct way way = { 0 };

	check(names, &(struct pyh_root){
		.kind = PYH_ROOT_STATIC, .name = "xyz", .index = 16,
		.module = "_multiarray.cpython-312-x86_64-linux-gnu.so" },
	      &way, "C variable _multiarray:xyz+16");
	check(names, &(struct pyh_root){ .kind = PYH_ROOT_STATIC,
					 .index = 0x2a8 },
	      &way, "C variable ?+0x2a8");
	by_kind(&way, &names->list, PYH_REF_ITEM, 0, 0);
	check(names, &(struct pyh_root){ .kind = PYH_ROOT_NATIVE_STACK,
					 .thread = THREAD },
	      &way, "stack of thread 4713 -> [0]");
}

/** Whatever the size of the buffer, it holds a text that ends in it. */
static void test_sizes(struct names *names)
{
	struct pyh_root root = { .kind = PYH_ROOT_LOCAL, .thread = THREAD,
				 .code = names->code };
	struct way way = { 0 };
	unsigned int bad = 0;

	for (int i = 0; i < 3; i++) {
		by_kind(&way, NULL, PYH_REF_DICT, 0, 0);
		by_value(&way, names, names->attribute);
	}
	by_field(&way, names->call, &names->function, "func_globals");
	way.edges[way.count - 1].ref.address = names->main_namespace;
	by_value(&way, names, names->attribute);
	for (size_t count = 0; count <= way.count; count++) {
		for (size_t size = PYH_EDGE_TEXT_MIN; size < 120; size++) {
			// Of exactly this size, for the sanitizers.
			char *text = malloc(size);

			if (!text)
				abort();
			pyh_path_text(&names->naming, &root, way.edges, count,
				      text, size);
			bad += strlen(text) >= size;
			free(text);
		}
	}
	CHECK_U64("paths in buffers of every size", bad, 0);
}

int main(void)
{
	static const unsigned int minors[] = { 10, 12, 14 };

	for (size_t i = 0; i < sizeof(minors) / sizeof(minors[0]); i++) {
		struct names names;

		build(&names, minors[i]);
		test_modules(&names);
		test_steps(&names);
		test_frames(&names);
		test_native(&names);
		test_sizes(&names);
		finish(&names);
	}
	return check_result();
}
