/*
 * What types are called.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pynames.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "pyheap/types/pytypes.h"
#include "pyheap/values/pystr.h"

/* Entries of dictionaries looked at in search of names, in total. */
enum { SEARCH_BUDGET = 1 << 23 };

/* How good a place to find a type's name is; less is better. */
enum {
	RANK_BUILTINS,
	RANK_TABLE,
	RANK_MODULE,			/* plus what speaks against it: */
	PENALTY_PYTHON_MODULE = 4096,	/* it was imported from elsewhere */
	PENALTY_PUBLIC_MODULE = 1024,	/* the C module is called _name */
	PENALTY_PRIVATE_NAME = 512,	/* imported as _name */
	PENALTY_LENGTH_MAX = 255,
};

struct found_name {
	char *name;
	uint32_t rank;
};

struct pyh_names {
	const struct pyh_runtime *runtime;	/* borrowed */
	bool searched;
	bool no_memory;
	uint64_t budget;
	struct hashmap index;			/* type address → found */
	struct found_name *found;
	size_t num_found, room;
	char text[2][PYH_NAME_MAX];		/* scratch */
};

enum place {
	PLACE_IS,	/* the attribute is the type */
	PLACE_TYPE,	/* the attribute's type is it */
	PLACE_BASE,	/* the attribute is a type, and its base is it */
	PLACE_DICT,	/* the attribute is a type, and its dict's type is it */
};

/*
 * Static types that go by another name than the one they are found under.
 * Source: what the interpreters 3.8 to 3.15 say of themselves.
 */
