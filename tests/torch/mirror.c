/*
 * Structures as PyTorch's releases lay them out, without PyTorch: a module for
 * Python that makes tensors, storages, nodes of autograd's graph and C++ objects
 * that hold some, with tables of functions and type information as a compiler of
 * C++ makes them. Test equipment for test_mirror.py, which compiles it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Offsets are written down here once more, from PyTorch's headers, and not taken
 * from the program under test.
 */
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* --- classes ------------------------------------------------------------------- */

struct info {
	const void *table;
	const char *name;
	const struct info *base;
};

struct table {
	int64_t top;
	const struct info *info;
	const void *functions[6];
};

#define TABLE(name) (&name##_table.functions[0])
#define CLASS(name, mangled, of, base_info)                                 \
	static struct info name##_info = { &of, mangled, base_info };       \
	static struct table name##_table = { 0, &name##_info, { NULL } }

/* What says of a type_info how many classes its class is derived from. */
static struct info none_info_info = { NULL, "N10__cxxabiv117__class_type_infoE",
				      NULL };
static struct table none_table = { 0, &none_info_info, { NULL } };
static struct info one_info_info = { NULL,
				     "N10__cxxabiv120__si_class_type_infoE",
				     NULL };
static struct table one_table = { 0, &one_info_info, { NULL } };

CLASS(target, "N3c1020intrusive_ptr_targetE", none_table.functions, NULL);
CLASS(tensor, "N3c1010TensorImplE", one_table.functions, &target_info);
CLASS(sparse, "N2at16SparseTensorImplE", one_table.functions, &tensor_info);
CLASS(storage, "N3c1011StorageImplE", one_table.functions, &target_info);
CLASS(node, "N5torch8autograd4NodeE", none_table.functions, NULL);
CLASS(gelu, "N5torch8autograd9generated13GeluBackward0E", one_table.functions,
      &node_info);
CLASS(accumulate, "N5torch8autograd14AccumulateGradE", one_table.functions,
      &node_info);
CLASS(counted, "St23_Sp_counted_ptr_inplace", none_table.functions, NULL);
CLASS(meta, "N5torch8autograd12AutogradMetaE", none_table.functions, NULL);
CLASS(view, "N5torch8autograd22DifferentiableViewMetaE", one_table.functions,
      &meta_info);
CLASS(reducer, "N4c10d7ReducerE", none_table.functions, NULL);

/* What a tensor has that has none. */
static uint64_t undefined[32];

/* --- one layout ------------------------------------------------------------------ */

static struct {
	unsigned int counts, slot, wrapper;	/* as bytes */
	unsigned int own, flags;		/* of a node, a SavedVariable */
} layout;

static uint8_t *made(const void *table, size_t size)
{
	uint8_t *object = calloc(1, size);

	memcpy(object, &table, sizeof(table));
	return object;
}

static void put(uint8_t *object, size_t at, uint64_t word)
{
	memcpy(object + at, &word, sizeof(word));
}

static void count_owners(uint8_t *object, uint32_t strong, uint32_t weak)
{
	if (layout.counts == 24) {
		put(object, 8, strong);
		put(object, 16, weak);
	} else {
		put(object, 8, (uint64_t)weak << 32 | strong);
	}
}

static uint8_t *make_storage(size_t bytes)
{
	uint8_t *object = made(TABLE(storage), layout.counts + 80);
	uint8_t *data = bytes ? malloc(bytes) : NULL;

	if (data)
		memset(data, (int)bytes, bytes);
	count_owners(object, 1, 1);
	put(object, layout.counts, (uintptr_t)data);
	put(object, layout.counts + 8, (uintptr_t)free);
	put(object, layout.counts + 16, (uintptr_t)data);
	object[layout.counts + 25] = 0xFF;	/* the CPU, without a number */
	put(object, layout.counts + 32, bytes);
	return object;
}

/** Of float32, with one dimension. */
static uint8_t *make_tensor(const void *table, uint8_t *store, uint64_t items)
{
	unsigned int sizes = layout.counts + 32 + layout.slot;
	uint8_t *object = made(table, sizes + 88 + 32);
	uint16_t dtype = 6;

	count_owners(object, 1, 1);
	put(object, layout.counts, (uintptr_t)store);
	put(object, sizes, 1);
	put(object, sizes + 8, items);
	put(object, sizes + 48, 1);
	put(object, sizes + 96, items);
	memcpy(object + sizes + 104, &dtype, sizeof(dtype));
	object[sizes + 107] = 0xFF;
	object[sizes + 108] = 1;
	return object;
}

