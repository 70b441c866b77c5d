/*
 * Paths of references as a person would write them.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	train.py:model.layers[3].cache['k']
 *	local loss in train_step() thread 4713
 *	shop.sessions.STORE[...].user
 *	shop.hooks.make.<closure state>{...}
 *
 * Several references make one step where Python has one: an object, its dict, a
 * value of that are `.attr`; a function, its closure, a cell, what is in it are
 * `.<closure x>`. A variable of a module is `module.name`, however the path came
 * to the module: what it is called says more. What an interpreter beside the
 * main one holds ends with " in interpreter 2".
 *
 * Without values only names of code are shown: of attributes, variables,
 * modules, types, if they are identifiers. What keys and elements are is data:
 * `[...]`, `{...}`. Texts are UTF-8, not yet escaped for where they go.
 */
#ifndef PYHEAP_PYEDGE_H
#define PYHEAP_PYEDGE_H

#include <stddef.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/references/pyrefs.h"
#include "pyheap/references/pyroots.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pytypes.h"
#include "pyheap/values/pyvalue.h"

enum { PYH_EDGE_TEXT_MIN = 16 };	/* bytes of the smallest buffer */

/** What names are read with: a way in, one for each thread; all borrowed. */
struct pyh_naming {
	const struct pyh_runtime *runtime;
	struct pyh_type_reader *types;
	struct memory_reader *memory;
	struct pyh_value_reader *values;	/* NULL: values are not shown */
};

/** One reference of an object. */
struct pyh_edge {
	uint64_t holder;		/* address of the object that refers */
	const struct pyh_type *type;	/* its type */
	struct pyh_ref ref;		/* ref.name valid during the calls */
};

/**
 * The text of a path: from a root over edges, each of which begins where the
 * one before leads to. Linear in their number.
 *
 * @param root  NULL: the path begins at edges[0].holder, shown as "<TYPE>"
 * @param count  edges; 0: the root alone
 * @param buffer  gets the text, always with a NUL, cut with "…"
 * @param size  bytes of buffer, at least PYH_EDGE_TEXT_MIN
 */
void pyh_path_text(const struct pyh_naming *naming, const struct pyh_root *root,
		   const struct pyh_edge *edges, size_t count, char *buffer,
		   size_t size);

/**
 * The text of one reference of a path by itself: ".attr", "[3]", "['key']",
 * "{...}". What comes before it tells whether keys are names.
 *
 * @param root  that holds its object, where no edge comes before; or NULL
 * @param before  the one before it, or NULL
 */
void pyh_step_text(const struct pyh_naming *naming, const struct pyh_root *root,
		   const struct pyh_edge *before, const struct pyh_edge *edge,
		   char *buffer, size_t size);

#endif
