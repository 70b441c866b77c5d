/*
 * The freezer: a small process of its own session that does all that must not
 * be left half done.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It seizes the target's threads, reads their registers, makes the snapshot or
 * holds the threads still, and undoes all of it when it is told to, when the
 * time is up, or when the program that started it is no more: so that program
 * can be killed at any moment. No signal of a terminal or a process group
 * reaches it. Only freeze.c starts one.
 *
 * It answers over a stream socket: one report (below), then nothing until it
 * has undone everything, which is the end of the stream. It is asked over the
 * same: a number (64 bits) of spans that follow and will not be read, or 0, or
 * the end of the stream: let go.
 */
#ifndef LIVE_FREEZER_H
#define LIVE_FREEZER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/live/freeze.h"
#include "image/live/procmaps.h"
#include "image/live/room.h"

/** What both processes see at all times; written by the freezer. */
struct freezer_shared {
	atomic_bool holds;	/* the memory is still of one moment */
	atomic_bool expired;	/* the limit ended that */
	atomic_bool zombie_left;	/* of a snapshot, in the target */
	atomic_bool dropped;	/* the snapshot, for lack of memory */
	struct room room;	/* what was left then; set before dropped */
	/* how long the target was held for that, ns */
	atomic_uint_least64_t held_ns;
	/* CLOCK_MONOTONIC, 0: not yet */
	atomic_uint_least64_t began_ns, ended_ns;
	atomic_uint_least64_t window_ns;
};

struct freezer {
	pid_t pid;		/* the target */
	uint64_t start_time;
	const struct freeze_options *options;
	struct freezer_shared *shared;
	int socket;
};

/*
 * The report: its size (64 bits), then these, each followed by what its last
 * fields count. Both ends are the same program.
 */
struct report_head {
	bool failed;
	int error_kind;		/* enum error_kind */
	int os_errno;
	uint32_t message_size;	/* bytes after this */
	pid_t memory_pid;	/* whose memory is to be read */
	struct procinfo info;	/* of the process */
	uint64_t num_threads, num_held;
};

struct report_thread {
	struct frozen_thread thread;	/* its data pointers mean nothing */
	/* then the data of each register set */
};

struct report_held {
	struct procmap map;	/* its name pointer means nothing */
	uint32_t name_size;
	uint64_t data_size;	/* the whole mapping, or 0 */
};

/** What the process does; never returns. */
void freezer_main(const struct freezer *freezer) __attribute__((noreturn));

#endif
