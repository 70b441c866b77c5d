/*
 * The dump of one process, from the checks to the report; see dump_one.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/dump_one.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "dumper/dump_report.h"
#include "dumper/let_go.h"
#include "dumper/method_gcore.h"
#include "dumper/method_signal.h"
#include "dumper/outfile.h"
#include "dumper/retention.h"
#include "image/base/escape.h"
#include "image/base/guard.h"
#include "pyheap/references/pykeep.h"

/* Whoever knows which memory must not be left out as payload. */
static const struct model *const models[] = { &pyh_model, NULL };

static const char gpu_auto_fact[] =
	"gpu=not captured: GPU images are not in this version";
static const char gpu_off_fact[] = "gpu=not captured: --gpu off";

/** One process on its way to a file. */
struct job {
	const struct dump_options *options;
	const struct dump_config *config;
	const struct dump_request *request;
	struct live_options live;
	struct target target;
	struct outfile_place place;
	char *cmdline;
	char *script;		/* "python3 train.py" */
	struct live_estimate estimate;
	enum dump_method method;	/* the one being tried, or that did */
	struct core_file core;	/* of DUMP_METHOD_SIGNAL */
	struct outfile outfile;
	struct live_result result;
	struct progress_line line;
};

void dump_complain(struct error *err)
{
	(void)fputs("heapdump: ", stderr);
	escape_puts(stderr, ESCAPE_TEXT, err->message);
	(void)fputc('\n', stderr);
	error_free(err);
}

static uint64_t pause_limit(const struct job *job)
{
	return job->live.max_pause_ns ? job->live.max_pause_ns :
					LIVE_MAX_PAUSE_NS;
}

static void fill_live_options(struct job *job)
{
	const struct dump_options *options = job->options;
	const struct dump_request *request = job->request;
	const char *type = getenv("TERM");
	// A line is renewed by erasing it, which a dumb terminal cannot do.
	bool terminal = isatty(STDERR_FILENO) == 1 &&
			!(type && strcmp(type, "dumb") == 0);

	job->live = (struct live_options){
		.snapshot = options->methods[0] == DUMP_METHOD_SNAPSHOT &&
			    !request->held,
		.assume_fork_allowed = options->assume_fork_allowed,
		.force = options->force,
		.content = options->content,
		.rules = &options->rules,
		.models = models,
		.max_pause_ns = options->max_pause_ns,
		.no_compress = options->no_compress,
		.level = options->level,
		.no_cmdline = options->no_cmdline,
		.environ = options->environ,
		.trigger = request->trigger,
		.reason = request->reason,
		.held = request->held,
		.hash = options->json || dump_report_is_audited(),
		.extra = options->gpu_off ? gpu_off_fact : gpu_auto_fact,
		.extra_size = options->gpu_off ? sizeof(gpu_off_fact) :
						 sizeof(gpu_auto_fact),
		.stop = request->stop,
	};
	job->line = (struct progress_line){ stderr, job->target.pid, false };
	if (terminal && !options->no_progress && !options->quiet &&
	    !request->brief) {
		job->live.progress = progress_line_show;
		job->live.progress_context = &job->line;
	}
}

/** What the target calls itself, for the file's name and for people. */
static struct error *name_target(struct job *job)
{
	const char *script = NULL;
	size_t size;
	struct error *err = procinfo_file(job->target.pid, "cmdline",
					  &job->cmdline, &size);

	if (err)
		return err;
	job->script = procinfo_script(job->cmdline, size, &script);
	if (!job->script)
		return error_no_memory();
	job->place = (struct outfile_place){
		.output = job->options->output ? job->options->output :
						 job->config->folder,
		.pid = job->target.pid,
		.script = script ? script : job->script,
		.time = (int64_t)time(NULL),
		.compressed = !job->options->no_compress,
		.keep_others = job->request->keep_others,
	};
	return NULL;
}

static const char *content_option(const struct job *job)
{
	switch (job->options->content) {
	case SELECT_FULL:
		return " --content full ";
	case SELECT_STACKS:
		return " --content stacks ";
	case SELECT_HEAP:
		break;
	}
	return " ";
}

/** The same command with what would make it work. */
static struct error *advise(struct job *job, struct error *err,
			    const char *option)
{
	enum error_kind kind = err->kind;
	char *message;

	if (asprintf(&message, "process %d: %s. To do it nevertheless: heapdump "
		     "%s%s%d", job->target.pid, err->message, option,
		     content_option(job), job->target.pid) < 0)
		return err;
	error_free(err);
	err = error_new(kind, "%s", message);
	free(message);
	return err;
}