static const struct odd_name {
	const char *module, *attribute, *name;
	enum place place;
	uint8_t since, until;	/* minor releases; until 0: still */
} odd_names[] = {
	{ "builtins", "None", "NoneType", PLACE_TYPE, 8, 0 },
	{ "builtins", "Ellipsis", "ellipsis", PLACE_TYPE, 8, 0 },
	{ "builtins", "NotImplemented", "NotImplementedType", PLACE_TYPE, 8, 0 },
	{ "types", "FunctionType", "function", PLACE_IS, 8, 0 },
	{ "types", "CodeType", "code", PLACE_IS, 8, 0 },
	{ "types", "MappingProxyType", "mappingproxy", PLACE_IS, 8, 0 },
	{ "types", "CellType", "cell", PLACE_IS, 8, 0 },
	{ "types", "GeneratorType", "generator", PLACE_IS, 8, 0 },
	{ "types", "CoroutineType", "coroutine", PLACE_IS, 8, 0 },
	{ "types", "AsyncGeneratorType", "async_generator", PLACE_IS, 8, 0 },
	{ "types", "MethodType", "method", PLACE_IS, 8, 0 },
	{ "types", "BuiltinFunctionType", "builtin_function_or_method",
	  PLACE_IS, 8, 0 },
	{ "types", "WrapperDescriptorType", "wrapper_descriptor", PLACE_IS, 8, 0 },
	{ "types", "MethodWrapperType", "method-wrapper", PLACE_IS, 8, 0 },
	{ "types", "MethodDescriptorType", "method_descriptor", PLACE_IS, 8, 0 },
	{ "types", "ClassMethodDescriptorType", "classmethod_descriptor",
	  PLACE_IS, 8, 0 },
	{ "types", "ModuleType", "module", PLACE_IS, 8, 0 },
	{ "types", "TracebackType", "traceback", PLACE_IS, 8, 0 },
	{ "types", "FrameType", "frame", PLACE_IS, 8, 0 },
	{ "types", "GetSetDescriptorType", "getset_descriptor", PLACE_IS, 8, 0 },
	{ "types", "MemberDescriptorType", "member_descriptor", PLACE_IS, 8, 0 },
	{ "types", "CapsuleType", "PyCapsule", PLACE_IS, 13, 0 },
	{ "types", "GenericAlias", "types.GenericAlias", PLACE_IS, 9, 0 },
	{ "types", "SimpleNamespace", "types.SimpleNamespace", PLACE_IS, 8, 0 },
	{ "types", "UnionType", "typing.Union", PLACE_IS, 14, 0 },
	{ "annotationlib", "_Template", "string.templatelib.Template",
	  PLACE_IS, 14, 0 },
	{ "types", "LazyImportType", "lazy_import", PLACE_IS, 15, 0 },
	{ "_collections_abc", "bytes_iterator", "bytes_iterator", PLACE_IS, 8, 0 },
	{ "_collections_abc", "bytearray_iterator", "bytearray_iterator",
	  PLACE_IS, 8, 0 },
	{ "_collections_abc", "dict_keyiterator", "dict_keyiterator",
	  PLACE_IS, 8, 0 },
	{ "_collections_abc", "dict_valueiterator", "dict_valueiterator",
	  PLACE_IS, 8, 0 },
	{ "_collections_abc", "dict_itemiterator", "dict_itemiterator",
	  PLACE_IS, 8, 0 },
	{ "_collections_abc", "list_iterator", "list_iterator", PLACE_IS, 8, 0 },
	{ "_collections_abc", "list_reverseiterator", "list_reverseiterator",
	  PLACE_IS, 8, 0 },
	{ "_collections_abc", "range_iterator", "range_iterator", PLACE_IS, 8, 0 },
	{ "_collections_abc", "longrange_iterator", "longrange_iterator",
	  PLACE_IS, 8, 0 },
	{ "_collections_abc", "set_iterator", "set_iterator", PLACE_IS, 8, 0 },
	{ "_collections_abc", "str_iterator", "str_iterator", PLACE_IS, 8, 10 },
	{ "_collections_abc", "str_iterator", "str_ascii_iterator",
	  PLACE_IS, 11, 0 },
	{ "_collections_abc", "tuple_iterator", "tuple_iterator", PLACE_IS, 8, 0 },
	{ "_collections_abc", "zip_iterator", "zip", PLACE_IS, 8, 0 },
	{ "_collections_abc", "dict_keys", "dict_keys", PLACE_IS, 8, 0 },
	{ "_collections_abc", "dict_values", "dict_values", PLACE_IS, 8, 0 },
	{ "_collections_abc", "dict_items", "dict_items", PLACE_IS, 8, 0 },
	{ "_collections_abc", "framelocalsproxy", "FrameLocalsProxy",
	  PLACE_IS, 13, 0 },
	{ "sys", "version_info", "sys.version_info", PLACE_TYPE, 8, 0 },
	{ "sys", "flags", "sys.flags", PLACE_TYPE, 8, 0 },
	{ "sys", "float_info", "sys.float_info", PLACE_TYPE, 8, 0 },
	{ "sys", "int_info", "sys.int_info", PLACE_TYPE, 8, 0 },
	{ "sys", "hash_info", "sys.hash_info", PLACE_TYPE, 8, 0 },
	{ "sys", "thread_info", "sys.thread_info", PLACE_TYPE, 8, 0 },
	{ "_weakref", "ReferenceType", "weakref", PLACE_IS, 8, 9 },
	{ "_weakref", "ReferenceType", "weakref.ReferenceType", PLACE_IS, 10, 0 },
	{ "_weakref", "ProxyType", "weakproxy", PLACE_IS, 8, 9 },
	{ "_weakref", "ProxyType", "weakref.ProxyType", PLACE_IS, 10, 0 },
	{ "_weakref", "CallableProxyType", "weakcallableproxy", PLACE_IS, 8, 9 },
	{ "_weakref", "CallableProxyType", "weakref.CallableProxyType",
	  PLACE_IS, 10, 0 },
	{ "_collections", "OrderedDict", "collections.OrderedDict",
	  PLACE_IS, 8, 0 },
	{ "_collections", "defaultdict", "collections.defaultdict",
	  PLACE_IS, 8, 0 },
	{ "_collections", "deque", "collections.deque", PLACE_IS, 8, 0 },
	{ "_contextvars", "Context", "Context", PLACE_IS, 8, 9 },
	{ "_contextvars", "ContextVar", "ContextVar", PLACE_IS, 8, 9 },
	{ "_contextvars", "Token", "Token", PLACE_IS, 8, 9 },
	{ "_thread", "LockType", "_thread.lock", PLACE_IS, 8, 9 },
	{ "_thread", "_ExceptHookArgs", "_thread.ExceptHookArgs",
	  PLACE_IS, 8, 9 },
	{ "_struct", "Struct", "Struct", PLACE_IS, 8, 8 },
	{ "_functools", "partial", "functools.partial", PLACE_IS, 8, 9 },
	{ "_functools", "_lru_cache_wrapper", "functools._lru_cache_wrapper",
	  PLACE_IS, 8, 9 },
	{ "_operator", "attrgetter", "operator.attrgetter", PLACE_IS, 8, 9 },
	{ "_operator", "itemgetter", "operator.itemgetter", PLACE_IS, 8, 9 },
	{ "_operator", "methodcaller", "operator.methodcaller", PLACE_IS, 8, 9 },
	{ "_datetime", "date", "datetime.date", PLACE_IS, 8, 0 },
	{ "_datetime", "datetime", "datetime.datetime", PLACE_IS, 8, 0 },
	{ "_datetime", "time", "datetime.time", PLACE_IS, 8, 0 },
	{ "_datetime", "timedelta", "datetime.timedelta", PLACE_IS, 8, 0 },
	{ "_datetime", "timezone", "datetime.timezone", PLACE_IS, 8, 0 },
	{ "_datetime", "tzinfo", "datetime.tzinfo", PLACE_IS, 8, 0 },
	{ "_datetime", "datetime_CAPI", "PyCapsule", PLACE_TYPE, 8, 0 },
	{ "_decimal", "Context", "decimal.Context", PLACE_IS, 8, 12 },
	{ "_decimal", "Decimal", "decimal.Decimal", PLACE_IS, 8, 12 },
	{ "_pickle", "PickleBuffer", "pickle.PickleBuffer", PLACE_IS, 8, 0 },
	{ "_typing", "TypeAliasType", "typing.TypeAliasType", PLACE_IS, 12, 0 },
	{ "_zoneinfo", "ZoneInfo", "zoneinfo.ZoneInfo", PLACE_IS, 9, 11 },
	{ "_elementtree", "Element", "xml.etree.ElementTree.Element",
	  PLACE_IS, 8, 11 },
	{ "_elementtree", "TreeBuilder", "xml.etree.ElementTree.TreeBuilder",
	  PLACE_IS, 8, 11 },
	{ "_elementtree", "XMLParser", "xml.etree.ElementTree.XMLParser",
	  PLACE_IS, 8, 11 },
	{ "_sqlite3", "Connection", "sqlite3.Connection", PLACE_IS, 8, 9 },
	{ "_sqlite3", "Cursor", "sqlite3.Cursor", PLACE_IS, 8, 9 },
	{ "_sqlite3", "PrepareProtocol", "sqlite3.PrepareProtocol",
	  PLACE_IS, 8, 9 },
	{ "_sqlite3", "Row", "sqlite3.Row", PLACE_IS, 8, 9 },
	{ "_signal", "struct_siginfo", "signal.struct_siginfo", PLACE_IS, 8, 10 },
	{ "_socket", "socket", "_socket.socket", PLACE_IS, 8, 11 },
	{ "_ssl", "SSLSession", "_ssl.Session", PLACE_IS, 8, 9 },
	{ "_json", "make_encoder", "_json.Encoder", PLACE_IS, 8, 8 },
	{ "_json", "make_scanner", "_json.Scanner", PLACE_IS, 8, 8 },
	{ "_md5", "MD5Type", "_md5.md5", PLACE_IS, 8, 9 },
	{ "_sha1", "SHA1Type", "_sha1.sha1", PLACE_IS, 8, 9 },
	{ "_sha256", "SHA224Type", "_sha256.sha224", PLACE_IS, 8, 9 },
	{ "_sha256", "SHA256Type", "_sha256.sha256", PLACE_IS, 8, 9 },
	{ "_sha512", "SHA384Type", "_sha512.sha384", PLACE_IS, 8, 9 },
	{ "_sha512", "SHA512Type", "_sha512.sha512", PLACE_IS, 8, 9 },
	{ "_multibytecodec", "MultibyteIncrementalDecoder",
	  "MultibyteIncrementalDecoder", PLACE_IS, 8, 9 },
	{ "_multibytecodec", "MultibyteIncrementalEncoder",
	  "MultibyteIncrementalEncoder", PLACE_IS, 8, 9 },
	{ "_multibytecodec", "MultibyteStreamReader", "MultibyteStreamReader",
	  PLACE_IS, 8, 9 },
	{ "_multibytecodec", "MultibyteStreamWriter", "MultibyteStreamWriter",
	  PLACE_IS, 8, 9 },
	{ "pyexpat", "XMLParserType", "pyexpat.xmlparser", PLACE_IS, 8, 9 },
	{ "parser", "STType", "parser.st", PLACE_IS, 8, 9 },
	{ "array", "array", "array.array", PLACE_IS, 8, 9 },
	{ "_ctypes", "CFuncPtr", "_ctypes.PyCFuncPtr", PLACE_IS, 8, 9 },
	{ "_ctypes", "_SimpleCData", "_ctypes._CData", PLACE_BASE, 8, 12 },
	{ "_ctypes", "_SimpleCData", "_ctypes.PyCSimpleType", PLACE_TYPE, 8, 12 },
	{ "_ctypes", "Structure", "_ctypes.PyCStructType", PLACE_TYPE, 8, 12 },
	{ "_ctypes", "Union", "_ctypes.UnionType", PLACE_TYPE, 8, 12 },
	{ "_ctypes", "_Pointer", "_ctypes.PyCPointerType", PLACE_TYPE, 8, 12 },
	{ "_ctypes", "Array", "_ctypes.PyCArrayType", PLACE_TYPE, 8, 12 },
	{ "_ctypes", "CFuncPtr", "_ctypes.PyCFuncPtrType", PLACE_TYPE, 8, 12 },
	{ "ctypes", "c_int", "StgDict", PLACE_DICT, 8, 12 },
	{ "_interpreters", "InterpreterError", "interpreters.InterpreterError",
	  PLACE_IS, 13, 13 },
	{ "_interpreters", "InterpreterNotFoundError",
	  "interpreters.InterpreterNotFoundError", PLACE_IS, 13, 13 },
	{ "_interpreters", "InterpreterError",
	  "concurrent.interpreters.InterpreterError", PLACE_IS, 14, 0 },
	{ "_interpreters", "InterpreterNotFoundError",
	  "concurrent.interpreters.InterpreterNotFoundError", PLACE_IS, 14, 0 },
};

