/*
 * The options of watching; see watch_options.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/watch_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dumper/dump_options.h"
#include "dumper/name_wait.h"
#include "image/base/units.h"

static const uint64_t INTERVAL_MIN_NS = 1000000;

/** For the sentence that refuses it without --watch. */
static void note(struct dump_options *options, const char *name)
{
	if (!options->watch.first)
		options->watch.first = name;
}

static struct error *add_trigger(struct dump_options *options,
				 enum trigger_kind kind, const char *value)
{
	struct watch_options *watch = &options->watch;
	const char *word = trigger_word(kind);
	struct error *err;

	note(options, word);
	if (watch->num_triggers == TRIGGERS_MAX)
		return error_new(ERROR_USAGE, "--%s: more than %d triggers",
				 word, TRIGGERS_MAX);
	err = trigger_parse(kind, value, &watch->triggers[watch->num_triggers]);
	if (!err)
		watch->num_triggers++;
	return error_context(err, "--%s", word);
}

struct error *watch_set_rss(struct dump_options *options, const char *value)
{
	return add_trigger(options, TRIGGER_RSS, value);
}

struct error *watch_set_pss(struct dump_options *options, const char *value)
{
	return add_trigger(options, TRIGGER_PSS, value);
}

struct error *watch_set_cgroup(struct dump_options *options, const char *value)
{
	return add_trigger(options, TRIGGER_CGROUP, value);
}

struct error *watch_set_growth(struct dump_options *options, const char *value)
{
	return add_trigger(options, TRIGGER_GROWTH, value);
}

struct error *watch_set_gpu_mem(struct dump_options *options, const char *value)
{
	return add_trigger(options, TRIGGER_GPU_MEM, value);
}

struct error *watch_set_psi(struct dump_options *options, const char *value)
{
	return add_trigger(options, TRIGGER_PSI, value);
}

struct error *watch_set_oom_event(struct dump_options *options,
				  const char *value)
{
	return add_trigger(options, TRIGGER_OOM_EVENT, value);
}

struct error *watch_set_threads(struct dump_options *options, const char *value)
{
	return add_trigger(options, TRIGGER_THREADS, value);
}

struct error *watch_set_fds(struct dump_options *options, const char *value)
{
	return add_trigger(options, TRIGGER_FDS, value);
}

struct error *watch_set_on_signal(struct dump_options *options,
				  const char *value)
{
	return add_trigger(options, TRIGGER_ON_SIGNAL, value);
}

struct error *watch_set_on_exit(struct dump_options *options, const char *value)
{
	return add_trigger(options, TRIGGER_ON_EXIT, value);
}

struct error *watch_set_on_oom(struct dump_options *options, const char *value)
{
	(void)value;
	note(options, "on-oom");
	options->watch.on_oom = true;
	return NULL;
}

struct error *watch_set_watch(struct dump_options *options, const char *value)
{
	(void)value;
	options->mode = DUMP_MODE_WATCH;
	return NULL;
}

struct error *watch_set_wait_name(struct dump_options *options,
				  const char *value)
{
	note(options, "wait-name");
	options->watch.wait_name = value;
	return error_context(name_wait_check(value), "--wait-name");
}

struct error *watch_set_baseline(struct dump_options *options,
				 const char *value)
{
	(void)value;
	note(options, "baseline");
	options->watch.baseline = true;
	return NULL;
}

struct error *watch_set_count(struct dump_options *options, const char *value)
{
	char *end;
	long long number;

	note(options, "count");
	errno = 0;
	number = strtoll(value, &end, 10);
	if (end == value || *end || errno != 0 || number <= 0)
		return error_new(ERROR_USAGE, "--count: '%s' is not a number "
				 "above 0", value);
	options->watch.count = (uint64_t)number;
	return NULL;
}

static struct error *set_time(const char *name, const char *value,
			      uint64_t least, uint64_t *to)
{
	struct error *err = units_parse_time(value, to);

	if (!err && *to < least)
		err = error_new(ERROR_USAGE, "'%s' is too short", value);
	return error_context(err, "--%s", name);
}

struct error *watch_set_cooldown(struct dump_options *options,
				 const char *value)
{
	note(options, "cooldown");
	options->watch.has_cooldown = true;
	return set_time("cooldown", value, 0, &options->watch.cooldown_ns);
}

struct error *watch_set_for(struct dump_options *options, const char *value)
{
	note(options, "for");
	return set_time("for", value, 1, &options->watch.for_ns);
}

struct error *watch_set_interval(struct dump_options *options,
				 const char *value)
{
	note(options, "interval");
	return set_time("interval", value, INTERVAL_MIN_NS,
			&options->watch.interval_ns);
}

struct error *watch_set_samples(struct dump_options *options, const char *value)
{
	note(options, "samples");
	if (!*value)
		return error_new(ERROR_USAGE, "--samples: the path is empty");
	options->watch.samples = value;
	return NULL;
}

static struct error *set_size(const char *name, const char *value, uint64_t *to)
{
	struct error *err = units_parse_size(value, to);

	if (!err && *to == 0)
		err = error_new(ERROR_USAGE, "'%s' is no limit", value);
	return error_context(err, "--%s", name);
}

struct error *watch_set_min_free(struct dump_options *options,
				 const char *value)
{
	return set_size("min-free", value, &options->watch.min_free);
}

struct error *watch_set_max_total(struct dump_options *options,
				  const char *value)
{
	return set_size("max-total", value, &options->watch.max_total);
}

struct error *watch_set_children(struct dump_options *options,
				 const char *value)
{
	(void)value;
	options->watch.children = true;
	return NULL;
}

struct error *watch_set_exec(struct dump_options *options, const char *value)
{
	if (!*value)
		return error_new(ERROR_USAGE, "--exec: the command is empty");
	options->watch.exec = value;
	return NULL;
}

/** Whom to watch: exactly one of a number, a name, a command. */
static struct error *check_whom(const struct dump_options *options)
{
	const struct watch_options *watch = &options->watch;
	size_t whom = options->num_pids + (watch->wait_name != NULL) +
		      (watch->command != NULL);

	if (whom == 0)
		return error_new(ERROR_USAGE, "--watch: whom? A process id, "
				 "--wait-name REGEX, or -- CMD");
	if (options->num_pids > 1)
		return error_new(ERROR_USAGE, "--watch takes one process; "
				 "--children watches its descendants as well");
	if (whom > 1)
		return error_new(ERROR_USAGE, "a process id, --wait-name and "
				 "-- CMD exclude each other");
	return NULL;
}

struct error *watch_options_check(const struct dump_options *options)
{
	const struct watch_options *watch = &options->watch;
	bool stream = options->output && strcmp(options->output, "-") == 0;
	struct error *err;

	if (options->mode != DUMP_MODE_WATCH)
		return watch->first ?
			error_new(ERROR_USAGE, "--%s goes with --watch or "
				  "-- CMD", watch->first) : NULL;
	err = check_whom(options);
	if (err)
		return err;
	if (watch->on_oom && !watch->command)
		return error_new(ERROR_USAGE, "--on-oom goes with -- CMD, which "
				 "is started with a library in it; for what "
				 "runs already see ON-OOM in the manual page");
	if (options->dry_run)
		return error_new(ERROR_USAGE, "--dry-run and watching exclude "
				 "each other");
	if (stream && watch->command)
		return error_new(ERROR_USAGE, "with -- CMD standard output is "
				 "the command's: --output needs a name");
	if (stream && watch->count != 1)
		return error_new(ERROR_USAGE, "only one dump fits into standard "
				 "output: --count 1");
	return NULL;
}
