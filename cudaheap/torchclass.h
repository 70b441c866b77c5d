/*
 * Which C++ objects are PyTorch's: tensors, storages, nodes of autograd's graph.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first word of each such object leads to the table of functions of its
 * class, and what lies in front of that says which classes it is derived from.
 * The names of these are in read-only pages, which a dump may not have; but who
 * is derived from whom is in pages that the loader writes to. So one object of a
 * kind tells all the others: the tensors that Python objects stand for, their
 * storages, and the nodes they are the results of. Names, where they can be read,
 * and symbols find the kinds that have no such object.
 *
 * Source: Itanium C++ ABI, 2.9 (run-time type information); the chain of classes
 * is PyTorch's c10/core/TensorImpl.h, c10/core/StorageImpl.h,
 * torch/csrc/autograd/function.h.
 */
#ifndef CUDAHEAP_TORCHCLASS_H
#define CUDAHEAP_TORCHCLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/base/hashmap.h"
#include "image/image.h"

enum {
	TORCH_CLASS_MAX = 128,		/* bytes of the name of a class */
	TORCH_ANCHORS_MAX = 8,		/* classes of a kind: two copies of PyTorch
					   in a process have two of each */
};

enum torch_kind {
	TORCH_KIND_NONE,	/* no class at all */
	TORCH_KIND_CLASS,	/* of another kind */
	TORCH_KIND_TENSOR,	/* c10::TensorImpl, or derived from it */
	TORCH_KIND_STORAGE,	/* c10::StorageImpl */
	TORCH_KIND_NODE,	/* torch::autograd::Node */
	TORCH_NUM_KINDS
};

/* Not for concurrent use. */
struct torch_classes {
	const struct image *image;		/* borrowed */
	struct memory_reader memory;
	uint64_t low, high;	/* modules are in between */
	struct hashmap known;	/* by table: enum torch_kind + 1 */
	/* by kind: type_info objects of the classes themselves */
	uint64_t anchors[TORCH_NUM_KINDS][TORCH_ANCHORS_MAX];
	unsigned int num_anchors[TORCH_NUM_KINDS];
	uint64_t root;		/* what tensors and storages are derived from */
};

struct error *torch_classes_init(struct torch_classes *classes,
				 const struct image *image);
/** Safe on a zeroed one. */
void torch_classes_deinit(struct torch_classes *classes);

/** An object of which it is known what it is tells its class's kind. */
struct error *torch_classes_learn(struct torch_classes *classes,
				  uint64_t object, enum torch_kind kind);

/** What a word is, as the first word of an object. */
struct error *torch_kind_of(struct torch_classes *classes, uint64_t word,
			    enum torch_kind *ret);

/**
 * What class a C++ object is of: the last part of its name, "AddmmBackward0".
 *
 * @return text, or NULL where neither its name nor a symbol can be had
 */
const char *torch_class(struct memory_reader *memory, uint64_t object,
			char text[TORCH_CLASS_MAX]);

/** The same by the first word of an object, and by symbols as well. */
const char *torch_table_class(struct torch_classes *classes, uint64_t table,
			      char text[TORCH_CLASS_MAX]);

#endif
