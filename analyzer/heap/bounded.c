/*
 * Containers with a bound; see bounded.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/bounded.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/lookup.h"
#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "pyheap/references/pyrefs.h"
#include "pyheap/sizes/pycollections.h"
#include "pyheap/values/pystr.h"
#include "pyheap/values/pyvalue.h"

enum {
	ANCESTORS = 3,		/* queue, its dict, the deque in that */
	NUMBER_MAX = 24,	/* bytes of a number as text */
	ENTRIES_MAX = 1 << 12,	/* of a dict of attributes that are looked at */
};

struct bounded {
	const struct analysis *analysis;
	struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	struct memory_reader memory, body;
	struct pyh_value_reader *values;
};

struct error *bounded_open(struct opened *opened,
			   const struct analysis *analysis,
			   struct bounded **ret)
{
	struct bounded *bounded = calloc(1, sizeof(*bounded));
	struct pyh_types *types = NULL;
	struct error *err;

	if (!bounded)
		return error_no_memory();
	bounded->analysis = analysis;
	err = opened_runtime(opened, &bounded->runtime);
	if (!err)
		err = opened_types(opened, &types);
	if (!err)
		err = opened_shapes(opened, &bounded->shapes);
	if (!err)
		err = memory_reader_init(&bounded->memory,
					 opened_image(opened)->memory);
	if (!err)
		err = memory_reader_init(&bounded->body,
					 opened_image(opened)->memory);
	if (!err)
		err = pyh_value_reader_create(bounded->runtime, types,
					      bounded->shapes,
					      &bounded->values);
	if (err) {
		bounded_close(bounded);
		return err;
	}
	*ret = bounded;
	return NULL;
}

void bounded_close(struct bounded *bounded)
{
	if (!bounded)
		return;
	memory_reader_deinit(&bounded->memory);
	memory_reader_deinit(&bounded->body);
	pyh_value_reader_destroy(bounded->values);
	free(bounded);
}

/* --- bounds ---------------------------------------------------------------- */

/** Items of a container at an address. */
static bool count_items(struct bounded *bounded, const struct pyh_type *type,
			uint64_t address, uint64_t *ret)
{
	struct pyh_collection collection;
	size_t size = (size_t)type->basicsize;
	const void *body;

	if (type->kind != PYH_KIND_LIST && type->kind != PYH_KIND_DEQUE)
		return false;
	body = memory_view(&bounded->body, address, size);
	if (!body || pyh_collection_read(bounded->runtime, type, address, body,
					 size, &bounded->memory,
					 &collection) != PYH_FOUND)
		return false;
	*ret = collection.used;
	return true;
}

/** A bound that is there, and not far away. */
static bool is_near(uint64_t items, uint64_t bound)
{
	// Negative: there is none.
	return bound > 0 && bound >> 63 == 0 && items >= bound / 2;
}

static bool is_full_cache(struct bounded *bounded, uint64_t address)
{
	uint64_t bound, dict, items;

	return pyh_field(bounded->runtime, &bounded->memory, address,
			 PYH_LRUCACHE_MAXSIZE, &bound) &&
	       pyh_field(bounded->runtime, &bounded->memory, address,
			 PYH_LRUCACHE_CACHE, &dict) &&
	       pyh_field(bounded->runtime, &bounded->memory, dict,
			 PYH_DICT_MA_USED, &items) &&
	       is_near(items, bound);
}

static bool is_full_deque(struct bounded *bounded, const struct pyh_type *type,
			  uint64_t address)
{
	uint64_t bound, items;

	return pyh_field(bounded->runtime, &bounded->memory, address,
			 PYH_DEQUE_MAXLEN, &bound) &&
	       count_items(bounded, type, address, &items) &&
	       is_near(items, bound);
}

/* --- queues ---------------------------------------------------------------- */

/* As queue.Queue and asyncio.Queue call it. */
static const char *const bound_names[] = { "maxsize", "_maxsize" };

enum { NUM_NAMES = sizeof(bound_names) / sizeof(bound_names[0]) };

struct looking {
	struct bounded *bounded;
	uint64_t bound;		/* address of an int, or 0 */
};

static bool is_bound_name(struct bounded *bounded, uint64_t address)
{
	struct pyh_str str;
	char name[16];

	if (pyh_str_parse(bounded->runtime, &bounded->memory, address, NULL, 0,
			  &str) != PYH_FOUND ||
	    !str.ascii || str.length >= sizeof(name) ||
	    !memory_try_read(&bounded->memory, str.data, name, str.length))
		return false;
	for (int i = 0; i < NUM_NAMES; i++)
		if (strlen(bound_names[i]) == str.length &&
		    memcmp(bound_names[i], name, str.length) == 0)
			return true;
	return false;
}

static bool look_for_bound(void *context, const struct pyh_ref *ref)
{
	struct looking *looking = context;
	struct bounded *bounded = looking->bounded;
	uint64_t values[NUM_NAMES] = { 0 }, budget = ENTRIES_MAX;

	if (ref->kind == PYH_REF_ATTRIBUTE &&
	    is_bound_name(bounded, ref->key))
		looking->bound = ref->address;
	if (ref->kind == PYH_REF_DICT &&
	    pyh_dict_find(bounded->runtime, &bounded->memory, ref->address,
			  bound_names, NUM_NAMES, values, &budget) == PYH_FOUND)
		looking->bound = values[0] ? values[0] : values[1];
	return looking->bound == 0;
}

/** The bound of a queue that is an instance of a class; 0: there is none. */
static uint64_t bound_of_queue(struct bounded *bounded, uint32_t queue)
{
	const struct heapgraph *heap = bounded->analysis->heap;
	struct looking looking = { .bounded = bounded };
	struct pyh_referrer referrer = {
		.runtime = bounded->runtime, .shapes = bounded->shapes,
		.type = heapgraph_type(heap, queue),
		.address = heapgraph_address(heap, queue),
		.memory = &bounded->memory,
	};
	char text[NUMBER_MAX], *end;
	unsigned long long bound;

	referrer.extent = lookup_extent(bounded->runtime, referrer.type,
					referrer.address, &bounded->body,
					&bounded->memory);
	pyh_refs_each(&referrer, look_for_bound, &looking);
	if (looking.bound == 0)
		return 0;
	pyh_value_repr(bounded->values, looking.bound, text, sizeof(text));
	errno = 0;
	bound = strtoull(text, &end, 10);
	return *end || errno || text[0] == '-' ? 0 : bound;
}

/** queue.Queue, asyncio.Queue and whatever is derived by the usual name. */
static bool is_queue(const struct pyh_type *type)
{
	return type->module && strstr(type->name, "Queue") &&
	       !type->is_static;
}

bool bounded_is(struct bounded *bounded, uint32_t object)
{
	const struct heapgraph *heap = bounded->analysis->heap;
	uint64_t items = 0;
	uint32_t at = object;

	(void)count_items(bounded, heapgraph_type(heap, object),
			  heapgraph_address(heap, object), &items);
	for (int i = 0; i <= ANCESTORS && at < heap->count; i++) {
		const struct pyh_type *type = heapgraph_type(heap, at);
		uint64_t address = heapgraph_address(heap, at);

		if (strcmp(type->name, "functools._lru_cache_wrapper") == 0)
			return is_full_cache(bounded, address);
		if (at == object && type->kind == PYH_KIND_DEQUE &&
		    is_full_deque(bounded, type, address))
			return true;
		if (items > 0 && is_queue(type))
			return is_near(items, bound_of_queue(bounded, at));
		at = bounded->analysis->dominators.parent[at];
	}
	return false;
}
