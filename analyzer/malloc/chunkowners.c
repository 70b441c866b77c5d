/*
 * Who holds each chunk of malloc; see chunkowners.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/malloc/chunkowners.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/malloc/chunkownersparts.h"
#include "image/base/guard.h"

#define NO_HEAD UINT32_MAX

/* --- what leads on from chunk to chunk --------------------------------------- */

/** Chunks in the order in which they are met, and where the edges of each are. */
struct flood {
	struct chunkowners *owners;
	uint32_t *first;	/* by id: index of its first edge, plus one */
	uint32_t *queue;
	struct spill_array first_array, queue_array;
	uint32_t met, done;
	/* buffers that wait, where the queue has been passed already */
	uint32_t later, taken;
};

static struct error *flood_init(struct flood *flood, struct chunkowners *owners)
{
	uint64_t size = owners->table->count * (uint64_t)sizeof(uint32_t);
	struct error *err;

	*flood = (struct flood){ .owners = owners };
	if (owners->num_edges >= UINT32_MAX)
		return error_new(ERROR_LIMIT, "more pointers from chunk to chunk "
				 "of malloc than this version can number");
	err = spill_alloc(&owners->spill, size, &flood->first_array);
	if (!err)
		err = spill_alloc(&owners->spill, size, &flood->queue_array);
	if (err)
		return err;
	flood->first = flood->first_array.data;
	flood->queue = flood->queue_array.data;
	for (uint32_t i = (uint32_t)owners->num_edges; i-- > 0;)
		flood->first[owners->edges[i].from & CHUNK_EDGE_ID] = i + 1;
	return NULL;
}

static void flood_deinit(struct flood *flood)
{
	spill_free(&flood->first_array);
	spill_free(&flood->queue_array);
}

/** An edge of a chunk, from its first one on; NULL: there are no more. */
static const struct chunk_edge *edge_at(const struct flood *flood, uint32_t id,
					uint32_t i)
{
	const struct chunkowners *owners = flood->owners;
	uint32_t at = flood->first[id];

	return at && at - 1 + (uint64_t)i < owners->num_edges &&
		       (owners->edges[at - 1 + i].from & CHUNK_EDGE_ID) == id ?
			       &owners->edges[at - 1 + i] : NULL;
}

/** What a chunk leads to becomes its owner's, unless it has a better one. */
static void lead_on(struct flood *flood, uint32_t id, enum chunk_owner owner)
{
	struct chunkowners *owners = flood->owners;
	uint32_t number = chunk_key_number(chunk_known(owners, id));
	const struct chunk_edge *edge;

	for (uint32_t i = 0; (edge = edge_at(flood, id, i)) != NULL; i++) {
		uint32_t to = edge->to & CHUNK_EDGE_ID;

		if (chunk_key_owner(chunk_known(owners, to)) <= owner)
			continue;
		atomic_store_explicit(
			&owners->keys[to],
			chunk_key(owner, !(edge->to & CHUNK_EDGE_INSIDE),
				  number), memory_order_relaxed);
		flood->queue[flood->met++] = to;
	}
}

/**
 * The next chunk whose edges are to be followed. Buffers come last: in parts that
 * were never written to they have what malloc had there before, and a list that a
 * few such words lead into would be theirs.
 */
static bool take_next(struct flood *flood, uint32_t *ret)
{
	while (flood->done < flood->met) {
		const struct chunk_edge *edge;

		*ret = flood->queue[flood->done++];
		edge = edge_at(flood, *ret, 0);
		if (edge && !(edge->from & CHUNK_EDGE_BUFFER))
			return true;
		if (edge)
			flood->queue[flood->later++] = *ret;
	}
	if (flood->taken == flood->later)
		return false;
	*ret = flood->queue[flood->taken++];
	return true;
}

/**
 * From all chunks that have an owner of these kinds on, nearest first: a queue.
 * Each chunk is met once, as later owners are of weaker kinds.
 */
static void spread(struct flood *flood, enum chunk_owner from,
		   enum chunk_owner owner)
{
	struct chunkowners *owners = flood->owners;
	uint32_t id;

	for (id = 0; id < owners->table->count; id++) {
		unsigned int now = chunk_key_owner(chunk_known(owners, id));

		if (now >= from && now <= owner)
			flood->queue[flood->met++] = id;
	}
	flood->later = flood->taken = flood->done;
	while (take_next(flood, &id))
		lead_on(flood, id, owner);
}

/* --- what is left ---------------------------------------------------------------- */

