/*
 * Names for paths; see pyedgename.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyedgename.h"

#include <inttypes.h>
#include <string.h>

#include "image/demangle.h"
#include "pyheap/values/pydict.h"
#include "pyheap/values/pystr.h"

enum {
	TUPLE_MAX = 1 << 20,	/* names of a code object */
	TAGS = 7,		/* low bits of f_executable */
	DICT_LOOK_MAX = 1 << 16,	/* entries looked at for __file__ */
};

static uint64_t field(const struct pyh_naming *naming, uint64_t structure,
		      enum pyh_field which)
{
	uint64_t value;

	return structure && pyh_field(naming->runtime, naming->memory,
				      structure, which, &value) ? value : 0;
}

/* --- text ----------------------------------------------------------------- */

bool pyh_name_read(const struct pyh_naming *naming, uint64_t str, char *buffer,
		   size_t size)
{
	struct pyh_str parsed;
	uint64_t type = field(naming, str, PYH_OBJECT_OB_TYPE), flags;

	return type && str % 8 == 0 &&
	       pyh_field(naming->runtime, naming->memory, type,
			 PYH_TYPE_TP_FLAGS, &flags) &&
	       flags & PYH_TPFLAGS_UNICODE_SUBCLASS &&
	       pyh_str_read(naming->runtime, naming->memory, str, &parsed) ==
		       PYH_FOUND &&
	       pyh_str_copy(naming->memory, &parsed, buffer, size);
}

static bool begins_identifier(char c)
{
	return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (unsigned char)c >= 0x80;
}

bool pyh_name_identifier(const struct pyh_naming *naming, uint64_t str,
			 char buffer[static PYH_NAME_MAX + 1])
{
	// A cut text ends with the ellipsis, which must not pass for a letter.
	static const char ellipsis[] = "\xe2\x80\xa6";

	if (!pyh_name_read(naming, str, buffer, PYH_NAME_MAX + 1) ||
	    !begins_identifier(buffer[0]) || strstr(buffer, ellipsis))
		return false;
	for (const char *c = buffer; *c; c++)
		if (!begins_identifier(*c) && !(*c >= '0' && *c <= '9'))
			return false;
	return true;
}

/* --- code ----------------------------------------------------------------- */

static uint64_t tuple_size(const struct pyh_naming *naming, uint64_t tuple)
{
	uint64_t size = field(naming, tuple, PYH_VAR_OB_SIZE);

	return size <= TUPLE_MAX ? size : 0;
}

static uint64_t tuple_item(const struct pyh_naming *naming, uint64_t tuple,
			   uint64_t index)
{
	uint64_t item;

	return index < tuple_size(naming, tuple) &&
			       memory_try_u64(naming->memory,
					      tuple + pyh_offset(naming->runtime,
							PYH_TUPLE_OB_ITEM) +
						      index * 8, &item) ?
		       item : 0;
}

uint64_t pyh_name_of_local(const struct pyh_naming *naming, uint64_t code,
			   uint64_t index)
{
	static const enum pyh_field before_3_11[] = {
		PYH_CODE_CO_VARNAMES, PYH_CODE_CO_CELLVARS,
		PYH_CODE_CO_FREEVARS,
	};

	if (pyh_has(naming->runtime, PYH_CODE_CO_LOCALSPLUSNAMES))
		return tuple_item(naming, field(naming, code,
						PYH_CODE_CO_LOCALSPLUSNAMES),
				  index);
	for (size_t i = 0; i < 3; i++) {
		uint64_t names = field(naming, code, before_3_11[i]);
		uint64_t size = tuple_size(naming, names);

		if (index < size)
			return tuple_item(naming, names, index);
		index -= size;
	}
	return 0;
}

