/*
 * Where the fields of CPython's structures are, per release.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The tables in layouts/ are a first guess. struct pyh_runtime holds a copy
 * that has been corrected by what the target itself says (_Py_DebugOffsets,
 * 3.13 and later) and calibrated by invariants; everything reads that copy.
 * docs/layouts.md tells how to add a release.
 */
#ifndef PYHEAP_PYLAYOUT_H
#define PYHEAP_PYLAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/runtime/pyfields.h"

/** Where one field lives inside its structure. size 0: this release has none. */
struct pyh_field_at {
	uint32_t offset;	/* bytes from the structure's address */
	uint32_t size;		/* bytes */
};

struct pyh_layout {
	const char *release;	/* "3.11" */
	unsigned int minor;	/* 11 */
	bool free_threaded;
	const char *source;	/* where a reader can check these numbers */
	uint32_t size_of[PYH_NUM_STRUCTS];	/* bytes; 0: none or unknown */
	struct pyh_field_at at[PYH_NUM_FIELDS];
};

/**
 * A field or a whole structure that micro releases of a table's minor release
 * have elsewhere or in another size. Where the micro release is not known,
 * calibration has to find out.
 */
struct pyh_layout_variant {
	const char *name;		/* "3.14.0-3.14.4" */
	unsigned int minor;
	bool free_threaded;
	unsigned int first, last;	/* micro releases, inclusive */
	const char *source;
	const struct pyh_variant_field {
		enum pyh_field field;
		struct pyh_field_at at;	/* size 0: these have none */
	} *fields;
	size_t num_fields;
	const struct pyh_variant_size {
		enum pyh_struct structure;
		uint32_t size;
	} *sizes;
	size_t num_sizes;
};

/*
 * Fields of an interpreter that moved with those around them; variants do not
 * name them. See pyroots.c.
 */
enum {
	PYH_RELATIVE_FIRST = PYH_INTERP_MODULES_BY_INDEX,
	PYH_RELATIVE_LAST = PYH_INTERP_CACHED_OBJECTS_WEAKREF_DESCRIPTOR,
};

extern const struct pyh_layout_variant pyh_layout_variants[];
extern const size_t pyh_num_layout_variants;

extern const struct pyh_layout pyh_layout_3_8, pyh_layout_3_9,
	pyh_layout_3_10, pyh_layout_3_11, pyh_layout_3_12, pyh_layout_3_13,
	pyh_layout_3_14, pyh_layout_3_15,
	pyh_layout_3_13t, pyh_layout_3_14t, pyh_layout_3_15t;

enum { PYH_MINOR_FIRST = 8, PYH_MINOR_LAST = 15 };	/* that have tables */

/** The table of the default build of 3.minor, or NULL. */
const struct pyh_layout *pyh_layout_for(unsigned int minor);

/** The table of the free-threaded build of 3.minor (3.13 and later), or NULL. */
const struct pyh_layout *pyh_layout_for_free_threaded(unsigned int minor);

/** CPython's names of a field: "PyListObject", "ob_item". */
const char *pyh_field_struct(enum pyh_field field);
const char *pyh_field_member(enum pyh_field field);
const char *pyh_struct_name(enum pyh_struct structure);

/** The structure that holds a field. */
enum pyh_struct pyh_field_owner(enum pyh_field field);

/** True if a structure begins with a PyObject header. */
bool pyh_struct_is_object(enum pyh_struct structure);

#endif
