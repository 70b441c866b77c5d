/*
 * Fuzz target: values of a small heap, built by hand, that was damaged.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte of the input chooses the release, the second the size of the
 * buffer. The rest is a list of damages of 8 bytes each: where (24 bits), what
 * (8 bits), and an argument (32 bits). Most are in the objects, some anywhere
 * in the heap, types included. Whatever the damage, each value is a text that
 * ends within its buffer and is UTF-8, and is found with bounded work.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/tinyvalues.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DAMAGES_MAX = 1024, TEXT_MAX = 300 };

/** A new value for a word, most of them such as lead somewhere. */
static uint64_t damaged(const struct tinyvalues *values, uint64_t word,
			unsigned int what, uint32_t argument)
{
	switch (what % 10) {
	case 0:
		return argument;
	case 1:
		return values->all[argument % values->count].address;
	case 2:
		return values->start +
		       argument % (values->end - values->start) / 8 * 8;
	case 3:
		return (uint64_t)argument << 32 | argument;
	case 4:
		return -(uint64_t)argument;
	case 5:
		return word ^ UINT64_C(1) << argument % 64;
	case 6:
		return UINT64_C(0x7e0000000000) + argument;
	case 7:
		return word + (uint64_t)(int64_t)(int32_t)argument;
	case 8:
		return (word & ~UINT64_C(0xff)) | (argument & 0xff);
	default:
		return UINT64_C(1) << argument % 64;
	}
}

static void apply(const struct tinyvalues *values, struct tinyheap *heap,
		  const uint8_t *damage)
{
	unsigned int what = damage[3];
	uint64_t start = what & 0x80 ? TINYHEAP_START : values->start;
	uint64_t words = (values->end - start) / 8, word, at;
	uint32_t where, argument;

	memcpy(&where, damage, sizeof(where));
	memcpy(&argument, damage + 4, sizeof(argument));
	at = start + (where & 0xffffff) % words * 8;
	memcpy(&word, heap->bytes + (at - TINYHEAP_START), 8);
	tinyheap_put(heap, at, damaged(values, word, what & 0x7f, argument), 8);
}

/** True for what is UTF-8, without surrogates. */
static int is_utf8(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		unsigned int more = *at < 0x80 ? 0 : *at < 0xc2 ? 9 :
				    *at < 0xe0 ? 1 : *at < 0xf0 ? 2 :
				    *at < 0xf5 ? 3 : 9;

		if (more == 9 || (at[0] == 0xed && at[1] >= 0xa0))
			return 0;
		for (at++; more > 0; more--, at++)
			if ((*at & 0xc0) != 0x80)
				return 0;
	}
	return 1;
}

static void see_all(struct tinyvalues *values, size_t size)
{
	// Of exactly this size, so that a sanitizer sees what is beyond.
	char *text = malloc(size);

	if (!text)
		abort();
	for (size_t i = 0; i < values->count; i++) {
		memset(text, 0xff, size);
		(void)tinyvalues_text(values, values->all[i].address, text,
				      size);
		if (!memchr(text, '\0', size) || !is_utf8(text))
			abort();
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tinyvalues values;
	struct tinyheap heap;

	if (size < 2)
		return 0;
	tinyheap_init(&heap, PYH_MINOR_FIRST +
		      data[0] % (PYH_MINOR_LAST - PYH_MINOR_FIRST + 1));
	tinyvalues_build(&values, &heap);
	for (size_t i = 2; i + 8 <= size && i / 8 < DAMAGES_MAX; i += 8)
		apply(&values, &heap, data + i);
	tinyheap_open(&heap);
	see_all(&values, PYH_VALUE_TEXT_MIN +
		data[1] % (TEXT_MAX - PYH_VALUE_TEXT_MIN));
	tinyvalues_deinit(&values);
	tinyheap_deinit(&heap);
	return 0;
}
