/*
 * What /proc says of a process and its threads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Numbers are as the kernel prints them in the /proc of this program, except
 * where a field says "inside": those are as the target itself sees them, in
 * the innermost of its pid namespaces. What could not be read is 0, empty or
 * NULL. Every text comes from the target and is untrusted.
 */
#ifndef LIVE_PROCINFO_H
#define LIVE_PROCINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"

/** A process, or one thread of it. */
struct procinfo {
	pid_t pid;		/* or the thread's id */
	pid_t inside_pid;
	pid_t process;		/* the thread's process; itself for a process */
	pid_t parent, inside_parent;
	pid_t group, session;	/* inside */
	pid_t tracer;		/* a thread's id; 0: not traced */
	char name[16];		/* comm */
	char state;		/* 'R', 'S', 'D', 'Z' … */
	bool kernel_thread;
	int nice;
	uint32_t uid, gid;	/* effective */
	uint32_t real_uid;
	uint64_t start_time;	/* clock ticks since boot */
	uint64_t user_ticks, system_ticks, child_user_ticks, child_system_ticks;
	uint64_t minor_faults, major_faults;
	/* signals, bit n-1 for signal n */
	uint64_t pending, blocked, ignored, caught;
	uint32_t num_threads;
	uint64_t vm_size, rss, rss_peak, swap, page_tables;	/* bytes */
	uint64_t rss_anonymous;	/* of rss: private memory */
	uint64_t data;		/* private writable address space */
	uint64_t pinned;	/* held in place for devices */
	uint32_t seccomp;	/* SECCOMP_MODE_*: 0 none, 1 strict, 2 filter */
};

/** Bytes of resident memory by who else has it, as smaps says. */
struct procinfo_sharing {
	bool known;
	uint64_t pss;
	uint64_t shared_clean, shared_dirty, private_clean, private_dirty;
};

/** Read PID's. ERROR_NOT_FOUND where there is no such process. */
struct error *procinfo_read(pid_t pid, struct procinfo *ret);

/** Read one thread's. ERROR_NOT_FOUND where it has ended. */
struct error *procinfo_read_thread(pid_t pid, pid_t tid, struct procinfo *ret);

/** The state letter of a thread: 'R', 'S', 'D' …; 0 if it has ended. */
char procinfo_thread_state(pid_t pid, pid_t tid);

/**
 * The thread ids of a process, in the order the kernel lists them.
 *
 * @param ret  an array that the caller frees
 */
struct error *procinfo_threads(pid_t pid, pid_t **ret, size_t *ret_count);

/**
 * A file below /proc/PID, whole (at most 16 MiB), NUL-terminated.
 *
 * @param ret  the caller frees; the size does not count the NUL
 */
struct error *procinfo_file(pid_t pid, const char *name, char **ret,
			    size_t *ret_size);

/** The target of the link /proc/PID/NAME; NULL where it cannot be read. */
char *procinfo_link(pid_t pid, const char *name);

/**
 * The program and, for an interpreter, its script: "python3 train.py",
 * "python3 -m pytest", "nginx". No other argument is in it.
 *
 * @param cmdline  arguments, each ending with a NUL
 * @param script  where in cmdline the script (or module) is, or NULL
 * @return a text the caller frees; NULL without memory
 */
char *procinfo_script(const char *cmdline, size_t size, const char **script);

/** True if the process runs CPython or PyPy, by its program and libraries. */
bool procinfo_is_python(pid_t pid);

/**
 * Bytes of its private memory that lie in huge pages. Walks its page tables:
 * some 10 ms for each GiB.
 */
uint64_t procinfo_huge(pid_t pid);

/** True if it is a thread of this program. */
bool procinfo_is_ours(pid_t tid);

/** Nanoseconds that the process has been running. */
uint64_t procinfo_uptime(const struct procinfo *info);

/**
 * The id that container runtimes give (64 hexadecimal digits), as its cgroups
 * or, where those are hidden, its mounts have it; NULL: none is seen. The
 * caller frees.
 */
char *procinfo_container(pid_t pid);

/** What its memory cgroup says, v2 or v1; UINT64_MAX: no limit. */
struct procinfo_cgroup {
	uint64_t current;	/* bytes; 0: unknown */
	uint64_t limit;		/* bytes, the least of it and those above it */
};

void procinfo_cgroup(pid_t pid, struct procinfo_cgroup *ret);

/** True if both are in the same memory cgroup, and it is not the topmost. */
bool procinfo_same_cgroup(pid_t pid, pid_t other);

#endif
