/*
 * Copies of equal str and bytes; see copies.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/copies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "image/base/workers.h"
#include "pyheap/references/pycontent.h"

enum {
	SAMPLES_LEAST = 1 << 14,	/* objects; fewer are all looked at */
	SAMPLES_MOST = 1 << 20,
	SHARD_OBJECTS = 1 << 16,
	CLIMB_MAX = 8,			/* containers in containers */
	SAMPLES_TOLD = sizeof(((struct copies *)0)->samples) /
		       sizeof(((struct copies *)0)->samples[0]),
};

/* Owners as one number: a type's id, a container's number, or none. */
#define OWNER_TYPE	(UINT64_C(1) << 32)
#define OWNER_CONTAINER	(UINT64_C(2) << 32)
#define OWNER_NONE	(UINT64_C(3) << 32)

struct value {
	uint64_t hash[2];
	uint64_t count, bytes;		/* first of the sample, then of all */
	uint64_t mine;			/* copies that the chosen owner has */
	uint32_t type;
};

struct owner {
	uint64_t key, bytes;
};

/** What one worker reads with. */
struct reading {
	_Alignas(128) struct memory_reader body, memory;
};

struct search {
	const struct analysis *analysis;
	const struct heapgraph *heap;
	struct pyh_contents contents;
	uint64_t least;
	uint8_t *is_text;		/* of each type */
	uint64_t num_texts, text_bytes;
	uint64_t stride;		/* one object in so many is in the sample */
	struct value *values;
	uint32_t num_values, room;
	struct hashmap numbers;		/* of values, by half of their hash */
	struct spill_array array;
	uint32_t *value_of;		/* of each object: number plus 1, or 0 */
	struct reading *readings;
	unsigned int workers;
	struct node_set namespaces;	/* what modules have as their own */
	struct owner *owners;
	uint32_t num_owners, owners_room;
	struct hashmap owner_numbers;
};

/* --- contents -------------------------------------------------------------- */

/** Since 3.15 a bytearray has its bytes as an object, which it will change. */
static bool is_of_bytearray(const struct search *search, uint32_t object)
{
	uint32_t parent = search->analysis->dominators.parent[object];

	return parent < search->heap->count &&
	       heapgraph_type(search->heap, parent)->kind == PYH_KIND_BYTEARRAY;
}

static bool hash_of(struct search *search, struct reading *reading,
		    uint32_t object, struct pyh_content *ret)
{
	const struct pyh_type *type = heapgraph_type(search->heap, object);
	uint64_t address = heapgraph_address(search->heap, object);
	size_t size = (size_t)type->basicsize;
	const void *body = memory_view(&reading->body, address, size);

	if (!body || is_of_bytearray(search, object) ||
	    pyh_content_read(&search->contents, type, address, body, size,
			     &reading->memory, ret) != PYH_FOUND)
		return false;
	// 0 is no key.
	ret->hash[1] |= 1;
	return true;
}

/** The number of a value, or false: it was not in the sample. */
static bool find_value(const struct search *search,
		       const struct pyh_content *content, uint32_t *ret)
{
	return hashmap_get(&search->numbers, content->hash[1], ret) &&
	       search->values[*ret].hash[0] == content->hash[0];
}

static struct error *add_value(struct search *search,
			       const struct pyh_content *content,
			       uint32_t object)
{
	uint64_t bytes = heapgraph_footprint(search->heap, object);
	struct error *err;
	uint32_t number;

	if (hashmap_get(&search->numbers, content->hash[1], &number)) {
		search->values[number].count++;
		search->values[number].bytes += bytes;
		return NULL;
	}
	if (search->num_values == search->room) {
		uint32_t room = search->room ? search->room * 2 : 1 << 10;
		struct value *values = reallocarray(search->values, room,
						    sizeof(*values));

		if (!values)
			return error_no_memory();
		search->values = values;
		search->room = room;
	}
	err = hashmap_put(&search->numbers, content->hash[1],
			  search->num_values);
	if (err)
		return err;
	search->values[search->num_values++] = (struct value){
		.hash = { content->hash[0], content->hash[1] },
		.count = 1, .bytes = bytes,
		.type = search->heap->types[object] };
	return NULL;
}

