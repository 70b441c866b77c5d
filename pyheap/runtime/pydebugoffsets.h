/*
 * _Py_DebugOffsets: the offsets that CPython 3.13 and later tell themselves.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The structure stands at the very start of _PyRuntime: the cookie "xdebugpy",
 * the version, whether the build is free-threaded, then groups of 64-bit
 * words, each a size or an offset. Where a word stands depends on the minor
 * release.
 */
#ifndef PYHEAP_PYDEBUGOFFSETS_H
#define PYHEAP_PYDEBUGOFFSETS_H

#include <stdbool.h>
#include <stdint.h>

#include "pyheap/runtime/pyruntime.h"

/** The cookie as the word a little-endian machine reads. */
#define PYH_DEBUG_OFFSETS_COOKIE UINT64_C(0x7970677562656478)

struct pyh_debug_offsets_head {
	uint32_t version;	/* PY_VERSION_HEX */
	bool free_threaded;
};

/** Read cookie and version; false where there are none that could be. */
bool pyh_debug_offsets_read(struct memory_reader *reader, uint64_t address,
			    struct pyh_debug_offsets_head *ret);

/**
 * Put what the target says into runtime->at and runtime->size_of. Words that
 * cannot be true (zero, beyond their structure) are left out. Says what was
 * done in runtime->layout_by.
 */
void pyh_debug_offsets_apply(struct pyh_runtime *runtime,
			     struct memory_reader *reader);

#endif
