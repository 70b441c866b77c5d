/*
 * The command line of heapdump, as one table; see dump_options.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/dump_options.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "dumper/signal_name.h"
#include "image/base/units.h"

enum group {
	GROUP_WHAT,
	GROUP_WHERE,
	GROUP_HOW,
	GROUP_KERNEL,
	GROUP_WATCH,
	GROUP_TRIGGER,
	GROUP_TALK,
	GROUP_LATER,	/* not in this version */
	NUM_GROUPS,
};

static const char *const group_titles[NUM_GROUPS] = {
	[GROUP_WHAT] = "What to dump",
	[GROUP_WHERE] = "Where to",
	[GROUP_HOW] = "How",
	[GROUP_KERNEL] = "When a process crashes",
	[GROUP_WATCH] = "Watching",
	[GROUP_TRIGGER] = "Triggers (repeatable, one dump each)",
	[GROUP_TALK] = "What it says",
	[GROUP_LATER] = "Known, but not in this version (refused)",
};

static const char *const method_words[NUM_DUMP_METHODS] = {
	[DUMP_METHOD_SNAPSHOT] = "snapshot",
	[DUMP_METHOD_STOP] = "stop",
	[DUMP_METHOD_GCORE] = "gcore",
	[DUMP_METHOD_SIGNAL] = "signal",
};

typedef struct error *option_fn(struct dump_options *options,
				const char *value);

struct option_row {
	const char *name;	/* without dashes */
	char letter;		/* 0: none */
	const char *argument;	/* NULL: takes none */
	enum group group;
	option_fn *set;		/* NULL: not in this version */
	const char *help;	/* one text; no word is as long as a line */
};

/* --- what each option does -------------------------------------------------- */

static struct error *set_list(struct dump_options *options, const char *value)
{
	(void)value;
	options->mode = DUMP_MODE_LIST;
	return NULL;
}

static struct error *set_demo(struct dump_options *options, const char *value)
{
	(void)value;
	options->mode = DUMP_MODE_DEMO;
	return NULL;
}

static struct error *set_core_pattern(struct dump_options *options,
				      const char *value)
{
	(void)value;
	options->mode = DUMP_MODE_CORE_PATTERN;
	return NULL;
}

static struct error *set_install(struct dump_options *options,
				 const char *value)
{
	(void)value;
	options->install = true;
	return NULL;
}

static struct error *set_uninstall(struct dump_options *options,
				   const char *value)
{
	(void)value;
	options->uninstall = true;
	return NULL;
}

static struct error *set_help(struct dump_options *options, const char *value)
{
	(void)value;
	options->mode = DUMP_MODE_HELP;
	return NULL;
}

static struct error *set_version(struct dump_options *options,
				 const char *value)
{
	(void)value;
	options->mode = DUMP_MODE_VERSION;
	return NULL;
}

static struct error *set_completion(struct dump_options *options,
				    const char *value)
{
	if (strcmp(value, "bash") != 0)
		return error_new(ERROR_USAGE, "--completion: '%s' is not a "
				 "shell that is known (bash)", value);
	options->mode = DUMP_MODE_COMPLETION;
	return NULL;
}

static struct error *set_output(struct dump_options *options, const char *value)
{
	if (!*value)
		return error_new(ERROR_USAGE, "--output: the path is empty");
	options->output = value;
	return NULL;
}

static struct error *set_content(struct dump_options *options,
				 const char *value)
{
	return error_context(select_content_parse(value, &options->content),
			     "--content");
}

static struct error *add_method(struct dump_options *options,
				enum dump_method method)
{
	for (size_t i = 0; i < options->num_methods; i++)
		if (options->methods[i] == method)
			return error_new(ERROR_USAGE, "--method: %s is given "
					 "twice", method_words[method]);
	options->methods[options->num_methods++] = method;
	return NULL;
}

