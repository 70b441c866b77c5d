/*
 * Sizes and buffers of the standard library's objects in C.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: the __sizeof__ methods and deallocators of CPython Modules/_ctypes,
 * _io, _elementtree.c, _queuemodule.c, _struct.c, _pickle.c, itertoolsmodule.c
 * and _sre.
 */
#include "pyheap/sizes/pysubject.h"

enum {
	FORMAT_CODE = 32,	/* bytes of one item of a struct format */
	FORMAT_CODES_MAX = 1 << 16,
	FIELDS_MAX = 1 << 20,	/* elements of a ctypes class */
	MEMO_TABLE = 32,	/* bytes of a pickler's PyMemoTable */
	MEMO_ALLOCATED = 16,	/* offset in it: slots of the table */
	MEMO_ENTRIES = 24,	/* offset in it: the table */
	MEMO_ENTRY = 16,	/* bytes of a slot */
};

bool pyh_size_cdata(struct pyh_subject *subject)
{
	uint64_t data, ours, size;
	uint64_t start = subject->address, end;

	if (!pyh_size_other(subject))
		return false;
	end = start + (uint64_t)subject->type->basicsize;
	if (!pyh_subject_get(subject, PYH_CDATA_B_NEEDSFREE, &ours) || !ours ||
	    !pyh_subject_get(subject, PYH_CDATA_B_PTR, &data) ||
	    !pyh_subject_get(subject, PYH_CDATA_B_SIZE, &size))
		return true;
	// Small values lie in the object, and there is nothing to be freed.
	if (data >= start && data < end)
		return true;
	return size >> 47 == 0 && pyh_subject_claim(subject, data, size);
}

uint64_t pyh_size_ctypes_info(struct pyh_subject *subject, uint64_t info,
			      const enum pyh_field fields[5])
{
	uint64_t length = 0, elements = 0, format = 0, ndim = 0, shape = 0;
	uint64_t total = 0;

	if (!pyh_subject_at(subject, info, fields[0], &length) ||
	    !pyh_subject_at(subject, info, fields[1], &elements) ||
	    !pyh_subject_at(subject, info, fields[2], &format) ||
	    !pyh_subject_at(subject, info, fields[3], &ndim) ||
	    !pyh_subject_at(subject, info, fields[4], &shape) ||
	    length > FIELDS_MAX || ndim > FIELDS_MAX) {
		subject->missing = true;
		return 0;
	}
	pyh_subject_claim_string(subject, format, &total);
	total += ndim * 8;
	(void)pyh_subject_claim(subject, shape, ndim * 8);
	if (elements)
		total += (length + 1) * 8;
	// A class that inherits fields has more elements than are counted.
	(void)pyh_subject_claim(subject, elements, 0);
	return total;
}

bool pyh_size_stgdict(struct pyh_subject *subject)
{
	static const enum pyh_field fields[5] = {
		PYH_STGDICT_LENGTH, PYH_STGDICT_FFI_TYPE_POINTER_ELEMENTS,
		PYH_STGDICT_FORMAT, PYH_STGDICT_NDIM, PYH_STGDICT_SHAPE,
	};
	const uint32_t *size_of = subject->runtime->size_of;

	if (!pyh_size_dict(subject))
		return false;
	// Its own fields are counted twice.
	subject->measure->size += size_of[PYH_STRUCT_STGDICT] -
				  size_of[PYH_STRUCT_DICT];
	subject->measure->size +=
		pyh_size_ctypes_info(subject, subject->address, fields);
	return true;
}

/* True if only one reference to an object is left, and it is not immortal. */
static bool unshared(struct pyh_subject *subject, uint64_t object)
{
	uint64_t refcount, others;

	// Free-threaded: the only one is that of the thread it is of.
	if (subject->runtime->free_threaded)
		return pyh_subject_at(subject, object, PYH_OBJECT_OB_REF_LOCAL,
				      &refcount) && refcount == 1 &&
		       pyh_subject_at(subject, object, PYH_OBJECT_OB_REF_SHARED,
				      &others) && others == 0;
	if (!memory_try_u64(subject->memory,
			    object + pyh_offset(subject->runtime,
						PYH_OBJECT_OB_REFCNT),
			    &refcount)) {
		subject->missing = true;
		return false;
	}
	if (subject->runtime->minor >= 12)
		refcount &= UINT32_MAX;
	return refcount == 1;
}

