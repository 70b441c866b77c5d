/*
 * Allocators that take malloc's place: recognised, not broken down.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_OTHERALLOCATORS_H
#define ANALYZER_OTHERALLOCATORS_H

#include <stddef.h>

#include "image/image.h"

enum { OTHER_ALLOCATORS_MAX = 8 };

struct other_allocator {
	const char *name;	/* "jemalloc" */
	const char *module;	/* the path of where it is; borrowed */
};

/**
 * By names of libraries, and by what the program itself exports.
 *
 * @return how many
 */
size_t other_allocators_find(struct image *image,
			     struct other_allocator ret[OTHER_ALLOCATORS_MAX]);

#endif
