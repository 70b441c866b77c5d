/*
 * Where the fields of PyTorch's tensors lie, in the release that a process has.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Release builds have no debug information, and nothing in memory says how long
 * their structures are. What differs between releases is little: how much in
 * front of a tensor's fields counts its owners, and how long the word is by which
 * it knows its Python object. That the Python object knows its tensor, and this
 * one the Python object, is what no other words do, and tells which of the
 * tables fits.
 *
 * Source: PyTorch c10/core/TensorImpl.h, c10/core/StorageImpl.h,
 * c10/util/intrusive_ptr.h, torch/csrc/autograd/variable.h and
 * torch/csrc/autograd/python_variable.h of 1.13 to 2.15.
 */
#ifndef CUDAHEAP_TORCHLAYOUT_H
#define CUDAHEAP_TORCHLAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/memory.h"

enum { TORCH_LAYOUT_SAMPLES = 256 };	/* as many objects as are of use */

/** Offsets in bytes, from the start of each structure. */
struct torch_layout {
	const char *releases;	/* that are known to have it, in words */
	/* of a Python object: its TensorImpl */
	uint32_t wrapper;
	/* of a TensorImpl */
	uint32_t counts;	/* also of a StorageImpl: what comes first */
	uint32_t storage, autograd, extra, python, dimensions, offset, numel, dtype,
		device, has_device, size;	/* the last: of all of it */
	/* of an AutogradMeta; requires_grad 0: not known, as none of the objects
	   looked at has one */
	uint32_t grad, grad_fn, requires_grad;
	size_t looked, fitting;	/* objects */
	const char *other;	/* releases of another copy of PyTorch, which the rest
				   of the objects are of; NULL: there is none */
};

/**
 * Find the layout by tensors' Python objects. Where two copies of PyTorch, which
 * lay them out in two ways, are in one process, it is that of most of them.
 *
 * @param objects  addresses; TORCH_LAYOUT_SAMPLES of them are enough
 * @param header  bytes of a Python object's header
 * @return ERROR_UNSUPPORTED where fewer than 95 % of them fit one table, or two,
 *	with what was tried
 */
struct error *torch_layout_find(struct memory_reader *memory,
				const uint64_t *objects, size_t count,
				uint32_t header, struct torch_layout *ret);

/**
 * The same where no Python object stands for a tensor, as in a process that only
 * serves a module of TorchScript's: by tensors that C++ has, which have as many
 * items as their sizes say.
 *
 * @param tensors  addresses of TensorImpls, as their class says
 * @return false where most of them fit no table
 */
bool torch_layout_by_tensors(struct memory_reader *memory,
			     const uint64_t *tensors, size_t count,
			     uint32_t header, struct torch_layout *ret);

/** Is the object one that the layout is of? Both it and its tensor say so. */
bool torch_layout_fits(struct memory_reader *memory,
		       const struct torch_layout *layout, uint64_t object);

#endif
