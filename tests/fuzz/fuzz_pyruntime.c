/*
 * Fuzz target: a runtime built by hand, with words of it changed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Input: a byte that chooses the release, then damages of 8 bytes each: which
 * word (of those that are not zero, or any), what to make of it, an argument.
 */
#include <stdlib.h>
#include <string.h>

#include "pyheap/runtime/pyruntime.h"
#include "tests/lib/tinyruntime.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { DAMAGES_MAX = 256, WORDS_MAX = TINYHEAP_SIZE / 8 };

struct words {
	uint32_t *index;	/* of words that are not zero */
	size_t count;
	size_t all;		/* words built, zero or not */
};

static uint64_t word_of(const struct tinyheap *heap, size_t index)
{
	uint64_t word;

	memcpy(&word, heap->bytes + index * 8, sizeof(word));
	return word;
}

static void find_words(const struct tinyheap *heap, struct words *words)
{
	words->count = 0;
	words->all = (size_t)(heap->next - TINYHEAP_START) / 8;
	for (size_t i = 0; i < words->all; i++)
		if (word_of(heap, i) != 0)
			words->index[words->count++] = (uint32_t)i;
}

static void damage(struct tinyheap *heap, const struct words *words,
		   const uint8_t *input)
{
	uint32_t where, what;
	size_t index;
	uint64_t word, here;

	memcpy(&where, input, 4);
	memcpy(&what, input + 4, 4);
	index = what & 0x80 ? where % words->all :
			      words->index[where % words->count];
	word = word_of(heap, index);
	here = TINYHEAP_START + index * 8;
	switch (what & 7) {
	case 0: word = 0; break;
	case 1: word = here; break;
	case 2: word ^= UINT64_C(1) << (what >> 8 & 63); break;
	case 3: word = word_of(heap, words->index[(what >> 8) %
						  words->count]); break;
	case 4: word = TINYHEAP_START + (what >> 8) % (words->all * 8); break;
	case 5: word = UINT64_MAX - (what >> 8); break;
	case 6: word = what >> 8; break;
	default: word += 8 * (uint64_t)(what >> 8 & 0xff) - 1024; break;
	}
	tinyheap_put(heap, here, word, 8);
}

static void open_it(struct tinyruntime *tiny)
{
	struct pyh_runtime *runtime = NULL;
	struct error *err;

	tinyruntime_open(tiny);
	err = pyh_runtime_open(&tiny->heap.image, &runtime);
	if (!err && (runtime->num_interpreters == 0 || !runtime->layout ||
		     runtime->interpreters[0].address == 0))
		abort();
	if (err && runtime)
		abort();
	error_free(err);
	pyh_runtime_close(runtime);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	static uint32_t index[WORDS_MAX];
	struct words words = { .index = index };
	struct tinyruntime tiny;
	unsigned int minor;

	if (size == 0)
		return 0;
	minor = PYH_MINOR_FIRST +
		input[0] % (PYH_MINOR_LAST - PYH_MINOR_FIRST + 1);
	tinyruntime_init(&tiny, minor);
	tinyruntime_build(&tiny, 3u << 24 | minor << 16 | 0xf0);
	find_words(&tiny.heap, &words);
	for (size_t at = 1; at + 8 <= size && at / 8 < DAMAGES_MAX; at += 8)
		damage(&tiny.heap, &words, input + at);
	open_it(&tiny);
	tinyruntime_deinit(&tiny);
	return 0;
}
