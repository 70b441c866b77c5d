/*
 * heapdump --watch and heapdump -- CMD: waits for a trigger, and dumps.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One loop: sleep until something happens or it is time to look, look, dump
 * what is due. Only one thread can trace a process: the one that waits for its
 * death lets go of it for every dump that is made for another reason.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dumper/after_dump.h"
#include "dumper/armed.h"
#include "dumper/child_command.h"
#include "dumper/cmd_dump.h"
#include "dumper/dump_tree.h"
#include "dumper/let_go.h"
#include "dumper/name_wait.h"
#include "dumper/oom_listen.h"
#include "dumper/samples_file.h"
#include "dumper/signal_name.h"
#include "image/base/escape.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/live/deathwatch.h"

static const uint64_t SECOND = 1000000000;
static const uint64_t FIRST_LOOKS_NS = 100000000;	/* to see where it goes */
static const uint64_t RATE_NS = 250000000;	/* growth comes in steps */
static const uint64_t SOONEST_NS = 5000000;
static const uint64_t REPEAT_NS = UINT64_C(10000000000);
static const uint64_t HOUSEKEEPING_NS = 500000000;

enum {
	ARMED_MAX = TRIGGERS_MAX + 2,
	FDS_MAX = ARMED_MAX + 5,
	DEFAULT_PERCENT = 90,	/* of the cgroup's limit */
	NEARLY_FULL_PERCENT = 90,	/* see oom_reason() */
	RETRIES_MAX = 6,	/* after 1, 2, 4 … seconds; then each minute */
	RETRY_SECONDS = 60,
	TOGETHER_MS = 200,	/* between processes whose memory runs out at the
				   same time */
};

struct watch {
	const struct dump_options *options;
	const struct watch_options *wishes;
	struct dump_config config;
	const atomic_bool *stop;
	sigset_t quiet_mask, open_mask;	/* outside and inside of a wait */
	struct after_dump after;
	struct samples_file samples;
	bool samples_failed;	/* told once */
	int signal_fd;		/* signals that are triggers; -1: none */
	uint64_t interval_ns, end_ns;	/* end: UINT64_MAX: none */
	uint64_t last_dump_ns, dumps;
	bool triggered;		/* a dump that was not the baseline */
	bool failed, partial;	/* of some dump */
	bool through;		/* no more dumps: --count or --for is used up */
	bool saw_death;		/* by a signal, of some process */
	pid_t command;		/* the process of -- CMD; 0: none */
	int command_status;	/* once command_ended */
	bool command_ended;
	struct oom_listener listener;	/* of --on-oom */
	/* of the process that is being watched */
	struct target target;
	bool ended;
	struct vitals_reader reader;
	/* two measurements at least RATE_NS apart, the later one or one at
	 * least so old, and the last one */
	struct vitals before, middle, now;
	uint64_t looks;		/* so far */
	bool pss_is_new;	/* since the last sample */
	struct armed armed[ARMED_MAX];
	size_t num_armed;
	struct deathwatch *deathwatch;
	uint64_t trace_at_ns;	/* not before, as another one asked; 0: now */
	int cgroup_fd;		/* events of the cgroup; -1: none */
	struct cgroup_events events;
	uint64_t next_look_ns, next_sample_ns;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* --- what it says -------------------------------------------------------------- */

__attribute__((format(printf, 2, 3)))
static void say(const struct watch *watch, const char *format, ...)
{
	CLEANUP(free_pointer) char *text = NULL;
	va_list arguments;
	int made;

	if (watch->options->quiet)
		return;
	va_start(arguments, format);
	made = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (made < 0) {
		text = NULL;
		return;
	}
	(void)fputs("heapdump: ", stderr);
	escape_puts(stderr, ESCAPE_TEXT, text);
	(void)fputc('\n', stderr);
}

static void say_start(const struct watch *watch)
{
	CLEANUP(free_pointer) char *cmdline = NULL;
	CLEANUP(free_pointer) char *script = NULL;
	CLEANUP(free_pointer) char *list = NULL;
	char text[TRIGGER_TEXT_MAX];
	const char *unused;
	size_t size, list_size;
	FILE *out;

	if (watch->options->quiet)
		return;
	error_free(procinfo_file(watch->target.pid, "cmdline", &cmdline,
				 &size));
	if (cmdline)
		script = procinfo_script(cmdline, size, &unused);
	out = open_memstream(&list, &list_size);
	if (out && watch->listener.fd >= 0)
		(void)fputs(watch->num_armed ? "lack of memory in any of its "
			    "processes; " : "lack of memory in any of its "
			    "processes", out);
	for (size_t i = 0; out && i < watch->num_armed; i++)
		(void)fprintf(out, "%s%s", i ? "; " : "",
			      trigger_describe(&watch->armed[i].trigger, text));
	if (!out || fclose(out) != 0)
		return;
	say(watch, "watching %d (%s): dump at %s", watch->target.pid,
	    script ? script : "?", list);
	if (watch->options->verbose && watch->reader.wish.cgroup)
		say(watch, "looking every %s; cgroup %s",
		    units_time(watch->interval_ns, text),
		    watch->reader.cgroup.folder ? watch->reader.cgroup.folder :
						  "not to be found");
}

/* --- setting triggers ------------------------------------------------------------- */

static bool has_trigger(const struct watch_options *wishes,
			enum trigger_kind kind)
{
	for (size_t i = 0; i < wishes->num_triggers; i++)
		if (wishes->triggers[i].kind == kind)
			return true;
	return false;
}

static bool is_strict(const struct watch *watch)
{
	// A command runs whatever happens to its watcher, and a name stands
	// for many processes.
	return !watch->wishes->command && !watch->wishes->wait_name;
}

static struct error *arm(struct watch *watch, const struct trigger *trigger)
{
	struct error *err = armed_set(trigger, watch->wishes->count > 0,
				      watch->interval_ns, &watch->target,
				      &watch->reader.cgroup,
				      &watch->armed[watch->num_armed]);

