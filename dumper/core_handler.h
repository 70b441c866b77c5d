/*
 * The kernel's handler of cores: what core_pattern pipes to.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The kernel starts it as root, in the initial namespaces, with the core of a
 * process on standard input and numbers about it as arguments. All that comes
 * from the process is hostile. So two processes share the work: one stays root
 * and does only what needs it (the limits, the file's name, the system log),
 * the other becomes the owner of the dump before it looks at anything, and
 * reads, converts and writes.
 */
#ifndef DUMPER_CORE_HANDLER_H
#define DUMPER_CORE_HANDLER_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"

/* The arguments, as core(5) explains them; numbers only. */
#define CORE_HANDLER_SPECIFIERS "%P %i %s %u %g %d %t %c"

enum { CORE_HANDLER_ARGUMENTS = 8 };

/** What the kernel tells. */
struct core_call {
	pid_t pid;		/* in the initial pid namespace */
	pid_t tid;		/* of the thread that died, in its own */
	int signal;
	uid_t uid;		/* real, in the initial user namespace */
	gid_t gid;
	int dumpable;		/* 1: yes; 2: readable by root only */
	int64_t time;		/* seconds since the epoch */
	uint64_t limit;		/* on the size of cores (ulimit -c), bytes */
};

/** Parse CORE_HANDLER_SPECIFIERS. */
struct error *core_call_parse(char *const *words, size_t count,
			      struct core_call *ret);

/**
 * Take the core from standard input. What happened stands in the system log, in
 * one line, also where it was refused.
 *
 * @return NULL where a dump was made, of all of it or of what there was
 */
struct error *core_handler_run(const struct core_call *call,
			       const atomic_bool *stop);

#endif
