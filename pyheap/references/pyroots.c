/*
 * Roots: what the states of the runtime, of interpreters and of threads hold;
 * see pyroots.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Include/internal/pycore_interp*.h, pycore_runtime*.h,
 * pycore_atexit.h, pycore_typeobject.h, Include/cpython/pystate.h, and the code
 * that fills and clears these fields (Python/pystate.c, Objects/typeobject.c).
 */
#include "pyheap/references/pyroots.h"

#include <elf.h>

#include "image/base/bytes.h"
#include "pyheap/census/pyplace.h"
#include "pyheap/references/pyrootwalk.h"
#include "pyheap/types/pytypes.h"

enum {
	METATYPE_STEPS = 4,
	ATEXIT_MAX = 1 << 16,	/* functions registered */
	IDENTIFIERS_MAX = 1 << 16,
	TYPE_STATES_MAX = 1024,
	CACHE_ENTRY = 24,	/* type_cache_entry {version, name, value} */
	CACHE_NAME = 8,
	CACHE_VALUE = 8,	/* bytes behind the name */
	HANDLER = 16,		/* {int tripped, PyObject *func} */
	HANDLER_FUNC = 8,
	FS_BASE = 21,		/* word of struct user_regs_struct */
};

#define DICT PYH_TPFLAGS_DICT_SUBCLASS
#define LIST PYH_TPFLAGS_LIST_SUBCLASS
#define STR PYH_TPFLAGS_UNICODE_SUBCLASS
#define TYPE PYH_TPFLAGS_TYPE_SUBCLASS
#define OWNED PYH_HOLD_UNTRAVERSED
#define BORROWED PYH_HOLD_NONE

/** A field that refers to an object, or an array of such. */
struct row {
	enum pyh_field field;
	enum pyh_hold hold;
	uint64_t is;		/* see pyh_root_is_object() */
};

