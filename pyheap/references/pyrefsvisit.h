/*
 * All objects of a census, each with what it refers to: for graphs of millions.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The same as pyh_refs_each() for what pyh_census_visit() shows. Of blocks of
 * pymalloc that hold plain objects it is said in far fewer instructions: that
 * they hold one the census has found out, those of a pool are all measured in
 * one view of it, and references are put together by pyh_refs_quick().
 */
#ifndef PYHEAP_PYREFSVISIT_H
#define PYHEAP_PYREFSVISIT_H

#include <stdbool.h>

#include "pyheap/census/pycensus.h"
#include "pyheap/references/pyrefsquick.h"

struct pyh_refs_visitor {
	/**
	 * An object: valid during the call only. By all workers, in order of
	 * address within what one of them looks at together.
	 *
	 * @param alone  the evidence without who refers to it
	 * @param ret_told  what the others are to be called with; NULL: not at all
	 * @return false if the census had no object there
	 */
	bool (*object)(void *context, unsigned int worker,
		       const struct pyh_object *object,
		       enum pyh_evidence alone, void **ret_told);
	/** All that it refers to at once, or … */
	void (*references)(void *told, const struct pyh_quick_refs *refs);
	/** … one by one. */
	pyh_ref_fn *reference;
	void *context;
};

struct error *pyh_refs_visit(struct pyh_census *census,
			     struct pyh_shapes *shapes,
			     const struct pyh_refs_visitor *visitor);

#endif
