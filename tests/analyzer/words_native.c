/*
 * Types whose fields no table tells of, for test_words.py: a module for any
 * CPython from 3.8 on.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   Seen    the collector visits its two fields
 *   Unseen  has the same two, but the collector does not know of it
 *   Inside  has a word that leads to itself, and holds nothing by it
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>

struct pair {
	PyObject_HEAD
	PyObject *other, *data;
};

static long num_freed;

static PyObject *get(PyObject *self, void *offset)
{
	PyObject *value = *(PyObject **)((char *)self + (size_t)offset);

	if (!value)
		value = Py_None;
	Py_INCREF(value);
	return value;
}

static int set(PyObject *self, PyObject *value, void *offset)
{
	PyObject **at = (PyObject **)((char *)self + (size_t)offset);
	PyObject *old = *at;

	Py_XINCREF(value);
	*at = value;
	Py_XDECREF(old);
	return 0;
}

static PyGetSetDef fields[] = {
	{ "other", get, set, NULL, (void *)offsetof(struct pair, other) },
	{ "data", get, set, NULL, (void *)offsetof(struct pair, data) },
	{ NULL, NULL, NULL, NULL, NULL },
};

static int clear(PyObject *self)
{
	struct pair *pair = (struct pair *)self;

	Py_CLEAR(pair->other);
	Py_CLEAR(pair->data);
	return 0;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
	struct pair *pair = (struct pair *)self;

	Py_VISIT(pair->other);
	Py_VISIT(pair->data);
#if PY_VERSION_HEX >= 0x03090000
	Py_VISIT(Py_TYPE(self));
#endif
	return 0;
}

static void release(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	num_freed++;
	if (PyType_IS_GC(type))
		PyObject_GC_UnTrack(self);
	clear(self);
	type->tp_free(self);
	Py_DECREF(type);
}

static void release_inside(PyObject *self)
{
	((struct pair *)self)->other = NULL;
	release(self);
}

static int traverse_inside(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(((struct pair *)self)->data);
#if PY_VERSION_HEX >= 0x03090000
	Py_VISIT(Py_TYPE(self));
#endif
	return 0;
}

static int clear_inside(PyObject *self)
{
	Py_CLEAR(((struct pair *)self)->data);
	return 0;
}

static PyType_Slot seen_slots[] = {
	{ Py_tp_getset, fields }, { Py_tp_dealloc, release },
	{ Py_tp_traverse, traverse }, { Py_tp_clear, clear }, { 0, NULL },
};

static PyType_Slot unseen_slots[] = {
	{ Py_tp_getset, fields }, { Py_tp_dealloc, release }, { 0, NULL },
};

static PyType_Slot inside_slots[] = {
	{ Py_tp_getset, fields + 1 }, { Py_tp_dealloc, release_inside },
	{ Py_tp_traverse, traverse_inside }, { Py_tp_clear, clear_inside },
	{ 0, NULL },
};

static PyType_Spec specs[] = {
	{ "words_native.Seen", sizeof(struct pair), 0,
	  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
	  seen_slots },
	{ "words_native.Unseen", sizeof(struct pair), 0, Py_TPFLAGS_DEFAULT,
	  unseen_slots },
	{ "words_native.Inside", sizeof(struct pair), 0,
	  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, inside_slots },
};

static PyObject *freed(PyObject *self, PyObject *none)
{
	(void)self;
	(void)none;
	return PyLong_FromLong(num_freed);
}

/** Hold an object where nobody finds it; one of Inside gets its word. */
static PyObject *hide(PyObject *self, PyObject *object)
{
	static uintptr_t hidden[16];
	static int count;

	(void)self;
	if (strcmp(Py_TYPE(object)->tp_name, "words_native.Inside") == 0)
		((struct pair *)object)->other = object;
	if (count < 16) {
		Py_INCREF(object);
		hidden[count++] = ~(uintptr_t)object;
	}
	Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
	{ "freed", freed, METH_NOARGS, NULL },
	{ "hide", hide, METH_O, NULL },
	{ NULL, NULL, 0, NULL },
};

static struct PyModuleDef module = {
	PyModuleDef_HEAD_INIT, .m_name = "words_native", .m_size = -1,
	.m_methods = functions,
};

PyMODINIT_FUNC PyInit_words_native(void)
{
	PyObject *made = PyModule_Create(&module);

	for (size_t i = 0; made && i < sizeof(specs) / sizeof(*specs); i++) {
		PyObject *type = PyType_FromSpec(&specs[i]);

		if (!type || PyModule_AddObject(made, strchr(specs[i].name, '.')
						      + 1, type))
			return NULL;
	}
	return made;
}
