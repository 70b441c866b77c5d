/*
 * How big an object is: the table of handlers, and what they share.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/sizes/pysize.h"

#include "pyheap/sizes/pysubject.h"
#include "pyheap/values/pystr.h"

enum {
	STRING_MAX = 1 << 16,
};

/* No object and no buffer is larger than half the address space. */
#define SIZE_LIMIT (UINT64_C(1) << 47)

static pyh_handler *const handlers[PYH_NUM_KINDS] = {
	[PYH_KIND_OTHER] = pyh_size_other,
	[PYH_KIND_LIST] = pyh_size_list,
	[PYH_KIND_TUPLE] = pyh_size_tuple,
	[PYH_KIND_DICT] = pyh_size_dict,
	[PYH_KIND_SET] = pyh_size_set,
	[PYH_KIND_STR] = pyh_size_str,
	[PYH_KIND_BYTES] = pyh_size_bytes,
	[PYH_KIND_BYTEARRAY] = pyh_size_bytearray,
	[PYH_KIND_INT] = pyh_size_int,
	[PYH_KIND_FLOAT] = pyh_size_other,
	[PYH_KIND_COMPLEX] = pyh_size_other,
	[PYH_KIND_TYPE] = pyh_size_type,
	[PYH_KIND_CODE] = pyh_size_code,
	[PYH_KIND_FRAME] = pyh_size_frame,
	[PYH_KIND_GENERATOR] = pyh_size_generator,
	[PYH_KIND_DEQUE] = pyh_size_deque,
	[PYH_KIND_ARRAY] = pyh_size_array,
	[PYH_KIND_ODICT] = pyh_size_odict,
	[PYH_KIND_MEMORYVIEW] = pyh_size_other,
	[PYH_KIND_MANAGEDBUFFER] = pyh_size_other,
	[PYH_KIND_PATTERN] = pyh_size_other,
	[PYH_KIND_MATCH] = pyh_size_other,
	[PYH_KIND_CDATA] = pyh_size_cdata,
	[PYH_KIND_DECIMAL] = pyh_size_decimal,
	[PYH_KIND_BYTESIO] = pyh_size_bytesio,
	[PYH_KIND_STRINGIO] = pyh_size_stringio,
	[PYH_KIND_BUFFERED] = pyh_size_buffered,
	[PYH_KIND_MODULE] = pyh_size_module,
	[PYH_KIND_ELEMENT] = pyh_size_element,
	[PYH_KIND_DATETIME] = pyh_size_datetime,
	[PYH_KIND_TIME] = pyh_size_time,
	[PYH_KIND_STRUCTSEQ] = pyh_size_structseq,
	[PYH_KIND_SIMPLEQUEUE] = pyh_size_simplequeue,
	[PYH_KIND_STRUCTPACK] = pyh_size_structpack,
	[PYH_KIND_PICKLER] = pyh_size_pickler,
	[PYH_KIND_UNPICKLER] = pyh_size_unpickler,
	[PYH_KIND_PRODUCT] = pyh_size_product,
	[PYH_KIND_COMBINATIONS] = pyh_size_combinations,
	[PYH_KIND_PERMUTATIONS] = pyh_size_permutations,
	[PYH_KIND_STGDICT] = pyh_size_stgdict,
	[PYH_KIND_CTYPE] = pyh_size_ctype,
	[PYH_KIND_NDARRAY] = pyh_size_ndarray,
	[PYH_KIND_GREENLET] = pyh_size_greenlet,
	[PYH_KIND_OLD_GREENLET] = pyh_size_greenlet,
	[PYH_KIND_KHASH] = pyh_size_khash,
	[PYH_KIND_ARROW_BUFFER] = pyh_size_arrow,
	[PYH_KIND_ARROW_ARRAY] = pyh_size_arrow,
	[PYH_KIND_ARROW_CHUNKED] = pyh_size_arrow,
	[PYH_KIND_ARROW_TABLE] = pyh_size_arrow,
	[PYH_KIND_ARROW_BATCH] = pyh_size_arrow,
};

