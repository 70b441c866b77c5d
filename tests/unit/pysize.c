/*
 * Sizes of objects that are not, or not quite, what they seem.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/sizes/pysize.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "tests/lib/check.h"
#include "tests/lib/tinyheap.h"

static uint64_t make_list(struct tinyheap *heap, uint64_t count,
			  uint64_t allocated, uint64_t items)
{
	uint64_t list = tinyheap_object(heap, heap->list, 40);

	tinyheap_set(heap, list, PYH_VAR_OB_SIZE, count);
	tinyheap_set(heap, list, PYH_LIST_ALLOCATED, allocated);
	tinyheap_set(heap, list, PYH_LIST_OB_ITEM, items);
	return list;
}

static void test_lists(void)
{
	struct tinyheap heap;
	struct pyh_measure got;
	uint64_t good, bad[8], n = 0, items, far;

	tinyheap_init(&heap, 12);
	items = tinyheap_take(&heap, 64);
	far = TINYHEAP_START + TINYHEAP_SIZE - 8;
	good = make_list(&heap, 3, 4, items);
	bad[n++] = make_list(&heap, 3, UINT64_C(1) << 60, items);
	bad[n++] = make_list(&heap, 5, 4, items);
	bad[n++] = make_list(&heap, UINT64_MAX, 4, items);
	bad[n++] = make_list(&heap, 3, 4, items + 4);
	bad[n++] = make_list(&heap, 3, 4, 0);
	bad[n++] = make_list(&heap, 3, 1 << 20, far);
	bad[n++] = make_list(&heap, 3, UINT64_C(1) << 43, items);
	bad[n++] = make_list(&heap, 3, 1 << 20, 0x1000);
	tinyheap_open(&heap);

	for (uint64_t i = 0; i < n; i++)
		CHECK("an impossible list is refused",
		      tinyheap_measure(&heap, bad[i], &got) ==
			      PYH_MEASURE_REFUSED);
	CHECK("a list is measured",
	      tinyheap_measure(&heap, good, &got) == PYH_MEASURED);
	CHECK_U64("size of a list", got.size, 40 + 16 + 4 * 8);
	CHECK_U64("extent of a list", got.extent, 40);
	CHECK_U64("claims of a list", got.num_claims, 1);
	CHECK_U64("claim's address", got.claims[0].address, items);
	CHECK_U64("claim's size", got.claims[0].size, 32);
	tinyheap_deinit(&heap);
}

static void test_dicts(unsigned int minor)
{
	static const char *const keys[] = { "a", "b" };
	struct tinyheap heap;
	struct pyh_measure got;
	uint64_t good, bad[6], table, n = 0, lost;
	bool old = minor <= 10;

	tinyheap_init(&heap, minor);
	good = tinyheap_dict(&heap, keys, (uint64_t[]){ 1, 2 }, 2);
	for (n = 0; n < 6; n++)
		bad[n] = tinyheap_dict(&heap, keys, (uint64_t[]){ 1, 2 }, 2);
	lost = tinyheap_dict(&heap, keys, (uint64_t[]){ 1, 2 }, 2);
	tinyheap_set(&heap, lost, PYH_DICT_MA_KEYS, 0x7e0000000000);
	tinyheap_set(&heap, bad[0], PYH_DICT_MA_KEYS, TINYHEAP_START + 3);
	tinyheap_set(&heap, bad[1], PYH_DICT_MA_USED, 3);
	tinyheap_set(&heap, bad[2], PYH_DICT_MA_USED, UINT64_MAX);
	for (n = 3; n < 6; n++) {
		memcpy(&table, heap.bytes + (bad[n] - TINYHEAP_START) +
			       pyh_offset(&heap.runtime, PYH_DICT_MA_KEYS), 8);
		if (n == 3)
			tinyheap_set(&heap, table, PYH_KEYS_DK_NENTRIES, 6);
		else if (n == 4)
			tinyheap_set(&heap, table, PYH_KEYS_DK_USABLE,
				     UINT64_MAX);
		else
			tinyheap_set(&heap, table, old ? PYH_KEYS_DK_SIZE :
				     PYH_KEYS_DK_LOG2_SIZE, 200);
	}
	tinyheap_open(&heap);

	for (uint64_t i = 0; i < 6; i++)
		CHECK("an impossible dict is refused",
		      tinyheap_measure(&heap, bad[i], &got) ==
			      PYH_MEASURE_REFUSED);
	CHECK("a dict is measured",
	      tinyheap_measure(&heap, good, &got) == PYH_MEASURED);
	CHECK_U64("size of a dict", got.size,
		  48 + 16 + (old ? 40 : 32) + 8 + 5 * 24);
	CHECK("a dict without its keys is measured partly",
	      tinyheap_measure(&heap, lost, &got) == PYH_MEASURED_PARTLY);
	CHECK("and not exactly", !got.exact);
	tinyheap_deinit(&heap);
}

static uint64_t make_set(struct tinyheap *heap, uint64_t fill, uint64_t used,
			 uint64_t mask, uint64_t table)
{
	uint64_t set = tinyheap_object(heap, heap->set, 200);

	tinyheap_set(heap, set, PYH_SET_FILL, fill);
	tinyheap_set(heap, set, PYH_SET_USED, used);
	tinyheap_set(heap, set, PYH_SET_MASK, mask);
	tinyheap_set(heap, set, PYH_SET_TABLE, table ? table :
		     set + pyh_offset(&heap->runtime, PYH_SET_SMALLTABLE));
	return set;
}

static void test_sets(void)
{
	struct tinyheap heap;
	struct pyh_measure got;
	uint64_t small, large, bad[6], n = 0, table;

	tinyheap_init(&heap, 13);
	table = tinyheap_take(&heap, 32 * 16);
	small = make_set(&heap, 1, 1, 7, 0);
	large = make_set(&heap, 20, 9, 31, table);
	bad[n++] = make_set(&heap, 1, 1, 9, table);
	bad[n++] = make_set(&heap, 1, 1, (UINT64_C(1) << 60) - 1, table);
	bad[n++] = make_set(&heap, 1, 2, 31, table);
	bad[n++] = make_set(&heap, 40, 2, 31, table);
	bad[n++] = make_set(&heap, 1, 1, 31, 0);
	bad[n++] = make_set(&heap, 1, 1, 31, table + 1);
	tinyheap_open(&heap);

	for (uint64_t i = 0; i < n; i++)
		CHECK("an impossible set is refused",
		      tinyheap_measure(&heap, bad[i], &got) ==
			      PYH_MEASURE_REFUSED);
	CHECK("a small set is measured",
	      tinyheap_measure(&heap, small, &got) == PYH_MEASURED);
	CHECK_U64("size of a small set", got.size, 216);
	CHECK_U64("claims of a small set", got.num_claims, 0);
	CHECK("a set is measured",
	      tinyheap_measure(&heap, large, &got) == PYH_MEASURED);
	CHECK_U64("size of a set", got.size, 216 + 32 * 16);
	tinyheap_deinit(&heap);
}

static void test_values(void)
{
	struct tinyheap heap;
	struct pyh_measure got;
	uint64_t text, kinds, length, tuple, minus, number, sign;

	tinyheap_init(&heap, 12);
	text = tinyheap_str(&heap, "hello", 5);
	kinds = tinyheap_str(&heap, "hello", 5);
	tinyheap_put(&heap, kinds + pyh_offset(&heap.runtime, PYH_ASCII_STATE),
		     0x7c, 4);
	length = tinyheap_str(&heap, "hello", 5);
	tinyheap_set(&heap, length, PYH_ASCII_LENGTH, UINT64_C(1) << 60);
	tuple = tinyheap_object(&heap, heap.tuple, 48);
	tinyheap_set(&heap, tuple, PYH_VAR_OB_SIZE, UINT64_C(1) << 60);
	minus = tinyheap_object(&heap, heap.tuple, 48);
	tinyheap_set(&heap, minus, PYH_VAR_OB_SIZE, UINT64_MAX);
	number = tinyheap_object(&heap, heap.integer, 64);
	tinyheap_set(&heap, number, PYH_LONG_LONG_VALUE_LV_TAG, 3 << 3 | 2);
	sign = tinyheap_object(&heap, heap.integer, 64);
	tinyheap_set(&heap, sign, PYH_LONG_LONG_VALUE_LV_TAG, UINT64_MAX);
	tinyheap_open(&heap);

	CHECK("a str is measured",
	      tinyheap_measure(&heap, text, &got) == PYH_MEASURED);
	CHECK_U64("size of a str", got.size, 40 + 6);
	CHECK("a str of characters of 7 bytes is refused",
	      tinyheap_measure(&heap, kinds, &got) == PYH_MEASURE_REFUSED);
	CHECK("a str of 2^60 characters is refused",
	      tinyheap_measure(&heap, length, &got) == PYH_MEASURE_REFUSED);
	CHECK("a tuple of 2^60 items is refused",
	      tinyheap_measure(&heap, tuple, &got) == PYH_MEASURE_REFUSED);
	CHECK("a tuple of -1 items is refused",
	      tinyheap_measure(&heap, minus, &got) == PYH_MEASURE_REFUSED);
	CHECK("an int is measured",
	      tinyheap_measure(&heap, number, &got) == PYH_MEASURED);
	CHECK_U64("size of an int", got.size, 24 + 3 * 4);
	CHECK("an int of no sign is refused",
	      tinyheap_measure(&heap, sign, &got) == PYH_MEASURE_REFUSED);
	tinyheap_deinit(&heap);
}

static void count_claim(void *context, struct pyh_claim claim)
{
	uint64_t *count = context;

	(void)claim;
	++*count;
}

static struct pyh_chains *heap_chains(struct tinyheap *heap)
{
	return pyh_type_find(&heap->reader, heap->list)->chains;
}

/* A deque whose blocks run in a circle that never gets to the last one. */
static void test_circle(void)
{
	struct tinyheap heap;
	struct pyh_measure got;
	uint64_t deque, huge, block, type, count = 0;

	tinyheap_init(&heap, 11);
	type = tinyheap_type(&heap, "collections.deque", PYH_TPFLAGS_HAVE_GC,
			     heap.runtime.size_of[PYH_STRUCT_DEQUE], 0,
			     heap.object);
	block = tinyheap_take(&heap, 528);
	tinyheap_set(&heap, block, PYH_DEQUEBLOCK_RIGHTLINK, block);
	deque = tinyheap_object(&heap, type, 216);
	tinyheap_set(&heap, deque, PYH_VAR_OB_SIZE, 640);
	tinyheap_set(&heap, deque, PYH_DEQUE_LEFTBLOCK, block);
	tinyheap_set(&heap, deque, PYH_DEQUE_RIGHTBLOCK, block + 8);
	huge = tinyheap_object(&heap, type, 216);
	tinyheap_set(&heap, huge, PYH_VAR_OB_SIZE, UINT64_C(1) << 40);
	tinyheap_set(&heap, huge, PYH_DEQUE_LEFTBLOCK, block);
	tinyheap_set(&heap, huge, PYH_DEQUE_RIGHTBLOCK, block + 8);
	tinyheap_open(&heap);

	CHECK("a circle of blocks is measured",
	      tinyheap_measure(&heap, deque, &got) == PYH_MEASURED);
	CHECK_U64("by the items that it says it has", got.size,
		  216 + 16 + 10 * 528);
	CHECK("and has more claims than one", got.more_claims);
	pyh_claims_each(&heap.runtime, pyh_type_find(&heap.reader, type), deque,
			heap.bytes + (deque - TINYHEAP_START), 216,
			&heap.memory, count_claim, &count);
	CHECK("which are not walked forever", count > 1 && count <= 12);
	CHECK("more blocks than memory has room for are refused",
	      tinyheap_measure(&heap, huge, &got) == PYH_MEASURE_REFUSED);
	atomic_store(&heap_chains(&heap)->steps, 5);
	count = 0;
	pyh_claims_each(&heap.runtime, pyh_type_find(&heap.reader, type), deque,
			heap.bytes + (deque - TINYHEAP_START), 216,
			&heap.memory, count_claim, &count);
	CHECK_U64("nor beyond the steps of all chains together", count, 1 + 5);
	tinyheap_deinit(&heap);
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) +
		 UINT64_C(1442695040888963407);
	return *state >> 16;
}