/** One method of a list that permits falling back. */
static struct error *parse_method(struct dump_options *options,
				  const char *word, size_t length)
{
	size_t name = strcspn(word, ",=");

	for (enum dump_method i = 0; i < NUM_DUMP_METHODS; i++) {
		const char *argument = word + name;

		if (strlen(method_words[i]) != name ||
		    strncmp(word, method_words[i], name) != 0)
			continue;
		if (*argument == '=' && i != DUMP_METHOD_SIGNAL)
			break;
		if (*argument == '=') {
			options->signal = signal_by_name(argument + 1,
							 length - name - 1);
			if (options->signal == 0)
				return error_new(ERROR_USAGE, "--method: '%.*s'"
						 " is no signal (USR1, ABRT, 6)",
						 (int)(length - name - 1),
						 argument + 1);
		}
		return add_method(options, i);
	}
	return error_new(ERROR_USAGE, "--method: '%.*s' is none of snapshot, "
			 "stop, gcore, signal[=SIG]", (int)length, word);
}

static struct error *set_method(struct dump_options *options, const char *value)
{
	struct error *err = NULL;

	options->num_methods = 0;
	for (const char *at = value; !err; ) {
		size_t length = strcspn(at, ",");

		err = parse_method(options, at, length);
		if (at[length] == '\0')
			break;
		at += length + 1;
	}
	return err;
}

static struct error *set_include(struct dump_options *options,
				 const char *value)
{
	return error_context(select_rules_add(&options->rules, false, value),
			     "--include");
}

static struct error *set_exclude(struct dump_options *options,
				 const char *value)
{
	return error_context(select_rules_add(&options->rules, true, value),
			     "--exclude");
}

static struct error *set_max_pause(struct dump_options *options,
				   const char *value)
{
	struct error *err = units_parse_time(value, &options->max_pause_ns);

	if (!err && options->max_pause_ns == 0)
		err = error_new(ERROR_USAGE, "nothing can be copied in no time");
	return error_context(err, "--max-pause");
}

static struct error *set_level(struct dump_options *options, const char *value)
{
	char *end;
	long level;

	errno = 0;
	level = strtol(value, &end, 10);
	// Above 19 zstd wants hundreds of MB for each worker.
	if (end == value || *end || errno != 0 || level == 0 || level < -7 ||
	    level > 19)
		return error_new(ERROR_USAGE, "--level: '%s' is not a zstd "
				 "level (1 to 19, or -1 to -7 for speed)", value);
	options->level = (int)level;
	return NULL;
}

static struct error *set_no_compress(struct dump_options *options,
				     const char *value)
{
	(void)value;
	options->no_compress = true;
	return NULL;
}

static struct error *set_gpu(struct dump_options *options, const char *value)
{
	if (strcmp(value, "off") == 0)
		options->gpu_off = true;
	else if (strcmp(value, "auto") == 0)
		options->gpu_off = false;
	else if (strcmp(value, "core") == 0 || strcmp(value, "full") == 0)
		return error_new(ERROR_USAGE, "--gpu %s: not in this version",
				 value);
	else
		return error_new(ERROR_USAGE, "--gpu: '%s' is none of auto, "
				 "off, core, full", value);
	return NULL;
}

static struct error *set_no_cmdline(struct dump_options *options,
				    const char *value)
{
	(void)value;
	options->no_cmdline = true;
	return NULL;
}

static struct error *set_environ(struct dump_options *options,
				 const char *value)
{
	(void)value;
	options->environ = true;
	return NULL;
}

static struct error *set_dry_run(struct dump_options *options,
				 const char *value)
{
	(void)value;
	options->dry_run = true;
	return NULL;
}

static struct error *set_force(struct dump_options *options, const char *value)
{
	(void)value;
	options->force = true;
	return NULL;
}

static struct error *set_assume_fork_allowed(struct dump_options *options,
					     const char *value)
{
	(void)value;
	options->assume_fork_allowed = true;
	return NULL;
}

static struct error *set_quiet(struct dump_options *options, const char *value)
{
	(void)value;
	options->quiet = true;
	return NULL;
}

static struct error *set_verbose(struct dump_options *options,
				 const char *value)
{
	(void)value;
	options->verbose = true;
	return NULL;
}

static struct error *set_json(struct dump_options *options, const char *value)
{
	(void)value;
	options->json = true;
	return NULL;
}

static struct error *set_no_progress(struct dump_options *options,
				     const char *value)
{
	(void)value;
	options->no_progress = true;
	return NULL;
}

