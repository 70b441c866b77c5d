/*
 * The x86 extended register state; see xstate.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/xstate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum {
	LEGACY_SIZE = 576,	/* x87, SSE and the header: same everywhere */
	XCR0_AT = 464,		/* the kernel puts the mask there */
	IN_USE_AT = 512,	/* XSTATE_BV, of the header */
};

/*
 * Intel SDM volume 1, chapter 13, in the layout of the processors that gdb and
 * lldb take as given (Skylake-X). The tiles of AMX, parts 17 and 18, are none of
 * them.
 */
static const struct xstate_part standard[XSTATE_PARTS] = {
	[2] = { 576, 256 },	/* upper halves of ymm */
	[3] = { 960, 64 },	/* MPX bounds */
	[4] = { 1024, 64 },
	[5] = { 1088, 64 },	/* AVX-512 masks */
	[6] = { 1152, 512 },	/* upper halves of zmm0-15 */
	[7] = { 1664, 1024 },	/* zmm16-31 */
	[9] = { 2688, 8 },	/* protection keys */
};

static const uint64_t tiles = UINT64_C(3) << 17;

/** Take parts out of a mask in an area. */
static void clear_bits(uint8_t *area, size_t at, uint64_t bits)
{
	uint64_t mask;

	memcpy(&mask, area + at, sizeof(mask));
	mask &= ~bits;
	memcpy(area + at, &mask, sizeof(mask));
}

uint8_t *xstate_move(const uint8_t *area, size_t size,
		     const struct xstate_part from[XSTATE_PARTS],
		     size_t *ret_size)
{
	size_t end = LEGACY_SIZE;
	uint64_t enabled;
	bool same;
	uint8_t *moved;

	if (size <= LEGACY_SIZE)
		return NULL;
	memcpy(&enabled, area + XCR0_AT, sizeof(enabled));
	same = !(enabled & tiles);
	for (unsigned int i = 2; i < XSTATE_PARTS; i++) {
		if (!(enabled >> i & 1) || standard[i].size == 0)
			continue;
		if (from[i].size != standard[i].size ||
		    from[i].offset > size ||
		    from[i].size > size - from[i].offset)
			return NULL;	/* not as the processor described it */
		same &= from[i].offset == standard[i].offset;
		end = standard[i].offset + standard[i].size;
	}
	if (same)
		return NULL;
	moved = calloc(1, end);
	if (!moved)
		return NULL;
	memcpy(moved, area, LEGACY_SIZE);
	clear_bits(moved, XCR0_AT, tiles);
	clear_bits(moved, IN_USE_AT, tiles);
	for (unsigned int i = 2; i < XSTATE_PARTS; i++)
		if ((enabled >> i & 1) && standard[i].size > 0)
			memcpy(moved + standard[i].offset,
			       area + from[i].offset, standard[i].size);
	*ret_size = end;
	return moved;
}

uint8_t *xstate_standard(const uint8_t *area, size_t size, size_t *ret_size)
{
#if defined(__x86_64__)
	struct xstate_part from[XSTATE_PARTS] = { 0 };
	unsigned int unused_c, unused_d;

	for (unsigned int i = 2; i < XSTATE_PARTS; i++)
		(void)__get_cpuid_count(0xd, i, &from[i].size, &from[i].offset,
					&unused_c, &unused_d);
	return xstate_move(area, size, from, ret_size);
#else
	(void)area;
	(void)size;
	(void)ret_size;
	return NULL;
#endif
}