	if (!err)
		watch->num_armed++;
	return err;
}

/** Without triggers: what is there to be had of the default ones. */
static void arm_defaults(struct watch *watch)
{
	struct trigger cgroup = { .kind = TRIGGER_CGROUP,
				  .percent = DEFAULT_PERCENT };
	struct trigger death = { .kind = TRIGGER_ON_EXIT };

	error_free(arm(watch, &cgroup));
	error_free(arm(watch, &death));
}

static struct error *arm_all(struct watch *watch)
{
	for (size_t i = 0; i < watch->wishes->num_triggers; i++) {
		struct error *err = arm(watch, &watch->wishes->triggers[i]);

		if (err && is_strict(watch))
			return err;
		if (err)
			dump_complain(err);
	}
	if (watch->wishes->num_triggers == 0)
		arm_defaults(watch);
	return NULL;
}

static struct armed *find_armed(struct watch *watch, enum trigger_kind kind)
{
	for (size_t i = 0; i < watch->num_armed; i++)
		if (watch->armed[i].trigger.kind == kind &&
		    !watch->armed[i].over)
			return &watch->armed[i];
	return NULL;
}

/** Wait for death by a signal, if that is wanted. */
static struct error *start_deathwatch(struct watch *watch)
{
	if (watch->deathwatch || watch->through || watch->ended ||
	    watch->trace_at_ns > 0 || !find_armed(watch, TRIGGER_ON_EXIT))
		return NULL;
	return deathwatch_start(&watch->target, &watch->deathwatch);
}

static void end_deathwatch(struct watch *watch)
{
	deathwatch_end(watch->deathwatch);
	watch->deathwatch = NULL;
}

/** Where it cannot be had: an error if it was asked for by name. */
static struct error *begin_deathwatch(struct watch *watch)
{
	struct error *err = start_deathwatch(watch);
	struct armed *armed = find_armed(watch, TRIGGER_ON_EXIT);

	if (!err || !target_alive(&watch->target)) {
		error_free(err);
		return NULL;
	}
	err = error_context(err, "--on-exit");
	if (has_trigger(watch->wishes, TRIGGER_ON_EXIT) && is_strict(watch))
		return err;
	if (armed)
		armed->over = true;
	if (watch->num_armed == 1 && is_strict(watch))
		return err;	/* nothing else to wait for */
	dump_complain(err);
	return NULL;
}

static void begin_cgroup_events(struct watch *watch)
{
	uint64_t usage = UINT64_MAX;

	for (size_t i = 0; i < watch->num_armed; i++) {
		const struct trigger *trigger = &watch->armed[i].trigger;
		double value, limit;

		if (trigger->kind == TRIGGER_CGROUP &&
		    trigger_compares(trigger, &watch->now, &value, &limit) &&
		    (uint64_t)limit < usage)
			usage = (uint64_t)limit;
	}
	cgroup_read_events(&watch->reader.cgroup, &watch->events);
	if (usage != UINT64_MAX || find_armed(watch, TRIGGER_OOM_EVENT))
		watch->cgroup_fd = cgroup_open_events(&watch->reader.cgroup,
						      usage);
}

static struct vitals_wish wish_of(const struct watch *watch)
{
	const struct watch_options *wishes = watch->wishes;
	bool all = wishes->samples != NULL;
	struct vitals_wish wish = {
		.children = wishes->children,
		.pss = all || has_trigger(wishes, TRIGGER_PSS),
		.pss_from = UINT64_MAX,
		.cgroup = all || wishes->num_triggers == 0 ||
			  has_trigger(wishes, TRIGGER_CGROUP) ||
			  has_trigger(wishes, TRIGGER_OOM_EVENT),
		.gpu = all || has_trigger(wishes, TRIGGER_GPU_MEM),
		.threads = all || has_trigger(wishes, TRIGGER_THREADS),
		.fds = all || has_trigger(wishes, TRIGGER_FDS),
	};

	for (size_t i = 0; i < wishes->num_triggers; i++)
		if (wishes->triggers[i].kind == TRIGGER_PSS &&
		    wishes->triggers[i].limit < wish.pss_from)
			wish.pss_from = wishes->triggers[i].limit;
	if (all)
		wish.pss_from = 0;
	return wish;
}

static void end_target(struct watch *watch)
{
	end_deathwatch(watch);
	for (size_t i = 0; i < watch->num_armed; i++) {
		// One that failed at first may have been made after all.
		watch->failed |= watch->armed[i].failures > 0;
		armed_release(&watch->armed[i]);
	}
	watch->num_armed = 0;
	close_fd(&watch->cgroup_fd);
	watch->cgroup_fd = -1;
	vitals_close(&watch->reader);
	target_close(&watch->target);
}

/** Take hold of a process and set all triggers on it. */
static struct error *begin_target(struct watch *watch, pid_t pid)
{
	struct vitals_wish wish = wish_of(watch);
	struct error *err = target_open(pid, &watch->target);

