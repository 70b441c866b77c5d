/*
 * The options of watching, and what each sets; the table that names them is
 * in dump_options.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_WATCH_OPTIONS_H
#define DUMPER_WATCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dumper/trigger.h"
#include "image/base/error.h"

struct watch_options {
	const char *wait_name;	/* borrowed, as all texts here; NULL: none */
	char **command;		/* behind "--", NULL at its end; NULL: none */
	struct trigger triggers[TRIGGERS_MAX];
	size_t num_triggers;
	bool on_oom;		/* of any process of command */
	bool baseline;
	bool children;
	uint64_t count;		/* of dumps; 0: no limit */
	bool has_cooldown;
	uint64_t cooldown_ns;
	uint64_t for_ns;	/* 0: no limit */
	uint64_t interval_ns;	/* 0: the default */
	uint64_t min_free;	/* bytes; 0: none */
	uint64_t max_total;	/* bytes; 0: no limit */
	const char *exec;
	const char *samples;
	const char *first;	/* an option that makes sense only here */
};

struct dump_options;

struct error *watch_set_watch(struct dump_options *options, const char *value);
struct error *watch_set_wait_name(struct dump_options *options,
				  const char *value);
struct error *watch_set_rss(struct dump_options *options, const char *value);
struct error *watch_set_pss(struct dump_options *options, const char *value);
struct error *watch_set_cgroup(struct dump_options *options, const char *value);
struct error *watch_set_growth(struct dump_options *options, const char *value);
struct error *watch_set_gpu_mem(struct dump_options *options,
				const char *value);
struct error *watch_set_psi(struct dump_options *options, const char *value);
struct error *watch_set_oom_event(struct dump_options *options,
				  const char *value);
struct error *watch_set_threads(struct dump_options *options,
				const char *value);
struct error *watch_set_fds(struct dump_options *options, const char *value);
struct error *watch_set_on_signal(struct dump_options *options,
				  const char *value);
struct error *watch_set_on_exit(struct dump_options *options,
				const char *value);
struct error *watch_set_on_oom(struct dump_options *options, const char *value);
struct error *watch_set_baseline(struct dump_options *options,
				 const char *value);
struct error *watch_set_count(struct dump_options *options, const char *value);
struct error *watch_set_cooldown(struct dump_options *options,
				 const char *value);
struct error *watch_set_for(struct dump_options *options, const char *value);
struct error *watch_set_interval(struct dump_options *options,
				 const char *value);
struct error *watch_set_samples(struct dump_options *options,
				const char *value);
struct error *watch_set_min_free(struct dump_options *options,
				 const char *value);
struct error *watch_set_max_total(struct dump_options *options,
				  const char *value);
struct error *watch_set_children(struct dump_options *options,
				 const char *value);
struct error *watch_set_exec(struct dump_options *options, const char *value);

/** After all of the command line: what goes together and what does not. */
struct error *watch_options_check(const struct dump_options *options);

#endif
