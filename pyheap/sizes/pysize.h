/*
 * How big an object is, and which memory outside of itself it owns.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A table of one handler per enum pyh_kind. Sizes are those of sys.getsizeof
 * in the release at hand. Nothing here trusts the object: a count that cannot
 * be true makes the measure fail, and the caller then knows that what it holds
 * is no such object.
 */
#ifndef PYHEAP_PYSIZE_H
#define PYHEAP_PYSIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pyheap/types/pytypes.h"
#include "pyheap/values/pystr.h"

/** Memory outside an object that the object owns. */
struct pyh_claim {
	uint64_t address;	/* as the allocator returned it */
	uint64_t size;		/* bytes asked of the allocator, at least;
				   0: unknown */
	bool dead;		/* nothing in it is a reference any more */
	uint32_t untouched;	/* bytes of it that were never used, in pages
				   that the kernel has not given yet */
};

enum { PYH_CLAIMS_INLINE = 4 };

enum pyh_measured {
	PYH_MEASURED,		/* all of it */
	PYH_MEASURED_PARTLY,	/* something that must be read elsewhere was not
				   captured: size is a lower bound */
	PYH_MEASURE_REFUSED,	/* it cannot be such an object */
};

struct pyh_measure {
	uint64_t size;		/* sys.getsizeof, pre-header included */
	uint64_t extent;	/* bytes of the object's own block, counted
				   from the object's address. At least: ints
				   may have lost leading zeros, the first
				   instances of a class of 3.13 and later have
				   a little more, extension types may ask for
				   what their type does not tell */
	bool exact;		/* size is what sys.getsizeof says */
	unsigned int num_claims;
	struct pyh_claim claims[PYH_CLAIMS_INLINE];
	/* deque blocks, ordered-dict nodes: a chain of claims that must be
	   walked with pyh_claims_each(); claims[] has the first of it only */
	bool more_claims;
};

/**
 * Measure one object.
 *
 * @param type  its type (never NULL)
 * @param address  of the object
 * @param body  its first bytes, at least type->basicsize of them if available
 *	allows, borrowed from the caller's view
 * @param available  bytes at body
 * @param memory  for what lies elsewhere (dict keys, table headers); not the
 *	reader that body came from
 * @return what could be done; when refused, ret holds nothing of use
 */
enum pyh_measured pyh_measure(const struct pyh_runtime *runtime,
			      const struct pyh_type *type, uint64_t address,
			      const uint8_t *body, size_t available,
			      struct memory_reader *memory,
			      struct pyh_measure *ret);

/** The lane of a type of which all else is known. */
enum pyh_lane pyh_lane_of(const struct pyh_runtime *runtime,
			  const struct pyh_type *type);

/* Sizes up to this are not held against the map of memory. */
enum { PYH_SMALL = 1 << 16 };

static inline uint64_t pyh_word(const uint8_t *body, uint32_t offset)
{
	uint64_t word;

	memcpy(&word, body + offset, sizeof(word));
	return word;
}

/** The bytes of a static int's block, and of what sys.getsizeof says. */
static inline bool pyh_quick_int(const struct pyh_runtime *runtime,
				 const uint8_t *body, struct pyh_measure *ret)
{
	bool tagged = pyh_has(runtime, PYH_LONG_LONG_VALUE_LV_TAG);
	uint32_t head = pyh_offset(runtime, tagged ?
				   PYH_LONG_LONG_VALUE_OB_DIGIT :
				   PYH_LONG_OB_DIGIT);
	uint64_t word = pyh_word(body, pyh_offset(
			runtime, tagged ? PYH_LONG_LONG_VALUE_LV_TAG :
					  PYH_VAR_OB_SIZE));
	// The count of digits carries the sign: in two bits, or as its own.
	uint64_t digits = tagged ? word >> 3 : word >> 63 ? -word : word;

	if ((tagged && (word & 3) == 3) || digits > PYH_SMALL / 8)
		return false;
	// 3.11 and later count a digit even if there is none; 3.12 and later
	// have it, too.
	ret->size = head + 4 * (digits ? digits : runtime->minor >= 11);
	ret->extent = head + 4 * (digits ? digits : tagged);
	return true;
}

/** The buffer of a list's items; free-threaded builds have its size in front. */
static inline struct pyh_claim
pyh_list_buffer(const struct pyh_runtime *runtime, uint64_t items,
		uint64_t room)
{
	uint64_t head = runtime->free_threaded ? sizeof(uint64_t) : 0;
	uint64_t size = head + room * 8;

	// The buffer of no items is one of one byte.
	return (struct pyh_claim){ .address = items - head,
				   .size = size ? size : 1 };
}

