/*
 * One heapdump asks another, which waits for the death of a process, to let go
 * of it for a moment: a process can have one tracer only.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_LET_GO_H
#define DUMPER_LET_GO_H

#include <sys/types.h>

enum { LET_GO_SECONDS = 10 };

/** The signal that asks a watcher; who gets it lets go for LET_GO_SECONDS. */
int let_go_signal(void);

/**
 * If a watcher of this very program traces the process, ask it, and wait until
 * it has let go. Anybody else is left alone.
 */
void let_go_ask(pid_t pid);

#endif
