/*
 * Where a pile is; see pileplace.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/pileplace.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/pile.h"
#include "analyzer/lookup.h"
#include "analyzer/opened.h"
#include "analyzer/tensors/tensornames.h"
#include "image/base/guard.h"
#include "pyheap/references/pyrefs.h"
#include "pyheap/threads/pystack.h"
#include "pyheap/values/pydict.h"
#include "pyheap/values/pystr.h"

enum {
	STEPS_MAX = 1000,	/* up the tree */
	REFERRERS_MAX = 256,	/* looked at, of one object */
	DEPTH_MAX = 3,		/* referrers of referrers */
	BASES_MAX = 32,
	ENTRIES_MAX = 1 << 12,	/* of a dict that are looked at */
	LOOKS_MAX = 1 << 20,	/* at objects and frames, for one question */
	NAME_MAX_BYTES = 512,
	LAYERS_EACH = 2,	/* keys and values */
};

struct pileplaces {
	const struct analysis *analysis;
	struct pyh_runtime *runtime;
	struct pyh_types *types;
	struct pyh_shapes *shapes;
	struct memory_reader memory, body;
	struct pyh_type_reader type_reader;
	uint32_t looks;		/* left, of the question at hand */
};

struct error *pileplaces_open(struct opened *opened,
			      const struct analysis *analysis,
			      struct pileplaces **ret)
{
	struct pileplaces *places = calloc(1, sizeof(*places));
	struct error *err;

	if (!places)
		return error_no_memory();
	places->analysis = analysis;
	err = opened_runtime(opened, &places->runtime);
	if (!err)
		err = opened_types(opened, &places->types);
	if (!err)
		err = opened_shapes(opened, &places->shapes);
	if (!err)
		err = memory_reader_init(&places->memory,
					 opened_image(opened)->memory);
	if (!err)
		err = memory_reader_init(&places->body,
					 opened_image(opened)->memory);
	if (!err)
		err = pyh_type_reader_init(&places->type_reader,
					   places->types);
	if (err) {
		pileplaces_close(places);
		return err;
	}
	*ret = places;
	return NULL;
}

void pileplaces_close(struct pileplaces *places)
{
	if (!places)
		return;
	memory_reader_deinit(&places->memory);
	memory_reader_deinit(&places->body);
	if (places->type_reader.types)
		pyh_type_reader_deinit(&places->type_reader);
	free(places);
}

/* --- types ------------------------------------------------------------------- */

bool pileplaces_is_tensor(struct pileplaces *places,
			  const struct pyh_type *type)
{
	return tensornames_of_type(places->runtime, &places->type_reader,
				   type) & TENSORNAMES_TENSOR;
}

static bool is_module(struct pileplaces *places, const struct pyh_type *type)
{
	return tensornames_of_type(places->runtime, &places->type_reader,
				   type) & TENSORNAMES_MODULE;
}

static bool is_data_set(struct pileplaces *places, const struct pyh_type *type)
{
	for (int i = 0; type && i < BASES_MAX; i++) {
		if (strcmp(type->name, "torch.utils.data.dataset.Dataset") == 0)
			return true;
		type = type->base ? pyh_type_find(&places->type_reader,
						  type->base) : NULL;
	}
	return false;
}

/** What fetches data has as many batches as it was told; caches have layers. */
static bool has_its_end(const struct pyh_type *type)
{
	static const char *const modules[] = { "torch.utils.data.",
					       "transformers.cache_utils" };

	for (size_t i = 0; type->module &&
			   i < sizeof(modules) / sizeof(*modules); i++)
		if (strncmp(type->module, modules[i], strlen(modules[i])) == 0)
			return true;
	return false;
}

/** An instance of a class that Python code has made. */
static bool is_instance(const struct pyh_type *type)
{
	return type->kind == PYH_KIND_OTHER && !type->is_static;
}

/* --- frames ------------------------------------------------------------------ */

/** Does PyTorch's own code run in a frame? It has forward() called, and hooks. */
static bool is_of_torch(struct pileplaces *places, const struct pyh_frame *frame)
{
	static const char *const parts[] = {
		"/torch/nn/", "/torch/autograd/", "/torch/utils/",
		"/torch/_dynamo/", "/torch/optim/",
	};
	char name[NAME_MAX_BYTES];
	struct pyh_str str;

	if (!frame->filename ||
	    pyh_str_read(places->runtime, &places->memory, frame->filename,
			 &str) != PYH_FOUND ||
	    !pyh_str_copy(&places->memory, &str, name, sizeof(name)))
		return false;
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (strstr(name, parts[i]))
			return true;
	return false;
}

