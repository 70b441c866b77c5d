/*
 * What is counted of objects beside the counts in them; see pycounts.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pycounts.h"

#include <stdlib.h>

#include "pyheap/census/pyplace.h"
#include "pyheap/threads/pystack.h"
#include "pyheap/types/pyobject.h"

enum {
	IDS_MAX = 1 << 24,	/* objects that have a place in the arrays */
	WORDS_MAX = 1 << 30,	/* of all arrays */
	BATCH = 256,		/* words read at a time */
	STACK_MAX = 8 << 20,	/* bytes of a native stack looked through */
	WORKLISTS = 4,		/* of a collection */
	WORKLIST_MAX = 1 << 30,
};

/** The table of one interpreter: which object each place belongs to. */
struct pool {
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	size_t interpreter;	/* index in the runtime */
	uint64_t table;
	uint64_t size;
	int64_t *counts;	/* of all threads, by place */
	uint64_t words;		/* read so far */
};

static bool read_word(const struct pool *pool, uint64_t structure,
		      enum pyh_field field, uint64_t *ret)
{
	struct pyh_field_at at = pyh_place_of(pool->runtime, field);

	return at.size == sizeof(*ret) &&
	       memory_try_u64(pool->memory, structure + at.offset, ret);
}

static bool add_thread(void *context, const struct pyh_thread *thread)
{
	struct pool *pool = context;
	uint64_t values, size, words[BATCH], n;

	if (thread->interpreter != pool->interpreter ||
	    !read_word(pool, thread->address, PYH_TSTATEIMPL_REFCOUNTS_VALUES,
		       &values) ||
	    !read_word(pool, thread->address, PYH_TSTATEIMPL_REFCOUNTS_SIZE,
		       &size) ||
	    values == 0 || values % 8)
		return true;
	if (size > pool->size)
		size = pool->size;
	pool->words += size;
	if (pool->words > WORDS_MAX)
		return false;
	for (uint64_t i = 0; i < size; i += n) {
		n = size - i < BATCH ? size - i : BATCH;
		if (!memory_try_read(pool->memory, values + i * 8, words,
				     (size_t)n * 8))
			return true;
		for (uint64_t j = 0; j < n; j++)
			pool->counts[i + j] = (int64_t)(
				(uint64_t)pool->counts[i + j] + words[j]);
	}
	return true;
}

/** What the places that are in use count. */
static struct error *put_counts(const struct pool *pool, struct hashmap *ret)
{
	struct error *err = NULL;

	for (uint64_t i = 0; !err && i < pool->size; i++) {
		int64_t count = pool->counts[i];
		uint64_t object;

		// A free place leads to the next one, in the same table.
		if (count == 0 || count < INT32_MIN || count > INT32_MAX ||
		    !memory_try_u64(pool->memory, pool->table + i * 8,
				    &object) ||
		    object == 0 || object - pool->table <= pool->size * 8)
			continue;
		err = hashmap_put(ret, object, (uint32_t)(int32_t)count);
	}
	return err;
}

static struct error *read_pool(struct pool *pool, struct hashmap *ret)
{
	uint64_t interpreter =
		pool->runtime->interpreters[pool->interpreter].address, last;
	struct error *err;

	if (!read_word(pool, interpreter, PYH_INTERP_UNIQUE_IDS_TABLE,
		       &pool->table) ||
	    !read_word(pool, interpreter, PYH_INTERP_UNIQUE_IDS_SIZE,
		       &pool->size) ||
	    pool->table == 0 || pool->table % 8 || pool->size == 0 ||
	    pool->size > IDS_MAX ||
	    !memory_try_u64(pool->memory, pool->table + (pool->size - 1) * 8,
			    &last))
		return NULL;
	pool->counts = calloc((size_t)pool->size, sizeof(*pool->counts));
	if (!pool->counts)
		return error_no_memory();
	pyh_threads_each(pool->runtime, pool->memory, add_thread, pool);
	err = put_counts(pool, ret);
	free(pool->counts);
	return err;
}

/* --- collections ------------------------------------------------------------ */

static struct error *take_one(struct hashmap *counts, uint64_t object)
{
	uint32_t count = 0;

	(void)hashmap_get(counts, object, &count);
	return hashmap_put(counts, object, count - 1);
}

/** The members of a list, which their ob_tid links. */
static struct error *take_worklist(const struct pyh_runtime *runtime,
				   struct memory_reader *memory,
				   uint64_t object, struct hashmap *ret)
{
	struct error *err = NULL;
	uint64_t seen = 0;

	for (uint32_t i = 0; !err && i < WORKLIST_MAX && object != 0 &&
			     object % 8 == 0 && object != seen; i++) {
		uint64_t next;

		// Brent: a cycle comes back to where it was at a power of two.
		if ((i & (i - 1)) == 0)
			seen = object;
		if (!pyh_field(runtime, memory, object, PYH_OBJECT_OB_TID,
			       &next))
			break;
		err = take_one(ret, object);
		object = next;
	}
	return err;
}

/** Two words of the struct collection_state of a collection that runs. */
static bool is_collection(const struct pyh_runtime *runtime, uint64_t word,
			  uint64_t next)
{
	for (size_t i = 0; i < runtime->num_interpreters; i++)
		if (runtime->interpreters[i].collecting &&
		    word == runtime->interpreters[i].address &&
		    next == runtime->interpreters[i].gc)
			return true;
	return false;
}

/**
 * The lists of a collection that runs on this stack, in a struct
 * collection_state, which is told by two of its words: the interpreter and its
 * collector. Between them and the lists are numbers.
 */
static struct error *take_from_stack(const struct pyh_runtime *runtime,
				     struct memory_reader *memory,
				     uint64_t stack, struct hashmap *ret)
{
	uint64_t numbers = runtime->minor >= 14 ? 4 : 3;
	uint64_t word = 0, next, list;

	for (uint64_t at = stack; at - stack < STACK_MAX; at += 8, word = next) {
		if (!memory_try_u64(memory, at, &next))
			return NULL;
		if (!is_collection(runtime, word, next))
			continue;
		for (uint64_t i = 0; i < WORKLISTS; i++) {
			struct error *err;

			if (!memory_try_u64(memory, at + (1 + numbers + i) * 8,
					    &list))
				return NULL;
			err = take_worklist(runtime, memory, list, ret);
			if (err)
				return err;
		}
		return NULL;
	}
	return NULL;
}

static struct error *take_collections(const struct pyh_runtime *runtime,
				      struct memory_reader *memory,
				      struct hashmap *ret)
{
	struct error *err = NULL;
	bool collecting = false;

	for (size_t i = 0; i < runtime->num_interpreters; i++)
		collecting |= runtime->interpreters[i].collecting;
	for (size_t i = 0; !err && collecting &&
			   i < runtime->image->notes.num_threads; i++)
		err = take_from_stack(runtime, memory,
				      pyh_stack_pointer(runtime->image, i) & ~UINT64_C(7),
				      ret);
	return err;
}

struct error *pyh_counts_beside(const struct pyh_runtime *runtime,
				struct memory_reader *memory,
				struct hashmap *ret)
{
	struct error *err = NULL;

	*ret = (struct hashmap){ 0 };
	for (size_t i = 0; !err && i < runtime->num_interpreters; i++)
		err = read_pool(&(struct pool){ .runtime = runtime,
						.memory = memory,
						.interpreter = i }, ret);
	return err ? err : take_collections(runtime, memory, ret);
}