bool pyh_subject_at(struct pyh_subject *subject, uint64_t structure,
		    enum pyh_field field, uint64_t *ret)
{
	struct pyh_field_at at = subject->runtime->at[field];
	uint64_t value = 0;

	if (structure == 0 || at.size == 0 || at.size > sizeof(value))
		return false;
	if (!memory_try_read(subject->memory, structure + at.offset, &value,
			     at.size)) {
		subject->missing = true;
		return false;
	}
	*ret = value;
	return true;
}

bool pyh_subject_fits(const struct pyh_subject *subject, uint64_t address,
		      uint64_t size)
{
	if (size > SIZE_LIMIT || address > UINT64_MAX - size)
		return false;
	if (size <= PYH_SMALL)
		return true;
	return memory_find(subject->memory->memory, address) &&
	       memory_find(subject->memory->memory, address + size - 1);
}

static bool claim_buffer(struct pyh_subject *subject, struct pyh_claim claim)
{
	struct pyh_measure *measure = subject->measure;

	if (claim.address == 0)
		return true;
	if (!pyh_subject_fits(subject, claim.address, claim.size))
		return false;
	if (subject->emit)
		subject->emit(subject->context, claim);
	if (measure->num_claims < PYH_CLAIMS_INLINE)
		measure->claims[measure->num_claims++] = claim;
	else
		measure->more_claims = true;
	return true;
}

bool pyh_subject_claim(struct pyh_subject *subject, uint64_t address,
		       uint64_t size)
{
	return claim_buffer(subject, (struct pyh_claim){
		.address = address, .size = size });
}

bool pyh_subject_claim_part(struct pyh_subject *subject, uint64_t address,
			    uint64_t size, uint64_t used)
{
	uint64_t untouched = size - used;

	return claim_buffer(subject, (struct pyh_claim){
		.address = address, .size = size,
		.untouched = untouched < UINT32_MAX ? (uint32_t)untouched : 0 });
}

bool pyh_subject_claim_dead(struct pyh_subject *subject, uint64_t address,
			    uint64_t size)
{
	return claim_buffer(subject, (struct pyh_claim){
		.address = address, .size = size, .dead = true });
}

void pyh_subject_claim_string(struct pyh_subject *subject, uint64_t address,
			      uint64_t *total)
{
	uint64_t size = 0;
	char byte;

	if (address == 0)
		return;
	do {
		if (!pyh_subject_step(subject) ||
		    !memory_try_read(subject->memory, address + size, &byte, 1)) {
			subject->missing = true;
			return;
		}
	} while (++size < STRING_MAX && byte != '\0');
	if (byte != '\0' || !pyh_subject_claim(subject, address, size))
		return;
	*total += size;
}

bool pyh_subject_count(struct pyh_subject *subject, uint64_t *ret)
{
	uint64_t count;

	*ret = 0;
	if (!pyh_subject_get(subject, PYH_VAR_OB_SIZE, &count))
		return true;
	*ret = count;
	return count < SIZE_LIMIT;
}

bool pyh_subject_items(struct pyh_subject *subject, uint64_t count,
		       uint64_t spare)
{
	const struct pyh_type *type = subject->type;
	struct pyh_measure *measure = subject->measure;
	uint64_t bytes, size = (uint64_t)type->basicsize;

	if (__builtin_mul_overflow(count, (uint64_t)type->itemsize, &bytes) ||
	    bytes > SIZE_LIMIT)
		return false;
	measure->size = size + bytes;
	measure->extent = size + bytes + spare * (uint64_t)type->itemsize;
	measure->extent = (measure->extent + 7) & ~UINT64_C(7);
	return pyh_subject_fits(subject, subject->address, measure->extent);
}

bool pyh_size_other(struct pyh_subject *subject)
{
	uint64_t count = 0;

	if (subject->type->itemsize && !pyh_subject_count(subject, &count))
		return false;
	// Extension types ask for their own memory: no more than this is sure.
	return pyh_subject_items(subject, count, 0);
}