	if (err)
		return err;
	watch->ended = false;
	watch->trace_at_ns = 0;
	vitals_open(&watch->target, &wish, &watch->reader);
	vitals_read(&watch->reader, &watch->now);
	watch->before = watch->middle = watch->now;
	watch->pss_is_new = watch->now.pss_is_new;
	watch->looks = 0;
	watch->next_look_ns = watch->next_sample_ns = now_ns();
	err = arm_all(watch);
	if (!err)
		err = begin_deathwatch(watch);
	if (err) {
		end_target(watch);
		return err;
	}
	begin_cgroup_events(watch);
	say_start(watch);
	return NULL;
}

/* --- dumping ------------------------------------------------------------------------ */

static uint64_t pause_after(const struct watch *watch, uint64_t otherwise)
{
	return watch->wishes->has_cooldown ? watch->wishes->cooldown_ns :
					     otherwise;
}

static void note_outcome(struct watch *watch, enum dump_exit status,
			 bool by_trigger)
{
	watch->last_dump_ns = now_ns();
	watch->failed |= !by_trigger && (status == DUMP_EXIT_FAILED ||
					 status == DUMP_EXIT_USAGE);
	watch->partial |= status == DUMP_EXIT_PARTIAL;
	if (status != DUMP_EXIT_OK && status != DUMP_EXIT_PARTIAL)
		return;
	watch->dumps++;
	watch->triggered |= by_trigger;
	if (watch->wishes->count > 0 && watch->dumps >= watch->wishes->count)
		watch->through = true;
}

static enum dump_exit dump_process(struct watch *watch, pid_t pid,
				   const char *trigger, const char *reason,
				   const struct freeze_standing *held)
{
	struct dump_request request = {
		.pid = pid,
		.config = &watch->config,
		.trigger = trigger,
		.reason = reason,
		.held = held,
		.brief = true,
		// Standard output is the command's, where there is one.
		.json = watch->command ? stderr : stdout,
		.keep_others = watch->dumps > 0,
		.stop = watch->stop,
	};
	enum dump_exit status;

	(void)sigprocmask(SIG_SETMASK, &watch->open_mask, NULL);
	status = dump_tree(watch->options, &request, &watch->after);
	(void)sigprocmask(SIG_SETMASK, &watch->quiet_mask, NULL);
	return status;
}

static enum dump_exit dump(struct watch *watch, const char *trigger,
			   const char *reason, const struct freeze_standing *held)
{
	if (!held)
		end_deathwatch(watch);
	// Its number may be another process's by now.
	if (!target_alive(&watch->target)) {
		watch->ended = true;
		dump_complain(error_new(ERROR_NOT_FOUND, "process %d ended "
					"before it could be dumped (%s)",
					watch->target.pid, trigger));
		return DUMP_EXIT_FAILED;
	}
	return dump_process(watch, watch->target.pid, trigger, reason, held);
}

/**
 * What made it fail may be over soon, as lack of room in a cgroup that just
 * met its limit. An event that is past is given up at last.
 */
static void plan_retry(struct armed *armed)
{
	uint64_t seconds = armed->failures < RETRIES_MAX ?
		UINT64_C(1) << armed->failures : RETRY_SECONDS;

	armed->due = !armed_is_threshold(armed) &&
		     armed->failures < RETRIES_MAX;
	armed->failures++;
	armed->not_before_ns = now_ns() + seconds * SECOND;
}

static void dump_for(struct watch *watch, struct armed *armed,
		     const struct freeze_standing *held)
{
	enum dump_exit status = dump(watch, trigger_word(armed->trigger.kind),
				     armed->reason, held);
	bool good = status == DUMP_EXIT_OK || status == DUMP_EXIT_PARTIAL;
	uint64_t pause = armed->trigger.kind == TRIGGER_ON_SIGNAL ?
		0 : REPEAT_NS;

	note_outcome(watch, status, /* by_trigger= */ true);
	if (!good) {
		plan_retry(armed);
		return;
	}
	armed->due = false;
	armed->failures = 0;
	armed->over |= !armed->repeats;
	armed->not_before_ns = now_ns() + pause_after(watch, pause);
}

/** The trace of a process goes on after a dump that needed it. */
static void resume_deathwatch(struct watch *watch)
{
	struct error *err = start_deathwatch(watch);

	if (err && target_alive(&watch->target))
		dump_complain(error_context(err, "no more waiting for its "
					    "death"));
	else
		error_free(err);
}

static uint64_t dump_allowed_at(const struct watch *watch)
{
	return watch->dumps > 0 ? watch->last_dump_ns + pause_after(watch, 0) :
				  0;
}

static void dump_due(struct watch *watch)
{
	bool any = false;

	for (size_t i = 0; i < watch->num_armed; i++) {
		struct armed *armed = &watch->armed[i];

		if (!armed->due || watch->through || atomic_load(watch->stop) ||
		    now_ns() < dump_allowed_at(watch) ||
		    now_ns() < armed->not_before_ns)
			continue;
		dump_for(watch, armed, NULL);
		any = true;
	}
	if (any)
		resume_deathwatch(watch);
}

static void make_baseline(struct watch *watch)
{
	enum dump_exit status = dump(watch, "baseline", "a baseline", NULL);

	note_outcome(watch, status, /* by_trigger= */ false);
	resume_deathwatch(watch);
}

/* --- events --------------------------------------------------------------------------- */

static void death_reason(const siginfo_t *signal, char reason[TRIGGER_TEXT_MAX])
{
	char name[SIGNAL_NAME_MAX];

	(void)signal_name(signal->si_signo, name);
	if (signal->si_code == SI_USER || signal->si_code == SI_TKILL ||
	    signal->si_code == SI_QUEUE)
		(void)snprintf(reason, TRIGGER_TEXT_MAX, "death by %s, sent by "
			       "process %d", name, signal->si_pid);
	else if (signal->si_code > 0 &&
		 // By no page: the processor does not say which address.
		 !(signal->si_code == SI_KERNEL && !signal->si_addr) &&
		 (signal->si_signo == SIGSEGV || signal->si_signo == SIGBUS))
		(void)snprintf(reason, TRIGGER_TEXT_MAX, "death by %s at "
			       "address %#" PRIxPTR, name,
			       (uintptr_t)signal->si_addr);
	else
		(void)snprintf(reason, TRIGGER_TEXT_MAX, "death by %s", name);
}

static void see_death(struct watch *watch)
{
	struct armed *armed = find_armed(watch, TRIGGER_ON_EXIT);

	watch->saw_death |= deathwatch_state(watch->deathwatch) ==
			    DEATHWATCH_DYING;
	if (deathwatch_state(watch->deathwatch) == DEATHWATCH_DYING && armed &&
	    !watch->through && !atomic_load(watch->stop)) {
		death_reason(deathwatch_signal(watch->deathwatch),
			     armed->reason);
		dump_for(watch, armed, deathwatch_held(watch->deathwatch));
	}
	// Whatever became of the dump: now it may die.
	if (armed)
		armed->over = true;
	end_deathwatch(watch);
	watch->ended = !target_alive(&watch->target);
}

static void see_signals(struct watch *watch)
{
	struct signalfd_siginfo info;

	while (read(watch->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if ((int)info.ssi_signo == let_go_signal()) {
			end_deathwatch(watch);
			watch->trace_at_ns = now_ns() + LET_GO_SECONDS * SECOND;
		}
		for (size_t i = 0; i < watch->num_armed; i++) {
			struct armed *armed = &watch->armed[i];
			char name[SIGNAL_NAME_MAX], reason[TRIGGER_TEXT_MAX];

			if (armed->trigger.kind != TRIGGER_ON_SIGNAL ||
			    armed->trigger.signal != (int)info.ssi_signo)
				continue;
			(void)snprintf(reason, sizeof(reason), "%s from process "
				       "%u", signal_name((int)info.ssi_signo,
							 name), info.ssi_pid);
			armed_fire(armed, reason);
		}
	}
}

/**
 * One thread of some process waits for its answer.
 *
 * @param ret_dumped  whether that took the time of a dump
 * @return whether that process shall tell no more
 */
static bool dump_report(struct watch *watch, struct oom_report *report,
			bool *ret_dumped)
{
	const struct watch_options *wishes = watch->wishes;
	uint64_t pause = pause_after(watch, OOM_PAUSE_SECONDS * SECOND);
	bool allowed = wishes->count > 0 ||
		       watch->listener.num_dumped < OOM_DUMPS_MAX;
	enum dump_exit status;

	*ret_dumped = false;
	if (!allowed || watch->through)
		return true;
	if (now_ns() < dump_allowed_at(watch) ||
	    !oom_report_is_due(&watch->listener, report, pause))
		return false;
	if (!oom_report_waits(report)) {
		say(watch, "process %d was ended, or did not wait, before it could "
		    "be dumped: %s", report->pid, report->reason);
		watch->failed = true;
		return false;
	}
	// A process can have one tracer only.
	if (report->pid == watch->target.pid)
		end_deathwatch(watch);
	status = dump_process(watch, report->pid, "on-oom", report->reason,
			      NULL);
	*ret_dumped = true;
	note_outcome(watch, status, /* by_trigger= */ true);
	if (status == DUMP_EXIT_OK || status == DUMP_EXIT_PARTIAL)
		oom_report_dumped(&watch->listener, report);
	else	/* it does not happen again: nothing to retry */
		watch->failed = true;
	if (wishes->count == 0 && watch->listener.num_dumped == OOM_DUMPS_MAX)
		say(watch, "%d dumps for lack of memory: no more without "
		    "--count", OOM_DUMPS_MAX);
	return wishes->count == 0 || watch->through;
}

/** The next one; while others are held back, one that is late by little, too. */
static bool take_report(struct watch *watch, bool held,
			struct oom_report *report)
{
	struct pollfd wait = { watch->listener.fd, POLLIN, 0 };

	return oom_listener_take(&watch->listener, report) ||
	       (held && poll(&wait, 1, TOGETHER_MS) == 1 &&
		oom_listener_take(&watch->listener, report));
}

/**
 * Ranks of one job run out of memory together, and whoever started them ends them
 * all when the first is through: so none that was dumped is let go before all are.
 * Those that are not to be dumped go on at once.
 */
static void see_lack_of_memory(struct watch *watch)
{
	struct oom_report held[OOM_DUMPS_MAX];
	bool over[OOM_DUMPS_MAX], dumped;
	size_t count = 0;

	while (!atomic_load(watch->stop) && count < OOM_DUMPS_MAX &&
	       take_report(watch, count > 0, &held[count])) {
		over[count] = dump_report(watch, &held[count], &dumped);
		if (dumped)
			count++;
		else
			oom_report_answer(&held[count], over[count]);
	}
	for (size_t i = 0; i < count; i++)
		oom_report_answer(&held[i], over[i]);
	resume_deathwatch(watch);
}

static void see_pressure(struct watch *watch, struct armed *armed)
{
	struct pressure pressure;
	char reason[TRIGGER_TEXT_MAX], what[TRIGGER_TEXT_MAX];

	if (now_ns() < armed->not_before_ns)
		return;
	pressure_read(watch->target.pid, &pressure);
	(void)snprintf(reason, sizeof(reason), "%.100s, %s: %s",
		       trigger_describe(&armed->trigger, what),
		       pressure.of_cgroup ? "cgroup" : "machine",
		       armed->trigger.pressure.full ? pressure.full :
						      pressure.some);
	armed_fire(armed, reason);
}

/**
 * That a cgroup meets its limit is nothing while there are pages of files to
 * drop, as with every program that reads much.
 */
static bool oom_reason(const struct watch *watch,
		       const struct cgroup_events *events,
		       char reason[TRIGGER_TEXT_MAX])
{
	const struct cgroup_events *old = &watch->events;
	struct cgroup_use use = { 0 };
	const char *what = NULL;
	double share = 0;

	if (cgroup_read_fullest(&watch->reader.cgroup, &use))
		share = 100 * (double)use.working / (double)use.limit;
	if (events->oom_kill > old->oom_kill)
		what = "the kernel killed a process";
	else if (events->oom > old->oom)
		what = "out of memory";
	else if (events->max > old->max && share >= NEARLY_FULL_PERCENT)
		what = "at its limit";
	else if (events->high > old->high && share >= NEARLY_FULL_PERCENT)
		what = "slowed down, above memory.high";
	if (!what)
		return false;
	(void)snprintf(reason, TRIGGER_TEXT_MAX, "cgroup: %s (%.1f %% of the "
		       "limit; high %" PRIu64 ", max %" PRIu64 ", oom %" PRIu64
		       ", oom_kill %" PRIu64 ")", what, share, events->high,
		       events->max, events->oom, events->oom_kill);
	return true;
}

/** Counters of the cgroup, after an event or at a look. */
static void see_cgroup(struct watch *watch)
{
	struct armed *armed = find_armed(watch, TRIGGER_OOM_EVENT);
	char reason[TRIGGER_TEXT_MAX];
	struct cgroup_events events;

	if (!armed)
		return;
	cgroup_read_events(&watch->reader.cgroup, &events);
	if (oom_reason(watch, &events, reason) &&
	    now_ns() >= armed->not_before_ns)
		armed_fire(armed, reason);
	watch->events = events;
}

/* --- looking --------------------------------------------------------------------------- */

static void write_sample(struct watch *watch)
{
	struct error *err;

	if (!watch->wishes->samples || now_ns() < watch->next_sample_ns)
		return;
	watch->next_sample_ns = now_ns() + watch->interval_ns;
	watch->now.pss_is_new = watch->pss_is_new;
	watch->pss_is_new = false;
	err = samples_file_write(&watch->samples, watch->target.pid,
				 &watch->now);
	// A full disk is no reason to stop watching.
	if (err && !watch->samples_failed)
		dump_complain(err);
	else
		error_free(err);
	watch->samples_failed = err != NULL;
}

static void plan_next_look(struct watch *watch)
{
	uint64_t wait = watch->interval_ns;

	if (watch->now.when_ns - watch->middle.when_ns >= RATE_NS) {
		watch->before = watch->middle;
		watch->middle = watch->now;
	}
	if (watch->looks < 2 && wait > FIRST_LOOKS_NS)
		wait = FIRST_LOOKS_NS;
	for (size_t i = 0; watch->looks > 1 && i < watch->num_armed; i++) {
		uint64_t expected = armed_expects(&watch->armed[i],
						  &watch->before, &watch->now);

		// Half of the way, as growth may grow.
		if (expected != UINT64_MAX && expected / 2 < wait &&
		    !watch->armed[i].due)
			wait = expected / 2;
	}
	if (wait < SOONEST_NS && watch->interval_ns >= SOONEST_NS)
		wait = SOONEST_NS;
	watch->next_look_ns = now_ns() + wait;
}

static void look(struct watch *watch)
{
	if (watch->through || watch->ended)
		return;
	vitals_read(&watch->reader, &watch->now);
	watch->looks++;
	watch->pss_is_new |= watch->now.pss_is_new;
	for (size_t i = 0; i < watch->num_armed; i++)
		armed_look(&watch->armed[i], &watch->now);
	see_cgroup(watch);
	write_sample(watch);
	plan_next_look(watch);
}

/* --- waiting --------------------------------------------------------------------------- */

/** Those that nobody waits for are this process's, where it is the first. */
static void reap_orphans(const struct watch *watch)
{
	siginfo_t info = { 0 };

	while (getpid() == 1 &&
	       waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT |
		      __WNOTHREAD) == 0 &&
	       info.si_pid > 0 && info.si_pid != watch->command) {
		if (waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG |
			   __WNOTHREAD) != 0)
			return;
		info.si_pid = 0;
	}
}

