/*
 * Hears of processes whose memory has run out; see oom_listen.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/oom_listen.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/demangle.h"

enum {
	PATIENCE_MS = 1000,
	TOLD_MAX = 180,		/* of what an exception says */
};

static const char library_name[] = "libheapdump-onoom.so";

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)now.tv_nsec;
}

/* --- what the command needs -------------------------------------------------------- */

/** Where it is built, and where it is installed. */
static struct error *find_library(char path[PATH_MAX])
{
	static const char *const folders[] = { "", "../lib/heapscan/" };
	char own[PATH_MAX];
	ssize_t size = readlink("/proc/self/exe", own, sizeof(own) - 1);
	char *slash;

	if (size <= 0)
		return error_os(errno, "/proc/self/exe");
	own[size] = '\0';
	slash = strrchr(own, '/');
	if (slash)
		slash[1] = '\0';
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		if (snprintf(path, PATH_MAX, "%s%s%s", own, folders[i],
			     library_name) < PATH_MAX &&
		    access(path, R_OK) == 0) {
			// The loader's list is separated by them.
			return strpbrk(path, " :$") ?
				error_new(ERROR_UNSUPPORTED, "%s cannot be "
					  "preloaded: a blank, a colon or a "
					  "dollar sign in its path", path) :
				NULL;
		}
	return error_new(ERROR_NOT_FOUND, "%s is neither in %s nor in "
			 "%s../lib/heapscan", library_name, own, own);
}

static struct error *make_settings(struct oom_listener *listener,
				   const char *name)
{
	const char *before = getenv("LD_PRELOAD");
	char path[PATH_MAX];
	struct error *err = find_library(path);

	if (err)
		return err;
	// Of the user's own libraries some insist on being the first.
	if (asprintf(&listener->settings[0], "LD_PRELOAD=%s%s%s",
		     before ? before : "", before && *before ? ":" : "",
		     path) < 0)
		listener->settings[0] = NULL;
	if (asprintf(&listener->settings[1], ONOOM_VARIABLE "=%s:%.*s", name,
		     (int)sizeof(listener->secret), listener->secret) < 0)
		listener->settings[1] = NULL;
	return listener->settings[0] && listener->settings[1] ?
		NULL : error_no_memory();
}

static struct error *make_words(char name[ONOOM_NAME_MAX],
				char secret[ONOOM_SECRET_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	uint64_t number;
	uint8_t noise[ONOOM_SECRET_SIZE];

	if (getrandom(noise, sizeof(noise), 0) != (ssize_t)sizeof(noise) ||
	    getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		return error_os(errno, "random numbers");
	for (size_t i = 0; i < sizeof(noise); i++)
		secret[i] = digits[noise[i] % 16];
	(void)snprintf(name, ONOOM_NAME_MAX, "heapdump-on-oom.%d.%016llx",
		       getpid(), (unsigned long long)number);
	return NULL;
}

struct error *oom_listener_open(struct oom_listener *ret)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct oom_listener listener = { .fd = -1 };
	char name[ONOOM_NAME_MAX];
	struct error *err = make_words(name, listener.secret);
	size_t length;

	if (!err)
		err = make_settings(&listener, name);
	if (err) {
		oom_listener_close(&listener);
		return err;
	}
	length = strlen(name);
	memcpy(address.sun_path + 1, name, length);
	length += offsetof(struct sockaddr_un, sun_path) + 1;
	listener.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC |
			     SOCK_NONBLOCK, 0);
	if (listener.fd < 0 ||
	    bind(listener.fd, (struct sockaddr *)&address,
		 (socklen_t)length) != 0 ||
	    listen(listener.fd, SOMAXCONN) != 0) {
		err = error_os(errno, "a socket");
		oom_listener_close(&listener);
		return err;
	}
	*ret = listener;
	return NULL;
}

void oom_listener_close(struct oom_listener *listener)
{
	close_fd(&listener->fd);
	listener->fd = -1;
	for (size_t i = 0; listener->settings[i]; i++)
		free(listener->settings[i]);
	memset(listener->settings, 0, sizeof(listener->settings));
}

