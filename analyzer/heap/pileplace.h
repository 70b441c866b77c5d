/*
 * Where a pile is: among what the program keeps, or among what its functions work
 * with at the moment.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A few large tensors in a list that a module leads to stay until somebody takes
 * them out. The same list in a variable of forward() is gone when it returns: layers
 * have one for what they hand on, a loop that makes text one with keys and values of
 * each layer.
 */
#ifndef ANALYZER_PILEPLACE_H
#define ANALYZER_PILEPLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "image/base/error.h"

enum pile_place {
	PILE_KEPT,	/* modules, classes and threads lead to it, or native code */
	PILE_ATTRIBUTE,	/* an object has it, and this one variables of functions
			   that have not returned, and nobody else */
	PILE_VARIABLE,	/* it is, or is in, such a variable itself */
	PILE_PASSING,	/* … of functions that PyTorch has called; or a library
			   has it that puts an end to it by itself */
};

struct pileplaces;

/** Borrows both. */
struct error *pileplaces_open(struct opened *opened,
			      const struct analysis *analysis,
			      struct pileplaces **ret);
/** NULL is fine. */
void pileplaces_close(struct pileplaces *places);

enum pile_place pileplaces_of(struct pileplaces *places, uint32_t object);

/** A dict of variables or attributes: a module's, a class's, an object's. */
bool pileplaces_is_names(struct pileplaces *places, uint32_t object);

/** An attribute of one of PyTorch's modules, or of a data set. */
bool pileplaces_is_part(struct pileplaces *places, uint32_t object);

/** Is a dict one of names of parameters, as state_dict() makes them? */
bool pileplaces_is_state(struct pileplaces *places, uint32_t object);

/**
 * Has some module of PyTorch's so many modules in a list of its own, as a model has
 * its layers? What there is one of for each layer, or two, is laid out in advance.
 */
bool pileplaces_is_by_layer(struct pileplaces *places, uint32_t count);

bool pileplaces_is_tensor(struct pileplaces *places,
			  const struct pyh_type *type);

#endif
