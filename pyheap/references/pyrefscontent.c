/*
 * What containers and other kinds of objects refer to beyond the fields of
 * their structures; see pyrefswalk.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyrefswalk.h"
#include "pyheap/types/pypandas.h"
#include "pyheap/values/pydict.h"

enum {
	DEQUE_BLOCK_ITEMS = 64,
	LINKS_MAX = 1 << 24,
	MODULE_STATE_MAX = 1 << 24,
};

static void each_of_list(struct walk *walk)
{
	uint64_t count = walk_own_field(walk, PYH_VAR_OB_SIZE);

	if (count <= walk_own_field(walk, PYH_LIST_ALLOCATED))
		walk_each_word(walk, walk_own_field(walk, PYH_LIST_OB_ITEM), count,
			       walk_item(walk));
}

static void each_of_tuple(struct walk *walk)
{
	uint64_t count = walk_own_field(walk, PYH_VAR_OB_SIZE);
	uint64_t hidden = walk->of->type->hidden_items;
	uint64_t from = pyh_offset(walk->runtime, PYH_TUPLE_OB_ITEM);
	struct pyh_ref like = walk_item(walk);

	if (!pyh_has(walk->runtime, PYH_TUPLE_OB_ITEM) || count > ITEMS_MAX)
		return;
	walk_each_own_word(walk, from, count, like);
	if (hidden == 0)
		return;
	like.index = count;
	walk_each_own_word(walk, from + count * 8, hidden, like);
}

/** The table of a set: pairs of key and hash; a deleted one has hash -1. */
static void each_of_set(struct walk *walk)
{
	uint64_t table = walk_own_field(walk, PYH_SET_TABLE);
	uint64_t mask = walk_own_field(walk, PYH_SET_MASK);
	uint64_t words[BATCH], n;

	if (table == 0 || table % 8 || mask & (mask + 1) || !walk_pay(walk, mask))
		return;
	for (uint64_t at = 0; at <= mask && !walk->stopped; at += n) {
		uint64_t left = mask + 1 - at;

		n = walk_read_some(walk, table + at * 16, words,
				   left < BATCH / 2 ? left : BATCH / 2, 16);
		if (n == 0)
			return;
		for (uint64_t i = 0; i < n; i++)
			if (words[2 * i + 1] != UINT64_MAX)
				walk_emit(walk, (struct pyh_ref){
					.kind = PYH_REF_KEY,
					.hold = walk->hold,
					.address = words[2 * i],
					.index = at + i });
	}
}

static void each_of_deque(struct walk *walk)
{
	uint64_t count = walk_own_field(walk, PYH_VAR_OB_SIZE), done = 0;
	uint64_t block = walk_own_field(walk, PYH_DEQUE_LEFTBLOCK);
	uint64_t index = walk_own_field(walk, PYH_DEQUE_LEFTINDEX);
	uint32_t data = pyh_offset(walk->runtime, PYH_DEQUEBLOCK_DATA);

	if (index > DEQUE_BLOCK_ITEMS || !walk_pay(walk, count))
		return;
	while (done < count && block && block % 8 == 0 && !walk->stopped) {
		uint64_t n = DEQUE_BLOCK_ITEMS - index;

		if (n > count - done)
			n = count - done;
		walk_each_word(walk, block + data + index * 8, n, (struct pyh_ref){
			.kind = PYH_REF_ITEM, .hold = walk->hold,
			.index = done });
		done += n;
		index = 0;
		block = walk_field_at(walk, block, PYH_DEQUEBLOCK_RIGHTLINK);
	}
}

static void each_of_element(struct walk *walk)
{
	uint64_t extra = walk_own_field(walk, PYH_ELEMENT_EXTRA);
	uint64_t count = walk_field_at(walk, extra, PYH_ELEMENTEXTRA_LENGTH);

	if (extra == 0 || extra % 8)
		return;
	walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_FIELD, .name = "attrib",
		.hold = walk->hold,
		.address = walk_field_at(walk, extra, PYH_ELEMENTEXTRA_ATTRIB) });
	if (count <= walk_field_at(walk, extra, PYH_ELEMENTEXTRA_ALLOCATED))
		walk_each_word(walk, walk_field_at(walk, extra,
						   PYH_ELEMENTEXTRA_CHILDREN),
			  count, walk_item(walk));
}

