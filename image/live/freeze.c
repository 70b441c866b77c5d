/*
 * The memory of a process as of one moment; see freeze.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/freeze.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/live/freezer.h"

/* No report is larger: 2^20 threads, and what snapshots lack. */
static const uint64_t REPORT_MAX = UINT64_C(16) << 30;

struct freeze {
	bool snapshot;
	bool thawed;
	uint64_t deadline_ns;	/* of an adopted one; 0: none */
	pid_t freezer;
	int socket;
	struct freezer_shared *shared;
	uint8_t *report;	/* what threads and held point into */
	struct report_head head;
	struct frozen_thread *threads;
	struct freeze_held *held;
};

/* --- the report ------------------------------------------------------------- */

static bool receive(int socket, void *buffer, size_t size)
{
	uint8_t *at = buffer;

	while (size > 0) {
		ssize_t got = recv(socket, at, size, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		size -= (size_t)got;
	}
	return true;
}

/** A reader of the report that cannot leave it. */
struct cursor {
	uint8_t *at;
	size_t left;
};

static uint8_t *take(struct cursor *cursor, size_t size)
{
	uint8_t *at = cursor->at;

	if (size > cursor->left)
		return NULL;
	cursor->at += size;
	cursor->left -= size;
	return at;
}

static bool take_copy(struct cursor *cursor, void *ret, size_t size)
{
	const uint8_t *at = take(cursor, size);

	if (at)
		memcpy(ret, at, size);
	return at != NULL;
}

static bool parse_thread(struct cursor *cursor, struct frozen_thread *ret)
{
	struct report_thread report;

	if (!take_copy(cursor, &report, sizeof(report)))
		return false;
	*ret = report.thread;
	for (size_t i = 0; i < ret->num_regsets && i < FREEZE_REGSETS_MAX; i++) {
		ret->regsets[i].data = take(cursor, ret->regsets[i].size);
		if (!ret->regsets[i].data)
			return false;
	}
	return true;
}

/** The name comes with its NUL. */
static bool parse_held(struct cursor *cursor, struct freeze_held *ret)
{
	struct report_held report;
	char *name;

	if (!take_copy(cursor, &report, sizeof(report)))
		return false;
	ret->map = report.map;
	name = (char *)take(cursor, (size_t)report.name_size + 1);
	if (!name)
		return false;
	ret->map.name = name;
	ret->data = report.data_size ? take(cursor, report.data_size) : NULL;
	return ret->data || report.data_size == 0;
}

static struct error *parse(struct freeze *freeze, struct cursor *cursor)
{
	struct report_head *head = &freeze->head;
	bool whole = take_copy(cursor, head, sizeof(*head));

	if (whole && head->failed) {
		const uint8_t *text = take(cursor, head->message_size);
		struct error *err = error_new(
			(enum error_kind)head->error_kind, "%.*s",
			text ? (int)head->message_size : 0,
			text ? (const char *)text : "");

		if (err->kind == ERROR_OS)
			err->os_errno = head->os_errno;
		return err;
	}
	if (whole) {
		freeze->threads = calloc(head->num_threads + 1,
					 sizeof(*freeze->threads));
		freeze->held = calloc(head->num_held + 1,
				      sizeof(*freeze->held));
		if (!freeze->threads || !freeze->held)
			return error_no_memory();
	}
	for (size_t i = 0; whole && i < head->num_threads; i++)
		whole = parse_thread(cursor, &freeze->threads[i]);
	for (size_t i = 0; whole && i < head->num_held; i++)
		whole = parse_held(cursor, &freeze->held[i]);
	return whole ? NULL : error_new(ERROR_FORMAT, "the freezer's report is "
					"cut short");
}

static struct error *read_report(struct freeze *freeze)
{
	uint64_t size;
	struct cursor cursor;

	if (!receive(freeze->socket, &size, sizeof(size)) || size > REPORT_MAX)
		return error_new(ERROR_OS, "the process that freezes the target "
				 "has ended (killed?); the target runs on");
	freeze->report = malloc(size);
	if (!freeze->report)
		return error_no_memory();
	if (!receive(freeze->socket, freeze->report, size))
		return error_new(ERROR_OS, "the process that freezes the target "
				 "has ended (killed?); the target runs on");
	cursor = (struct cursor){ freeze->report, size };
	return parse(freeze, &cursor);
}

/* --- starting --------------------------------------------------------------------- */

static struct error *start_freezer(struct freeze *freeze,
				   const struct target *target,
				   const struct freeze_options *options)
{
	struct freezer freezer = {
		.pid = target->pid,
		.start_time = target->info.start_time,
		.options = options,
		.shared = freeze->shared,
	};
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
		return error_os(errno, "making a socket");
	freezer.socket = sockets[1];
	freeze->freezer = fork();
	if (freeze->freezer == 0)
		freezer_main(&freezer);
	(void)close(sockets[1]);
	freeze->socket = sockets[0];
	return freeze->freezer < 0 ?
		error_os(errno, "starting the process that freezes the target") :
		NULL;
}

static struct error *create(bool snapshot, struct freeze **ret)
{
	struct freeze *freeze = calloc(1, sizeof(*freeze));

	if (!freeze)
		return error_no_memory();
	freeze->snapshot = snapshot;
	freeze->freezer = freeze->socket = -1;
	freeze->shared = mmap(NULL, sizeof(*freeze->shared),
			      PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (freeze->shared == MAP_FAILED) {
		free(freeze);
		return error_no_memory();
	}
	*ret = freeze;
	return NULL;
}

struct error *freeze_start(const struct target *target,
			   const struct freeze_options *options,
			   struct freeze **ret)
{
	struct freeze *freeze;
	struct error *err = create(options->snapshot, &freeze);

	if (err)
		return err;
	err = start_freezer(freeze, target, options);
	if (!err)
		err = read_report(freeze);
	if (err) {
		freeze_destroy(freeze, NULL);
		return err;
	}
	*ret = freeze;
	return NULL;
}

struct error *freeze_adopt(const struct target *target,
			   const struct freeze_standing *standing,
			   uint64_t max_ns, struct freeze **ret)
{
	struct freeze *freeze;
	struct error *err = create(/* snapshot= */ false, &freeze);

	if (err)
		return err;
	err = procinfo_read(target->pid, &freeze->head.info);
	freeze->threads = calloc(standing->num_threads + 1,
				 sizeof(*freeze->threads));
	if (!err && !freeze->threads)
		err = error_no_memory();
	if (err) {
		freeze_destroy(freeze, NULL);
		return err;
	}
	memcpy(freeze->threads, standing->threads,
	       standing->num_threads * sizeof(*freeze->threads));
	freeze->head.num_threads = standing->num_threads;
	freeze->head.memory_pid = target->pid;
	if (max_ns > 0)
		freeze->deadline_ns = standing->began_ns + max_ns;
	atomic_store(&freeze->shared->began_ns, standing->began_ns);
	atomic_store(&freeze->shared->holds, true);
	*ret = freeze;
	return NULL;
}

/* --- what it found ------------------------------------------------------------------ */

pid_t freeze_memory_pid(const struct freeze *freeze)
{
	return freeze->head.memory_pid;
}

bool freeze_is_snapshot(const struct freeze *freeze)
{
	return freeze->snapshot;
}

const struct frozen_thread *freeze_threads(const struct freeze *freeze,
					   size_t *ret_count)
{
	*ret_count = freeze->head.num_threads;
	return freeze->threads;
}

const struct procinfo *freeze_info(const struct freeze *freeze)
{
	return &freeze->head.info;
}

const struct freeze_held *freeze_held(const struct freeze *freeze,
				      size_t *ret_count)
{
	*ret_count = freeze->head.num_held;
	return freeze->held;
}

/* --- how it stands -------------------------------------------------------------------- */

bool freeze_holds(const struct freeze *freeze)
{
	struct pollfd end = { .fd = freeze->socket };

	if (freeze->deadline_ns > 0 && seize_now() >= freeze->deadline_ns)
		atomic_store(&freeze->shared->expired, true);
	// A freezer that was killed has let go without saying so.
	return atomic_load(&freeze->shared->holds) &&
	       !atomic_load(&freeze->shared->expired) &&
	       (poll(&end, 1, 0) == 0 || !(end.revents & POLLHUP));
}

bool freeze_expired(const struct freeze *freeze)
{
	return atomic_load(&freeze->shared->expired);
}

uint64_t freeze_pause(const struct freeze *freeze)
{
	uint64_t began = atomic_load(&freeze->shared->began_ns);
	uint64_t ended = atomic_load(&freeze->shared->ended_ns);

	if (began == 0)
		return 0;
	return (ended ? ended : seize_now()) - began;
}

bool freeze_dropped(const struct freeze *freeze, struct room *ret)
{
	if (!atomic_load(&freeze->shared->dropped))
		return false;
	*ret = freeze->shared->room;
	return true;
}

uint64_t freeze_window(const struct freeze *freeze)
{
	return atomic_load(&freeze->shared->window_ns);
}

/* --- the end ------------------------------------------------------------------------------ */

static void await_end(const struct freeze *freeze)
{
	char byte;

	while (receive(freeze->socket, &byte, 1))
		continue;
}

static bool send_all(int socket, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		ssize_t sent = send(socket, at, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		at += sent;
		size -= (size_t)sent;
	}
	return true;
}

void freeze_discard(struct freeze *freeze, const struct select_span *spans,
		    size_t count)
{
	uint64_t number = count;

	if (!freeze->snapshot || freeze->thawed || count == 0)
		return;
	if (send_all(freeze->socket, &number, sizeof(number)))
		(void)send_all(freeze->socket, spans, count * sizeof(*spans));
}

void freeze_thaw(struct freeze *freeze)
{
	const uint64_t let_go = 0;

	if (freeze->thawed)
		return;
	freeze->thawed = true;
	if (freeze->socket < 0) {
		atomic_store(&freeze->shared->holds, false);
		atomic_store(&freeze->shared->ended_ns, seize_now());
		return;
	}
	(void)send_all(freeze->socket, &let_go, sizeof(let_go));
	// The pause is over when the last thread is detached, which is the last
	// that the freezer does. Dropping a snapshot is nothing to wait for.
	if (!freeze->snapshot)
		await_end(freeze);
}

void freeze_destroy(struct freeze *freeze, struct freeze_end *ret)
{
	if (!freeze)
		return;
	freeze_thaw(freeze);
	if (freeze->socket >= 0) {
		await_end(freeze);
		(void)close(freeze->socket);
	}
	// Somebody else's wait may have had it.
	while (freeze->freezer > 0 &&
	       waitpid(freeze->freezer, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (ret)
		*ret = (struct freeze_end){
			.zombie_left = atomic_load(&freeze->shared->zombie_left),
			.held_ns = atomic_load(&freeze->shared->held_ns),
		};
	(void)munmap(freeze->shared, sizeof(*freeze->shared));
	free(freeze->threads);
	free(freeze->held);
	free(freeze->report);
	free(freeze);
}
