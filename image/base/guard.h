/*
 * Scope guards: what has one owner and one scope is released by leaving it.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
 *	CLEANUP(free_pointer) char *text = NULL;
 */
#ifndef BASE_GUARD_H
#define BASE_GUARD_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((__cleanup__(function)))

static inline void close_fd(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void free_pointer(void *pointer)
{
	free(*(void **)pointer);
}

static inline void close_file(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

/** Hand a guarded pointer out of its scope. */
#define TAKE(pointer)                                  \
	({                                             \
		__typeof__(pointer) taken = (pointer); \
		(pointer) = NULL;                      \
		taken;                                 \
	})

#endif