/** Whoever asked for the process has had it; or wants it still. */
static void take_back(struct watch *watch)
{
	struct error *err;

	if (watch->trace_at_ns == 0 || now_ns() < watch->trace_at_ns)
		return;
	watch->trace_at_ns = 0;
	err = start_deathwatch(watch);
	if (err && target_alive(&watch->target))
		watch->trace_at_ns = now_ns() + LET_GO_SECONDS * SECOND;
	error_free(err);
}

static void keep_house(struct watch *watch)
{
	after_dump_look(&watch->after);
	reap_orphans(watch);
	take_back(watch);
	if (now_ns() >= watch->end_ns)
		watch->through = true;
	if (watch->command && child_command_stop_wanted()) {
		// Who stands still must not trace: the command may go on alone.
		end_deathwatch(watch);
		(void)raise(SIGSTOP);
		resume_deathwatch(watch);
	}
}

/** When the next thing is to be done, if nothing happens before. */
static uint64_t next_ns(const struct watch *watch)
{
	uint64_t next = watch->end_ns;
	bool looks = !watch->through && !watch->ended;

	if (looks && watch->next_look_ns < next)
		next = watch->next_look_ns;
	if (looks && watch->trace_at_ns > 0 && watch->trace_at_ns < next)
		next = watch->trace_at_ns;
	for (size_t i = 0; looks && i < watch->num_armed; i++) {
		uint64_t when = watch->armed[i].not_before_ns;

		if (dump_allowed_at(watch) > when)
			when = dump_allowed_at(watch);
		if (watch->armed[i].due && when < next)
			next = when;
	}
	if ((after_dump_is_running(&watch->after) || getpid() == 1) &&
	    now_ns() + HOUSEKEEPING_NS < next)
		next = now_ns() + HOUSEKEEPING_NS;
	return next;
}

