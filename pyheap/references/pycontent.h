/*
 * What str, bytes and tuple objects hold, as a hash of 128 bits: equal content
 * has equal hashes, and different content has not.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The hash is SipHash-1-3 with a result of 128 bits over the type, the length
 * and the characters or bytes. It does not depend on where an object lies, so
 * that it is the same in every dump of one process.
 *
 * A tuple's content is its items. An item that is a str, bytes, int, float or
 * tuple (no subclass) counts by its own content, any other, and one at which
 * the bounds below are reached, by its address. So tuples of one hash have
 * equal items, but not all equal tuples have one hash.
 */
#ifndef PYHEAP_PYCONTENT_H
#define PYHEAP_PYCONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/types/pytypes.h"
#include "pyheap/values/pydict.h"

enum {
	PYH_CONTENT_DEPTH = 3,		/* tuples in tuples looked into */
	PYH_CONTENT_ITEMS = 1024,	/* by content, in all of a tuple */
	PYH_CONTENT_BYTES = 4096,	/* bytes of them, in all of a tuple */
};

/** The types whose instances count by content as items of tuples. */
struct pyh_contents {
	const struct pyh_runtime *runtime;	/* borrowed */
	uint64_t str, bytes, integer, floating, tuple;	/* 0: unknown */
};

struct pyh_content {
	uint64_t hash[2];
	uint64_t length;	/* characters, bytes or items */
};

/** Find those types among all that were found: after the census. */
void pyh_contents_init(struct pyh_contents *contents,
		       const struct pyh_runtime *runtime,
		       const struct pyh_types *types);

/** True for str, bytes, tuple and subclasses. */
static inline bool pyh_has_content(const struct pyh_type *type)
{
	return type->kind == PYH_KIND_STR || type->kind == PYH_KIND_BYTES ||
	       type->kind == PYH_KIND_TUPLE;
}

/**
 * @param type  for which pyh_has_content() holds; it is part of the content
 * @param body  its first bytes, borrowed
 * @param memory  for the rest; not the reader that body came from
 * @return PYH_FOUND_MISSING where some of it was not captured, or a str of a
 *	legacy form was not made ready
 */
enum pyh_found pyh_content_read(const struct pyh_contents *contents,
				const struct pyh_type *type, uint64_t address,
				const uint8_t *body, size_t available,
				struct memory_reader *memory,
				struct pyh_content *ret);

#endif
