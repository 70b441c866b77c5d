/*
 * The kernel's handler of cores; see core_handler.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/core_handler.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "dumper/core_limits.h"
#include "dumper/dump_config.h"
#include "dumper/dump_report.h"
#include "dumper/outfile.h"
#include "dumper/privileges.h"
#include "dumper/signal_name.h"
#include "image/base/escape.h"
#include "image/base/guard.h"
#include "image/live/convert.h"

enum {
	WORKERS = 2,		/* the machine has other work to do */
	MESSAGE_MAX = 512,
};

/* --- what the kernel says ------------------------------------------------------- */

static struct error *parse_number(const char *word, uint64_t most,
				  uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(word, &end, 10);
	if (word[0] < '0' || word[0] > '9' || *end || errno != 0 || *ret > most)
		return error_new(ERROR_USAGE, "--core-pattern: '%s' is not a "
				 "number that the kernel gives", word);
	return NULL;
}

struct error *core_call_parse(char *const *words, size_t count,
			      struct core_call *ret)
{
	static const uint64_t most[CORE_HANDLER_ARGUMENTS] = {
		INT32_MAX, INT32_MAX, 64, UINT32_MAX, UINT32_MAX, 2, INT64_MAX,
		UINT64_MAX,
	};
	uint64_t numbers[CORE_HANDLER_ARGUMENTS];

	if (count != CORE_HANDLER_ARGUMENTS)
		return error_new(ERROR_USAGE, "--core-pattern takes --install, "
				 "--uninstall, or what the kernel gives for "
				 "\"%s\"", CORE_HANDLER_SPECIFIERS);
	for (size_t i = 0; i < CORE_HANDLER_ARGUMENTS; i++) {
		struct error *err = parse_number(words[i], most[i], &numbers[i]);

		if (err)
			return err;
	}
	*ret = (struct core_call){
		.pid = (pid_t)numbers[0],
		.tid = (pid_t)numbers[1],
		.signal = (int)numbers[2],
		.uid = (uid_t)numbers[3],
		.gid = (gid_t)numbers[4],
		.dumpable = (int)numbers[5],
		.time = (int64_t)numbers[6],
		.limit = numbers[7],
	};
	return NULL;
}

/* --- one core ------------------------------------------------------------------- */

struct work {
	const struct core_call *call;
	const atomic_bool *stop;
	struct dump_config config;
	const char *folder;
	uid_t uid;		/* who will own the dump */
	gid_t gid;
	char *cmdline;
	char *script;		/* "python3 train.py" */
	const char *name;	/* "train.py", in cmdline, or NULL */
	char trigger[32];
	char facts[64];		/* further ones */
	size_t facts_size;
	struct outfile outfile;
	uint64_t max_stored;
	int mem_fd;
};

/** What the unprivileged half says to the other one at its end. */
struct outcome {
	bool failed;
	char message[MESSAGE_MAX];
	struct live_result result;
};

/** True if all four numbers of a line of status are one. */
static bool is_one_id(const char *status, const char *key, unsigned int id)
{
	const char *at = strstr(status, key);
	unsigned int ids[4];

	return at && sscanf(at + strlen(key), "%u %u %u %u", &ids[0], &ids[1],
			    &ids[2], &ids[3]) == 4 &&
	       ids[0] == id && ids[1] == id && ids[2] == id && ids[3] == id;
}

/**
 * The process's user owns the dump; but root does of a program that ran with
 * other rights than those of who started it, or that cannot be asked any more.
 */
static void choose_owner(struct work *work)
{
	const struct core_call *call = work->call;
	CLEANUP(free_pointer) char *status = NULL;
	size_t size;
	struct error *err = procinfo_file(call->pid, "status", &status, &size);

	if (!err && call->dumpable == 1 &&
	    is_one_id(status, "\nUid:", call->uid) &&
	    is_one_id(status, "\nGid:", call->gid)) {
		work->uid = call->uid;
		work->gid = call->gid;
	}
	error_free(err);
}

