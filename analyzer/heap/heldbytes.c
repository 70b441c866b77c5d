/*
 * Data of tensors by the objects that keep it; see heldbytes.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/heldbytes.h"

#include <stdlib.h>

#include "image/base/guard.h"
#include "image/base/hashmap.h"

/** An owner and all that it lives by, as far as they are not there yet. */
static struct error *add_line(const struct dominators *dominators,
			      struct hashmap *known, uint32_t owner,
			      struct heldbytes *held, uint32_t *room)
{
	struct error *err = NULL;
	uint32_t number;

	for (uint32_t at = owner; !err && at < dominators->num_nodes;
	     at = dominators->parent[at]) {
		if (hashmap_get(known, (uint64_t)at + 1, &number))
			break;
		if (held->num_objects == *room) {
			uint32_t more = *room ? *room * 2 : 1024;
			struct held_object *grown =
				realloc(held->objects, more * sizeof(*grown));

			if (!grown)
				return error_no_memory();
			held->objects = grown;
			*room = more;
		}
		held->objects[held->num_objects++] =
			(struct held_object){ .object = at };
		err = hashmap_put(known, (uint64_t)at + 1, 0);
	}
	return err;
}

static int by_object(const void *a, const void *b)
{
	const struct held_object *x = a, *y = b;

	return (x->object > y->object) - (x->object < y->object);
}

uint32_t heldbytes_find(const struct heldbytes *held, uint32_t object)
{
	uint32_t low = 0, high = held->num_objects;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (held->objects[middle].object < object)
			low = middle + 1;
		else
			high = middle;
	}
	return low < held->num_objects && held->objects[low].object == object ?
		       low : GRAPH_NONE;
}

uint64_t heldbytes_device(const struct heldbytes *held, uint32_t object)
{
	uint32_t at = held ? heldbytes_find(held, object) : GRAPH_NONE;

	return at == GRAPH_NONE ? 0 : held->objects[at].device;
}

static void link_all(const struct dominators *dominators,
		     struct heldbytes *held)
{
	held->first = GRAPH_NONE;
	for (uint32_t i = 0; i < held->num_objects; i++)
		held->objects[i].child = GRAPH_NONE;
	// The last comes first here, so that lists are in order.
	for (uint32_t i = held->num_objects; i-- > 0;) {
		struct held_object *one = &held->objects[i];
		uint32_t parent = dominators->parent[one->object], *list;

		one->parent = parent < dominators->num_nodes ?
				      heldbytes_find(held, parent) : GRAPH_NONE;
		list = one->parent == GRAPH_NONE ?
			       &held->first : &held->objects[one->parent].child;
		one->next = *list;
		*list = i;
	}
}

/** Below before above: one follows once all below it have been taken. */
static struct error *put_in_order(struct heldbytes *held)
{
	CLEANUP(free_pointer) uint32_t *below =
		calloc((size_t)held->num_objects + 1, sizeof(*below));
	uint32_t head = 0, tail = 0;

	held->order = calloc((size_t)held->num_objects + 1,
			     sizeof(*held->order));
	if (!below || !held->order)
		return error_no_memory();
	for (uint32_t i = 0; i < held->num_objects; i++)
		if (held->objects[i].parent != GRAPH_NONE)
			below[held->objects[i].parent]++;
	for (uint32_t i = 0; i < held->num_objects; i++)
		if (below[i] == 0)
			held->order[tail++] = i;
	while (head < tail) {
		uint32_t parent = held->objects[held->order[head++]].parent;

		if (parent != GRAPH_NONE && --below[parent] == 0)
			held->order[tail++] = parent;
	}
	return tail == held->num_objects ? NULL :
		       error_new(ERROR_FORMAT, "objects live by each other in "
				 "a circle");
}

static void sum_up(struct heldbytes *held)
{
	for (size_t i = 0; i < held->num_storages; i++) {
		const struct held_storage *storage = &held->storages[i];
		uint32_t at = heldbytes_find(held, storage->owner);

		if (storage->flags & HELD_IN_HOST) {
			held->host += storage->bytes;
			if (at != GRAPH_NONE)
				held->objects[at].host += storage->bytes;
			continue;
		}
		held->device += storage->bytes;
		if (storage->owner != DOMINATOR_UNREACHED)
			held->device_reached += storage->bytes;
		if (at != GRAPH_NONE)
			held->objects[at].device += storage->bytes;
	}
	for (uint32_t i = 0; i < held->num_objects; i++) {
		const struct held_object *one = &held->objects[held->order[i]];

		if (one->parent == GRAPH_NONE)
			continue;
		held->objects[one->parent].device += one->device;
		held->objects[one->parent].host += one->host;
	}
}

struct error *heldbytes_make(const struct dominators *dominators,
			     struct heldbytes *ret)
{
	struct hashmap known = { 0 };
	struct error *err = NULL;
	uint32_t room = 0;

	for (size_t i = 0; !err && i < ret->num_storages; i++)
		err = add_line(dominators, &known, ret->storages[i].owner, ret,
			       &room);
	hashmap_deinit(&known);
	if (err)
		return err;
	if (ret->num_objects)
		qsort(ret->objects, ret->num_objects, sizeof(*ret->objects),
		      by_object);
	link_all(dominators, ret);
	err = put_in_order(ret);
	if (!err)
		sum_up(ret);
	return err;
}

void heldbytes_destroy(struct heldbytes *held)
{
	if (!held)
		return;
	if (!held->borrowed)
		free(held->storages);
	free(held->objects);
	free(held->order);
	free(held);
}

/* --- groups ---------------------------------------------------------------- */

static uint32_t group_of(const uint32_t *kinds, const uint32_t *groups,
			 uint32_t object)
{
	return groups ? groups[kinds[object]] : kinds[object];
}

struct error *heldbytes_by_group(const struct heldbytes *held,
				 const uint32_t *kinds, const uint32_t *groups,
				 uint32_t num_groups, uint64_t **ret)
{
	/* of each group, how many are on the way from the top to here */
	CLEANUP(free_pointer) uint32_t *open = NULL;
	CLEANUP(free_pointer) uint64_t *sums = NULL;
	uint32_t at;

	*ret = NULL;
	if (!heldbytes_has_device(held))
		return NULL;
	open = calloc((size_t)num_groups + 1, sizeof(*open));
	sums = calloc((size_t)num_groups + 1, sizeof(*sums));
	if (!open || !sums)
		return error_no_memory();
	at = held->first;
	while (at != GRAPH_NONE) {
		const struct held_object *one = &held->objects[at];
		uint32_t group = group_of(kinds, groups, one->object);

		if (open[group] == 0)
			sums[group] += one->device;
		if (one->child != GRAPH_NONE) {
			open[group]++;
			at = one->child;
			continue;
		}
		while (one->next == GRAPH_NONE && one->parent != GRAPH_NONE) {
			one = &held->objects[one->parent];
			open[group_of(kinds, groups, one->object)]--;
		}
		at = one->next;
	}
	*ret = TAKE(sums);
	return NULL;
}
