/*
 * Paths: by which references the roots hold an object, in words.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The shortest way, but where there is one a way that a person can follow: from
 * a variable of a frame, from a module. Next come other known roots, then
 * objects that only a count or their immortality says are held.
 */
#ifndef ANALYZER_PATHS_H
#define ANALYZER_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "pyheap/references/pyedge.h"

struct opened;
struct paths;

enum {
	PATH_TEXT_MAX = 1024,		/* bytes */
	PATH_EDGES_MAX = 1024,		/* more than a text has room for */
};

/** Why the first object of a path lives. */
enum path_start {
	PATH_NOWHERE,		/* there is no path: nothing holds it */
	PATH_ROOT,		/* a root */
	PATH_IMMORTAL,
	PATH_UNEXPLAINED,	/* counts that nothing found accounts for */
};

struct path {
	enum path_start start;
	const struct pyh_root *root;	/* PATH_ROOT; borrowed */
	uint32_t *objects;		/* from the root on, count of them */
	uint32_t count;
	struct pyh_edge *edges;		/* between the first of them */
	uint32_t num_edges;		/* count - 1, at most PATH_EDGES_MAX */
	/* how it is said where it leads over the namespace of a module: from
	   that on, whatever came before; NULL: as it is */
	struct pyh_edge *said;
	uint32_t num_said;
	const struct pyh_root *said_root;	/* borrowed */
};

/** values: what keys are may be shown. Not for concurrent use. */
struct error *paths_open(struct opened *opened,
			 const struct analysis *analysis, bool values,
			 struct paths **ret);
/** True if an object is a dict of variables of a module; see namespaces.h. */
struct error *paths_is_namespace(struct paths *paths, uint32_t object,
				 bool *ret);
/** NULL is fine. */
void paths_close(struct paths *paths);
static inline void paths_release(struct paths **paths)
{
	paths_close(*paths);
}

/**
 * The best way to an object. Ways are looked for one by one until it would have
 * cost less to find those to all objects at once, which is done then.
 *
 * @param ret  without objects where nothing holds it
 */
struct error *paths_find(struct paths *paths, uint32_t object,
			 struct path *ret);

/** One after the other: the shortest path, then others. */
struct paths_search {
	uint32_t object;
	struct node_set used;		/* objects of those found so far */
	uint64_t budget;		/* edges that may be looked at for others,
					   counted down; at 0 there may be more */
	bool begun;
};

/**
 * The first is that of paths_find(). Each that follows shares no object with
 * those before but for the last, and what the interpreter itself holds:
 * sys.modules, over which most paths lead. It is a shortest one as long as the
 * budget lasts.
 *
 * @param search  of zeros at first but for object and budget
 * @param ret  without objects where there is none, or none was found
 */
struct error *paths_find_next(struct paths *paths, struct paths_search *search,
			      struct path *ret);
/** Safe on a zeroed one. */
static inline void paths_search_deinit(struct paths_search *search)
{
	node_set_deinit(&search->used);
}
void path_deinit(struct path *path);

/**
 * Objects that are held in the same way: the types along a shortest way to each
 * are the same, so that they are of one type themselves. Where a long way goes
 * on in circles, as in a linked list, all rounds are one.
 */
struct path_group {
	uint64_t count;			/* objects */
	uint64_t size;			/* sys.getsizeof */
	uint32_t type;			/* id */
	uint32_t sample;		/* the nearest to its root; of several
					   the one of the lowest address */
	uint32_t depth;			/* of that: objects before it */
	uint32_t unused;
	uint64_t device;		/* what they keep on devices together; 0
					   also where nobody looked into that */
};

/**
 * Group all objects, in no particular order.
 *
 * @param ret  borrowed from paths
 */
struct error *paths_group_all(struct paths *paths,
			      const struct path_group **ret, size_t *ret_count);

/** In the tree of paths that paths_group_all() has made: see reach_tree. */
const uint32_t *paths_before(const struct paths *paths);

/**
 * Group objects of types that pass, largest groups first.
 *
 * @param ret  the caller frees it
 */
struct error *paths_group(struct paths *paths,
			  struct error *(*pass)(void *context,
						const struct pyh_type *type,
						bool *ret),
			  void *context, struct path_group **ret,
			  size_t *ret_count);

/**
 * The path in one line: "train.py:model.layers[3]"; UTF-8, not escaped. A variable
 * of a module is said by its module, also where the path came there by fewer
 * steps than over sys.modules.
 */
void paths_text(struct paths *paths, const struct path *path,
		char text[PATH_TEXT_MAX]);

/** The step from objects[i] to the next, by itself: ".attr", "[3]". */
void paths_step_text(struct paths *paths, const struct path *path, uint32_t i,
		     char text[PATH_TEXT_MAX]);

/** The attribute that follows objects[i], and what is next to that:
 * ".headers[...]". */
void paths_attribute_text(struct paths *paths, const struct path *path,
			  uint32_t i, char text[PATH_TEXT_MAX]);

/** The root by itself: "local loss in train_step() thread 4713". */
void paths_start_text(struct paths *paths, const struct path *path,
		      char text[PATH_TEXT_MAX]);

#endif