void pyh_name_deinit(struct pyh_name *name)
{
	free(name->full);
	free(name->module);
	free(name->qualname);
	*name = (struct pyh_name){ 0 };
}

struct error *pyh_names_create(const struct pyh_runtime *runtime,
			       struct pyh_names **ret)
{
	struct pyh_names *names = calloc(1, sizeof(*names));

	if (!names)
		return error_no_memory();
	names->runtime = runtime;
	names->budget = SEARCH_BUDGET;
	*ret = names;
	return NULL;
}

void pyh_names_destroy(struct pyh_names *names)
{
	if (!names)
		return;
	for (size_t i = 0; i < names->num_found; i++)
		free(names->found[i].name);
	free(names->found);
	hashmap_deinit(&names->index);
	free(names);
}

/* --- searching the dictionaries ----------------------------------------- */

static bool make_room(struct pyh_names *names)
{
	size_t room = names->room ? names->room * 2 : 256;
	struct found_name *found;

	if (names->num_found < names->room)
		return true;
	found = realloc(names->found, room * sizeof(*found));
	if (!found)
		return false;
	names->found = found;
	names->room = room;
	return true;
}

/* Remember a name for a type unless a better one is there. Takes name. */
static void offer(struct pyh_names *names, uint64_t type, char *name,
		  uint32_t rank)
{
	uint32_t i;

	if (!name) {
		names->no_memory = true;
	} else if (hashmap_get(&names->index, type, &i)) {
		if (rank < names->found[i].rank) {
			free(names->found[i].name);
			names->found[i] = (struct found_name){ name, rank };
			return;
		}
		free(name);
	} else {
		struct error *err = NULL;

		if (!make_room(names) ||
		    (err = hashmap_put(&names->index, type,
				       (uint32_t)names->num_found))) {
			error_free(err);
			names->no_memory = true;
			free(name);
			return;
		}
		names->found[names->num_found++] =
			(struct found_name){ name, rank };
	}
}

