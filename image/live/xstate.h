/*
 * The x86 extended register state in the layout that core readers assume.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LIVE_XSTATE_H
#define LIVE_XSTATE_H

#include <stddef.h>
#include <stdint.h>

/**
 * Where a processor puts each part of its XSAVE area is its own affair, and a
 * core does not say it. AMD's stand elsewhere than Intel's from AVX-512 on;
 * gdb up to 13 knows only Intel's and complains of a section that is too
 * small. So the parts are moved to where Intel's processors have them. It also
 * complains of one that goes on behind the protection keys: the tiles of AMX are
 * left out, as gdb itself does in cores, and their bits in the masks cleared.
 *
 * @param area, size  NT_X86_XSTATE as ptrace gave it, of this processor
 * @param ret_size  bytes of the result
 * @return a new area that the caller frees; NULL where nothing is to be moved
 *	(or there is no memory): the area is to be used as it is
 */
uint8_t *xstate_standard(const uint8_t *area, size_t size, size_t *ret_size);

/** One part of an area; for tests. */
struct xstate_part {
	uint32_t offset, size;	/* bytes; size 0: the processor has none */
};

enum { XSTATE_PARTS = 20 };

/** As xstate_standard(), of a processor whose parts are given. */
uint8_t *xstate_move(const uint8_t *area, size_t size,
		     const struct xstate_part from[XSTATE_PARTS],
		     size_t *ret_size);

#endif
