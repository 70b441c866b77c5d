/*
 * What PyTorch's C++ objects lead to: nodes and edges beside those of the heap.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A tensor that a Python object stands for is one node with it: whoever holds the
 * tensor keeps the object as well. Tensors that only C++ has, nodes of autograd's
 * graph and storages are nodes of their own, behind those of all objects.
 */
#ifndef ANALYZER_TENSORLINKS_H
#define ANALYZER_TENSORLINKS_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/graph/extend.h"
#include "analyzer/heap/heldbytes.h"

struct analysis;
struct opened;

struct tensorlinks {
	uint32_t first;			/* number of the first node that is no
					   object */
	uint32_t count;			/* of these; some stand for nothing */
	uint32_t first_storage;		/* their numbers are the last ones */
	struct graph_link *links;
	size_t num_links;
	uint32_t *starts;		/* nodes that nothing known leads to */
	size_t num_starts;
	/* objects with a count that nothing of Python accounts for, but a link
	   does: by number */
	uint32_t *explained;
	size_t num_explained;
	struct held_storage *storages;	/* without owners */
	size_t num_storages;
};

/**
 * All there are: none where the process has no tensors, or such as cannot be
 * read.
 */
struct error *tensorlinks_make(struct opened *opened,
			       const struct analysis *analysis,
			       struct tensorlinks *ret);
/** Safe on a zeroed one. */
void tensorlinks_deinit(struct tensorlinks *links);

#endif
