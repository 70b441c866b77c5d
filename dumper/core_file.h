/*
 * Where the kernel will put the core of a process, and which file it is then.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	core_file_expect(&target, signal, &file);	(the process is there)
 *	... the signal ...
 *	core_file_find(&file);			(it has ended)
 *
 * By /proc/sys/kernel/core_pattern, as core(5) explains it.
 */
#ifndef DUMPER_CORE_FILE_H
#define DUMPER_CORE_FILE_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/live/target.h"

struct core_file {
	char *folder;		/* for messages, as the target sees it */
	int folder_fd;		/* outlives the process */
	char *glob;		/* what the name will match */
	pid_t inside_pid;
	struct timespec before;	/* the file system's time before the signal */
	char *name;		/* once found */
	int fd;			/* open for reading once found */
};

/**
 * Find out where the core will be.
 *
 * @return NULL; ERROR_UNSUPPORTED where it will not be a file, or none that
 *	could be told from others, with what the administrator set and what to
 *	do instead
 */
struct error *core_file_expect(const struct target *target, int signal,
			       struct core_file *ret);

/** ERROR_NOT_FOUND where the kernel has not written one. */
struct error *core_file_find(struct core_file *file);

/** Remove the file that was found. */
struct error *core_file_remove(const struct core_file *file);

void core_file_deinit(struct core_file *file);

/** What a core_pattern means for one process: see core_file.c. For tests. */
struct core_names {
	int pid, global_pid, signal;
	unsigned int uid, gid;
	bool append_pid;	/* kernel.core_uses_pid */
};

/**
 * Expand a pattern that begins with neither | nor @ to one for fnmatch(3):
 * what is not known before stands as *.
 */
char *core_names_expand(const char *pattern, const struct core_names *names);

#endif
