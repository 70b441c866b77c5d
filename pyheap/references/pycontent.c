/*
 * What str, bytes and tuple objects hold, as a hash; see pycontent.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every variable part is preceded by its length, so that no two contents feed
 * the same words.
 */
#include "pyheap/references/pycontent.h"

#include <string.h>

#include "pyheap/values/pystr.h"

enum {
	CHUNK = 1 << 20,		/* bytes viewed at a time */
	FRAME_ITEMS = 64,		/* items of a tuple copied at a time */
	INT_DIGITS_MAX = PYH_CONTENT_BYTES / 4,
};

/* --- SipHash-1-3, 128 bits ----------------------------------------------- */

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 = rotate(s->v2, 32);
}

/** The key is constant: answers must not differ from run to run. */
static inline void sip_init(struct sip *s)
{
	const uint64_t key0 = UINT64_C(0x68656170736361a6);
	const uint64_t key1 = UINT64_C(0x5be0cd19137e2179);

	s->v0 = key0 ^ UINT64_C(0x736f6d6570736575);
	s->v1 = key1 ^ UINT64_C(0x646f72616e646f6d) ^ 0xee;
	s->v2 = key0 ^ UINT64_C(0x6c7967656e657261);
	s->v3 = key1 ^ UINT64_C(0x7465646279746573);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
	s->v3 ^= word;
	sip_round(s);
	s->v0 ^= word;
}

/** Bytes; the last of several pieces alone may be no multiple of 8. */
static inline void sip_bytes(struct sip *s, const uint8_t *bytes, size_t size)
{
	uint64_t word = 0;

	for (; size >= 8; bytes += 8, size -= 8) {
		memcpy(&word, bytes, 8);
		sip_word(s, word);
	}
	if (size) {
		word = 0;
		memcpy(&word, bytes, size);
		sip_word(s, word);
	}
}

