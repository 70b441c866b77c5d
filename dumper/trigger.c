/*
 * What makes a watcher dump; see trigger.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/trigger.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dumper/signal_name.h"
#include "image/base/units.h"

static const char *const words[] = {
	[TRIGGER_RSS] = "rss",
	[TRIGGER_PSS] = "pss",
	[TRIGGER_CGROUP] = "cgroup",
	[TRIGGER_GROWTH] = "growth",
	[TRIGGER_GPU_MEM] = "gpu-mem",
	[TRIGGER_THREADS] = "threads",
	[TRIGGER_FDS] = "fds",
	[TRIGGER_PSI] = "psi",
	[TRIGGER_OOM_EVENT] = "oom-event",
	[TRIGGER_ON_SIGNAL] = "on-signal",
	[TRIGGER_ON_EXIT] = "on-exit",
};

/* What a threshold is about, for people. */
static const char *const subjects[] = {
	[TRIGGER_RSS] = "RSS",
	[TRIGGER_PSS] = "PSS",
	[TRIGGER_CGROUP] = "cgroup",
	[TRIGGER_GROWTH] = "growth",
	[TRIGGER_GPU_MEM] = "GPU memory",
	[TRIGGER_THREADS] = "threads",
	[TRIGGER_FDS] = "file descriptors",
};

const char *trigger_word(enum trigger_kind kind)
{
	return words[kind];
}

/* --- parsing ------------------------------------------------------------------- */

/** "90%"; 0 where it is no percentage. */
static double parse_percent(const char *value)
{
	char *end;
	double percent = strtod(value, &end);

	return end != value && strcmp(end, "%") == 0 && percent > 0 &&
	       percent < 1e6 ? percent : 0;
}

static struct error *parse_number(const char *value, uint64_t *ret)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(value, &end, 10);
	if (end == value || *end || errno != 0 || number <= 0)
		return error_new(ERROR_USAGE, "'%s' is not a number above 0",
				 value);
	*ret = (uint64_t)number;
	return NULL;
}

static struct error *parse_size(const char *value, uint64_t *ret)
{
	struct error *err = units_parse_size(value, ret);

	if (!err && *ret == 0)
		err = error_new(ERROR_USAGE, "everything is above 0");
	return err;
}

static struct error *parse_cgroup(const char *value, struct trigger *trigger)
{
	trigger->percent = parse_percent(value);
	if (trigger->percent > 100)
		return error_new(ERROR_USAGE, "'%s': a cgroup holds at most "
				 "100%% of its limit", value);
	return trigger->percent > 0 ? NULL : parse_size(value, &trigger->limit);
}

/** "SIZE/h" or "PCT%", of an hour in any case, and ":TIME" of the window. */
static struct error *parse_growth(const char *value, struct trigger *trigger)
{
	char text[64], *colon, *slash;
	struct error *err;

	if (strlen(value) >= sizeof(text))
		return error_new(ERROR_USAGE, "'%s' is too long", value);
	(void)strcpy(text, value);
	colon = strchr(text, ':');
	if (colon) {
		*colon = '\0';
		err = units_parse_time(colon + 1, &trigger->window_ns);
		if (err)
			return err;
	}
	slash = strchr(text, '/');
	if (slash && strcmp(slash, "/h") != 0)
		return error_new(ERROR_USAGE, "'%s': growth is by the hour, as "
				 "in 500M/h, 500M/h:30m or 10%%", value);
	if (slash)
		*slash = '\0';
	trigger->percent = parse_percent(text);
	if (trigger->percent > 0)
		return NULL;
	if (!slash)
		return error_new(ERROR_USAGE, "'%s' is no growth, as in 500M/h, "
				 "500M/h:30m or 10%%", value);
	return parse_size(text, &trigger->limit);
}

static struct error *parse_signal(const char *value, struct trigger *trigger)
{
	trigger->signal = signal_by_name(value, strlen(value));
	if (trigger->signal == 0)
		return error_new(ERROR_USAGE, "'%s' is no signal (USR1, HUP, "
				 "10)", value);
	if (trigger->signal == SIGKILL || trigger->signal == SIGSTOP ||
	    trigger->signal == SIGCHLD)
		return error_new(ERROR_USAGE, "'%s' cannot be waited for",
				 value);
	return NULL;
}

struct error *trigger_parse(enum trigger_kind kind, const char *value,
			    struct trigger *ret)
{
	struct trigger trigger = { .kind = kind };
	struct error *err = NULL;

	switch (kind) {
	case TRIGGER_RSS:
	case TRIGGER_PSS:
	case TRIGGER_GPU_MEM:
		err = parse_size(value, &trigger.limit);
		break;
	case TRIGGER_CGROUP:
		err = parse_cgroup(value, &trigger);
		break;
	case TRIGGER_GROWTH:
		err = parse_growth(value, &trigger);
		break;
	case TRIGGER_THREADS:
	case TRIGGER_FDS:
		err = parse_number(value, &trigger.limit);
		break;
	case TRIGGER_PSI:
		err = pressure_parse(value, &trigger.pressure);
		break;
	case TRIGGER_ON_SIGNAL:
		err = parse_signal(value, &trigger);
		break;
	case TRIGGER_OOM_EVENT:
	case TRIGGER_ON_EXIT:
		break;
	}
	if (!err)
		*ret = trigger;
	return err;
}

/* --- describing --------------------------------------------------------------------- */

static bool counts_bytes(enum trigger_kind kind)
{
	return kind != TRIGGER_THREADS && kind != TRIGGER_FDS;
}

