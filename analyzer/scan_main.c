/*
 * heapscan: what is in the memory of a process, from a core dump.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/dump_header.h"
#include "analyzer/heap/family.h"
#include "analyzer/heap/typefilter.h"
#include "analyzer/show/scan_progress.h"
#include "image/base/escape.h"
#include "image/base/guard.h"
#include "image/mapping.h"

/* What the exit status says; docs/heapscan.1. */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_PARTIAL = 3,
	EXIT_GATE = 5,
	EXIT_INTERRUPTED = 130,
};

static void interrupted(int number)
{
	// A target that stands still is let go first, by who holds it.
	if (opened_interrupt())
		return;
	output_interrupted();
	_exit(number == SIGINT ? EXIT_INTERRUPTED : 128 + number);
}

static void install_signals(void)
{
	struct sigaction action = { .sa_handler = interrupted };

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGHUP, &action, NULL);
	// A reader that has seen enough shows as EPIPE where we write.
	(void)signal(SIGPIPE, SIG_IGN);
	// The same for a limit on the size of files: EFBIG.
	(void)signal(SIGXFSZ, SIG_IGN);
}

/** A sentence on standard error; parts of it may come from a dump. */
static void say(const char *sentence)
{
	progress_clear();
	(void)fputs("heapscan: ", stderr);
	escape_puts(stderr, ESCAPE_TEXT, sentence);
	(void)fputc('\n', stderr);
}

void scan_remark(const struct scan *scan, const char *format, ...)
{
	CLEANUP(free_pointer) char *sentence = NULL;
	va_list args;

	if (scan->options->quiet)
		return;
	va_start(args, format);
	if (vasprintf(&sentence, format, args) >= 0)
		say(sentence);
	va_end(args);
}

bool scan_unread(const struct scan *scan)
{
	return ferror(scan->output->file) != 0;
}

static bool wants_color(const struct options *options, bool terminal)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (options->color != COLOR_AUTO)
		return options->color == COLOR_ALWAYS;
	return terminal && !(no_color && no_color[0]) &&
	       !(term && strcmp(term, "dumb") == 0);
}

/** Columns of the terminal, where it is wider than what we print anyway. */
static unsigned int wider_terminal(const struct output *output,
				   unsigned int least)
{
	struct winsize size;

	if (!output->terminal ||
	    ioctl(fileno(output->file), TIOCGWINSZ, &size) != 0 ||
	    size.ws_col < least)
		return least;
	return size.ws_col;
}

void scan_begin(struct scan *scan, const char *view)
{
	const struct options *options = scan->options;
	struct dump_header header;

	progress_clear();
	render_begin(&scan->render, scan->output->file,
		     (enum render_format)options->format, view);
	scan->render.color = wants_color(options, scan->output->terminal);
	// The overview is made for 120 columns, whatever there are.
	if (options->view->bit != VIEW_OVERVIEW)
		scan->render.columns = wider_terminal(scan->output,
						      scan->render.columns);
	dump_header_gather(&header, scan->opened,
			   opened_runtime_if_found(scan->opened),
			   options->values);
	dump_header_json(&header, "dump", &scan->render);
}

