/*
 * Sizes and buffers of lists, dicts, sets, deques and arrays.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/listobject.c, dictobject.c, setobject.c,
 * odictobject.c, Modules/_collectionsmodule.c and arraymodule.c: the
 * __sizeof__ methods there, and what their deallocators free.
 */
#include "pyheap/sizes/pysubject.h"

enum {
	DEQUE_FREE_BLOCKS = 16,
	DEQUE_BLOCK_ITEMS = 64,
	SET_ENTRY = 16,		/* bytes */
};

/* The object's own block, of a kind that has no items behind its fields. */
static void plain_extent(struct pyh_subject *subject)
{
	uint64_t size = (uint64_t)subject->type->basicsize;

	subject->measure->size = size;
	subject->measure->extent = (size + 7) & ~UINT64_C(7);
}

bool pyh_size_list(struct pyh_subject *subject)
{
	uint64_t count, allocated, items;
	struct pyh_claim buffer;

	plain_extent(subject);
	if (!pyh_subject_count(subject, &count))
		return false;
	if (!pyh_subject_get(subject, PYH_LIST_ALLOCATED, &allocated) ||
	    !pyh_subject_get(subject, PYH_LIST_OB_ITEM, &items))
		return true;
	if (allocated == UINT64_MAX && count == 0 && items == 0) {
		// list.sort() has taken the items away for a while.
		subject->measure->exact = false;
		return true;
	}
	if (count > allocated || items % 8 || allocated >> 44 ||
	    (allocated != 0 && items == 0))
		return false;
	subject->measure->size += allocated * 8;
	if (items == 0)
		return true;
	// A list that was emptied may keep a buffer of no items.
	buffer = pyh_list_buffer(subject->runtime, items, allocated);
	return pyh_subject_claim(subject, buffer.address, buffer.size);
}

/*
 * The buffer of a split table's values. 3.11 and 3.12 point behind a prefix
 * that keeps the order of insertion and says in its last byte how long it is.
 */
bool pyh_subject_claim_values(struct pyh_subject *subject, uint64_t values,
			      uint64_t count)
{
	const struct pyh_runtime *runtime = subject->runtime;
	uint64_t capacity = 0, embedded = 0;
	uint8_t prefix = 0;

	if (values == 0)
		return true;
	if (values % 8)
		return false;
	if (runtime->minor <= 10)
		return pyh_subject_claim(subject, values, count * 8);
	if (runtime->minor <= 12) {
		if (!memory_try_read(subject->memory, values - 1, &prefix, 1)) {
			subject->missing = true;
			return true;
		}
		if (prefix < 8 || prefix % 8)
			return false;
		// The prefix has room for two bytes and one for each value,
		// rounded up. The first instances had room for more than
		// their class now gives.
		if (count + 9 < prefix)
			count = prefix - 9u;
		return pyh_subject_claim(subject, values - prefix,
					 prefix + count * 8);
	}
	if (!pyh_subject_at(subject, values, PYH_VALUES_EMBEDDED, &embedded) ||
	    embedded ||
	    !pyh_subject_at(subject, values, PYH_VALUES_CAPACITY, &capacity))
		return true;
	return pyh_subject_claim(subject, values,
				 pyh_values_bytes(runtime, capacity));
}

bool pyh_size_dict(struct pyh_subject *subject)
{
	struct pyh_measure *measure = subject->measure;
	struct pyh_keys keys;
	uint64_t used, address, values;

	plain_extent(subject);
	if (!pyh_subject_get(subject, PYH_DICT_MA_USED, &used) ||
	    !pyh_subject_get(subject, PYH_DICT_MA_KEYS, &address) ||
	    !pyh_subject_get(subject, PYH_DICT_MA_VALUES, &values))
		return true;
	if (!pyh_subject_keys(subject, address, &keys))
		return false;
	if (keys.address == 0)
		return true;
	if (used > keys.nentries)
		return false;
	// Keys that others hold, too, are those of the type, or the empty ones.
	if (keys.refcount == 1) {
		measure->size += keys.bytes;
		if (!pyh_subject_claim(subject, keys.address, keys.bytes))
			return false;
	}
	// Up to 3.10 empty dicts share values, too, of which there are none.
	if (values == 0 || keys.shared_usable == 0)
		return true;
	measure->size += keys.shared_usable * 8;
	return pyh_subject_claim_values(subject, values, keys.shared_usable);
}

bool pyh_size_set(struct pyh_subject *subject)
{
	uint64_t fill, used, mask, table;
	uint64_t small = subject->address +
			 pyh_offset(subject->runtime, PYH_SET_SMALLTABLE);

	plain_extent(subject);
	if (!pyh_subject_get(subject, PYH_SET_FILL, &fill) ||
	    !pyh_subject_get(subject, PYH_SET_USED, &used) ||
	    !pyh_subject_get(subject, PYH_SET_MASK, &mask) ||
	    !pyh_subject_get(subject, PYH_SET_TABLE, &table))
		return true;
	if ((mask & (mask + 1)) || mask < 7 || mask >> 43 || used > fill ||
	    fill > mask || table == 0 || table % 8)
		return false;
	if (table == small)
		return mask == 7;
	subject->measure->size += (mask + 1) * SET_ENTRY;
	return pyh_subject_claim(subject, table, (mask + 1) * SET_ENTRY);
}

