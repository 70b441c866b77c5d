/*
 * What a dump without payload, or without the heap, must hold of CPython; see
 * pykeep.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pykeep.h"

#include <stdlib.h>

#include "image/base/guard.h"
#include "pyheap/census/pyblocks.h"
#include "pyheap/census/pymimalloc.h"
#include "pyheap/runtime/pypath.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/threads/pystack.h"
#include "pyheap/types/pyobject.h"
#include "pyheap/types/pytypes.h"
#include "pyheap/values/pystr.h"

enum {
	/* Fields that lead to buffers: of list at 24, of StringIO at 16, of
	   dict at 32, of str at 56, of ElementTree's at 24 … */
	FIELD_FIRST = 16,
	FIELD_LAST = 128,
};

/** What one thread asks with. */
struct keep_worker {
	struct pyh_type_reader types;
	struct memory_reader outside, memory;
};

struct keep {
	struct pyh_runtime *runtime;
	struct pyh_types *types;
	struct pyh_object_rules rules;
	struct keep_worker *workers;
	unsigned int num_workers;	/* that are ready */
};

static void close_worker(struct keep_worker *worker)
{
	pyh_type_reader_deinit(&worker->types);
	memory_reader_deinit(&worker->outside);
	memory_reader_deinit(&worker->memory);
}

static void keep_close(void *opened)
{
	struct keep *keep = opened;

	if (!keep)
		return;
	for (unsigned int i = 0; i < keep->num_workers; i++)
		close_worker(&keep->workers[i]);
	free(keep->workers);
	pyh_types_destroy(keep->types);
	pyh_runtime_close(keep->runtime);
	free(keep);
}

static struct error *open_worker(const struct keep *keep,
				 struct keep_worker *worker)
{
	const struct memory *memory = keep->runtime->image->memory;
	struct error *err = pyh_type_reader_init(&worker->types, keep->types);

	if (!err)
		err = memory_reader_init(&worker->outside, memory);
	if (!err)
		err = memory_reader_init(&worker->memory, memory);
	if (err)
		close_worker(worker);
	return err;
}

/** Builds that the rules for objects do not hold for. */
static struct error *check_build(const struct pyh_runtime *runtime)
{
	return runtime->trace_refs ?
		error_new(ERROR_UNSUPPORTED, "this CPython was built with "
			  "--with-trace-refs, whose objects are not "
			  "understood") : NULL;
}

static struct error *open_keep(struct image *image, unsigned int workers,
			       struct keep *keep)
{
	struct error *err = pyh_runtime_open(image, &keep->runtime);

	if (!err)
		err = check_build(keep->runtime);
	if (!err)
		err = pyh_types_create(keep->runtime, &keep->types);
	if (err)
		return err;
	pyh_object_rules_init(&keep->rules, keep->runtime);
	keep->workers = calloc(workers, sizeof(*keep->workers));
	if (!keep->workers)
		return error_no_memory();
	while (!err && keep->num_workers < workers) {
		err = open_worker(keep, &keep->workers[keep->num_workers]);
		keep->num_workers += !err;
	}
	return err;
}

/** Whether a Python of any make is there, though it was not understood. */
static bool any_python(const struct image *image)
{
	for (size_t i = 0; i < modules_count(image->modules); i++) {
		const struct module *module = modules_get(image->modules, i);

		if (module->path &&
		    pyh_path_read(module->path).implementation !=
			    PYH_IMPLEMENTATION_NONE)
			return true;
	}
	return false;
}

static struct error *keep_open(struct image *image, unsigned int workers,
			       void **ret)
{
	struct keep *keep = calloc(1, sizeof(*keep));
	struct error *err;

	*ret = NULL;
	if (!keep)
		return error_no_memory();
	err = open_keep(image, workers, keep);
	if (!err) {
		*ret = keep;
		return NULL;
	}
	keep_close(keep);
	if (err->kind == ERROR_NOT_FOUND && !any_python(image)) {
		error_free(err);
		return NULL;
	}
	return err;
}

