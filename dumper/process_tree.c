/*
 * A process and all its descendants; see process_tree.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/process_tree.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "image/base/guard.h"
#include "image/live/procinfo.h"

enum { PROCESSES_MAX = 1 << 16 };

struct tree {
	pid_t *pids, *parents;
	size_t count, capacity;
};

static struct error *add(struct tree *tree, pid_t pid, pid_t parent)
{
	if (tree->count == PROCESSES_MAX)
		return error_new(ERROR_LIMIT, "more than %d descendants",
				 PROCESSES_MAX);
	if (tree->count == tree->capacity) {
		size_t more = tree->capacity ? 2 * tree->capacity : 16;
		pid_t *grown = reallocarray(tree->pids, more, sizeof(pid_t));

		if (!grown)
			return error_no_memory();
		tree->pids = grown;
		grown = reallocarray(tree->parents, more, sizeof(pid_t));
		if (!grown)
			return error_no_memory();
		tree->parents = grown;
		tree->capacity = more;
	}
	tree->pids[tree->count] = pid;
	tree->parents[tree->count++] = parent;
	return NULL;
}

/** Children that one thread made. */
static struct error *add_children(struct tree *tree, pid_t pid, pid_t tid)
{
	CLEANUP(free_pointer) char *text = NULL;
	char name[64], *at, *end;
	struct error *err;
	size_t size;

	(void)snprintf(name, sizeof(name), "task/%d/children", tid);
	err = procinfo_file(pid, name, &text, &size);
	if (err) {
		error_free(err);	/* it has ended */
		return NULL;
	}
	for (at = text; !err; at = end) {
		long child = strtol(at, &end, 10);

		if (end == at || child <= 0)
			break;
		err = add(tree, (pid_t)child, pid);
	}
	return err;
}

struct error *process_tree_list(pid_t pid, pid_t **ret, pid_t **ret_parents,
				size_t *ret_count)
{
	struct tree tree = { 0 };
	struct error *err = add(&tree, pid, 0);

	for (size_t i = 0; !err && i < tree.count; i++) {
		CLEANUP(free_pointer) pid_t *tids = NULL;
		size_t count = 0;

		// One that has ended meanwhile has no children any more.
		error_free(procinfo_threads(tree.pids[i], &tids, &count));
		for (size_t k = 0; !err && k < count; k++)
			err = add_children(&tree, tree.pids[i], tids[k]);
	}
	if (err || !ret_parents) {
		free(tree.parents);
		tree.parents = NULL;
	}
	if (err) {
		free(tree.pids);
		return err;
	}
	*ret = tree.pids;
	if (ret_parents)
		*ret_parents = tree.parents;
	*ret_count = tree.count;
	return NULL;
}
