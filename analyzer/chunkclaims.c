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

#include "analyzer/chunkownersparts.h"
#include "image/base/guard.h"
#include "pyheap/pyobject.h"
#include "pyheap/pysize.h"

enum {
	BEFORE = 64,		/* bytes that may lie before an object in its
				   block, at most */
};

struct claims {
	struct chunkowners *owners;
	struct memory_reader *readers;	/* by worker */
};

/** An object, while it is looked at. */
struct claimer {
	struct chunkowners *owners;
	struct memory_reader *reader;
	unsigned int worker;
	uint32_t number;	/* of its type */
};

static void meet(void *context, size_t at, uint32_t id, bool begins)
{
	const struct claimer *claimer = context;

	(void)at;
	chunk_offer(claimer->owners, id,
		    chunk_key(CHUNK_BY_OBJECT, begins, claimer->number));
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
	const struct claimer *claimer = context;
	struct chunkowners *owners = claimer->owners;
	uint32_t id = chunk_around(owners, claim.address);
	uint64_t size = claim.size;
	struct pyh_lookup lookup;
	const uint8_t *bytes;

	if (id != CHUNK_NONE) {
		chunk_offer(owners, id, chunk_key(CHUNK_BUFFER, true,
						  claimer->number));
		return;
	}
	if (claim.dead || claim.address % 8)
		return;
	// Of what size it is its block says.
	if (size == 0) {
		pyh_census_lookup_by(owners->census, claimer->worker,
				     claim.address, &lookup);
		if (lookup.block)
			size = lookup.block + lookup.block_size - claim.address;
	}
	if (size > PYH_SMALL)
		size = PYH_SMALL;
	bytes = size < 8 ? NULL : memory_view(claimer->reader, claim.address,
					      (size_t)size);
	if (bytes)
		chunk_words_each(owners, bytes, (size_t)size, meet, context);
}

/** Most objects own nothing, by what is known of their types. */
static bool owns_nothing(const struct pyh_type *type)
{
	return type->lane == PYH_LANE_FIXED || type->lane == PYH_LANE_INT ||
	       type->lane == PYH_LANE_ITEMS || type->lane == PYH_LANE_INLINE;
}

static void see_claims(const struct claimer *claimer,
		       const struct pyh_visit *visit)
{
	const struct pyh_type *type = visit->object.type;
	const struct pyh_runtime *runtime = claimer->owners->runtime;
	struct claimer context = *claimer;
	struct pyh_measure measure;

	if (owns_nothing(type))
		return;
	if (pyh_measure_quick(runtime, type, visit->body, visit->available,
			      &measure)) {
		for (unsigned int i = 0; i < measure.num_claims; i++)
			see_claim(&context, measure.claims[i]);
		return;
	}
	pyh_claims_each(runtime, type, visit->object.address, visit->body,
			visit->available, visit->memory, see_claim, &context);
}

static void see_object(void *context, const struct pyh_visit *visit)
{
	const struct claims *claims = context;
	struct chunkowners *owners = claims->owners;
	struct claimer claimer = { owners, &claims->readers[visit->worker],
				   visit->worker, 0 };
	uint32_t id;

	if (!chunk_type_number(owners, visit->object.type, &claimer.number))
		return;
	id = chunk_around(owners, visit->object.address);
	if (id != CHUNK_NONE)
		chunk_offer(owners, id, chunk_key(CHUNK_OBJECT, true,
						  claimer.number));
	else if (!pyh_object_is_leaf(visit->object.type))
		chunk_words_each(owners, visit->body,
				 visit->extent < visit->available ?
					 (size_t)visit->extent :
					 visit->available, meet, &claimer);
	see_claims(&claimer, visit);
}

struct error *chunk_claims_find(struct chunkowners *owners)
{
	unsigned int workers = pyh_census_workers(owners->census);
	CLEANUP(free_pointer) struct memory_reader *readers =
		calloc(workers, sizeof(*readers));
	struct claims claims = { owners, readers };
	struct error *err = NULL;

	if (!readers)
		return error_no_memory();
	for (unsigned int i = 0; !err && i < workers; i++)
		err = memory_reader_init(&readers[i], owners->image->memory);
	if (!err)
		err = pyh_census_visit(owners->census, see_object, &claims);
	for (unsigned int i = 0; i < workers; i++)
		memory_reader_deinit(&readers[i]);
	return err;
}
