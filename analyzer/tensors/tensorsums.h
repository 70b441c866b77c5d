/*
 * Sums that go on and on: results with the graphs of all that was added to them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * `total += loss` makes a node that leads to the last total's and to the loss's.
 * After many steps the graph of the total is a chain of such nodes, with the graph
 * of one step at each link. Chains are in every graph: of layers, which save what
 * they are given, of a residual network, of steps of a recurrent one. But there the
 * graph at a link has something in common with that at another one, or goes on in
 * the chain. Here none has but the leaves: parameters. As many as this are hardly
 * a batch whose losses are added up before one backward().
 */
#ifndef ANALYZER_TENSORSUMS_H
#define ANALYZER_TENSORSUMS_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/tensors/tensors.h"

enum { TENSORSUMS_LEAST = 32 };		/* graphs */

struct tensorsum {
	uint32_t tensor;	/* its number: the result, which Python has */
	uint32_t links;		/* nodes of the chain that lead to more than the
				   next one */
	uint32_t graphs;	/* with nothing in common */
	uint32_t nodes;		/* all of them, and … */
	uint64_t node_bytes;	/* … the memory they take */
};

struct tensorsums {
	struct tensorsum *items;
	size_t count;
	uint32_t *of_storage;	/* the one whose graph saved each storage: an
				   index, or TENSORS_NONE */
};

struct error *tensorsums_find(struct tensors *tensors, struct tensorsums *ret);
/** Safe on a zeroed one. */
void tensorsums_deinit(struct tensorsums *sums);

#endif
