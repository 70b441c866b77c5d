/*
 * Shapes: where in the instances of a type its references lie; see pyshape.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pyshapemake.h"

#include <stdlib.h>
#include <string.h>

#include "pyheap/values/pydict.h"

enum {
	/* Entries of dictionaries looked at for all types. */
	ENTRIES_MAX = 1 << 26,
	/* So many times may references be walked over. */
	WALKS_MAX = 64,
};

/** Where the shape of a type is kept; NULL without memory, or one too many. */
static _Atomic(struct pyh_shape *) *place_of(struct pyh_shapes *shapes,
					     uint32_t id)
{
	_Atomic(struct shapes_leaf *) *at = &shapes->leaves[id / LEAF_SHAPES %
							    LEAVES];
	struct shapes_leaf *leaf = atomic_load(at), *made;

	if (id / LEAF_SHAPES >= LEAVES)
		return NULL;
	if (!leaf) {
		made = calloc(1, sizeof(*made));
		if (!made)
			return NULL;
		if (atomic_compare_exchange_strong(at, &leaf, made))
			leaf = made;
		else
			free(made);
	}
	return &leaf->shapes[id % LEAF_SHAPES];
}

const struct pyh_shape *pyh_shape_of(struct pyh_shapes *shapes,
				     const struct pyh_type *type)
{
	_Atomic(struct pyh_shape *) *place = place_of(shapes, type->id);
	struct pyh_shape *shape;

	if (!place)
		return NULL;
	shape = atomic_load_explicit(place, memory_order_acquire);
	if (shape)
		return shape;
	(void)pthread_mutex_lock(&shapes->lock);
	shape = atomic_load(place);
	if (!shape) {
		shape = pyh_shape_make(shapes, type);
		atomic_store_explicit(place, shape, memory_order_release);
	}
	(void)pthread_mutex_unlock(&shapes->lock);
	return shape;
}

bool pyh_shapes_pay(struct pyh_shapes *shapes, uint64_t address,
		    uint64_t words)
{
	int64_t left = atomic_fetch_sub_explicit(&shapes->words,
						 (int64_t)words,
						 memory_order_relaxed);

	if (left > (int64_t)words)
		return true;
	// Kept from wrapping around, however often it is asked.
	(void)atomic_fetch_add_explicit(&shapes->words, (int64_t)words,
					memory_order_relaxed);
	if (!atomic_exchange(&shapes->told, true))
		findings_add(shapes->runtime->image->findings, "references",
			     address, "containers claim the same memory so "
			     "many times that references are left out from "
			     "here on");
	return false;
}

/* --- what is learned once ----------------------------------------------------------- */

/** A value in a dict of names; 0: there is none. */
static uint64_t value_of(struct pyh_shapes *shapes, uint64_t dict,
			 const char *name)
{
	uint64_t value = 0;

	if (dict)
		(void)pyh_dict_find(shapes->runtime, &shapes->memory, dict,
				    &name, 1, &value, &shapes->entries);
	return value;
}

/** The tp_traverse of a class written in Python that every process has. */
static void learn_subtype_traverse(struct pyh_shapes *shapes)
{
	const struct pyh_runtime *runtime = shapes->runtime;
	uint64_t module, dict, type;

	if (runtime->num_interpreters == 0)
		return;
	module = value_of(shapes, runtime->interpreters[0].modules,
			  "_frozen_importlib");
	if (module && pyh_field(runtime, &shapes->memory, module,
				PYH_MODULE_MD_DICT, &dict)) {
		type = value_of(shapes, dict, "ModuleSpec");
		if (type)
			shapes->subtype_traverse = pyh_shape_traverse(shapes, type);
	}
}

/** Up to 3.10 the subclasses of a type are in a dict with keys of int. */
static void learn_lookdict(struct pyh_shapes *shapes)
{
	const struct pyh_runtime *runtime = shapes->runtime;
	uint64_t dict, keys;

	if (pyh_has(runtime, PYH_KEYS_DK_LOOKUP) &&
	    pyh_field(runtime, &shapes->memory, runtime->types.object,
		      PYH_TYPE_TP_SUBCLASSES, &dict) && dict &&
	    pyh_field(runtime, &shapes->memory, dict, PYH_DICT_MA_KEYS, &keys))
		(void)pyh_field(runtime, &shapes->memory, keys,
				PYH_KEYS_DK_LOOKUP, &shapes->lookdict);
}

static struct error *learn_cached(struct pyh_shapes *shapes)
{
	uint32_t count = pyh_types_count(shapes->types);

	for (uint32_t id = 0; id < count; id++) {
		const struct pyh_type *type = pyh_types_get(shapes->types, id);
		struct error *err;
		uint64_t keys;

		if (type->is_static ||
		    !pyh_field(shapes->runtime, &shapes->memory, type->address,
			       PYH_HEAPTYPE_HT_CACHED_KEYS, &keys) || !keys)
			continue;
		err = hashmap_put(&shapes->cached, keys, id);
		if (err)
			return err;
	}
	return NULL;
}

bool pyh_shapes_is_cached(const struct pyh_shapes *shapes, uint64_t keys)
{
	uint32_t id;

	return hashmap_get(&shapes->cached, keys, &id);
}

uint64_t pyh_shapes_lookdict(const struct pyh_shapes *shapes)
{
	return shapes->lookdict;
}

struct error *pyh_shapes_create(const struct pyh_runtime *runtime,
				struct pyh_types *types,
				struct pyh_shapes **ret)
{
	struct pyh_shapes *shapes = calloc(1, sizeof(*shapes));
	struct error *err;

	if (!shapes)
		return error_no_memory();
	shapes->runtime = runtime;
	shapes->types = types;
	shapes->entries = ENTRIES_MAX;
	atomic_store(&shapes->words,
		     WALKS_MAX * (int64_t)(memory_total(runtime->image->memory,
							MEMORY_CAPTURED) / 8 +
					   1024));
	(void)pthread_mutex_init(&shapes->lock, NULL);
	err = pyh_type_reader_init(&shapes->reader, types);
	if (!err)
		err = memory_reader_init(&shapes->memory,
					 runtime->image->memory);
	if (!err)
		err = learn_cached(shapes);
	if (err) {
		pyh_shapes_destroy(shapes);
		return err;
	}
	learn_subtype_traverse(shapes);
	learn_lookdict(shapes);
	*ret = shapes;
	return NULL;
}

static void leaf_destroy(struct shapes_leaf *leaf)
{
	for (size_t i = 0; leaf && i < LEAF_SHAPES; i++)
		pyh_shape_destroy(atomic_load(&leaf->shapes[i]));
	free(leaf);
}

void pyh_shapes_destroy(struct pyh_shapes *shapes)
{
	if (!shapes)
		return;
	for (size_t i = 0; i < LEAVES; i++)
		leaf_destroy(atomic_load(&shapes->leaves[i]));
	pyh_type_reader_deinit(&shapes->reader);
	memory_reader_deinit(&shapes->memory);
	hashmap_deinit(&shapes->cached);
	(void)pthread_mutex_destroy(&shapes->lock);
	free(shapes);
}
