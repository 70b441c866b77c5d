/*
 * Holders: words outside of Python's knowledge that lead to objects.
 * SPDX-License-Identifier: Apache-2.0
 *
 * For objects whose counts neither objects nor known roots account for: static
 * variables of C modules, words of native stacks, memory of malloc, and what
 * libraries have mapped for themselves: libffi's closures, pools, shared memory.
 * All of captured memory but code is read once, at the speed of pywords.h. A word that leads to
 * the characters of a str or the bytes of a bytes counts as well. A word says
 * nothing of whether it owns a count, or is left over from a use before: all are
 * GUESSED. Static objects are told as well, as held by themselves: they begin
 * with a count that nobody owns.
 */
#ifndef PYHEAP_PYHOLDERS_H
#define PYHEAP_PYHOLDERS_H

#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/references/pyroots.h"

enum {
	PYH_HOLDERS_OBJECTS = 1 << 20,	/* objects to ask about at once */
	PYH_HOLDERS_WORDS = 1 << 21,	/* words found for all of them */
};

#define PYH_HOLDER_CLOSURES "libffi's closures"

/**
 * Whether a word is a closure of libffi: a callback that an object of cffi or
 * the like owns, so what it holds is held on behalf of that.
 */
bool pyh_holder_is_closure(const struct pyh_root *root);

/**
 * Call fn, in the order of memory, for each word that leads to one of the
 * objects and is in nobody's memory: not in a buffer of an object, a free block,
 * a data stack of frames, the unused part of a native stack or of a frame; no
 * reference of the object it is in; and no word that pyh_roots_each() tells.
 *
 * @param objects  addresses, at most PYH_HOLDERS_OBJECTS
 * @param begins  true if an object of the census begins at an address, asked by
 *	all workers: most words that lead to a type say of which type an object
 *	is, and this is the quick way to tell. NULL: the long one is taken
 * @param ret_all  false where there were more than PYH_HOLDERS_WORDS, and some
 *	are left out
 */
struct error *pyh_holders_each(const struct pyh_runtime *runtime,
			       struct pyh_census *census,
			       struct pyh_shapes *shapes,
			       const uint64_t *objects, size_t count,
			       bool (*begins)(void *context, uint64_t address),
			       pyh_root_fn *fn, void *context, bool *ret_all);

#endif
