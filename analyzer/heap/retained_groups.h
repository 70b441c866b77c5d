/*
 * Retained sizes of groups: by type, module, thread or root.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the objects of a group retain together: of those that live by another one
 * of the group nothing is counted twice. By thread and by root a group is what
 * its roots lead to and those before do not, and retains just that; with
 * "several threads" and "nothing" the groups are all objects. Roots that are no
 * thread's come before those of threads; else interpreters come first, frames
 * next.
 */
#ifndef ANALYZER_RETAINED_GROUPS_H
#define ANALYZER_RETAINED_GROUPS_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/graph/domtops.h"
#include "analyzer/scan_options.h"
#include "image/base/error.h"

struct retained_group {
	char *name;			/* owned */
	const struct pyh_type *type;	/* BY_TYPE; else NULL */
	uint64_t count;			/* objects */
	uint64_t size;			/* sys.getsizeof */
	uint64_t retained;
	uint64_t device;		/* data of tensors on devices, bytes */
};

struct retained_groups {
	struct retained_group *groups;	/* largest first */
	size_t count;
};

struct opened;
struct type_counts;

/** The analysis has its tree where the groups are of types. */
struct error *retained_groups_make(struct opened *opened,
				   const struct analysis *analysis,
				   enum group_by by,
				   struct retained_groups *ret);

/** The same of types or their modules, whose objects have been counted. */
struct error *retained_groups_of_types(const struct analysis *analysis,
				       const struct type_counts *counts,
				       bool modules,
				       struct retained_groups *ret);
/** … by thread or root, where the tops are known; whatever was kept. */
struct error *retained_groups_of_roots(const struct analysis *analysis,
				       const struct domtops *tops,
				       enum group_by by,
				       struct retained_groups *ret);
void retained_groups_deinit(struct retained_groups *groups);

/** The name of a type's group by module; borrowed. */
const char *retained_module(const struct pyh_type *type);

/** What objects of each type retain together, by the types' ids; the caller frees. */
struct error *retained_by_type(const struct analysis *analysis,
			       uint64_t **ret);

#endif
