/*
 * What is where no object is; see notobject.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/notobject.h"

#include <inttypes.h>
#include <stdatomic.h>

#include "pyheap/pyobject.h"

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

struct error *notobject_error(const struct pyh_runtime *runtime,
			      struct pyh_census *census,
			      const struct pyh_lookup *lookup, uint64_t address)
{
	const char *what = "memory that no object is known to own";
	uint64_t owner = 0;
	struct error *err;

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
	case PYH_PLACE_OBJECT:
	case PYH_PLACE_OTHER:
		break;
	}
	return error_new(ERROR_NOT_FOUND, "0x%" PRIx64 " is no object, but %s",
			 address, what);
}
