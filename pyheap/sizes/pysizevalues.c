/*
 * Sizes and buffers of strings, bytes, numbers, tuples and times.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/unicodeobject.c, bytesobject.c, bytearrayobject.c,
 * longobject.c, tupleobject.c, structseq.c, Modules/_decimal/_decimal.c and
 * _datetimemodule.c.
 */
#include "pyheap/sizes/pysubject.h"
#include "pyheap/values/pystr.h"

/* A compact str is one block; the others own their characters. */
static bool size_compact(struct pyh_subject *subject, const struct pyh_str *str)
{
	const struct pyh_runtime *runtime = subject->runtime;
	uint64_t head = runtime->size_of[str->ascii ? PYH_STRUCT_ASCII :
						      PYH_STRUCT_COMPACT];

	subject->measure->size = head + (str->length + 1) * str->width;
	subject->measure->extent = (subject->measure->size + 7) & ~UINT64_C(7);
	return pyh_subject_fits(subject, subject->address,
				subject->measure->extent);
}

static bool size_separate(struct pyh_subject *subject,
			  const struct pyh_str *str)
{
	uint64_t bytes = (str->length + 1) * str->width;
	uint64_t size = (uint64_t)subject->type->basicsize;

	subject->measure->size = subject->runtime->size_of[PYH_STRUCT_UNICODE];
	subject->measure->extent = (size + 7) & ~UINT64_C(7);
	if (str->data == 0)
		return str->length == 0 || str->width == 0;
	subject->measure->size += bytes;
	return pyh_subject_claim(subject, str->data, bytes);
}

bool pyh_size_str(struct pyh_subject *subject)
{
	struct pyh_measure *measure = subject->measure;
	struct pyh_str str;

	switch (pyh_str_parse(subject->runtime, subject->memory,
			      subject->address, subject->body,
			      subject->available, &str)) {
	case PYH_FOUND:
		break;
	case PYH_FOUND_MISSING:
		measure->size = subject->runtime->size_of[PYH_STRUCT_ASCII];
		measure->extent = measure->size;
		subject->missing = true;
		return true;
	default:
		return false;
	}
	if (!(str.compact ? size_compact : size_separate)(subject, &str))
		return false;
	if (str.wstr) {
		if (str.wstr % 4 || str.wstr_length >> 44)
			return false;
		measure->size += (str.wstr_length + 1) * 4;
		if (!pyh_subject_claim(subject, str.wstr,
				       (str.wstr_length + 1) * 4))
			return false;
	}
	if (!str.separate_utf8)
		return true;
	if (str.utf8_length >> 47)
		return false;
	measure->size += str.utf8_length + 1;
	return str.is_static ||
	       pyh_subject_claim(subject, str.utf8, str.utf8_length + 1);
}

bool pyh_size_bytes(struct pyh_subject *subject)
{
	uint64_t count;

	return pyh_subject_count(subject, &count) &&
	       pyh_subject_items(subject, count, pyh_subject_spare(subject));
}

/* 3.15: the bytes are those of a bytes object of their own. */
static bool size_bytearray_of_object(struct pyh_subject *subject)
{
	uint64_t count = 0, buffer, size;

	if (!pyh_subject_get(subject, PYH_BYTEARRAY_OB_BYTES_OBJECT, &buffer) ||
	    buffer == 0)
		return true;
	if (buffer % 8)
		return false;
	if (!pyh_subject_at(subject, buffer, PYH_VAR_OB_SIZE, &count))
		return true;
	size = pyh_offset(subject->runtime, PYH_BYTES_OB_SVAL) + 1;
	if (!pyh_subject_fits(subject, buffer, count))
		return false;
	if (count)
		subject->measure->size += size + count;
	return true;
}

bool pyh_size_bytearray(struct pyh_subject *subject)
{
	struct pyh_measure *measure = subject->measure;
	uint64_t count, allocated, bytes, start;

	measure->size = (uint64_t)subject->type->basicsize;
	measure->extent = (measure->size + 7) & ~UINT64_C(7);
	if (!pyh_subject_count(subject, &count))
		return false;
	if (pyh_has(subject->runtime, PYH_BYTEARRAY_OB_BYTES_OBJECT))
		return size_bytearray_of_object(subject);
	if (!pyh_subject_get(subject, PYH_BYTEARRAY_OB_ALLOC, &allocated) ||
	    !pyh_subject_get(subject, PYH_BYTEARRAY_OB_BYTES, &bytes) ||
	    !pyh_subject_get(subject, PYH_BYTEARRAY_OB_START, &start))
		return true;
	if (count > allocated || (allocated != 0) != (bytes != 0) ||
	    (bytes && (start < bytes || start - bytes > allocated)))
		return false;
	measure->size += allocated;
	return pyh_subject_claim(subject, bytes, allocated);
}

