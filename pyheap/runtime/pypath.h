/*
 * What the path of a mapped file says about the Python in a process.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The best evidence for the minor release and the ABI flags when no data
 * tells: libpython3.11.so.1.0, python3.13t, _ssl.cpython-312d-x86_64-….so,
 * lib/python3.9/…; and for implementations that are not CPython.
 */
#ifndef PYHEAP_PYPATH_H
#define PYHEAP_PYPATH_H

#include <stdbool.h>

enum pyh_implementation {
	PYH_IMPLEMENTATION_NONE,	/* nothing to do with Python */
	PYH_IMPLEMENTATION_CPYTHON,
	PYH_IMPLEMENTATION_PYPY,
	PYH_IMPLEMENTATION_GRAALPY,
};

struct pyh_path {
	enum pyh_implementation implementation;
	unsigned int major, minor;	/* major 0: the path has no version */
	bool holder;		/* an executable or libpython, not a mere user */
	bool free_threaded;	/* ABI flag t */
	bool debug;		/* ABI flag d */
};

/** Read a path as the target saw it. */
struct pyh_path pyh_path_read(const char *path);

#endif
