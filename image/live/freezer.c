/*
 * The freezer's process; see freezer.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/freezer.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/live/pace.h"
#include "image/live/seize.h"
#include "image/live/select.h"
#include "image/live/snapshot.h"

enum {
	DESCRIPTORS_MAX = 65536,	/* closed one by one by old kernels */
	/* Looked after what cannot wake us this often. */
	TICK_MS = 100,
	/* A snapshot's memory is freed at some GB a second. */
	HOLD_MS = 500,
	DYING_US = 200,
};

/* Of a snapshot, let go of between two looks at what there is to do: 5 ms. */
static const uint64_t DISCARD_AT_ONCE = UINT64_C(256) << 20;

/* Spans that may be asked for: fewer than there are mappings and chunks. */
static const uint64_t SPANS_MAX = UINT64_C(1) << 24;

/* Memory that is not inherited by a snapshot is read at once: 3 ms or so. */
static const uint64_t HELD_MAX = UINT64_C(16) << 20;

/** A mapping that the snapshot has not. */
struct held {
	const struct procmap *map;
	uint8_t *data;		/* all of it, or NULL */
};

struct state {
	const struct freezer *freezer;
	struct freezer_shared *shared;
	struct snapshot_options snapshot_options;
	struct seized seized;
	struct snapshot snapshot;
	struct room_watch watch;
	struct procinfo info;
	struct procmaps maps;	/* of the target, where some are held */
	struct held *held;
	size_t num_held;
	struct select_span *unread;	/* of the snapshot, to be discarded */
	size_t num_unread, next_unread;
};

/* --- alone in the world ------------------------------------------------------ */

static void close_range_slowly(int first, int last)
{
	if (last > DESCRIPTORS_MAX)
		last = DESCRIPTORS_MAX;
	for (int fd = first; fd <= last; fd++)
		(void)close(fd);
}

static void close_others(int keep)
{
	int null = open("/dev/null", O_RDWR);

	// Whoever reads our program's output must not wait for us.
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		(void)dup2(null, fd);
	if (null > 2 && null != keep)
		(void)close(null);
#ifdef SYS_close_range
	if (syscall(SYS_close_range, keep + 1, ~0U, 0) == 0 &&
	    (keep <= 3 || syscall(SYS_close_range, 3, keep - 1, 0) == 0))
		return;
#endif
	close_range_slowly(3, keep - 1);
	close_range_slowly(keep + 1, DESCRIPTORS_MAX);
}

/** @return the socket's number from now on */
static int settle_down(int socket)
{
	int kept = fcntl(socket, F_DUPFD_CLOEXEC, 3);
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)setsid();
	(void)prctl(PR_SET_NAME, "heapdump-freeze");
	close_others(kept);
	(void)!chdir("/");
	return kept;
}

/* --- what a snapshot lacks ------------------------------------------------------ */

static uint8_t *read_whole(pid_t pid, const struct procmap *map)
{
	uint64_t size = map->end - map->start;
	uint8_t *data = malloc(size);
	struct iovec local = { data, size };
	struct iovec remote = { (void *)(uintptr_t)map->start, size };

	if (data && process_vm_readv(pid, &local, 1, &remote, 1, 0) !=
			    (ssize_t)size) {
		free(data);
		data = NULL;
	}
	return data;
}

/**
 * Mappings that are not inherited (MADV_DONTFORK): those of the target that
 * its snapshot has not. What is small is read as long as it stands still.
 */
static struct error *hold_the_rest(struct state *state)
{
	CLEANUP(procmaps_deinit) struct procmaps inherited = { 0 };
	pid_t pid = state->freezer->pid;
	struct error *err = procmaps_read_lines(pid, &state->maps);
	uint64_t room = HELD_MAX;

	if (!err)
		err = procmaps_read_lines(state->snapshot.pid, &inherited);
	if (!err && inherited.count < state->maps.count) {
		state->held = calloc(state->maps.count, sizeof(*state->held));
		err = state->held ? NULL : error_no_memory();
	}
	for (size_t i = 0; !err && state->held && i < state->maps.count; i++) {
		const struct procmap *map = &state->maps.items[i];
		uint64_t size = map->end - map->start;
		struct held *held;

		if (procmaps_find(&inherited, map->start))
			continue;
		held = &state->held[state->num_held++];
		held->map = map;
		if (select_never(map) == FORMAT_CAPTURED &&
		    (map->protection & PF_R) && size <= room)
			held->data = read_whole(pid, map);
		room -= held->data ? size : 0;
	}
	// It was killed just now, or has no such mappings.
	if (err && err->kind == ERROR_OS) {
		error_free(err);
		err = NULL;
	}
	return err;
}

/* --- the report --------------------------------------------------------------------- */

static void write_threads(const struct seized *seized, FILE *out)
{
	for (size_t i = 0; i < seized->num_threads; i++) {
		const struct report_thread report = { seized->threads[i] };
		const struct frozen_thread *thread = &report.thread;

		(void)fwrite(&report, sizeof(report), 1, out);
		for (size_t k = 0; k < thread->num_regsets; k++)
			(void)fwrite(thread->regsets[k].data, 1,
				     thread->regsets[k].size, out);
	}
}

