/*
 * Namespaces of modules: which dicts they are, and what the modules are called.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A variable of a module is best said by its name in the module, whatever a
 * path came through before: a local variable or a frame that runs may lead to
 * the dict of `__main__`, too, by fewer steps.
 *
 * Nothing here asks the graph, so that a name is the same whoever asks.
 */
#ifndef ANALYZER_NAMESPACES_H
#define ANALYZER_NAMESPACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "image/base/hashmap.h"
#include "pyheap/references/pyedge.h"

struct path;

/** A module by which an interpreter knows a dict. */
struct module_dict {
	uint64_t dict, key;		/* addresses; key: in sys.modules */
	uint32_t module;		/* object */
	uint32_t order;			/* as they stand there */
	const struct pyh_root *modules;	/* the interpreter's sys.modules */
};

struct namespaces {
	const struct analysis *analysis;	/* borrowed */
	const struct pyh_naming *naming;	/* the same */
	struct module_dict *modules;	/* by dict, then by order */
	size_t count, room;
	bool gathered;
	struct hashmap globals;		/* object + 1: GLOBALS_… */
};

/** Nothing is read before it is needed. */
static inline void namespaces_init(struct namespaces *namespaces,
				   const struct analysis *analysis,
				   const struct pyh_naming *naming)
{
	*namespaces = (struct namespaces){ .analysis = analysis,
					   .naming = naming };
}
/** Safe on a zeroed one. */
void namespaces_deinit(struct namespaces *namespaces);

/** True of what modules have, and of what code runs in as if it were theirs. */
struct error *namespaces_has(struct namespaces *namespaces, uint32_t object,
			     bool *ret);

/**
 * Where a path leads over a namespace, how it is said from there on, as
 * path->said: it begins at sys.modules if that has the module. The last one
 * counts.
 */
struct error *namespaces_say(struct namespaces *namespaces, struct path *path);

#endif
