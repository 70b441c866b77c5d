/*
 * Tells the watcher that memory has run out; see onoom_tell.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/onoom/onoom_tell.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_SECONDS_MAX = 86400 };

/* What the environment said at the start: the program may change it. */
static char name[ONOOM_NAME_MAX];
static char secret[ONOOM_SECRET_SIZE];
static int64_t wait_seconds = ONOOM_WAIT_SECONDS;
static bool wanted;

/* Numbers of processes, as a child of fork() is another one. */
static _Atomic pid_t told_by;		/* one of its threads waits */
static _Atomic pid_t over_for;

/** Before the program's own code; not static where the order matters. */
__attribute__((constructor(101)))
static void read_environment(void)
{
	const char *at = getenv(ONOOM_VARIABLE);
	const char *colon = at ? strchr(at, ':') : NULL;
	const char *seconds = getenv(ONOOM_WAIT_VARIABLE);
	size_t length = colon ? (size_t)(colon - at) : 0;

	if (seconds && *seconds >= '0' && *seconds <= '9')
		wait_seconds = strtol(seconds, NULL, 10);
	if (wait_seconds > WAIT_SECONDS_MAX)
		wait_seconds = WAIT_SECONDS_MAX;
	if (length == 0 || length >= sizeof(name) ||
	    strlen(colon + 1) != sizeof(secret))
		return;
	memcpy(name, at, length);
	memcpy(secret, colon + 1, sizeof(secret));
	wanted = true;
}

bool onoom_is_wanted(void)
{
	return wanted;
}

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/** Only who may read this process anyway is believed to be the watcher. */
static bool is_watcher(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
	    (peer.uid != 0 && peer.uid != geteuid()))
		return false;
	// Where Yama lets only ancestors trace: a descendant of the watcher
	// does it.
	if (peer.pid > 0)
		(void)prctl(PR_SET_PTRACER, peer.pid, 0, 0, 0);
	return true;
}

/** The system calls themselves: libc's functions are points of cancellation. */
static int connect_to_watcher(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(name);
	struct timeval limit = { .tv_sec = wait_seconds };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	// Room for ONOOM_NAME_MAX there is; the first byte stays a NUL.
	memcpy(address.sun_path + 1, name, length);
	length += offsetof(struct sockaddr_un, sun_path) + 1;
	// More processes at once than may wait for being accepted.
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (syscall(SYS_connect, fd, &address, length) == 0 && is_watcher(fd))
		return fd;
	(void)syscall(SYS_close, fd);
	return -1;
}

/**
 * The answer; 0 where the watcher is gone, ONOOM_OVER where it takes too long:
 * nobody is made to wait twice for it.
 */
static char await_answer(int fd)
{
	int64_t end = now_ms() + wait_seconds * 1000;
	char answer = 0;

	for (;;) {
		struct pollfd wait = { fd, POLLIN, 0 };
		int64_t left = end - now_ms();
		struct timespec timeout = { left / 1000, left % 1000 * 1000000 };
		long ready, got;

		if (left <= 0)
			return ONOOM_OVER;
		ready = syscall(SYS_ppoll, &wait, 1, &timeout, NULL, 0);
		if (ready < 0 && errno != EINTR)
			return ONOOM_OVER;
		if (ready <= 0)
			continue;
		got = syscall(SYS_recvfrom, fd, &answer, 1, MSG_DONTWAIT, NULL,
			      NULL);
		if (got == 1)
			return answer;
		if (got == 0 || (errno != EAGAIN && errno != EINTR))
			return 0;
	}
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = from ? strnlen(from, size - 1) : 0;

	if (length > 0)
		memcpy(to, from, length);
}

static void tell(const struct onoom_message *message, pid_t self)
{
	int fd = connect_to_watcher();

	if (fd < 0)
		return;
	if (syscall(SYS_sendto, fd, message, sizeof(*message), MSG_NOSIGNAL,
		    NULL, 0) == (long)sizeof(*message) &&
	    await_answer(fd) == ONOOM_OVER)
		atomic_store(&over_for, self);
	(void)syscall(SYS_close, fd);
}

void onoom_tell(enum onoom_kind kind, const char *type, const char *text,
		uint64_t size)
{
	int before = errno;
	pid_t self = getpid();
	struct onoom_message message = {
		.version = ONOOM_VERSION,
		.kind = kind,
		.tid = (int32_t)syscall(SYS_gettid),
		.size = size,
	};

	if (wanted && atomic_load(&over_for) != self &&
	    atomic_exchange(&told_by, self) != self) {
		memcpy(message.secret, secret, sizeof(secret));
		copy_text(message.type, sizeof(message.type), type);
		copy_text(message.text, sizeof(message.text), text);
		tell(&message, self);
		atomic_store(&told_by, 0);
	}
	errno = before;
}