/** The index of a lost chunk, or NO_HEAD. */
static uint32_t lost_index(const struct chunkowners *owners, uint32_t id)
{
	uint32_t low = 0, high = owners->num_lost;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (owners->lost[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < owners->num_lost && owners->lost[low] == id ? low :
								   NO_HEAD;
}

/**
 * Whatever this one leads to is lost with it. What has been the head of others
 * is none any more; those find the new one through it.
 */
static void lose_from(struct flood *flood, uint32_t head)
{
	struct chunkowners *owners = flood->owners;
	const struct chunk_edge *edge;

	flood->met = flood->done = 0;
	owners->heads[head] = head;
	flood->queue[flood->met++] = head;
	while (flood->done < flood->met) {
		uint32_t id = owners->lost[flood->queue[flood->done++]];

		for (uint32_t i = 0; (edge = edge_at(flood, id, i)); i++) {
			uint32_t to = lost_index(owners, edge->to &
						 CHUNK_EDGE_ID);

			if (to == NO_HEAD || to == head)
				continue;
			if (owners->heads[to] == NO_HEAD)
				flood->queue[flood->met++] = to;
			if (owners->heads[to] == NO_HEAD ||
			    owners->heads[to] == to)
				owners->heads[to] = head;
		}
	}
}

/** Heads lead to heads, upwards: give each chunk the last one. */
static void settle_heads(struct chunkowners *owners)
{
	for (uint32_t i = 0; i < owners->num_lost; i++) {
		uint32_t head = i, next;

		while (owners->heads[head] != head)
			head = owners->heads[head];
		for (uint32_t at = i; at != head; at = next) {
			next = owners->heads[at];
			owners->heads[at] = head;
		}
	}
}

static bool is_lost(const struct chunkowners *owners, uint32_t id)
{
	return chunk_is_used(owners->table, id) && chunk_known(owners, id) == 0;
}

static struct error *find_lost(struct flood *flood)
{
	struct chunkowners *owners = flood->owners;
	uint32_t count = 0;
	struct error *err;

	for (uint32_t id = 0; id < owners->table->count; id++)
		count += is_lost(owners, id);
	err = spill_alloc(&owners->spill, count * (uint64_t)sizeof(uint32_t),
			  &owners->lost_array);
	if (!err)
		err = spill_alloc(&owners->spill,
				  count * (uint64_t)sizeof(uint32_t),
				  &owners->heads_array);
	if (err)
		return err;
	owners->lost = owners->lost_array.data;
	owners->heads = owners->heads_array.data;
	for (uint32_t id = 0; id < owners->table->count; id++)
		if (is_lost(owners, id))
			owners->lost[owners->num_lost++] = id;
	memset(owners->heads, 0xFF, count * sizeof(*owners->heads));
	for (uint32_t i = 0; i < count; i++)
		if (owners->heads[i] == NO_HEAD)
			lose_from(flood, i);
	settle_heads(owners);
	return NULL;
}

static struct error *find_held(struct chunkowners *owners)
{
	struct flood flood;
	struct error *err = flood_init(&flood, owners);

	if (!err) {
		spread(&flood, CHUNK_OBJECT, CHUNK_BY_OBJECT);
		for (enum chunk_owner owner = CHUNK_BY_PYMALLOC;
		     owner <= CHUNK_BY_MEMORY; owner++)
			spread(&flood, owner, owner);
		err = find_lost(&flood);
	}
	flood_deinit(&flood);
	spill_free(&owners->edges_array);
	owners->edges = NULL;
	return err;
}

/* --- making ---------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
	const struct pyh_type *x = *(const struct pyh_type *const *)a;
	const struct pyh_type *y = *(const struct pyh_type *const *)b;

	return (x->address > y->address) - (x->address < y->address);
}

/** Types in the order of their addresses, as ids depend on who met them first. */
static struct error *number_types(struct chunkowners *owners,
				  const struct pyh_types *types)
{
	uint32_t count = pyh_types_count(types);

	owners->types = calloc(count + 1, sizeof(*owners->types));
	owners->type_numbers = calloc(count + 1, sizeof(*owners->type_numbers));
	if (!owners->types || !owners->type_numbers)
		return error_no_memory();
	owners->num_types = count;
	for (uint32_t i = 0; i < count; i++)
		owners->types[i] = pyh_types_get(types, i);
	qsort(owners->types, count, sizeof(*owners->types), by_address);
	for (uint32_t i = 0; i < count; i++)
		owners->type_numbers[owners->types[i]->id] = i;
	return NULL;
}

bool chunk_type_at(const struct chunkowners *owners, uint64_t address)
{
	uint32_t low = 0, high = owners->num_types;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (owners->types[middle]->address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < owners->num_types &&
	       owners->types[low]->address == address;
}

/** Python's heap, where there is one. */
static struct error *find_python(struct chunkowners *owners,
				 struct opened *opened)
{
	struct pyh_runtime *runtime;
	struct pyh_types *types;
	struct error *err = opened_runtime(opened, &runtime);

	if (err && err->kind != ERROR_NO_MEMORY) {
		error_free(err);
		return NULL;
	}
	if (!err)
		err = opened_census(opened, &owners->census);
	if (!err)
		err = opened_types(opened, &types);
	if (!err)
		err = number_types(owners, types);
	if (err)
		return err;
	owners->runtime = runtime;
	owners->workers = pyh_census_workers(owners->census);
	owners->coverage.objects = true;
	return NULL;
}

static struct error *make(struct chunkowners *owners, struct opened *opened,
			  struct glibc_heap *heap)
{
	struct error *err = find_python(owners, opened);

	if (!err)
		err = chunktable_create(heap, &owners->spill, &owners->table);
	if (!err)
		err = chunk_filter_make(owners);
	if (!err && owners->census)
		err = chunk_data_find(owners, opened);
	if (!err)
		err = spill_alloc(&owners->spill, owners->table->count *
				  (uint64_t)sizeof(*owners->keys),
				  &owners->keys_array);
	if (err)
		return err;
	owners->keys = owners->keys_array.data;
	if (owners->census)
		err = chunk_claims_find(owners);
	if (!err)
		err = chunk_words_find(owners);
	return err ? err : find_held(owners);
}

struct error *chunkowners_create(struct opened *opened,
				 struct glibc_heap *heap,
				 struct chunkowners **ret)
{
	struct chunkowners *owners = calloc(1, sizeof(*owners));
	struct error *err;

	if (!owners)
		return error_no_memory();
	owners->image = opened_image(opened);
	owners->workers = opened_workers(opened);
	owners->spill.folder = opened_tmp_dir(opened);
	owners->spill.budget = opened_memory(opened);
	err = make(owners, opened, heap);
	if (err) {
		chunkowners_destroy(owners);
		return err;
	}
	*ret = owners;
	return NULL;
}

void chunkowners_destroy(struct chunkowners *owners)
{
	if (!owners)
		return;
	chunktable_destroy(owners->table);
	free(owners->filter);
	free(owners->data);
	free(owners->types);
	free(owners->type_numbers);
	native_stacks_deinit(&owners->stacks);
	native_stacks_deinit(&owners->locals);
	spill_free(&owners->keys_array);
	spill_free(&owners->edges_array);
	spill_free(&owners->lost_array);
	spill_free(&owners->heads_array);
	spill_deinit(&owners->spill);
	free(owners);
}

/* --- asking ------------------------------------------------------------------------ */

uint32_t chunkowners_count(const struct chunkowners *owners)
{
	return owners->table->count;
}

struct chunk_coverage chunkowners_coverage(const struct chunkowners *owners)
{
	return owners->coverage;
}

static void fill_lost(const struct chunkowners *owners, struct chunk_row *row)
{
	uint32_t index = lost_index(owners, row->id);

	row->head = owners->lost[owners->heads[index]];
	row->owner = row->head == row->id ? CHUNK_LOST : CHUNK_LOST_WITH;
}

/** All but its place. */
static void fill(const struct chunkowners *owners, struct chunk_row *row)
{
	uint32_t key = chunk_known(owners, row->id);
	uint32_t number = chunk_key_number(key);

	row->kind = owners->table->kinds[row->id];
	if (!chunk_is_used(owners->table, row->id))
		return;
	if (key == 0) {
		fill_lost(owners, row);
		return;
	}
	row->owner = chunk_key_owner(key);
	row->inside = !(key & CHUNK_KEY_BEGINS);
	if (row->owner <= CHUNK_BY_OBJECT)
		row->type = owners->types[number];
	else if (row->owner == CHUNK_BY_MODULE)
		row->module = modules_get(owners->image->modules, number);
	else if (row->owner == CHUNK_BY_THREAD)
		row->tid = owners->image->notes.threads[number].tid;
}

/** The next chunk that is no gap. */
static bool next_row(const struct chunkowners *owners,
		     struct chunk_cursor *cursor, struct chunk_row *row)
{
	uint64_t user;

	*row = (struct chunk_row){ 0 };
	do {
		if (!chunk_cursor_next(cursor, &row->id, &user))
			return false;
	} while (owners->table->kinds[row->id] == CHUNK_GAP);
	row->start = user - CHUNK_HEADER;
	row->end = cursor->user - CHUNK_HEADER;
	fill(owners, row);
	return true;
}

struct error *chunkowners_each(const struct chunkowners *owners,
			       chunk_row_fn *fn, void *context)
{
	struct chunk_cursor cursor;
	struct error *err = NULL;
	struct chunk_row row;

	chunk_cursor_set(&cursor, owners->table, 0);
	while (!err && next_row(owners, &cursor, &row))
		err = fn(context, &row);
	return err;
}

bool chunkowners_get(const struct chunkowners *owners, uint32_t id,
		     struct chunk_row *ret)
{
	struct chunk_cursor cursor;

	if (id >= owners->table->count || owners->table->kinds[id] == CHUNK_GAP)
		return false;
	chunk_cursor_set(&cursor, owners->table, id);
	return next_row(owners, &cursor, ret);
}

bool chunkowners_at(const struct chunkowners *owners, uint64_t address,
		    struct chunk_row *ret)
{
	return chunkowners_get(owners, chunktable_find(owners->table, address),
			       ret);
}