/* sys.getsizeof of a bytes object elsewhere. */
static uint64_t size_of_bytes_at(struct pyh_subject *subject, uint64_t bytes)
{
	uint64_t count;

	if (!pyh_subject_at(subject, bytes, PYH_VAR_OB_SIZE, &count) ||
	    count >> 47)
		return 0;
	return pyh_offset(subject->runtime, PYH_BYTES_OB_SVAL) + 1 + count;
}

bool pyh_size_bytesio(struct pyh_subject *subject)
{
	uint64_t buffer, shared = 0;

	if (!pyh_size_other(subject))
		return false;
	if (!pyh_subject_get(subject, PYH_BYTESIO_BUF, &buffer) || !buffer)
		return true;
	(void)pyh_subject_get(subject, PYH_BYTESIO_BUF_SHARED, &shared);
	if (buffer % 8)
		return false;
	// A bytes object of its own counts, one that others hold does not.
	if (!shared && unshared(subject, buffer))
		subject->measure->size += size_of_bytes_at(subject, buffer);
	return true;
}

bool pyh_size_stringio(struct pyh_subject *subject)
{
	uint64_t buffer, size;

	if (!pyh_size_other(subject))
		return false;
	if (!pyh_subject_get(subject, PYH_STRINGIO_BUF, &buffer) ||
	    !pyh_subject_get(subject, PYH_STRINGIO_BUF_SIZE, &size))
		return true;
	return size >> 45 == 0 &&
	       pyh_subject_claim(subject, buffer, size * 4);
}

bool pyh_size_buffered(struct pyh_subject *subject)
{
	uint64_t buffer, size;

	if (!pyh_size_other(subject))
		return false;
	if (!pyh_subject_get(subject, PYH_BUFFERED_BUFFER, &buffer) ||
	    !pyh_subject_get(subject, PYH_BUFFERED_BUFFER_SIZE, &size) ||
	    buffer == 0)
		return true;
	if (size >> 47)
		return false;
	subject->measure->size += size;
	return pyh_subject_claim(subject, buffer, size);
}

bool pyh_size_element(struct pyh_subject *subject)
{
	const struct pyh_runtime *runtime = subject->runtime;
	uint64_t size = runtime->size_of[PYH_STRUCT_ELEMENTEXTRA];
	uint64_t extra, children, allocated;

	if (!pyh_size_other(subject))
		return false;
	if (!pyh_subject_get(subject, PYH_ELEMENT_EXTRA, &extra) || !extra)
		return true;
	if (extra % 8)
		return false;
	subject->measure->size += size;
	if (!pyh_subject_claim(subject, extra, size) ||
	    !pyh_subject_at(subject, extra, PYH_ELEMENTEXTRA_CHILDREN,
			    &children) ||
	    !pyh_subject_at(subject, extra, PYH_ELEMENTEXTRA_ALLOCATED,
			    &allocated))
		return true;
	if (children >= extra && children < extra + size)
		return true;
	if (allocated >> 44 || children % 8)
		return false;
	subject->measure->size += allocated * 8;
	return pyh_subject_claim(subject, children, allocated * 8);
}

bool pyh_size_simplequeue(struct pyh_subject *subject)
{
	uint64_t items, capacity;

	if (!pyh_size_other(subject))
		return false;
	if (!pyh_has(subject->runtime, PYH_SIMPLEQUEUE_BUF_ITEMS) ||
	    !pyh_subject_get(subject, PYH_SIMPLEQUEUE_BUF_ITEMS, &items) ||
	    !pyh_subject_get(subject, PYH_SIMPLEQUEUE_BUF_ITEMS_CAP, &capacity))
		return true;
	if (capacity >> 44 || items % 8)
		return false;
	if (subject->runtime->minor >= 15)
		subject->measure->size += capacity * 8;
	return pyh_subject_claim(subject, items, capacity * 8);
}

/* struct.Struct: an array of codes, ended by one that is all zero. */
bool pyh_size_structpack(struct pyh_subject *subject)
{
	uint64_t codes, count = 0, fmtdef;

	if (!pyh_size_other(subject))
		return false;
	if (!pyh_subject_get(subject, PYH_STRUCTPACK_S_CODES, &codes) ||
	    codes == 0)
		return true;
	if (codes % 8)
		return false;
	do {
		if (!pyh_subject_step(subject) ||
		    !memory_try_u64(subject->memory,
				    codes + count * FORMAT_CODE, &fmtdef)) {
			subject->missing = true;
			return true;
		}
		if (++count > FORMAT_CODES_MAX)
			return false;
	} while (fmtdef != 0);
	subject->measure->size += count * FORMAT_CODE;
	return pyh_subject_claim(subject, codes, count * FORMAT_CODE);
}

