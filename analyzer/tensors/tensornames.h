/*
 * What PyTorch's own objects tell of tensors: names and parts in modules, and
 * what optimizers keep.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A torch.nn.Module has dicts of its parameters, buffers and modules; an
 * Optimizer one of what it knows of each parameter, and lists of parameters.
 * Sources: torch/nn/modules/module.py, torch/optim/optimizer.py.
 */
#ifndef ANALYZER_TENSORNAMES_H
#define ANALYZER_TENSORNAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"

struct opened;
struct paths;
struct tensornames;

/** What the types of an object's bases make of it, as bits. */
enum {
	TENSORNAMES_TENSOR = 1 << 0,
	TENSORNAMES_PARAMETER = 1 << 1,
	TENSORNAMES_MODULE = 1 << 2,
	TENSORNAMES_OPTIMIZER = 1 << 3,
	TENSORNAMES_FUNCTION = 1 << 4,	/* of autograd, in Python */
	TENSORNAMES_NATIVE = 1 << 5,	/* stands for an object of C++, by pybind11 */
	TENSORNAMES_CUPY = 1 << 6,	/* an array of CuPy's */
};

/** TENSORNAMES_… of a type. */
unsigned int tensornames_of_type(const struct pyh_runtime *runtime,
				 struct pyh_type_reader *types,
				 const struct pyh_type *type);

/** Go through all objects of the heap. */
struct error *tensornames_make(struct opened *opened,
			       const struct analysis *analysis,
			       struct tensornames **ret);
/** NULL is fine. */
void tensornames_destroy(struct tensornames *names);

/**
 * A tensor that has no data itself, but wraps others, as a DTensor does: it names
 * those that it has as attributes, where nothing else does.
 */
struct error *tensornames_add_wrapper(struct tensornames *names,
				      uint32_t object);

/** Tensors' objects, in the order of their numbers: borrowed. */
const uint32_t *tensornames_tensors(const struct tensornames *names,
				    size_t *ret_count);

/** The same of objects that stand for one of C++. */
const uint32_t *tensornames_natives(const struct tensornames *names,
				    size_t *ret_count);

/** TENSORNAMES_… of an object. */
unsigned int tensornames_kind(const struct tensornames *names, uint32_t object);

/** Is it among a module's parameters, or its buffers, or an optimizer's? */
bool tensornames_is_parameter(const struct tensornames *names, uint32_t object);
bool tensornames_is_buffer(const struct tensornames *names, uint32_t object);
bool tensornames_is_optimizers(const struct tensornames *names,
			       uint32_t object);

/** The tensor that wraps it; GRAPH_NONE: none. */
uint32_t tensornames_wrapper(const struct tensornames *names, uint32_t object);

/**
 * The names by which modules lead to a tensor: "layers.3.weight", and the
 * outermost of them, from which they begin; or an optimizer: "state[*].exp_avg",
 * or a tensor that wraps it: "_local_tensor".
 *
 * @return false: none of them has it
 */
bool tensornames_text(struct tensornames *names, uint32_t object,
		      uint32_t *ret_module, char *text, size_t size);

#endif