static uint8_t *make_meta(uint8_t *of, const void *table, uint8_t *grad_fn,
			  uint8_t *base)
{
	uint8_t *object = made(table, 320);

	put(object, 8, (uintptr_t)object + 24);	/* a short std::string */
	put(object, 40, (uintptr_t)undefined);
	put(object, 48, (uintptr_t)grad_fn);
	object[144] = grad_fn == NULL;		/* requires_grad */
	put(object, 200, (uintptr_t)base);
	put(of, layout.counts + 8, (uintptr_t)object);
	return object;
}

static uint8_t *make_node(const void *table, uint8_t *saved)
{
	uint8_t *object = made(table, layout.own + 112);

	put(object, 16, 1);			/* a number in between */
	put(object, layout.own, (uintptr_t)saved);
	object[layout.own + layout.flags + 2] = 1;	/* it is what was saved */
	return object;
}

static void lead_to(uint8_t *object, uint8_t *next)
{
	uint8_t *edges = calloc(2, 24);

	put(edges, 0, (uintptr_t)next);
	put(object, 96, (uintptr_t)edges);
	put(object, 104, (uintptr_t)edges + 24);
	put(object, 112, (uintptr_t)edges + 48);
}

/* --- Python's objects ---------------------------------------------------------------- */

typedef struct {
	PyObject_HEAD
	uint64_t words[4];
} Wrapper;

static PyType_Slot slots[] = { { 0, NULL } };
static PyType_Spec spec = {
	.name = "torch._C.TensorBase", .basicsize = sizeof(Wrapper),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .slots = slots,
};
static PyObject *type;

static PyObject *wrap(uint8_t *object)
{
	Wrapper *wrapper = PyObject_New(Wrapper, (PyTypeObject *)type);

	if (!wrapper)
		return NULL;
	memset(wrapper->words, 0, sizeof(wrapper->words));
	memcpy((uint8_t *)wrapper + sizeof(PyObject) + layout.wrapper, &object,
	       sizeof(object));
	put(object, layout.counts + 32 + layout.slot - 8, (uintptr_t)wrapper);
	return (PyObject *)wrapper;
}

/**
 * An object for a tensor that so many others own in C++. Since 2.10 these have one
 * reference to the object, and the count a bit for that.
 */
static PyObject *wrap_owned(uint8_t *object, uint32_t owners)
{
	PyObject *wrapper = wrap(object);

	count_owners(object, 1 + owners, 1);
	if (layout.slot == 8) {
		object[15] |= 0x80;
		Py_XINCREF(wrapper);
	}
	return wrapper;
}

/**
 * make(counts, slot, wrapper, own, flags, plain=40, more=0) -> (plain ones, five
 * others, {name: address}); storages of plain ones have `more` bytes more.
 */