/* The count of digits, which also carries the sign. */
static bool int_digits(struct pyh_subject *subject, uint64_t *ret)
{
	uint64_t word = 0;

	if (pyh_has(subject->runtime, PYH_LONG_LONG_VALUE_LV_TAG)) {
		(void)pyh_subject_get(subject, PYH_LONG_LONG_VALUE_LV_TAG,
				      &word);
		*ret = word >> 3;
		return (word & 3) != 3;
	}
	(void)pyh_subject_get(subject, PYH_VAR_OB_SIZE, &word);
	*ret = word >> 63 ? -word : word;
	return true;
}

bool pyh_size_int(struct pyh_subject *subject)
{
	const struct pyh_runtime *runtime = subject->runtime;
	const struct pyh_type *type = subject->type;
	struct pyh_measure *measure = subject->measure;
	bool tagged = pyh_has(runtime, PYH_LONG_LONG_VALUE_OB_DIGIT);
	uint64_t head = pyh_offset(runtime, tagged ?
				   PYH_LONG_LONG_VALUE_OB_DIGIT :
				   PYH_LONG_OB_DIGIT);
	uint64_t digits, counted;

	if (!int_digits(subject, &digits) || digits >> 44)
		return false;
	// 3.11 and later always have room for a digit, and count it.
	counted = digits ? digits : runtime->minor >= 11;
	measure->size = head + counted * 4;
	// At least: leading zero digits may have been dropped.
	if (type->is_static)
		measure->extent = head + (digits ? digits : tagged) * 4;
	else
		measure->extent = (uint64_t)type->basicsize +
				  (counted + 1) * (uint64_t)type->itemsize;
	measure->extent = (measure->extent + 7) & ~UINT64_C(7);
	return pyh_subject_fits(subject, subject->address, measure->extent);
}

bool pyh_size_tuple(struct pyh_subject *subject)
{
	uint64_t count;

	return pyh_subject_count(subject, &count) &&
	       pyh_subject_items(subject, count, pyh_subject_spare(subject));
}

/* Struct sequences hide their last items from len(), and so from getsizeof. */
bool pyh_size_structseq(struct pyh_subject *subject)
{
	const struct pyh_type *type = subject->type;
	uint64_t count;

	return pyh_subject_count(subject, &count) &&
	       pyh_subject_items(subject, count, type->hidden_items);
}

/*
 * mpd_t of libmpdec, inside of the object: flags at 0, allocated words at 32,
 * pointer to them at 40; then room for four words.
 */
bool pyh_size_decimal(struct pyh_subject *subject)
{
	enum { DATA_NOT_OURS = 0x20 | 0x40 | 0x80, ALLOC = 32, DATA = 40 };
	uint32_t dec = pyh_offset(subject->runtime, PYH_DECIMAL_DEC);
	struct pyh_measure *measure = subject->measure;
	uint64_t words, data;
	uint8_t flags;

	measure->size = (uint64_t)subject->type->basicsize;
	measure->extent = (measure->size + 7) & ~UINT64_C(7);
	if (!pyh_subject_read(subject, dec, &flags, sizeof(flags)) ||
	    !pyh_subject_read(subject, dec + ALLOC, &words, sizeof(words)) ||
	    !pyh_subject_read(subject, dec + DATA, &data, sizeof(data)))
		return true;
	if (flags & DATA_NOT_OURS)
		return true;
	if (words >> 44 || data == 0 || data % 8)
		return false;
	measure->size += words * 8;
	return pyh_subject_claim(subject, data, words * 8);
}

/* Without a time zone, the field for it is not even allocated. */
static bool size_maybe_short(struct pyh_subject *subject,
			     enum pyh_field hastzinfo, enum pyh_field tzinfo)
{
	struct pyh_measure *measure = subject->measure;
	uint64_t aware;

	measure->size = (uint64_t)subject->type->basicsize;
	measure->extent = (measure->size + 7) & ~UINT64_C(7);
	if (!subject->type->is_static ||
	    !pyh_subject_get(subject, hastzinfo, &aware))
		return true;
	if (aware > 1)
		return false;
	if (!aware)
		measure->extent = pyh_offset(subject->runtime, tzinfo);
	return true;
}

bool pyh_size_datetime(struct pyh_subject *subject)
{
	return size_maybe_short(subject, PYH_DATETIME_HASTZINFO,
				PYH_DATETIME_TZINFO);
}

bool pyh_size_time(struct pyh_subject *subject)
{
	return size_maybe_short(subject, PYH_TIME_HASTZINFO, PYH_TIME_TZINFO);
}