/** Where blocks of the objects' own allocator are: arenas, or segments. */
static struct error *keep_each_arena(const struct pyh_runtime *runtime,
				     model_range_fn *fn, void *context)
{
	struct pyh_arenas arenas = { 0 };
	struct pyh_mi_pages mi = { 0 };
	struct error *err = runtime->free_threaded ?
				    pyh_mi_find(runtime, &mi) :
				    pyh_arenas_find(runtime, &arenas);

	for (size_t i = 0; !err && i < arenas.count; i++)
		err = fn(context, arenas.arenas[i].start,
			 arenas.arenas[i].limit);
	for (size_t i = 0; !err && i < mi.num_segments; i++)
		err = fn(context, mi.segments[i].start, mi.segments[i].limit);
	pyh_arenas_deinit(&arenas);
	pyh_mi_deinit(&mi);
	return err;
}

static struct error *keep_each_range(void *opened, model_range_fn *fn,
				     void *context)
{
	const struct keep *keep = opened;
	const struct pyh_runtime *runtime = keep->runtime;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < runtime->num_interpreters; i++) {
		const struct pyh_interpreter *interpreter =
			&runtime->interpreters[i];

		err = fn(context, interpreter->address, interpreter->address +
			 runtime->size_of[PYH_STRUCT_INTERP]);
		if (!err && interpreter->obmalloc != 0)
			err = fn(context, interpreter->obmalloc,
				 interpreter->obmalloc + 1);
	}
	return err ? err : keep_each_arena(runtime, fn, context);
}

static bool keep_uses_malloc(void *opened)
{
	const struct keep *keep = opened;

	return !keep->runtime->free_threaded;
}

static bool keep_is_object(void *opened, unsigned int worker, uint64_t start,
			   uint64_t end)
{
	struct keep *keep = opened;
	struct keep_worker *own = &keep->workers[worker];
	struct pyh_candidate object;
	// What pymalloc passes on to malloc has gone through its hook twice.
	uint64_t most = keep->rules.presize_max + 2 * keep->rules.prefix;

	for (uint64_t at = start; at <= start + most && at < end;
	     at += PYH_BLOCK_ALIGN) {
		if (pyh_object_outside(&keep->rules, &own->types, &own->outside,
				       &own->memory, at, &object) &&
		    object.presize <= at - start)
			return true;
	}
	return false;
}

/** Data of which no view shows more than the beginning. */
static bool is_plain_data(const struct pyh_type *type)
{
	return type->kind == PYH_KIND_BYTEARRAY ||
	       type->kind == PYH_KIND_ARRAY || type->kind == PYH_KIND_CDATA;
}

/** Data, unless references are in it: arrays of objects. */
static bool is_data_by_claim(const struct pyh_type *type)
{
	return type->kind == PYH_KIND_NDARRAY ||
	       (type->kind >= PYH_KIND_ARROW_BUFFER &&
		type->kind <= PYH_KIND_ARROW_BATCH);
}

static bool needs(const struct pyh_candidate *object, uint64_t buffer)
{
	const struct pyh_measure *measure = &object->measure;
	bool alive = is_data_by_claim(object->type);

	if (is_plain_data(object->type))
		return false;
	for (unsigned int i = 0; i < measure->num_claims; i++)
		if (measure->claims[i].address == buffer)
			return !alive || !measure->claims[i].dead;
	// Of a chain only the first ones are known; that one of it is so large
	// is out of the ordinary.
	return measure->more_claims && !alive;
}

static bool keep_needs_buffer(void *opened, unsigned int worker,
			      uint64_t holder, uint64_t buffer)
{
	struct keep *keep = opened;
	struct keep_worker *own = &keep->workers[worker];
	struct pyh_candidate object;

	for (uint64_t field = FIELD_FIRST; field <= FIELD_LAST; field += 8) {
		if (holder > field &&
		    pyh_object_outside(&keep->rules, &own->types, &own->outside,
				       &own->memory, holder - field, &object) &&
		    needs(&object, buffer))
			return true;
	}
	return false;
}

/* --- threads alone ----------------------------------------------------------- */

