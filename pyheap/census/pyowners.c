/*
 * Owners of containers and values; see pyowners.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is asked for is marked in a map of the address space, and numbered by
 * its rank there. Each has one word, which workers change at once: the owner's
 * type, and enough of the address of who refers to it to know the same one
 * again. Who comes first makes no difference: two different ones are several.
 */
#include "pyheap/census/pyowners.h"

#include <elf.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/hashmap.h"
#include "pyheap/census/pyspace.h"
#include "pyheap/references/pyrefs.h"
#include "pyheap/types/pyobject.h"
#include "pyheap/types/pyshape.h"
#include "pyheap/types/pytypeview.h"

enum { PAGE_WORDS = 1 << (PYH_PAGE_LOG2 - 3 - 6) };

/* The word of an object: who refers to it, a flag, and the owner's type id
   plus one. */
#define OWNER_MASK	UINT64_C(0x7fffffff)
#define OWNER_SEVERAL	OWNER_MASK
#define NAMESPACE	UINT64_C(0x80000000)
#define HOLDER_SHIFT	32

/** The marks of a chunk, and the ranks of the first of each page. */
struct ranks {
	_Atomic uint64_t *bits;		/* borrowed from the space */
	uint64_t first;
	uint32_t pages[PYH_CHUNK_PAGES];	/* from first on */
};

struct pyh_owners {
	const struct pyh_runtime *runtime;	/* borrowed */
	struct pyh_types *types;		/* borrowed */
	struct pyh_shapes *shapes;
	struct pyh_space space;
	struct ranks *ranks;
	struct hashmap chunks;		/* number of a chunk plus one → ranks */
	uint32_t num_ranks;
	_Atomic uint64_t *words;	/* by rank */
};

/* --- what is asked for --------------------------------------------------- */

static bool kind_asked(enum pyh_kind kind)
{
	switch (kind) {
	case PYH_KIND_LIST:
	case PYH_KIND_TUPLE:
	case PYH_KIND_DICT:
	case PYH_KIND_SET:
	case PYH_KIND_STR:
	case PYH_KIND_BYTES:
	case PYH_KIND_BYTEARRAY:
	case PYH_KIND_INT:
	case PYH_KIND_FLOAT:
	case PYH_KIND_COMPLEX:
	case PYH_KIND_DEQUE:
	case PYH_KIND_ARRAY:
	case PYH_KIND_ODICT:
		return true;
	default:
		return false;
	}
}

bool pyh_owners_asks(const struct pyh_type *type)
{
	return kind_asked(type->kind) &&
	       (type->is_static ||
		strncmp(type->name, "collections.", 12) == 0 ||
		strcmp(type->name, "array.array") == 0);
}

void pyh_owners_mark(void *context, const struct pyh_visit *visit)
{
	struct pyh_owners *owners = context;

	if (!pyh_owners_asks(visit->object.type))
		return;
	if (visit->taken_back)
		pyh_space_unmark(&owners->space, visit->object.address,
				 PYH_MARK_OBJECT);
	else
		pyh_space_set(&owners->space, visit->object.address,
			      PYH_MARK_OBJECT);
}

/* --- numbers ------------------------------------------------------------- */

static uint64_t rank_chunk(struct ranks *ranks, _Atomic uint64_t *bits,
			   uint64_t first)
{
	uint32_t count = 0;

	ranks->bits = bits;
	ranks->first = first;
	for (size_t page = 0; page < PYH_CHUNK_PAGES; page++) {
		ranks->pages[page] = count;
		for (size_t i = 0; i < PAGE_WORDS; i++)
			count += (uint32_t)__builtin_popcountll(
				atomic_load_explicit(
					&bits[page * PAGE_WORDS + i],
					memory_order_relaxed));
	}
	return first + count;
}

static struct error *number_chunk(struct pyh_owners *owners, uint64_t chunk,
				  _Atomic uint64_t *bits, uint64_t *total)
{
	struct ranks *grown;

	if (!bits)
		return NULL;
	// Room is doubled whenever the count reaches a power of two.
	if (!(owners->num_ranks & (owners->num_ranks - 1))) {
		grown = reallocarray(owners->ranks,
				     owners->num_ranks ? owners->num_ranks * 2 :
							 1, sizeof(*grown));
		if (!grown)
			return error_no_memory();
		owners->ranks = grown;
	}
	*total = rank_chunk(&owners->ranks[owners->num_ranks], bits, *total);
	return hashmap_put(&owners->chunks, chunk + 1, owners->num_ranks++);
}

