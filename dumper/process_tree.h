/*
 * A process and all its descendants.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_PROCESS_TREE_H
#define DUMPER_PROCESS_TREE_H

#include <stddef.h>
#include <sys/types.h>

#include "image/base/error.h"

/**
 * List them, the process itself first, parents before children.
 *
 * @param ret  the caller frees
 * @param ret_parents  of each; may be NULL; the caller frees
 */
struct error *process_tree_list(pid_t pid, pid_t **ret, pid_t **ret_parents,
				size_t *ret_count);

#endif