/* --- the sample ------------------------------------------------------------ */

/** Which objects are in the sample has nothing to do with how they lie. */
static bool is_sampled(const struct search *search, uint32_t object)
{
	uint64_t mixed = (object + 1) * UINT64_C(0x9E3779B97F4A7C15);

	return (mixed >> 32) % search->stride == 0;
}

/** How many str and bytes there are, and what they take. */
static struct error *weigh(struct search *search)
{
	const struct heapgraph *heap = search->heap;
	uint32_t types = pyh_types_count(heap->pyh_types);

	search->is_text = calloc((size_t)types + 1, 1);
	if (!search->is_text)
		return error_no_memory();
	for (uint32_t i = 0; i < types; i++) {
		enum pyh_kind kind = pyh_types_get(heap->pyh_types, i)->kind;

		search->is_text[i] = kind == PYH_KIND_STR ||
				     kind == PYH_KIND_BYTES;
	}
	for (uint32_t i = 0; i < heap->count; i++) {
		if (!search->is_text[heap->types[i]])
			continue;
		search->num_texts++;
		search->text_bytes += heapgraph_footprint(heap, i);
	}
	search->stride = 1;
	if (search->num_texts > SAMPLES_LEAST) {
		search->stride = search->num_texts / SAMPLES_LEAST;
		if (search->stride > COPIES_SAMPLE)
			search->stride = COPIES_SAMPLE;
		if (search->num_texts / search->stride > SAMPLES_MOST)
			search->stride = search->num_texts / SAMPLES_MOST;
	}
	return NULL;
}

/** What copies take, as the sample has it. */
static struct error *estimate(struct search *search, double *ret)
{
	const struct heapgraph *heap = search->heap;
	uint64_t all = 0, wasted = 0;
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < heap->count; i++) {
		struct pyh_content content;

		if (!search->is_text[heap->types[i]] || !is_sampled(search, i))
			continue;
		all += heapgraph_footprint(heap, i);
		if (hash_of(search, &search->readings[0], i, &content))
			err = add_value(search, &content, i);
	}
	for (uint32_t i = 0; i < search->num_values; i++) {
		const struct value *value = &search->values[i];

		wasted += value->bytes - value->bytes / value->count;
	}
	*ret = all ? (double)wasted / (double)all *
			     (double)search->text_bytes : 0;
	return err;
}

/** Leave those values of which the sample has copies. */
static struct error *drop_single(struct search *search)
{
	struct error *err = NULL;
	uint32_t kept = 0;

	hashmap_deinit(&search->numbers);
	node_set_deinit(&search->namespaces);
	search->numbers = (struct hashmap){ 0 };
	for (uint32_t i = 0; !err && i < search->num_values; i++) {
		struct value *value = &search->values[i];

		if (value->count < 2)
			continue;
		value->count = value->bytes = 0;
		err = hashmap_put(&search->numbers, value->hash[1], kept);
		search->values[kept++] = *value;
	}
	search->num_values = kept;
	return err;
}

/* --- all of them ----------------------------------------------------------- */

static struct error *read_shard(void *context, unsigned int worker,
				size_t shard)
{
	struct search *search = context;
	uint32_t first = (uint32_t)shard * SHARD_OBJECTS;
	uint32_t last = search->heap->count - first < SHARD_OBJECTS ?
				search->heap->count : first + SHARD_OBJECTS;

	for (uint32_t i = first; i < last; i++) {
		struct pyh_content content;
		uint32_t number;

		search->value_of[i] = 0;
		if (search->is_text[search->heap->types[i]] &&
		    hash_of(search, &search->readings[worker], i, &content) &&
		    find_value(search, &content, &number))
			search->value_of[i] = number + 1;
	}
	return NULL;
}

