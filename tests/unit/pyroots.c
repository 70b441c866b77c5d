/*
 * Roots of a runtime built by hand: where they are told, and what is damaged.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyroots.h"

#include <stdlib.h>

#include "tests/lib/check.h"
#include "tests/lib/tinyruntime.h"

enum { MOVED = 24, LOCALS = 2, STACK = 3, OWNED_BY_GENERATOR = 1 };

struct built {
	struct tinyruntime tiny;
	uint64_t dict, other, frame, code;
	uint64_t cache;		/* of codecs: a field without an anchor */
};

/** What is told of one object. */
struct seen {
	uint64_t address;
	unsigned int count, all;
	struct pyh_root last;
};

static char prefix[64], name[128];

static const char *named(const char *what)
{
	(void)snprintf(name, sizeof(name), "%s: %s", prefix, what);
	return name;
}

static bool see(void *context, const struct pyh_root *root)
{
	struct seen *seen = context;

	seen->all++;
	if (root->address == seen->address) {
		seen->count++;
		seen->last = *root;
	}
	return true;
}

static struct seen roots_of(struct built *built, uint64_t address)
{
	struct seen seen = { .address = address };
	struct pyh_runtime *runtime = NULL;
	struct memory_reader memory = { 0 };
	struct error *err;

	err = pyh_runtime_open(&built->tiny.heap.image, &runtime);
	if (!err)
		err = memory_reader_init(&memory,
					 built->tiny.heap.image.memory);
	if (err) {
		fprintf(stderr, "%s\n", err->message);
		abort();
	}
	pyh_roots_each(runtime, &memory, see, &seen);
	memory_reader_deinit(&memory);
	pyh_runtime_close(runtime);
	return seen;
}

static void build_code(struct built *built)
{
	struct tinyheap *heap = &built->tiny.heap;
	uint64_t type = tinyheap_type(heap, "code", 0, 200, 0, heap->object);
	uint64_t text = tinyheap_str(heap, "f", 1);

	built->code = tinyheap_object(heap, type, 256);
	tinyheap_set(heap, built->code, PYH_CODE_CO_NAME, text);
	tinyheap_set(heap, built->code, PYH_CODE_CO_FILENAME, text);
	tinyheap_set(heap, built->code, PYH_CODE_CO_NLOCALSPLUS, LOCALS);
	tinyheap_set(heap, built->code, PYH_CODE_CO_STACKSIZE, STACK);
}

/** A frame that runs: one variable, one entry of its stack. */
static void build_frame(struct built *built)
{
	struct tinyheap *heap = &built->tiny.heap;
	const struct pyh_runtime *runtime = &heap->runtime;
	uint64_t thread = built->tiny.threads[0], slots, cframe;

	build_code(built);
	built->frame = tinyheap_take(heap, 256);
	tinyheap_set(heap, built->frame,
		     pyh_has(runtime, PYH_IFRAME_F_CODE) ?
			     PYH_IFRAME_F_CODE : PYH_IFRAME_F_EXECUTABLE,
		     built->code);
	slots = built->frame + pyh_offset(runtime, PYH_IFRAME_LOCALSPLUS);
	tinyheap_put(heap, slots, built->dict, 8);
	tinyheap_put(heap, slots + LOCALS * 8, built->other, 8);
	tinyheap_put(heap, slots + LOCALS * 8 + 8, slots, 8);
	if (pyh_has(runtime, PYH_IFRAME_STACKTOP))
		tinyheap_set(heap, built->frame, PYH_IFRAME_STACKTOP,
			     UINT32_MAX);
	if (pyh_has(runtime, PYH_TSTATE_CURRENT_FRAME)) {
		tinyheap_set(heap, thread, PYH_TSTATE_CURRENT_FRAME,
			     built->frame);
		return;
	}
	cframe = tinyheap_take(heap, 64);
	tinyheap_set(heap, thread, PYH_TSTATE_CFRAME, cframe);
	tinyheap_set(heap, cframe, PYH_CFRAME_CURRENT_FRAME, built->frame);
}

static void build(struct built *built, unsigned int minor)
{
	static const enum pyh_field moved[] = {
		PYH_INTERP_GC, PYH_INTERP_SYSDICT, PYH_INTERP_BUILTINS,
		PYH_INTERP_MODULES, PYH_INTERP_IMPORTS_MODULES,
	};
	enum pyh_field cache = minor >= 13 ? PYH_INTERP_CODECS_SEARCH_CACHE :
					     PYH_INTERP_CODEC_SEARCH_CACHE;
	struct tinyheap *heap = &built->tiny.heap;

	tinyruntime_init(&built->tiny, minor);
	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++)
		if (pyh_has(&heap->runtime, moved[i]))
			heap->runtime.at[moved[i]].offset += MOVED;
	heap->runtime.at[cache].offset += MOVED;
	tinyruntime_build(&built->tiny, 3u << 24 | minor << 16 | 0x9f0);
	built->dict = tinyheap_dict(heap, NULL, NULL, 0);
	built->other = tinyheap_dict(heap, NULL, NULL, 0);
	built->cache = tinyheap_dict(heap, NULL, NULL, 0);
	tinyheap_set(heap, built->tiny.interpreter, cache, built->cache);
	if (minor >= 11)
		build_frame(built);
}