/** Twice the estimate and whole seconds: a limit that will hold. */
static struct error *refuse_pause(struct job *job, struct error *err)
{
	char option[80], method[32] = "";

	if (job->method != DUMP_METHOD_SNAPSHOT)
		(void)snprintf(method, sizeof(method), "--method %s ",
			       dump_method_word(job->method));
	(void)snprintf(option, sizeof(option), "%s--max-pause %" PRIu64 "s",
		       method,
		       2 * job->estimate.pause_ns / 1000000000 + 1);
	return advise(job, err, option);
}

/** Who is dying may stand still, but for a limit that was asked for. */
static struct error *check_pause(const struct job *job)
{
	return job->request->held && job->live.max_pause_ns == 0 ? NULL :
		live_check_pause(&job->estimate, &job->live);
}

/** What can be known before anything is stopped. */
static struct error *check(struct job *job)
{
	bool to_file = outfile_is_file(&job->outfile) && !job->options->force;
	struct error *err;

	// Most processes are small enough to need no sampling.
	live_estimate_bound(&job->target, &job->live, &job->estimate);
	err = check_pause(job);
	if (!err && to_file)
		err = live_check_space(&job->estimate, job->outfile.fd,
				       job->outfile.folder);
	if (!err)
		return NULL;
	error_free(err);
	err = live_estimate(&job->target, &job->live, &job->estimate);
	if (err)
		return err;
	err = check_pause(job);
	if (err)
		return refuse_pause(job, err);
	if (to_file)
		err = live_check_space(&job->estimate, job->outfile.fd,
				       job->outfile.folder);
	return err ? advise(job, err, "--force") : NULL;
}

static int signal_to_send(const struct job *job)
{
	return job->options->signal ? job->options->signal : SIGABRT;
}

static void tell_removed(const char *name)
{
	(void)fprintf(stderr, "heapdump: --max-total: removed %s\n", name);
}

/** Keep to the limits of the folder, by a good estimate of what comes. */
static struct error *make_room(struct job *job)
{
	const struct watch_options *watch = &job->options->watch;
	const struct outfile *out = &job->outfile;
	struct error *err;

	if (!outfile_is_file(out) ||
	    (watch->max_total == 0 && watch->min_free == 0))
		return NULL;
	err = live_estimate(&job->target, &job->live, &job->estimate);
	if (!err && watch->max_total > 0)
		err = retention_make_room(out->folder_fd, out->folder,
					  watch->max_total,
					  job->estimate.stored_bytes, NULL,
					  job->options->quiet ? NULL :
								tell_removed);
	if (!err && watch->min_free > 0)
		err = retention_check_free(out->fd, out->folder,
					   watch->min_free,
					   job->estimate.stored_bytes);
	return err;
}

/** The dump is complete, and larger than was estimated perhaps. */
static void keep_total(const struct job *job)
{
	const struct watch_options *watch = &job->options->watch;
	const struct outfile *out = &job->outfile;
	struct error *err;

	if (!outfile_is_file(out) || watch->max_total == 0)
		return;
	err = retention_make_room(out->folder_fd, out->folder, watch->max_total,
				  0, out->name, job->options->quiet ?
				  NULL : tell_removed);
	if (err)
		dump_complain(err);
}

/** The last thing before the dump, as it may cost older ones. */
static struct error *check_output(struct job *job)
{
	if (!job->options->force && outfile_in_memory(&job->outfile) &&
	    procinfo_same_cgroup(getpid(), job->target.pid))
		return advise(job, error_new(ERROR_LIMIT, "%s is memory, and "
					     "it would be charged to the "
					     "process's own cgroup",
					     job->outfile.folder),
			      "--force");
	return make_room(job);
}

/** True if another method may do what this one cannot; nothing was written. */
static bool is_impossible(const struct error *err)
{
	return err->kind == ERROR_UNSUPPORTED || err->kind == ERROR_LIMIT;
}

/** By a snapshot, or by stopping it, as job->live says. */
static struct error *dump_live(struct job *job)
{
	struct error *err = live_check_method(&job->target, &job->live);
	bool impossible = err && is_impossible(err);

	if (!err)
		err = check(job);
	if (!err)
		err = check_output(job);
	if (!err) {
		err = live_dump(&job->target, &job->live, job->outfile.fd,
				&job->result);
		impossible = err && err->kind == ERROR_UNSUPPORTED;
	}
	if (err && err->kind == ERROR_DENIED)
		return advise(job, err, "--force");
	return impossible && job->live.snapshot ?
		advise(job, err, "--method stop") : err;
}