/** Sleep until then, or until a descriptor or a signal wakes. */
static void sleep_on(const struct watch *watch, struct pollfd *fds,
		     size_t count, uint64_t until)
{
	uint64_t now = now_ns(), left = until > now ? until - now : 0;
	struct timespec timeout = {
		.tv_sec = (time_t)(left / SECOND),
		.tv_nsec = (long)(left % SECOND),
	};

	if (until == UINT64_MAX)
		(void)ppoll(fds, count, NULL, &watch->open_mask);
	else
		(void)ppoll(fds, count, &timeout, &watch->open_mask);
}

/** Where each descriptor of a wait is in the list. */
enum { AT_TARGET, AT_SIGNALS, AT_DEATH, AT_CGROUP, AT_OOM, AT_ARMED };

static void wait_for_events(struct watch *watch)
{
	struct pollfd fds[FDS_MAX] = {
		[AT_TARGET] = { watch->ended ? -1 : watch->target.pidfd, POLLIN,
				0 },
		[AT_SIGNALS] = { watch->signal_fd, POLLIN, 0 },
		[AT_DEATH] = { watch->deathwatch ?
			       deathwatch_fd(watch->deathwatch) : -1, POLLIN,
			       0 },
		[AT_CGROUP] = { watch->through ? -1 : watch->cgroup_fd, POLLIN,
				0 },
		// Nobody is left waiting for a watcher that dumps no more.
		[AT_OOM] = { watch->listener.fd, POLLIN, 0 },
	};
	size_t count = AT_ARMED;

	for (size_t i = 0; i < watch->num_armed; i++)
		fds[count++] = (struct pollfd){
			watch->through || watch->armed[i].over ?
				-1 : watch->armed[i].fd, POLLPRI, 0 };
	sleep_on(watch, fds, count, next_ns(watch));
	if (fds[AT_SIGNALS].revents)
		see_signals(watch);
	if (fds[AT_CGROUP].revents) {
		cgroup_clear_event(watch->cgroup_fd);
		watch->next_look_ns = 0;
	}
	for (size_t i = 0; i < watch->num_armed; i++)
		if (fds[AT_ARMED + i].revents & POLLPRI)
			see_pressure(watch, &watch->armed[i]);
	if (fds[AT_OOM].revents)
		see_lack_of_memory(watch);
	// The last, and before the process is gone for good.
	if (fds[AT_DEATH].revents)
		see_death(watch);
	else if (fds[AT_TARGET].revents)
		watch->ended = true;
}

