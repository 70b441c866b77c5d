/*
 * What the files that find tensors share.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_TENSORSPARTS_H
#define ANALYZER_TENSORSPARTS_H

#include "analyzer/heap/paths.h"
#include "analyzer/opened.h"
#include "analyzer/tensors/tensornames.h"
#include "analyzer/tensors/tensors.h"
#include "analyzer/tensors/torchheap.h"
#include "cudaheap/autograd.h"
#include "cudaheap/torchscript.h"
#include "image/base/hashmap.h"

/** An object that hooks made of what a node was to save, or one of the hooks. */
struct tensors_packed {
	uint32_t object;
	uint32_t node;		/* that has it, or the first of several */
	uint32_t owners;	/* C++ objects, each of which owns a count */
};

/** An attribute of a module of TorchScript's: a tensor, or a module with some. */
struct tensors_slot {
	uint32_t tensor;	/* number, or TENSORS_NONE */
	uint32_t native;	/* object of Python's for the outermost module */
	uint32_t outer;		/* number + 1 of the one that has the module */
	uint8_t kind;		/* enum torch_slot_kind */
	char name[TORCH_SLOT_NAME_MAX];
};

struct tensors {
	struct opened *opened;
	struct image *image;
	struct pyh_runtime *runtime;
	const struct analysis *analysis;
	struct tensornames *names;
	struct torch_layout layout;
	struct torch_classes classes;
	struct torchheap *heap;		/* NULL: it was not gone through */
	struct memory_reader memory;
	struct paths *paths;
	struct hashmap module_paths;	/* object + 1: number of a text */
	char **texts;			/* of modules' paths; num_texts */
	uint32_t num_texts;
	struct tensors_options options;
	bool shared;			/* by all who ask for them */
	unsigned int depth;		/* of tensors whose paths are those of
					   others that are being told */
	struct tensor *items;
	size_t count, room;
	size_t num_objects;		/* the first, by object */
	struct tensor_storage *storages;
	size_t num_storages, room_storages;
	uint64_t unread, released, bare, bare_bytes;
	uint64_t cupy_allocated, cupy_pooled;	/* bytes */
	struct hashmap by_impl;		/* address of a StorageImpl: number + 1 */
	struct hashmap by_data;		/* address of data, the same */
	struct hashmap by_address;	/* TensorImpl: number of the tensor + 1 */
	struct autograd graph;
	uint32_t *node_roots;		/* by node: the tensor whose graph it is, or
					   TENSORS_NONE */
	struct tensors_slot *slots;
	size_t num_slots, room_slots;
	struct hashmap by_slot;		/* tensor + 1: number + 1 in slots */
	struct tensors_packed *packed;
	size_t num_packed, room_packed;
	struct hashmap by_packed;	/* object + 1: index into packed */
	/* by tensor: PyTorch's own structures that are known to own it. NULL: its
	   heap was not gone through */
	uint32_t *known_owners;
	bool owners_cut;		/* some of these could not be read */
	/* names of C++ classes and modules that hold some; num_owners */
	char (*owners)[TORCH_CLASS_MAX];
	uint32_t num_owners;
};

/* --- tensorstorages.c */

/** The storage of a tensor, added where it is new; TENSORS_NONE: none. */
struct error *tensors_add_storage(struct tensors *tensors, uint64_t address,
				  uint32_t *ret);

/** The storage of data that no StorageImpl has told of yet. */
struct error *tensors_add_data(struct tensors *tensors,
			       const struct tensor_storage *storage,
			       uint32_t *ret);

/** Storages of the heap that no tensor has. */
struct error *tensors_count_bare(struct tensors *tensors);

/** How much of those in the process was in memory, where the dump tells. */
struct error *tensors_find_resident(struct tensors *tensors);

/* --- tensorgraph.c */

/**
 * The node whose function, written in Python, an object is; its number in the
 * graph, or TENSORS_NONE.
 */
uint32_t tensors_function_node(struct tensors *tensors, uint32_t object);

/** Which nodes saved which tensors, and whose graph they are. */
struct error *tensors_find_graph(struct tensors *tensors);