static int exit_status_of(const struct error *err)
{
	return err->kind == ERROR_USAGE ? EXIT_USAGE :
	       err->kind == ERROR_INTERRUPTED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

/** Say what failed; takes err. */
static int fail(struct error *err)
{
	int status = exit_status_of(err);

	say(err->message);
	error_free(err);
	return status;
}

/** What is missing from a partial answer, and with -v all that was found. */
static void say_findings_of(const struct scan *scan, struct opened *opened)
{
	const struct findings *findings = opened_image(opened)->findings;
	uint64_t total = findings_total(findings);
	size_t most = scan->options->verbose ? SIZE_MAX : 3;
	bool partial = opened_partial(opened);

	if (!partial && !scan->options->verbose)
		return;
	if (partial)
		scan_remark(scan, "the answer is partial: %s is cut or "
			    "damaged%s", scan->older ? opened_name(opened) :
						       "the dump",
			    scan->options->verbose ? "" :
			    " (-v lists all findings)");
	for (size_t i = 0; i < findings_kept(findings) && i < most; i++) {
		const struct finding *finding = findings_get(findings, i);

		if (finding->address)
			scan_remark(scan, "%s at 0x%" PRIx64 ": %s",
				    finding->code, finding->address,
				    finding->text);
		else
			scan_remark(scan, "%s: %s", finding->code,
				    finding->text);
	}
	if (total > most)
		scan_remark(scan, "%" PRIu64 " findings in all", total);
}

static void say_findings(const struct scan *scan)
{
	if (scan->older)
		say_findings_of(scan, scan->older);
	say_findings_of(scan, scan->opened);
}

static void say_runtime(const struct scan *scan)
{
	const struct pyh_runtime *runtime =
		opened_runtime_if_found(scan->opened);

	if (runtime && scan->options->verbose)
		scan_remark(scan, "runtime found by %s; offsets from %s",
			    runtime->found_by, runtime->layout_by);
}

/**
 * Keep what was found out for the next question: after the answer, so that
 * nobody waits for it who reads that from a pipe.
 */
static void keep(const struct scan *scan, struct opened *opened)
{
	struct analysis **analysis = opened_analysis(opened);
	CLEANUP(close_fd) int nowhere = -1;
	struct error *err;

	if (opened_dropped(opened))
		scan_remark(scan, "results of an earlier question were of no "
			    "use, and are gone: %s", opened_dropped(opened));
	if (!*analysis || scan->options->no_index)
		return;
	nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (nowhere >= 0)
		(void)dup2(nowhere, STDOUT_FILENO);
	err = analysis_keep(opened);
	progress_clear();
	if (err && scan->options->verbose)
		scan_remark(scan, "results are not kept: %s", err->message);
	error_free(err);
}

/** The view's answer, whole and under its name, and what it means. */
static int answer(struct scan *scan)
{
	bool unread = false;
	struct error *err = views_shown(scan->options)->run(scan);

	progress_clear();
	if (err) {
		// What was printed before it failed is kept only on a screen.
		(void)fflush(scan->output->file);
		say_findings(scan);
		return fail(err);
	}
	err = output_finish(scan->output, &unread);
	if (err)
		return fail(err);
	if (scan->older)
		keep(scan, scan->older);
	keep(scan, scan->opened);
	say_runtime(scan);
	say_findings(scan);
	if (scan->gate.met) {
		scan_remark(scan, "--fail-if %s: %s", scan->options->fail_if,
			    scan->gate.why);
		return EXIT_GATE;
	}
	return opened_partial(scan->opened) ||
	       (scan->older && opened_partial(scan->older)) ?
		EXIT_PARTIAL : EXIT_DONE;
}

/** A bad pattern is said before a dump of an hour is read. */
static struct error *check_pattern(const struct options *options)
{
	struct typefilter *filter;
	struct error *err = typefilter_create(options->type, options->match,
					      &filter);

	if (!err)
		typefilter_destroy(filter);
	return err;
}

static bool is_same_file(const char *path, const char *other)
{
	struct stat first, second;

	return stat(path, &first) == 0 && stat(other, &second) == 0 &&
	       first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/** An answer takes the place of what has its name: never of what is read. */
static struct error *spare_dump(const char *output, const char *dump)
{
	if (!output || !is_same_file(output, dump))
		return NULL;
	return error_new(ERROR_USAGE, "--output %s is what is read, which the "
			 "answer would replace; name another file", output);
}

static struct error *spare_dumps(const struct options *options,
				 const struct family *family)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < options->num_dumps; i++)
		err = spare_dump(options->output, options->dumps[i]);
	for (size_t i = 0; !err && i < family->count; i++)
		err = spare_dump(options->output, family->members[i].path);
	return err;
}

static int scan_dump(const struct options *options)
{
	struct output output = { 0 };
	struct scan scan = { .options = options, .output = &output };
	struct family family = { .count = 0 };
	const char *dump = options->dumps[0];
	struct error *err;
	int status;

	err = gate_init(&scan.gate, options->fail_if,
			views_shown(options));
	if (!err)
		err = check_pattern(options);
	if (!err)
		err = output_open(&output, options->output,
				  views_shown(options)->private_file);
	if (!err && options->view->many) {
		scan.family = &family;
		err = family_of(options->dumps, options->num_dumps, &family);
		dump = err ? NULL : family.members[0].path;
	}
	if (!err)
		err = spare_dumps(options, &family);
	for (size_t i = 0; !err && i < options->num_dumps &&
			   !options->view->many; i++)
		if (family_is_manifest(options->dumps[i]))
			err = error_new(ERROR_USAGE, "%s is a manifest, which "
					"shared takes; %s takes one of its "
					"dumps", options->dumps[i],
					options->view->name);
	if (!err && options->view->pair) {
		dump = options->dumps[1];
		err = opened_create(options->dumps[0], options, &scan.older);
	}
	if (!err)
		err = opened_create(dump, options, &scan.opened);
	status = err ? fail(err) : answer(&scan);
	output_discard(&output);
	opened_destroy(scan.opened);
	opened_destroy(scan.older);
	family_deinit(&family);
	return status;
}

/** --help and the like; a failed write of it is a failure too. */
static int print_own(const struct options *options)
{
	struct error *err = NULL;

	if (options->completion)
		err = options_completion(stdout, options->completion);
	else if (options->version)
		(void)puts("heapscan " HEAPSCAN_VERSION);
	else
		options_help(stdout, options->view_given ? options->view : NULL);
	if (err)
		return fail(err);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		say("standard output cannot be written to");
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	struct options options;
	struct error *err;
	int status;

	install_signals();
	mapping_guard_sigbus();
	err = options_parse(&options, argc, argv);
	if (err) {
		status = fail(err);
	} else if (options.help || options.version || options.completion) {
		status = print_own(&options);
	} else {
		// Libraries below would look there by themselves.
		if (!options.debuginfod)
			(void)unsetenv("DEBUGINFOD_URLS");
		progress_start(!options.no_progress && !options.quiet);
		status = scan_dump(&options);
	}
	options_deinit(&options);
	return status;
}
