/*
 * Finding a runtime that is not quite where the tables have it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * That the tables are right is for tests/python/test_layouts.py and
 * test_runtime.py to say; here fields are moved away from them, as other micro
 * releases and configurations do.
 */
#include "pyheap/runtime/pyruntime.h"

#include "tests/lib/check.h"
#include "tests/lib/tinyruntime.h"

static char prefix[64];

static const char *named(const char *what)
{
	static char text[160];

	snprintf(text, sizeof(text), "%s: %s", prefix, what);
	return text;
}

/** Open it and compare everything with what was built. */
static struct pyh_runtime *open_and_compare(struct tinyruntime *tiny)
{
	const struct tinyheap *heap = &tiny->heap;
	struct pyh_runtime *runtime = NULL;
	struct pyh_interpreter *main;
	struct error *err;

	tinyruntime_open(tiny);
	err = pyh_runtime_open(&tiny->heap.image, &runtime);
	if (!CHECK(named("found"), err == NULL)) {
		printf("# %s\n", err->message);
		error_free(err);
		return NULL;
	}
	printf("# %s; %s\n", runtime->found_by, runtime->layout_by);
	CHECK_U64(named("_PyRuntime"), runtime->address, tiny->address);
	CHECK_U64(named("release"), runtime->minor, heap->runtime.minor);
	if (!CHECK_U64(named("interpreters"), runtime->num_interpreters, 1))
		return runtime;
	main = &runtime->interpreters[0];
	CHECK_U64(named("interpreter"), main->address, tiny->interpreter);
	CHECK_U64(named("threads"), main->num_threads, 2);
	CHECK_U64(named("collector"), main->gc, tiny->gc);
	CHECK_U64(named("first generation"), main->gc_heads[0],
		  tiny->gc + pyh_offset(&heap->runtime, PYH_GC_GENERATIONS));
	CHECK_U64(named("sys"), main->sysdict, tiny->sysdict);
	CHECK_U64(named("builtins"), main->builtins, tiny->builtins);
	CHECK_U64(named("sys.modules"), main->modules, tiny->modules);
	CHECK_U64(named("type"), runtime->types.type, heap->type);
	CHECK_U64(named("object"), runtime->types.object, heap->object);
	CHECK_U64(named("dict"), runtime->types.dict, heap->dict);
	CHECK_U64(named("str"), runtime->types.str, heap->str);
	CHECK_U64(named("tuple"), runtime->types.tuple, heap->tuple);
	return runtime;
}

static uint32_t version_of(unsigned int minor, unsigned int micro)
{
	return 3u << 24 | minor << 16 | micro << 8 | 0xf0;
}

static void test_table(unsigned int minor)
{
	struct pyh_runtime *runtime;
	struct tinyruntime tiny;

	snprintf(prefix, sizeof(prefix), "3.%u", minor);
	tinyruntime_init(&tiny, minor);
	tinyruntime_build(&tiny, version_of(minor, 9));
	runtime = open_and_compare(&tiny);
	if (runtime) {
		CHECK_U64(named("version"), runtime->version,
			  version_of(minor, 9));
		CHECK(named("version is exact"), runtime->version_exact);
		CHECK_U64(named("nothing moved"), runtime->num_moved, 0);
		// The image has the cookie of 3.13 and later, but no offsets
		// behind it: a final release without them is damaged.
		CHECK_U64(named("findings"),
			  findings_total(tiny.heap.image.findings),
			  minor >= 13 ? 1 : 0);
	}
	pyh_runtime_close(runtime);
	tinyruntime_deinit(&tiny);
}

/** Everything but the ends of an interpreter moved by some bytes. */
static void test_moved(unsigned int minor, int distance)
{
	static const enum pyh_field fields[] = {
		PYH_INTERP_GC, PYH_INTERP_SYSDICT, PYH_INTERP_BUILTINS,
		PYH_INTERP_MODULES, PYH_INTERP_IMPORTS_MODULES,
	};
	struct pyh_runtime *runtime;
	struct tinyruntime tiny;

	snprintf(prefix, sizeof(prefix), "3.%u moved by %d", minor, distance);
	tinyruntime_init(&tiny, minor);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (pyh_has(&tiny.heap.runtime, fields[i]))
			tiny.heap.runtime.at[fields[i]].offset +=
				(uint32_t)distance;
	tinyruntime_build(&tiny, version_of(minor, 9));
	runtime = open_and_compare(&tiny);
	if (runtime)
		CHECK_U64(named("moved fields"), runtime->num_moved,
			  minor == 8 ? 3 : 4);
	pyh_runtime_close(runtime);
	tinyruntime_deinit(&tiny);
}

