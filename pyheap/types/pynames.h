/*
 * What types are called.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Heap types carry their names as objects. Static types have a C string, in a
 * read-only page that most cores lack; then the dictionaries of builtins and
 * of the loaded modules tell, with a table for the names that differ there
 * (types.FunctionType is called "function").
 */
#ifndef PYHEAP_PYNAMES_H
#define PYHEAP_PYNAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/types/pytypeview.h"

enum { PYH_NAME_MAX = 4096 };	/* bytes of a module's or a type's name */

/** A name, its strings owned by whoever got it. */
struct pyh_name {
	bool known;
	char *full;	/* never NULL: "?0x…" where the name is not known */
	char *module;	/* or NULL */
	char *qualname;	/* or NULL */
};

void pyh_name_deinit(struct pyh_name *name);

struct pyh_names;

/** runtime is borrowed. Not for concurrent use. */
struct error *pyh_names_create(const struct pyh_runtime *runtime,
			       struct pyh_names **ret);
void pyh_names_destroy(struct pyh_names *names);

/**
 * Name a type.
 *
 * @param module  the str object (or whatever it is) under __module__ in the
 *	type's dict, 0 if there is none
 * @param dict_seen  false if that dict could not be read
 * @return false without memory; ret is then untouched
 */
bool pyh_names_of(struct pyh_names *names, struct memory_reader *memory,
		  const struct pyh_type_view *view, uint64_t module,
		  bool dict_seen, struct pyh_name *ret);

#endif