/** The object of a node that is written in Python; GRAPH_NONE: it is not. */
uint32_t tensors_function_of(struct tensors *tensors, uint64_t node);

/** Does a node add up the gradient of the tensor that it has first? */
bool tensors_accumulates(struct tensors *tensors, uint64_t node);

/**
 * "GeluBackward0"; of a function in Python the name that this has. NULL: not
 * known.
 */
const char *tensors_node_name(struct tensors *tensors, uint64_t node,
			      char text[TORCH_CLASS_MAX]);

/** A node has saved it. */
void tensors_mark_saved(struct tensors *tensors, uint32_t node,
			uint32_t number);

/* --- tensorpacked.c */

/** Two functions, and what the first made of a tensor. */
enum { TENSORS_HOOK_OBJECTS = 3 };

/** Is it a C++ object that has what hooks made of a tensor to be saved? */
bool tensors_is_hooks(struct tensors *tensors, uint64_t address);

/** The objects of Python's that it has; how many. */
unsigned int tensors_hook_objects(struct tensors *tensors, uint64_t hooks,
				  uint32_t ret[TENSORS_HOOK_OBJECTS]);

/** What hooks made, once the graph is known. */
struct error *tensors_find_packed(struct tensors *tensors);

/** Of an object that is such a one; NULL: it is none. */
const struct tensors_packed *tensors_packed_of(const struct tensors *tensors,
					       uint32_t object);

/* --- tensorscripts.c */

/** Which tensors are attributes of TorchScript's modules. */
struct error *tensors_find_scripts(struct tensors *tensors);

/** The attribute that a tensor is; NULL: it is none. */
const struct tensors_slot *tensors_slot_of(const struct tensors *tensors,
					   uint32_t tensor);

/** From the outermost module on: ".layers.0.weight". */
void tensors_slot_text(const struct tensors *tensors,
		       const struct tensors_slot *slot,
		       char text[TENSOR_PATH_MAX]);

/**
 * Call fn for what a class of tensors has behind what all have, as values of a
 * sparse one: from start to end, and the number of the tensor.
 */
void tensors_each_rest(struct tensors *tensors,
		       void (*fn)(void *context, uint64_t start, uint64_t end,
				  uint32_t number), void *context);

/* --- tensorowners.c */

/** Which of those that Python holds have an owner in C++ that is not known. */
struct error *tensors_find_owners(struct tensors *tensors);

/** May one tensor be a view of the other? They have one storage, or one has none. */
bool tensors_may_view(const struct tensors *tensors, uint32_t view,
		      uint32_t base);

/* --- tensorholders.c */

/**
 * Who holds those that no object, no node and no gradient accounts for, and what
 * C++ is to hold as well: what turns out to be PyTorch's own after all is not.
 */
struct error *tensors_find_holders(struct tensors *tensors);

/* --- tensorroles.c */

/** Which tensors are gradients, and of which others. */
void tensors_find_parents(struct tensors *tensors);

/** Roles of all, and which are views: once holders are known. */
struct error *tensors_give_roles(struct tensors *tensors);

/* --- tensorkinds.c */

/** Tell names which tensors wrap others. */
struct error *tensors_find_wrappers(struct tensors *tensors);

/** Is it several tensors in one, in C++? */
bool tensors_is_nested(struct tensors *tensors, size_t i);

/* --- tensorarrays.c */

/** Add arrays of NumPy and CuPy. */
struct error *tensors_add_arrays(struct tensors *tensors);

/** What an array says of itself, as if it were a tensor. */
bool tensors_read_array(struct tensors *tensors, size_t i,
			struct torch_tensor *ret);

/** "float64", "datetime64", of structures "void"; NULL: not known. */
const char *tensors_array_dtype(struct tensors *tensors, size_t i,
				char text[TORCH_CLASS_MAX]);

/* --- tensors.c */

/** The number of the tensor that an object stands for, or TENSORS_NONE. */
uint32_t tensors_of_object(const struct tensors *tensors, uint32_t object);

/** One more, with nothing known of it. */
struct error *tensors_append(struct tensors *tensors, struct tensor **ret);

#endif