/** A list owns one buffer, or none. */
static inline bool pyh_quick_list(const struct pyh_runtime *runtime,
				  const uint8_t *body, struct pyh_measure *ret)
{
	uint64_t count = pyh_word(body, pyh_offset(runtime, PYH_VAR_OB_SIZE));
	uint64_t room = pyh_word(body, pyh_offset(runtime, PYH_LIST_ALLOCATED));
	uint64_t items = pyh_word(body, pyh_offset(runtime, PYH_LIST_OB_ITEM));

	if (count > room || room > PYH_SMALL / 8 || items % 8 || items >> 48 ||
	    (room != 0 && items == 0))
		return false;
	ret->size += room * 8;
	if (items == 0)
		return true;
	ret->claims[0] = pyh_list_buffer(runtime, items, room);
	ret->num_claims = 1;
	return true;
}

/** Most strings are compact ASCII without any other form. */
static inline bool pyh_quick_ascii(const struct pyh_runtime *runtime,
				   const uint8_t *body, size_t available,
				   struct pyh_measure *ret)
{
	uint32_t head = runtime->size_of[PYH_STRUCT_ASCII];
	uint64_t length;

	if (available < head ||
	    !pyh_str_is_plain_ascii(runtime, body, &length) ||
	    length > PYH_SMALL ||
	    (pyh_has(runtime, PYH_ASCII_WSTR) &&
	     pyh_word(body, pyh_offset(runtime, PYH_ASCII_WSTR)) != 0))
		return false;
	ret->size = ret->extent = head + length + 1;
	return true;
}

/** Items behind the fields. Classes written in Python get room for one more. */
static inline bool pyh_quick_items(const struct pyh_runtime *runtime,
				   const struct pyh_type *type,
				   const uint8_t *body, struct pyh_measure *ret)
{
	uint64_t count = pyh_word(body, pyh_offset(runtime, PYH_VAR_OB_SIZE));
	uint64_t item = (uint64_t)type->itemsize;

	if (count > PYH_SMALL)
		return false;
	ret->size += count * item;
	ret->extent = ret->size + (type->is_static ? 0 : item);
	return ret->extent <= PYH_SMALL;
}

/* Bytes of the header of a table of keys, in 3.11 and later. */
enum { PYH_KEYS_HEADER = 32 };

/** A dict whose table is its own, not large, and in view. */
static inline bool pyh_quick_dict(const struct pyh_runtime *runtime,
				  const uint8_t *body,
				  const struct memory_reader *memory,
				  struct pyh_measure *ret)
{
	uint64_t keys, at, usable, count, left, bytes;
	uint8_t slots, index, kind;
	const uint8_t *header;

	keys = pyh_word(body, pyh_offset(runtime, PYH_DICT_MA_KEYS));
	at = keys - memory->view_start;
	if (at >= memory->view_size ||
	    memory->view_size - at < PYH_KEYS_HEADER || keys % 8 ||
	    pyh_word(body, pyh_offset(runtime, PYH_DICT_MA_VALUES)))
		return false;
	header = memory->view + at;
	slots = header[pyh_offset(runtime, PYH_KEYS_DK_LOG2_SIZE)];
	index = header[pyh_offset(runtime, PYH_KEYS_DK_LOG2_INDEX_BYTES)];
	kind = header[pyh_offset(runtime, PYH_KEYS_DK_KIND)];
	left = pyh_word(header, pyh_offset(runtime, PYH_KEYS_DK_USABLE));
	count = pyh_word(header, pyh_offset(runtime, PYH_KEYS_DK_NENTRIES));
	if (slots > 16 || index < slots || index > slots + 3 || kind > 2)
		return false;
	usable = (UINT64_C(1) << slots) * 2 / 3;
	bytes = PYH_KEYS_HEADER + (UINT64_C(1) << index) +
		usable * (kind ? 16 : 24);
	if (count > usable || left > usable || bytes > PYH_SMALL ||
	    pyh_word(header, pyh_offset(runtime, PYH_KEYS_DK_REFCNT)) != 1 ||
	    pyh_word(body, pyh_offset(runtime, PYH_DICT_MA_USED)) > count)
		return false;
	ret->size += bytes;
	ret->claims[0] = (struct pyh_claim){ .address = keys, .size = bytes };
	ret->num_claims = 1;
	return true;
}