static const char *describe_event(const struct trigger *trigger,
				  char text[TRIGGER_TEXT_MAX])
{
	char name[SIGNAL_NAME_MAX];

	switch (trigger->kind) {
	case TRIGGER_PSI:
		(void)snprintf(text, TRIGGER_TEXT_MAX, "%s tasks stalled for "
			       "%u ms of %u ms for memory",
			       trigger->pressure.full ? "all" : "some",
			       trigger->pressure.stall_us / 1000,
			       trigger->pressure.window_us / 1000);
		break;
	case TRIGGER_OOM_EVENT:
		(void)snprintf(text, TRIGGER_TEXT_MAX, "the cgroup runs short "
			       "of memory");
		break;
	case TRIGGER_ON_SIGNAL:
		(void)snprintf(text, TRIGGER_TEXT_MAX, "%s to heapdump",
			       signal_name(trigger->signal, name));
		break;
	default:
		(void)snprintf(text, TRIGGER_TEXT_MAX, "death by a signal");
		break;
	}
	return text;
}

const char *trigger_describe(const struct trigger *trigger,
			     char text[TRIGGER_TEXT_MAX])
{
	const char *per = trigger->kind == TRIGGER_GROWTH ? " an hour" : "";
	char size[UNITS_TEXT_MAX];

	if (trigger->kind >= TRIGGER_PSI)
		return describe_event(trigger, text);
	if (trigger->percent > 0)
		(void)snprintf(text, TRIGGER_TEXT_MAX, "%s >= %g %%%s",
			       subjects[trigger->kind], trigger->percent,
			       *per ? per : " of the limit");
	else
		(void)snprintf(text, TRIGGER_TEXT_MAX, "%s >= %s%s",
			       subjects[trigger->kind],
			       counts_bytes(trigger->kind) ?
				       units_size(trigger->limit, size) :
				       units_count(trigger->limit, size), per);
	return text;
}

/* --- deciding ------------------------------------------------------------------------ */

static uint64_t value_of(const struct trigger *trigger,
			 const struct vitals *vitals)
{
	switch (trigger->kind) {
	case TRIGGER_RSS:
		return vitals->rss;
	case TRIGGER_PSS:
		return vitals->pss;
	case TRIGGER_CGROUP:
		return trigger->percent > 0 ? vitals->fullest.working :
					      vitals->cgroup.working;
	case TRIGGER_GPU_MEM:
		return vitals->gpu;
	case TRIGGER_THREADS:
		return vitals->threads;
	case TRIGGER_FDS:
		return vitals->fds;
	default:
		return UINT64_MAX;
	}
}

bool trigger_compares(const struct trigger *trigger,
		      const struct vitals *vitals, double *ret_value,
		      double *ret_limit)
{
	uint64_t value = value_of(trigger, vitals);

	*ret_limit = (double)trigger->limit;
	if (trigger->kind == TRIGGER_CGROUP && trigger->percent > 0) {
		if (vitals->fullest.limit == UINT64_MAX)
			return false;
		*ret_limit = trigger->percent / 100 *
			     (double)vitals->fullest.limit;
	}
	*ret_value = (double)value;
	return value != UINT64_MAX;
}

/**
 * Both halves of the window must grow: a jump, or a start that is over, is no
 * growth that goes on.
 */
static bool grows(const struct trigger *trigger,
		  const struct regression *sizes, double window_s,
		  char reason[TRIGGER_TEXT_MAX])
{
	struct regression_line whole, later;
	char slope[UNITS_TEXT_MAX], from[UNITS_TEXT_MAX], to[UNITS_TEXT_MAX];
	char span[UNITS_TEXT_MAX];
	double limit = (double)trigger->limit / 3600;

	// A tenth is missing where looks are a little late.
	if (regression_span(sizes) < 0.9 * window_s ||
	    !regression_fit(sizes, 0, &whole) ||
	    !regression_fit(sizes, sizes->count / 2, &later))
		return false;
	if (trigger->percent > 0)
		limit = trigger->percent / 100 * whole.start / 3600;
	if (!(limit > 0) || whole.slope < limit || later.slope < limit)
		return false;
	(void)snprintf(reason, TRIGGER_TEXT_MAX, "RSS grew by %s an hour (from "
		       "%s to %s in %s, r squared %.2f)",
		       units_size((uint64_t)(whole.slope * 3600), slope),
		       units_size(whole.start > 0 ? (uint64_t)whole.start : 0,
				  from),
		       units_size((uint64_t)whole.end, to),
		       units_time((uint64_t)(regression_span(sizes) * 1e9),
				  span), whole.r_squared);
	return true;
}

bool trigger_is_reached(const struct trigger *trigger,
			const struct vitals *vitals,
			const struct regression *sizes, double window_s,
			char reason[TRIGGER_TEXT_MAX])
{
	char value_text[UNITS_TEXT_MAX], limit_text[UNITS_TEXT_MAX];
	double value, limit;

	if (trigger->kind == TRIGGER_GROWTH)
		return grows(trigger, sizes, window_s, reason);
	if (!trigger_compares(trigger, vitals, &value, &limit) || value < limit)
		return false;
	if (counts_bytes(trigger->kind)) {
		(void)units_size((uint64_t)value, value_text);
		(void)units_size((uint64_t)limit, limit_text);
	} else {
		(void)units_count((uint64_t)value, value_text);
		(void)units_count((uint64_t)limit, limit_text);
	}
	if (trigger->kind == TRIGGER_CGROUP && trigger->percent > 0)
		(void)snprintf(reason, TRIGGER_TEXT_MAX, "cgroup at %s, %.1f %% "
			       "of its limit (threshold %g %%)", value_text,
			       100 * value / (double)vitals->fullest.limit,
			       trigger->percent);
	else
		(void)snprintf(reason, TRIGGER_TEXT_MAX, "%s at %s (threshold "
			       "%s)", subjects[trigger->kind], value_text,
			       limit_text);
	return true;
}
