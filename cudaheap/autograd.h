/*
 * PyTorch's graph of autograd: which node leads to which, and which tensors each
 * keeps for backward().
 * SPDX-License-Identifier: Apache-2.0
 *
 * A node is of one of some 700 classes that are generated, and has tensors in
 * places that only its class knows. No class is modelled here: whatever word of a
 * node's memory behind what all nodes have is the address of a tensor is one that
 * it keeps. That holds for vectors in there, too: three words, begin, end and
 * room. What follows must be what follows in a torch::autograd::SavedVariable:
 * memory of a block that was used before, and of which a class makes no use, may
 * have addresses left in it. Edges are a vector near the start. Where a program has
 * hooks for what is saved (as checkpointing and save_on_cpu() do), a SavedVariable
 * has no tensor, but an object that has what the hooks made of it.
 *
 * How long it is what all nodes have, those tell that add up gradients: the first
 * that is their own is the tensor whose gradient that is. How long a SavedVariable
 * is, which changed within a release's layout of tensors, its flags tell.
 *
 * Source: PyTorch torch/csrc/autograd/function.h, edge.h, saved_variable.h and
 * functions/accumulate_grad.h of 1.13 to 2.15.
 */
#ifndef CUDAHEAP_AUTOGRAD_H
#define CUDAHEAP_AUTOGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/base/hashmap.h"
#include "image/memory.h"

enum {
	AUTOGRAD_NODE_MAX = 1 << 16,	/* bytes of one that are looked at */
	AUTOGRAD_VECTOR_MAX = 1 << 20,	/* bytes of a vector in it */
};

/** A node's memory, as its allocator has it. */
struct autograd_place {
	uint64_t address, end;
};

struct autograd_node {
	uint64_t address;
	/* where its own begin in edges and saved; they end with the next one's */
	uint32_t first_edge, first_saved;
};

/** What hooks made of a tensor that was to be saved. */
struct autograd_packed {
	uint64_t hooks;		/* address of the C++ object that has it */
	uint32_t node;
};

struct autograd {
	struct autograd_node *nodes;	/* by address, and one more */
	uint32_t count;
	uint32_t *edges;		/* numbers of nodes */
	uint32_t *saved;		/* numbers of tensors */
	size_t num_edges, num_saved, room_edges, room_saved;
	struct autograd_packed *packed;	/* by node */
	size_t num_packed, room_packed;
	uint64_t unread;		/* nodes not captured */
	uint32_t own;			/* offset of what is a class's own */
	bool knows_own;			/* false: the least of any release */
	uint32_t flags;			/* offset in a SavedVariable; 0: not known,
					   and not checked */
	uint32_t saved_size;		/* of one; 0: not known, and vectors of
					   them not looked at */
};

struct autograd_options {
	struct memory_reader *memory;
	const struct autograd_place *places;	/* by address; borrowed */
	size_t count;
	const struct hashmap *tensors;	/* address: number + 1 */
	bool long_counts;	/* owners of tensors are counted by two words */
	/* by number of tensor: grows by one for each place that keeps it. May be
	   NULL. */
	uint32_t *owners;
	/** Does a node add up gradients? May be NULL. */
	bool (*accumulates)(void *context, uint64_t address);
	/**
	 * More memory that is a node's, if this word of it leads there: the
	 * object of a function that is written in Python. May be NULL.
	 */
	bool (*more)(void *context, uint64_t node, uint64_t word,
		     struct autograd_place *ret);
	/** Is there an object that has hooks, and what they made? May be NULL. */
	bool (*hooks)(void *context, uint64_t address);
	void *context;
};

/** Read all nodes once. */
struct error *autograd_make(const struct autograd_options *options,
			    struct autograd *ret);
/** Safe on a zeroed one. */
void autograd_deinit(struct autograd *graph);

/** The number of the node at an address, or UINT32_MAX. */
uint32_t autograd_find(const struct autograd *graph, uint64_t address);

/**
 * Which root each node is reached from: of several the one that is not reached
 * from another one, so that what a loss has is the loss's, and not that of a
 * result on the way to it.
 *
 * @param roots  numbers of nodes, count of them, in order of preference
 * @param ret  room for as many numbers as there are nodes: index into roots, or
 *	UINT32_MAX: none leads there
 */
struct error *autograd_reach(const struct autograd *graph,
			     const uint32_t *roots, size_t count,
			     uint32_t *ret);

#endif
