/*
 * The largest owners: what keeps most of the memory alive, each part of it said
 * once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An object stands for all that leads to it alone: of a module, its dict and the
 * one large variable in that it is the variable. What a suspect keeps has been
 * said, and is left out.
 */
#ifndef ANALYZER_LARGEST_H
#define ANALYZER_LARGEST_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/paths.h"
#include "analyzer/heap/suspects.h"
#include "image/base/error.h"

enum { LARGEST_MAX = 5 };

struct largest {
	uint32_t objects[LARGEST_MAX];	/* largest first; none lives by another */
	size_t count;
	uint64_t least;			/* bytes that each retains at least */
	uint64_t memory;		/* a hundred times that: the memory in
					   question, and of devices what tensors
					   have there */
};

/**
 * The analysis has its tree; suspects are what was found in it.
 *
 * @param paths  of the analysis, which know namespaces of modules
 */
struct error *largest_find(const struct analysis *analysis,
			   const struct suspects *suspects,
			   struct paths *paths, struct largest *ret);

#endif