static bool all_over(const struct watch *watch)
{
	for (size_t i = 0; i < watch->num_armed; i++)
		if (!watch->armed[i].over)
			return false;
	return true;
}

/**
 * Watch one process until its end, or until there is nothing more to wait for.
 *
 * @param to_the_end  go on until it has ended
 */
static void watch_target(struct watch *watch, bool to_the_end)
{
	if (watch->wishes->baseline && !watch->through)
		make_baseline(watch);
	while (!watch->ended && !atomic_load(watch->stop)) {
		bool done = watch->through || all_over(watch);

		if (done && !to_the_end)
			return;
		if (done)
			end_deathwatch(watch);
		wait_for_events(watch);
		// Without pidfds the end is found by looking.
		if (watch->target.pidfd < 0 && !target_alive(&watch->target))
			watch->ended = true;
		if (!done && !watch->ended && now_ns() >= watch->next_look_ns)
			look(watch);
		if (!watch->ended)
			dump_due(watch);
		keep_house(watch);
	}
}

/* --- whom to watch ----------------------------------------------------------------------- */

static struct error *watch_pid(struct watch *watch, pid_t pid)
{
	struct error *err = begin_target(watch, pid);

	if (err)
		return err;
	watch_target(watch, /* to_the_end= */ false);
	if (!watch->triggered && !atomic_load(watch->stop))
		say(watch, watch->ended ?
			"process %d ended before a trigger" :
			"process %d: no trigger until the end of watching",
		    pid);
	end_target(watch);
	return NULL;
}

