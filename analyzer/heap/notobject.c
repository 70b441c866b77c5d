/*
 * What is where no object is; see notobject.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/notobject.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/malloc/chunkowners.h"
#include "analyzer/malloc/mallocheap.h"
#include "pyheap/types/pyobject.h"

/** Whose buffer an address lies in. */
struct ownership {
	const struct pyh_runtime *runtime;
	uint64_t address;
	_Atomic uint64_t owner;		/* the lowest address; 0: none yet */
};

struct owner_visit {
	struct ownership *ownership;
	uint64_t object;
};

static void see_claim(void *context, struct pyh_claim claim)
{
	struct owner_visit *visit = context;
	struct ownership *ownership = visit->ownership;
	uint64_t offset = ownership->address - claim.address;
	uint64_t owner = atomic_load(&ownership->owner);

	if (offset >= claim.size && offset != 0)
		return;
	while ((owner == 0 || visit->object < owner) &&
	       !atomic_compare_exchange_weak(&ownership->owner, &owner,
					     visit->object))
		;
}

static void see_owner(void *context, const struct pyh_visit *visit)
{
	struct ownership *ownership = context;
	struct owner_visit of = { ownership, visit->object.address };

	pyh_claims_each(ownership->runtime, visit->object.type,
			visit->object.address, visit->body, visit->available,
			visit->memory, see_claim, &of);
}

/** The object that owns the memory at an address, or 0; looks at all. */
static struct error *find_owner(const struct pyh_runtime *runtime,
				struct pyh_census *census, uint64_t address,
				uint64_t *ret)
{
	struct ownership ownership = { .runtime = runtime, .address = address };
	struct error *err = pyh_census_visit(census, see_owner, &ownership);

	*ret = atomic_load(&ownership.owner);
	return err;
}

/* --- chunks of malloc --------------------------------------------------------- */

enum { OWNER_TEXT = 256, CHUNK_TEXT = 512 };

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/** "that nothing leads to": who holds a chunk. */
static void say_owner(const struct chunkowners *owners,
		      const struct chunk_row *row, char text[OWNER_TEXT])
{
	struct chunk_row head;

	switch (row->owner) {
	case CHUNK_OBJECT:
	case CHUNK_BUFFER:
		(void)snprintf(text, OWNER_TEXT, "that is of a %s",
			       row->type->name);
		return;
	case CHUNK_BY_OBJECT:
		(void)snprintf(text, OWNER_TEXT, "that a %s leads to",
			       row->type->name);
		return;
	case CHUNK_BY_MODULE:
		(void)snprintf(text, OWNER_TEXT, "that data of %s leads to",
			       base_name(row->module->path));
		return;
	case CHUNK_BY_THREAD:
		(void)snprintf(text, OWNER_TEXT, "that the stack or other data "
			       "of thread %u leads to", row->tid);
		return;
	case CHUNK_LOST_WITH:
		if (chunkowners_get(owners, row->head, &head)) {
			(void)snprintf(text, OWNER_TEXT, "that only chunks lead "
				       "to that nothing leads to, as the one at "
				       "0x%" PRIx64,
				       head.start + CHUNK_HEADER);
			return;
		}
		break;
	case CHUNK_BY_PYMALLOC:
	case CHUNK_BY_MEMORY:
	case CHUNK_LOST:
	case CHUNK_UNUSED:
	case CHUNK_NUM_OWNERS:
		break;
	}
	(void)snprintf(text, OWNER_TEXT, "%s",
		       row->owner == CHUNK_LOST ? "that nothing leads to" :
		       row->owner == CHUNK_UNUSED ? "that is free" :
		       row->owner == CHUNK_BY_PYMALLOC ?
			       "that a block of Python's allocator leads to" :
			       "that some other memory leads to");
}

/** What is to be said of the chunk that an address lies in; false: there is none,
    or it cannot be known. */
static bool say_chunk(struct opened *opened, uint64_t address,
		      char text[CHUNK_TEXT])
{
	struct chunkowners *owners = NULL;
	struct glibc_heap *heap = NULL;
	struct chunk_row row;
	char owner[OWNER_TEXT];
	struct error *err = mallocheap_open(opened, NULL, &heap);
	bool found;

	if (!err)
		err = chunkowners_create(opened, heap, &owners);
	found = !err && chunkowners_at(owners, address, &row);
	if (found) {
		say_owner(owners, &row, owner);
		(void)snprintf(text, CHUNK_TEXT, "in a chunk of malloc of %"
			       PRIu64 " bytes (at 0x%" PRIx64 ") %s",
			       row.end - row.start, row.start + CHUNK_HEADER,
			       owner);
	}
	chunkowners_destroy(owners);
	glibc_heap_close(heap);
	error_free(err);
	return found;
}

struct error *notobject_error(struct opened *opened, struct pyh_census *census,
			      const struct pyh_lookup *lookup, uint64_t address)
{
	const char *what = "memory that no object is known to own";
	struct pyh_runtime *runtime;
	char text[CHUNK_TEXT];
	uint64_t owner = 0;
	struct error *err = opened_runtime(opened, &runtime);

	if (err)
		return err;
	switch (lookup->place) {
	case PYH_PLACE_CLAIMED:
	case PYH_PLACE_RAW:
	case PYH_PLACE_OTHER:
		err = find_owner(runtime, census, address, &owner);
		if (err)
			return err;
		break;
	case PYH_PLACE_OBJECT:
	case PYH_PLACE_FREE:
	case PYH_PLACE_POOL:
	case PYH_PLACE_NOT_CAPTURED:
	case PYH_PLACE_UNMAPPED:
		break;
	}
	if (owner) {
		struct pyh_lookup of;

		pyh_census_lookup(census, owner, &of);
		return error_new(ERROR_NOT_FOUND, "0x%" PRIx64 " is no object, "
				 "but in memory of the %s at 0x%" PRIx64,
				 address, of.place == PYH_PLACE_OBJECT ?
						  of.object.type->name : "object",
				 owner);
	}
	switch (lookup->place) {
	case PYH_PLACE_FREE:
		what = "free memory of Python's allocator";
		break;
	case PYH_PLACE_POOL:
		what = "a header of Python's allocator, or a pool that is "
		       "damaged";
		break;
	case PYH_PLACE_NOT_CAPTURED:
		what = "memory that the dump does not have";
		break;
	case PYH_PLACE_UNMAPPED:
		what = "nothing: no memory was mapped there";
		break;
	case PYH_PLACE_CLAIMED:
		what = "a buffer of an object";
		break;
	case PYH_PLACE_RAW:
		return error_new(ERROR_NOT_FOUND, "0x%" PRIx64 " is no object, "
				 "but a block of %" PRIu64 " bytes (at 0x%"
				 PRIx64 ") that C code uses for other data",
				 address, lookup->block_size, lookup->block);
	case PYH_PLACE_OTHER:
		if (say_chunk(opened, address, text))
			what = text;
		break;
	case PYH_PLACE_OBJECT:
		break;
	}
	return error_new(ERROR_NOT_FOUND, "0x%" PRIx64 " is no object, but %s",
			 address, what);
}
