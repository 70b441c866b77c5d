/*
 * Where objects can be outside of pymalloc, and where what looks like one is none.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pyobject.h"

#include "image/modules.h"
#include "image/nativestacks.h"
#include "tests/lib/check.h"
#include "tests/lib/tinyheap.h"

/** An empty list that is in no list of the collector's. */
static uint64_t make_list(struct tinyheap *heap, uint64_t at)
{
	tinyheap_set(heap, at, PYH_OBJECT_OB_REFCNT, 1);
	tinyheap_set(heap, at, PYH_OBJECT_OB_TYPE, heap->list);
	return at;
}

static bool is_object(struct tinyheap *heap, struct memory_reader *outside,
		      const struct pyh_object_rules *rules, uint64_t address)
{
	struct pyh_candidate object;

	return pyh_object_outside(rules, &heap->reader, outside, &heap->memory,
				  address, &object);
}

/** No module: all memory is the heap's. */
static bool add_modules(struct tinyheap *heap, struct findings **ret)
{
	static const struct modules_options options = { .sysroot = "" };
	static const struct core_notes notes;

	return !findings_create(ret) &&
	       !modules_create(&notes, heap->image.memory, &options, *ret,
			       &heap->image.modules);
}

static void test_release(unsigned int minor)
{
	struct memory_reader outside;
	struct pyh_object_rules rules;
	struct findings *findings;
	struct tinyheap heap;
	uint64_t good, between;

	tinyheap_init(&heap, minor);
	good = make_list(&heap, tinyheap_take(&heap, 128) + 64);
	// As the size of a chunk of malloc's before its data.
	between = make_list(&heap, tinyheap_take(&heap, 128) + 72);
	tinyheap_open(&heap);
	if (memory_reader_init(&outside, heap.image.memory) ||
	    !add_modules(&heap, &findings)) {
		CHECK("an image", false);
		return;
	}
	pyh_object_rules_init(&rules, &heap.runtime);
	CHECK("an object", is_object(&heap, &outside, &rules, good));
	CHECK("none between what allocators give out",
	      !is_object(&heap, &outside, &rules, between));
	heap.runtime.foreign_allocators = true;
	CHECK("one where another library allocates as it likes",
	      is_object(&heap, &outside, &rules, between));
	heap.runtime.foreign_allocators = false;

	struct native_stack stack = {
		.room = good - 64, .start = good, .end = good + 4096,
		.sure_end = good + 8,
	};
	const struct native_stacks stacks = { &stack, 1 };

	rules.stacks = &stacks;
	CHECK("none on a stack", !is_object(&heap, &outside, &rules, good));
	stack.sure_end = 0;
	CHECK("one where nothing tells that it is a stack",
	      is_object(&heap, &outside, &rules, good));
	stack = (struct native_stack){
		.room = good - 64, .start = good + 16, .end = good + 4096,
		.sure_end = good + 4096,
	};
	CHECK("one below what is in use",
	      is_object(&heap, &outside, &rules, good));
	memory_reader_deinit(&outside);
	modules_destroy(heap.image.modules);
	findings_destroy(findings);
	tinyheap_deinit(&heap);
}

int main(void)
{
	test_release(8);
	test_release(11);
	test_release(12);
	return check_result();
}
