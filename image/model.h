/*
 * What an object model tells a dumper: which memory its objects own.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of a dump without the heap it also says what reading the threads takes.
 *
 * A dump without the data of big buffers must hold every object all the same,
 * and the tables that objects own: a dict of ten million entries is a piece of
 * memory like a tensor's data. A model is asked about the few pieces that might
 * be left out. It looks at a process that may be running, so nothing it reads
 * is to be trusted.
 */
#ifndef IMAGE_MODEL_H
#define IMAGE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"

typedef struct error *model_range_fn(void *context, uint64_t start,
				     uint64_t end);

struct model {
	const char *name;	/* "CPython" */

	/**
	 * @param workers  how many will ask, each with a number of its own
	 * @param ret  NULL where the process has nothing of this model
	 * @return an error where it has, and cannot be understood
	 */
	struct error *(*open)(struct image *image, unsigned int workers,
			      void **ret);
	void (*close)(void *opened);

	/** Call fn with ranges that stay, whatever they look like. */
	struct error *(*each_range)(void *opened, model_range_fn *fn,
				    void *context);

	/**
	 * True where objects and what they own may lie in chunks of malloc; if
	 * not, the two questions below need not be asked.
	 */
	bool (*uses_malloc)(void *opened);

	/** Does malloc's chunk, whose user got [start, end), hold an object? */
	bool (*is_object)(void *opened, unsigned int worker, uint64_t start,
			  uint64_t end);

	/**
	 * The word at holder is the address buffer. Is it a field of an object
	 * that owns this memory and needs it to be understood? Arrays of
	 * numbers own theirs, but do not.
	 */
	bool (*needs_buffer)(void *opened, unsigned int worker, uint64_t holder,
			     uint64_t buffer);

	/**
	 * Read what a reader of the threads' stacks reads: the runtime, the
	 * threads, their frames, and what names them. Call fn with what belongs
	 * to it beyond what was read. Needs no open().
	 *
	 * @param ret_found  false where there is nothing of this model, or it
	 *	was not understood at all
	 * @return an error where there is, and was not understood, or not all
	 */
	struct error *(*each_of_threads)(struct image *image,
					 model_range_fn *fn, void *context,
					 bool *ret_found);
};

#endif
