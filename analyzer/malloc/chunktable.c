/*
 * All chunks of a heap of glibc's malloc; see chunktable.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/malloc/chunktable.h"

#include <stdlib.h>
#include <string.h>

enum {
	KIND_BITS = 15,		/* in a start, whose low bits are 0 */
	MOST = INT32_MAX,
};

/** The walk: starts, with kinds in their low bits, as they come. */
struct gathering {
	struct chunktable *table;
	uint64_t *starts;
	size_t count, most;
	uint64_t end;		/* of the last one */
};

/** How many there can be at most, by what the heap counts. */
static size_t bound(const struct glibc_heap *heap)
{
	size_t most = glibc_mapped(heap).count;

	for (size_t i = 0; i < glibc_num_arenas(heap); i++) {
		const struct glibc_arena *arena = glibc_arena(heap, i);

		most += arena->num_used + arena->num_free + arena->num_fast +
			arena->num_tcache + 1;
	}
	return most;
}

static struct error *gather(void *context, const struct glibc_chunk *chunk)
{
	struct gathering *gathering = context;
	struct rank *users = gathering->table->users;

	if (gathering->count == gathering->most)
		return error_new(ERROR_FORMAT, "malloc has more chunks than it "
				 "had a moment ago");
	// Those with mappings of their own come last, in between the others.
	if (gathering->end && chunk->start != gathering->end)
		rank_mark(users, gathering->end + CHUNK_HEADER);
	rank_mark(users, chunk->start + CHUNK_HEADER);
	gathering->starts[gathering->count++] =
		(chunk->start & ~(uint64_t)KIND_BITS) | chunk->kind;
	gathering->end = chunk->end;
	return NULL;
}

static struct error *fill(struct gathering *gathering, struct glibc_heap *heap,
			  struct spill *spill)
{
	struct chunktable *table = gathering->table;
	struct error *err = glibc_each_chunk(heap, gather, gathering);

	if (!err && gathering->end)
		rank_mark(table->users, gathering->end + CHUNK_HEADER);
	if (!err)
		err = rank_seal(table->users, MOST, &table->count);
	if (!err)
		err = spill_alloc(spill, table->count, &table->kinds_array);
	if (err)
		return err;
	table->low = rank_address(table->users, 0);
	table->high = rank_address(table->users, table->count - 1);
	table->kinds = table->kinds_array.data;
	memset(table->kinds, CHUNK_GAP, table->count);
	for (size_t i = 0; i < gathering->count; i++) {
		uint64_t start = gathering->starts[i] & ~(uint64_t)KIND_BITS;
		uint32_t id = rank_id(table->users, start + CHUNK_HEADER);

		if (id != RANK_NONE)
			table->kinds[id] = gathering->starts[i] & KIND_BITS;
	}
	return NULL;
}

struct error *chunktable_create(struct glibc_heap *heap, struct spill *spill,
				struct chunktable **ret)
{
	struct chunktable *table = calloc(1, sizeof(*table));
	struct gathering gathering = { .table = table, .most = bound(heap) };
	struct spill_array starts = { .fd = -1 };
	struct error *err;

	if (!table)
		return error_no_memory();
	err = rank_create(&table->users);
	if (!err)
		err = spill_alloc(spill, gathering.most * sizeof(uint64_t),
				  &starts);
	gathering.starts = starts.data;
	if (!err)
		err = fill(&gathering, heap, spill);
	spill_free(&starts);
	if (err) {
		chunktable_destroy(table);
		return err;
	}
	*ret = table;
	return NULL;
}

void chunktable_destroy(struct chunktable *table)
{
	if (!table)
		return;
	rank_destroy(table->users);
	spill_free(&table->kinds_array);
	free(table);
}

uint32_t chunktable_find(const struct chunktable *table, uint64_t address)
{
	uint32_t id = rank_below(table->users, address + CHUNK_HEADER);

	return id == RANK_NONE || table->kinds[id] == CHUNK_GAP ? CHUNK_NONE :
								  id;
}

/** Where the next mark is, from the cell on. */
static void settle(struct chunk_cursor *cursor)
{
	const struct rank *users = cursor->table->users;

	while (cursor->bits == 0) {
		if (++cursor->cell == RANK_CELLS) {
			cursor->cell = 0;
			cursor->chunk++;
		}
		if (cursor->chunk >= users->num_chunks) {
			cursor->user = 0;
			return;
		}
		cursor->bits = atomic_load_explicit(
			&users->chunks[cursor->chunk].cells[cursor->cell].bits,
			memory_order_relaxed);
	}
	cursor->user = users->chunks[cursor->chunk].address +
		       cursor->cell * 512 +
		       8 * (uint64_t)__builtin_ctzll(cursor->bits);
}

void chunk_cursor_set(struct chunk_cursor *cursor,
		      const struct chunktable *table, uint32_t id)
{
	const struct rank *users = table->users;
	uint64_t user = rank_address(users, id);
	size_t low = 0, high = users->num_chunks;

	*cursor = (struct chunk_cursor){ .table = table, .id = id };
	if (user == 0)
		return;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (users->chunks[middle].address <= user)
			low = middle;
		else
			high = middle;
	}
	cursor->chunk = low;
	cursor->cell = user >> 9 & (RANK_CELLS - 1);
	cursor->bits = atomic_load_explicit(
			&users->chunks[low].cells[cursor->cell].bits,
			memory_order_relaxed) & ~(rank_bit(user) - 1);
	cursor->user = user;
}

bool chunk_cursor_next(struct chunk_cursor *cursor, uint32_t *ret_id,
		       uint64_t *ret_user)
{
	if (cursor->user == 0)
		return false;
	*ret_id = cursor->id++;
	*ret_user = cursor->user;
	cursor->bits &= cursor->bits - 1;
	settle(cursor);
	return true;
}