uint64_t pyh_name_of_free(const struct pyh_naming *naming, uint64_t function,
			  uint64_t index)
{
	uint64_t code = field(naming, function, PYH_FUNCTION_FUNC_CODE);
	uint64_t count = tuple_size(naming, field(naming, function,
						PYH_FUNCTION_FUNC_CLOSURE));
	uint64_t names, all;

	if (!pyh_has(naming->runtime, PYH_CODE_CO_LOCALSPLUSNAMES))
		return tuple_item(naming, field(naming, code,
						PYH_CODE_CO_FREEVARS), index);
	// They are the last ones.
	names = field(naming, code, PYH_CODE_CO_LOCALSPLUSNAMES);
	all = tuple_size(naming, names);
	return count <= all && index < count ?
		       tuple_item(naming, names, all - count + index) : 0;
}

static uint64_t code_of_frame(const struct pyh_naming *naming, uint64_t frame)
{
	uint64_t code = field(naming, frame, PYH_IFRAME_F_EXECUTABLE);

	return code ? code & ~(uint64_t)TAGS :
		      field(naming, frame, PYH_IFRAME_F_CODE);
}

uint64_t pyh_name_code_of(const struct pyh_naming *naming, uint64_t object,
			  const struct pyh_type *type)
{
	const struct pyh_runtime *runtime = naming->runtime;

	if (type->kind == PYH_KIND_GENERATOR)
		return pyh_has(runtime, PYH_GEN_GI_IFRAME) ?
			       code_of_frame(naming, object +
					     pyh_offset(runtime,
							PYH_GEN_GI_IFRAME)) :
			       field(naming, object, PYH_GEN_GI_CODE);
	if (type->kind != PYH_KIND_FRAME)
		return 0;
	return pyh_has(runtime, PYH_FRAME_F_FRAME) ?
		       code_of_frame(naming, field(naming, object,
						   PYH_FRAME_F_FRAME)) :
		       field(naming, object, PYH_FRAME_F_CODE);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool pyh_name_is_module_code(const struct pyh_naming *naming, uint64_t code)
{
	char name[PYH_NAME_MAX + 1];

	return pyh_name_read(naming, field(naming, code, PYH_CODE_CO_NAME),
			     name, sizeof(name)) &&
	       strcmp(name, "<module>") == 0;
}

void pyh_name_put_code(const struct pyh_naming *naming, struct pyh_repr *text,
		       uint64_t code)
{
	uint64_t name = field(naming, code, PYH_CODE_CO_QUALNAME);
	char buffer[4096];

	if (pyh_name_is_module_code(naming, code) &&
	    pyh_name_read(naming, field(naming, code, PYH_CODE_CO_FILENAME),
			  buffer, sizeof(buffer))) {
		pyh_repr_put(text, last_part(buffer));
		return;
	}
	if (!pyh_name_read(naming, name, buffer, PYH_NAME_MAX + 1) &&
	    !pyh_name_read(naming, field(naming, code, PYH_CODE_CO_NAME),
			   buffer, PYH_NAME_MAX + 1))
		(void)strcpy(buffer, "?");
	pyh_repr_bytes(text, buffer, strlen(buffer));
	pyh_repr_put(text, "()");
}

/* --- modules -------------------------------------------------------------- */

bool pyh_name_put_module(const struct pyh_naming *naming, struct pyh_repr *text,
			 uint64_t key, uint64_t dict)
{
	static const char *const names[] = { "__name__", "__file__" };
	char name[PYH_NAME_MAX + 1], file[4096];
	uint64_t budget = DICT_LOOK_MAX, found[2] = { 0, 0 };

	(void)pyh_dict_find(naming->runtime, naming->memory, dict, names, 2,
			    found, &budget);
	if (!pyh_name_read(naming, key ? key : found[0], name, sizeof(name)))
		return false;
	if (strcmp(name, "__main__") == 0 &&
	    pyh_name_read(naming, found[1], file, sizeof(file))) {
		const char *script = last_part(file);

		pyh_repr_bytes(text, script, strlen(script));
		pyh_repr_put(text, ":");
		return true;
	}
	pyh_repr_bytes(text, name, strlen(name));
	pyh_repr_put(text, ".");
	return true;
}

/* --- roots ---------------------------------------------------------------- */

/** Whose state the word is in, unless that is the main interpreter. */
static void put_interpreter_of(const struct pyh_naming *naming,
			       struct pyh_repr *text,
			       const struct pyh_root *root)
{
	const struct pyh_runtime *runtime = naming->runtime;
	uint64_t size = runtime->size_of[PYH_STRUCT_INTERP];

	for (size_t i = 1; i < runtime->num_interpreters; i++)
		if (root->holder - runtime->interpreters[i].address < size)
			pyh_repr_format(text, " in interpreter %" PRIu64,
					(uint64_t)runtime->interpreters[i].id);
}

void pyh_name_put_place(const struct pyh_naming *naming, struct pyh_repr *text,
			const struct pyh_root *root)
{
	switch (root->kind) {
	case PYH_ROOT_LOCAL:
	case PYH_ROOT_STACK:
	case PYH_ROOT_FRAME:
		pyh_repr_put(text, " in ");
		pyh_name_put_code(naming, text, root->code);
		if (root->thread != 0)
			pyh_repr_format(text, " thread %" PRIu64, root->thread);
		break;
	case PYH_ROOT_THREAD:
		if (root->thread != 0)
			pyh_repr_format(text, " in thread %" PRIu64,
					root->thread);
		break;
	case PYH_ROOT_INTERPRETER:
		put_interpreter_of(naming, text, root);
		break;
	default:
		break;
	}
}

static void put_local(const struct pyh_naming *naming, struct pyh_repr *text,
		      const struct pyh_root *root)
{
	char name[PYH_NAME_MAX + 1];

	if (!pyh_name_read(naming, pyh_name_of_local(naming, root->code,
						     root->index),
			   name, sizeof(name)))
		(void)strcpy(name, "?");
	pyh_repr_put(text, "local ");
	pyh_repr_bytes(text, name, strlen(name));
}

/** "sysconfig.cpython-312-x86_64-linux-gnu.so" without what is no name. */
static size_t module_name_size(const char *file)
{
	static const char *const ends[] = { ".cpython-", ".abi3.so" };
	size_t size = strlen(file);

	for (size_t i = 0; i < 2; i++) {
		const char *end = strstr(file, ends[i]);

		if (end && end != file)
			return (size_t)(end - file);
	}
	return size > 3 && strcmp(file + size - 3, ".so") == 0 ? size - 3 :
								 size;
}

static void put_static(struct pyh_repr *text, const struct pyh_root *root)
{
	const char *module = root->module ? root->module : "?";
	char name[DEMANGLE_MAX];

	pyh_repr_put(text, "C variable ");
	pyh_repr_bytes(text, module, module_name_size(module));
	if (root->name) {
		pyh_repr_put(text, ":");
		pyh_repr_put(text, demangle(root->name, name));
		if (root->index != 0)
			pyh_repr_format(text, "+%" PRIu64, root->index);
	} else {
		pyh_repr_format(text, "+0x%" PRIx64, root->index);
	}
}

static void put_native(const struct pyh_naming *naming, struct pyh_repr *text,
		       const struct pyh_root *root)
{
	const struct pyh_type *type =
		root->type ? pyh_type_find(naming->types, root->type) : NULL;

	if (!root->name || root->index == PYH_ROOT_NO_BLOCK) {
		pyh_repr_format(text, "%s at 0x%" PRIx64,
				root->name ? root->name : "C memory",
				root->holder);
		return;
	}
	pyh_repr_put(text, type ? type->name : root->name);
	pyh_repr_format(text, "%s 0x%" PRIx64 "+%" PRIu64,
			type ? "" : " block", root->holder - root->index,
			root->index);
}

static const struct {
	const char *name, *text;
} root_names[] = {
	{ "sysdict", "sys.__dict__" },
	{ "builtins", "builtins.__dict__" },
	{ "modules", "sys.modules" },
	{ "imports.modules", "sys.modules" },
	{ "garbage", "gc.garbage" },
	{ "callbacks", "gc.callbacks" },
	{ "atexit.callbacks", "atexit callback" },
	{ "signals.handlers", "signal handler" },
	{ "codec_search_path", "search functions of codecs" },
	{ "codecs.search_path", "search functions of codecs" },
	{ "codec_search_cache", "cache of codecs" },
	{ "codecs.search_cache", "cache of codecs" },
	{ "codec_error_registry", "error handlers of codecs" },
	{ "codecs.error_registry", "error handlers of codecs" },
	{ "cached_objects.interned_strings", "interned strings" },
	{ "exc_state.exc_value", "exception being handled" },
	{ "exc_state.exc_type", "type of the exception being handled" },
	{ "exc_state.exc_traceback",
	  "traceback of the exception being handled" },
	{ "current_exception", "exception being raised" },
	{ "curexc_value", "exception being raised" },
	{ "curexc_type", "type of the exception being raised" },
	{ "curexc_traceback", "traceback of the exception being raised" },
	{ "dict", "state dict" },
	{ "context", "context" },
	{ "c_profileobj", "profile function" },
	{ "c_traceobj", "trace function" },
	{ "asyncio_running_loop", "running event loop" },
	{ "asyncio_running_task", "running task" },
};

static const char *root_name(const struct pyh_root *root)
{
	for (size_t i = 0; i < sizeof(root_names) / sizeof(root_names[0]); i++)
		if (root->name && strcmp(root_names[i].name, root->name) == 0)
			return root_names[i].text;
	return NULL;
}

static void put_state_root(struct pyh_repr *text, const struct pyh_root *root)
{
	const char *name = root_name(root);

	if (!name) {
		pyh_repr_put(text, root->kind == PYH_ROOT_RUNTIME ?
					   "runtime " :
				   root->kind == PYH_ROOT_THREAD ?
					   "thread state " : "interpreter ");
		name = root->name ? root->name : "?";
	}
	pyh_repr_put(text, name);
	if (root->index != 0)
		pyh_repr_format(text, "[%" PRIu64 "]", root->index);
}

/** A namespace of a static type, or what the state has a name for. */
static void put_interpreter(const struct pyh_naming *naming,
			    struct pyh_repr *text, const struct pyh_root *root)
{
	const struct pyh_type *type =
		root->type ? pyh_type_find(naming->types, root->type) : NULL;

	if (!type) {
		put_state_root(text, root);
		return;
	}
	pyh_repr_put(text, type->name);
	pyh_repr_put(text, strstr(root->name, "tp_dict") ? ".__dict__" :
							   ".__subclasses__");
}

void pyh_name_put_root(const struct pyh_naming *naming, struct pyh_repr *text,
		       const struct pyh_root *root)
{
	switch (root->kind) {
	case PYH_ROOT_LOCAL:
		put_local(naming, text, root);
		break;
	case PYH_ROOT_STACK:
		pyh_repr_put(text, "temporary value");
		break;
	case PYH_ROOT_FRAME:
		pyh_repr_put(text, root->name ? root->name : "frame");
		break;
	case PYH_ROOT_THREAD:
		put_state_root(text, root);
		break;
	case PYH_ROOT_INTERPRETER:
	case PYH_ROOT_RUNTIME:
		put_interpreter(naming, text, root);
		break;
	case PYH_ROOT_STATIC:
		put_static(text, root);
		break;
	case PYH_ROOT_NATIVE_STACK:
		pyh_repr_format(text, "stack of thread %" PRIu64, root->thread);
		break;
	case PYH_ROOT_NATIVE:
		put_native(naming, text, root);
		break;
	}
}
