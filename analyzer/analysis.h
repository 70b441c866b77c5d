/*
 * What is found out about a heap as a whole: the graph, who holds it, what
 * dominates what, what the collector would free. Each part made once, when it is
 * first asked for.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_ANALYSIS_H
#define ANALYZER_ANALYSIS_H

#include "analyzer/graph/components.h"
#include "analyzer/graph/dominators.h"
#include "analyzer/graph/domtree.h"
#include "analyzer/heap/collector.h"
#include "analyzer/heap/heapgraph.h"
#include "analyzer/heap/heaproots.h"
#include "analyzer/heap/heldbytes.h"

struct opened;

/** Parts beyond graph and roots, as bits. */
enum {
	ANALYSIS_DOMINATORS = 1 << 0,
	ANALYSIS_COMPONENTS = 1 << 1,	/* cycles */
	ANALYSIS_COLLECTOR = 1 << 2,	/* garbage */
	ANALYSIS_CYCLES = ANALYSIS_COMPONENTS | ANALYSIS_COLLECTOR,
	ANALYSIS_PARTS = 3,		/* those side by side */
	ANALYSIS_TREE = 1 << 3,		/* dominators and their tree */
	/* garbage, and what else is not reached: collector_find_lost() */
	ANALYSIS_REACH = ANALYSIS_DOMINATORS | ANALYSIS_COLLECTOR,
	ANALYSIS_ALL = ANALYSIS_TREE | ANALYSIS_DOMINATORS | ANALYSIS_CYCLES,
};

struct kept;

struct analysis {
	struct heapgraph *heap;
	struct heaproots roots;
	/* What PyTorch's C++ objects lead to counts, but only objects are parents
	   and have parents; what they retain has data of tensors in the process
	   among it. */
	struct dominators dominators;
	struct heldbytes *held;		/* data of tensors; NULL: there is none */
	struct domtree tree;
	struct components components;
	struct collector collector;
	unsigned int have;		/* ANALYSIS_… */
	const struct kept *kept;	/* that it is from; NULL: made just now */
};

/**
 * The analysis of a dump, with the parts that are wanted. Borrowed from opened.
 */
struct error *analysis_of(struct opened *opened, unsigned int parts,
			  const struct analysis **ret);

/**
 * Keep the analysis for the next question, if one was made and it is to be kept;
 * parts that were not asked for are made now.
 *
 * @return why it could not be kept; NULL also where it was not to be
 */
struct error *analysis_keep(struct opened *opened);

/** Bytes that would go with an object, in the process and on devices. */
static inline uint64_t analysis_retained(const struct analysis *analysis,
					 uint32_t object)
{
	return analysis->dominators.retained[object] +
	       heldbytes_device(analysis->held, object);
}

/** For opened. NULL is fine. */
void analysis_destroy(struct analysis *analysis);

#endif
