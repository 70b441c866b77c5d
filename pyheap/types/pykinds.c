/*
 * Which builtin and library types this model knows from the inside.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pykinds.h"

#include <string.h>

#include "image/modules.h"
#include "pyheap/types/pypandas.h"

/* Bytes behind the header of an async_generator, up to 3.10: the largest. */
enum { OLD_GENERATOR_MAX = 104 };

/* What the structure of a kind is, and when it has had a __sizeof__. */
static const struct kind_info {
	enum pyh_struct structure;	/* its instances are at least as big */
	unsigned int sizeof_since;	/* minor release; 0: never */
	uint64_t flag;			/* of tp_flags, 0: none */
} kinds[PYH_NUM_KINDS] = {
	[PYH_KIND_OTHER] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_LIST] = { PYH_STRUCT_LIST, 8, PYH_TPFLAGS_LIST_SUBCLASS },
	[PYH_KIND_TUPLE] = { PYH_STRUCT_VAR, 0, PYH_TPFLAGS_TUPLE_SUBCLASS },
	[PYH_KIND_DICT] = { PYH_STRUCT_DICT, 8, PYH_TPFLAGS_DICT_SUBCLASS },
	[PYH_KIND_SET] = { PYH_STRUCT_SET, 8, 0 },
	[PYH_KIND_STR] = { PYH_STRUCT_UNICODE, 8, PYH_TPFLAGS_UNICODE_SUBCLASS },
	[PYH_KIND_BYTES] = { PYH_STRUCT_VAR, 0, PYH_TPFLAGS_BYTES_SUBCLASS },
	[PYH_KIND_BYTEARRAY] = { PYH_STRUCT_BYTEARRAY, 8, 0 },
	[PYH_KIND_INT] = { PYH_STRUCT_VAR, 8, PYH_TPFLAGS_LONG_SUBCLASS },
	[PYH_KIND_FLOAT] = { PYH_STRUCT_FLOAT, 0, 0 },
	[PYH_KIND_COMPLEX] = { PYH_STRUCT_COMPLEX, 0, 0 },
	[PYH_KIND_TYPE] = { PYH_STRUCT_TYPE, 8, PYH_TPFLAGS_TYPE_SUBCLASS },
	[PYH_KIND_CODE] = { PYH_STRUCT_OBJECT, 8, 0 },
	[PYH_KIND_FRAME] = { PYH_STRUCT_OBJECT, 8, 0 },
	[PYH_KIND_GENERATOR] = { PYH_STRUCT_OBJECT, 11, 0 },
	[PYH_KIND_DEQUE] = { PYH_STRUCT_DEQUE, 8, 0 },
	[PYH_KIND_ARRAY] = { PYH_STRUCT_ARRAY, 8, 0 },
	[PYH_KIND_ODICT] = { PYH_STRUCT_ODICT, 8, 0 },
	[PYH_KIND_MEMORYVIEW] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_MANAGEDBUFFER] = { PYH_STRUCT_MANAGEDBUFFER, 0, 0 },
	[PYH_KIND_PATTERN] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_MATCH] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_CDATA] = { PYH_STRUCT_CDATA, 0, 0 },
	[PYH_KIND_DECIMAL] = { PYH_STRUCT_DECIMAL, 8, 0 },
	[PYH_KIND_BYTESIO] = { PYH_STRUCT_BYTESIO, 8, 0 },
	[PYH_KIND_STRINGIO] = { PYH_STRUCT_STRINGIO, 0, 0 },
	[PYH_KIND_BUFFERED] = { PYH_STRUCT_BUFFERED, 8, 0 },
	[PYH_KIND_MODULE] = { PYH_STRUCT_MODULE, 0, 0 },
	[PYH_KIND_ELEMENT] = { PYH_STRUCT_ELEMENT, 8, 0 },
	[PYH_KIND_DATETIME] = { PYH_STRUCT_DATETIME, 0, 0 },
	[PYH_KIND_TIME] = { PYH_STRUCT_TIME, 0, 0 },
	[PYH_KIND_STRUCTSEQ] = { PYH_STRUCT_VAR, 0, 0 },
	[PYH_KIND_SIMPLEQUEUE] = { PYH_STRUCT_SIMPLEQUEUE, 15, 0 },
	[PYH_KIND_STRUCTPACK] = { PYH_STRUCT_STRUCTPACK, 8, 0 },
	[PYH_KIND_PICKLER] = { PYH_STRUCT_PICKLER, 8, 0 },
	[PYH_KIND_UNPICKLER] = { PYH_STRUCT_UNPICKLER, 8, 0 },
	[PYH_KIND_PRODUCT] = { PYH_STRUCT_PRODUCT, 8, 0 },
	[PYH_KIND_COMBINATIONS] = { PYH_STRUCT_COMBINATIONS, 8, 0 },
	[PYH_KIND_PERMUTATIONS] = { PYH_STRUCT_PERMUTATIONS, 8, 0 },
	[PYH_KIND_STGDICT] = { PYH_STRUCT_STGDICT, 8, 0 },
	[PYH_KIND_CTYPE] = { PYH_STRUCT_HEAPTYPE, 8, 0 },
	[PYH_KIND_NDARRAY] = { PYH_STRUCT_OBJECT, 8, 0 },
	[PYH_KIND_GREENLET] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_OLD_GREENLET] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_KHASH] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_ARROW_BUFFER] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_ARROW_ARRAY] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_ARROW_CHUNKED] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_ARROW_TABLE] = { PYH_STRUCT_OBJECT, 0, 0 },
	[PYH_KIND_ARROW_BATCH] = { PYH_STRUCT_OBJECT, 0, 0 },
};