static const struct row interpreter_rows[] = {
	{ PYH_INTERP_SYSDICT, OWNED, DICT },
	{ PYH_INTERP_BUILTINS, OWNED, DICT },
	{ PYH_INTERP_MODULES, OWNED, DICT },
	{ PYH_INTERP_IMPORTS_MODULES, OWNED, DICT },
	{ PYH_INTERP_MODULES_BY_INDEX, OWNED, LIST },
	{ PYH_INTERP_IMPORTS_MODULES_BY_INDEX, OWNED, LIST },
	{ PYH_INTERP_IMPORTLIB, OWNED, 0 },
	{ PYH_INTERP_IMPORTS_IMPORTLIB, OWNED, 0 },
	{ PYH_INTERP_IMPORT_FUNC, OWNED, 0 },
	{ PYH_INTERP_IMPORTS_IMPORT_FUNC, OWNED, 0 },
	{ PYH_INTERP_IMPORTS_LAZY_IMPORT_FUNC, OWNED, 0 },
	{ PYH_INTERP_IMPORTS_LAZY_IMPORTS_FILTER, OWNED, 0 },
	{ PYH_INTERP_IMPORTS_LAZY_MODULES, OWNED, 0 },
	{ PYH_INTERP_IMPORTS_LAZY_PENDING_SUBMODULES, OWNED, 0 },
	{ PYH_INTERP_DICT, OWNED, DICT },
	{ PYH_INTERP_SYSDICT_COPY, OWNED, DICT },
	{ PYH_INTERP_BUILTINS_COPY, OWNED, DICT },
	{ PYH_INTERP_CODEC_SEARCH_PATH, OWNED, LIST },
	{ PYH_INTERP_CODEC_SEARCH_CACHE, OWNED, DICT },
	{ PYH_INTERP_CODEC_ERROR_REGISTRY, OWNED, DICT },
	{ PYH_INTERP_CODECS_SEARCH_PATH, OWNED, LIST },
	{ PYH_INTERP_CODECS_SEARCH_CACHE, OWNED, DICT },
	{ PYH_INTERP_CODECS_ERROR_REGISTRY, OWNED, DICT },
	{ PYH_INTERP_BEFORE_FORKERS, OWNED, LIST },
	{ PYH_INTERP_AFTER_FORKERS_PARENT, OWNED, LIST },
	{ PYH_INTERP_AFTER_FORKERS_CHILD, OWNED, LIST },
	{ PYH_INTERP_WARNINGS_FILTERS, OWNED, LIST },
	{ PYH_INTERP_WARNINGS_ONCE_REGISTRY, OWNED, DICT },
	{ PYH_INTERP_WARNINGS_DEFAULT_ACTION, OWNED, STR },
	{ PYH_INTERP_WARNINGS_CONTEXT, OWNED, 0 },
	{ PYH_INTERP_AUDIT_HOOKS, OWNED, LIST },
	{ PYH_INTERP_SMALL_INTS, OWNED, PYH_TPFLAGS_LONG_SUBCLASS },
	{ PYH_INTERP_BYTES_EMPTY_STRING, OWNED, PYH_TPFLAGS_BYTES_SUBCLASS },
	{ PYH_INTERP_BYTES_CHARACTERS, OWNED, PYH_TPFLAGS_BYTES_SUBCLASS },
	{ PYH_INTERP_UNICODE_EMPTY_STRING, OWNED, STR },
	{ PYH_INTERP_UNICODE_LATIN1, OWNED, STR },
	{ PYH_INTERP_EXC_STATE_ERRNOMAP, OWNED, DICT },
	{ PYH_INTERP_EXC_STATE_PYEXC_EXCEPTIONGROUP, OWNED, TYPE },
	{ PYH_INTERP_XI_PYEXC_NOTSHAREABLEERROR, OWNED, TYPE },
	{ PYH_INTERP_XI_EXCEPTIONS_PYEXC_INTERPRETERERROR, OWNED, TYPE },
	{ PYH_INTERP_XI_EXCEPTIONS_PYEXC_INTERPRETERNOTFOUNDERROR, OWNED,
	  TYPE },
	{ PYH_INTERP_XI_EXCEPTIONS_PYEXC_NOTSHAREABLEERROR, OWNED, TYPE },
	{ PYH_INTERP_XI_PICKLE_DUMPS, OWNED, 0 },
	{ PYH_INTERP_XI_PICKLE_LOADS, OWNED, 0 },
	{ PYH_INTERP_AST, OWNED, 0 },
	{ PYH_INTERP_INTERPRETER_TRAMPOLINE, OWNED, 0 },
	{ PYH_INTERP_MONITORING_CALLABLES, OWNED, 0 },
	{ PYH_INTERP_MONITORING_TOOL_NAMES, OWNED, STR },
	{ PYH_INTERP_CACHED_OBJECTS_INTERNED_STRINGS, OWNED, DICT },
	{ PYH_INTERP_CACHED_OBJECTS_STR_REPLACE_INF, OWNED, STR },
	{ PYH_INTERP_CACHED_OBJECTS_OBJREDUCE, BORROWED, 0 },
	{ PYH_INTERP_CACHED_OBJECTS_TYPE_SLOTS_PNAME, BORROWED, STR },
	{ PYH_INTERP_CACHED_OBJECTS_GENERIC_TYPE, OWNED, TYPE },
	{ PYH_INTERP_CACHED_OBJECTS_TYPEVAR_TYPE, OWNED, TYPE },
	{ PYH_INTERP_CACHED_OBJECTS_TYPEVARTUPLE_TYPE, OWNED, TYPE },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPEC_TYPE, OWNED, TYPE },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPECARGS_TYPE, OWNED, TYPE },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPECKWARGS_TYPE, OWNED, TYPE },
	{ PYH_INTERP_CACHED_OBJECTS_CONSTEVALUATOR_TYPE, OWNED, TYPE },
	{ PYH_INTERP_CACHED_OBJECTS_DICT_DESCRIPTOR, OWNED, 0 },
	{ PYH_INTERP_CACHED_OBJECTS_WEAKREF_DESCRIPTOR, OWNED, 0 },
};

static const struct row runtime_rows[] = {
	{ PYH_RUNTIME_SIGNALS_DEFAULT_HANDLER, OWNED, 0 },
	{ PYH_RUNTIME_SIGNALS_IGNORE_HANDLER, OWNED, 0 },
	{ PYH_RUNTIME_FAULTHANDLER_FATAL_ERROR_FILE, OWNED, 0 },
	{ PYH_RUNTIME_FAULTHANDLER_THREAD_FILE, OWNED, 0 },
};

