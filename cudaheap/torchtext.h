/*
 * Text in PyTorch's structures: a std::string of either kind of libstdc++.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CUDAHEAP_TORCHTEXT_H
#define CUDAHEAP_TORCHTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"

enum {
	TORCH_TEXT_MAX = 4096,	/* bytes of a text, NUL included; the rest is cut
				   off */
	TORCH_STRING_SIZE = 32,	/* of a std::string of the newer kind */
};

/** Are these bytes, which lie at an address, a std::string of the newer kind? */
bool torch_string_is(const uint8_t bytes[TORCH_STRING_SIZE], uint64_t address);

/** The text of a std::string, cut; false: it is none, or was not captured. */
bool torch_string_read(struct memory_reader *memory, uint64_t address,
		       char text[TORCH_TEXT_MAX]);

#endif
