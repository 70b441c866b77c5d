/*
 * heapdump --on-oom: what the preloaded library says to the watcher.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The watcher listens on an abstract Unix socket (SOCK_SEQPACKET), whose name
 * and a secret that strangers do not know stand in ONOOM_VARIABLE of every
 * process that it started. The library connects when memory has run out, sends
 * one message, and waits for one byte, for the end of the connection, or until
 * it has waited long enough. Who it is the kernel tells (SO_PEERCRED).
 */
#ifndef DUMPER_ONOOM_PROTOCOL_H
#define DUMPER_ONOOM_PROTOCOL_H

#include <stdint.h>

/* "NAME:SECRET", of letters, digits, dots and dashes. */
#define ONOOM_VARIABLE "HEAPDUMP_ON_OOM"
/* The user's: seconds to wait for the watcher; ONOOM_WAIT_SECONDS. */
#define ONOOM_WAIT_VARIABLE "HEAPDUMP_ON_OOM_WAIT"

enum {
	ONOOM_VERSION = 1,
	ONOOM_NAME_MAX = 64,	/* with the NUL */
	ONOOM_SECRET_SIZE = 32,	/* hexadecimal digits, no NUL */
	ONOOM_TYPE_MAX = 96,
	ONOOM_TEXT_MAX = 200,
	ONOOM_WAIT_SECONDS = 120,
};

enum onoom_kind {
	ONOOM_THROWN,		/* a C++ exception; type: its mangled name */
	ONOOM_RAISED,		/* a MemoryError is made; type: its class */
	ONOOM_REFUSED,		/* Python got no memory; size: what it asked */
};

struct onoom_message {
	uint32_t version;
	uint32_t kind;		/* enum onoom_kind */
	int32_t tid;		/* in the sender's PID namespace */
	uint32_t unused;
	uint64_t size;
	char secret[ONOOM_SECRET_SIZE];
	char type[ONOOM_TYPE_MAX];	/* ends in a NUL */
	char text[ONOOM_TEXT_MAX];	/* what the exception says, or "" */
};

/* Answers. */
enum {
	ONOOM_OVER = 'o',	/* tell no more of this process */
	ONOOM_AGAIN = 'a',	/* the next one is wanted, too */
};

#endif