static const struct row thread_rows[] = {
	{ PYH_TSTATE_C_PROFILEOBJ, OWNED, 0 },
	{ PYH_TSTATE_C_TRACEOBJ, OWNED, 0 },
	{ PYH_TSTATE_CUREXC_TYPE, OWNED, TYPE },
	{ PYH_TSTATE_CUREXC_VALUE, OWNED, 0 },
	{ PYH_TSTATE_CUREXC_TRACEBACK, OWNED, 0 },
	{ PYH_TSTATE_CURRENT_EXCEPTION, OWNED, 0 },
	{ PYH_TSTATE_EXC_STATE_EXC_TYPE, OWNED, 0 },
	{ PYH_TSTATE_EXC_STATE_EXC_VALUE, OWNED, 0 },
	{ PYH_TSTATE_EXC_STATE_EXC_TRACEBACK, OWNED, 0 },
	{ PYH_TSTATE_DICT, OWNED, DICT },
	{ PYH_TSTATE_ASYNC_EXC, OWNED, 0 },
	{ PYH_TSTATE_ON_DELETE_DATA, OWNED, 0 },
	{ PYH_TSTATE_ASYNC_GEN_FIRSTITER, OWNED, 0 },
	{ PYH_TSTATE_ASYNC_GEN_FINALIZER, OWNED, 0 },
	{ PYH_TSTATE_CONTEXT, OWNED, 0 },
	{ PYH_TSTATE_THREADING_LOCAL_KEY, OWNED, 0 },
	{ PYH_TSTATE_THREADING_LOCAL_SENTINEL, OWNED, 0 },
	{ PYH_TSTATEIMPL_ASYNCIO_RUNNING_LOOP, OWNED, 0 },
	{ PYH_TSTATEIMPL_ASYNCIO_RUNNING_TASK, OWNED, 0 },
	{ PYH_TSTATEIMPL_LAZY_IMPORTS, OWNED, 0 },
};

