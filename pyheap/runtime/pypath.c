/*
 * Reading paths; see pypath.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/runtime/pypath.h"

#include <ctype.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/** Step over a decimal number of at most three digits. */
static bool take_number(const char **text, unsigned int *ret)
{
	unsigned int number = 0, digits = 0;

	for (; is_digit(**text) && digits < 3; digits++)
		number = number * 10 + (unsigned int)(*(*text)++ - '0');
	if (digits == 0 || is_digit(**text))
		return false;
	*ret = number;
	return true;
}

/** ABI flags t, d, m, u in any order; what follows them is returned. */
static const char *take_flags(const char *text, struct pyh_path *path)
{
	bool free_threaded = false, debug = false;
	const char *at = text;

	for (; *at && strchr("tdmu", *at); at++) {
		free_threaded |= *at == 't';
		debug |= *at == 'd';
	}
	// "python3.11tools" has no flags.
	if (isalnum((unsigned char)*at))
		return text;
	path->free_threaded |= free_threaded;
	path->debug |= debug;
	return at;
}

/** "3.11", "3.13td" after "python"; path is untouched if there is none. */
static const char *take_version(const char *text, struct pyh_path *path)
{
	unsigned int major, minor;
	const char *at = text;

	if (!take_number(&at, &major) || *at++ != '.' ||
	    !take_number(&at, &minor))
		return text;
	path->major = major;
	path->minor = minor;
	return take_flags(at, path);
}

/** The executable or the library itself. */
static bool read_holder(const char *base, struct pyh_path *path)
{
	const char *at = base;

	if (strncmp(at, "lib", 3) == 0)
		at += 3;
	if (strncmp(at, "python", 6) != 0)
		return false;
	at += 6;
	if (strncmp(at, "vm", 2) == 0) {
		path->implementation = PYH_IMPLEMENTATION_GRAALPY;
		path->holder = true;
		return true;
	}
	at = take_version(at, path);
	// libpython_helper.so and python-config are somebody else's.
	path->holder = *at == '\0' || *at == '.' || is_digit(*at);
	if (path->holder || path->major)
		path->implementation = PYH_IMPLEMENTATION_CPYTHON;
	return path->implementation != PYH_IMPLEMENTATION_NONE;
}

/** The tag of an extension module: ".cpython-311d-", ".pypy39-". */
static bool read_extension(const char *base, struct pyh_path *path)
{
	const char *at = strstr(base, ".cpython-");
	unsigned int both;

	if (strstr(base, ".pypy3") || strstr(base, ".pypy2")) {
		path->implementation = PYH_IMPLEMENTATION_PYPY;
		return true;
	}
	if (!at)
		return false;
	at += strlen(".cpython-");
	if (!take_number(&at, &both) || both < 30)
		return false;
	path->implementation = PYH_IMPLEMENTATION_CPYTHON;
	path->major = both >= 100 ? both / 100 : both / 10;
	path->minor = both >= 100 ? both % 100 : both % 10;
	(void)take_flags(at, path);
	return true;
}

/** A folder of the standard library: "/python3.11/". */
static void read_folder(const char *text, struct pyh_path *path)
{
	const char *at = text;

	while ((at = strstr(at, "/python")) != NULL) {
		struct pyh_path found = { 0 };
		const char *end;

		at += strlen("/python");
		end = take_version(at, &found);
		if (found.major == 3 && *end == '/') {
			found.implementation = PYH_IMPLEMENTATION_CPYTHON;
			*path = found;
			return;
		}
	}
}

struct pyh_path pyh_path_read(const char *text)
{
	const char *slash = strrchr(text, '/');
	const char *base = slash ? slash + 1 : text;
	struct pyh_path path = { 0 };

	if (strncmp(base, "libpypy", 7) == 0 || strncmp(base, "pypy", 4) == 0) {
		path.implementation = PYH_IMPLEMENTATION_PYPY;
		path.holder = true;
	} else if (strncmp(base, "graalpy", 7) == 0 ||
		   strncmp(base, "libgraalpy", 10) == 0) {
		path.implementation = PYH_IMPLEMENTATION_GRAALPY;
		path.holder = true;
	} else if (!read_holder(base, &path) && !read_extension(base, &path)) {
		read_folder(text, &path);
	}
	return path;
}