/** A handler that crashes is not handled. */
static struct error *refuse_own(const struct core_call *call)
{
	struct stat ours, theirs;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/exe", call->pid);
	if (stat(path, &theirs) == 0 && stat("/proc/self/exe", &ours) == 0 &&
	    ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev)
		return error_new(ERROR_LIMIT, "it is heapdump itself");
	return NULL;
}

/** Nobody else may put files, or links, where root does. */
static struct error *check_folder(const char *folder)
{
	CLEANUP(close_fd) int fd =
		open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) != 0)
		return error_os(errno, "%s", folder);
	if (status.st_uid != 0 || (status.st_mode & (S_IWGRP | S_IWOTH)))
		return error_new(ERROR_LIMIT, "%s must be owned by root and "
				 "writable by nobody else", folder);
	return NULL;
}

static struct error *name_process(struct work *work)
{
	char name[SIGNAL_NAME_MAX];
	size_t size = 0;

	error_free(procinfo_file(work->call->pid, "cmdline", &work->cmdline,
				 &size));
	work->script = procinfo_script(work->cmdline ? work->cmdline : "", size,
				       &work->name);
	(void)snprintf(work->trigger, sizeof(work->trigger), "signal %s",
		       signal_name(work->call->signal, name));
	work->facts_size = 1 + (size_t)snprintf(
		work->facts, sizeof(work->facts), "crashed_tid=%d",
		work->call->tid);
	return work->script ? NULL : error_no_memory();
}

static struct error *open_output(struct work *work)
{
	struct outfile_place place = {
		.output = work->folder,
		.pid = work->call->pid,
		.script = work->name ? work->name : work->script,
		.time = work->call->time,
		.compressed = true,
	};
	struct error *err = outfile_open(&place, &work->outfile);

	if (!err && fchown(work->outfile.fd, work->uid, work->gid) != 0)
		err = error_os(errno, "giving the dump to user %u", work->uid);
	return err;
}

/** All that root is needed for; stops at the first thing that forbids it. */
static struct error *prepare(struct work *work)
{
	struct error *err = dump_config_read(&work->config);
	char path[40];

	if (err)
		return err;
	work->folder = work->config.folder ? work->config.folder :
					     DUMP_CONFIG_FOLDER;
	if (work->config.kernel_forbidden)
		err = error_new(ERROR_LIMIT, "%s forbids it", DUMP_CONFIG_PATH);
	if (!err && work->config.respect_limit && work->call->limit == 0)
		err = error_new(ERROR_LIMIT, "its limit on cores is 0 "
				"(respect_limit)");
	if (!err)
		err = refuse_own(work->call);
	if (!err)
		err = check_folder(work->folder);
	if (!err)
		err = core_limits_enter(&work->config, work->folder,
					work->call->time, &work->max_stored);
	if (!err)
		err = name_process(work);
	if (err)
		return err;
	choose_owner(work);
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", work->call->pid);
	work->mem_fd = open(path, O_RDONLY | O_CLOEXEC);
	return open_output(work);
}

/* --- the half without rights ------------------------------------------------------ */

static struct error *convert(const struct work *work,
			     struct live_result *result)
{
	struct live_options live = {
		.content = work->config.caps_content ? work->config.content :
						       SELECT_HEAP,
		.workers = WORKERS,
		.own_file = true,
		.hash = true,
		.trigger = work->trigger,
		.extra = work->facts,
		.extra_size = work->facts_size,
		.stop = work->stop,
	};
	CLEANUP(last_seen_deinit) struct last_seen seen = { 0 };
	struct convert_options options = {
		.live = &live,
		.seen = &seen,
		.mem_fd = work->mem_fd,
		.max_image = work->config.max_core,
		.max_stored = work->max_stored,
	};
	struct error *err = privileges_become(work->uid, work->gid);