/** Number what is marked, in address order. */
static struct error *number_all(struct pyh_owners *owners)
{
	struct error *err = NULL;
	uint64_t total = 0;

	for (uint64_t i = 0; !err && i < PYH_ROOT_LEAVES; i++) {
		const struct pyh_leaf *leaf = owners->space.leaves[i];

		for (uint64_t j = 0; leaf && !err && j < PYH_LEAF_CHUNKS; j++) {
			struct pyh_chunk *chunk = leaf->chunks[j];

			if (chunk)
				err = number_chunk(
					owners, i * PYH_LEAF_CHUNKS + j,
					atomic_load(&chunk->marks
							[PYH_MARK_OBJECT]),
					&total);
		}
	}
	if (err)
		return err;
	owners->words = calloc(total + 1, sizeof(*owners->words));
	return owners->words ? NULL : error_no_memory();
}

/** The word of an address, or NULL if it is not asked for. */
static _Atomic uint64_t *word_of(const struct pyh_owners *owners,
				 uint64_t address)
{
	const struct ranks *ranks;
	uint64_t bit, bits, rank;
	size_t word, page;
	uint32_t number;

	if (address & 7 || address >> PYH_ADDRESS_LOG2 ||
	    !hashmap_get(&owners->chunks, (address >> PYH_CHUNK_LOG2) + 1,
			 &number))
		return NULL;
	ranks = &owners->ranks[number];
	word = pyh_space_word(address);
	bit = pyh_space_bit(address);
	bits = atomic_load_explicit(&ranks->bits[word], memory_order_relaxed);
	if (!(bits & bit))
		return NULL;
	page = word / PAGE_WORDS;
	rank = ranks->first + ranks->pages[page] +
	       (uint64_t)__builtin_popcountll(bits & (bit - 1));
	for (size_t i = page * PAGE_WORDS; i < word; i++)
		rank += (uint64_t)__builtin_popcountll(
			atomic_load_explicit(&ranks->bits[i],
					     memory_order_relaxed));
	return &owners->words[rank];
}

/* --- owners -------------------------------------------------------------- */

/** What a word becomes when one more refers to its object. */
static uint64_t with_holder(uint64_t old, uint64_t holder, uint64_t owner,
			    uint64_t flag)
{
	uint64_t now = holder << HOLDER_SHIFT | flag | owner;

	// Namespaces are found first, and then nothing else counts.
	if ((old & NAMESPACE) != flag)
		return flag ? now : old;
	if ((old & OWNER_MASK) == 0)
		return now;
	return old == now ? old : flag | OWNER_SEVERAL;
}

struct holding {
	const struct pyh_owners *owners;
	uint64_t holder;	/* of the address of the object that refers */
	uint64_t owner;		/* type id plus one */
};

static struct holding holding_of(const struct pyh_owners *owners,
				 const struct pyh_object *object)
{
	return (struct holding){
		.owners = owners,
		// Two that lie 32 GiB apart are alike only by an accident.
		.holder = object->address >> 3 & UINT32_MAX,
		.owner = (uint64_t)object->type->id + 1,
	};
}

static void add_holder(const struct holding *holding, uint64_t address,
		       uint64_t flag)
{
	_Atomic uint64_t *word = word_of(holding->owners, address);
	uint64_t old, now;

	if (!word)
		return;
	old = atomic_load_explicit(word, memory_order_relaxed);
	do {
		now = with_holder(old, holding->holder, holding->owner, flag);
		if (now == old)
			return;
	} while (!atomic_compare_exchange_weak_explicit(
			word, &old, now, memory_order_relaxed,
			memory_order_relaxed));
}

struct naming_dicts {
	void (*fn)(void *context, uint64_t dict);
	void *context;
};

/** The dicts of attributes come before what an object holds. */
static bool take_namespace(void *context, const struct pyh_ref *ref)
{
	const struct naming_dicts *naming = context;

	if (ref->kind != PYH_REF_DICT)
		return ref->kind == PYH_REF_TYPE || ref->kind == PYH_REF_FIELD;
	naming->fn(naming->context, ref->address);
	return true;
}

static bool is_plain_value(const struct pyh_type *type)
{
	return type->is_static && kind_asked(type->kind) &&
	       type->dictoffset == 0;
}