/* 3.13 and later: attribute values inside of the object, after basicsize. */
static bool add_inline_values(struct pyh_subject *subject)
{
	const struct pyh_runtime *runtime = subject->runtime;
	uint32_t offset = (uint32_t)subject->type->basicsize;
	uint8_t capacity;

	if (!(subject->type->flags & PYH_TPFLAGS_INLINE_VALUES) ||
	    !pyh_has(runtime, PYH_VALUES_CAPACITY))
		return true;
	if (!pyh_subject_read(subject,
			      offset + pyh_offset(runtime, PYH_VALUES_CAPACITY),
			      &capacity, sizeof(capacity)))
		return true;
	subject->measure->extent = offset + pyh_values_bytes(runtime, capacity);
	return true;
}

/*
 * 3.11 and 3.12: values of attributes that no dict has been made for, in a
 * buffer that a word before the GC head leads to.
 */
static bool claim_managed_values(struct pyh_subject *subject)
{
	uint64_t values;

	if (subject->runtime->minor == 11) {
		if (memory_try_u64(subject->memory, subject->address - 32,
				   &values))
			return pyh_subject_claim_values(
				subject, values, subject->type->shared_values);
	} else if (memory_try_u64(subject->memory, subject->address - 24,
				  &values)) {
		// An even word is the dict that was made since, or nothing.
		return !(values & 1) ||
		       pyh_subject_claim_values(subject, values + 1,
						subject->type->shared_values);
	}
	subject->missing = true;
	return true;
}

static bool has_managed_values(const struct pyh_subject *subject)
{
	unsigned int minor = subject->runtime->minor;

	return (subject->type->flags & PYH_TPFLAGS_MANAGED_DICT) &&
	       (minor == 11 || minor == 12);
}

static enum pyh_measured measure_subject(struct pyh_subject *subject)
{
	const struct pyh_type *type = subject->type;
	struct pyh_measure *measure = subject->measure;

	measure->exact = type->size_exact;
	subject->presize = type->presize;
	if (!handlers[type->kind](subject) || !add_inline_values(subject))
		return PYH_MEASURE_REFUSED;
	if (has_managed_values(subject) && !claim_managed_values(subject))
		return PYH_MEASURE_REFUSED;
	measure->size += subject->presize;
	if (!subject->missing)
		return PYH_MEASURED;
	measure->exact = false;
	return PYH_MEASURED_PARTLY;
}

/** True if a type's size tells where the words are that a lane looks at. */
static bool has_words(const struct pyh_runtime *runtime,
		      const struct pyh_type *type,
		      const enum pyh_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct pyh_field_at at = runtime->at[fields[i]];

		if (at.size != 8 || at.offset + 8 > (uint64_t)type->basicsize)
			return false;
	}
	return true;
}

/** Attribute values inside or beside the object. */
static enum pyh_lane lane_of_instance(const struct pyh_runtime *runtime,
				      const struct pyh_type *type)
{
	if (type->kind != PYH_KIND_OTHER || type->itemsize != 0)
		return PYH_LANE_NONE;
	if (runtime->minor == 11 || runtime->minor == 12)
		return type->presize == 32 &&
		       !(type->flags & PYH_TPFLAGS_INLINE_VALUES) ?
			       PYH_LANE_MANAGED : PYH_LANE_NONE;
	return type->flags & PYH_TPFLAGS_INLINE_VALUES &&
	       runtime->at[PYH_VALUES_CAPACITY].size == 1 ?
		       PYH_LANE_INLINE : PYH_LANE_NONE;
}

/** True if tables of keys begin with a header as pyh_measure_dict() knows it. */
static bool has_keys(const struct pyh_runtime *runtime)
{
	static const struct {
		enum pyh_field field;
		uint32_t size;
	} fields[] = {
		{ PYH_KEYS_DK_REFCNT, 8 }, { PYH_KEYS_DK_LOG2_SIZE, 1 },
		{ PYH_KEYS_DK_LOG2_INDEX_BYTES, 1 }, { PYH_KEYS_DK_KIND, 1 },
		{ PYH_KEYS_DK_USABLE, 8 }, { PYH_KEYS_DK_NENTRIES, 8 },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct pyh_field_at at = runtime->at[fields[i].field];

		if (at.size != fields[i].size ||
		    at.offset + at.size > PYH_KEYS_HEADER)
			return false;
	}
	return runtime->size_of[PYH_STRUCT_KEYS] == PYH_KEYS_HEADER &&
	       !pyh_has(runtime, PYH_KEYS_DK_SIZE);
}

