/*
 * Memory of Arrow; see pyarrow.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pyarrow.h"

#include <elf.h>
#include <stddef.h>

enum {
	ALIGNMENT = 64,		/* of what a memory pool gives */
	PENDING_MAX = 64,	/* arrays within arrays, waiting to be looked at */
	POINTER = 16,		/* bytes of a std::shared_ptr */
	/* arrow::Buffer, words: table, flags, data_, size_, capacity_ */
	BUFFER_DATA = 2, BUFFER_SIZE, BUFFER_CAPACITY,
	/* … then, in some releases, device_type_; parent_, memory_manager_, and
	   of arrow::PoolBuffer pool_, alignment_ */
	POOL_FIRST = 9, POOL_LAST = 11,
	POOL_PARENT = 4,	/* words from parent_ to pool_ */
	BUFFER_WORDS = 14,
	/* offsets of what else has children */
	TABLE_COLUMNS = 32,	/* arrow::SimpleTable */
	/* arrow::SimpleRecordBatch, words: a vector of data, and somewhere behind
	   it one of arrays with the same data, or of NULL */
	BATCH_COLUMNS = 4,
	BATCH_BOXED_FIRST = 7, BATCH_WORDS = 20,
	CHUNKED_CHUNKS = 0,	/* arrow::ChunkedArray */
	ARRAY_DATA = 8,		/* arrow::Array */
	DATA_BUFFERS = 40,	/* arrow::ArrayData */
	DATA_CHILDREN = 64,
	DATA_DICTIONARY = 88,
	/* arrays of lists and the like hold an array for what is in them, in one
	   of these words */
	ARRAY_WORDS = 16,
	ARRAY_OWN = 4,		/* from here on */
};

/** An arrow::ArrayData that waits, and its arrow::Array, or 0. */
struct arrow_data {
	uint64_t data, array;
};

struct arrow_walk {
	const struct pyh_arrow *arrow;
	struct arrow_data pending[PENDING_MAX];
	size_t num_pending;
	bool stopped;
};

static bool word_at(struct arrow_walk *walk, uint64_t address, uint64_t *ret)
{
	return address % 8 == 0 &&
	       memory_try_u64(walk->arrow->memory, address, ret);
}

/** Does a table of a class's functions begin here: code, to be run? */
static bool is_table(struct arrow_walk *walk, uint64_t table)
{
	const struct memory_range *range;
	uint64_t function;

	if (table == 0 || !word_at(walk, table, &function))
		return false;
	range = memory_find(walk->arrow->memory->memory, function);
	return range && range->protection & PF_X;
}

/** What a std::shared_ptr leads to, if there are so many that do; else 0. */
static uint64_t one_of(struct arrow_walk *walk,
		       const uint64_t pointer[static 2], uint32_t owners)
{
	enum { COUNTS = 8 };
	uint64_t table, counts;

	if (pointer[0] == 0 || pointer[0] % 8 || pointer[1] == 0 ||
	    !word_at(walk, pointer[1], &table) ||
	    !word_at(walk, pointer[1] + COUNTS, &counts) ||
	    (uint32_t)counts != owners || counts >> 32 == 0 ||
	    !is_table(walk, table))
		return 0;
	return pointer[0];
}

static uint64_t sole(struct arrow_walk *walk,
		     const uint64_t pointer[static 2])
{
	return one_of(walk, pointer, 1);
}

static void walk_buffer(struct arrow_walk *walk, uint64_t buffer)
{
	uint64_t words[BUFFER_WORDS], table;
	bool pooled = false;

	if (!memory_try_read(walk->arrow->memory, buffer, words,
			     sizeof(words)) ||
	    !is_table(walk, words[0]) || words[BUFFER_DATA] == 0 ||
	    words[BUFFER_DATA] % ALIGNMENT ||
	    words[BUFFER_CAPACITY] % ALIGNMENT ||
	    words[BUFFER_CAPACITY] == 0 || words[BUFFER_CAPACITY] >> 47 ||
	    words[BUFFER_SIZE] > words[BUFFER_CAPACITY])
		return;
	for (size_t i = POOL_FIRST; i <= POOL_LAST && !pooled; i++)
		pooled = words[i + 1] == ALIGNMENT &&
			 words[i - POOL_PARENT] == 0 &&
			 words[i - POOL_PARENT + 1] == 0 && words[i] &&
			 word_at(walk, words[i], &table) &&
			 is_table(walk, table);
	if (pooled)
		walk->stopped = !walk->arrow->fn(walk->arrow->context,
						 words[BUFFER_DATA],
						 words[BUFFER_CAPACITY]);
}

typedef void child_fn(struct arrow_walk *walk, uint64_t child);

/** Each of a std::vector of std::shared_ptr. */
static void each_of_vector(struct arrow_walk *walk, uint64_t vector,
			   child_fn *fn)
{
	uint64_t begin, end, pointer[2], child;

	if (!word_at(walk, vector, &begin) || !word_at(walk, vector + 8, &end) ||
	    begin % 8 || end < begin || (end - begin) % POINTER)
		return;
	for (; begin < end && !walk->stopped; begin += POINTER) {
		if (!walk->arrow->step(walk->arrow->context) ||
		    !memory_try_read(walk->arrow->memory, begin, pointer,
				     sizeof(pointer))) {
			walk->stopped = true;
			return;
		}
		child = sole(walk, pointer);
		if (child != 0)
			fn(walk, child);
	}
}

