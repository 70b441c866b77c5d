/*
 * What piles up under an object: what it alone keeps, by type.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The children of an object in the dominator tree are what nothing else keeps, and
 * nothing below the object either: they are added up by their types, with all that
 * each of them retains.
 */
#ifndef ANALYZER_PILE_H
#define ANALYZER_PILE_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/analysis.h"

enum { PILE_MANY = 100 };	/* objects of a type that are "many" */

/** Adds up children, of one object at a time. Not for concurrent use. */
struct piles {
	const struct analysis *analysis;	/* borrowed */
	uint64_t least;		/* bytes of a branch that matters */
	/* by type; of nothing between two calls of pile_under() */
	uint64_t *sums;
	uint32_t *counts, *samples;
	uint32_t *alike;	/* by type: the one that stands for all of its name */
};

/** The children that are of one type, or of several that are alike. */
struct of_type {
	uint32_t type;		/* one of these */
	uint32_t count, sample;	/* the sample has the lowest address */
	uint64_t retained;	/* by these together; 0: there are none */
};

struct pile {
	struct of_type most;	/* of the type that retains the most */
	struct of_type many[2];	/* of the first types that there are many of */
	uint64_t retained_by_many;	/* of all such types */
	uint32_t largest;	/* child of all; GRAPH_NONE: there is none */
};

struct error *piles_init(struct piles *piles, const struct analysis *analysis,
			 uint64_t least);
/** Safe on a zeroed one. */
void piles_deinit(struct piles *piles);

/**
 * What an object retains of memory of objects. Data of tensors is looked at by
 * itself: it lies about in few places, and what a model consists of is no leak.
 */
uint64_t pile_retained(const struct analysis *analysis, uint32_t object);

/**
 * Types of one name are one to people: a class statement, or namedtuple(), that
 * runs for each call makes a type of its own each time.
 */
bool pile_types_are_alike(const struct pyh_type *one,
			  const struct pyh_type *other);

/** A dict that a module has as its own. */
bool pile_is_namespace(const struct heapgraph *heap, uint32_t object);

/**
 * What the children of an object are. Of those that nobody holds together (object
 * is DOMINATOR_ROOT) without large ones, which are branches of their own, and
 * without the namespaces of modules, which their functions hold, too.
 */
struct pile pile_under(struct piles *piles, uint32_t object);

#endif