/** Late releases of 3.13 have the generations four bytes earlier. */
static void test_generations(void)
{
	struct pyh_runtime *runtime;
	struct tinyruntime tiny;

	snprintf(prefix, sizeof(prefix), "3.13 with aligned GC heads");
	tinyruntime_init(&tiny, 13);
	tiny.heap.runtime.at[PYH_GC_GENERATIONS].offset -= 4;
	tinyruntime_build(&tiny, version_of(13, 9));
	runtime = open_and_compare(&tiny);
	if (runtime)
		CHECK(named("said so"),
		      strstr(runtime->layout_by, "generations -4"));
	pyh_runtime_close(runtime);
	tinyruntime_deinit(&tiny);
}

/** The incremental collector, whatever the version says. */
static void test_incremental(unsigned int micro)
{
	struct pyh_runtime *runtime;
	struct tinyruntime tiny;

	snprintf(prefix, sizeof(prefix), "3.14.%u with incremental collector",
		 micro);
	tinyruntime_init(&tiny, 14);
	tiny.heap.runtime.at[PYH_GC_GENERATION0].size = 0;
	tiny.heap.runtime.at[PYH_INTERP_SYSDICT].offset -= 24;
	tiny.heap.runtime.at[PYH_INTERP_BUILTINS].offset -= 24;
	tiny.heap.runtime.at[PYH_INTERP_IMPORTS_MODULES].offset -= 24;
	tinyruntime_build(&tiny, version_of(14, micro));
	runtime = open_and_compare(&tiny);
	if (runtime)
		CHECK(named("no generation0"),
		      !pyh_has(runtime, PYH_GC_GENERATION0));
	pyh_runtime_close(runtime);
	tinyruntime_deinit(&tiny);
}

/** Interpreters whose list does not end. */
static void test_cycle(unsigned int minor)
{
	struct pyh_runtime *runtime;
	struct tinyruntime tiny;

	snprintf(prefix, sizeof(prefix), "3.%u in a cycle", minor);
	tinyruntime_init(&tiny, minor);
	tinyruntime_build(&tiny, version_of(minor, 9));
	tinyheap_set(&tiny.heap, tiny.interpreter, PYH_INTERP_NEXT,
		     tiny.interpreter);
	runtime = open_and_compare(&tiny);
	CHECK(named("a finding"),
	      findings_of(tiny.heap.image.findings, "interpreter-list") == 1);
	pyh_runtime_close(runtime);
	tinyruntime_deinit(&tiny);
}

/** A release after the last with a table. */
static void test_future(void)
{
	struct pyh_runtime *runtime = NULL;
	struct tinyruntime tiny;
	struct error *err;

	tinyruntime_init(&tiny, 15);
	tinyruntime_build(&tiny, version_of(16, 0));
	tinyruntime_open(&tiny);
	err = pyh_runtime_open(&tiny.heap.image, &runtime);
	CHECK("a later release is refused",
	      err && err->kind == ERROR_UNSUPPORTED);
	CHECK("and named", err && strstr(err->message, "3.16"));
	error_free(err);
	pyh_runtime_close(runtime);
	tinyruntime_deinit(&tiny);
}

static void test_nothing(void)
{
	struct pyh_runtime *runtime = NULL;
	struct tinyruntime tiny;
	struct error *err;

	tinyruntime_init(&tiny, 12);
	tinyruntime_open(&tiny);
	err = pyh_runtime_open(&tiny.heap.image, &runtime);
	CHECK("no runtime", err && err->kind == ERROR_NOT_FOUND);
	CHECK("output untouched", runtime == NULL);
	error_free(err);
	tinyruntime_deinit(&tiny);
}

int main(void)
{
	for (unsigned int minor = PYH_MINOR_FIRST; minor <= PYH_MINOR_LAST;
	     minor++) {
		test_table(minor);
		test_moved(minor, 24);
		// In 3.8 they are too near to the beginning for that.
		if (minor > 8)
			test_moved(minor, -48);
		test_cycle(minor);
	}
	test_generations();
	test_incremental(2);
	test_incremental(6);
	test_future();
	test_nothing();
	return check_result();
}
