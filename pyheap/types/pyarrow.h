/*
 * Memory of Arrow behind objects of pyarrow.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A table holds chunked arrays, those hold arrays, those hold buffers, all by
 * std::shared_ptr. Memory is told to be an object's only if nobody shares any
 * part of the way there: what several hold, none of them owns. And only if the
 * buffer is one that asked a memory pool for it: others are parts of such, or
 * another's memory.
 *
 * What Arrow holds twice by itself is known of lists and of columns of batches,
 * where a second array stands for the same data; of the indices of dictionaries
 * it is not.
 *
 * Nothing of this is described anywhere in the target. So a use count must be
 * one, a class must have its table of functions, and a buffer must be as the
 * pool makes them: aligned, as large as it may be, and without another in front.
 *
 * Source: cpp/src/arrow: buffer.h, memory_pool.cc, array/data.h, chunked_array.h,
 * table.cc, record_batch.cc; python/pyarrow/includes/libarrow.pxd, lib.pxd;
 * seen in 17.0.0 and 26.0.1.
 */
#ifndef PYHEAP_PYARROW_H
#define PYHEAP_PYARROW_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/types/pytypes.h"

struct pyh_arrow {
	struct memory_reader *memory;
	/* called for each piece of memory; false to stop */
	bool (*fn)(void *context, uint64_t address, uint64_t size);
	void *context;
	/* called before each step; false: there were too many */
	bool (*step)(void *context);
};

/**
 * Tell what memory an object of pyarrow alone holds.
 *
 * @param kind  one of PYH_KIND_ARROW_…
 * @param object  two words of it: its std::shared_ptr
 */
void pyh_arrow_each(const struct pyh_arrow *arrow, enum pyh_kind kind,
		    const uint64_t object[static 2]);

#endif