static const struct row gc_rows[] = {
	{ PYH_GC_GARBAGE, OWNED, LIST },
	{ PYH_GC_CALLBACKS, OWNED, LIST },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- objects -------------------------------------------------------------- */

static bool word_of(struct pyh_root_walk *walk, uint64_t structure,
		    enum pyh_field field, uint64_t *ret)
{
	return memory_try_u64(walk->memory,
			      structure + pyh_offset(walk->runtime, field),
			      ret);
}

bool pyh_root_is_object(struct pyh_root_walk *walk, uint64_t address,
			uint64_t is)
{
	uint64_t type, metatype, flags;

	if (address == 0 || address % 8 ||
	    !word_of(walk, address, PYH_OBJECT_OB_TYPE, &type) ||
	    type == 0 || type % 8 ||
	    !word_of(walk, type, PYH_TYPE_TP_FLAGS, &flags) ||
	    (flags & is) != is)
		return false;
	for (int i = 0; i < METATYPE_STEPS; i++) {
		if (!word_of(walk, type, PYH_OBJECT_OB_TYPE, &metatype) ||
		    metatype == 0 || metatype % 8)
			return false;
		if (metatype == walk->runtime->types.type)
			return true;
		type = metatype;
	}
	return false;
}

/** Tell what the word at root->holder leads to, if that is an object. */
static void tell_word(struct pyh_root_walk *walk, struct pyh_root root,
		      uint64_t is)
{
	if (!walk->stopped &&
	    memory_try_u64(walk->memory, root.holder, &root.address) &&
	    pyh_root_is_object(walk, root.address, is))
		pyh_root_tell(walk, &root);
}

/** The fields of one structure, and the entries of its arrays. */
static void tell_rows(struct pyh_root_walk *walk, uint64_t structure,
		      const struct row *rows, size_t count,
		      const struct pyh_root *like)
{
	for (size_t i = 0; i < count; i++) {
		struct pyh_field_at at = pyh_place_of(walk->runtime, rows[i].field);
		struct pyh_root root = *like;

		root.hold = rows[i].hold;
		root.name = pyh_field_member(rows[i].field);
		for (uint32_t word = 0; word < at.size / 8; word++) {
			root.holder = structure + at.offset + word * 8;
			root.index = word;
			tell_word(walk, root, rows[i].is);
		}
	}
}

/** A field of the structure that is no reference. */
static bool read_plain(struct pyh_root_walk *walk, uint64_t structure,
		       enum pyh_field field, uint64_t *ret)
{
	struct pyh_field_at at = pyh_place_of(walk->runtime, field);

	*ret = 0;
	return at.size >= 1 && at.size <= 8 &&
	       memory_try_read(walk->memory, structure + at.offset, ret,
			       at.size);
}

/* --- interpreters --------------------------------------------------------- */

/** Names and values in the cache of attributes of types; it owns the names. */
static void tell_type_cache(struct pyh_root_walk *walk, uint64_t interpreter,
			    enum pyh_field field)
{
	struct pyh_field_at at = pyh_place_of(walk->runtime, field);
	struct pyh_root root = { .kind = PYH_ROOT_INTERPRETER,
				 .name = pyh_field_member(field) };

	for (uint32_t i = 0; i < at.size / CACHE_ENTRY; i++) {
		root.index = i;
		root.hold = OWNED;
		root.holder = interpreter + at.offset + i * CACHE_ENTRY +
			      CACHE_NAME;
		tell_word(walk, root, 0);
		root.hold = BORROWED;
		root.holder += CACHE_VALUE;
		tell_word(walk, root, 0);
	}
}

/**
 * Since 3.12 each interpreter has its own namespaces of static types. Entries:
 * see pytypeview.c.
 */
static void tell_type_states(struct pyh_root_walk *walk, uint64_t interpreter,
			     enum pyh_field field)
{
	static const char *const names[] = {
		"types.builtins.tp_dict", "types.builtins.tp_subclasses",
		"types.builtins.tp_weaklist",
	};
	const struct pyh_runtime *runtime = walk->runtime;
	bool counted = runtime->minor >= 13;
	uint64_t size = counted ? 48 : 40, first = counted ? 24 : 16;
	struct pyh_field_at at = runtime->at[field];
	uint64_t entry = interpreter + at.offset, type;

	if (counted && at.size >= 8) {
		entry = interpreter + at.offset + at.size % size;
		at.size -= at.size % (uint32_t)size;
	}
	for (uint64_t i = 0; i < at.size / size && i < TYPE_STATES_MAX;
	     i++, entry += size) {
		if (!memory_try_u64(walk->memory, entry, &type) ||
		    !pyh_root_is_object(walk, type, TYPE))
			continue;
		for (unsigned int word = 0; word < COUNT(names); word++)
			tell_word(walk, (struct pyh_root){
				.kind = PYH_ROOT_INTERPRETER,
				.hold = word == 2 ? BORROWED : OWNED,
				.holder = entry + first + word * 8,
				.type = type, .index = i,
				.name = names[word] }, 0);
	}
}

/** 3.14 and later have a list, before: an array of {func, args, kwargs}. */
static void tell_atexit(struct pyh_root_walk *walk, uint64_t interpreter)
{
	struct pyh_root root = { .kind = PYH_ROOT_INTERPRETER, .hold = OWNED,
				 .name = "atexit.callbacks" };
	uint64_t callbacks, count, callback;

	if (!read_plain(walk, interpreter, PYH_INTERP_ATEXIT_CALLBACKS,
			&callbacks))
		return;
	if (!read_plain(walk, interpreter, PYH_INTERP_ATEXIT_NCALLBACKS,
			&count)) {
		root.holder = interpreter +
			      pyh_place_of(walk->runtime,
				       PYH_INTERP_ATEXIT_CALLBACKS).offset;
		tell_word(walk, root, LIST);
		return;
	}
	for (uint64_t i = 0; i < count && i < ATEXIT_MAX; i++) {
		if (!memory_try_u64(walk->memory, callbacks + i * 8, &callback))
			return;
		root.index = i;
		// What was unregistered leaves a gap.
		for (unsigned int word = 0; callback != 0 && word < 3; word++) {
			root.holder = callback + word * 8;
			tell_word(walk, root, 0);
		}
	}
}

/** Strings made for the names that C code uses, 3.10 and later. */
static void tell_identifiers(struct pyh_root_walk *walk, uint64_t interpreter)
{
	uint64_t count, array;

	if (!read_plain(walk, interpreter, PYH_INTERP_UNICODE_IDS_SIZE,
			&count) ||
	    !read_plain(walk, interpreter, PYH_INTERP_UNICODE_IDS_ARRAY,
			&array))
		return;
	for (uint64_t i = 0; i < count && i < IDENTIFIERS_MAX; i++)
		tell_word(walk, (struct pyh_root){
			.kind = PYH_ROOT_INTERPRETER, .hold = OWNED,
			.holder = array + i * 8, .index = i,
			.name = pyh_field_member(PYH_INTERP_UNICODE_IDS_ARRAY),
		}, STR);
}

static void tell_interpreter(struct pyh_root_walk *walk,
			     const struct pyh_interpreter *interpreter)
{
	const struct pyh_root like = { .kind = PYH_ROOT_INTERPRETER };
	uint64_t at = interpreter->address;

	tell_rows(walk, at, interpreter_rows, COUNT(interpreter_rows), &like);
	if (pyh_has(walk->runtime, PYH_INTERP_GC))
		tell_rows(walk, interpreter->gc, gc_rows, COUNT(gc_rows),
			  &like);
	tell_identifiers(walk, at);
	tell_atexit(walk, at);
	tell_type_states(walk, at, PYH_INTERP_TYPES_BUILTINS);
	tell_type_states(walk, at, PYH_INTERP_TYPES_FOR_EXTENSIONS);
	tell_type_cache(walk, at, PYH_INTERP_TYPE_CACHE);
	tell_type_cache(walk, at, PYH_INTERP_TYPES_TYPE_CACHE);
}

/* --- the runtime ---------------------------------------------------------- */

static void tell_runtime(struct pyh_root_walk *walk)
{
	const struct pyh_runtime *runtime = walk->runtime;
	struct pyh_field_at handlers = pyh_place_of(runtime,
						PYH_RUNTIME_SIGNALS_HANDLERS);
	const struct pyh_root like = { .kind = PYH_ROOT_RUNTIME };

	for (uint32_t i = 0; i < handlers.size / HANDLER; i++)
		tell_word(walk, (struct pyh_root){
			.kind = PYH_ROOT_RUNTIME, .hold = OWNED,
			.holder = runtime->address + handlers.offset +
				  i * HANDLER + HANDLER_FUNC,
			.index = i, .name = "signals.handlers" }, 0);
	tell_rows(walk, runtime->address, runtime_rows, COUNT(runtime_rows),
		  &like);
	// 3.8: all interpreters share a collector.
	if (!pyh_has(runtime, PYH_INTERP_GC) && runtime->num_interpreters > 0)
		tell_rows(walk, runtime->interpreters[0].gc, gc_rows,
			  COUNT(gc_rows), &like);
}

/* --- threads -------------------------------------------------------------- */

/** Up to 3.10 a thread is known by its local memory alone: %fs leads there. */
static uint64_t native_number(const struct pyh_runtime *runtime,
			      const struct pyh_thread *thread)
{
	const struct image *image = runtime->image;
	uint64_t word;

	if (thread->native != 0 || image->machine != EM_X86_64)
		return thread->native;
	for (size_t i = 0; i < image->notes.num_threads; i++) {
		struct bytes registers = image->notes.threads[i].registers;

		if (bytes_take(&registers, FS_BASE * sizeof(word)) &&
		    bytes_u64(&registers, &word) && word == thread->ident)
			return image->notes.threads[i].tid;
	}
	return 0;
}

static bool tell_thread(void *context, const struct pyh_thread *thread)
{
	struct pyh_root_walk *walk = context;
	struct pyh_root like = {
		.kind = PYH_ROOT_THREAD,
		.thread = native_number(walk->runtime, thread),
	};

	tell_rows(walk, thread->address, thread_rows, COUNT(thread_rows),
		  &like);
	pyh_root_queues(walk, thread, like.thread);
	pyh_root_frames(walk, thread, like.thread);
	return !walk->stopped;
}

void pyh_roots_each(const struct pyh_runtime *runtime,
		    struct memory_reader *memory, pyh_root_fn *fn,
		    void *context)
{
	struct pyh_root_walk walk = { .runtime = runtime, .memory = memory,
				      .fn = fn, .context = context };

	tell_runtime(&walk);
	for (size_t i = 0; i < runtime->num_interpreters; i++)
		tell_interpreter(&walk, &runtime->interpreters[i]);
	pyh_threads_each(runtime, memory, tell_thread, &walk);
}