static bool static_type_at(struct pyh_names *names,
			   struct memory_reader *memory, uint64_t address,
			   struct pyh_type_view *view)
{
	return pyh_type_view(names->runtime, memory, NULL, address, view) &&
	       !(view->flags & PYH_TPFLAGS_HEAPTYPE);
}

static uint64_t dict_get(struct pyh_names *names, struct memory_reader *memory,
			 uint64_t dict, const char *key)
{
	uint64_t value = 0;

	if (dict)
		pyh_dict_find(names->runtime, memory, dict, &key, 1, &value,
			      &names->budget);
	return value;
}

/* A module's dict; 0 if it is no module. */
static uint64_t module_dict(struct pyh_names *names,
			    struct memory_reader *memory, uint64_t module)
{
	const struct pyh_runtime *runtime = names->runtime;
	uint64_t dict, type;

	if (module == 0 || module % 8 ||
	    !memory_try_u64(memory,
			    module + pyh_offset(runtime, PYH_MODULE_MD_DICT),
			    &dict) ||
	    dict == 0 || dict % 8 ||
	    !memory_try_u64(memory,
			    dict + pyh_offset(runtime, PYH_OBJECT_OB_TYPE),
			    &type))
		return 0;
	return runtime->types.dict == 0 || type == runtime->types.dict ? dict : 0;
}

