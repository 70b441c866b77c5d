/*
 * The references between two objects, by which a path says how it goes on.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_PATHEDGES_H
#define ANALYZER_PATHEDGES_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/heap/heapgraph.h"
#include "image/base/hashmap.h"
#include "pyheap/references/pyedge.h"
#include "pyheap/references/pyrefs.h"

/**
 * What large objects refer to. Many paths may lead over one of them, as those of
 * all that is in a list do: it is looked through once, and not for each.
 */
struct path_edges {
	struct hashmap known;	/* object + 1 */
	struct hashmap between;	/* two objects: number in refs + 1 */
	struct pyh_ref *refs;
	size_t count, room;
};

/**
 * How an object refers to another one: the first reference that owns a count,
 * else the first at all.
 *
 * @param referrer  says how the first can be read
 * @param ret  untouched where there is none
 */
void path_edges_find(struct path_edges *edges, const struct heapgraph *heap,
		     const struct pyh_referrer *referrer, uint32_t from,
		     uint32_t to, struct pyh_ref *ret);
/** Safe on a zeroed one. */
void path_edges_deinit(struct path_edges *edges);

#endif