/** One process of that name after the other. */
static struct error *watch_name(struct watch *watch)
{
	struct name_wait *wait;
	struct error *err = name_wait_open(watch->wishes->wait_name, &wait);

	if (err)
		return err;
	say(watch, "waiting for a process whose command line matches '%s'",
	    watch->wishes->wait_name);
	while (!err && !watch->through && !atomic_load(watch->stop)) {
		pid_t pid = name_wait_look(wait);
		uint64_t next = now_ns() + watch->interval_ns;

		if (pid == 0) {
			sleep_on(watch, NULL, 0, next < watch->end_ns ?
				 next : watch->end_ns);
			keep_house(watch);
			continue;
		}
		err = begin_target(watch, pid);
		if (err && err->kind == ERROR_NOT_FOUND) {
			error_free(err);	/* it was quicker */
			err = NULL;
			continue;
		}
		if (err)
			break;
		watch_target(watch, /* to_the_end= */ !watch->through);
		if (watch->ended)
			say(watch, "process %d ended", pid);
		end_target(watch);
	}
	name_wait_close(wait);
	return err;
}

/**
 * A command that crashes at once is gone before it is traced; a shell's status
 * may be that of what it has started.
 */
static void say_missed_death(const struct watch *watch)
{
	int signal = watch->command_status - CHILD_SIGNALLED;
	const struct watch_options *wishes = watch->wishes;
	char name[SIGNAL_NAME_MAX];

	if (watch->saw_death || !watch->command_ended ||
	    (wishes->num_triggers > 0 &&
	     !has_trigger(wishes, TRIGGER_ON_EXIT)) ||
	    (signal != SIGSEGV && signal != SIGBUS && signal != SIGABRT &&
	     signal != SIGILL && signal != SIGFPE && signal != SIGTRAP))
		return;
	dump_complain(error_new(ERROR_NOT_FOUND, "no dump of a death by %s: the "
				"command ended before it was watched, or a "
				"process of its own did, which is not watched",
				signal_name(signal, name)));
}

/** The command comes first: it runs and is waited for whatever fails here. */
static struct error *watch_command(struct watch *watch)
{
	static char *nothing[] = { NULL };
	struct error *err = NULL;

	if (watch->wishes->on_oom)
		err = error_context(oom_listener_open(&watch->listener),
				    "--on-oom");
	if (err)
		return err;
	err = child_command_start(watch->wishes->command,
				  watch->wishes->on_oom ?
					watch->listener.settings : nothing,
				  &watch->command, &watch->command_status);
	if (err) {
		watch->command_ended = true;
		return err;
	}
	err = begin_target(watch, watch->command);
	if (!err) {
		watch_target(watch, /* to_the_end= */ true);
		end_target(watch);
	} else if (!child_command_has_ended(watch->command,
					    &watch->command_status)) {
		dump_complain(error_context(err, "not watched"));
	} else {
		error_free(err);
		watch->command_ended = true;
	}
	oom_listener_close(&watch->listener);
	// Orphans are reaped meanwhile.
	while (!watch->command_ended) {
		watch->command_ended = child_command_has_ended(
			watch->command, &watch->command_status);
		if (!watch->command_ended)
			sleep_on(watch, NULL, 0, now_ns() + FIRST_LOOKS_NS);
		keep_house(watch);
	}
	say_missed_death(watch);
	return NULL;
}

/* --- beginning and end ------------------------------------------------------------------- */

/** Signals that are triggers are read; those that end it interrupt waits. */
static struct error *catch_signals(struct watch *watch)
{
	sigset_t triggers, ending, never;

