/*
 * Roots: what a thread of a free-threaded build keeps until later.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An object whose last reference another thread drops goes to its owner, who
 * puts the two counts together; the queue holds it until then. What other
 * threads may still be reading is let go of when none of them can. And what C
 * code has on its own stack without a count is in a list for the collector.
 *
 * Source: CPython Include/internal/pycore_brc.h, pycore_object_stack.h,
 * pycore_stackref.h, pycore_tstate.h, Objects/obmalloc.c.
 */
#include "pyheap/census/pyplace.h"
#include "pyheap/references/pyrootwalk.h"

enum {
	CHUNKS_MAX = 1 << 16,
	ENTRIES = 254,		/* of a chunk of either kind */
	STACK_CHUNK_ENTRIES_AT = 16,	/* {prev, n, objs} */
	WORK_ENTRIES_AT = 32,	/* {node {next, prev}, rd_idx, wr_idx, array} */
	WORK_ENTRY = 16,	/* {ptr, qsbr_goal} */
	WORK_IS_OBJECT = 1,	/* low bit of ptr, 3.14 and later */
	STACK_REF = 16,		/* _PyCStackRef {ref, next} */
};

/** Tell what the word at root->holder leads to, if that is an object. */
static void tell(struct pyh_root_walk *walk, struct pyh_root root,
		 uint64_t word)
{
	root.address = word;
	if (pyh_root_is_object(walk, root.address, 0))
		pyh_root_tell(walk, &root);
}

static uint64_t word_of_thread(struct pyh_root_walk *walk, uint64_t thread,
			       enum pyh_field field)
{
	struct pyh_field_at at = pyh_place_of(walk->runtime, field);
	uint64_t word;

	return at.size >= sizeof(word) &&
	       memory_try_u64(walk->memory, thread + at.offset, &word) ?
		       word : 0;
}

/** The objects of an _PyObjectStack. */
static void tell_object_stack(struct pyh_root_walk *walk, uint64_t thread,
			      enum pyh_field field, struct pyh_root root)
{
	uint64_t chunk = word_of_thread(walk, thread, field), head[2], word;

	root.name = pyh_field_member(field);
	for (int i = 0; i < CHUNKS_MAX && chunk && chunk % 8 == 0; i++) {
		if (!memory_try_read(walk->memory, chunk, head, sizeof(head)) ||
		    head[1] > ENTRIES)
			return;
		for (uint64_t j = 0; j < head[1] && !walk->stopped; j++) {
			root.holder = chunk + STACK_CHUNK_ENTRIES_AT + j * 8;
			if (!memory_try_u64(walk->memory, root.holder, &word))
				return;
			tell(walk, root, word);
			root.index++;
		}
		chunk = head[0];
	}
}

/** Objects among what is to be freed later; 3.13 has none in there. */
static void tell_delayed(struct pyh_root_walk *walk, uint64_t thread,
			 struct pyh_root root)
{
	enum pyh_field field = PYH_TSTATEIMPL_MEM_FREE_QUEUE;
	uint64_t list = thread + pyh_place_of(walk->runtime, field).offset;
	uint64_t chunk = word_of_thread(walk, thread, field), head[4], word;

	if (walk->runtime->minor < 14)
		return;
	root.name = pyh_field_member(field);
	for (int i = 0; i < CHUNKS_MAX && chunk && chunk % 8 == 0 &&
			chunk != list; i++) {
		if (!memory_try_read(walk->memory, chunk, head, sizeof(head)) ||
		    head[3] > ENTRIES)
			return;
		for (uint64_t j = head[2]; j < head[3] && !walk->stopped; j++) {
			root.holder = chunk + WORK_ENTRIES_AT + j * WORK_ENTRY;
			if (!memory_try_u64(walk->memory, root.holder, &word))
				return;
			if (word & WORK_IS_OBJECT)
				tell(walk, root, word & ~(uint64_t)WORK_IS_OBJECT);
			root.index++;
		}
		chunk = head[0];
	}
}

static void tell_c_stack(struct pyh_root_walk *walk, uint64_t thread,
			 struct pyh_root root)
{
	enum pyh_field field = PYH_TSTATEIMPL_C_STACK_REFS;
	uint64_t at = word_of_thread(walk, thread, field);
	uint64_t words[STACK_REF / 8];

	root.name = pyh_field_member(field);
	for (; root.index < CHUNKS_MAX && at && at % 8 == 0 && !walk->stopped;
	     root.index++) {
		struct pyh_root one = root;

		if (!memory_try_read(walk->memory, at, words, sizeof(words)))
			return;
		one.holder = at;
		one.address = words[0];
		if (pyh_root_untag(walk->runtime, &one))
			tell(walk, one, one.address);
		at = words[1];
	}
}

void pyh_root_queues(struct pyh_root_walk *walk,
		     const struct pyh_thread *thread, uint64_t native)
{
	const struct pyh_root like = { .kind = PYH_ROOT_THREAD,
				       .hold = PYH_HOLD_UNTRAVERSED,
				       .thread = native };

	if (!walk->runtime->free_threaded)
		return;
	tell_object_stack(walk, thread->address,
			  PYH_TSTATEIMPL_BRC_OBJECTS_TO_MERGE, like);
	tell_object_stack(walk, thread->address,
			  PYH_TSTATEIMPL_BRC_LOCAL_OBJECTS_TO_MERGE, like);
	tell_delayed(walk, thread->address, like);
	tell_c_stack(walk, thread->address, like);
}
