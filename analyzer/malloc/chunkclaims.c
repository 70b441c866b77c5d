/*
 * Chunks of malloc that objects of Python lie in, own, or lead to.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each object is shown once, by all workers, and its buffers are looked up in the
 * table of chunks: nothing is looked for by chunk. Of objects that lie elsewhere,
 * and of their small buffers in arenas, each word is looked at here, as only here
 * it is known of which type they are; what lies in chunks is read with them.
 */
#include <stdlib.h>

#include "analyzer/malloc/chunkownersparts.h"
#include "image/base/guard.h"
#include "pyheap/sizes/pysize.h"
#include "pyheap/types/pyobject.h"

enum {
	BEFORE = 64,		/* bytes that may lie before an object in its
				   block, at most */
};

/** What a worker needs. */
struct claims_worker {
	struct chunkowners *owners;
	unsigned int number;
	struct memory_reader memory;
	struct chunk_batch batch;	/* from is the number of a type */
	bool is_data;			/* that type's buffers have no pointers */
};

struct claims {
	struct claims_worker *workers;
};

static void meet(void *context, uint64_t address, uint32_t from, uint32_t id,
		 bool begins)
{
	(void)address;
	chunk_offer(context, id, chunk_key(CHUNK_BY_OBJECT, begins, from));
}

/**
 * The chunk in use that memory lies in which begins at or shortly before an
 * address. Most do not: no chunk begins within a MiB.
 */
static uint32_t chunk_around(const struct chunkowners *owners, uint64_t address)
{
	const struct chunktable *table = owners->table;
	uint64_t at = address & ~UINT64_C(7);
	uint32_t id;

	if (!rank_cell(table->users, at) &&
	    !rank_cell(table->users, at - BEFORE))
		return CHUNK_NONE;
	id = chunktable_find(table, address);
	return id != CHUNK_NONE && chunk_is_used(table, id) ? id : CHUNK_NONE;
}

static void see_claim(void *context, struct pyh_claim claim)
{
	struct claims_worker *worker = context;
	struct chunkowners *owners = worker->owners;
	uint32_t id = chunk_around(owners, claim.address);
	uint64_t size = claim.size;
	struct pyh_lookup lookup;
	const uint8_t *bytes;

	if (id != CHUNK_NONE) {
		chunk_offer(owners, id, chunk_key(CHUNK_BUFFER, true,
						  worker->batch.from));
		return;
	}
	if (claim.dead || worker->is_data || claim.address % 8)
		return;
	// Of what size it is its block says.
	if (size == 0) {
		pyh_census_lookup_by(owners->census, worker->number,
				     claim.address, &lookup);
		if (lookup.block)
			size = lookup.block + lookup.block_size - claim.address;
	}
	if (size > PYH_SMALL)
		size = PYH_SMALL;
	bytes = size < 8 ? NULL : memory_view(&worker->memory, claim.address,
					      (size_t)size);
	if (bytes)
		chunk_words_add(&worker->batch, bytes, (size_t)size,
				claim.address);
}

/** Most objects own nothing, by what is known of their types. */
static bool owns_nothing(const struct pyh_type *type)
{
	return type->lane == PYH_LANE_FIXED || type->lane == PYH_LANE_INT ||
	       type->lane == PYH_LANE_ITEMS || type->lane == PYH_LANE_INLINE;
}

static void see_claims(struct claims_worker *worker,
		       const struct pyh_visit *visit)
{
	const struct pyh_type *type = visit->object.type;
	const struct pyh_runtime *runtime = worker->owners->runtime;
	struct pyh_measure measure;

	// What a file's buffer has is no pointer, whatever it looks like.
	worker->is_data = type->kind == PYH_KIND_BUFFERED;
	if (owns_nothing(type))
		return;
	if (pyh_measure_quick(runtime, type, visit->body, visit->available,
			      &measure)) {
		for (unsigned int i = 0; i < measure.num_claims; i++)
			see_claim(worker, measure.claims[i]);
		return;
	}
	pyh_claims_each(runtime, type, visit->object.address, visit->body,
			visit->available, visit->memory, see_claim, worker);
}

/** Look at an object's own words. */
static void see_words(struct claims_worker *worker,
		      const struct pyh_visit *visit)
{
	uint64_t address = visit->object.address;
	size_t size = visit->extent < visit->available ?
		(size_t)visit->extent : visit->available;
	uint32_t start, end;

	if (pyh_object_is_leaf(visit->object.type))
		return;
	if (chunk_numbers_of(worker->owners, visit->object.type, &start,
			     &end) && end <= size) {
		chunk_words_add(&worker->batch, visit->body, start, address);
		chunk_words_add(&worker->batch, visit->body + end, size - end,
				address + end);
		return;
	}
	chunk_words_add(&worker->batch, visit->body, size, address);
}

static void see_object(void *context, const struct pyh_visit *visit)
{
	const struct claims *claims = context;
	struct claims_worker *worker = &claims->workers[visit->worker];
	struct chunkowners *owners = worker->owners;
	uint64_t address = visit->object.address;
	uint32_t id, number;

	if (!chunk_type_number(owners, visit->object.type, &number))
		return;
	worker->batch.from = number;
	id = chunk_around(owners, address);
	if (id != CHUNK_NONE)
		chunk_offer(owners, id, chunk_key(CHUNK_OBJECT, true, number));
	else
		see_words(worker, visit);
	see_claims(worker, visit);
}

struct error *chunk_claims_find(struct chunkowners *owners)
{
	unsigned int workers = pyh_census_workers(owners->census);
	CLEANUP(free_pointer) struct claims_worker *all =
		calloc(workers, sizeof(*all));
	struct claims claims = { all };
	struct error *err = NULL;

	if (!all)
		return error_no_memory();
	for (unsigned int i = 0; !err && i < workers; i++) {
		all[i].owners = owners;
		all[i].number = i;
		all[i].batch.owners = owners;
		all[i].batch.fn = meet;
		all[i].batch.context = owners;
		err = memory_reader_init(&all[i].memory, owners->image->memory);
	}
	if (!err)
		err = pyh_census_visit(owners->census, see_object, &claims);
	for (unsigned int i = 0; i < workers; i++) {
		if (!err)
			chunk_words_end(&all[i].batch);
		memory_reader_deinit(&all[i].memory);
	}
	return err;
}
