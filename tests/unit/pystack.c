/*
 * Python frames of a thread of a runtime built by hand: how a walk can end.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/threads/pystack.h"

#include <stdlib.h>

#include "tests/lib/check.h"
#include "tests/lib/tinyruntime.h"

enum { FRAMES = 40, SEEN_MOST = 1000 };

struct built {
	struct tinyruntime tiny;
	uint64_t code, frames[FRAMES];	/* the innermost first */
	enum pyh_field next;		/* leads to the caller's */
};

struct seen {
	uint64_t frames[SEEN_MOST];
	size_t count;
	enum pyh_frames_end end;
};

static char prefix[32], name[96];

static const char *named(const char *what)
{
	(void)snprintf(name, sizeof(name), "%s: %s", prefix, what);
	return name;
}

static void build_code(struct built *built)
{
	struct tinyheap *heap = &built->tiny.heap;
	uint64_t type = tinyheap_type(heap, "code", 0, 200, 0, heap->object);
	uint64_t text = tinyheap_str(heap, "f", 1);

	built->code = tinyheap_object(heap, type, 256);
	tinyheap_set(heap, built->code, PYH_CODE_CO_NAME, text);
	tinyheap_set(heap, built->code, PYH_CODE_CO_FILENAME, text);
}

static void build(struct built *built, unsigned int minor)
{
	struct tinyheap *heap = &built->tiny.heap;
	const struct pyh_runtime *runtime = &heap->runtime;
	enum pyh_field code;
	uint64_t thread, cframe;

	(void)snprintf(prefix, sizeof(prefix), "3.%u", minor);
	tinyruntime_init(&built->tiny, minor);
	tinyruntime_build(&built->tiny, 3u << 24 | minor << 16 | 0x9f0);
	build_code(built);
	built->next = pyh_has(runtime, PYH_IFRAME_PREVIOUS) ?
			      PYH_IFRAME_PREVIOUS : PYH_FRAME_F_BACK;
	code = minor <= 10 ? PYH_FRAME_F_CODE :
	       pyh_has(runtime, PYH_IFRAME_F_CODE) ? PYH_IFRAME_F_CODE :
						     PYH_IFRAME_F_EXECUTABLE;
	for (size_t i = 0; i < FRAMES; i++)
		built->frames[i] = tinyheap_take(heap, 512);
	for (size_t i = 0; i < FRAMES; i++) {
		tinyheap_set(heap, built->frames[i], code, built->code);
		tinyheap_set(heap, built->frames[i], built->next,
			     i + 1 < FRAMES ? built->frames[i + 1] : 0);
	}
	thread = built->tiny.threads[0];
	if (minor <= 10) {
		tinyheap_set(heap, thread, PYH_TSTATE_FRAME, built->frames[0]);
	} else if (pyh_has(runtime, PYH_TSTATE_CURRENT_FRAME)) {
		tinyheap_set(heap, thread, PYH_TSTATE_CURRENT_FRAME,
			     built->frames[0]);
	} else {
		cframe = tinyheap_take(heap, 64);
		tinyheap_set(heap, thread, PYH_TSTATE_CFRAME, cframe);
		tinyheap_set(heap, cframe, PYH_CFRAME_CURRENT_FRAME,
			     built->frames[0]);
	}
}

static bool see(void *context, const struct pyh_frame *frame)
{
	struct seen *seen = context;

	if (seen->count < SEEN_MOST)
		seen->frames[seen->count] = frame->address;
	seen->count++;
	return true;
}

/** The frames of the thread that has some. */
static void walk(struct built *built, struct seen *ret)
{
	struct pyh_runtime *runtime = NULL;
	struct memory_reader memory = { 0 };
	struct pyh_thread thread = { .address = built->tiny.threads[0] };
	struct error *err;

	tinyruntime_open(&built->tiny);
	err = pyh_runtime_open(&built->tiny.heap.image, &runtime);
	if (!err)
		err = memory_reader_init(&memory,
					 built->tiny.heap.image.memory);
	if (err) {
		fprintf(stderr, "%s\n", err->message);
		abort();
	}
	ret->count = 0;
	ret->end = pyh_frames_each(runtime, &memory, &thread, see, ret);
	memory_reader_deinit(&memory);
	pyh_runtime_close(runtime);
	tinyruntime_deinit(&built->tiny);
}

/** Are the first of them those that were built? */
static bool in_order(const struct built *built, const struct seen *seen,
		     size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (seen->count <= i || seen->frames[i] != built->frames[i])
			return false;
	return true;
}

static void test(unsigned int minor)
{
	static struct built built;
	static struct seen seen;

	build(&built, minor);
	walk(&built, &seen);
	CHECK(named("whole"), seen.end == PYH_FRAMES_WHOLE &&
	      seen.count == FRAMES && in_order(&built, &seen, FRAMES));

	build(&built, minor);
	tinyheap_set(&built.tiny.heap, built.frames[20], built.next,
		     built.frames[7]);
	walk(&built, &seen);
	CHECK(named("a circle"), seen.end == PYH_FRAMES_CIRCLE &&
	      seen.count < 4 * FRAMES && in_order(&built, &seen, 21));

	build(&built, minor);
	tinyheap_set(&built.tiny.heap, built.frames[0], built.next,
		     built.frames[0]);
	walk(&built, &seen);
	CHECK(named("one that leads to itself"),
	      seen.end == PYH_FRAMES_CIRCLE && seen.count == 1);

	build(&built, minor);
	tinyheap_set(&built.tiny.heap, built.frames[20], built.next, 0x18);
	walk(&built, &seen);
	CHECK(named("one that is not there"),
	      seen.end == PYH_FRAMES_UNREADABLE && seen.count == 21);

	// Words that are no frame: nothing has code for anybody.
	build(&built, minor);
	for (size_t i = 10; i < FRAMES; i++)
		tinyheap_set(&built.tiny.heap, built.frames[i],
			     minor <= 10 ? PYH_FRAME_F_CODE :
			     minor <= 12 ? PYH_IFRAME_F_CODE :
					   PYH_IFRAME_F_EXECUTABLE,
			     built.frames[i]);
	walk(&built, &seen);
	CHECK(named("what is no frame"),
	      seen.end == PYH_FRAMES_UNREADABLE && seen.count == 10);
}

int main(void)
{
	test(8);
	test(10);
	test(11);
	test(12);
	test(14);
	return check_result();
}
