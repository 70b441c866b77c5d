/*
 * heapdump --on-oom: hears of processes whose memory has run out.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A command is started with a library preloaded (dumper/onoom/), which all its
 * descendants inherit. Where memory runs out in one of them, that library
 * connects to the socket that is made here, says what has happened, and waits
 * for the answer: until then the thread stands where it was.
 */
#ifndef DUMPER_OOM_LISTEN_H
#define DUMPER_OOM_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "dumper/onoom/onoom_protocol.h"
#include "dumper/trigger.h"
#include "image/base/error.h"

enum {
	OOM_DUMPS_MAX = 64,	/* without --count: of one run */
	OOM_PAUSE_SECONDS = 10,	/* until a process may be dumped again */
};

struct oom_listener {
	int fd;			/* becomes readable; -1: not listening */
	char secret[ONOOM_SECRET_SIZE];
	char *settings[3];	/* NAME=VALUE for the command, then NULL */
	/* the last dump of each process, and the place of the next one */
	struct {
		pid_t pid;
		uint64_t when_ns;
	} dumped[OOM_DUMPS_MAX];
	uint64_t num_dumped;
};

/** A thread that waits for the answer. */
struct oom_report {
	int fd;
	pid_t pid;		/* here, not in its own namespace */
	char reason[TRIGGER_TEXT_MAX];	/* "c10::OutOfMemoryError in thread 7" */
};

/** ERROR_NOT_FOUND where the library is not beside this program. */
struct error *oom_listener_open(struct oom_listener *ret);
void oom_listener_close(struct oom_listener *listener);

/**
 * The next report; whoever says nothing, or does not know the secret, is sent
 * away. Does not wait for one, but for at most a second for what it says.
 */
bool oom_listener_take(struct oom_listener *listener, struct oom_report *ret);

/** False: it has given up, or was killed, and its number may be another's. */
bool oom_report_waits(const struct oom_report *report);

/**
 * Whether it is to be dumped: its last dump is long enough ago.
 *
 * @param pause_ns  between dumps of one process
 */
bool oom_report_is_due(const struct oom_listener *listener,
		       const struct oom_report *report, uint64_t pause_ns);

/** It was dumped. */
void oom_report_dumped(struct oom_listener *listener,
		       const struct oom_report *report);

/**
 * Let it go on.
 *
 * @param over  it shall tell no more
 */
void oom_report_answer(struct oom_report *report, bool over);

#endif
