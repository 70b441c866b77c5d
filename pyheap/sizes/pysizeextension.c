/*
 * Sizes and buffers of objects of extension modules that are everywhere.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pygreenlet.h"
#include "pyheap/sizes/pysubject.h"
#include "pyheap/types/pyarrow.h"
#include "pyheap/types/pynumpy.h"
#include "pyheap/types/pypandas.h"

enum {
	PIECES_MAX = 4096,	/* ranges of memory that a buffer lies in */
	PAGE = 4096,
};

/** True if memory was mapped from an address on, without a gap. */
static bool is_mapped(const struct pyh_subject *subject, uint64_t address,
		      uint64_t size)
{
	const struct memory *memory = subject->memory->memory;
	uint64_t at = address, end = address + size;

	for (int i = 0; i < PIECES_MAX && at < end; i++) {
		const struct memory_range *range = memory_find(memory, at);

		if (!range)
			return false;
		at = range->end;
	}
	return true;
}

/* --- numpy ---------------------------------------------------------------- */

/** The data of an owner: numpy asks for a byte or an item where there is none. */
static bool claim_data(struct pyh_subject *subject,
		       const struct pyh_ndarray *array)
{
	uint64_t size = array->bytes ? array->bytes : 1;

	// Another allocator's may begin anywhere, and is not looked up.
	if (array->data % 8)
		return true;
	if (size > PYH_SMALL && !is_mapped(subject, array->data, size))
		return false;
	return (array->dtype.has_objects ? pyh_subject_claim :
				     pyh_subject_claim_dead)
		(subject, array->data, size);
}

bool pyh_size_ndarray(struct pyh_subject *subject)
{
	uint32_t header = subject->runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t words[PYH_NDARRAY_WORDS];
	struct pyh_ndarray array;
	uint64_t shape;

	if (!pyh_size_other(subject))
		return false;
	if (!pyh_subject_read(subject, header, words, sizeof(words)))
		return true;
	switch (pyh_ndarray_read(subject->memory, words, header, &array)) {
	case PYH_NDARRAY_BAD:
		return false;
	case PYH_NDARRAY_MISSING:
		subject->missing = true;
		break;
	case PYH_NDARRAY_READ:
		break;
	}
	// Dimensions and strides lie in one block.
	shape = array.num_dimensions * UINT64_C(16);
	subject->measure->size += shape;
	if (shape && array.strides == array.dimensions + shape / 2 &&
	    !pyh_subject_claim_dead(subject, array.dimensions, shape))
		return false;
	if (!array.owns_data)
		return true;
	subject->measure->size += array.bytes;
	return claim_data(subject, &array);
}

/* --- greenlet --------------------------------------------------------------- */

/**
 * The chunks of a data stack that waits: nobody's but the greenlet's. Each has a
 * mapping of its own, so that of the last one only what is below the top is in
 * memory.
 */
static bool claim_datastack(struct pyh_subject *subject, uint64_t chunk,
			    uint64_t top)
{
	uint64_t header[2];	// previous, size

	while (chunk != 0 && chunk % 8 == 0 && pyh_subject_step(subject) &&
	       memory_try_read(subject->memory, chunk, header,
			       sizeof(header))) {
		uint64_t used = (top - chunk + PAGE - 1) & ~(uint64_t)(PAGE - 1);

		if (!pyh_subject_claim_part(subject, chunk, header[1],
					    used < header[1] ? used :
							       header[1]))
			return false;
		chunk = header[0];
		top = UINT64_MAX;
	}
	return true;
}

bool pyh_size_greenlet(struct pyh_subject *subject)
{
	struct pyh_greenlet greenlet;

	if (!pyh_size_other(subject))
		return false;
	if (!pyh_greenlet_read(subject->runtime, subject->memory,
			       subject->type->kind, subject->address,
			       &greenlet))
		return true;
	return pyh_subject_claim(subject, greenlet.body, greenlet.body_size) &&
	       pyh_subject_claim(subject, greenlet.stack_copy,
				 greenlet.stack_saved) &&
	       (!greenlet.suspended ||
		claim_datastack(subject, greenlet.datastack,
				greenlet.datastack_top));
}

/* --- pandas ----------------------------------------------------------------- */

bool pyh_size_khash(struct pyh_subject *subject)
{
	uint64_t size = pyh_khash_key_size(subject->type->name), at;
	// Behind the header the table of Cython's own, then this.
	uint32_t offset = subject->runtime->size_of[PYH_STRUCT_OBJECT] + 8;
	struct pyh_khash hash;

	if (!pyh_size_other(subject))
		return false;
	if (size == 0 || !pyh_subject_read(subject, offset, &at, sizeof(at)))
		return true;
	// It has none until it is initialized.
	if (!pyh_khash_read(subject->memory, at, &hash) || hash.slots == 0)
		return true;
	return pyh_subject_claim_dead(subject, hash.address, PYH_KHASH_SIZE) &&
	       pyh_subject_claim_dead(subject, hash.flags, hash.flags_size) &&
	       pyh_subject_claim(subject, hash.keys, hash.slots * size) &&
	       pyh_subject_claim_dead(subject, hash.values,
				      hash.slots * UINT64_C(8));
}

/* --- pyarrow ---------------------------------------------------------------- */

static bool claim_of_arrow(void *context, uint64_t address, uint64_t size)
{
	// What cannot be there, is no reason to doubt the object.
	return is_mapped(context, address, size) &&
	       pyh_subject_claim_dead(context, address, size);
}

static bool step_of_arrow(void *context)
{
	return pyh_subject_step(context);
}

bool pyh_size_arrow(struct pyh_subject *subject)
{
	struct pyh_arrow arrow = {
		.memory = subject->memory, .context = subject,
		.fn = claim_of_arrow, .step = step_of_arrow,
	};
	// Behind the header a list of weak references, and Cython's own table.
	uint32_t offset = subject->runtime->size_of[PYH_STRUCT_OBJECT] + 16;
	uint64_t words[2];

	if (!pyh_size_other(subject))
		return false;
	if (pyh_subject_read(subject, offset, words, sizeof(words)))
		pyh_arrow_each(&arrow, subject->type->kind, words);
	return true;
}
