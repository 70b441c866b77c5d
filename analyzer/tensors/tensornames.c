/*
 * What PyTorch's own objects tell of tensors; see tensornames.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors/tensornames.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "pyheap/types/pyattributes.h"
#include "pyheap/types/pytypeview.h"
#include "pyheap/values/pydict.h"
#include "pyheap/values/pystr.h"

enum {
	BASES_MAX = 256,	/* types that one is derived from */
	NAMES_MAX = 32,		/* modules within modules */
	NAME_MAX_BYTES = 128,	/* of one name */
	STATE_DEPTH = 4,	/* containers in an optimizer's state */
	KNOWN = 1 << 7,		/* in kinds: has been looked at */
};

enum tensornames_place {
	PLACE_MODULE, PLACE_PARAMETER, PLACE_BUFFER,
	PLACE_STATE,		/* in what an optimizer knows of a parameter */
	PLACE_INNER,		/* in a tensor that wraps it */
};

/* A module, a parameter or a buffer in a module; a tensor of an optimizer, or in
   another tensor. */
struct named {
	uint32_t module;	/* the object that has it */
	const char *slot;	/* its name, or */
	uint64_t key;		/* address of that */
	enum tensornames_place place;
};

struct tensornames {
	const struct heapgraph *heap;
	const struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	struct pyh_types *pyh_types;
	struct pyh_type_reader *types;
	struct memory_reader memory;
	uint8_t *kinds;			/* by type: TENSORNAMES_…, KNOWN */
	size_t num_kinds;
	struct list {
		uint32_t *items;
		size_t count, room;
	} tensors, natives;		/* objects */
	struct hashmap places;		/* object + 1: number in named, from 1 */
	struct named *named;
	size_t num_named, room_named;
	struct hashmap optimizers;	/* object + 1 of what they hold */
};

/* --- types ------------------------------------------------------------------------ */

static unsigned int kind_of_name(const char *name)
{
	static const struct {
		const char *name;
		unsigned int kind;
	} names[] = {
		{ "torch._C.TensorBase", TENSORNAMES_TENSOR },
		{ "torch._C._TensorBase", TENSORNAMES_TENSOR },	/* 1.13, 2.0 */
		{ "torch.nn.parameter.Parameter", TENSORNAMES_PARAMETER },
		{ "torch.nn.modules.module.Module", TENSORNAMES_MODULE },
		{ "torch.optim.optimizer.Optimizer", TENSORNAMES_OPTIMIZER },
		{ "torch._C._FunctionBase", TENSORNAMES_FUNCTION },
		{ "pybind11_builtins.pybind11_object", TENSORNAMES_NATIVE },
		{ "PyCapsule", TENSORNAMES_NATIVE },
		{ "cupy._core.core._ndarray_base", TENSORNAMES_CUPY },
		{ "cupy._core.core.ndarray", TENSORNAMES_CUPY },	/* 10 */
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(name, names[i].name) == 0)
			return names[i].kind;
	return 0;
}

unsigned int tensornames_of_type(const struct pyh_runtime *runtime,
				 struct pyh_type_reader *types,
				 const struct pyh_type *type)
{
	const struct pyh_type *base;
	struct pyh_type_view view;
	unsigned int kind = 0;
	uint64_t address;

	// All of them: a class may have others in front of torch's, as those
	// have that fully_shard() makes.
	if (type && !type->is_static &&
	    pyh_type_view(runtime, &types->memory, NULL, type->address, &view))
		for (uint64_t i = 0; i < view.mro_count && i < BASES_MAX; i++) {
			base = memory_try_u64(&types->memory, view.mro + i * 8,
					      &address) ?
				       pyh_type_find(types, address) : NULL;
			if (base)
				kind |= kind_of_name(base->name);
		}
	for (int i = 0; type && i < BASES_MAX; i++) {
		kind |= kind_of_name(type->name);
		type = type->base ? pyh_type_find(types, type->base) : NULL;
	}
	return kind;
}

static unsigned int kind_of_type(struct tensornames *names, uint32_t id)
{
	unsigned int kind;

	if (id < names->num_kinds && names->kinds[id] & KNOWN)
		return names->kinds[id];
	kind = tensornames_of_type(names->runtime, names->types,
				   pyh_types_get(names->pyh_types, id));
	if (id < names->num_kinds)
		names->kinds[id] = (uint8_t)(kind | KNOWN);
	return kind;
}

