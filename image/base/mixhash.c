/*
 * A fast hash of bytes; see mixhash.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Four sums run side by side, each word multiplied into its own, so that a
 * processor need not wait for one product before it begins the next. Every step
 * can be undone, so no change of a single word is lost on the way.
 */
#include "image/base/mixhash.h"

#include <string.h>

enum { LANES = 4, STRIPE = LANES * 8 };

#define ODD_1	UINT64_C(0x9E3779B97F4A7C15)
#define ODD_2	UINT64_C(0xD6E8FEB86659FD93)

static inline uint64_t turn(uint64_t value, unsigned int bits)
{
	return value << bits | value >> (64 - bits);
}

static inline uint64_t step(uint64_t sum, uint64_t word)
{
	return turn((sum ^ word) * ODD_1, 29) + ODD_2;
}

static inline uint64_t word_at(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

static uint64_t finish(uint64_t sum)
{
	sum = (sum ^ sum >> 32) * ODD_2;
	sum = (sum ^ sum >> 29) * ODD_1;
	return sum ^ sum >> 32;
}

uint64_t mixhash(const void *bytes, size_t size, uint64_t seed)
{
	const uint8_t *at = bytes;
	uint64_t sums[LANES], sum = seed ^ size * ODD_2, last = 0;
	size_t left = size;

	for (unsigned int i = 0; i < LANES; i++)
		sums[i] = seed + (i + 1) * ODD_1;
	for (; left >= STRIPE; at += STRIPE, left -= STRIPE)
		for (unsigned int i = 0; i < LANES; i++)
			sums[i] = step(sums[i], word_at(at + i * 8));
	for (unsigned int i = 0; i < LANES; i++)
		sum = step(sum, finish(sums[i]));
	for (; left >= 8; at += 8, left -= 8)
		sum = step(sum, word_at(at));
	if (left > 0)
		memcpy(&last, at, left);
	return finish(step(sum, last));
}