/* --- the table ---------------------------------------------------------------- */

static const struct option_row rows[] = {
	{ "list", 0, NULL, GROUP_WHAT, set_list,
	  "Python processes: pid, memory, share of its limit, script, and "
	  "whether each can be dumped, and if not why" },
	{ "demo", 0, NULL, GROUP_WHAT, set_demo,
	  "start a small leaking program, dump it, explain the dump" },
	{ "content", 0, "stacks|heap|full", GROUP_WHAT, set_content,
	  "heap (default): private memory, and shared memory up to 64 MiB a "
	  "mapping, without the data of big buffers (tensors, arrays). full: "
	  "that data and all shared memory too. stacks: only what shows the "
	  "threads and their stacks, native and Python's; for snapshot and stop" },
	{ "include", 0, "RANGE|REGEX", GROUP_WHAT, set_include,
	  "take mappings that would be left out: 0xSTART-0xEND, or a "
	  "regular expression on their names; never devices" },
	{ "exclude", 0, "RANGE|REGEX", GROUP_WHAT, set_exclude,
	  "leave mappings out; stronger than --include" },
	{ "no-cmdline", 0, NULL, GROUP_WHAT, set_no_cmdline,
	  "do not record the arguments (the stack in the dump holds them)" },
	{ "environ", 0, NULL, GROUP_WHAT, set_environ,
	  "record the environment that the process was started with; it may "
	  "hold secrets" },
	{ "gpu", 0, "auto|off|core|full", GROUP_WHAT, set_gpu,
	  "auto (default) records why there is no GPU image; core and "
	  "full are not in this version" },
	{ "children", 0, NULL, GROUP_WHAT, watch_set_children,
	  "all descendants as well, and a manifest of them" },
	{ "output", 'o', "PATH", GROUP_WHERE, set_output,
	  "file or folder, - for standard output; default: $HEAPDUMP_DIR "
	  "or here, heapdump.HOST.SCRIPT.PID.TIME.core.zst" },
	{ "force", 0, NULL, GROUP_WHERE, set_force,
	  "write even where memory or disk may become short" },
	{ "min-free", 0, "SIZE", GROUP_WHERE, watch_set_min_free,
	  "leave so much of the disk free: no dump where less would be left" },
	{ "max-total", 0, "SIZE", GROUP_WHERE, watch_set_max_total,
	  "keep the dumps in the folder below so much in all: the oldest of "
	  "its own are removed first" },
	{ "exec", 0, "CMD", GROUP_WHERE, watch_set_exec,
	  "run this by /bin/sh after each dump, whose path is $1 and "
	  "$HEAPDUMP_PATH" },
	{ "method", 0, "METHOD,...", GROUP_HOW, set_method,
	  "snapshot (default): a copy-on-write child; the process stands still "
	  "only while that is made. stop: all threads stand still while "
	  "memory is copied. gcore: gdb does it. signal[=SIG]: SIG (ABRT) ends "
	  "the process, the kernel writes the core, which is collected. A list "
	  "(snapshot,stop) permits falling back" },
	{ "assume-fork-allowed", 0, NULL, GROUP_HOW, set_assume_fork_allowed,
	  "make the snapshot though a seccomp filter cannot be read; if it "
	  "forbids clone, it may kill the process" },
	{ "max-pause", 0, "T", GROUP_HOW, set_max_pause,
	  "longest time the process may stand still (default 2s): refused "
	  "when the estimate is above, let go when the limit is reached" },
	{ "dry-run", 0, NULL, GROUP_HOW, set_dry_run,
	  "say what it would do: size, pause, space; stop nothing" },
	{ "level", 'z', "N", GROUP_HOW, set_level,
	  "zstd level (default 1)" },
	{ "no-compress", 0, NULL, GROUP_HOW, set_no_compress,
	  "write a plain sparse ELF core" },
	{ "core-pattern", 0, NULL, GROUP_KERNEL, set_core_pattern,
	  "what the kernel starts (kernel.core_pattern): makes a dump of the "
	  "core on standard input, as /etc/heapdump.conf says" },
	{ "install", 0, NULL, GROUP_KERNEL, set_install,
	  "with --core-pattern: set it up, and print what was changed; with "
	  "--dry-run only print it" },
	{ "uninstall", 0, NULL, GROUP_KERNEL, set_uninstall,
	  "with --core-pattern: put back what was there before" },
	{ "watch", 0, NULL, GROUP_WATCH, watch_set_watch,
	  "dump when a trigger fires, until the process ends; -- CMD starts "
	  "the program itself. Without a trigger: --cgroup 90% where there "
	  "is a limit, and --on-exit" },
	{ "wait-name", 0, "REGEX", GROUP_WATCH, watch_set_wait_name,
	  "watch the process whose command line matches, as soon as there is "
	  "one, and the next one after its end" },
	{ "baseline", 0, NULL, GROUP_WATCH, watch_set_baseline,
	  "a first dump at once, to compare with" },
	{ "count", 0, "N", GROUP_WATCH, watch_set_count,
	  "at most N dumps, and until then a trigger that still holds fires "
	  "again after --cooldown" },
	{ "cooldown", 0, "T", GROUP_WATCH, watch_set_cooldown,
	  "pause between dumps (default: none, but 10s before a trigger fires "
	  "again)" },
	{ "for", 0, "T", GROUP_WATCH, watch_set_for, "stop watching after" },
	{ "interval", 0, "T", GROUP_WATCH, watch_set_interval,
	  "look so often (default 1s); sooner where growth would pass a "
	  "threshold before" },
	{ "samples", 0, "FILE", GROUP_WATCH, watch_set_samples,
	  "append a line of JSON with the numbers at each interval" },
	{ "rss", 0, "SIZE", GROUP_TRIGGER, watch_set_rss,
	  "resident memory; with --children, as the next two, of all together" },
	{ "pss", 0, "SIZE", GROUP_TRIGGER, watch_set_pss,
	  "the same, shared pages divided by those that share them" },
	{ "gpu-mem", 0, "SIZE", GROUP_TRIGGER, watch_set_gpu_mem,
	  "memory on GPUs, by NVIDIA's library" },
	{ "cgroup", 0, "SIZE|PCT%", GROUP_TRIGGER, watch_set_cgroup,
	  "memory of its cgroup, or part of its limit or one above; without "
	  "pages of files that the kernel would drop first" },
	{ "growth", 0, "SIZE/h|PCT%", GROUP_TRIGGER, watch_set_growth,
	  "growth of RSS an hour, by a line through the last 60 looks; "
	  "500M/h:30m through the last 30 minutes" },
	{ "psi", 0, "'some US US'", GROUP_TRIGGER, watch_set_psi,
	  "stalls for lack of memory, microseconds within a window: 'some "
	  "150000 1000000'" },
	{ "oom-event", 0, NULL, GROUP_TRIGGER, watch_set_oom_event,
	  "the cgroup meets its limit, or the kernel kills in it" },
	{ "threads", 0, "N", GROUP_TRIGGER, watch_set_threads,
	  "so many threads" },
	{ "fds", 0, "N", GROUP_TRIGGER, watch_set_fds,
	  "so many open file descriptors" },
	{ "on-signal", 0, "SIG", GROUP_TRIGGER, watch_set_on_signal,
	  "this signal to heapdump, each time" },
	{ "on-exit", 0, NULL, GROUP_TRIGGER, watch_set_on_exit,
	  "death by a signal, at that moment; not by SIGKILL" },
	{ "on-oom", 0, NULL, GROUP_TRIGGER, watch_set_on_oom,
	  "with -- CMD: the first torch.OutOfMemoryError, std::bad_alloc or "
	  "MemoryError of each of its processes, at the throw; a small "
	  "library is preloaded into them for that" },
	{ "json", 0, NULL, GROUP_TALK, set_json,
	  "one object about each finished dump" },
	{ "quiet", 'q', NULL, GROUP_TALK, set_quiet, "errors only" },
	{ "verbose", 'v', NULL, GROUP_TALK, set_verbose,
	  "also what was left out, and why" },
	{ "no-progress", 0, NULL, GROUP_TALK, set_no_progress,
	  "no progress line (there is one only on a terminal)" },
	{ "completion", 0, "SHELL", GROUP_TALK, set_completion,
	  "print completions for a shell: bash" },
	{ "help", 'h', NULL, GROUP_TALK, set_help, "this text" },
	{ "version", 0, NULL, GROUP_TALK, set_version, "the version" },
	{ "arm", 0, NULL, GROUP_LATER, NULL, "start with GPU images possible" },
};