/* --- whose they are -------------------------------------------------------- */

static bool is_container(const struct pyh_type *type)
{
	switch (type->kind) {
	case PYH_KIND_DICT:
	case PYH_KIND_ODICT:
	case PYH_KIND_LIST:
	case PYH_KIND_TUPLE:
	case PYH_KIND_SET:
	case PYH_KIND_DEQUE:
		return true;
	default:
		return false;
	}
}

/** Containers of their own only where they keep enough: there are few. */
static uint64_t container_key(const struct search *search, uint32_t container,
			      uint32_t object)
{
	return container != object &&
	       search->analysis->dominators.retained[container] >=
		       search->least ? OWNER_CONTAINER | container : OWNER_NONE;
}

/** Functions refer to a namespace, too, so that it need not live by its module. */
static struct error *find_namespaces(struct search *search)
{
	const struct heapgraph *heap = search->heap;
	const struct graph *graph = &heap->graph;
	struct error *err = node_set_init(&search->namespaces, heap->count);

	for (uint32_t i = 0; !err && i < heap->count; i++) {
		if (heapgraph_type(heap, i)->kind != PYH_KIND_MODULE)
			continue;
		for (uint32_t j = graph->out_at[i]; j < graph->out_at[i + 1];
		     j++)
			if (graph_in(graph->out[j], GRAPH_MASK_STRONG))
				(void)node_set_add(&search->namespaces,
						   graph_end(graph->out[j]));
	}
	return err;
}

/** By whom an object lives, over whatever containers. */
static uint64_t owner_key(const struct search *search, uint32_t object)
{
	const uint32_t *parents = search->analysis->dominators.parent;
	uint32_t at = object, below = object;

	for (int i = 0; i < CLIMB_MAX; i++) {
		uint32_t parent = parents[at];
		const struct pyh_type *type;

		// What a module or class has is the variable, not its dict.
		if (node_set_has(&search->namespaces, at))
			return container_key(search, below, object);
		if (parent >= search->heap->count)
			return container_key(search, at, object);
		type = heapgraph_type(search->heap, parent);
		if (type->kind == PYH_KIND_MODULE || type->kind == PYH_KIND_TYPE)
			return container_key(search, below, object);
		if (!is_container(type))
			return type->is_static ?
				       container_key(search, at, object) :
				       OWNER_TYPE | type->id;
		below = at;
		at = parent;
	}
	return container_key(search, at, object);
}

static struct error *add_to_owner(struct search *search, uint32_t object)
{
	uint64_t key = owner_key(search, object);
	struct error *err;
	uint32_t number;

	if (!hashmap_get(&search->owner_numbers, key, &number)) {
		if (search->num_owners == search->owners_room) {
			uint32_t room = search->owners_room ?
						search->owners_room * 2 : 64;
			struct owner *owners = reallocarray(
				search->owners, room, sizeof(*owners));

			if (!owners)
				return error_no_memory();
			search->owners = owners;
			search->owners_room = room;
		}
		number = search->num_owners;
		err = hashmap_put(&search->owner_numbers, key, number);
		if (err)
			return err;
		search->owners[search->num_owners++] = (struct owner){
			.key = key };
	}
	search->owners[number].bytes += heapgraph_footprint(search->heap,
							    object);
	return NULL;
}

/** The first of each value is no copy: one is needed. */
static bool is_copy(struct search *search, uint32_t object)
{
	uint32_t number = search->value_of[object];

	return number > 0 && search->values[number - 1].count++ > 0;
}

static struct error *find_owners(struct search *search)
{
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < search->heap->count; i++)
		if (is_copy(search, i))
			err = add_to_owner(search, i);
	for (uint32_t i = 0; i < search->num_values; i++)
		search->values[i].count = 0;
	return err;
}

