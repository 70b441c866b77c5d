/*
 * Freezes a process and is killed at a step of that.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: freezesteps PID [STEP]
 *
 * Without STEP it makes a snapshot, discards its largest mapping, drops it and
 * prints the steps by name, a line each, and of which the freezer is served before
 * all others. With STEP this program kills itself (SIGKILL) when the freezer
 * comes to the step of that name; what is left to do is the freezer's.
 */
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/live/freeze.h"

enum { STEPS_MAX = 64, NAME_MAX_SIZE = 32 };

static const char *deadly;
static pid_t program;
/* Shared with the freezer, which is a process of its own. */
static struct {
	unsigned int count;
	char names[STEPS_MAX][NAME_MAX_SIZE];
	bool first[STEPS_MAX];
} *steps;

static void at_step(const char *name)
{
	if (steps->count < STEPS_MAX) {
		steps->first[steps->count] =
			sched_getscheduler(0) == SCHED_FIFO;
		(void)snprintf(steps->names[steps->count++], NAME_MAX_SIZE,
			       "%s", name);
	}
	if (deadly && strcmp(deadly, name) == 0) {
		(void)kill(program, SIGKILL);
		// Certainly dead when the step is taken.
		while (kill(program, 0) == 0 && getppid() == program)
			(void)usleep(100);
	}
}

/** Say of the largest mapping of the snapshot that it will not be read. */
static struct error *discard_most(struct freeze *freeze)
{
	struct procmaps maps = { 0 };
	struct select_span most = { 0, 0 };
	struct error *err = procmaps_read_lines(freeze_memory_pid(freeze),
						&maps);

	for (size_t i = 0; !err && i < maps.count; i++) {
		const struct procmap *map = &maps.items[i];

		if (map->inode == 0 && map->end - map->start >
					       most.end - most.start)
			most = (struct select_span){ map->start, map->end };
	}
	if (!err)
		freeze_discard(freeze, &most, 1);
	procmaps_deinit(&maps);
	return err;
}

int main(int argc, char **argv)
{
	const struct freeze_options options = {
		.snapshot = true,
		.step = at_step,
	};
	struct freeze_end end;
	struct target target;
	struct freeze *freeze;
	struct error *err;

	if (argc < 2)
		return 2;
	deadly = argv[2];
	program = getpid();
	steps = mmap(NULL, sizeof(*steps), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (steps == MAP_FAILED)
		return 1;
	err = target_open(atoi(argv[1]), &target);
	if (!err)
		err = freeze_start(&target, &options, &freeze);
	if (!err)
		err = discard_most(freeze);
	if (err) {
		(void)fprintf(stderr, "%s\n", err->message);
		return 1;
	}
	freeze_destroy(freeze, &end);
	if (end.zombie_left)
		(void)printf("zombie left\n");
	for (unsigned int i = 0; i < steps->count; i++)
		(void)printf("%s%s\n", steps->names[i],
			     steps->first[i] ? ", served first" : "");
	target_close(&target);
	return 0;
}