static uint64_t type_of(struct pyh_names *names, struct memory_reader *memory,
			uint64_t object)
{
	uint64_t type;

	if (object == 0 || object % 8 ||
	    !memory_try_u64(memory,
			    object + pyh_offset(names->runtime,
						PYH_OBJECT_OB_TYPE), &type))
		return 0;
	return type;
}

/* The static type that a row of the table leads to from an attribute. */
static uint64_t follow(struct pyh_names *names, struct memory_reader *memory,
		       uint64_t value, enum place place)
{
	struct pyh_type_view view;

	if ((place == PLACE_BASE || place == PLACE_DICT) &&
	    !pyh_type_view(names->runtime, memory, NULL, value, &view))
		return 0;
	switch (place) {
	case PLACE_IS:
		break;
	case PLACE_TYPE:
		value = type_of(names, memory, value);
		break;
	case PLACE_BASE:
		value = view.base;
		break;
	case PLACE_DICT:
		value = type_of(names, memory, view.dict);
		break;
	}
	return static_type_at(names, memory, value, &view) ? value : 0;
}

static void search_table(struct pyh_names *names, struct memory_reader *memory,
			 const struct pyh_interpreter *interpreter)
{
	const char *last = "";
	uint64_t dict = 0;

	for (size_t i = 0; i < sizeof(odd_names) / sizeof(odd_names[0]); i++) {
		const struct odd_name *odd = &odd_names[i];
		uint64_t type;

		if (names->runtime->minor < odd->since ||
		    (odd->until && names->runtime->minor > odd->until))
			continue;
		if (strcmp(odd->module, last) != 0) {
			last = odd->module;
			dict = module_dict(names, memory,
					   dict_get(names, memory,
						    interpreter->modules, last));
		}
		type = follow(names, memory,
			      dict_get(names, memory, dict, odd->attribute),
			      odd->place);
		if (type)
			offer(names, type, strdup(odd->name), RANK_TABLE);
	}
}

