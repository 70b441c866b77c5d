/*
 * Moving the parts of an XSAVE area to where readers expect them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "image/live/xstate.h"
#include "tests/lib/check.h"

enum { XCR0_AT = 464, AMD_SIZE = 2440, IN_USE_AT = 512, INTEL_SIZE = 11008 };

/* Zen 4: no MPX, so that all from AVX-512 on stands 256 bytes lower. */
static const struct xstate_part amd[XSTATE_PARTS] = {
	[2] = { 576, 256 },
	[5] = { 832, 64 },
	[6] = { 896, 512 },
	[7] = { 1408, 1024 },
	[9] = { 2432, 8 },
};

/* Sapphire Rapids: as readers expect it, with the tiles of AMX behind. */
static const struct xstate_part intel[XSTATE_PARTS] = {
	[2] = { 576, 256 },
	[5] = { 1088, 64 },
	[6] = { 1152, 512 },
	[7] = { 1664, 1024 },
	[9] = { 2688, 8 },
	[17] = { 2752, 64 },
	[18] = { 2816, 8192 },
};

static void leave_tiles_out(void)
{
	static uint8_t area[INTEL_SIZE];
	uint64_t enabled = 0x602e7, mask;
	size_t size = 0;
	uint8_t *moved;

	for (size_t i = 0; i < sizeof(area); i++)
		area[i] = (uint8_t)(i * 5 + (i >> 8));
	memcpy(area + XCR0_AT, &enabled, sizeof(enabled));
	memcpy(area + IN_USE_AT, &enabled, sizeof(enabled));
	moved = xstate_move(area, sizeof(area), intel, &size);
	if (CHECK("tiles are cut off", moved != NULL)) {
		CHECK_U64("size without tiles", size, 2696);
		memcpy(&mask, moved + XCR0_AT, sizeof(mask));
		CHECK_U64("what is there", mask, 0x2e7);
		memcpy(&mask, moved + IN_USE_AT, sizeof(mask));
		CHECK_U64("what is in use", mask, 0x2e7);
		CHECK("all else stays",
		      memcmp(moved + 576, area + 576, 256) == 0 &&
		      memcmp(moved + 1088, area + 1088, 1608) == 0);
	}
	free(moved);
}

int main(void)
{
	uint8_t area[AMD_SIZE];
	uint64_t enabled = 0x2e7;
	size_t size = 0;
	uint8_t *moved;

	for (size_t i = 0; i < sizeof(area); i++)
		area[i] = (uint8_t)(i * 7 + (i >> 8));
	memcpy(area + XCR0_AT, &enabled, sizeof(enabled));
	moved = xstate_move(area, sizeof(area), amd, &size);
	if (CHECK("parts are moved", moved != NULL)) {
		CHECK_U64("size with protection keys", size, 2696);
		CHECK("what all have stays", memcmp(moved, area, 832) == 0);
		CHECK("masks", memcmp(moved + 1088, area + 832, 64) == 0);
		CHECK("zmm0-15", memcmp(moved + 1152, area + 896, 512) == 0);
		CHECK("zmm16-31", memcmp(moved + 1664, area + 1408, 1024) == 0);
		CHECK("keys", memcmp(moved + 2688, area + 2432, 8) == 0);
	}
	free(moved);

	enabled = 7;	/* AVX only: the same everywhere */
	memcpy(area + XCR0_AT, &enabled, sizeof(enabled));
	CHECK("AVX stays", xstate_move(area, 832, amd, &size) == NULL);
	enabled = 0x2e7;
	memcpy(area + XCR0_AT, &enabled, sizeof(enabled));
	CHECK("an area that is too short is left alone",
	      xstate_move(area, 1000, amd, &size) == NULL);
	CHECK("so is one without a header",
	      xstate_move(area, 512, amd, &size) == NULL);
	leave_tiles_out();
	return check_result();
}