/** gdb makes the core. */
static struct error *dump_by_gcore(struct job *job)
{
	const char *folder = job->outfile.folder;
	struct error *err = method_gcore_check(&job->target, &job->live, folder,
					       job->options->force,
					       &job->estimate.pause_ns);

	if (err && job->estimate.pause_ns > pause_limit(job))
		return refuse_pause(job, err);
	if (!err)
		err = check_output(job);
	return err ? err : method_gcore_dump(&job->target, &job->live, folder,
					     job->outfile.fd, &job->result);
}

/** The kernel makes the core, and the process ends. */
static struct error *dump_by_signal(struct job *job)
{
	int signal = signal_to_send(job);
	struct error *err = method_signal_check(&job->target, signal,
						job->options->force,
						&job->core);

	if (!err)
		err = check_output(job);
	return err ? err : method_signal_dump(&job->target, &job->live, signal,
					      job->outfile.fd, &job->core,
					      &job->result);
}

static struct error *dump_by_method(struct job *job)
{
	switch (job->method) {
	case DUMP_METHOD_GCORE:
		return dump_by_gcore(job);
	case DUMP_METHOD_SIGNAL:
		return dump_by_signal(job);
	default:
		job->live.snapshot = job->method == DUMP_METHOD_SNAPSHOT;
		return dump_live(job);
	}
}

/** The methods one after the other, until one can be used. */
static struct error *dump_by_methods(struct job *job)
{
	const struct dump_options *options = job->options;
	struct error *err = NULL;

	if (job->request->held) {
		job->method = DUMP_METHOD_STOP;
		return dump_live(job);
	}
	for (size_t i = 0; i < options->num_methods; i++) {
		bool last = i + 1 == options->num_methods;

		job->method = options->methods[i];
		err = dump_config_check_method(job->config, job->method);
		if (!err)
			err = dump_by_method(job);
		if (!err || last || !is_impossible(err))
			break;
		if (options->verbose)
			dump_complain(err);
		else
			error_free(err);
	}
	return err;
}

/** Why the first method would be refused, else NULL; its pause. */
static struct error *rehearse(struct job *job)
{
	enum dump_method method = job->options->methods[0];
	struct error *err = dump_config_check_method(job->config, method);

	if (err)
		return err;
	switch (method) {
	case DUMP_METHOD_GCORE:
		return method_gcore_check(&job->target, &job->live,
					  job->outfile.folder,
					  job->options->force,
					  &job->estimate.pause_ns);
	case DUMP_METHOD_SIGNAL:
		job->estimate.pause_ns = 0;
		return method_signal_check(&job->target, signal_to_send(job),
					   job->options->force, &job->core);
	default:
		return live_check_method(&job->target, &job->live);
	}
}

static void dry_run(struct job *job)
{
	struct error *refusal = rehearse(job);
	struct dry_report report = {
		.pid = job->target.pid,
		.script = job->script,
		.content = select_content_word(job->options->content),
		.method = dump_method_word(job->options->methods[0]),
		.estimate = &job->estimate,
		.max_pause_ns = pause_limit(job),
		.pause_fits = job->estimate.pause_ns <= pause_limit(job),
		.space_fits = true,
		.free_bytes = UINT64_MAX,
		.headroom = UINT64_MAX,
		.path = job->outfile.path,
	};
	struct procinfo_cgroup cgroup;
	struct statvfs status;
	struct error *err;

	report.refusal = refusal ? refusal->message : NULL;
	if (outfile_is_file(&job->outfile) &&
	    fstatvfs(job->outfile.fd, &status) == 0) {
		report.free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
		err = live_check_space(&job->estimate, job->outfile.fd,
				       job->outfile.folder);
		report.space_fits = err == NULL;
		error_free(err);
	}
	procinfo_cgroup(job->target.pid, &cgroup);
	if (cgroup.limit != UINT64_MAX && cgroup.current > 0)
		report.headroom = cgroup.limit > cgroup.current ?
			cgroup.limit - cgroup.current : 0;
	if (job->options->json)
		dry_report_json(stdout, &report);
	else
		dry_report_text(stdout, &report);
	error_free(refusal);
}