enum {
	NUM_ROWS = sizeof(rows) / sizeof(*rows),
	COLUMN = 25,	/* where the help of an option starts */
};

/* --- parsing ------------------------------------------------------------------- */

static const struct option_row *find_long(const char *name, size_t length)
{
	for (size_t i = 0; i < NUM_ROWS; i++)
		if (strlen(rows[i].name) == length &&
		    strncmp(rows[i].name, name, length) == 0)
			return &rows[i];
	return NULL;
}

static const struct option_row *find_letter(char letter)
{
	for (size_t i = 0; i < NUM_ROWS; i++)
		if (rows[i].letter == letter)
			return &rows[i];
	return NULL;
}

/** Letters to insert, drop or change from one word to the other. */
static size_t distance(const char *a, size_t a_size, const char *b)
{
	size_t row[64], b_size = strlen(b);

	if (b_size + 1 > sizeof(row) / sizeof(*row))
		return SIZE_MAX;
	for (size_t k = 0; k <= b_size; k++)
		row[k] = k;
	for (size_t i = 1; i <= a_size; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= b_size; k++) {
			size_t above = row[k];
			size_t best = diagonal + (a[i - 1] != b[k - 1]);

			if (above + 1 < best)
				best = above + 1;
			if (row[k - 1] + 1 < best)
				best = row[k - 1] + 1;
			diagonal = above;
			row[k] = best;
		}
	}
	return row[b_size];
}

