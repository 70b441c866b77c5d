/*
 * Memory that holds numbers and no pointers: the data of tensors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It is most of the memory of many processes, and need not be read then.
 */
#include <stdlib.h>

#include "analyzer/malloc/chunkownersparts.h"
#include "analyzer/tensors/tensors.h"
#include "image/base/guard.h"

enum {
	/* bytes: to leave out less costs more than to look at it */
	LEAST = 4096,
	BESIDE = 4096,
};

static int by_start(const void *a, const void *b)
{
	const struct chunk_data *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/** Where memory ends that begins at an address; what a storage says is a claim. */
static uint64_t end_of(const struct chunkowners *owners, uint64_t address,
		       uint64_t size)
{
	const struct memory *memory = owners->image->memory;
	uint64_t end = size > UINT64_MAX - address ? UINT64_MAX :
						     address + size;
	uint32_t id = chunktable_find(owners->table, address);
	const struct memory_range *range;
	struct chunk_cursor cursor;
	uint64_t user, at = address;

	if (id != CHUNK_NONE) {
		chunk_cursor_set(&cursor, owners->table, id);
		// The next one has its header before it.
		if (chunk_cursor_next(&cursor, &id, &user) && cursor.user &&
		    cursor.user - CHUNK_HEADER < end)
			end = cursor.user - CHUNK_HEADER;
	}
	while (at < end && (range = memory_find(memory, at)))
		at = range->end;
	return at < end ? at : end;
}

static void merge(struct chunkowners *owners)
{
	struct chunk_data *data = owners->data;
	size_t kept = 0;

	qsort(data, owners->num_data, sizeof(*data), by_start);
	for (size_t i = 0; i < owners->num_data; i++) {
		if (kept && data[i].start <= data[kept - 1].end) {
			if (data[i].end > data[kept - 1].end)
				data[kept - 1].end = data[i].end;
		} else {
			data[kept++] = data[i];
		}
	}
	owners->num_data = kept;
}

struct error *chunk_data_find(struct chunkowners *owners, struct opened *opened)
{
	CLEANUP(tensors_release) struct tensors *tensors = NULL;
	struct tensors_found found;
	struct error *err = tensors_look(opened, &tensors);

	if (err || !tensors)
		return err;
	found = tensors_found(tensors);
	owners->data = calloc(found.num_storages + 1, sizeof(*owners->data));
	if (!owners->data)
		return error_no_memory();
	for (size_t i = 0; i < found.num_storages; i++) {
		const struct torch_storage *read = &found.storages[i].read;
		uint64_t end;

		if (read->device != 0 || read->data == 0 || read->bytes < LEAST)
			continue;
		end = end_of(owners, read->data, read->bytes);
		if (end > read->data)
			owners->data[owners->num_data++] = (struct chunk_data){
				read->data, end };
	}
	merge(owners);
	return NULL;
}

/** The first that ends above an address; num_data: none does. */
static size_t above(const struct chunkowners *owners, uint64_t address)
{
	size_t low = 0, high = owners->num_data;

	if (high == 0 || address >= owners->data[high - 1].end)
		return high;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (owners->data[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint64_t chunk_data_skip(const struct chunkowners *owners, uint64_t *start,
			 uint64_t end)
{
	const struct chunk_data *data = owners->data;
	size_t i = above(owners, *start);

	for (; i < owners->num_data && data[i].start <= *start; i++)
		*start = data[i].end;
	return i < owners->num_data && data[i].start < end ? data[i].start :
							     end;
}

bool chunk_data_beside(const struct chunkowners *owners, uint64_t start,
		       uint64_t end)
{
	size_t i = above(owners, start > BESIDE ? start - BESIDE : 0);

	return i < owners->num_data && owners->data[i].start <= end + BESIDE;
}