static bool read_text(struct pyh_names *names, struct memory_reader *memory,
		      uint64_t object, char text[PYH_NAME_MAX])
{
	struct pyh_str str;

	return pyh_str_read(names->runtime, memory, object, &str) == PYH_FOUND &&
	       pyh_str_copy(memory, &str, text, PYH_NAME_MAX);
}

/* Offer a name for every static type in a dict; module NULL: builtins. */
static void search_dict(struct pyh_names *names, struct memory_reader *memory,
			uint64_t dict, const char *module, uint32_t rank)
{
	struct pyh_dict_walk walk;
	uint64_t key, value;

	if (pyh_dict_walk(names->runtime, memory, dict, &walk) != PYH_FOUND)
		return;
	walk.budget = &names->budget;
	while (pyh_dict_next(&walk, &key, &value)) {
		char *attribute = names->text[1], *name = NULL;
		struct pyh_type_view view;

		if (!static_type_at(names, memory, value, &view) ||
		    !read_text(names, memory, key, attribute))
			continue;
		if (!module)
			name = strdup(attribute);
		else if (asprintf(&name, "%s.%s", module, attribute) < 0)
			name = NULL;
		offer(names, value, name,
		      rank + (module && attribute[0] == '_' ?
			      PENALTY_PRIVATE_NAME : 0));
	}
}

static void search_modules(struct pyh_names *names,
			   struct memory_reader *memory, uint64_t modules)
{
	const struct pyh_runtime *runtime = names->runtime;
	struct pyh_dict_walk walk;
	uint64_t key, value;

	if (pyh_dict_walk(runtime, memory, modules, &walk) != PYH_FOUND)
		return;
	walk.budget = &names->budget;
	while (pyh_dict_next(&walk, &key, &value)) {
		uint64_t dict = module_dict(names, memory, value), def = 0;
		char *module = names->text[0];
		uint32_t rank = RANK_MODULE;
		size_t length;

		if (!dict || !read_text(names, memory, key, module))
			continue;
		if (pyh_has(runtime, PYH_MODULE_MD_DEF) &&
		    (!memory_try_u64(memory,
				     value + pyh_offset(runtime,
							PYH_MODULE_MD_DEF),
				     &def) || def == 0))
			rank += PENALTY_PYTHON_MODULE;
		if (module[0] != '_')
			rank += PENALTY_PUBLIC_MODULE;
		length = strlen(module);
		rank += length < PENALTY_LENGTH_MAX ? (uint32_t)length :
						      PENALTY_LENGTH_MAX;
		search_dict(names, memory, dict, module, rank);
	}
}

static void search(struct pyh_names *names, struct memory_reader *memory)
{
	const struct pyh_runtime *runtime = names->runtime;

	names->searched = true;
	for (size_t i = 0; i < runtime->num_interpreters; i++) {
		const struct pyh_interpreter *interpreter =
			&runtime->interpreters[i];

		search_dict(names, memory, interpreter->builtins, NULL,
			    RANK_BUILTINS);
		search_table(names, memory, interpreter);
		search_modules(names, memory, interpreter->modules);
	}
}

/* --- naming one type ------------------------------------------------------ */

/* "module.Name" as static types spell it; without a dot it is a builtin. */
static bool split(const char *full, struct pyh_name *ret)
{
	const char *dot = strrchr(full, '.');
	struct pyh_name name = { .known = true, .full = strdup(full) };

	name.module = dot ? strndup(full, (size_t)(dot - full)) :
			    strdup("builtins");
	name.qualname = strdup(dot ? dot + 1 : full);
	if (!name.full || !name.module || !name.qualname) {
		pyh_name_deinit(&name);
		return false;
	}
	*ret = name;
	return true;
}