static void write_held(const struct state *state, FILE *out)
{
	for (size_t i = 0; i < state->num_held; i++) {
		const struct procmap *map = state->held[i].map;
		struct report_held report = {
			.map = *map,
			.name_size = (uint32_t)strlen(map->name),
			.data_size = state->held[i].data ?
				map->end - map->start : 0,
		};

		(void)fwrite(&report, sizeof(report), 1, out);
		(void)fwrite(map->name, 1, (size_t)report.name_size + 1, out);
		if (report.data_size)
			(void)fwrite(state->held[i].data, 1, report.data_size,
				     out);
	}
}

static bool send_all(int socket, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(socket, data, size, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		data += sent;
		size -= (size_t)sent;
	}
	return true;
}

/** @return false if nobody is there to read it */
static bool send_report(const struct state *state, const struct error *failed,
			int socket)
{
	struct report_head head = {
		.failed = failed != NULL,
		.error_kind = failed ? (int)failed->kind : 0,
		.os_errno = failed ? failed->os_errno : 0,
		.message_size = failed ? (uint32_t)strlen(failed->message) : 0,
		.memory_pid = state->snapshot.pid ? state->snapshot.pid :
						    state->freezer->pid,
		.info = state->info,
		.num_threads = failed ? 0 : state->seized.num_threads,
		.num_held = failed ? 0 : state->num_held,
	};
	CLEANUP(free_pointer) char *data = NULL;
	size_t size = 0;
	uint64_t announced;
	FILE *out = open_memstream(&data, &size);

	if (!out)
		return false;
	(void)fwrite(&head, sizeof(head), 1, out);
	if (failed) {
		(void)fwrite(failed->message, 1, head.message_size, out);
	} else {
		write_threads(&state->seized, out);
		write_held(state, out);
	}
	if (fclose(out) != 0)
		return false;
	announced = size;
	return send_all(socket, (const char *)&announced, sizeof(announced)) &&
	       send_all(socket, data, size);
}

/* --- freezing ----------------------------------------------------------------------- */

static bool time_is_up(const struct state *state)
{
	uint64_t limit = state->freezer->options->max_ns;

	return limit != 0 && seize_now() - state->shared->began_ns >= limit;
}

static void release(struct state *state)
{
	// First, so that nobody takes what is read from now on for frozen.
	if (state->snapshot.pid == 0)
		atomic_store(&state->shared->holds, false);
	seize_release(&state->seized);
	if (state->shared->ended_ns == 0)
		atomic_store(&state->shared->ended_ns, seize_now());
}

/** Stop the target, and let it go again when the snapshot is made. */
static struct error *stop(struct state *state)
{
	const struct freeze_options *options = state->freezer->options;
	uint64_t limit = options->max_ns ? options->max_ns : UINT64_MAX;
	struct error *err = seize_stop(&state->seized, limit);

	if (!err)
		err = procinfo_read(state->freezer->pid, &state->info);
	if (!err)
		err = seize_read(&state->seized);
	if (!err && time_is_up(state))
		err = error_new(ERROR_LIMIT, "stopping the threads alone took "
				"longer than the process may stand still");
	if (!err && options->ask && !options->snapshot)
		err = snapshot_ask_dumpable(&state->seized,
					    &state->snapshot_options);
	if (!err && options->snapshot)
		err = snapshot_make(&state->seized, &state->snapshot_options,
				    &state->snapshot);
	if (!err && options->snapshot) {
		atomic_store(&state->shared->window_ns,
			     state->snapshot.window_ns);
		err = hold_the_rest(state);
	}
	if (!err)
		atomic_store(&state->shared->holds, true);
	if (err || options->snapshot)
		release(state);
	return err;
}

static struct error *freeze(struct state *state)
{
	const struct freeze_options *options = state->freezer->options;
	struct error *err = NULL;
	struct pace usual;

	if (options->snapshot || options->ask)
		err = inject_find(state->freezer->pid,
				  &state->snapshot_options.place);
	if (err)
		return err;
	usual = pace_hurry();
	err = stop(state);
	pace_slow_down(&usual);
	if (!err && options->snapshot)
		snapshot_settle(&state->snapshot,
				state->snapshot_options.place);
	return err;
}

/* --- waiting for the end ---------------------------------------------------------------- */

/** Milliseconds until something may have to be done. */
static int patience(const struct state *state)
{
	uint64_t limit = state->freezer->options->max_ns;
	uint64_t past = seize_now() - state->shared->began_ns;

	if (limit == 0)
		return TICK_MS;
	if (past >= limit)
		return 0;
	limit = (limit - past) / 1000000 + 1;
	return limit < TICK_MS ? (int)limit : TICK_MS;
}

/** What can end a snapshot before it is told to; true if it did. */
static bool has_ended(struct state *state, int *ret_patience)
{
	struct room room;

	if (!snapshot_lives(&state->snapshot))
		return true;
	if (room_is_short(&state->watch, &room)) {
		state->shared->room = room;
		atomic_store(&state->shared->dropped, true);
		return true;
	}
	*ret_patience = room_patience(&state->watch, &room);
	return false;
}