static void finish(struct built *built)
{
	tinyruntime_deinit(&built->tiny);
}

/** A field that nothing tells by itself is where its neighbours went. */
static void test_moved(unsigned int minor)
{
	struct built built = { 0 };
	struct seen seen;

	build(&built, minor);
	tinyheap_set(&built.tiny.heap, built.tiny.threads[1],
		     PYH_TSTATE_CONTEXT, built.other);
	tinyruntime_open(&built.tiny);
	(void)snprintf(prefix, sizeof(prefix), "3.%u", minor);
	seen = roots_of(&built, built.cache);
	CHECK_U64(named("a field of an interpreter"), seen.count, 1);
	CHECK(named("its kind"), seen.last.kind == PYH_ROOT_INTERPRETER &&
				 seen.last.hold == PYH_HOLD_UNTRAVERSED);
	seen = roots_of(&built, built.tiny.sysdict);
	CHECK_STRING(named("sys"), seen.count == 1 ? seen.last.name : NULL,
		     "sysdict");
	seen = roots_of(&built, built.other);
	CHECK(named("a field of a thread"),
	      seen.count > 0 && seen.last.kind == PYH_ROOT_THREAD);
	finish(&built);
}

static void test_frame(unsigned int minor)
{
	struct built built = { 0 };
	struct seen seen;

	build(&built, minor);
	tinyruntime_open(&built.tiny);
	(void)snprintf(prefix, sizeof(prefix), "3.%u frame", minor);
	seen = roots_of(&built, built.dict);
	CHECK(named("a variable"),
	      seen.count == 1 && seen.last.kind == PYH_ROOT_LOCAL &&
	      seen.last.hold == PYH_HOLD_UNTRAVERSED &&
	      seen.last.index == 0 && seen.last.code == built.code);
	seen = roots_of(&built, built.other);
	CHECK(named("its stack is guessed"),
	      seen.count == 1 && seen.last.kind == PYH_ROOT_STACK &&
	      seen.last.hold == PYH_HOLD_GUESSED && seen.last.index == 0);
	finish(&built);
}

typedef void spoiler(struct built *built);

static void spoil_locals(struct built *built)
{
	tinyheap_set(&built->tiny.heap, built->code, PYH_CODE_CO_NLOCALSPLUS,
		     UINT32_MAX);
}

static void spoil_owner(struct built *built)
{
	tinyheap_set(&built->tiny.heap, built->frame, PYH_IFRAME_OWNER,
		     OWNED_BY_GENERATOR);
}

static void spoil_integer(struct built *built)
{
	tinyheap_set(&built->tiny.heap, built->frame, PYH_IFRAME_LOCALSPLUS,
		     built->dict | 3);
}

/** Frames whose variables must not be told. */
static void test_spoilt(unsigned int minor, const char *what, spoiler *spoil)
{
	struct built built = { 0 };
	struct seen seen;

	build(&built, minor);
	spoil(&built);
	tinyruntime_open(&built.tiny);
	(void)snprintf(prefix, sizeof(prefix), "3.%u %s", minor, what);
	seen = roots_of(&built, built.dict);
	CHECK_U64(named("not told"), seen.count, 0);
	CHECK(named("others are"), seen.all > 3);
	finish(&built);
}

/** Known depth of a stack, a borrowed reference, and a chain without end. */
static void test_stack(unsigned int minor)
{
	struct built built = { 0 };
	struct tinyheap *heap = &built.tiny.heap;
	uint64_t slots;
	struct seen seen;

	build(&built, minor);
	slots = built.frame + pyh_offset(&heap->runtime,
					 PYH_IFRAME_LOCALSPLUS);
	if (minor >= 14) {
		tinyheap_set(heap, built.frame, PYH_IFRAME_STACKPOINTER,
			     slots + (LOCALS + 1) * 8);
		tinyheap_put(heap, slots, built.dict | 1, 8);
	} else {
		tinyheap_set(heap, built.frame, PYH_IFRAME_STACKTOP,
			     LOCALS + 1);
	}
	tinyheap_set(heap, built.frame, PYH_IFRAME_PREVIOUS, built.frame);
	tinyruntime_open(&built.tiny);
	(void)snprintf(prefix, sizeof(prefix), "3.%u stack", minor);
	seen = roots_of(&built, built.other);
	CHECK(named("its depth is known"),
	      seen.count > 0 && seen.last.hold == PYH_HOLD_UNTRAVERSED);
	seen = roots_of(&built, built.dict);
	CHECK(named("a tag"), seen.count > 0 && seen.last.hold ==
			      (minor >= 14 ? PYH_HOLD_NONE :
					     PYH_HOLD_UNTRAVERSED));
	finish(&built);
}

int main(void)
{
	for (unsigned int minor = PYH_MINOR_FIRST; minor <= PYH_MINOR_LAST;
	     minor++)
		test_moved(minor);
	for (unsigned int minor = 11; minor <= PYH_MINOR_LAST; minor++) {
		test_frame(minor);
		test_stack(minor);
		test_spoilt(minor, "absurd variables", spoil_locals);
		test_spoilt(minor, "frame of a generator", spoil_owner);
		if (minor >= 14)
			test_spoilt(minor, "integer", spoil_integer);
	}
	return check_result();
}