static struct error *unknown_option(const char *text)
{
	const char *name = text + strspn(text, "-");
	size_t length = strcspn(name, "=");
	const struct option_row *best = NULL;
	size_t least = length / 2 + 1;

	for (size_t i = 0; i < NUM_ROWS && length < 64; i++) {
		size_t d = distance(name, length, rows[i].name);

		// A prefix is as good as one slip.
		if (length >= 3 && strncmp(rows[i].name, name, length) == 0)
			d = 1;
		if (d < least) {
			least = d;
			best = &rows[i];
		}
	}
	if (best)
		return error_new(ERROR_USAGE, "unknown option %s; did you mean "
				 "--%s?", text, best->name);
	return error_new(ERROR_USAGE, "unknown option %s; heapdump --help lists "
			 "all", text);
}

static struct error *not_in_this_version(const struct option_row *row)
{
	return error_new(ERROR_USAGE, "--%s: not in this version", row->name);
}

static struct error *apply(const struct option_row *row,
			   struct dump_options *options, const char *value)
{
	if (!row->set)
		return not_in_this_version(row);
	if (row->argument && !value)
		return error_new(ERROR_USAGE, "--%s needs a value: %s",
				 row->name, row->argument);
	return row->set(options, value);
}

/** "--name", "--name=value", "--name value". */
static struct error *parse_long(char **argv, int *at,
				struct dump_options *options)
{
	const char *name = argv[*at] + 2;
	size_t length = strcspn(name, "=");
	const struct option_row *row = find_long(name, length);
	const char *value = name[length] == '=' ? name + length + 1 : NULL;

	if (!row)
		return unknown_option(argv[*at]);
	if (!row->set)
		return not_in_this_version(row);
	if (!row->argument && value)
		return error_new(ERROR_USAGE, "--%s takes no value", row->name);
	if (row->argument && !value && argv[*at + 1])
		value = argv[++*at];
	return apply(row, options, value);
}

/** "-q", "-qv", "-oPATH", "-o PATH". */
static struct error *parse_letters(char **argv, int *at,
				   struct dump_options *options)
{
	const char *word = argv[*at];

	for (const char *letter = word + 1; *letter; letter++) {
		const struct option_row *row = find_letter(*letter);
		const char *value = NULL;
		struct error *err;

		if (!row)
			return unknown_option(word);
		if (row->argument)
			value = letter[1] ? letter + 1 :
				argv[*at + 1] ? argv[++*at] : NULL;
		err = apply(row, options, value);
		if (err || row->argument)
			return err;
	}
	return NULL;
}

