/*
 * Chunks of malloc summed up; see chunkgroups.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/malloc/chunkgroups.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/malloc/chunkownersparts.h"
#include "analyzer/malloc/cxxclasses.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"

static void add(struct chunk_sum *sum, uint64_t bytes)
{
	sum->count++;
	sum->bytes += bytes;
}

/** Room for one more, all zero; NULL without memory. */
static void *grow(void *items, size_t count, size_t size)
{
	size_t room = count < 16 ? 16 : 2 * count;
	uint8_t *grown = items;

	// At powers of two there is no more room.
	if (count < 16 ? count == 0 : (count & (count - 1)) == 0)
		grown = reallocarray(items, room, size);
	if (grown)
		memset(grown + count * size, 0, size);
	return grown;
}

/* --- by owner -------------------------------------------------------------------- */

struct grouping {
	struct chunk_groups *groups;
	struct hashmap known;		/* of owners: index, plus one */
	uint64_t key;			/* of the last one */
	uint32_t group;
};

/** A number for each owner; pointers of ours have fewer bits. */
static uint64_t key_of(const struct chunk_row *row)
{
	if (row->type)
		return (uintptr_t)row->type;
	if (row->module)
		return (uintptr_t)row->module;
	return (uint64_t)row->owner << 56 | row->tid;
}

static struct error *group_of(struct grouping *grouping,
			      const struct chunk_row *row)
{
	struct chunk_groups *groups = grouping->groups;
	uint64_t key = key_of(row);
	struct chunk_group *items;

	if (key == grouping->key)
		return NULL;
	grouping->key = key;
	if (hashmap_get(&grouping->known, key, &grouping->group))
		return NULL;
	items = grow(groups->items, groups->count, sizeof(*items));
	if (!items)
		return error_no_memory();
	groups->items = items;
	grouping->group = (uint32_t)groups->count++;
	items[grouping->group] = (struct chunk_group){
		.owner = row->type ? CHUNK_OBJECT : row->owner,
		.type = row->type, .module = row->module, .tid = row->tid,
	};
	return hashmap_put(&grouping->known, key, grouping->group);
}

static struct error *add_row(void *context, const struct chunk_row *row)
{
	struct grouping *grouping = context;
	uint64_t bytes = row->end - row->start;
	struct chunk_group *group;
	struct error *err;

	if (row->owner == CHUNK_UNUSED)
		return NULL;
	err = group_of(grouping, row);
	if (err)
		return err;
	group = &grouping->groups->items[grouping->group];
	add(&group->all, bytes);
	add(&group->parts[row->owner], bytes);
	if (row->inside)
		add(&group->inside, bytes);
	if (bytes > group->largest) {
		group->largest = bytes;
		group->sample = row->start + CHUNK_HEADER;
	}
	return NULL;
}

static int largest_first(const void *a, const void *b)
{
	const struct chunk_group *x = a, *y = b;

	if (x->all.bytes != y->all.bytes)
		return x->all.bytes > y->all.bytes ? -1 : 1;
	return (x->sample > y->sample) - (x->sample < y->sample);
}

struct error *chunk_groups_make(const struct chunkowners *owners,
				struct chunk_groups *ret)
{
	struct grouping grouping = { .groups = ret };
	struct error *err;

	*ret = (struct chunk_groups){ 0 };
	err = chunkowners_each(owners, add_row, &grouping);
	hashmap_deinit(&grouping.known);
	if (ret->count)
		qsort(ret->items, ret->count, sizeof(*ret->items),
		      largest_first);
	return err;
}

void chunk_groups_deinit(struct chunk_groups *groups)
{
	free(groups->items);
	*groups = (struct chunk_groups){ 0 };
}

/* --- what is lost ---------------------------------------------------------------- */

struct losing {
	const struct chunkowners *owners;
	struct lost_groups *groups;
	struct chunk_sum *with;		/* by index of lost: of heads */
	uint32_t index;			/* of lost: of the next one */
	struct cxx_classes classes;
	struct memory_reader memory;
	struct hashmap known;		/* of size and class */
};