enum {
	CODES = 1 << 12,	/* remembered as kept */
	TUPLE_MAX = 1 << 16,	/* names of one code object */
	BYTES_MAX = 1 << 20,	/* of one object */
	CHUNK_MAX = 1 << 20,	/* of a piece of a data stack */
	CHUNKS_MAX = 1 << 12,	/* pieces of one */
	WORK_MAX = 1 << 22,	/* frames and names of all threads */
	FRAME_HEAD = 512,	/* of a frame, without its locals */
};

struct stack_keep {
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	model_range_fn *fn;
	void *context;
	struct error *err;	/* of fn */
	uint64_t codes[CODES];
	size_t work;
};

static bool keep_piece(struct stack_keep *keep, uint64_t start, uint64_t size)
{
	if (start != 0 && start <= UINT64_MAX - size && !keep->err)
		keep->err = keep->fn(keep->context, start, start + size);
	return !keep->err;
}

static void keep_str(struct stack_keep *keep, uint64_t address)
{
	struct pyh_str str;

	if (pyh_str_read(keep->runtime, keep->memory, address, &str) !=
	    PYH_FOUND)
		return;
	(void)keep_piece(keep, address,
			 keep->runtime->size_of[PYH_STRUCT_COMPACT]);
	if (str.data != 0 && str.length <= BYTES_MAX)
		(void)keep_piece(keep, str.data, (str.length + 1) * 4);
}

static bool object_is(struct stack_keep *keep, uint64_t address, uint64_t type)
{
	uint64_t its;

	return pyh_field(keep->runtime, keep->memory, address,
			 PYH_OBJECT_OB_TYPE, &its) && its == type;
}

static void keep_items(struct stack_keep *keep, uint64_t tuple, uint64_t count)
{
	uint64_t first = tuple + pyh_offset(keep->runtime, PYH_TUPLE_OB_ITEM);
	uint64_t item;

	for (uint64_t i = 0; i < count && i < TUPLE_MAX &&
	     keep->work < WORK_MAX; i++, keep->work++) {
		if (memory_try_u64(keep->memory, first + i * sizeof(item),
				   &item) &&
		    object_is(keep, item, keep->runtime->types.str))
			keep_str(keep, item);
	}
}

/** One of a code object's own: a str, a tuple of them, or bytes. */
static void keep_part(struct stack_keep *keep, uint64_t address)
{
	const struct pyh_runtime *runtime = keep->runtime;
	uint64_t count, item = 1;
	bool tuple;

	if (object_is(keep, address, runtime->types.str)) {
		keep_str(keep, address);
		return;
	}
	tuple = object_is(keep, address, runtime->types.tuple);
	if (!pyh_field(runtime, keep->memory, address, PYH_VAR_OB_SIZE, &count))
		return;
	if (tuple) {
		item = sizeof(uint64_t);
		keep_items(keep, address, count);
	}
	if (count <= BYTES_MAX / item)
		(void)keep_piece(keep, address,
				 runtime->size_of[PYH_STRUCT_BYTES] +
				 runtime->size_of[PYH_STRUCT_TUPLE] +
				 count * item);
}

static void keep_code(struct stack_keep *keep, uint64_t code)
{
	static const enum pyh_field parts[] = {
		PYH_CODE_CO_FILENAME, PYH_CODE_CO_NAME, PYH_CODE_CO_QUALNAME,
		PYH_CODE_CO_LINETABLE, PYH_CODE_CO_LNOTAB, PYH_CODE_CO_NAMES,
		PYH_CODE_CO_VARNAMES, PYH_CODE_CO_FREEVARS,
		PYH_CODE_CO_CELLVARS, PYH_CODE_CO_LOCALSPLUSNAMES,
		PYH_CODE_CO_LOCALSPLUSKINDS, PYH_CODE_CO_EXCEPTIONTABLE,
		PYH_CODE_CO_CODE,
	};
	const struct pyh_runtime *runtime = keep->runtime;
	uint64_t size = runtime->size_of[PYH_STRUCT_CODE], units, part;
	size_t slot = (size_t)(code >> 4 ^ code >> 16) % CODES;

	if (keep->codes[slot] == code)
		return;
	keep->codes[slot] = code;
	// Its instructions follow, of two bytes each.
	if (pyh_has(runtime, PYH_CODE_CO_CODE_ADAPTIVE) &&
	    pyh_field(runtime, keep->memory, code, PYH_VAR_OB_SIZE, &units) &&
	    units <= BYTES_MAX / 2)
		size += 2 * units;
	(void)keep_piece(keep, code, size);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (pyh_field(runtime, keep->memory, code, parts[i], &part) &&
		    part != 0)
			keep_part(keep, part);
}