/** 3.11 and 3.12: a buffer of values that is in view, or none. */
static inline bool pyh_quick_managed(const struct pyh_runtime *runtime,
				     const struct pyh_type *type,
				     const uint8_t *body,
				     const struct memory_reader *memory,
				     struct pyh_measure *ret)
{
	bool old = runtime->minor == 11;
	uint64_t values = pyh_word(body - (old ? 32 : 24), 0), at;
	uint32_t prefix, count = type->shared_values;

	// In 3.12 an even word is a dict, or nothing.
	if (old ? values == 0 : !(values & 1))
		return true;
	values += !old;
	at = values - 1 - memory->view_start;
	if (values % 8 || at >= memory->view_size)
		return false;
	prefix = memory->view[at];
	if (prefix < 8 || prefix % 8)
		return false;
	if (count + 9 < prefix)
		count = prefix - 9;
	ret->claims[0] = (struct pyh_claim){
		.address = values - prefix, .size = prefix + count * 8 };
	ret->num_claims = 1;
	return true;
}

/** 3.13 and later: values behind the fields, as many as they say. */
static inline bool pyh_quick_inline(const struct pyh_runtime *runtime,
				    const struct pyh_type *type,
				    const uint8_t *body, size_t available,
				    struct pyh_measure *ret)
{
	uint64_t basic = (uint64_t)type->basicsize;
	uint64_t at = basic + pyh_offset(runtime, PYH_VALUES_CAPACITY);
	uint64_t capacity;

	if (at >= available)
		return false;
	capacity = body[at];
	ret->extent = basic + pyh_offset(runtime, PYH_VALUES_VALUES) +
		      capacity * 8 + ((capacity + 7) & ~UINT64_C(7));
	return true;
}

/**
 * What pyh_measure() says of those objects that pyh_measure_quick() leaves,
 * where all that has to be looked at is in view.
 *
 * @param body  of an object in a block: what lies before it is there, too
 * @return false if pyh_measure() must be asked; ret then holds nothing of use
 */
static inline bool pyh_measure_near(const struct pyh_runtime *runtime,
				    const struct pyh_type *type,
				    const uint8_t *body, size_t available,
				    const struct memory_reader *memory,
				    struct pyh_measure *ret)
{
	uint64_t basic = (uint64_t)type->basicsize;

	if (type->lane < PYH_LANE_DICT || available < basic)
		return false;
	ret->size = basic + type->presize;
	ret->extent = (basic + 7) & ~UINT64_C(7);
	ret->exact = type->size_exact;
	ret->num_claims = 0;
	ret->more_claims = false;
	return type->lane == PYH_LANE_DICT ?
		       pyh_quick_dict(runtime, body, memory, ret) :
	       type->lane == PYH_LANE_MANAGED ?
		       pyh_quick_managed(runtime, type, body, memory, ret) :
		       pyh_quick_inline(runtime, type, body, available, ret);
}

/**
 * What pyh_measure() says, by the first words of the object alone, and only
 * where there is no doubt.
 *
 * @return false if pyh_measure() must be asked; ret then holds nothing of use
 */
static inline bool pyh_measure_quick(const struct pyh_runtime *runtime,
				     const struct pyh_type *type,
				     const uint8_t *body, size_t available,
				     struct pyh_measure *ret)
{
	uint64_t basic = (uint64_t)type->basicsize;
	bool done = type->lane == PYH_LANE_FIXED;

	ret->size = ret->extent = basic;
	ret->exact = type->size_exact;
	ret->num_claims = 0;
	ret->more_claims = false;
	if (type->lane == PYH_LANE_ASCII)
		done = pyh_quick_ascii(runtime, body, available, ret);
	else if (type->lane != PYH_LANE_NONE && !done && available >= basic)
		done = type->lane >= PYH_LANE_DICT ? false :
		       type->lane == PYH_LANE_INT ?
			       pyh_quick_int(runtime, body, ret) :
		       type->lane == PYH_LANE_LIST ?
			       pyh_quick_list(runtime, body, ret) :
			       pyh_quick_items(runtime, type, body, ret);
	ret->size += type->presize;
	ret->extent = (ret->extent + 7) & ~UINT64_C(7);
	return done;
}

/** Call fn for every claim of an object, chains included (bounded). */
void pyh_claims_each(const struct pyh_runtime *runtime,
		     const struct pyh_type *type, uint64_t address,
		     const uint8_t *body, size_t available,
		     struct memory_reader *memory,
		     void (*fn)(void *context, struct pyh_claim claim),
		     void *context);

#endif
