/*
 * Tensors of PyTorch: what they say of themselves, and what of it can be true.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A tensor (c10::TensorImpl) is a shape over a storage (c10::StorageImpl), which
 * owns the data; several tensors may share one. What makes it differentiable lies
 * beside it (torch::autograd::AutogradMeta). Sources: see torchlayout.h.
 */
#ifndef CUDAHEAP_TORCHTENSOR_H
#define CUDAHEAP_TORCHTENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "cudaheap/torchclass.h"
#include "cudaheap/torchlayout.h"
#include "image/image.h"

enum { TORCH_DIMENSIONS_MAX = 64 };	/* PyTorch's own limit */

struct torch_storage {
	uint64_t address;	/* of the StorageImpl */
	uint64_t data;		/* in the memory of its device; 0: none */
	uint64_t bytes;		/* there; 0 where it has none: on "meta" */
	uint8_t device;
	int8_t index;		/* which of these devices; -1: there is one */
	bool received;		/* memory of another process */
	uint64_t deleter;	/* the function that is to free it; 0: none */
	uint64_t context;	/* what that is given */
};

struct torch_tensor {
	uint64_t address;	/* of the TensorImpl */
	uint64_t storage;	/* 0: it has none, as sparse ones */
	uint64_t meta;		/* of its AutogradMeta; 0: none */
	uint64_t grad;		/* the TensorImpl of its gradient; 0: none */
	uint64_t grad_fn;	/* the node it is the result of; 0: none */
	bool requires_grad;
	bool knows_requires_grad;
	bool has_shape;		/* false: it is of a kind with another one, or has
				   symbols for sizes */
	bool owns_object;	/* it has a reference to its Python object */
	uint32_t owners;	/* in C++, beside its Python object */
	uint16_t dtype;
	uint8_t device;
	int8_t index;
	uint32_t num_dimensions;
	int64_t sizes[TORCH_DIMENSIONS_MAX], strides[TORCH_DIMENSIONS_MAX];
	int64_t offset;		/* in the storage, in items */
	uint64_t numel;		/* items */
};

enum torch_read {
	TORCH_READ,
	TORCH_MISSING,		/* bytes that would tell were not captured */
	TORCH_BAD,		/* it can be no tensor */
	TORCH_NONE,		/* the one that is none, a variable of libc10's:
				   of a Python object alone */
};

/** Of a Python object's tensor. ret is untouched unless TORCH_READ. */
enum torch_read torch_tensor_of(const struct torch_layout *layout,
				const struct image *image,
				struct memory_reader *memory, uint64_t object,
				struct torch_tensor *ret);

/** The same of a TensorImpl. */
enum torch_read torch_tensor_read(const struct torch_layout *layout,
				  const struct image *image,
				  struct memory_reader *memory,
				  uint64_t address, struct torch_tensor *ret);

enum torch_read torch_storage_read(const struct torch_layout *layout,
				   const struct image *image,
				   struct memory_reader *memory,
				   uint64_t address, struct torch_storage *ret);

/**
 * Bytes of a storage from its first one to behind the last that a tensor
 * reaches; 0: none, or not known.
 */
uint64_t torch_tensor_extent(const struct torch_tensor *tensor);

/** "float32"; NULL: no such type is known. And bytes of an item, or 0. */
const char *torch_dtype_name(uint16_t dtype);
unsigned int torch_dtype_size(uint16_t dtype);

/** "cpu", "cuda"; NULL: no such device is known. */
const char *torch_device_name(uint8_t device);

#endif
