/*
 * A trigger that is set on a process; see armed.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/armed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"

static struct error *check_cgroup(const struct trigger *trigger, pid_t pid,
				  const struct cgroup *cgroup)
{
	struct cgroup_use use;

	if (!cgroup->folder)
		return error_new(ERROR_NOT_FOUND, "--%s: the memory cgroup of "
				 "process %d is not to be found%s%s",
				 trigger_word(trigger->kind), pid,
				 cgroup->path ? ": no mount shows " : "",
				 cgroup->path ? cgroup->path : "");
	if (trigger->percent > 0 && !cgroup_read_fullest(cgroup, &use))
		return error_new(ERROR_NOT_FOUND, "--%s %g%%: neither the cgroup "
				 "of process %d (%s) nor one above it has a "
				 "limit; give a size", trigger_word(trigger->kind),
				 trigger->percent, pid, cgroup->path);
	return NULL;
}

struct error *armed_set(const struct trigger *trigger, bool repeats,
			uint64_t interval_ns, const struct target *target,
			const struct cgroup *cgroup, struct armed *ret)
{
	struct armed armed = {
		.trigger = *trigger,
		.repeats = repeats || trigger->kind == TRIGGER_ON_SIGNAL,
		.fd = -1,
	};
	uint64_t window = trigger->window_ns ? trigger->window_ns :
			  TRIGGER_GROWTH_LOOKS * interval_ns;
	struct error *err = NULL;

	if (trigger->kind == TRIGGER_CGROUP ||
	    trigger->kind == TRIGGER_OOM_EVENT)
		err = check_cgroup(trigger, target->pid, cgroup);
	if (trigger->kind == TRIGGER_PSI)
		err = error_context(pressure_open(target->pid,
						  &trigger->pressure,
						  &armed.fd), "--psi");
	if (!err && trigger->kind == TRIGGER_GROWTH) {
		armed.window_s = (double)window / 1e9;
		armed.sizes = calloc(1, sizeof(*armed.sizes));
		if (!armed.sizes)
			err = error_no_memory();
	}
	if (!err)
		*ret = armed;
	return err;
}

void armed_release(struct armed *armed)
{
	close_fd(&armed->fd);
	armed->fd = -1;
	free(armed->sizes);
	armed->sizes = NULL;
}

bool armed_is_threshold(const struct armed *armed)
{
	return armed->trigger.kind < TRIGGER_PSI;
}

/** A long window takes only so many points. */
static void add_size(struct armed *armed, const struct vitals *vitals)
{
	struct regression *sizes = armed->sizes;
	double when = (double)vitals->when_ns / 1e9;
	double step = armed->window_s / (REGRESSION_POINTS_MAX - 1);
	size_t last = (sizes->first + sizes->count + REGRESSION_POINTS_MAX - 1) %
		      REGRESSION_POINTS_MAX;

	if (vitals->rss == UINT64_MAX ||
	    (sizes->count > 0 && when - sizes->points[last].x < step))
		return;
	regression_add(sizes, when, (double)vitals->rss,
		       when - armed->window_s);
}

void armed_look(struct armed *armed, const struct vitals *vitals)
{
	if (armed->sizes)
		add_size(armed, vitals);
	if (armed_is_threshold(armed) && !armed->over && !armed->due &&
	    vitals->when_ns >= armed->not_before_ns)
		armed->due = trigger_is_reached(&armed->trigger, vitals,
						armed->sizes, armed->window_s,
						armed->reason);
}

void armed_fire(struct armed *armed, const char *reason)
{
	if (armed->over)
		return;
	armed->due = true;
	(void)snprintf(armed->reason, sizeof(armed->reason), "%s", reason);
}

uint64_t armed_expects(const struct armed *armed, const struct vitals *before,
		       const struct vitals *now)
{
	double was, is, old_limit, limit, rate;

	if (armed->over || !armed_is_threshold(armed) ||
	    !trigger_compares(&armed->trigger, before, &was, &old_limit) ||
	    !trigger_compares(&armed->trigger, now, &is, &limit) ||
	    is <= was || now->when_ns <= before->when_ns)
		return UINT64_MAX;
	if (is >= limit)
		return 0;
	rate = (is - was) / (double)(now->when_ns - before->when_ns);
	return (limit - is) / rate < 1e18 ? (uint64_t)((limit - is) / rate) :
					    UINT64_MAX;
}