/**
 * The results that a functools.lru_cache keeps: a ring of links, each of which
 * the cache and its dict hold. Its tp_traverse visits what they refer to.
 */
static void each_of_lru_cache(struct walk *walk)
{
	uint64_t link = walk_own_field(walk, PYH_LRUCACHE_ROOT_NEXT);
	uint64_t root = walk->of->address +
			pyh_offset(walk->runtime, PYH_LRUCACHE_ROOT_PREV) -
			pyh_offset(walk->runtime, PYH_LRULINK_PREV);

	for (uint64_t i = 0; link && link % 8 == 0 && link != root &&
			     i < LINKS_MAX && !walk->stopped; i++) {
		uint64_t key = walk_field_at(walk, link, PYH_LRULINK_KEY);

		if (i % BATCH == BATCH - 1 && !walk_pay(walk, BATCH + 1))
			return;
		walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_ITEM,
			.hold = PYH_HOLD_UNTRAVERSED, .address = link,
			.index = i });
		walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY,
			.hold = walk->hold, .address = key, .index = i });
		walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_VALUE, .key = key,
			.hold = walk->hold, .index = i,
			.address = walk_field_at(walk, link, PYH_LRULINK_RESULT) });
		if (walk->runtime->minor >= 10)
			walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_TYPE,
				.hold = walk->hold, .index = i,
				.address = walk_field_at(walk, link,
							 PYH_OBJECT_OB_TYPE) });
		link = walk_field_at(walk, link, PYH_LRULINK_NEXT);
	}
}

/**
 * The statements that a cache of sqlite3 keeps, up to 3.10: a list of nodes of
 * which it holds each, and its dict another time. Words behind the header of the
 * cache: size, mapping, factory, first, last; of a node: key, data, count,
 * previous, next.
 */
static void each_of_sqlite_cache(struct walk *walk)
{
	uint32_t header = walk->runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t node = walk_own_word(walk, header + 24);

	for (uint64_t i = 0; node && node % 8 == 0 && i < LINKS_MAX &&
			     !walk->stopped; i++) {
		if (i % BATCH == BATCH - 1 && !walk_pay(walk, BATCH + 1))
			return;
		walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_ITEM,
			.hold = walk->hold, .address = node, .index = i });
		if (!memory_try_u64(walk->of->memory, node + header + 32,
				    &node))
			return;
	}
}

/** Keys that are objects: pandas owns them since 3.0 only. */
static void each_of_khash(struct walk *walk)
{
	uint64_t at = walk_own_word(walk,
		walk->runtime->size_of[PYH_STRUCT_OBJECT] + 8);
	uint64_t words[BATCH], n;
	uint8_t flags[BATCH / 8];
	struct pyh_khash hash;

	if (!pyh_khash_of_objects(walk->of->type->name) ||
	    !pyh_khash_read(walk->of->memory, at, &hash) ||
	    !walk_pay(walk, hash.slots))
		return;
	for (at = 0; at < hash.slots && !walk->stopped; at += n) {
		n = hash.slots - at < BATCH ? hash.slots - at : BATCH;
		if (!memory_try_read(walk->of->memory, hash.keys + at * 8,
				     words, n * 8) ||
		    !memory_try_read(walk->of->memory, hash.flags + at / 8,
				     flags, (n + 7) / 8))
			return;
		for (uint64_t i = 0; i < n; i++)
			if (!(flags[i / 8] >> i % 8 & 1) && words[i] % 8 == 0)
				walk_emit(walk, (struct pyh_ref){
					.kind = PYH_REF_KEY,
					.hold = PYH_HOLD_GUESSED,
					.address = words[i], .index = at + i });
	}
}

/** What a module written in C keeps for itself is known to its code alone. */
static void each_of_module(struct walk *walk)
{
	uint64_t size = walk_own_field(walk, PYH_MODULE_MD_STATE_SIZE);
	uint64_t definition = walk_own_field(walk, PYH_MODULE_MD_DEF);

	if (size == 0)
		size = walk_field_at(walk, definition, PYH_MODULEDEF_M_SIZE);
	if (size <= MODULE_STATE_MAX)
		walk_each_word(walk, walk_own_field(walk, PYH_MODULE_MD_STATE), size / 8,
			       (struct pyh_ref){ .kind = PYH_REF_GUESS,
					    .hold = PYH_HOLD_GUESSED });
}