/** Lost ones come in the order of their ids, as they are in lost. */
static bool next_lost(struct losing *losing, const struct chunk_row *row,
		      uint32_t *ret)
{
	if (row->owner != CHUNK_LOST && row->owner != CHUNK_LOST_WITH)
		return false;
	*ret = losing->index++;
	return true;
}

/** Sum up what is lost with each head. */
static struct error *add_with(void *context, const struct chunk_row *row)
{
	struct losing *losing = context;
	uint64_t size = row->end - row->start;
	uint32_t index;

	if (next_lost(losing, row, &index) && row->owner == CHUNK_LOST_WITH) {
		add(&losing->with[losing->owners->heads[index]], size);
		add(&losing->groups->with, size);
	}
	return NULL;
}

static struct error *lost_group_of(struct losing *losing, uint64_t size,
				   uint32_t class, uint32_t *ret)
{
	struct lost_groups *groups = losing->groups;
	uint64_t key = size << 20 | class;
	struct lost_group *items;

	if (hashmap_get(&losing->known, key, ret))
		return NULL;
	items = grow(groups->items, groups->count, sizeof(*items));
	if (!items)
		return error_no_memory();
	groups->items = items;
	*ret = (uint32_t)groups->count++;
	items[*ret].size = size;
	if (class)
		items[*ret].symbol = losing->classes.items[class - 1].symbol;
	return hashmap_put(&losing->known, key, *ret);
}

static struct error *add_head(void *context, const struct chunk_row *row)
{
	struct losing *losing = context;
	uint64_t size = row->end - row->start, word = 0;
	uint32_t class = 0, index, at;
	struct lost_group *group;
	struct error *err;

	if (!next_lost(losing, row, &index) || row->owner != CHUNK_LOST)
		return NULL;
	(void)memory_try_u64(&losing->memory, row->start + CHUNK_HEADER, &word);
	err = cxx_class_of(&losing->classes, word, &class);
	if (!err)
		err = lost_group_of(losing, size, class & 0xFFFFF, &at);
	if (err)
		return err;
	group = &losing->groups->items[at];
	if (group->heads.count < CHUNK_SAMPLES)
		group->samples[group->heads.count] = row->start + CHUNK_HEADER;
	add(&group->heads, size);
	add(&losing->groups->heads, size);
	group->with.count += losing->with[index].count;
	group->with.bytes += losing->with[index].bytes;
	return NULL;
}

static int lost_first(const void *a, const void *b)
{
	const struct lost_group *x = a, *y = b;
	uint64_t left = x->heads.bytes + x->with.bytes;
	uint64_t right = y->heads.bytes + y->with.bytes;

	if (left != right)
		return left > right ? -1 : 1;
	return (x->samples[0] > y->samples[0]) - (x->samples[0] < y->samples[0]);
}

static void losing_deinit(struct losing *losing)
{
	free(losing->with);
	cxx_classes_deinit(&losing->classes);
	memory_reader_deinit(&losing->memory);
	hashmap_deinit(&losing->known);
}

struct error *lost_groups_make(const struct chunkowners *owners,
			       struct image *image, struct lost_groups *ret)
{
	CLEANUP(losing_deinit) struct losing losing = { .owners = owners,
							.groups = ret };
	struct error *err;

	*ret = (struct lost_groups){ 0 };
	losing.with = calloc((size_t)owners->num_lost + 1,
			     sizeof(*losing.with));
	if (!losing.with)
		return error_no_memory();
	if (owners->num_lost == 0)
		return NULL;
	err = memory_reader_init(&losing.memory, image->memory);
	if (!err)
		err = cxx_classes_init(&losing.classes, image);
	if (err)
		return err;
	err = chunkowners_each(owners, add_with, &losing);
	losing.index = 0;
	if (!err)
		err = chunkowners_each(owners, add_head, &losing);
	if (ret->count)
		qsort(ret->items, ret->count, sizeof(*ret->items), lost_first);
	return err;
}

void lost_groups_deinit(struct lost_groups *groups)
{
	free(groups->items);
	*groups = (struct lost_groups){ 0 };
}
