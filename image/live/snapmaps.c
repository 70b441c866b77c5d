/*
 * The mappings of a snapshot, presumed while they are being read; see
 * snapmaps.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/snapmaps.h"

#include "image/base/guard.h"
#include "image/live/select.h"

void snapmaps_look(struct snapmaps *snap, pid_t pid)
{
	// Without it nothing is presumed.
	error_free(procmaps_read(pid, &snap->before));
}

static void *read_exact(void *argument)
{
	struct snapmaps *snap = argument;

	snap->err = procmaps_read(snap->pid, &snap->exact);
	return NULL;
}

struct error *snapmaps_presume(struct snapmaps *snap, pid_t pid,
			       struct procmaps *ret)
{
	struct error *err = procmaps_read_lines(pid, ret);

	if (err)
		return err;
	snap->pid = pid;
	snap->presumed = (snap->itself ||
			  procmaps_complete(ret, &snap->before)) &&
			 pthread_create(&snap->reader, NULL, read_exact,
					snap) == 0;
	snap->reading = snap->presumed;
	if (snap->presumed)
		return NULL;
	procmaps_deinit(ret);
	return procmaps_read(pid, ret);
}

static void await_reader(struct snapmaps *snap)
{
	if (snap->reading)
		(void)pthread_join(snap->reader, NULL);
	snap->reading = false;
}

/** What the list that is exact tells, and the one before cannot. */
static void correct(struct procmap *map, const struct procmap *exact)
{
	bool of_file = map->inode != 0 || (map->flags & FORMAT_MAPPING_SHARED);

	if (!of_file || exact->resident > map->resident)
		map->resident = exact->resident;
	map->anonymous = exact->anonymous;
	map->swapped = exact->swapped;
	map->flags = (map->flags & ~(uint32_t)PROCMAP_TOLD) |
		     (exact->flags & PROCMAP_TOLD);
}

/** Whether whatever was done with a mapping was right. */
static bool is_as_presumed(const struct procmap *map,
			   const struct procmap *exact)
{
	enum format_reason never = select_never(exact);

	if (!procmap_is_same(map, exact))
		return false;
	return ((map->flags ^ exact->flags) & PROCMAP_TOLD) == 0 ||
	       (never != FORMAT_CAPTURED && select_never(map) == never);
}

/** Whether all that the kernel tells of them is as presumed. */
static bool as_presumed(const struct snapmaps *snap, struct procmaps *maps)
{
	size_t at = 0;

	for (size_t i = 0; i < maps->count; i++) {
		struct procmap *map = &maps->items[i];

		if (map->flags & PROCMAP_NOT_INHERITED)
			continue;
		if (at == snap->exact.count ||
		    !is_as_presumed(map, &snap->exact.items[at]))
			return false;
		correct(map, &snap->exact.items[at++]);
	}
	maps->sharing = snap->exact.sharing;
	return at == snap->exact.count;
}

struct error *snapmaps_confirm(struct snapmaps *snap, struct procmaps *maps,
			       bool *ret_same)
{
	*ret_same = true;
	if (!snap->presumed)
		return NULL;
	await_reader(snap);
	if (snap->err)
		return TAKE(snap->err);
	*ret_same = as_presumed(snap, maps);
	if (*ret_same)
		return NULL;
	snap->presumed = false;
	procmaps_deinit(maps);
	*maps = snap->exact;
	snap->exact = (struct procmaps){ 0 };
	return NULL;
}

void snapmaps_deinit(struct snapmaps *snap)
{
	await_reader(snap);
	error_free(snap->err);
	procmaps_deinit(&snap->before);
	procmaps_deinit(&snap->exact);
	*snap = (struct snapmaps){ 0 };
}