static PyObject *make(PyObject *self, PyObject *args)
{
	uint8_t *leaf, *result, *saved, *listed, *values, *based, *base, *broken;
	uint8_t *gone, *outer, *inner, *counts, *bucket, *owner, *coo, *dead, *meta;
	uint8_t *both, *viewed;
	unsigned int plain = 40, more = 0, size;
	PyObject *list;

	(void)self;
	if (!PyArg_ParseTuple(args, "IIIII|II", &layout.counts, &layout.slot,
			      &layout.wrapper, &layout.own, &layout.flags,
			      &plain, &more))
		return NULL;
	list = PyList_New(plain);
	for (unsigned int i = 0; list && i < plain; i++)
		PyList_SET_ITEM(list, i, wrap(make_tensor(
				TABLE(tensor),
				make_storage(64 + i % 40 * 4 + more),
				16 + i % 40 + more / 4)));
	/* and an object for none */
	if (!list || PyList_Append(list, wrap((uint8_t *)undefined)) < 0)
		return NULL;
	/* a leaf, and what was made of it by two nodes */
	leaf = make_tensor(TABLE(tensor), make_storage(400), 100);
	make_meta(leaf, TABLE(meta), NULL, NULL);
	saved = make_tensor(TABLE(tensor), make_storage(800), 200);
	counts = made(TABLE(counted), 16 + layout.own + 64);
	put(counts, 16, (uintptr_t)TABLE(accumulate));
	put(counts, 16 + layout.own, (uintptr_t)leaf);
	/* one that is gone, but for a weak reference: it has none */
	dead = made(TABLE(counted), 16 + layout.own + 64);
	put(dead, 16, (uintptr_t)TABLE(accumulate));
	put(dead, 16 + layout.own, (uintptr_t)undefined);
	inner = make_node(TABLE(gelu), saved);
	lead_to(inner, counts + 16);
	outer = make_node(TABLE(gelu), leaf);
	lead_to(outer, inner);
	/* what its memory was used for before: no bools where they would be */
	put(outer, layout.own + 8, (uintptr_t)make_tensor(
			TABLE(tensor), make_storage(4), 1));
	put(outer, layout.own + 8 + layout.flags, 0x4545454545454545);
	/* a list of saved ones */
	listed = make_tensor(TABLE(tensor), make_storage(1200), 300);
	size = layout.flags + (layout.flags == 40 ? 40 : 56);
	bucket = calloc(2, size);
	put(bucket, size, (uintptr_t)listed);
	bucket[size + layout.flags + 2] = 1;
	put(outer, layout.own + 64, (uintptr_t)bucket);
	put(outer, layout.own + 72, (uintptr_t)bucket + 2 * size);
	put(outer, layout.own + 80, (uintptr_t)bucket + 2 * size);
	result = make_tensor(TABLE(tensor), make_storage(1600), 400);
	make_meta(result, TABLE(meta), outer, NULL);
	/* of a C++ object, by way of a vector */
	values = make_tensor(TABLE(tensor), make_storage(2000), 500);
	bucket = calloc(1, 64);
	put(bucket, 16, (uintptr_t)values);
	/* and one that Python has as well */
	both = make_tensor(TABLE(tensor), make_storage(3600), 900);
	put(bucket, 24, (uintptr_t)both);
	owner = made(TABLE(reducer), 96);
	put(owner, 40, (uintptr_t)bucket);
	/* which was left in memory of a node, too */
	put(outer, layout.own + 104, (uintptr_t)bucket);
	/* a sparse tensor's, and what a view is a view of */
	coo = make_tensor(TABLE(sparse), NULL, 0);
	coo = realloc(coo, 400);
	base = make_tensor(TABLE(tensor), make_storage(2400), 600);
	put(coo, 240, (uintptr_t)base);
	viewed = make_storage(3200);
	based = make_tensor(TABLE(tensor), viewed, 700);
	meta = make_meta(based, TABLE(view), NULL, make_tensor(
			TABLE(tensor), viewed, 800));
	/* left in memory of it, and behind a storage's fields */
	put(meta, 264, (uintptr_t)both);
	put(viewed, layout.counts + 72, (uintptr_t)values);
	/* gone but for weak references; and half made */
	gone = make_tensor(TABLE(tensor), NULL, 1);
	count_owners(gone, 0, 1);
	broken = make_tensor(TABLE(tensor), NULL, 1);
	put(broken, layout.counts, 0x1234567);
	return Py_BuildValue(
		"(N[NNNNN]{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K})", list,
		wrap_owned(leaf, 2), wrap(result), wrap(coo), wrap(based),
		wrap_owned(both, 1),
		"saved", (uintptr_t)saved, "listed", (uintptr_t)listed,
		"values", (uintptr_t)values, "base", (uintptr_t)base,
		"gone", (uintptr_t)gone, "broken", (uintptr_t)broken,
		"outer", (uintptr_t)outer, "inner", (uintptr_t)inner,
		"owner", (uintptr_t)owner, "result", (uintptr_t)result);
}

static PyMethodDef methods[] = {
	{ "make", make, METH_VARARGS, "Structures of one layout." },
	{ NULL, NULL, 0, NULL },
};

static struct PyModuleDef module = {
	PyModuleDef_HEAD_INIT, .m_name = "mirror", .m_size = -1,
	.m_methods = methods,
};

PyMODINIT_FUNC PyInit_mirror(void)
{
	none_info_info.table = one_info_info.table = none_table.functions;
	type = PyType_FromSpec(&spec);
	return type ? PyModule_Create(&module) : NULL;
}