	(void)sigemptyset(&triggers);
	(void)sigemptyset(&ending);
	(void)sigemptyset(&never);
	(void)sigaddset(&never, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &never, NULL);
	for (size_t i = 0; i < watch->wishes->num_triggers; i++)
		if (watch->wishes->triggers[i].kind == TRIGGER_ON_SIGNAL)
			(void)sigaddset(&triggers,
					watch->wishes->triggers[i].signal);
	(void)sigaddset(&triggers, let_go_signal());
	// Were it ignored, children would leave no status behind.
	(void)signal(SIGCHLD, SIG_DFL);
	if (watch->wishes->command)
		child_command_catch(&triggers);
	(void)sigprocmask(SIG_BLOCK, &triggers, NULL);
	(void)sigprocmask(SIG_BLOCK, NULL, &watch->open_mask);
	(void)sigaddset(&ending, SIGINT);
	(void)sigaddset(&ending, SIGTERM);
	(void)sigaddset(&ending, SIGHUP);
	(void)sigaddset(&ending, SIGTSTP);
	(void)sigprocmask(SIG_BLOCK, &ending, NULL);
	(void)sigprocmask(SIG_BLOCK, NULL, &watch->quiet_mask);
	watch->signal_fd = signalfd(-1, &triggers, SFD_CLOEXEC | SFD_NONBLOCK);
	return watch->signal_fd >= 0 ? NULL : error_os(errno, "signalfd");
}

static struct error *check_folder(const char *folder)
{
	return access(folder, W_OK | X_OK) == 0 ? NULL :
	       error_os(errno, "the folder %s", folder);
}

/** Where a file is to be made, or replaced; not what is written to as it is. */
static struct error *check_file(const char *path)
{
	const char *slash = strrchr(path, '/');
	CLEANUP(free_pointer) char *folder = NULL;
	struct stat status;

	if (strcmp(path, "-") == 0 ||
	    (stat(path, &status) == 0 && !S_ISREG(status.st_mode)))
		return NULL;
	folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	return folder ? check_folder(folder) : error_no_memory();
}

/** What would fail at the first dump is better known now. */
static struct error *check_output(const struct dump_options *options)
{
	const char *output = options->output;
	size_t length = output ? strlen(output) : 0;
	struct stat status;

	if (!output)
		output = getenv("HEAPDUMP_DIR");
	if (!output || !*output)
		output = ".";
	if (length > 0 && output[length - 1] != '/' &&
	    (stat(output, &status) != 0 || !S_ISDIR(status.st_mode)))
		return options->watch.children ?
			error_new(ERROR_USAGE, "with --children --output names "
				  "a folder that exists") : check_file(output);
	return check_folder(output);
}

static struct error *prepare(struct watch *watch)
{
	struct gpu_memory *gpu;
	struct error *err = dump_config_read(&watch->config);

	if (!err)
		err = dump_check_config(watch->options, &watch->config);
	if (!err && (watch->options->output || !watch->config.folder))
		err = check_output(watch->options);
	if (!err && has_trigger(watch->wishes, TRIGGER_GPU_MEM)) {
		err = error_context(gpu_memory_open(&gpu), "--gpu-mem");
		if (!err)
			gpu_memory_close(gpu);
	}
	if (!err && watch->wishes->samples)
		err = samples_file_open(watch->wishes->samples,
					&watch->samples);
	return err ? err : catch_signals(watch);
}

static enum dump_exit exit_status(const struct watch *watch)
{
	if (atomic_load(watch->stop))
		return DUMP_EXIT_INTERRUPTED;
	if (watch->triggered)
		return watch->failed || watch->partial || watch->after.failed ?
			DUMP_EXIT_PARTIAL : DUMP_EXIT_OK;
	if (watch->failed)
		return DUMP_EXIT_FAILED;
	// All that was asked for, where a baseline used up --count.
	return watch->dumps > 0 && watch->dumps == watch->wishes->count ?
		DUMP_EXIT_OK : DUMP_EXIT_UNTRIGGERED;
}

int cmd_watch(const struct dump_options *options, const atomic_bool *stop)
{
	const struct watch_options *wishes = &options->watch;
	uint64_t interval = wishes->interval_ns ? wishes->interval_ns : SECOND;
	struct watch watch = {
		.options = options,
		.wishes = wishes,
		.stop = stop,
		.samples = { .fd = -1 },
		.signal_fd = -1,
		.cgroup_fd = -1,
		.listener = { .fd = -1 },
		.interval_ns = interval,
		.end_ns = wishes->for_ns ? now_ns() + wishes->for_ns :
					   UINT64_MAX,
		.target = { .pidfd = -1, .proc_fd = -1 },
	};
	enum dump_exit status = DUMP_EXIT_FAILED;
	struct error *err = prepare(&watch);

	if (!err)
		err = wishes->command ? watch_command(&watch) :
		      wishes->wait_name ? watch_name(&watch) :
		      watch_pid(&watch, options->pids[0]);
	if (!err)
		status = exit_status(&watch);
	else if (err->kind == ERROR_USAGE)
		status = DUMP_EXIT_USAGE;
	if (err)
		dump_complain(err);
	(void)sigprocmask(SIG_SETMASK, &watch.open_mask, NULL);
	after_dump_finish(&watch.after, wishes->command ?
			  child_command_end_wanted() : stop);
	samples_file_close(&watch.samples);
	oom_listener_close(&watch.listener);
	dump_config_deinit(&watch.config);
	close_fd(&watch.signal_fd);
	return watch.command_ended ? watch.command_status : (int)status;
}