/* Blocks from the left to the right one, and those kept for later. */
static void claim_deque_blocks(struct pyh_subject *subject, uint64_t left,
			       uint64_t right, uint64_t blocks)
{
	const struct pyh_runtime *runtime = subject->runtime;
	uint64_t size = runtime->size_of[PYH_STRUCT_DEQUEBLOCK];
	uint64_t spare = 0;

	while (left != right && blocks-- > 0 && pyh_subject_step(subject) &&
	       pyh_subject_at(subject, left, PYH_DEQUEBLOCK_RIGHTLINK, &left))
		if (!pyh_subject_claim(subject, left, size))
			return;
	if (!pyh_has(runtime, PYH_DEQUE_FREEBLOCKS) ||
	    !pyh_subject_get(subject, PYH_DEQUE_NUMFREEBLOCKS, &spare))
		return;
	for (uint64_t i = 0; i < spare && i < DEQUE_FREE_BLOCKS; i++) {
		uint64_t block;

		if (pyh_subject_read(subject,
				     pyh_offset(runtime, PYH_DEQUE_FREEBLOCKS) +
					     (uint32_t)i * 8,
				     &block, 8))
			(void)pyh_subject_claim(subject, block, size);
	}
}

bool pyh_size_deque(struct pyh_subject *subject)
{
	uint64_t size = subject->runtime->size_of[PYH_STRUCT_DEQUEBLOCK];
	uint64_t count, left, right, first, blocks;

	plain_extent(subject);
	if (!pyh_subject_count(subject, &count))
		return false;
	if (!pyh_subject_get(subject, PYH_DEQUE_LEFTBLOCK, &left) ||
	    !pyh_subject_get(subject, PYH_DEQUE_RIGHTBLOCK, &right) ||
	    !pyh_subject_get(subject, PYH_DEQUE_LEFTINDEX, &first))
		return true;
	if (first > DEQUE_BLOCK_ITEMS || left == 0 || left % 8 || right % 8 ||
	    count >> 44)
		return false;
	blocks = (first + count + DEQUE_BLOCK_ITEMS - 1) / DEQUE_BLOCK_ITEMS;
	if (!pyh_subject_chain_fits(subject, blocks, size))
		return false;
	subject->measure->size += blocks * size;
	if (!pyh_subject_claim(subject, left, size))
		return false;
	if (subject->emit)
		claim_deque_blocks(subject, left, right, blocks);
	else
		subject->measure->more_claims = true;
	return true;
}

static void claim_odict_nodes(struct pyh_subject *subject, uint64_t node,
			      uint64_t count)
{
	uint64_t size = subject->runtime->size_of[PYH_STRUCT_ODICTNODE];

	while (node && node % 8 == 0 && count-- > 0 &&
	       pyh_subject_step(subject)) {
		if (!pyh_subject_claim(subject, node, size) ||
		    !pyh_subject_at(subject, node, PYH_ODICTNODE_NEXT, &node))
			return;
	}
}

bool pyh_size_odict(struct pyh_subject *subject)
{
	uint64_t first, fast, slots, used;

	if (!pyh_size_dict(subject))
		return false;
	if (!pyh_subject_get(subject, PYH_ODICT_OD_FIRST, &first) ||
	    !pyh_subject_get(subject, PYH_ODICT_OD_FAST_NODES, &fast) ||
	    !pyh_subject_get(subject, PYH_ODICT_OD_FAST_NODES_SIZE, &slots) ||
	    !pyh_subject_get(subject, PYH_DICT_MA_USED, &used))
		return true;
	if (slots >> 44 || fast % 8 || first % 8 ||
	    !pyh_subject_chain_fits(
		    subject, used,
		    subject->runtime->size_of[PYH_STRUCT_ODICTNODE]))
		return false;
	subject->measure->size += slots * 8;
	if (first)
		subject->measure->size +=
			used * subject->runtime->size_of[PYH_STRUCT_ODICTNODE];
	if (!pyh_subject_claim(subject, fast, slots * 8))
		return false;
	if (subject->emit)
		claim_odict_nodes(subject, first, used);
	else if (first)
		subject->measure->more_claims = true;
	return true;
}

bool pyh_size_array(struct pyh_subject *subject)
{
	uint64_t count, items, allocated, descr, width = 0;

	plain_extent(subject);
	if (!pyh_subject_count(subject, &count))
		return false;
	if (!pyh_subject_get(subject, PYH_ARRAY_OB_ITEM, &items) ||
	    !pyh_subject_get(subject, PYH_ARRAY_ALLOCATED, &allocated) ||
	    !pyh_subject_get(subject, PYH_ARRAY_OB_DESCR, &descr))
		return true;
	if (count > allocated || allocated >> 44 || descr == 0 || descr % 8)
		return false;
	// The descriptor is in a page that many cores lack. The buffer is the
	// array's all the same.
	if (!pyh_subject_at(subject, descr, PYH_ARRAYDESCR_ITEMSIZE, &width))
		return pyh_subject_claim(subject, items, allocated);
	width &= UINT32_MAX;
	if (width == 0 || width > 16)
		return false;
	subject->measure->size += allocated * width;
	return pyh_subject_claim(subject, items, allocated * width);
}
