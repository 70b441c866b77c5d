/*
 * What paths say of a Python.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/runtime/pypath.h"

#include "tests/lib/check.h"

#define NONE PYH_IMPLEMENTATION_NONE
#define CPYTHON PYH_IMPLEMENTATION_CPYTHON
#define PYPY PYH_IMPLEMENTATION_PYPY
#define GRAALPY PYH_IMPLEMENTATION_GRAALPY

static const struct {
	const char *path;
	struct pyh_path expected;	/* implementation, major, minor,
					   holder, free_threaded, debug */
} cases[] = {
	{ "/usr/bin/python3.11", { CPYTHON, 3, 11, true, false, false } },
	{ "/usr/bin/python3", { CPYTHON, 0, 0, true, false, false } },
	{ "python", { CPYTHON, 0, 0, true, false, false } },
	{ "/usr/bin/python3.13t", { CPYTHON, 3, 13, true, true, false } },
	{ "/usr/bin/python3.14td", { CPYTHON, 3, 14, true, true, true } },
	{ "/usr/lib/libpython3.8.so.1.0", { CPYTHON, 3, 8, true, false, false } },
	{ "/lib/libpython3.7m.so.1.0", { CPYTHON, 3, 7, true, false, false } },
	{ "/lib/libpython3.12d.so.1.0", { CPYTHON, 3, 12, true, false, true } },
	{ "/lib/libpython2.7.so.1.0", { CPYTHON, 2, 7, true, false, false } },
	{ "/lib/libpython3.so", { CPYTHON, 0, 0, true, false, false } },
	{ "/x/_ssl.cpython-312-x86_64-linux-gnu.so",
	  { CPYTHON, 3, 12, false, false, false } },
	{ "/x/_ssl.cpython-39-x86_64-linux-gnu.so",
	  { CPYTHON, 3, 9, false, false, false } },
	{ "/x/_ssl.cpython-313td-x86_64-linux-gnu.so",
	  { CPYTHON, 3, 13, false, true, true } },
	{ "/usr/lib/python3.9/lib-dynload/_x.so",
	  { CPYTHON, 3, 9, false, false, false } },
	{ "/opt/python3.13t/x.so", { CPYTHON, 3, 13, false, true, false } },
	{ "/usr/lib/libpypy3-c.so", { PYPY, 0, 0, true, false, false } },
	{ "/usr/bin/pypy3.10", { PYPY, 0, 0, true, false, false } },
	{ "/x/_cffi.pypy39-pp73-x86_64-linux-gnu.so",
	  { PYPY, 0, 0, false, false, false } },
	{ "/x/libpythonvm.so", { GRAALPY, 0, 0, true, false, false } },
	{ "/usr/bin/graalpy", { GRAALPY, 0, 0, true, false, false } },
	{ "/usr/lib/libpython_helper.so", { NONE, 0, 0, false, false, false } },
	{ "/usr/lib/libboost_python311.so", { NONE, 0, 0, false, false, false } },
	{ "/usr/bin/python-config", { NONE, 0, 0, false, false, false } },
	{ "/x/a.cpython-99999-x.so", { NONE, 0, 0, false, false, false } },
	{ "/usr/bin/sleep", { NONE, 0, 0, false, false, false } },
	{ "", { NONE, 0, 0, false, false, false } },
	{ "/", { NONE, 0, 0, false, false, false } },
};

int main(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pyh_path got = pyh_path_read(cases[i].path);
		struct pyh_path want = cases[i].expected;

		if (!CHECK(cases[i].path[0] ? cases[i].path : "no path",
			   got.implementation == want.implementation &&
			   got.major == want.major && got.minor == want.minor &&
			   got.holder == want.holder &&
			   got.free_threaded == want.free_threaded &&
			   got.debug == want.debug))
			printf("# %d %u.%u holder %d t %d d %d\n",
			       got.implementation, got.major, got.minor,
			       got.holder, got.free_threaded, got.debug);
	}
	return check_result();
}