static inline void sip_end(struct sip *s, uint64_t ret[2])
{
	s->v2 ^= 0xee;
	sip_round(s);
	sip_round(s);
	sip_round(s);
	ret[0] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
	s->v1 ^= 0xdd;
	sip_round(s);
	sip_round(s);
	sip_round(s);
	ret[1] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* --- reading ------------------------------------------------------------- */

/** One object, and where its bytes come from. */
struct source {
	const struct pyh_contents *contents;
	uint64_t address;
	const uint8_t *body;	/* borrowed; may be NULL with 0 available */
	size_t available;
	struct memory_reader *memory;
};

static bool source_read(const struct source *source, uint64_t offset,
			void *ret, size_t size)
{
	if (size <= source->available && offset <= source->available - size) {
		memcpy(ret, source->body + offset, size);
		return true;
	}
	return memory_try_read(source->memory, source->address + offset, ret,
			       size);
}

static bool source_field(const struct source *source, enum pyh_field field,
			 uint64_t *ret)
{
	return source_read(source,
			   pyh_offset(source->contents->runtime, field), ret,
			   sizeof(*ret));
}

/** Feed size bytes at an address, which may be those of the body. */
static bool feed_bytes(const struct source *source, struct sip *s,
		       uint64_t address, uint64_t size)
{
	uint64_t offset = address - source->address;

	if (size <= source->available && offset <= source->available - size) {
		sip_bytes(s, source->body + offset, size);
		return true;
	}
	while (size > 0) {
		size_t piece = size < CHUNK ? (size_t)size : CHUNK;
		const uint8_t *bytes = memory_view(source->memory, address,
						   piece);

		if (!bytes)
			return false;
		sip_bytes(s, bytes, piece);
		address += piece;
		size -= piece;
	}
	return true;
}

/** What the words that follow mean. */
enum part {
	PART_ADDRESS = 1, PART_STR, PART_BYTES, PART_INT, PART_FLOAT,
	PART_TUPLE,
};

static void feed_head(struct sip *s, enum part part, uint64_t detail,
		      uint64_t length)
{
	sip_word(s, (uint64_t)part | detail << 8);
	sip_word(s, length);
}

/**
 * A str, unless it is longer than most. Equal text has equal characters of
 * equal width: the interpreter always takes the narrowest.
 */
static enum pyh_found feed_str(const struct source *source, struct sip *s,
			       uint64_t most, uint64_t *ret_length,
			       uint64_t *ret_bytes)
{
	struct pyh_str str;
	enum pyh_found found;

	found = pyh_str_parse(source->contents->runtime, source->memory,
			      source->address, source->body, source->available,
			      &str);
	if (found != PYH_FOUND)
		return found;
	if (str.width == 0 || (str.data == 0 && str.length > 0))
		return PYH_FOUND_MISSING;
	*ret_length = str.length;
	*ret_bytes = str.length * str.width;
	if (*ret_bytes > most)
		return PYH_FOUND_MISSING;
	feed_head(s, PART_STR, str.width, str.length);
	return feed_bytes(source, s, str.data, *ret_bytes) ?
		       PYH_FOUND : PYH_FOUND_MISSING;
}

static enum pyh_found feed_bytes_object(const struct source *source,
					struct sip *s, uint64_t most,
					uint64_t *ret_length)
{
	uint64_t start = source->address +
			 pyh_offset(source->contents->runtime,
				    PYH_BYTES_OB_SVAL);

	if (!source_field(source, PYH_VAR_OB_SIZE, ret_length) ||
	    *ret_length > most)
		return PYH_FOUND_MISSING;
	feed_head(s, PART_BYTES, 0, *ret_length);
	return feed_bytes(source, s, start, *ret_length) ? PYH_FOUND :
							   PYH_FOUND_MISSING;
}

/* --- items of tuples ----------------------------------------------------- */

/** How much of a tuple may still be looked at. */
struct allowance {
	uint64_t items, bytes;
};

static enum pyh_found feed_int(const struct source *source, struct sip *s,
			       struct allowance *allowance)
{
	const struct pyh_runtime *runtime = source->contents->runtime;
	bool tagged = pyh_has(runtime, PYH_LONG_LONG_VALUE_LV_TAG);
	uint64_t word, digits, sign;
	uint32_t at = pyh_offset(runtime, tagged ?
				 PYH_LONG_LONG_VALUE_OB_DIGIT :
				 PYH_LONG_OB_DIGIT);

	if (!source_field(source, tagged ? PYH_LONG_LONG_VALUE_LV_TAG :
					   PYH_VAR_OB_SIZE, &word))
		return PYH_FOUND_MISSING;
	// Of the tag's low bits one says that an int is immortal.
	digits = tagged ? word >> 3 : word >> 63 ? -word : word;
	sign = tagged ? word & 3 : word >> 63;
	if (digits > INT_DIGITS_MAX || digits * 4 > allowance->bytes)
		return PYH_FOUND_MISSING;
	allowance->bytes -= digits * 4;
	// Zero has a digit that does not count, at most.
	feed_head(s, PART_INT, sign, digits);
	return feed_bytes(source, s, source->address + at, digits * 4) ?
		       PYH_FOUND : PYH_FOUND_MISSING;
}

/** By its bits: so 0.0 and -0.0 are two, and equal NaNs one. */
static enum pyh_found feed_float(const struct source *source, struct sip *s)
{
	uint64_t bits;

	if (!source_field(source, PYH_FLOAT_OB_FVAL, &bits))
		return PYH_FOUND_MISSING;
	feed_head(s, PART_FLOAT, 0, 8);
	sip_word(s, bits);
	return PYH_FOUND;
}

static bool spend(struct allowance *allowance, uint64_t bytes)
{
	if (bytes > allowance->bytes)
		return false;
	allowance->bytes -= bytes;
	return true;
}

/** A leaf by content; s is spoilt where that is not PYH_FOUND. */
static enum pyh_found feed_leaf(const struct source *source, struct sip *s,
				uint64_t type, struct allowance *allowance)
{
	const struct pyh_contents *contents = source->contents;
	enum pyh_found found = PYH_FOUND_MISSING;
	uint64_t length = 0, bytes = 0;

	if (type == contents->str) {
		found = feed_str(source, s, allowance->bytes, &length, &bytes);
	} else if (type == contents->bytes) {
		found = feed_bytes_object(source, s, allowance->bytes, &bytes);
	} else if (type == contents->integer) {
		return feed_int(source, s, allowance);
	} else if (type == contents->floating) {
		return feed_float(source, s);
	}
	if (found == PYH_FOUND && !spend(allowance, bytes))
		return PYH_FOUND_MISSING;
	return found;
}

/** A tuple being looked at: the next of its items. */
struct frame {
	uint64_t at, left;	/* address of the next item to copy; how many */
	uint64_t items[FRAME_ITEMS];
	size_t next, count;	/* of items[] */
};

static bool frame_open(struct frame *frame, const struct source *tuple,
		       uint64_t *ret_count)
{
	uint32_t start = pyh_offset(tuple->contents->runtime,
				    PYH_TUPLE_OB_ITEM);

	if (!source_field(tuple, PYH_VAR_OB_SIZE, ret_count) ||
	    *ret_count >> 44)
		return false;
	frame->at = tuple->address + start;
	frame->left = *ret_count;
	frame->next = frame->count = 0;
	return true;
}

/** The next item; false at the end, or with *ret_lost where it is missing. */
static bool frame_next(struct frame *frame, const struct source *tuple,
		       uint64_t *ret, bool *ret_lost)
{
	if (frame->next == frame->count) {
		frame->count = frame->left < FRAME_ITEMS ?
				       (size_t)frame->left : FRAME_ITEMS;
		frame->next = 0;
		if (frame->count == 0)
			return false;
		if (!source_read(tuple, frame->at - tuple->address,
				 frame->items, frame->count * 8)) {
			*ret_lost = true;
			return false;
		}
		frame->at += frame->count * 8;
		frame->left -= frame->count;
	}
	*ret = frame->items[frame->next++];
	return true;
}

static void feed_address(struct sip *s, uint64_t address)
{
	feed_head(s, PART_ADDRESS, 0, 8);
	sip_word(s, address);
}

/** An item: opens the next frame if it is a tuple to look into. */
static bool feed_item(const struct pyh_contents *contents, struct sip *s,
		      struct memory_reader *memory, uint64_t item,
		      struct allowance *allowance, struct frame *deeper,
		      struct source *ret_tuple)
{
	struct source source = { contents, item, NULL, 0, memory };
	struct sip before = *s;
	struct allowance had = *allowance;
	uint64_t type, count;

	if (allowance->items > 0 && item && item % 8 == 0 &&
	    source_field(&source, PYH_OBJECT_OB_TYPE, &type)) {
		allowance->items--;
		had.items--;
		// One that many tuples hold must not be walked for each whole.
		if (type == contents->tuple && deeper &&
		    frame_open(deeper, &source, &count) &&
		    count <= allowance->items) {
			allowance->items -= count;
			feed_head(s, PART_TUPLE, 0, count);
			*ret_tuple = source;
			return true;
		}
		if (feed_leaf(&source, s, type, allowance) == PYH_FOUND)
			return false;
		*s = before;
		*allowance = had;
	}
	feed_address(s, item);
	return false;
}

static enum pyh_found feed_tuple(const struct source *tuple, struct sip *s,
				 uint64_t *ret_length)
{
	struct allowance allowance = { PYH_CONTENT_ITEMS, PYH_CONTENT_BYTES };
	struct frame frames[PYH_CONTENT_DEPTH + 1];
	struct source tuples[PYH_CONTENT_DEPTH + 1] = { *tuple };
	bool lost = false;
	int depth = 0;

	if (!frame_open(&frames[0], tuple, ret_length))
		return PYH_FOUND_MISSING;
	feed_head(s, PART_TUPLE, 0, *ret_length);
	while (depth >= 0) {
		struct frame *deeper = depth < PYH_CONTENT_DEPTH ?
					       &frames[depth + 1] : NULL;
		uint64_t item;

		if (!frame_next(&frames[depth], &tuples[depth], &item, &lost)) {
			if (lost)
				return PYH_FOUND_MISSING;
			depth--;
			continue;
		}
		if (feed_item(tuple->contents, s, tuple->memory, item,
			      &allowance, deeper,
			      &tuples[deeper ? depth + 1 : depth]))
			depth++;
	}
	return PYH_FOUND;
}

/* --- what is asked for --------------------------------------------------- */

void pyh_contents_init(struct pyh_contents *contents,
		       const struct pyh_runtime *runtime,
		       const struct pyh_types *types)
{
	*contents = (struct pyh_contents){
		.runtime = runtime,
		.str = runtime->types.str,
		.tuple = runtime->types.tuple,
	};
	for (uint32_t id = 0; id < pyh_types_count(types); id++) {
		const struct pyh_type *type = pyh_types_get(types, id);

		if (!type->is_static)
			continue;
		if (strcmp(type->name, "bytes") == 0)
			contents->bytes = type->address;
		else if (strcmp(type->name, "int") == 0)
			contents->integer = type->address;
		else if (strcmp(type->name, "float") == 0)
			contents->floating = type->address;
	}
}

enum pyh_found pyh_content_read(const struct pyh_contents *contents,
				const struct pyh_type *type, uint64_t address,
				const uint8_t *body, size_t available,
				struct memory_reader *memory,
				struct pyh_content *ret)
{
	struct source source = { contents, address, body, available, memory };
	enum pyh_found found;
	uint64_t bytes;
	struct sip s;

	sip_init(&s);
	sip_word(&s, type->address);
	switch (type->kind) {
	case PYH_KIND_STR:
		found = feed_str(&source, &s, UINT64_MAX, &ret->length, &bytes);
		break;
	case PYH_KIND_BYTES:
		found = feed_bytes_object(&source, &s, UINT64_C(1) << 47,
					  &ret->length);
		break;
	default:
		found = feed_tuple(&source, &s, &ret->length);
		break;
	}
	if (found == PYH_FOUND)
		sip_end(&s, ret->hash);
	return found;
}
