/*
 * Moving the parts of an XSAVE area to where readers expect them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "image/live/xstate.h"
#include "tests/lib/check.h"

enum { XCR0_AT = 464, AMD_SIZE = 2440 };

/* Zen 4: no MPX, so that all from AVX-512 on stands 256 bytes lower. */
static const struct xstate_part amd[XSTATE_PARTS] = {
	[2] = { 576, 256 },
	[5] = { 832, 64 },
	[6] = { 896, 512 },
	[7] = { 1408, 1024 },
	[9] = { 2432, 8 },
};

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
	return check_result();
}