struct calling {
	struct pileplaces *places;
	uint64_t code;
	bool seen;	/* a frame of this code */
	bool called;	/* PyTorch's has called the outermost of these */
};

/** One more look; false: there were too many for this question. */
static bool look(struct pileplaces *places)
{
	return places->looks > 0 && places->looks-- > 0;
}

static bool see_frame(void *context, const struct pyh_frame *frame)
{
	struct calling *calling = context;

	if (frame->code == calling->code) {
		calling->seen = true;
		calling->called = false;
	} else if (calling->seen && !calling->called) {
		calling->called = is_of_torch(calling->places, frame);
	}
	return look(calling->places);
}

static bool see_thread(void *context, const struct pyh_thread *thread)
{
	struct calling *calling = context;

	(void)pyh_frames_each(calling->places->runtime,
			      &calling->places->memory, thread, see_frame,
			      context);
	return !calling->seen && look(calling->places);
}

/** Is a function that runs one that PyTorch's code has called? */
static bool is_called_by_torch(struct pileplaces *places, uint64_t code)
{
	struct calling calling = { .places = places, .code = code };

	if (code)
		pyh_threads_each(places->runtime, &places->memory, see_thread,
				 &calling);
	return calling.called;
}

/* --- up the tree --------------------------------------------------------------- */

/** What is met on the way to the top. */
struct climb {
	uint32_t top;		/* GRAPH_NONE: it is no object */
	bool instance;		/* between it and the top */
	bool ends;		/* a library's that bounds it */
	bool waiting;		/* a coroutine, or a generator */
	uint64_t frame;		/* code of a frame object; 0: there is none */
};

static uint64_t code_of_frame(struct pileplaces *places, uint32_t object)
{
	struct pyh_frame frame;

	return pyh_frame_of_object(places->runtime, &places->memory,
				   heapgraph_address(places->analysis->heap,
						     object), &frame) ?
		       frame.code : 0;
}

static struct climb climb_from(struct pileplaces *places, uint32_t object)
{
	const struct dominators *dominators = &places->analysis->dominators;
	const struct heapgraph *heap = places->analysis->heap;
	struct climb climb = { .top = GRAPH_NONE };
	uint32_t at = object;

	for (int i = 0; i < STEPS_MAX && at < dominators->num_nodes &&
			look(places); i++) {
		const struct pyh_type *type = at < heap->count ?
				heapgraph_type(heap, at) : NULL;

		climb.top = type ? at : GRAPH_NONE;
		if (type && type->kind == PYH_KIND_GENERATOR)
			climb.waiting = true;
		if (type && type->kind == PYH_KIND_FRAME)
			climb.frame = code_of_frame(places, at);
		if (climb.waiting || climb.frame)
			break;
		if (type && (type->kind == PYH_KIND_MODULE ||
			     type->kind == PYH_KIND_TYPE))
			break;
		climb.ends |= type && has_its_end(type);
		climb.instance |= type && is_instance(type);
		at = dominators->parent[at];
	}
	return climb;
}

static bool lives_by(struct pileplaces *places, uint32_t object,
		     uint32_t above)
{
	const struct dominators *dominators = &places->analysis->dominators;

	for (int i = 0; i < STEPS_MAX && object < dominators->num_nodes &&
			look(places); i++) {
		if (object == above)
			return true;
		object = dominators->parent[object];
	}
	return false;
}

/** What the roots of an object say. */
struct rooted {
	bool by_frames;		/* that run … */
	bool passing;		/* … and PyTorch has called each of them */
	bool by_others;
};

static struct rooted roots_of(struct pileplaces *places, uint32_t object)
{
	const struct heaproots *roots = &places->analysis->roots;
	struct rooted rooted = { .passing = true };
	size_t count;
	const struct heap_root *list = heaproots_of(roots, object, &count);