static void put_data(struct arrow_walk *walk, uint64_t data, uint64_t array)
{
	if (data != 0 && walk->num_pending < PENDING_MAX)
		walk->pending[walk->num_pending++] =
			(struct arrow_data){ data, array };
}

/** The array that a std::shared_ptr leads to, if it is one of this data. */
static uint64_t array_of(struct arrow_walk *walk,
			 const uint64_t pointer[static 2], uint64_t data)
{
	uint64_t array = sole(walk, pointer), its;

	return array != 0 && word_at(walk, array + ARRAY_DATA, &its) &&
			       its == data ? array : 0;
}

/**
 * Data in other data: the array that it was made for may hold another array, of
 * that data, which holds it as well.
 */
static void put_inner(struct arrow_walk *walk, uint64_t at, uint64_t array)
{
	uint64_t pointer[2], words[ARRAY_WORDS], data, inner = 0;

	if (!memory_try_read(walk->arrow->memory, at, pointer,
			     sizeof(pointer)))
		return;
	put_data(walk, sole(walk, pointer), 0);
	data = one_of(walk, pointer, 2);
	if (data == 0 || array == 0 ||
	    !memory_try_read(walk->arrow->memory, array, words, sizeof(words)))
		return;
	for (size_t i = ARRAY_OWN; i + 1 < ARRAY_WORDS && inner == 0; i++)
		inner = array_of(walk, words + i, data);
	if (inner != 0)
		put_data(walk, data, inner);
}

static void put_children(struct arrow_walk *walk, const struct arrow_data *of)
{
	uint64_t begin, end;

	if (!word_at(walk, of->data + DATA_CHILDREN, &begin) ||
	    !word_at(walk, of->data + DATA_CHILDREN + 8, &end) || end < begin)
		return;
	for (; begin < end && walk->num_pending < PENDING_MAX; begin += POINTER)
		if (walk->arrow->step(walk->arrow->context))
			put_inner(walk, begin, of->array);
}

/** All that waits, and what comes of it. */
static void walk_pending(struct arrow_walk *walk)
{
	while (walk->num_pending > 0 && !walk->stopped) {
		struct arrow_data of = walk->pending[--walk->num_pending];

		if (!walk->arrow->step(walk->arrow->context))
			return;
		each_of_vector(walk, of.data + DATA_BUFFERS, walk_buffer);
		put_children(walk, &of);
		put_inner(walk, of.data + DATA_DICTIONARY, of.array);
	}
}

static void walk_array(struct arrow_walk *walk, uint64_t array)
{
	uint64_t pointer[2];

	if (!memory_try_read(walk->arrow->memory, array + ARRAY_DATA, pointer,
			     sizeof(pointer)))
		return;
	put_data(walk, sole(walk, pointer), array);
	walk_pending(walk);
}

/** Columns are data, and perhaps arrays of the same. */
static void walk_batch(struct arrow_walk *walk, uint64_t batch)
{
	uint64_t words[BATCH_WORDS], size, boxed = 0, pointer[2], array, data;

	if (!memory_try_read(walk->arrow->memory, batch, words, sizeof(words)))
		return;
	size = words[BATCH_COLUMNS + 1] - words[BATCH_COLUMNS];
	if (words[BATCH_COLUMNS + 1] < words[BATCH_COLUMNS] || size % POINTER)
		return;
	for (size_t i = BATCH_BOXED_FIRST; i + 1 < BATCH_WORDS && !boxed; i++)
		boxed = words[i] && words[i + 1] - words[i] == size ? words[i] :
								      0;
	for (uint64_t at = words[BATCH_COLUMNS];
	     at < words[BATCH_COLUMNS + 1] && !walk->stopped;
	     at += POINTER, boxed += boxed ? POINTER : 0) {
		if (!walk->arrow->step(walk->arrow->context) ||
		    !memory_try_read(walk->arrow->memory, at, pointer,
				     sizeof(pointer)))
			return;
		put_data(walk, sole(walk, pointer), 0);
		data = one_of(walk, pointer, 2);
		if (data != 0 && memory_try_read(walk->arrow->memory, boxed,
						 pointer, sizeof(pointer))) {
			array = array_of(walk, pointer, data);
			put_data(walk, array ? data : 0, array);
		}
		walk_pending(walk);
	}
}

static void walk_chunked(struct arrow_walk *walk, uint64_t chunked)
{
	each_of_vector(walk, chunked + CHUNKED_CHUNKS, walk_array);
}

void pyh_arrow_each(const struct pyh_arrow *arrow, enum pyh_kind kind,
		    const uint64_t object[static 2])
{
	struct arrow_walk walk = { .arrow = arrow };
	uint64_t at = sole(&walk, object);

	if (at == 0)
		return;
	switch (kind) {
	case PYH_KIND_ARROW_BUFFER:
		walk_buffer(&walk, at);
		break;
	case PYH_KIND_ARROW_ARRAY:
		walk_array(&walk, at);
		break;
	case PYH_KIND_ARROW_CHUNKED:
		walk_chunked(&walk, at);
		break;
	case PYH_KIND_ARROW_TABLE:
		each_of_vector(&walk, at + TABLE_COLUMNS, walk_chunked);
		break;
	case PYH_KIND_ARROW_BATCH:
		walk_batch(&walk, at);
		break;
	default:
		break;
	}
}