static void report(struct job *job)
{
	struct dump_report report = {
		.path = job->outfile.path,
		.pid = job->target.pid,
		.uid = job->target.info.real_uid,
		.script = job->script,
		.content = select_content_word(job->options->content),
		.method = dump_method_word(job->method),
		.trigger = job->live.trigger,
		.reason = job->live.reason,
		.result = &job->result,
	};
	// With "-o -" standard output is the dump.
	FILE *out = strcmp(report.path, "-") == 0 ? stderr : stdout;

	dump_report_audit(&report);
	if (job->options->json) {
		out = job->request->json && out == stdout ?
			job->request->json : out;
		dump_report_json(out, &report);
	} else if (job->request->brief && !job->options->quiet) {
		dump_report_line(stderr, &report);
	} else if (!job->options->quiet) {
		dump_report_text(out, &report, job->options->verbose);
	}
	(void)fflush(out);
}

/** Estimate and say so; the file's folder tells the space there is. */
static struct error *run_dry(struct job *job)
{
	struct error *err = live_estimate(&job->target, &job->live,
					  &job->estimate);

	if (!err)
		dry_run(job);
	outfile_abort(&job->outfile);
	return err;
}

/** Name the file where it is what failed, and not the target. */
static struct error *name_output(const struct job *job, struct error *err)
{
	bool output = err && err->kind == ERROR_OS &&
		      (err->os_errno == ENOSPC || err->os_errno == EDQUOT ||
		       err->os_errno == EFBIG || err->os_errno == EROFS ||
		       err->os_errno == EPIPE || err->os_errno == EIO);

	return output ? error_context(err, "%s", job->outfile.path) : err;
}

/** The kernel's own file has nothing that a complete dump has not. */
static void remove_core(struct job *job)
{
	struct error *err;

	if (job->method != DUMP_METHOD_SIGNAL || !job->result.complete)
		return;
	err = core_file_remove(&job->core);
	if (err)
		dump_complain(err);
}

/** Check, dump, commit. The target is open. */
static struct error *run_job(struct job *job)
{
	struct error *err = name_target(job);

	if (!err)
		err = outfile_open(&job->place, &job->outfile);
	if (!err && job->options->dry_run)
		return run_dry(job);
	job->live.own_file = outfile_is_file(&job->outfile);
	if (!err)
		err = name_output(job, dump_by_methods(job));
	progress_line_clear(&job->line);
	if (!err && atomic_load(job->live.stop))
		err = error_new(ERROR_INTERRUPTED, "interrupted");
	if (!err)
		err = outfile_commit(&job->outfile);
	if (err) {
		outfile_abort(&job->outfile);
		return err;
	}
	remove_core(job);
	keep_total(job);
	report(job);
	return NULL;
}

void dump_one(const struct dump_options *options,
	      const struct dump_request *request, struct dump_outcome *ret)
{
	struct job job = {
		.options = options,
		.request = request,
		.config = request->config,
		.target = { .pidfd = -1, .proc_fd = -1 },
		.outfile = { .fd = -1, .folder_fd = -1 },
		.method = options->methods[0],
		.core = { .folder_fd = -1, .fd = -1 },
		.result = { .complete = true },
	};
	struct error *err;

	*ret = (struct dump_outcome){ 0 };
	if (!request->held && !options->dry_run)
		let_go_ask(request->pid);
	err = target_open(request->pid, &job.target);
	if (!err) {
		fill_live_options(&job);
		err = run_job(&job);
	}
	ret->status = !err ? (job.result.complete ? DUMP_EXIT_OK :
					       DUMP_EXIT_PARTIAL) :
		 err->kind == ERROR_INTERRUPTED ? DUMP_EXIT_INTERRUPTED :
		 err->kind == ERROR_USAGE ? DUMP_EXIT_USAGE : DUMP_EXIT_FAILED;
	if (err) {
		dump_complain(err);
	} else if (!options->dry_run) {
		ret->path = TAKE(job.outfile.path);
		ret->bytes = job.result.stored;
	}
	outfile_deinit(&job.outfile);
	core_file_deinit(&job.core);
	target_close(&job.target);
	free(job.cmdline);
	free(job.script);
}

struct error *dump_check_config(const struct dump_options *options,
				const struct dump_config *config)
{
	struct error *err = dump_config_check_content(config, options->content);

	return err ? err : dump_config_check_output(config, options->output);
}

enum dump_exit dump_exit_worse(enum dump_exit a, enum dump_exit b)
{
	static const enum dump_exit order[] = {
		DUMP_EXIT_OK, DUMP_EXIT_PARTIAL, DUMP_EXIT_FAILED,
		DUMP_EXIT_USAGE, DUMP_EXIT_INTERRUPTED,
	};
	size_t i = sizeof(order) / sizeof(*order);

	while (i-- > 0)
		if (a == order[i] || b == order[i])
			return order[i];
	return a;
}