unsigned int tensornames_kind(const struct tensornames *names, uint32_t object)
{
	uint32_t id = names->heap->types[object];

	return id < names->num_kinds ? names->kinds[id] & ~(unsigned int)KNOWN :
				       0;
}

/* --- modules ----------------------------------------------------------------------- */

static struct error *name_one(struct tensornames *names, uint32_t object,
			      const struct named *named)
{
	uint32_t number;

	// What several modules have is called as the first one calls it.
	if (hashmap_get(&names->places, (uint64_t)object + 1, &number))
		return NULL;
	if (names->num_named == names->room_named) {
		size_t room = names->room_named ? names->room_named * 2 : 256;
		struct named *grown = realloc(names->named,
					      room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		names->named = grown;
		names->room_named = room;
	}
	names->named[names->num_named++] = *named;
	return hashmap_put(&names->places, (uint64_t)object + 1,
			   (uint32_t)names->num_named);
}

/** What a dict of a module names. */
static struct error *name_all(struct tensornames *names, uint32_t module,
			      uint64_t dict, enum tensornames_place place)
{
	uint32_t number = dict ? heapgraph_find(names->heap, dict) : GRAPH_NONE;
	struct pyh_dict_walk walk;
	uint64_t key, value;
	struct error *err = NULL;

	if (number == GRAPH_NONE ||
	    !(heapgraph_type(names->heap, number)->flags &
	      PYH_TPFLAGS_DICT_SUBCLASS) ||
	    pyh_dict_walk(names->runtime, &names->memory, dict, &walk) !=
		    PYH_FOUND)
		return NULL;
	while (!err && pyh_dict_next(&walk, &key, &value)) {
		uint32_t object = heapgraph_find(names->heap, value);
		unsigned int wanted = place == PLACE_MODULE ?
					      TENSORNAMES_MODULE :
					      TENSORNAMES_TENSOR;

		if (object != GRAPH_NONE && object != module &&
		    kind_of_type(names, names->heap->types[object]) & wanted)
			err = name_one(names, object, &(struct named){
				.module = module, .key = key, .place = place });
	}
	return err;
}

static struct error *look_at_module(struct tensornames *names, uint32_t module)
{
	// In the order of enum tensornames_place.
	static const char *const dicts[] = { "_modules", "_parameters",
					     "_buffers" };
	struct error *err = NULL;
	uint64_t values[3];

	pyh_attributes_find(names->runtime, names->shapes, &names->memory,
			    heapgraph_type(names->heap, module),
			    heapgraph_address(names->heap, module), dicts, 3,
			    values);
	for (unsigned int i = 0; !err && i < 3; i++)
		err = name_all(names, module, values[i],
			       (enum tensornames_place)i);
	return err;
}

/* --- optimizers ------------------------------------------------------------------------ */

static bool is_container(const struct pyh_type *type)
{
	return type->flags & (PYH_TPFLAGS_DICT_SUBCLASS |
			      PYH_TPFLAGS_LIST_SUBCLASS |
			      PYH_TPFLAGS_TUPLE_SUBCLASS);
}

/** What a dict calls the tensors in it. */
static struct error *name_state(struct tensornames *names, uint32_t optimizer,
				uint32_t dict)
{
	return heapgraph_type(names->heap, dict)->flags &
			       PYH_TPFLAGS_DICT_SUBCLASS ?
		name_all(names, optimizer, heapgraph_address(names->heap, dict),
			 PLACE_STATE) : NULL;
}

/** What containers lead to from one of them. */
static struct error *hold_all(struct tensornames *names, uint32_t optimizer,
			      uint32_t container, int depth)
{
	const struct graph *graph = &names->heap->graph;
	struct error *err = NULL;

	for (uint32_t i = graph->out_at[container];
	     !err && i < graph->out_at[container + 1]; i++) {
		uint32_t object = graph_end(graph->out[i]);
		const struct pyh_type *type = heapgraph_type(names->heap,
							     object);

		if (kind_of_type(names, type->id) & TENSORNAMES_TENSOR)
			err = hashmap_put(&names->optimizers,
					  (uint64_t)object + 1, 1);
		else if (depth > 1 && is_container(type))
			err = hold_all(names, optimizer, object, depth - 1);
	}
	return err ? err : name_state(names, optimizer, container);
}

static struct error *look_at_optimizer(struct tensornames *names,
				       uint32_t optimizer)
{
	static const char *const attributes[] = { "state", "param_groups" };
	struct error *err = NULL;
	uint64_t values[2];

	pyh_attributes_find(names->runtime, names->shapes, &names->memory,
			    heapgraph_type(names->heap, optimizer),
			    heapgraph_address(names->heap, optimizer),
			    attributes, 2, values);
	for (int i = 0; !err && i < 2; i++) {
		uint32_t number = values[i] ? heapgraph_find(names->heap,
							     values[i]) :
					      GRAPH_NONE;

		if (number != GRAPH_NONE &&
		    is_container(heapgraph_type(names->heap, number)))
			err = hold_all(names, optimizer, number, STATE_DEPTH);
	}
	return err;
}

/* --- tensors in others --------------------------------------------------------------- */

struct wrapping {
	struct tensornames *names;
	uint32_t wrapper;
	struct error *err;
};

static bool see_attribute(void *context, const char *name, uint64_t key,
			  uint64_t value)
{
	struct wrapping *wrapping = context;
	struct tensornames *names = wrapping->names;
	uint32_t object = value ? heapgraph_find(names->heap, value) :
				  GRAPH_NONE;

	if (object != GRAPH_NONE && object != wrapping->wrapper &&
	    kind_of_type(names, names->heap->types[object]) &
		    TENSORNAMES_TENSOR)
		wrapping->err = name_one(names, object, &(struct named){
			.module = wrapping->wrapper, .slot = name, .key = key,
			.place = PLACE_INNER });
	return !wrapping->err;
}

struct error *tensornames_add_wrapper(struct tensornames *names,
				      uint32_t object)
{
	struct wrapping wrapping = { .names = names, .wrapper = object };

	pyh_attributes_each(names->runtime, names->shapes, &names->memory,
			    heapgraph_type(names->heap, object),
			    heapgraph_address(names->heap, object),
			    see_attribute, &wrapping);
	return wrapping.err;
}

/* --- all of it ------------------------------------------------------------------------- */

static struct error *add_to(struct list *list, uint32_t object)
{
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 1024;
		uint32_t *grown = realloc(list->items, room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		list->items = grown;
		list->room = room;
	}
	list->items[list->count++] = object;
	return NULL;
}

static struct error *look_at_all(struct tensornames *names)
{
	struct error *err = NULL;
	unsigned int any = 0;

	for (uint32_t i = 0; i < names->num_kinds; i++)
		any |= kind_of_type(names, i) & ~(unsigned int)KNOWN;
	// Most programs have no PyTorch.
	for (uint32_t i = 0; any && !err && i < names->heap->count; i++) {
		unsigned int kind = kind_of_type(names, names->heap->types[i]);

		// A guess is no tensor: what it would say is not looked at.
		if (kind & TENSORNAMES_TENSOR)
			err = add_to(&names->tensors, i);
		else if (kind & TENSORNAMES_MODULE)
			err = look_at_module(names, i);
		else if (kind & TENSORNAMES_OPTIMIZER)
			err = look_at_optimizer(names, i);
		else if (kind & TENSORNAMES_NATIVE)
			err = add_to(&names->natives, i);
	}
	return err;
}

static struct error *prepare(struct opened *opened,
			     const struct analysis *analysis,
			     struct tensornames *names)
{
	struct pyh_runtime *runtime;
	struct error *err = opened_runtime(opened, &runtime);

	names->heap = analysis->heap;
	if (!err)
		err = opened_types(opened, &names->pyh_types);
	if (!err)
		err = opened_shapes(opened, &names->shapes);
	if (!err)
		err = memory_reader_init(&names->memory,
					 opened_image(opened)->memory);
	if (err)
		return err;
	names->runtime = runtime;
	names->num_kinds = pyh_types_count(names->pyh_types);
	names->kinds = calloc(names->num_kinds + 1, 1);
	names->types = calloc(1, sizeof(*names->types));
	if (!names->kinds || !names->types)
		return error_no_memory();
	return pyh_type_reader_init(names->types, names->pyh_types);
}

struct error *tensornames_make(struct opened *opened,
			       const struct analysis *analysis,
			       struct tensornames **ret)
{
	struct tensornames *names = calloc(1, sizeof(*names));
	struct error *err = names ? prepare(opened, analysis, names) :
				    error_no_memory();

	if (!err)
		err = look_at_all(names);
	if (err) {
		tensornames_destroy(names);
		return err;
	}
	*ret = names;
	return NULL;
}

void tensornames_destroy(struct tensornames *names)
{
	if (!names)
		return;
	if (names->types)
		pyh_type_reader_deinit(names->types);
	free(names->types);
	memory_reader_deinit(&names->memory);
	hashmap_deinit(&names->places);
	hashmap_deinit(&names->optimizers);
	free(names->named);
	free(names->kinds);
	free(names->tensors.items);
	free(names->natives.items);
	free(names);
}

const uint32_t *tensornames_tensors(const struct tensornames *names,
				    size_t *ret_count)
{
	*ret_count = names->tensors.count;
	return names->tensors.items;
}

const uint32_t *tensornames_natives(const struct tensornames *names,
				    size_t *ret_count)
{
	*ret_count = names->natives.count;
	return names->natives.items;
}

static const struct named *named_of(const struct tensornames *names,
				    uint32_t object)
{
	uint32_t number;

	return hashmap_get(&names->places, (uint64_t)object + 1, &number) ?
		       &names->named[number - 1] : NULL;
}

bool tensornames_is_parameter(const struct tensornames *names, uint32_t object)
{
	const struct named *named = named_of(names, object);

	return (named && named->place == PLACE_PARAMETER) ||
	       tensornames_kind(names, object) & TENSORNAMES_PARAMETER;
}

bool tensornames_is_buffer(const struct tensornames *names, uint32_t object)
{
	const struct named *named = named_of(names, object);

	return named && named->place == PLACE_BUFFER;
}

bool tensornames_is_optimizers(const struct tensornames *names, uint32_t object)
{
	uint32_t number;

	return hashmap_get(&names->optimizers, (uint64_t)object + 1, &number);
}

uint32_t tensornames_wrapper(const struct tensornames *names, uint32_t object)
{
	const struct named *named = named_of(names, object);

	return named && named->place == PLACE_INNER ? named->module : GRAPH_NONE;
}

/** Names of code alone: what else a key is, is data. */
static bool read_name(struct tensornames *names, uint64_t key,
		      char text[NAME_MAX_BYTES])
{
	uint32_t object = heapgraph_find(names->heap, key);
	struct pyh_str str;

	if (object == GRAPH_NONE ||
	    heapgraph_type(names->heap, object)->kind != PYH_KIND_STR ||
	    pyh_str_read(names->runtime, &names->memory, key, &str) !=
		    PYH_FOUND ||
	    !pyh_str_copy(&names->memory, &str, text, NAME_MAX_BYTES))
		return false;
	for (const char *at = text; *at; at++)
		if (!isalnum((unsigned char)*at) && *at != '_')
			return false;
	return *text != '\0';
}

bool tensornames_text(struct tensornames *names, uint32_t object,
		      uint32_t *ret_module, char *text, size_t size)
{
	const struct named *steps[NAMES_MAX], *named = named_of(names, object);
	size_t count = 0, used = 0;

	if (!named)
		return false;
	while (named && count < NAMES_MAX) {
		steps[count++] = named;
		*ret_module = named->module;
		named = named_of(names, named->module);
	}
	// Or they have each other.
	if (named)
		return false;
	(void)snprintf(text, size, "%s",
		       steps[count - 1]->place == PLACE_STATE ? "state[*]" : "");
	used = strlen(text);
	while (count > 0 && used < size) {
		char name[NAME_MAX_BYTES];
		int wrote;

		if (steps[--count]->slot)
			(void)snprintf(name, sizeof(name), "%s",
				       steps[count]->slot);
		else if (!read_name(names, steps[count]->key, name))
			(void)snprintf(name, sizeof(name), "[...]");
		wrote = snprintf(text + used, size - used, "%s%s",
				 *text ? "." : "", name);
		used += wrote > 0 ? (size_t)wrote : 0;
	}
	return true;
}