static bool keep_frame(void *context, const struct pyh_frame *frame)
{
	struct stack_keep *keep = context;

	(void)keep_piece(keep, frame->address, FRAME_HEAD);
	keep_code(keep, frame->code);
	return !keep->err && ++keep->work < WORK_MAX;
}

/** struct _stack_chunk: previous, size, top; Include/cpython/pystate.h. */
static void keep_data_stack(struct stack_keep *keep, uint64_t thread)
{
	uint64_t chunk, size;

	if (!pyh_field(keep->runtime, keep->memory, thread,
		       PYH_TSTATE_DATASTACK_CHUNK, &chunk))
		return;
	for (unsigned int i = 0; chunk != 0 && i < CHUNKS_MAX; i++) {
		if (!memory_try_u64(keep->memory, chunk + sizeof(chunk),
				    &size) ||
		    !keep_piece(keep, chunk,
				size < CHUNK_MAX ? size : CHUNK_MAX) ||
		    !memory_try_u64(keep->memory, chunk, &chunk))
			break;
	}
}

static bool keep_thread(void *context, const struct pyh_thread *thread)
{
	struct stack_keep *keep = context;

	(void)keep_piece(keep, thread->address,
			 keep->runtime->size_of[PYH_STRUCT_TSTATE]);
	pyh_frames_each(keep->runtime, keep->memory, thread, keep_frame, keep);
	keep_data_stack(keep, thread->address);
	return !keep->err && keep->work < WORK_MAX;
}

static struct error *keep_stacks(const struct pyh_runtime *runtime,
				 model_range_fn *fn, void *context)
{
	struct memory_reader memory = { 0 };
	CLEANUP(free_pointer) struct stack_keep *keep =
		calloc(1, sizeof(*keep));
	struct error *err = keep ? memory_reader_init(&memory,
						      runtime->image->memory) :
				   error_no_memory();

	if (err)
		return err;
	keep->runtime = runtime;
	keep->memory = &memory;
	keep->fn = fn;
	keep->context = context;
	for (size_t i = 0; i < runtime->num_interpreters; i++)
		(void)keep_piece(keep, runtime->interpreters[i].address,
				 runtime->size_of[PYH_STRUCT_INTERP]);
	pyh_threads_each(runtime, &memory, keep_thread, keep);
	memory_reader_deinit(&memory);
	return keep->err;
}

/**
 * The frames first: what the names of types take may be more than there is room
 * for.
 */
static struct error *keep_each_of_threads(struct image *image,
					  model_range_fn *fn, void *context,
					  bool *ret_found)
{
	struct pyh_runtime *runtime = NULL;
	struct pyh_types *types = NULL;
	struct error *err = pyh_runtime_open(image, &runtime);

	*ret_found = !err;
	if (err && err->kind == ERROR_NOT_FOUND && !any_python(image)) {
		error_free(err);
		return NULL;
	}
	if (!err)
		err = keep_stacks(runtime, fn, context);
	if (!err)
		err = pyh_types_create(runtime, &types);
	pyh_types_destroy(types);
	pyh_runtime_close(runtime);
	return err;
}

const struct model pyh_model = {
	.name = "CPython",
	.open = keep_open,
	.close = keep_close,
	.each_range = keep_each_range,
	.uses_malloc = keep_uses_malloc,
	.is_object = keep_is_object,
	.needs_buffer = keep_needs_buffer,
	.each_of_threads = keep_each_of_threads,
};