	if (!err)
		err = last_seen_read(work->call->pid, &live, "kernel", &seen);
	if (!err)
		err = privileges_drop_all();
	// Not before: a change of user takes it away again.
	if (!err && prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		err = error_os(errno, "prctl");
	return err ? err : convert_core(&options, STDIN_FILENO,
					work->outfile.fd, result);
}

static _Noreturn void run_unprivileged(const struct work *work, int line)
{
	struct outcome outcome = { 0 };
	struct error *err = convert(work, &outcome.result);

	if (err) {
		outcome.failed = true;
		(void)snprintf(outcome.message, sizeof(outcome.message), "%s",
			       err->message);
		error_free(err);
	}
	_exit(write(line, &outcome, sizeof(outcome)) ==
	      (ssize_t)sizeof(outcome) ? 0 : 1);
}

/* --- the half with them ----------------------------------------------------------- */

/** All of what the other half says, or nothing. */
static bool hear(int line, pid_t child, const atomic_bool *stop,
		 struct outcome *ret)
{
	uint8_t *at = (uint8_t *)ret;
	size_t have = 0;

	while (have < sizeof(*ret)) {
		ssize_t got = read(line, at + have, sizeof(*ret) - have);

		if (got < 0 && errno == EINTR) {
			if (atomic_load(stop))
				(void)kill(child, SIGTERM);
			continue;
		}
		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	// It is what another user's process has written.
	ret->message[sizeof(ret->message) - 1] = '\0';
	return true;
}

static struct error *convert_unprivileged(struct work *work,
					  struct live_result *result)
{
	struct outcome outcome;
	int line[2];
	pid_t child;
	bool heard;

	if (pipe2(line, O_CLOEXEC) != 0)
		return error_os(errno, "a pipe");
	child = fork();
	if (child == 0) {
		(void)close(line[0]);
		run_unprivileged(work, line[1]);
	}
	(void)close(line[1]);
	// The core is the other's; kept open here, the kernel would wait.
	(void)close(STDIN_FILENO);
	if (child < 0) {
		(void)close(line[0]);
		return error_os(errno, "starting a process");
	}
	heard = hear(line[0], child, work->stop, &outcome);
	(void)close(line[0]);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (!heard)
		return error_new(ERROR_OS, "the process that converted it was "
				 "killed");
	if (outcome.failed)
		return error_new(ERROR_OS, "%s", outcome.message);
	*result = outcome.result;
	return NULL;
}

static void audit(const struct work *work, const struct live_result *result)
{
	struct dump_report report = {
		.path = work->outfile.path,
		.pid = work->call->pid,
		.uid = work->call->uid,
		.script = work->script,
		.content = select_content_word(work->config.caps_content ?
					       work->config.content :
					       SELECT_HEAP),
		.method = "kernel",
		.trigger = work->trigger,
		.result = result,
	};

	dump_report_audit(&report);
}

/** One line about what was not done, or not wholly. */
static void log_refusal(const struct work *work, const char *what)
{
	CLEANUP(free_pointer) char *script = work->script ?
		escape_copy(ESCAPE_TEXT, work->script, strlen(work->script)) :
		NULL;
	CLEANUP(free_pointer) char *text =
		escape_copy(ESCAPE_TEXT, what, strlen(what));

	openlog("heapdump", LOG_PID, LOG_AUTHPRIV);
	syslog(LOG_AUTHPRIV | LOG_WARNING, "no dump of process %d (%s) of uid "
	       "%u, signal %d: %s", work->call->pid, script ? script : "?",
	       work->call->uid, work->call->signal, text ? text : "?");
	closelog();
}

static struct error *run(struct work *work)
{
	struct live_result result = { 0 };
	struct error *err = prepare(work);

	if (!err)
		err = convert_unprivileged(work, &result);
	if (!err)
		err = outfile_commit(&work->outfile);
	if (err)
		outfile_abort(&work->outfile);
	else
		audit(work, &result);
	return err;
}

struct error *core_handler_run(const struct core_call *call,
			       const atomic_bool *stop)
{
	struct work work = {
		.call = call,
		.stop = stop,
		.outfile = { .fd = -1, .folder_fd = -1 },
		.mem_fd = -1,
	};
	struct error *err = privileges_harden();

	if (!err)
		err = run(&work);
	if (err)
		log_refusal(&work, err->message);
	outfile_deinit(&work.outfile);
	close_fd(&work.mem_fd);
	dump_config_deinit(&work.config);
	free(work.cmdline);
	free(work.script);
	return err;
}
