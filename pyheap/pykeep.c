/*
 * What a dump without payload must hold of a CPython heap; see pykeep.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/pykeep.h"

#include <stdlib.h>

#include "image/base/guard.h"
#include "pyheap/pyblocks.h"
#include "pyheap/pyobject.h"
#include "pyheap/pypath.h"
#include "pyheap/pyruntime.h"
#include "pyheap/pytypes.h"

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

static struct error *keep_each_range(void *opened, model_range_fn *fn,
				     void *context)
{
	const struct keep *keep = opened;
	const struct pyh_runtime *runtime = keep->runtime;
	struct pyh_arenas arenas = { 0 };
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
	if (err || runtime->free_threaded)
		return err;
	err = pyh_arenas_find(runtime, &arenas);
	for (size_t i = 0; !err && i < arenas.count; i++)
		err = fn(context, arenas.arenas[i].start,
			 arenas.arenas[i].limit);
	pyh_arenas_deinit(&arenas);
	return err;
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

static bool claims(const struct pyh_measure *measure, uint64_t buffer)
{
	for (unsigned int i = 0; i < measure->num_claims; i++)
		if (measure->claims[i].address == buffer)
			return true;
	// Of a chain only the first ones are known; that one of it is so large
	// is out of the ordinary.
	return measure->more_claims;
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
		    !is_plain_data(object.type) &&
		    claims(&object.measure, buffer))
			return true;
	}
	return false;
}

const struct model pyh_model = {
	.name = "CPython",
	.open = keep_open,
	.close = keep_close,
	.each_range = keep_each_range,
	.uses_malloc = keep_uses_malloc,
	.is_object = keep_is_object,
	.needs_buffer = keep_needs_buffer,
};
