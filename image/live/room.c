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

/*
 * What must stay free, as a part of the limit: to begin with, so that the
 * target can go on writing for a while, and later on. At 90 % of a limit,
 * where many set their alarm, a snapshot must be possible.
 */
enum {
	BEGIN_PART = 64,
	STAY_PART = 128,
};

static const uint64_t BEGIN_LEAST = UINT64_C(4) << 20;
static const uint64_t STAY_LEAST = UINT64_C(2) << 20;

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

static uint64_t part(uint64_t limit, unsigned int of, uint64_t least)
{
	return limit / of > least ? limit / of : least;
}

/** What is left where it is least, and what is to be left. */
static void look(pid_t pid, unsigned int of, uint64_t least, struct room *ret)
{
	uint64_t available = meminfo("MemAvailable");
	uint64_t total = meminfo("MemTotal");
	struct procinfo_cgroup cgroup;
	struct room room = {
		.left = available ? available : UINT64_MAX,
		.wanted = part(total, of, least),
	};

	procinfo_cgroup(pid, &cgroup);
	if (cgroup.limit != UINT64_MAX && cgroup.current > 0) {
		// Pages of files give way before anything is killed.
		uint64_t used = cgroup.current > cgroup.reclaimable ?
			cgroup.current - cgroup.reclaimable : 0;
		uint64_t left = cgroup.limit > used ? cgroup.limit - used : 0;

		if (left < room.left || room.left >= room.wanted)
			room = (struct room){
				.left = left,
				.wanted = part(cgroup.limit, of, least),
				.of_cgroup = true,
			};
	}
	*ret = room;
}

struct error *room_check(const struct procinfo *info)
{
	char need[UNITS_TEXT_MAX], have[UNITS_TEXT_MAX];
	struct error *err = check_pinned(info);
	struct room room;

	if (!err)
		err = check_commit(info);
	if (err)
		return err;
	look(info->pid, BEGIN_PART, BEGIN_LEAST, &room);
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

bool room_is_short(pid_t pid, struct room *ret)
{
	look(pid, STAY_PART, STAY_LEAST, ret);
	return ret->left < ret->wanted;
}
