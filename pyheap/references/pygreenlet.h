/*
 * Greenlets: stacks of C and of Python that wait, and what they hold.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A greenlet that is suspended keeps the lowest part of its C stack in a copy,
 * where another has taken its place, and the frames of Python that were running.
 * From 3.11 on those lie in a data stack of its own. Frames that the interpreter
 * puts between lie on the C stack, and so perhaps in the copy.
 *
 * Before 2.0 a greenlet is a structure of C, since then an object of C++ behind a
 * pointer. Its members have kept their order, but some come and go with releases
 * of both: so the place of the frames is found by what a data stack looks like,
 * that of the parent by its being a greenlet.
 *
 * Source: greenlet 1.1.3 to 3.5.6, src/greenlet: greenlet.h, TGreenlet.hpp and
 * its like, TPythonState.cpp, TStackState.cpp, TUserGreenlet.cpp.
 */
#ifndef PYHEAP_PYGREENLET_H
#define PYHEAP_PYGREENLET_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pytypes.h"

struct pyh_greenlet {
	/* of the object of C++, 0: before 2.0 */
	uint64_t body, body_size;
	bool is_main;		/* of its thread */
	bool active;		/* it has a C stack: it runs or is suspended */
	bool suspended;		/* … and there are frames that wait */
	uint64_t stack_start, stack_copy, stack_saved;
	uint64_t top_frame;	/* frame object */
	uint64_t current_frame;	/* 3.11 and later, 0: none */
	uint64_t datastack;	/* its last chunk; the same */
	uint64_t datastack_top;	/* where the next frame would be, in that */
	/* objects that it owns, 0: none. Those of a structure of C are in the
	   tables */
	uint64_t exception[3];	/* value; up to 3.10 type, value, traceback */
	uint64_t args, kwargs;	/* that it is being switched to with */
	uint64_t context;
	uint64_t main_greenlet, run, parent;
};

static inline bool pyh_greenlet_is_one(const struct pyh_type *type)
{
	return type->kind == PYH_KIND_GREENLET ||
	       type->kind == PYH_KIND_OLD_GREENLET;
}

/**
 * @param kind  PYH_KIND_GREENLET or PYH_KIND_OLD_GREENLET
 * @return false if it is not as any known release has it, or was not captured
 */
bool pyh_greenlet_read(const struct pyh_runtime *runtime,
		       struct memory_reader *memory, enum pyh_kind kind,
		       uint64_t address, struct pyh_greenlet *ret);

/** Where what was at an address of its C stack is now. */
static inline uint64_t pyh_greenlet_place(const struct pyh_greenlet *greenlet,
					  uint64_t address)
{
	uint64_t at = address - greenlet->stack_start;

	return at < greenlet->stack_saved ? greenlet->stack_copy + at : address;
}

/**
 * True if the collector never looks at this one while it is as it is: its
 * tp_is_gc says so of those that are suspended, up to 3.14.
 */
bool pyh_greenlet_is_passed_over(const struct pyh_runtime *runtime,
				 struct memory_reader *memory,
				 const struct pyh_type *type, uint64_t address);

#endif