/* --- what a report says ------------------------------------------------------------- */

/**
 * As much of what was said as makes a line: whole sentences without the last
 * dot, or whole words where those would be less than half of it.
 */
static int first_sentences(const char *text)
{
	size_t length = strnlen(text, TOLD_MAX), least = length / 2;

	for (size_t i = length; i > least; i--)
		if ((text[i] == ' ' || text[i] == '\0') && text[i - 1] == '.')
			return (int)i - 1;
	for (size_t i = length; i > least; i--)
		if (text[i] == ' ' || text[i] == '\0')
			return (int)i;
	return (int)length;
}

/** The thread by the number that it has for itself, as in the dump. */
static void make_reason(const struct onoom_message *message,
			struct oom_report *report)
{
	char type[DEMANGLE_MAX], size[UNITS_TEXT_MAX];

	if (message->kind == ONOOM_REFUSED)
		(void)snprintf(report->reason, sizeof(report->reason),
			       "MemoryError in thread %d: Python was refused %s",
			       message->tid, units_size(message->size, size));
	else if (message->kind == ONOOM_THROWN)
		(void)snprintf(report->reason, sizeof(report->reason),
			       "%.100s in thread %d%s%.*s",
			       demangle_type(message->type, type), message->tid,
			       message->text[0] ? ": " : "",
			       first_sentences(message->text), message->text);
	else
		(void)snprintf(report->reason, sizeof(report->reason),
			       "%.100s in thread %d", message->type,
			       message->tid);
}

/** Words come from another process, if from one that knows the secret. */
static bool is_sound(const struct oom_listener *listener,
		     const struct onoom_message *message, ssize_t size)
{
	return size == (ssize_t)sizeof(*message) &&
	       message->version == ONOOM_VERSION &&
	       memcmp(message->secret, listener->secret,
		      sizeof(message->secret)) == 0 &&
	       memchr(message->type, '\0', sizeof(message->type)) &&
	       memchr(message->text, '\0', sizeof(message->text));
}

bool oom_listener_take(struct oom_listener *listener, struct oom_report *ret)
{
	int fd;

	while ((fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC |
			     SOCK_NONBLOCK)) >= 0) {
		struct pollfd wait = { fd, POLLIN, 0 };
		struct onoom_message message;
		struct ucred peer = { 0 };
		socklen_t length = sizeof(peer);

		*ret = (struct oom_report){ .fd = fd };
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer,
			       &length) == 0 && peer.pid > 0 &&
		    poll(&wait, 1, PATIENCE_MS) == 1 &&
		    is_sound(listener, &message,
			     recv(fd, &message, sizeof(message), 0))) {
			ret->pid = peer.pid;
			make_reason(&message, ret);
			return true;
		}
		(void)close(fd);
	}
	return false;
}

/* --- what becomes of it ------------------------------------------------------------- */

bool oom_report_waits(const struct oom_report *report)
{
	struct pollfd wait = { report->fd, POLLIN, 0 };

	return poll(&wait, 1, 0) == 0;
}

bool oom_report_is_due(const struct oom_listener *listener,
		       const struct oom_report *report, uint64_t pause_ns)
{
	for (size_t i = 0; i < OOM_DUMPS_MAX; i++)
		if (listener->dumped[i].pid == report->pid &&
		    now_ns() - listener->dumped[i].when_ns < pause_ns)
			return false;
	return true;
}

void oom_report_dumped(struct oom_listener *listener,
		       const struct oom_report *report)
{
	size_t at = listener->num_dumped++ % OOM_DUMPS_MAX;

	listener->dumped[at].pid = report->pid;
	listener->dumped[at].when_ns = now_ns();
}

void oom_report_answer(struct oom_report *report, bool over)
{
	char answer = over ? ONOOM_OVER : ONOOM_AGAIN;

	(void)send(report->fd, &answer, 1, MSG_NOSIGNAL);
	close_fd(&report->fd);
	report->fd = -1;
}