/* A word as damaged objects have them: near to what would be right. */
static uint64_t random_word(uint64_t *state)
{
	uint64_t bits = next_random(state);

	switch (bits & 7) {
	case 0:
		return 0;
	case 1:
		return next_random(state) % 100;
	case 2:
		return UINT64_C(1) << (next_random(state) % 64);
	case 3:
		return UINT64_MAX - next_random(state) % 100;
	case 4:
		return next_random(state) << 20 ^ next_random(state);
	default:
		return TINYHEAP_START +
		       (next_random(state) % TINYHEAP_SIZE & ~UINT64_C(7));
	}
}

/*
 * Every kind in every release, over memory of random words: whatever comes
 * out, it comes, and claims stay in proportion to the memory there is.
 */
static void test_noise(unsigned int minor)
{
	struct tinyheap heap;
	uint64_t state = minor, most = 0, refused = 0, measured = 0;

	tinyheap_init(&heap, minor);
	for (uint64_t at = 256 << 10; at < TINYHEAP_SIZE; at += 8)
		tinyheap_put(&heap, TINYHEAP_START + at, random_word(&state), 8);
	tinyheap_open(&heap);
	for (int i = 0; i < 40000; i++) {
		struct pyh_type type = {
			.chains = i % 4 ? heap_chains(&heap) : NULL,
			.kind = (enum pyh_kind)(next_random(&state) %
						PYH_NUM_KINDS),
			.basicsize = (int64_t)(16 + next_random(&state) % 300),
			.itemsize = next_random(&state) % 3 ? 0 : 8,
			.flags = next_random(&state) & 0xffff,
			.presize = 16, .name = "noise",
			.is_static = next_random(&state) & 1,
			.hidden_items = next_random(&state) % 20,
		};
		uint64_t at = (next_random(&state) % (TINYHEAP_SIZE - 8192) +
			       4096) & ~UINT64_C(7);
		size_t available = next_random(&state) % 600;
		struct pyh_measure got;
		uint64_t claims = 0;

		if (pyh_measure(&heap.runtime, &type, TINYHEAP_START + at,
				heap.bytes + at, available, &heap.memory,
				&got) == PYH_MEASURE_REFUSED) {
			refused++;
			continue;
		}
		measured++;
		pyh_claims_each(&heap.runtime, &type, TINYHEAP_START + at,
				heap.bytes + at, available, &heap.memory,
				count_claim, &claims);
		if (claims > most)
			most = claims;
	}
	CHECK("noise is refused, and sometimes not",
	      refused > 1000 && measured > 1000);
	CHECK("claims of noise are few", most < TINYHEAP_SIZE / 32);
	tinyheap_deinit(&heap);
}

int main(void)
{
	test_lists();
	test_dicts(8);
	test_dicts(12);
	test_sets();
	test_values();
	test_circle();
	for (unsigned int minor = 8; minor <= 15; minor++)
		test_noise(minor);
	return check_result();
}