struct kind_name {
	const char *name;
	enum pyh_kind kind;
};

/* The interpreter's own: static types, of all releases. */
static const struct kind_name builtin_names[] = {
	{ "list", PYH_KIND_LIST },
	{ "tuple", PYH_KIND_TUPLE },
	{ "dict", PYH_KIND_DICT },
	{ "frozendict", PYH_KIND_DICT },	/* 3.15 */
	{ "set", PYH_KIND_SET },
	{ "frozenset", PYH_KIND_SET },
	{ "str", PYH_KIND_STR },
	{ "bytes", PYH_KIND_BYTES },
	{ "bytearray", PYH_KIND_BYTEARRAY },
	{ "int", PYH_KIND_INT },
	{ "float", PYH_KIND_FLOAT },
	{ "complex", PYH_KIND_COMPLEX },
	{ "type", PYH_KIND_TYPE },
	{ "code", PYH_KIND_CODE },
	{ "frame", PYH_KIND_FRAME },
	{ "generator", PYH_KIND_GENERATOR },
	{ "coroutine", PYH_KIND_GENERATOR },
	{ "async_generator", PYH_KIND_GENERATOR },
	{ "memoryview", PYH_KIND_MEMORYVIEW },
	{ "managedbuffer", PYH_KIND_MANAGEDBUFFER },
	{ "module", PYH_KIND_MODULE },
};

/* And those of modules, be they built in or not, static or not. */
static const struct kind_name module_names[] = {
	{ "collections.deque", PYH_KIND_DEQUE },
	{ "array.array", PYH_KIND_ARRAY },
	{ "collections.OrderedDict", PYH_KIND_ODICT },
	{ "re.Pattern", PYH_KIND_PATTERN },
	{ "re.Match", PYH_KIND_MATCH },
	{ "_ctypes._CData", PYH_KIND_CDATA },
	{ "decimal.Decimal", PYH_KIND_DECIMAL },
	{ "_io.BytesIO", PYH_KIND_BYTESIO },
	{ "_io.StringIO", PYH_KIND_STRINGIO },
	{ "_io.BufferedReader", PYH_KIND_BUFFERED },
	{ "_io.BufferedWriter", PYH_KIND_BUFFERED },
	{ "_io.BufferedRandom", PYH_KIND_BUFFERED },
	{ "xml.etree.ElementTree.Element", PYH_KIND_ELEMENT },
	{ "datetime.datetime", PYH_KIND_DATETIME },
	{ "datetime.time", PYH_KIND_TIME },
	{ "_queue.SimpleQueue", PYH_KIND_SIMPLEQUEUE },
	{ "_struct.Struct", PYH_KIND_STRUCTPACK },
	{ "Struct", PYH_KIND_STRUCTPACK },	/* 3.8 */
	{ "_pickle.Pickler", PYH_KIND_PICKLER },
	{ "_pickle.Unpickler", PYH_KIND_UNPICKLER },
	{ "itertools.product", PYH_KIND_PRODUCT },
	{ "itertools.combinations", PYH_KIND_COMBINATIONS },
	{ "itertools.combinations_with_replacement", PYH_KIND_COMBINATIONS },
	{ "itertools.permutations", PYH_KIND_PERMUTATIONS },
	{ "StgDict", PYH_KIND_STGDICT },
	{ "_ctypes.CType_Type", PYH_KIND_CTYPE },
	{ "numpy.ndarray", PYH_KIND_NDARRAY },
	{ "greenlet.greenlet", PYH_KIND_GREENLET },
	{ "greenlet.greenlet", PYH_KIND_OLD_GREENLET },
	{ "pyarrow.lib.Buffer", PYH_KIND_ARROW_BUFFER },
	{ "pyarrow.lib.Array", PYH_KIND_ARROW_ARRAY },
	{ "pyarrow.lib.ChunkedArray", PYH_KIND_ARROW_CHUNKED },
	{ "pyarrow.lib.Table", PYH_KIND_ARROW_TABLE },
	{ "pyarrow.lib.RecordBatch", PYH_KIND_ARROW_BATCH },
};

