/*
 * Evidence that takes a pass of its own: who is referred to by an object.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYEVIDENCE_H
#define PYHEAP_PYEVIDENCE_H

#include "image/base/error.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/types/pyshape.h"

/**
 * Follow the typed references of all objects, guessed ones and guessed
 * references left out. From then on the census calls objects certain that
 * another one refers to. Reads the image once; takes a bit for every 8 bytes
 * of heap.
 */
struct error *pyh_evidence_settle(const struct pyh_runtime *runtime,
				  struct pyh_census *census,
				  struct pyh_shapes *shapes);

/**
 * The same for a few objects only: ends as soon as all of them are known to be
 * held, which where they lie often is soon. Sets evidence of each.
 */
struct error *pyh_evidence_settle_few(const struct pyh_runtime *runtime,
				      struct pyh_census *census,
				      struct pyh_shapes *shapes,
				      struct pyh_object *objects, size_t count);

/**
 * Find out which of pyh_census_refused() another object refers to: those are
 * damaged objects, and become findings.
 */
struct error *pyh_evidence_report_refused(const struct pyh_runtime *runtime,
					  struct pyh_census *census,
					  struct pyh_shapes *shapes);

#endif
