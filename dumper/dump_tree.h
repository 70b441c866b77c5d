/*
 * Dumps a process and, with --children, all its descendants with a manifest.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The manifest is one JSON object beside the dumps, named as they are but
 * ending in ".manifest.json", and there only when all of them are finished.
 */
#ifndef DUMPER_DUMP_TREE_H
#define DUMPER_DUMP_TREE_H

#include "dumper/after_dump.h"
#include "dumper/dump_one.h"

/**
 * Dump, and start what --exec says after each.
 *
 * @param after  whoever calls this waits for them
 * @return DUMP_EXIT_PARTIAL where a descendant failed
 */
enum dump_exit dump_tree(const struct dump_options *options,
			 const struct dump_request *request,
			 struct after_dump *after);

#endif