	for (size_t i = 0; i < count && i < REFERRERS_MAX && look(places); i++) {
		const struct pyh_root *root = &list[i].root;

		if (!heaproots_holds(roots, &list[i]))
			continue;
		if (root->kind == PYH_ROOT_LOCAL ||
		    root->kind == PYH_ROOT_STACK ||
		    root->kind == PYH_ROOT_FRAME) {
			rooted.by_frames = true;
			rooted.passing &= is_called_by_torch(places,
							     root->code);
		} else if (root->kind != PYH_ROOT_NATIVE_STACK) {
			rooted.by_others = true;
		}
	}
	rooted.by_others |= node_set_has(&roots->unexplained, object);
	return rooted;
}

static enum pile_place place_of(struct pileplaces *places, uint32_t object,
				int depth);

/**
 * The place by others that hold the top of a branch: PILE_PASSING where there are
 * none, as what runs may have several ways to it.
 */
static enum pile_place by_referrers(struct pileplaces *places, uint32_t top,
				    int depth)
{
	const struct heapgraph *heap = places->analysis->heap;
	const struct graph *graph = &heap->graph;
	uint32_t first = graph->in_at[top], end = graph->in_at[top + 1];
	enum pile_place best = PILE_PASSING;

	for (uint32_t i = first; i < end && i - first < REFERRERS_MAX &&
				 look(places); i++) {
		uint32_t from = graph_end(graph->in[i]);
		enum pile_place place;

		if (!graph_in(graph->in[i], GRAPH_MASK_STRONG) ||
		    lives_by(places, from, top))
			continue;
		place = depth > 0 ? place_of(places, from, depth - 1) :
				    PILE_KEPT;
		if (place < best)
			best = place;
	}
	return best;
}

static enum pile_place place_of(struct pileplaces *places, uint32_t object,
				int depth)
{
	const struct heapgraph *heap = places->analysis->heap;
	struct climb climb = climb_from(places, object);
	enum pile_place running = climb.instance ? PILE_ATTRIBUTE : PILE_VARIABLE;
	enum pile_place others;
	enum pyh_kind kind;
	struct rooted rooted;

	if (climb.ends)
		return PILE_PASSING;
	if (climb.waiting)
		return running;
	// Up to 3.10.
	if (climb.frame)
		return is_called_by_torch(places, climb.frame) ? PILE_PASSING :
								 running;
	if (climb.top == GRAPH_NONE)
		return PILE_KEPT;
	kind = heapgraph_type(heap, climb.top)->kind;
	if (kind == PYH_KIND_MODULE || kind == PYH_KIND_TYPE ||
	    pile_is_namespace(heap, climb.top))
		return PILE_KEPT;
	rooted = roots_of(places, climb.top);
	others = by_referrers(places, climb.top, depth);
	if (rooted.by_others || others == PILE_KEPT)
		return PILE_KEPT;
	if (!rooted.by_frames)
		return others == PILE_PASSING ? PILE_KEPT : others;
	if (rooted.passing)
		return others;
	return running < others ? running : others;
}

enum pile_place pileplaces_of(struct pileplaces *places, uint32_t object)
{
	enum pile_place place;

	places->looks = LOOKS_MAX;
	place = place_of(places, object, DEPTH_MAX);
	// What is not known is not accused.
	return places->looks > 0 ? place : PILE_PASSING;
}

/* --- dicts --------------------------------------------------------------------- */

struct looking {
	uint64_t address;
	bool found;
};

static bool is_that_dict(void *context, const struct pyh_ref *ref)
{
	struct looking *looking = context;

	looking->found = ref->kind == PYH_REF_DICT &&
			 ref->address == looking->address;
	return !looking->found;
}

/** Has an object a dict for its attributes? */
static bool has_as_names(struct pileplaces *places, uint32_t owner,
			 uint32_t dict)
{
	const struct heapgraph *heap = places->analysis->heap;
	struct looking looking = { .address = heapgraph_address(heap, dict) };
	struct pyh_referrer referrer = {
		.runtime = places->runtime, .shapes = places->shapes,
		.type = heapgraph_type(heap, owner),
		.address = heapgraph_address(heap, owner),
		.memory = &places->memory,
	};

	referrer.extent = lookup_extent(places->runtime, referrer.type,
					referrer.address, &places->body,
					&places->memory);
	pyh_refs_each(&referrer, is_that_dict, &looking);
	return looking.found;
}

