/*
 * Searching the variables of a module for a std::vector, or for pointers: for
 * what nothing exports.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CUDAHEAP_CACHINGSCAN_H
#define CUDAHEAP_CACHINGSCAN_H

#include "image/image.h"

/** Three words of a std::vector, and where they are. */
struct caching_vector {
	uint64_t address, first, last, reserved;
};

/**
 * Call fn for all that looks like a vector that is not empty in what was written
 * to between two addresses, until it returns true.
 *
 * @return whether it did
 */
bool caching_scan(const struct image *image, struct memory_reader *memory,
		  uint64_t start, uint64_t end,
		  bool (*fn)(void *context, const struct caching_vector *vector),
		  void *context);

/** The same of each word that is not 0, whatever it is. */
bool caching_scan_words(const struct image *image, struct memory_reader *memory,
			uint64_t start, uint64_t end,
			bool (*fn)(void *context, uint64_t word),
			void *context);

/** The name of a module without its folders. */
const char *caching_base_name(const struct module *module);

#endif