/* The same of extension modules, which have no table of their structures. */
static const struct {
	enum pyh_kind kind;
	int64_t least, most;	/* bytes of their instances */
} sizes[] = {
	{ PYH_KIND_NDARRAY, 80, 256 },	/* numpy 1.7 had the least */
	{ PYH_KIND_GREENLET, 40, 64 },
	{ PYH_KIND_OLD_GREENLET, 128, 256 },
	{ PYH_KIND_KHASH, 32, 128 },
	{ PYH_KIND_ARROW_BUFFER, 48, 256 },
	{ PYH_KIND_ARROW_ARRAY, 48, 256 },
	{ PYH_KIND_ARROW_CHUNKED, 48, 256 },
	{ PYH_KIND_ARROW_TABLE, 48, 256 },
	{ PYH_KIND_ARROW_BATCH, 48, 256 },
};

static bool fits_extension(const struct pyh_type_view *view,
			   enum pyh_kind kind)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (sizes[i].kind == kind)
			return view->basicsize >= sizes[i].least &&
			       view->basicsize <= sizes[i].most;
	return true;
}

static bool fits(const struct pyh_runtime *runtime,
		 const struct pyh_type_view *view, enum pyh_kind kind)
{
	uint32_t size = runtime->size_of[kinds[kind].structure];

	return size != 0 && view->basicsize >= (int64_t)size;
}

/*
 * What Cython called "generator" until 3.0 is a static type of no module, too,
 * and may be linked into the interpreter. None of its releases fits: they have
 * no items, as CPython's have since 3.11, and are larger than older ones.
 * Source: CPython Objects/genobject.c; Cython Utility/Coroutine.c
 */
static bool fits_generator(const struct pyh_runtime *runtime,
			   const struct pyh_type_view *view)
{
	if (runtime->minor >= 11)
		return view->itemsize > 0;
	return view->itemsize == 0 &&
	       view->basicsize - (int64_t)runtime->size_of[PYH_STRUCT_OBJECT] <=
		       OLD_GENERATOR_MAX;
}

/*
 * Names are free for everyone to choose: datetime.datetime, for one, also
 * exists as a class written in Python. A heap type of a name in the table has
 * to have exactly the size of the structure.
 */
static bool looks_like(const struct pyh_runtime *runtime,
		       const struct pyh_type_view *view, enum pyh_kind kind)
{
	enum pyh_struct structure = kinds[kind].structure;

	if (!fits(runtime, view, kind) || !fits_extension(view, kind) ||
	    (kind == PYH_KIND_GENERATOR && !fits_generator(runtime, view)))
		return false;
	if (!(view->flags & PYH_TPFLAGS_HEAPTYPE) ||
	    structure == PYH_STRUCT_OBJECT || structure == PYH_STRUCT_VAR ||
	    structure == PYH_STRUCT_HEAPTYPE)
		return true;
	return view->basicsize == (int64_t)runtime->size_of[structure];
}

bool pyh_kind_may_be_builtin(const struct pyh_runtime *runtime,
			     const struct pyh_type_view *view)
{
	const struct modules *modules = runtime->image->modules;
	const struct module *module;

	if (view->flags & PYH_TPFLAGS_HEAPTYPE)
		return false;
	module = modules ? modules_find(modules, view->address) : NULL;
	// A program may have moved types of the interpreter's library into
	// itself.
	return !module || !runtime->module || module == runtime->module ||
	       module->is_executable;
}

enum pyh_kind pyh_kind_by_name(const struct pyh_runtime *runtime,
			       const struct pyh_type_view *view,
			       const char *name)
{
	for (size_t i = 0;
	     i < sizeof(builtin_names) / sizeof(builtin_names[0]); i++)
		if (strcmp(builtin_names[i].name, name) == 0)
			return pyh_kind_may_be_builtin(runtime, view) &&
			       looks_like(runtime, view,
					  builtin_names[i].kind) ?
				       builtin_names[i].kind : PYH_KIND_OTHER;
	for (size_t i = 0; i < sizeof(module_names) / sizeof(module_names[0]);
	     i++)
		if (strcmp(module_names[i].name, name) == 0 &&
		    looks_like(runtime, view, module_names[i].kind))
			return module_names[i].kind;
	if (pyh_khash_key_size(name) && looks_like(runtime, view,
						   PYH_KIND_KHASH))
		return PYH_KIND_KHASH;
	return PYH_KIND_OTHER;
}

enum pyh_kind pyh_kind_by_flags(const struct pyh_runtime *runtime,
				const struct pyh_type_view *view)
{
	for (int kind = 0; kind < PYH_NUM_KINDS; kind++)
		if (kinds[kind].flag && (view->flags & kinds[kind].flag) &&
		    fits(runtime, view, (enum pyh_kind)kind))
			return (enum pyh_kind)kind;
	return PYH_KIND_OTHER;
}

bool pyh_kind_has_sizeof(const struct pyh_runtime *runtime,
			 enum pyh_kind kind)
{
	return kinds[kind].sizeof_since &&
	       runtime->minor >= kinds[kind].sizeof_since;
}