enum pyh_lane pyh_lane_of(const struct pyh_runtime *runtime,
			  const struct pyh_type *type)
{
	static const enum pyh_field var[] = { PYH_VAR_OB_SIZE };
	static const enum pyh_field tag[] = { PYH_LONG_LONG_VALUE_LV_TAG };
	static const enum pyh_field list[] = {
		PYH_VAR_OB_SIZE, PYH_LIST_ALLOCATED, PYH_LIST_OB_ITEM,
	};
	static const enum pyh_field dict[] = {
		PYH_DICT_MA_USED, PYH_DICT_MA_KEYS, PYH_DICT_MA_VALUES,
	};
	bool tagged = pyh_has(runtime, PYH_LONG_LONG_VALUE_LV_TAG);

	if (type->flags & (PYH_TPFLAGS_INLINE_VALUES |
			   PYH_TPFLAGS_MANAGED_DICT))
		return lane_of_instance(runtime, type);
	switch (type->kind) {
	case PYH_KIND_OTHER:
	case PYH_KIND_FLOAT:
	case PYH_KIND_COMPLEX:
		return type->itemsize == 0 ? PYH_LANE_FIXED : PYH_LANE_NONE;
	case PYH_KIND_STR:
		return type->is_static ? PYH_LANE_ASCII : PYH_LANE_NONE;
	case PYH_KIND_INT:
		return type->is_static &&
		       has_words(runtime, type, tagged ? tag : var, 1) ?
			       PYH_LANE_INT : PYH_LANE_NONE;
	case PYH_KIND_TUPLE:
	case PYH_KIND_BYTES:
		return has_words(runtime, type, var, 1) ? PYH_LANE_ITEMS :
							  PYH_LANE_NONE;
	case PYH_KIND_LIST:
		return has_words(runtime, type, list, 3) ? PYH_LANE_LIST :
							   PYH_LANE_NONE;
	case PYH_KIND_DICT:
		return has_words(runtime, type, dict, 3) &&
		       has_keys(runtime) ? PYH_LANE_DICT : PYH_LANE_NONE;
	default:
		return PYH_LANE_NONE;
	}
}

/** By the handlers; apart, so that most objects need no subject. */
__attribute__((noinline))
static enum pyh_measured measure_any(const struct pyh_runtime *runtime,
				     const struct pyh_type *type,
				     uint64_t address, const uint8_t *body,
				     size_t available,
				     struct memory_reader *memory,
				     struct pyh_measure *ret)
{
	struct pyh_subject subject = {
		.runtime = runtime, .type = type, .address = address,
		.body = body, .available = available, .memory = memory,
		.measure = ret,
	};

	ret->size = ret->extent = 0;
	ret->num_claims = 0;
	ret->more_claims = false;
	return measure_subject(&subject);
}

enum pyh_measured pyh_measure(const struct pyh_runtime *runtime,
			      const struct pyh_type *type, uint64_t address,
			      const uint8_t *body, size_t available,
			      struct memory_reader *memory,
			      struct pyh_measure *ret)
{
	if (pyh_measure_quick(runtime, type, body, available, ret))
		return PYH_MEASURED;
	return measure_any(runtime, type, address, body, available, memory,
			   ret);
}

void pyh_claims_each(const struct pyh_runtime *runtime,
		     const struct pyh_type *type, uint64_t address,
		     const uint8_t *body, size_t available,
		     struct memory_reader *memory,
		     void (*fn)(void *context, struct pyh_claim claim),
		     void *context)
{
	struct pyh_measure measure = { 0 };
	struct pyh_subject subject = {
		.runtime = runtime, .type = type, .address = address,
		.body = body, .available = available, .memory = memory,
		.measure = &measure, .emit = fn, .context = context,
	};

	measure_subject(&subject);
}