bool pyh_size_pickler(struct pyh_subject *subject)
{
	uint64_t memo, buffer, slots, entries;

	if (!pyh_size_other(subject))
		return false;
	if (pyh_subject_get(subject, PYH_PICKLER_OUTPUT_BUFFER, &buffer) &&
	    buffer)
		subject->measure->size += size_of_bytes_at(subject, buffer);
	if (!pyh_subject_get(subject, PYH_PICKLER_MEMO, &memo) || memo == 0)
		return true;
	if (!memory_try_u64(subject->memory, memo + MEMO_ALLOCATED, &slots) ||
	    !memory_try_u64(subject->memory, memo + MEMO_ENTRIES, &entries)) {
		subject->missing = true;
		return true;
	}
	if (slots >> 43)
		return false;
	subject->measure->size += MEMO_TABLE + slots * MEMO_ENTRY;
	return pyh_subject_claim(subject, memo, MEMO_TABLE) &&
	       pyh_subject_claim(subject, entries, slots * MEMO_ENTRY);
}

bool pyh_size_unpickler(struct pyh_subject *subject)
{
	static const enum pyh_field arrays[][2] = {
		{ PYH_UNPICKLER_MEMO, PYH_UNPICKLER_MEMO_SIZE },
		{ PYH_UNPICKLER_MARKS, PYH_UNPICKLER_MARKS_SIZE },
	};
	static const enum pyh_field strings[] = {
		PYH_UNPICKLER_INPUT_LINE, PYH_UNPICKLER_ENCODING,
		PYH_UNPICKLER_ERRORS,
	};
	uint64_t address, count;

	if (!pyh_size_other(subject))
		return false;
	for (size_t i = 0; i < 2; i++) {
		if (!pyh_subject_get(subject, arrays[i][0], &address) ||
		    !pyh_subject_get(subject, arrays[i][1], &count) || !address)
			continue;
		if (count >> 44)
			return false;
		subject->measure->size += count * 8;
		if (!pyh_subject_claim(subject, address, count * 8))
			return false;
	}
	for (size_t i = 0; i < 3; i++)
		if (pyh_subject_get(subject, strings[i], &address))
			pyh_subject_claim_string(subject, address,
						 &subject->measure->size);
	return true;
}

/* One index for each item of a tuple that the object holds. */
static bool add_indices(struct pyh_subject *subject, enum pyh_field field,
			uint64_t count)
{
	uint64_t indices;

	if (count >> 44)
		return false;
	subject->measure->size += count * 8;
	return !pyh_subject_get(subject, field, &indices) ||
	       pyh_subject_claim(subject, indices, count * 8);
}

static uint64_t length_of(struct pyh_subject *subject, enum pyh_field field)
{
	uint64_t tuple, count = 0;

	if (pyh_subject_get(subject, field, &tuple))
		(void)pyh_subject_at(subject, tuple, PYH_VAR_OB_SIZE, &count);
	return count;
}

bool pyh_size_product(struct pyh_subject *subject)
{
	return pyh_size_other(subject) &&
	       add_indices(subject, PYH_PRODUCT_INDICES,
			   length_of(subject, PYH_PRODUCT_POOLS));
}

bool pyh_size_combinations(struct pyh_subject *subject)
{
	uint64_t count;

	return pyh_size_other(subject) &&
	       (!pyh_subject_get(subject, PYH_COMBINATIONS_R, &count) ||
		add_indices(subject, PYH_COMBINATIONS_INDICES, count));
}

bool pyh_size_permutations(struct pyh_subject *subject)
{
	uint64_t count;

	return pyh_size_other(subject) &&
	       add_indices(subject, PYH_PERMUTATIONS_INDICES,
			   length_of(subject, PYH_PERMUTATIONS_POOL)) &&
	       (!pyh_subject_get(subject, PYH_PERMUTATIONS_R, &count) ||
		add_indices(subject, PYH_PERMUTATIONS_CYCLES, count));
}