/** What the kernel gives to its handler. */
static struct error *add_word(struct dump_options *options, char *word)
{
	if (options->num_words == DUMP_OPTIONS_WORDS)
		return error_new(ERROR_USAGE, "--core-pattern: too many "
				 "arguments");
	options->words[options->num_words++] = word;
	return NULL;
}

static struct error *add_pid(struct dump_options *options, const char *word)
{
	char *end;
	long number;
	pid_t *grown;

	errno = 0;
	number = strtol(word, &end, 10);
	if (end == word || *end || errno != 0 || number <= 0 ||
	    number > INT_MAX)
		return error_new(ERROR_USAGE, "'%s' is not a process id; "
				 "heapdump --list shows Python processes", word);
	grown = reallocarray(options->pids, options->num_pids + 1,
			     sizeof(*grown));
	if (!grown)
		return error_no_memory();
	options->pids = grown;
	options->pids[options->num_pids++] = (pid_t)number;
	return NULL;
}

/** All behind "--" is the command's. */
static struct error *set_command(struct dump_options *options, char **command)
{
	if (!*command)
		return error_new(ERROR_USAGE, "--: which command? heapdump "
				 "[options] -- CMD ARGS...");
	options->mode = DUMP_MODE_WATCH;
	options->watch.command = command;
	return NULL;
}

static void default_method(struct dump_options *options)
{
	if (options->num_methods > 0)
		return;
	options->methods[options->num_methods++] = DUMP_METHOD_SNAPSHOT;
	// Where memory is short a snapshot may be refused, and what has
	// happened does not come again.
	if (options->watch.on_oom)
		options->methods[options->num_methods++] = DUMP_METHOD_STOP;
}

/** Others write whole cores, of which nothing can be left out in time. */
static struct error *check_content(const struct dump_options *options)
{
	for (size_t i = 0; i < options->num_methods; i++) {
		enum dump_method method = options->methods[i];

		if (options->content == SELECT_STACKS &&
		    method != DUMP_METHOD_SNAPSHOT &&
		    method != DUMP_METHOD_STOP)
			return error_new(ERROR_USAGE, "--content stacks: not "
					 "with --method %s; snapshot and stop "
					 "can do that", method_words[method]);
	}
	return NULL;
}

static struct error *check_together(const struct dump_options *options)
{
	bool one_file;

	if (options->install && options->uninstall)
		return error_new(ERROR_USAGE, "--install and --uninstall are "
				 "opposites");
	if ((options->install || options->uninstall) &&
	    options->mode != DUMP_MODE_CORE_PATTERN)
		return error_new(ERROR_USAGE, "--%sinstall goes with "
				 "--core-pattern",
				 options->uninstall ? "un" : "");
	one_file = options->output && strcmp(options->output, "-") == 0;
	if (options->mode == DUMP_MODE_WATCH)
		return NULL;
	if (options->mode != DUMP_MODE_PIDS) {
		if (options->mode == DUMP_MODE_DEMO && one_file)
			return error_new(ERROR_USAGE, "--demo reads the dump "
					 "it wrote: --output needs a name");
		if (options->num_pids > 0 && options->mode != DUMP_MODE_HELP)
			return error_new(ERROR_USAGE, "this mode takes no "
					 "process ids");
		return NULL;
	}
	if (options->num_pids == 0)
		return error_new(ERROR_USAGE, "which process? heapdump PID, or "
				 "heapdump --list to see those there are");
	if (one_file && (options->num_pids > 1 || options->watch.children))
		return error_new(ERROR_USAGE, "only one process can be dumped "
				 "to standard output");
	return NULL;
}

struct error *dump_options_parse(int argc, char **argv,
				 struct dump_options *ret)
{
	struct dump_options options = { .mode = DUMP_MODE_PIDS };
	struct error *err = NULL;

