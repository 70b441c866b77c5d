/*
 * Is there room for a snapshot; see room.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/base/workers.h"

/*
 * What must stay free: to begin with, so that the target can go on writing for
 * a while, and later on. At 90 % of a limit, where many set their alarm, a
 * snapshot must be possible; so a part of a small limit, less of a large one.
 */
struct margin {
	unsigned int part;	/* of any limit, at least this */
	unsigned int small_part;	/* and this of it … */
	uint64_t most;		/* … if that is not more than this */
};

static const struct margin margin_begin = { 64, 16, UINT64_C(64) << 20 };
static const struct margin margin_stay = { 128, 24, UINT64_C(32) << 20 };

/* What one processor can make of copies in a millisecond: 2.5 us a page. */
static const uint64_t COPIED_IN_MS = UINT64_C(2) << 20;

enum { PATIENCE_MAX_MS = 50 };

/* A fork copies pages that a device writes to, however long it takes. */
static const uint64_t PINNED_MAX = UINT64_C(256) << 20;

/** A number of /proc/meminfo in bytes; 0: not there. */
static uint64_t meminfo(const char *key)
{
	CLEANUP(close_file) FILE *file = fopen("/proc/meminfo", "re");
	CLEANUP(free_pointer) char *line = NULL;
	size_t capacity = 0, length = strlen(key);

	while (file && getline(&line, &capacity, file) > 0)
		if (strncmp(line, key, length) == 0 && line[length] == ':')
			return strtoull(line + length + 1, NULL, 10) * 1024;
	return 0;
}

static int overcommit_mode(void)
{
	CLEANUP(close_file) FILE *file =
		fopen("/proc/sys/vm/overcommit_memory", "re");
	int mode = 0;

	return file && fscanf(file, "%d", &mode) == 1 ? mode : 0;
}

/** In mode 2 a fork is charged for all private memory that can be written. */
static struct error *check_commit(const struct procinfo *info)
{
	uint64_t limit = meminfo("CommitLimit");
	uint64_t used = meminfo("Committed_AS");
	char need[UNITS_TEXT_MAX], have[UNITS_TEXT_MAX];
	uint64_t left = limit > used ? limit - used : 0;

	if (overcommit_mode() != 2 || limit == 0 || info->data < left)
		return NULL;
	return error_new(ERROR_LIMIT, "vm.overcommit_memory is 2, a snapshot "
			 "commits %s and %s are left",
			 units_size(info->data, need), units_size(left, have));
}

static struct error *check_pinned(const struct procinfo *info)
{
	char size[UNITS_TEXT_MAX];

	if (info->pinned < PINNED_MAX)
		return NULL;
	return error_new(ERROR_LIMIT, "the process has %s pinned for devices, "
			 "which the kernel would copy while the process stands "
			 "still", units_size(info->pinned, size));
}

static uint64_t apply(const struct margin *margin, uint64_t limit)
{
	uint64_t small = limit / margin->small_part;
	uint64_t large = limit / margin->part;

	if (small > margin->most)
		small = margin->most;
	return small > large ? small : large;
}

/** What is left where it is least, and what is to be left. */
static void look(const struct cgroup *cgroup, const struct margin *margin,
		 struct room *ret)
{
	uint64_t available = meminfo("MemAvailable");
	struct cgroup_use use;

	*ret = (struct room){
		.left = available ? available : UINT64_MAX,
		.wanted = apply(margin, meminfo("MemTotal")),
	};
	if (ret->left >= ret->wanted && cgroup_read_fullest(cgroup, &use) &&
	    use.working != UINT64_MAX)
		*ret = (struct room){
			.left = use.limit > use.working ?
				use.limit - use.working : 0,
			.wanted = apply(margin, use.limit),
			.of_cgroup = true,
		};
}

uint64_t room_left(pid_t pid)
{
	CLEANUP(cgroup_deinit) struct cgroup cgroup = { 0 };
	struct cgroup_use use;
	uint64_t left = meminfo("MemAvailable");

	cgroup_find(pid, &cgroup);
	if (cgroup_read_fullest(&cgroup, &use) && use.working != UINT64_MAX) {
		uint64_t own = use.limit > use.working ?
			use.limit - use.working : 0;

		left = own < left ? own : left;
	}
	return left;
}

struct error *room_check(const struct procinfo *info)
{
	CLEANUP(cgroup_deinit) struct cgroup cgroup = { 0 };
	char need[UNITS_TEXT_MAX], have[UNITS_TEXT_MAX];
	struct error *err = check_pinned(info);
	struct room room;

	if (!err)
		err = check_commit(info);
	if (err)
		return err;
	cgroup_find(info->pid, &cgroup);
	look(&cgroup, &margin_begin, &room);
	// The page tables are copied in whole.
	room.wanted += info->page_tables;
	if (room.left >= room.wanted)
		return NULL;
	return error_new(ERROR_LIMIT, "a snapshot takes memory of its own, and "
			 "%s has %s left where %s are to be",
			 room.of_cgroup ? "the process's memory cgroup" :
					  "the machine",
			 units_size(room.left, have),
			 units_size(room.wanted, need));
}

void room_open(pid_t pid, struct room_watch *ret)
{
	*ret = (struct room_watch){ .processors = workers_available() };
	cgroup_find(pid, &ret->cgroup);
}

void room_close(struct room_watch *watch)
{
	cgroup_deinit(&watch->cgroup);
}

bool room_is_short(const struct room_watch *watch, struct room *ret)
{
	look(&watch->cgroup, &margin_stay, ret);
	return ret->left < ret->wanted;
}

int room_patience(const struct room_watch *watch, const struct room *room)
{
	uint64_t spare = room->left > room->wanted ?
		room->left - room->wanted : 0;
	uint64_t lasts = spare / (COPIED_IN_MS * watch->processors) / 2;

	return lasts < 1 ? 1 : lasts < PATIENCE_MAX_MS ? (int)lasts :
							 PATIENCE_MAX_MS;
}
