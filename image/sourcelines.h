/*
 * Places in source code of machine instructions, by debug information.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of a module's file or its separate debug file, by libdw, and only when asked:
 * of each address once, as stacks of threads are alike. A function that the
 * compiler has put into another one has no frame; the debug information alone
 * tells of it. Not for concurrent use.
 */
#ifndef IMAGE_SOURCELINES_H
#define IMAGE_SOURCELINES_H

#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"

enum { SOURCE_PLACES_MAX = 64 };	/* of one instruction */

struct source_place {
	const char *function;	/* that was inlined, as the linker would know
				   it, else as the source calls it; NULL: it is
				   the function that has the code */
	const char *file;	/* NULL: not known */
	int line;		/* 0: not known */
};

struct source_lines;

/** @param image  borrowed; must outlive them */
struct error *source_lines_create(struct image *image,
				  struct source_lines **ret);
void source_lines_destroy(struct source_lines *lines);

/**
 * What was being done at an address: first the innermost of the functions that
 * were inlined there, then where in which function each of them was inlined,
 * and last where that was in the function that has the code.
 *
 * @param ret  borrowed, until the next call
 * @return how many; 0: there is no debug information
 */
size_t source_lines_at(struct source_lines *lines, uint64_t address,
		       const struct source_place **ret);

#endif
