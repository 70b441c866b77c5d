/*
 * A type object as it lies in memory, checked but not yet named: inner part of
 * pytypes.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYTYPEVIEW_H
#define PYHEAP_PYTYPEVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pytypes.h"
#include "pyheap/values/pydict.h"

/* More than classes have: the longest chains and MROs seen are below 100. */
enum { PYH_MRO_MAX = 1024 };

/* Static builtin types, 3.12 and later: their dict is the interpreter's. */
#define PYH_TPFLAGS_STATIC_BUILTIN (UINT64_C(1) << 1)

struct pyh_type_view {
	uint64_t address;
	uint64_t metatype;	/* its ob_type */
	uint64_t tp_name;	/* char *, often in a read-only page */
	uint64_t flags;
	int64_t basicsize, itemsize, dictoffset, weaklistoffset;
	uint64_t base, dict, bases, subclasses;
	uint64_t mro;		/* address of the tuple's items */
	uint64_t mro_count;	/* 1 … PYH_MRO_MAX; 0: a static type that is
				   not ready yet, and has no bases either,
				   or mro_lost */
	bool mro_lost;		/* damaged, or not in the dump */
	bool metatype_lost;	/* damaged; metatype is `type` then */
};

/**
 * Look at an address as at a type.
 *
 * @param chains  pays for chains of metatypes longer than usual; may be NULL:
 *	there are none
 * @return false if it is none, or not enough was captured to tell; ret is
 *	then untouched
 */
bool pyh_type_view(const struct pyh_runtime *runtime,
		   struct memory_reader *memory, struct pyh_chains *chains,
		   uint64_t address, struct pyh_type_view *ret);

/**
 * The dict of a type's attributes. Static builtin types have had theirs in the
 * interpreter's state since 3.12.
 *
 * @return its address, or 0 where it is not known
 */
uint64_t pyh_type_dict(const struct pyh_runtime *runtime,
		       struct memory_reader *memory,
		       const struct pyh_type_view *view);

#endif