	for (int at = 1; !err && at < argc; at++) {
		if (strcmp(argv[at], "--") == 0) {
			err = set_command(&options, &argv[at + 1]);
			break;
		}
		if (strncmp(argv[at], "--", 2) == 0)
			err = parse_long(argv, &at, &options);
		else if (argv[at][0] == '-' && argv[at][1])
			err = parse_letters(argv, &at, &options);
		else if (options.mode == DUMP_MODE_CORE_PATTERN)
			err = add_word(&options, argv[at]);
		else
			err = add_pid(&options, argv[at]);
	}
	default_method(&options);
	if (!err)
		err = watch_options_check(&options);
	if (!err)
		err = check_content(&options);
	if (!err)
		err = check_together(&options);
	if (err) {
		dump_options_deinit(&options);
		return err;
	}
	*ret = options;
	return NULL;
}

void dump_options_deinit(struct dump_options *options)
{
	free(options->pids);
	select_rules_deinit(&options->rules);
	*options = (struct dump_options){ 0 };
}

/* --- showing --------------------------------------------------------------------- */

/** Write text in lines that end before column 80, all from COLUMN on. */
static void wrap(FILE *out, const char *text, int at)
{
	while (*text) {
		size_t room = 79 - COLUMN, length = strlen(text);

		if (length > room)
			for (length = room; text[length] != ' '; length--)
				continue;
		(void)fprintf(out, "%*s%.*s\n", COLUMN - at, "", (int)length,
			      text);
		at = 0;
		text += length + (text[length] == ' ');
	}
}

static void show_row(FILE *out, const struct option_row *row)
{
	int width = row->letter ?
		fprintf(out, "  -%c, --%s", row->letter, row->name) :
		fprintf(out, "      --%s", row->name);

	if (row->argument)
		width += fprintf(out, " %s", row->argument);
	if (width >= COLUMN) {
		(void)fputc('\n', out);
		width = 0;
	}
	wrap(out, row->help, width);
}

const char *dump_method_word(enum dump_method method)
{
	return method_words[method];
}

void dump_options_help(FILE *out)
{
	(void)fputs(
"Usage: heapdump [options] PID...\n"
"       heapdump --watch [triggers] [options] PID | --wait-name REGEX\n"
"       heapdump [--on-oom] [triggers] [options] -- CMD ARGS...\n"
"       heapdump --list | --demo\n"
"\n"
"Writes the memory of a running process to a file that heapscan explains and\n"
"gdb, lldb and eu-stack open (after zstd -d). The process stands still for\n"
"milliseconds, while a snapshot of it is made; none of its code is run.\n"
"\n"
"  heapdump --list                     which Python processes are there?\n"
"  heapdump 4242                       dump one here\n"
"  heapdump --dry-run 4242             how large, how long? (stops nothing)\n"
"  heapdump --max-pause 30s 4242       allow a longer pause for a big one\n"
"  heapdump -o /var/dumps --json 4242  into a folder, result for a script\n"
"  heapdump --watch --rss 8G -o /var/dumps 4242     when it has grown\n"
"  heapdump -o /var/dumps -- python3 train.py       at 90 % of its limit, or\n"
"                                      when it dies of a signal\n"
"  heapdump --on-oom -o /var/dumps -- python3 train.py    and at the first\n"
"                                      OutOfMemoryError of each process\n"
"  heapdump -o - 4242 | ssh host 'cat >dump.core.zst'\n"
"  heapscan FILE --top 20              what is in it?\n",
		    out);
	for (enum group group = 0; group < NUM_GROUPS; group++) {
		(void)fprintf(out, "\n%s:\n", group_titles[group]);
		for (size_t i = 0; i < NUM_ROWS; i++)
			if (rows[i].group == group)
				show_row(out, &rows[i]);
	}
	(void)fputs(
"\n"
"Times: 90s 5m 250ms. Sizes: K M G T are powers of 1024.\n"
"Exit: 0 dumped, 1 failed (nothing left behind), 2 usage, 3 dumped but not\n"
"everything, 4 it ended before a trigger, 130 interrupted; with -- CMD its own\n"
"status, 128 and the number of the signal that ended it.\n",
		    out);
}

void dump_options_completion(FILE *out)
{
	(void)fputs("complete -W '", out);
	for (size_t i = 0; i < NUM_ROWS; i++)
		if (rows[i].set)
			(void)fprintf(out, "--%s ", rows[i].name);
	(void)fputs("' -o default heapdump\n", out);
}