static void put_result(struct search *search, uint64_t key, struct copies *ret)
{
	uint64_t texts = 0;

	for (uint32_t i = 0; i < search->heap->count; i++) {
		struct value *value;

		if (!is_copy(search, i) || owner_key(search, i) != key)
			continue;
		value = &search->values[search->value_of[i] - 1];
		if (value->mine++ == 0) {
			ret->values++;
			if (ret->num_samples < SAMPLES_TOLD)
				ret->samples[ret->num_samples++] = i;
		}
		if (ret->sample == GRAPH_NONE)
			ret->sample = i;
		ret->count++;
		ret->bytes += heapgraph_footprint(search->heap, i);
		texts += heapgraph_type(search->heap, i)->kind == PYH_KIND_STR;
	}
	for (uint32_t i = 0; i < ret->num_samples; i++)
		ret->weights[i] = search->values[
			search->value_of[ret->samples[i]] - 1].mine;
	// All of one type, or that of most.
	for (uint32_t i = 0; i < search->num_values; i++) {
		const struct pyh_type *type = pyh_types_get(
			search->heap->pyh_types, search->values[i].type);

		if (search->values[i].mine > 0 &&
		    (type->kind == PYH_KIND_STR) == (texts > ret->count / 2)) {
			ret->type = type;
			break;
		}
	}
	if (key & OWNER_TYPE && !(key & OWNER_CONTAINER))
		ret->owner = pyh_types_get(search->heap->pyh_types,
					   (uint32_t)key);
	else if (!(key & OWNER_TYPE))
		ret->container = (uint32_t)key;
}

static struct error *look_at_all(struct search *search, struct copies *ret)
{
	struct heapgraph *heap = search->analysis->heap;
	uint64_t shards = ((uint64_t)heap->count + SHARD_OBJECTS - 1) /
			  SHARD_OBJECTS;
	const struct owner *most = NULL;
	struct error *err = drop_single(search);

	if (!err)
		err = spill_alloc(&heap->spill, (uint64_t)heap->count *
						sizeof(*search->value_of),
				  &search->array);
	search->value_of = search->array.data;
	if (!err)
		err = workers_run(search->workers, (size_t)shards, read_shard,
				  search);
	if (!err)
		err = find_namespaces(search);
	if (!err)
		err = find_owners(search);
	for (uint32_t i = 0; !err && i < search->num_owners; i++)
		if (!most || search->owners[i].bytes > most->bytes ||
		    (search->owners[i].bytes == most->bytes &&
		     search->owners[i].key < most->key))
			most = &search->owners[i];
	if (!err && most && most->bytes >= search->least)
		put_result(search, most->key, ret);
	return err;
}

/* --- the whole ------------------------------------------------------------- */

static struct error *search_init(struct search *search, struct opened *opened)
{
	struct pyh_runtime *runtime;
	size_t size;
	struct error *err = opened_runtime(opened, &runtime);

	if (err)
		return err;
	pyh_contents_init(&search->contents, runtime, search->heap->pyh_types);
	search->workers = opened_workers(opened);
	size = search->workers * sizeof(*search->readings);
	search->readings = aligned_alloc(_Alignof(struct reading), size);
	if (!search->readings) {
		search->workers = 0;
		return error_no_memory();
	}
	memset(search->readings, 0, size);
	for (unsigned int i = 0; !err && i < search->workers; i++) {
		err = memory_reader_init(&search->readings[i].body,
					 opened_image(opened)->memory);
		if (!err)
			err = memory_reader_init(&search->readings[i].memory,
						 opened_image(opened)->memory);
	}
	return err;
}

static void search_deinit(struct search *search)
{
	for (unsigned int i = 0; i < search->workers; i++) {
		memory_reader_deinit(&search->readings[i].body);
		memory_reader_deinit(&search->readings[i].memory);
	}
	free(search->readings);
	free(search->is_text);
	free(search->values);
	hashmap_deinit(&search->numbers);
	free(search->owners);
	hashmap_deinit(&search->owner_numbers);
	spill_free(&search->array);
}