static bool name_unknown(const struct pyh_type_view *view, struct pyh_name *ret)
{
	struct pyh_name name = { .known = false };

	if (asprintf(&name.full, "?0x%" PRIx64, view->address) < 0)
		return false;
	*ret = name;
	return true;
}

static bool name_static(struct pyh_names *names, struct memory_reader *memory,
			const struct pyh_type_view *view, struct pyh_name *ret)
{
	char *text = names->text[0];
	uint32_t i;

	if (memory_try_string(memory, view->tp_name, text, PYH_NAME_MAX) &&
	    text[0] != '\0')
		return split(text, ret);
	if (!names->searched)
		search(names, memory);
	if (hashmap_get(&names->index, view->address, &i))
		return split(names->found[i].name, ret);
	return name_unknown(view, ret);
}

static bool read_member_text(struct pyh_names *names,
			     struct memory_reader *memory,
			     const struct pyh_type_view *view,
			     enum pyh_field field, char text[PYH_NAME_MAX])
{
	uint64_t object;

	return pyh_has(names->runtime, field) &&
	       memory_try_u64(memory,
			      view->address + pyh_offset(names->runtime, field),
			      &object) &&
	       object != 0 && object % 8 == 0 &&
	       read_text(names, memory, object, text);
}

/*
 * Whether an object may be a str. What a type has under __module__ may also be
 * a descriptor, for the __module__ of its instances.
 */
static bool may_be_str(struct pyh_names *names, struct memory_reader *memory,
		       uint64_t object)
{
	uint64_t type = type_of(names, memory, object), flags;

	return type == names->runtime->types.str ||
	       !memory_try_u64(memory,
			       type + pyh_offset(names->runtime,
						 PYH_TYPE_TP_FLAGS), &flags) ||
	       (flags & PYH_TPFLAGS_UNICODE_SUBCLASS);
}

/* C types made from a spec have both names in tp_name. */
static bool module_of_spec(struct memory_reader *memory,
			   const struct pyh_type_view *view,
			   const char *qualname, char module[PYH_NAME_MAX])
{
	char *dot;

	if (!memory_try_string(memory, view->tp_name, module, PYH_NAME_MAX))
		return false;
	// The name of a class statement's may hold a dot, too: by setting it.
	dot = strrchr(module, '.');
	if (!dot || strcmp(dot + 1, qualname) != 0)
		return false;
	*dot = '\0';
	return true;
}

static bool name_heap(struct pyh_names *names, struct memory_reader *memory,
		      const struct pyh_type_view *view, uint64_t module_object,
		      bool dict_seen, struct pyh_name *ret)
{
	char *qualname = names->text[0], *module = names->text[1];
	struct pyh_name name = { .known = true };
	bool has_module;

	if (!read_member_text(names, memory, view, PYH_HEAPTYPE_HT_QUALNAME,
			      qualname) &&
	    !read_member_text(names, memory, view, PYH_HEAPTYPE_HT_NAME,
			      qualname))
		return name_static(names, memory, view, ret);
	has_module = module_object &&
		     may_be_str(names, memory, module_object) &&
		     read_text(names, memory, module_object, module);
	if (!has_module && (module_object || !dict_seen))
		has_module = module_of_spec(memory, view, qualname, module);
	name.qualname = strdup(qualname);
	name.module = has_module ? strdup(module) : NULL;
	if (!has_module || strcmp(module, "builtins") == 0)
		name.full = strdup(qualname);
	else if (asprintf(&name.full, "%s.%s", module, qualname) < 0)
		name.full = NULL;
	if (!name.full || !name.qualname || (has_module && !name.module)) {
		pyh_name_deinit(&name);
		return false;
	}
	*ret = name;
	return true;
}

bool pyh_names_of(struct pyh_names *names, struct memory_reader *memory,
		  const struct pyh_type_view *view, uint64_t module,
		  bool dict_seen, struct pyh_name *ret)
{
	if (view->flags & PYH_TPFLAGS_HEAPTYPE)
		return name_heap(names, memory, view, module, dict_seen, ret);
	return name_static(names, memory, view, ret);
}
