/*
 * Tensors of PyTorch that Python objects stand for: what each is, which of them
 * share a storage, what part each has in a model.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_TENSORS_H
#define ANALYZER_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "cudaheap/torchtensor.h"

struct opened;
struct paths;
struct tensors;

enum tensor_role {
	TENSOR_OTHER,
	TENSOR_PARAMETER,	/* of a module, or torch.nn.Parameter, or what an
				   optimizer works on */
	TENSOR_GRADIENT,	/* .grad of another one */
	TENSOR_OPTIMIZER,	/* in an optimizer's state */
	TENSOR_BUFFER,		/* of a module */
	TENSOR_ACTIVATION,	/* the result of an operation that backward() can
				   go back through */
};

struct tensor {
	uint32_t object;	/* its number in the heap */
	uint32_t storage;	/* number of its storage; TENSORS_NONE: it has
				   none, or one that cannot be read */
	uint64_t address;	/* of its TensorImpl */
	uint64_t grad, grad_fn;	/* as in struct torch_tensor */
	uint64_t numel;
	uint64_t shape_hash;	/* of dtype, device, sizes and strides */
	uint64_t data;		/* address of its first item; 0: none */
	uint32_t parent;	/* the tensor whose gradient it is, or
				   TENSORS_NONE */
	uint16_t dtype;
	uint8_t device, role;
	int8_t index;
	bool view;		/* another one counts for its storage */
	bool requires_grad, knows_requires_grad;
	bool whole;		/* it has all of its storage */
};

#define TENSORS_NONE UINT32_MAX

/** All there are: borrowed from tensors. */
struct tensors_found {
	const struct tensor *items;	/* in the order of their objects */
	size_t count;
	const struct torch_storage *storages;
	size_t num_storages;
	uint64_t unread;		/* objects that cannot be read */
};

/**
 * Find them. Those that cannot be one are findings.
 *
 * @param values  keys may be shown in paths
 * @return ERROR_UNSUPPORTED where they are not laid out in a known way
 */
struct error *tensors_find(struct opened *opened, bool values,
			   struct tensors **ret);
/** NULL is fine. */
void tensors_close(struct tensors *tensors);
static inline void tensors_release(struct tensors **tensors)
{
	tensors_close(*tensors);
}

struct tensors_found tensors_found(const struct tensors *tensors);

/** Its object. */
uint64_t tensors_object(const struct tensors *tensors, size_t i,
			const struct pyh_type **ret_type);

/** All that a tensor says of itself once more; false: it cannot be read. */
bool tensors_read(struct tensors *tensors, size_t i, struct torch_tensor *ret);

/** data_ptr() of a TensorImpl, as a gradient is; false: 0, or unreadable. */
bool tensors_data_of(struct tensors *tensors, uint64_t address, uint64_t *ret);

/** The name of the function it is the result of; NULL: none, or not known. */
const char *tensors_grad_fn(struct tensors *tensors, size_t i,
			    char text[TORCH_CLASS_MAX]);

enum { TENSOR_PATH_MAX = 1024 };

/**
 * Where a person finds it: by the names of modules, as torch tells them
 * ("local model.layers.3.weight in main() thread 7"), or else as `path` does.
 */
struct error *tensors_path(struct tensors *tensors, size_t i,
			   char text[TENSOR_PATH_MAX]);

const char *tensor_role_name(enum tensor_role role);

#endif