struct error *copies_find(struct opened *opened,
			  const struct analysis *analysis, uint64_t least,
			  struct copies *ret)
{
	CLEANUP(search_deinit) struct search search = {
		.analysis = analysis, .heap = analysis->heap, .least = least };
	double wasted = 0;
	struct error *err = weigh(&search);

	*ret = (struct copies){ .container = GRAPH_NONE, .sample = GRAPH_NONE };
	if (err || search.text_bytes < least)
		return err;
	err = search_init(&search, opened);
	if (!err)
		err = estimate(&search, &wasted);
	// What is near enough is counted.
	if (!err && wasted >= (double)least * 3 / 4)
		err = look_at_all(&search, ret);
	return err;
}

/* --- in words -------------------------------------------------------------- */

enum { ATTRIBUTE_MAX = 64 };	/* bytes of its name that are compared */

/** ".headers" of ".headers[...]": the attribute of the owner it is in. */
static struct error *attribute_of(struct paths *paths,
				  const struct analysis *analysis,
				  const struct pyh_type *owner, uint32_t object,
				  char ret[ATTRIBUTE_MAX])
{
	CLEANUP(path_deinit) struct path path = { 0 };
	struct error *err = paths_find(paths, object, &path);
	char text[PATH_TEXT_MAX];
	uint32_t at = path.count;

	ret[0] = '\0';
	if (err)
		return err;
	while (at > 0 && heapgraph_type(analysis->heap,
					path.objects[at - 1]) != owner)
		at--;
	if (at == 0 || at == path.count)
		return NULL;
	paths_attribute_text(paths, &path, at - 1, text);
	if (text[0])
		text[1 + strcspn(text + 1, "[{.<(")] = '\0';
	(void)snprintf(ret, ATTRIBUTE_MAX, "%.*s", ATTRIBUTE_MAX - 1, text);
	return NULL;
}

/** The attribute that most of the copies are in, by those of the samples. */
static struct error *best_attribute(const struct copies *copies,
				    const struct analysis *analysis,
				    struct paths *paths,
				    char ret[ATTRIBUTE_MAX], double *ret_part)
{
	char names[SAMPLES_TOLD][ATTRIBUTE_MAX];
	uint64_t all = 0, most = 0;

	for (uint32_t i = 0; i < copies->num_samples; i++) {
		struct error *err = attribute_of(paths, analysis,
						 copies->owner,
						 copies->samples[i], names[i]);

		if (err)
			return err;
		all += copies->weights[i];
	}
	for (uint32_t i = 0; i < copies->num_samples; i++) {
		uint64_t weight = 0;

		for (uint32_t j = 0; j < copies->num_samples; j++)
			if (strcmp(names[i], names[j]) == 0)
				weight += copies->weights[j];
		if (weight > most) {
			most = weight;
			(void)strcpy(ret, names[i]);
		}
	}
	*ret_part = all ? (double)most / (double)all : 1;
	return NULL;
}

struct error *copies_place(const struct copies *copies,
			   const struct analysis *analysis, struct paths *paths,
			   char text[PATH_TEXT_MAX], double *ret_part)
{
	CLEANUP(path_deinit) struct path path = { 0 };
	char attribute[ATTRIBUTE_MAX] = "";
	struct error *err = NULL;

	text[0] = '\0';
	*ret_part = 1;
	if (copies->container != GRAPH_NONE) {
		err = paths_find(paths, copies->container, &path);
		if (!err)
			paths_text(paths, &path, text);
	} else if (copies->owner) {
		err = best_attribute(copies, analysis, paths, attribute,
				     ret_part);
		(void)snprintf(text, PATH_TEXT_MAX, "%s%s",
			       copies->owner->name, attribute);
	}
	return err;
}
