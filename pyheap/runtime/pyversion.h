/*
 * Which release a runtime is of.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Before the runtime has been read: the debug offsets, the constant
 * Py_Version, the text that Py_GetVersion() leaves in static memory, the names
 * of files. Afterwards: sys.hexversion, which every release has.
 */
#ifndef PYHEAP_PYVERSION_H
#define PYHEAP_PYVERSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/runtime/pycalibrate.h"
#include "pyheap/runtime/pyfind.h"

enum { PYH_MINORS_MAX = PYH_MINOR_LAST - PYH_MINOR_FIRST + 1 };

struct pyh_version_guess {
	uint32_t version;	/* PY_VERSION_HEX; 0: not known */
	bool exact;		/* version is all there, not only 3.minor */
	bool free_threaded;
	bool debug_offsets;	/* they are at the place */
	unsigned int minors[PYH_MINORS_MAX];	/* to try, likeliest first */
	size_t num_minors;	/* 0: a release without a table */
};

void pyh_version_guess(struct image *image, struct memory_reader *reader,
		       const struct pyh_place *place,
		       struct pyh_version_guess *ret);

/** sys.hexversion of a calibrated runtime. */
bool pyh_version_of_sys(const struct pyh_probe *probe, uint32_t *ret);

#endif