void pyh_owners_namespaces(const struct pyh_referrer *referrer,
			   void (*fn)(void *context, uint64_t dict),
			   void *context)
{
	struct naming_dicts naming = { fn, context };
	struct pyh_type_view view;

	if (is_plain_value(referrer->type))
		return;
	pyh_refs_each(referrer, take_namespace, &naming);
	// The dict of a class, wherever its release has it.
	if (referrer->type->kind == PYH_KIND_TYPE &&
	    pyh_type_view(referrer->runtime, referrer->memory, NULL,
			  referrer->address, &view))
		fn(context, pyh_type_dict(referrer->runtime, referrer->memory,
					  &view));
}

static void hold_namespace(void *context, uint64_t dict)
{
	add_holder(context, dict, NAMESPACE);
}

static void find_namespaces(void *context, const struct pyh_visit *visit)
{
	const struct pyh_owners *owners = context;
	struct holding holding = holding_of(owners, &visit->object);
	struct pyh_referrer referrer = pyh_referrer(owners->runtime,
						    owners->shapes, visit);

	pyh_owners_namespaces(&referrer, hold_namespace, &holding);
}

static bool take_held(void *context, const struct pyh_ref *ref)
{
	if (ref->kind != PYH_REF_TYPE && ref->kind != PYH_REF_DICT &&
	    ref->hold != PYH_HOLD_NONE)
		add_holder(context, ref->address, 0);
	return true;
}

static void find_holders(void *context, const struct pyh_visit *visit)
{
	const struct pyh_owners *owners = context;
	struct holding holding = holding_of(owners, &visit->object);
	_Atomic uint64_t *own;
	struct pyh_referrer referrer;
	uint64_t word = 0;

	if (pyh_object_is_leaf(visit->object.type))
		return;
	// What a namespace holds are attributes of the object it is of, which
	// may refer to them itself as well.
	own = word_of(owners, visit->object.address);
	if (own)
		word = atomic_load_explicit(own, memory_order_relaxed);
	if (word & NAMESPACE && (word & OWNER_MASK) != OWNER_SEVERAL) {
		holding.owner = word & OWNER_MASK;
		holding.holder = word >> HOLDER_SHIFT;
	}
	referrer = pyh_referrer(owners->runtime, owners->shapes, visit);
	pyh_refs_each(&referrer, take_held, &holding);
}

const struct pyh_type *pyh_owner_of(const struct pyh_owners *owners,
				    uint64_t address)
{
	const _Atomic uint64_t *word = word_of(owners, address);
	uint64_t owner;

	if (!word)
		return NULL;
	owner = atomic_load_explicit(word, memory_order_relaxed) & OWNER_MASK;
	return owner == 0 || owner == OWNER_SEVERAL ?
		       NULL : pyh_types_get(owners->types,
					    (uint32_t)(owner - 1));
}

/* --- the whole ----------------------------------------------------------- */

struct error *pyh_owners_find(struct pyh_owners *owners,
			      struct pyh_census *census)
{
	struct error *err = atomic_load(&owners->space.no_memory) ?
				    error_no_memory() : number_all(owners);

	if (!err)
		err = pyh_census_visit(census, find_namespaces, owners);
	if (!err)
		err = pyh_census_visit(census, find_holders, owners);
	return err;
}

/** Objects may be wherever something writable or constant was captured. */
static struct error *classify(struct pyh_owners *owners)
{
	const struct memory *memory = owners->runtime->image->memory;
	struct error *err = pyh_space_init(&owners->space);

	for (size_t i = 0; !err && i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);

		if (range->state == MEMORY_CAPTURED &&
		    !(range->protection & PF_X))
			err = pyh_space_classify(&owners->space, range->start,
						 range->end, PYH_PAGE_OTHER);
	}
	if (!err)
		pyh_space_seal(&owners->space);
	return err;
}

struct error *pyh_owners_create(const struct pyh_runtime *runtime,
				struct pyh_types *types,
				struct pyh_owners **ret)
{
	struct pyh_owners *owners = calloc(1, sizeof(*owners));
	struct error *err;

	if (!owners)
		return error_no_memory();
	owners->runtime = runtime;
	owners->types = types;
	err = classify(owners);
	if (!err)
		err = pyh_shapes_create(runtime, types, &owners->shapes);
	if (err) {
		pyh_owners_destroy(owners);
		return err;
	}
	*ret = owners;
	return NULL;
}

void pyh_owners_destroy(struct pyh_owners *owners)
{
	if (!owners)
		return;
	pyh_shapes_destroy(owners->shapes);
	hashmap_deinit(&owners->chunks);
	free(owners->ranks);
	free((void *)owners->words);
	pyh_space_deinit(&owners->space);
	free(owners);
}