static bool receive(int socket, void *buffer, size_t size)
{
	return recv(socket, buffer, size, MSG_WAITALL) == (ssize_t)size;
}

/** @return false: let go */
static bool take_request(struct state *state, int socket)
{
	uint64_t count;

	if (!receive(socket, &count, sizeof(count)) || count == 0 ||
	    count > SPANS_MAX)
		return false;
	free(state->unread);
	state->num_unread = state->next_unread = 0;
	state->unread = calloc(count, sizeof(*state->unread));
	if (!state->unread ||
	    !receive(socket, state->unread, count * sizeof(*state->unread)))
		return false;
	state->num_unread = count;
	if (state->freezer->options->step)
		state->freezer->options->step("discard");
	return true;
}

/** Let go of some of what nobody will read; false: there is no more. */
static bool discard_some(struct state *state)
{
	uint64_t left = DISCARD_AT_ONCE;

	while (state->next_unread < state->num_unread && left > 0) {
		struct select_span *span = &state->unread[state->next_unread];
		uint64_t size = span->end - span->start;

		if (size > left)
			size = left;
		snapshot_discard(&state->snapshot,
				 state->snapshot_options.place, span->start,
				 span->start + size);
		span->start += size;
		left -= size;
		state->next_unread += span->start == span->end;
	}
	return state->next_unread < state->num_unread;
}

static void await_end(struct state *state, int socket)
{
	bool snapshot = state->snapshot.pid != 0, more = false;
	int timeout = 0;
	sigset_t children;

	(void)sigemptyset(&children);
	(void)sigaddset(&children, SIGCHLD);
	CLEANUP(close_fd) int news = signalfd(-1, &children,
					      SFD_NONBLOCK | SFD_CLOEXEC);
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = socket, .events = POLLIN },
			{ .fd = news, .events = POLLIN },
		};
		struct signalfd_siginfo info;

		(void)poll(fds, 2, more ? 0 : snapshot ? timeout :
					      patience(state));
		while (news >= 0 && read(news, &info, sizeof(info)) > 0)
			continue;
		seize_latecomers(&state->seized, !snapshot);
		if (fds[0].revents != 0 && !take_request(state, socket))
			return;
		if (snapshot && has_ended(state, &timeout))
			return;
		more = snapshot && discard_some(state);
		if (!snapshot && time_is_up(state)) {
			atomic_store(&state->shared->expired, true);
			return;
		}
	}
}

/**
 * Kill the snapshot and wait until its memory is free. If the target is short
 * of memory it stands still meanwhile: the kernel would not wait for memory
 * that a dying process is about to free, and would kill the target for it.
 */
static void drop(struct state *state)
{
	atomic_uint_least64_t began = 0;
	struct seized held = {
		.pid = state->freezer->pid,
		.start_time = state->freezer->start_time,
		.began_ns = &began,
	};
	bool holds = false, killed = false;

	do {
		struct room room;

		if (!holds && room_is_short(&state->watch, &room)) {
			holds = true;
			error_free(seize_stop(&held,
					      HOLD_MS * UINT64_C(1000000)));
		}
		if (!killed)
			snapshot_kill(&state->snapshot);
		killed = true;
		(void)usleep(DYING_US);
	} while (snapshot_lives(&state->snapshot));
	seize_release(&held);
	if (began != 0)
		atomic_store(&state->shared->held_ns, seize_now() - began);
	seize_deinit(&held);
}

static void undo(struct state *state, bool snapshot)
{
	const struct snapshot_options *options = &state->snapshot_options;
	struct pace usual;

	atomic_store(&state->shared->holds, false);
	if (snapshot) {
		if (options->step)
			options->step("drop");
		drop(state);
	}
	usual = pace_hurry();
	if (!snapshot)
		release(state);
	else if (!snapshot_collect(&state->snapshot, state->freezer->pid,
				   options))
		atomic_store(&state->shared->zombie_left, true);
	pace_slow_down(&usual);
}

void freezer_main(const struct freezer *freezer)
{
	const struct freeze_options *options = freezer->options;
	int socket = settle_down(freezer->socket);
	struct state state = {
		.freezer = freezer,
		.shared = freezer->shared,
		.snapshot_options = {
			.assume_fork_allowed = options->assume_fork_allowed,
			.force = !options->ask,
			.step = options->step,
		},
		.seized = {
			.pid = freezer->pid,
			.start_time = freezer->start_time,
			.began_ns = &freezer->shared->began_ns,
		},
	};
	struct error *err;
	bool snapshot;

	room_open(freezer->pid, &state.watch);
	err = freeze(&state);
	snapshot = state.snapshot.pid != 0;

	if (send_report(&state, err, socket) && !err)
		await_end(&state, socket);
	if (!err || snapshot)
		undo(&state, snapshot);
	// Ending, this process lets go of what could not be detached because
	// it has not stopped: ptrace ties tracees to their tracer.
	_exit(0);
}