bool pileplaces_is_names(struct pileplaces *places, uint32_t object)
{
	const struct heapgraph *heap = places->analysis->heap;
	uint32_t parent = places->analysis->dominators.parent[object];
	const struct pyh_type *type;

	if (heapgraph_type(heap, object)->kind != PYH_KIND_DICT)
		return false;
	if (pile_is_namespace(heap, object))
		return true;
	if (parent >= heap->count)
		return false;
	type = heapgraph_type(heap, parent);
	return type->kind == PYH_KIND_TYPE || type->kind == PYH_KIND_MODULE ||
	       (is_instance(type) && has_as_names(places, parent, object));
}

bool pileplaces_is_part(struct pileplaces *places, uint32_t object)
{
	const struct heapgraph *heap = places->analysis->heap;
	uint32_t parent = places->analysis->dominators.parent[object];
	const struct pyh_type *type;

	if (parent < heap->count && pileplaces_is_names(places, parent))
		parent = places->analysis->dominators.parent[parent];
	if (parent >= heap->count)
		return false;
	type = heapgraph_type(heap, parent);
	return is_module(places, type) || is_data_set(places, type);
}

/** ".weight", ".bias": what most parameters are called. */
static bool is_of_parameter(struct pileplaces *places, uint64_t key)
{
	static const char *const ends[] = { ".weight", ".bias" };
	char name[NAME_MAX_BYTES];
	struct pyh_str str;
	size_t length;

	if (pyh_str_read(places->runtime, &places->memory, key, &str) !=
		    PYH_FOUND ||
	    !pyh_str_copy(&places->memory, &str, name, sizeof(name)))
		return false;
	length = strlen(name);
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		size_t end = strlen(ends[i]);

		if (length > end && strcmp(name + length - end, ends[i]) == 0)
			return true;
	}
	return false;
}

bool pileplaces_is_state(struct pileplaces *places, uint32_t object)
{
	const struct heapgraph *heap = places->analysis->heap;
	enum pyh_kind kind = heapgraph_type(heap, object)->kind;
	uint64_t budget = ENTRIES_MAX, key, value, count = 0, named = 0;
	struct pyh_dict_walk walk;

	if ((kind != PYH_KIND_DICT && kind != PYH_KIND_ODICT) ||
	    pyh_dict_walk(places->runtime, &places->memory,
			  heapgraph_address(heap, object), &walk) != PYH_FOUND)
		return false;
	walk.budget = &budget;
	while (pyh_dict_next(&walk, &key, &value)) {
		named += is_of_parameter(places, key);
		count++;
	}
	return named > 0 && named >= count / 2;
}

/* --- layers ------------------------------------------------------------------ */

/** Modules that a dict has; 0: it has more than those and their names. */
static uint32_t num_modules_in(struct pileplaces *places, uint32_t dict)
{
	const struct heapgraph *heap = places->analysis->heap;
	uint32_t start = heap->graph.out_at[dict], count = 0;
	uint32_t end = heap->graph.out_at[dict + 1];

	for (uint32_t i = start; i < end && i - start < ENTRIES_MAX; i++) {
		uint32_t object = graph_end(heap->graph.out[i]);
		const struct pyh_type *type;

		if (object >= heap->count)
			continue;
		type = heapgraph_type(heap, object);
		if (is_module(places, type))
			count++;
		else if (type->kind != PYH_KIND_STR)
			return 0;
	}
	return count;
}

bool pileplaces_is_by_layer(struct pileplaces *places, uint32_t count)
{
	const struct heapgraph *heap = places->analysis->heap;

	for (uint32_t i = 0; i < heap->count; i++) {
		uint32_t size, layers;

		// Its modules are by name in a dict: an OrderedDict up to 2.4.
		if (heapgraph_type(heap, i)->kind != PYH_KIND_DICT &&
		    heapgraph_type(heap, i)->kind != PYH_KIND_ODICT)
			continue;
		size = heap->graph.out_at[i + 1] - heap->graph.out_at[i];
		if (size < count / LAYERS_EACH || size > 3 * count)
			continue;
		layers = num_modules_in(places, i);
		if (layers == count ||
		    (uint64_t)layers * LAYERS_EACH == count)
			return true;
	}
	return false;
}