/** 3.12 and later: objects that were made when asked for, then kept. */
static void each_of_code(struct walk *walk)
{
	uint64_t cached = walk_own_field(walk, PYH_CODE_CO_CACHED);

	walk_each_word(walk, cached,
		       walk->runtime->size_of[PYH_STRUCT_COCACHED] / 8,
		       (struct pyh_ref){ .kind = PYH_REF_FIELD,
				    .hold = PYH_HOLD_UNTRAVERSED });
}

/** 3.13 and later: a ring; what is not in use is NULL. */
static void each_of_simple_queue(struct walk *walk)
{
	if (pyh_has(walk->runtime, PYH_SIMPLEQUEUE_BUF_ITEMS))
		walk_each_word(walk, walk_own_field(walk, PYH_SIMPLEQUEUE_BUF_ITEMS),
			  walk_own_field(walk, PYH_SIMPLEQUEUE_BUF_ITEMS_CAP),
			  walk_item(walk));
}

/**
 * A class holds the table of the names of its instances' attributes, which
 * their dicts, or the instances themselves, share.
 */
static void each_of_type(struct walk *walk)
{
	uint64_t at = walk_own_field(walk, PYH_HEAPTYPE_HT_CACHED_KEYS);
	struct pyh_keys keys;
	uint64_t entry[3];

	if (walk->uncollected || at == 0 ||
	    pyh_keys_read(walk->runtime, walk->of->memory, at,
			  &keys) != PYH_FOUND ||
	    !walk_pay(walk, keys.nentries))
		return;
	for (uint64_t i = 0; i < keys.nentries && !walk->stopped; i++) {
		size_t size = keys.unicode ? 16 : 24;

		if (memory_try_read(walk->of->memory,
				    keys.entries + i * size, entry,
				    size))
			walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY,
				.hold = PYH_HOLD_UNTRAVERSED, .index = i,
				.address = entry[size / 8 - 2] });
	}
}

void walk_content(struct walk *walk)
{
	switch (walk->of->type->kind) {
	case PYH_KIND_LIST:
		each_of_list(walk);
		break;
	case PYH_KIND_TUPLE:
	case PYH_KIND_STRUCTSEQ:
		each_of_tuple(walk);
		break;
	case PYH_KIND_DICT:
	case PYH_KIND_STGDICT:
		walk_dict(walk);
		break;
	case PYH_KIND_ODICT:
		walk_odict(walk);
		break;
	case PYH_KIND_SET:
		each_of_set(walk);
		break;
	case PYH_KIND_DEQUE:
		each_of_deque(walk);
		break;
	case PYH_KIND_ELEMENT:
		each_of_element(walk);
		break;
	case PYH_KIND_GENERATOR:
		walk_generator(walk);
		break;
	case PYH_KIND_FRAME:
		walk_frame(walk);
		break;
	case PYH_KIND_CODE:
		each_of_code(walk);
		break;
	case PYH_KIND_MODULE:
		each_of_module(walk);
		break;
	case PYH_KIND_TYPE:
	case PYH_KIND_CTYPE:
		each_of_type(walk);
		break;
	case PYH_KIND_SIMPLEQUEUE:
		each_of_simple_queue(walk);
		break;
	case PYH_KIND_OTHER:
		if (walk->shape->special == PYH_SPECIAL_LRU_CACHE)
			each_of_lru_cache(walk);
		else if (walk->shape->special == PYH_SPECIAL_SQLITE_CACHE)
			each_of_sqlite_cache(walk);
		break;
	case PYH_KIND_GREENLET:
	case PYH_KIND_OLD_GREENLET:
		walk_greenlet(walk);
		break;
	case PYH_KIND_KHASH:
		each_of_khash(walk);
		break;
	case PYH_KIND_NDARRAY:
		walk_ndarray(walk);
		break;
	default:
		break;
	}
}
