/*
 * Tensors of PyTorch: those that Python objects stand for, and those that only
 * C++ holds; what each is, which of them share a storage, what part each has in a
 * model. Arrays of NumPy and CuPy, too, where they are asked for.
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
	TENSOR_INPUT,		/* made by another process and received from it
				   through shared memory, as batches of a
				   DataLoader's workers are */
	TENSOR_ACTIVATION,	/* the result of an operation that backward() can
				   go back through, or saved for it */
	TENSOR_ARRAY,		/* none, but an array of NumPy's */
	TENSOR_NUM_ROLES
};

/** Who keeps one alive, as far as it is known. */
enum tensor_held {
	TENSOR_BY_PYTHON,	/* a reference to the object that stands for it */
	TENSOR_BY_GRAPH,	/* saved by a node of autograd's graph */
	TENSOR_BY_TENSOR,	/* another tensor: it is its gradient, the values of
				   a sparse one, what a view is a view of */
	TENSOR_BY_CXX,		/* another C++ object */
};

struct tensor {
	uint32_t object;	/* its number in the heap; TENSORS_NONE: there is
				   no Python object */
	uint32_t storage;	/* number of its storage; TENSORS_NONE: it has
				   none, or one that cannot be read */
	uint64_t address;	/* of its TensorImpl; of an array, of its object */
	uint64_t meta, grad, grad_fn;	/* as in struct torch_tensor */
	uint64_t numel;
	uint64_t shape_hash;	/* of dtype, device, sizes and strides */
	uint64_t data;		/* address of its first item; 0: none */
	uint64_t class;		/* its table of functions */
	uint32_t parent;	/* the tensor whose gradient it is, or
				   TENSORS_NONE */
	uint32_t holder;	/* BY_TENSOR: that one. BY_CXX, or also_cxx: the
				   number of the owner's name, or TENSORS_NONE */
	uint32_t through;	/* BY_TENSOR: the number of the name of what is in
				   between, or TENSORS_NONE */
	uint32_t native;	/* … the object that stands for the owner, or
				   TENSORS_NONE */
	uint32_t nodes[2];	/* of autograd's that saved it, or TENSORS_NONE */
	uint32_t owners;	/* in C++, beside its object, by its own count */
	uint16_t dtype;
	uint8_t device, role, held;
	int8_t index;
	bool array;		/* of NumPy's or CuPy's: no tensor */
	bool view;		/* another one counts for its storage */
	bool requires_grad, knows_requires_grad;
	bool whole;		/* it has all of its storage */
	bool also_cxx;		/* BY_PYTHON, and by a C++ object that is not
				   PyTorch's own part of a tensor or a graph */
};

#define TENSORS_NONE UINT32_MAX

/** Where the bytes of a storage are, and who is to free them. */
enum tensor_memory {
	TENSOR_PAGEABLE,	/* ordinary memory of its device */
	TENSOR_PINNED,		/* of the process, locked for a GPU */
	TENSOR_SHARED,		/* of the process, and of others: with a name */
	TENSOR_FILE,		/* a file's, mapped */
	TENSOR_NUMPY,		/* an array's, borrowed */
	TENSOR_BORROWED,	/* of somebody else's */
	TENSOR_IPC,		/* another process's, on a device */
};

struct tensor_storage {
	struct torch_storage read;
	enum tensor_memory memory;
	const char *name;	/* of SHARED and FILE: what is mapped; borrowed */
	/* of one in the process, where the dump tells: bytes that were in memory,
	   as what was never touched is not */
	uint64_t resident;
	bool knows_resident;
};

/** What it takes: as far as that is known, what was in memory. */
static inline uint64_t tensor_storage_takes(const struct tensor_storage *storage)
{
	return storage->knows_resident ? storage->resident :
					 storage->read.bytes;
}

/** All there are: borrowed from tensors. */
struct tensors_found {
	const struct tensor *items;	/* those with objects come first, in the
					   order of these */
	size_t count;
	const struct tensor_storage *storages;
	size_t num_storages;
	uint64_t unread;		/* objects that cannot be read */
	uint64_t released;		/* tensors that are gone but for weak
					   references */
	uint64_t bare, bare_bytes;	/* storages without a tensor */
	uint64_t cupy_allocated;	/* bytes that CuPy got from devices; with
					   arrays */
	uint64_t cupy_pooled;		/* … that its pools have given to arrays */
	uint64_t nodes;			/* of autograd's graph */
	const char *releases;		/* whose layout they have; NULL: none was
					   looked for */
	const char *unswept;		/* NULL, or why there may be more that
					   only C++ holds */
};

struct tensors_options {
	bool values;		/* keys may be shown in paths */
	bool arrays;		/* NumPy's and CuPy's as well */
};

/**
 * Find them. Those that cannot be one are findings. Without arrays they are found
 * once for all who ask.
 *
 * @return ERROR_UNSUPPORTED where they are not laid out in a known way
 */
struct error *tensors_find(struct opened *opened,
			   const struct tensors_options *options,
			   struct tensors **ret);
/**
 * The same for who gets on without.
 *
 * @param ret  NULL where the process has no class of tensors, or none can be read
 * @return what is not about the dump, as that there is no memory
 */
struct error *tensors_look(struct opened *opened, struct tensors **ret);

/** A process that has no class of tensors has none. */
bool tensors_possible(const struct pyh_types *types);

/** Those found for all stay. NULL is fine. */
void tensors_close(struct tensors *tensors);
/** For opened. NULL is fine. */
void tensors_destroy(struct tensors *tensors);
static inline void tensors_release(struct tensors **tensors)
{
	tensors_close(*tensors);
}

struct tensors_found tensors_found(const struct tensors *tensors);

/**
 * Its object; of what only C++ holds, its TensorImpl.
 *
 * @param ret_type  NULL where there is no object
 */
uint64_t tensors_object(const struct tensors *tensors, size_t i,
			const struct pyh_type **ret_type);

/** The class of its object, or its C++ class; never NULL. */
const char *tensors_type(struct tensors *tensors, size_t i,
			 char text[TORCH_CLASS_MAX]);

/**
 * What holds one in C++: a class, a module of the process, or a type of Python's
 * objects that stand for what does. NULL: nothing does, or it is not known.
 */
const char *tensors_owner(const struct tensors *tensors, size_t i);

/** "float32", or NULL. */
const char *tensors_dtype(struct tensors *tensors, size_t i,
			  char text[TORCH_CLASS_MAX]);

/**
 * "strided", "sparse_csr": how its data is laid out, as torch says it; NULL: not
 * known, as of classes in Python that wrap others, or an array.
 */
const char *tensors_layout(struct tensors *tensors, size_t i);

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
 * ("local model.layers.3.weight in main() thread 7"), or else as `path` does. Of
 * what only C++ holds: whose graph keeps it, and what nodes of it ("local loss in
 * main() thread 7 graph: GeluBackward0"), which tensor has it, or the class of
 * the C++ object that leads to it. "" where nothing is known.
 */
struct error *tensors_path(struct tensors *tensors, size_t i,
			   char text[TENSOR_PATH_MAX]);

/** The same with indexes as stars, so that those of one kind are equal. */
struct error *tensors_starred(struct tensors *tensors, size_t i,
			      char text[TENSOR_PATH_MAX]);

const char *tensor_role_name(enum tensor_role role);

/** "pinned", "shared /dev/shm/torch_…"; NULL: ordinary memory. */
const char *tensor_memory_text(const struct tensor_storage *storage,
			       char text[TENSOR_PATH_MAX]);

#endif
