/*
 * Names for paths: what pyedge.c asks about code, modules and roots.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All put their text through pyrepr.h.
 */
#ifndef PYHEAP_PYEDGENAME_H
#define PYHEAP_PYEDGENAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/references/pyedge.h"
#include "pyheap/values/pyrepr.h"

enum { PYH_NAME_MAX = 200 };	/* bytes of a name that is shown */

/** A str in UTF-8, cut; false if there is none at the address. */
bool pyh_name_read(const struct pyh_naming *naming, uint64_t str, char *buffer,
		   size_t size);

/** The same, if it is an identifier of up to PYH_NAME_MAX bytes. */
bool pyh_name_identifier(const struct pyh_naming *naming, uint64_t str,
			 char buffer[static PYH_NAME_MAX + 1]);

/** The str that names a variable of a code object; 0: an entry of the stack. */
uint64_t pyh_name_of_local(const struct pyh_naming *naming, uint64_t code,
			   uint64_t index);

/** The str that names free variable number index of a function; 0: none. */
uint64_t pyh_name_of_free(const struct pyh_naming *naming, uint64_t function,
			  uint64_t index);

/** The code of a generator or of a frame object; 0: not known. */
uint64_t pyh_name_code_of(const struct pyh_naming *naming, uint64_t object,
			  const struct pyh_type *type);

/** Put the name of a function with "()"; "<module>" with its file instead. */
void pyh_name_put_code(const struct pyh_naming *naming, struct pyh_repr *text,
		       uint64_t code);

/** True if code is that of a module or of a class, whose variables are names. */
bool pyh_name_is_module_code(const struct pyh_naming *naming, uint64_t code);

/**
 * Put what stands before a name of a module: "shop.sessions.", or "train.py:"
 * for the program's own. False, and nothing put, if it has no name.
 *
 * @param key  the str it is imported by; 0: it says itself
 * @param dict  its namespace
 */
bool pyh_name_put_module(const struct pyh_naming *naming, struct pyh_repr *text,
			 uint64_t key, uint64_t dict);

/** Put a root, without: where it is, which goes behind the steps from it. */
void pyh_name_put_place(const struct pyh_naming *naming, struct pyh_repr *text,
			const struct pyh_root *root);
void pyh_name_put_root(const struct pyh_naming *naming, struct pyh_repr *text,
		       const struct pyh_root *root);

#endif
