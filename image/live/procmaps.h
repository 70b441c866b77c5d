/*
 * The mappings of a live process, as /proc/PID/smaps lists them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LIVE_PROCMAPS_H
#define LIVE_PROCMAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/format.h"
#include "image/live/procinfo.h"

/* Beside enum format_mapping_flag, which takes the low 16 bits. */
enum procmap_flag {
	PROCMAP_IO = 1 << 16,		/* io: device memory */
	PROCMAP_PFN = 1 << 17,		/* pf: pages without a struct page */
	PROCMAP_DONTDUMP = 1 << 18,	/* dd */
	PROCMAP_UFFD = 1 << 19,		/* um ui: a fault waits for user space */
	/* told by freeze.h: not in the snapshot; held all the same */
	PROCMAP_NOT_INHERITED = 1 << 20,
	PROCMAP_HELD = 1 << 21,
	PROCMAP_COUNTED = 1 << 22,	/* by coremaps: the bytes are known */
	/* told by the kernel, in one of its two files */
	PROCMAP_TOLD = FORMAT_MAPPING_SHARED | FORMAT_MAPPING_DELETED |
		       FORMAT_MAPPING_HUGETLB | FORMAT_MAPPING_DONTFORK |
		       FORMAT_MAPPING_WIPEONFORK | PROCMAP_IO | PROCMAP_PFN |
		       PROCMAP_DONTDUMP | PROCMAP_UFFD,
};

struct procmap {
	uint64_t start, end;		/* addresses */
	uint64_t file_offset;		/* bytes */
	uint64_t inode;			/* 0: no file */
	uint32_t device;		/* major << 20 | minor, of the file */
	uint32_t protection;		/* PF_R, PF_W, PF_X of elf.h */
	uint32_t flags;			/* format_mapping_flag, procmap_flag */
	uint64_t resident, swapped, anonymous;	/* bytes */
	const char *name;		/* "" for none; without " (deleted)" */
};

struct procmaps {
	struct procmap *items;		/* ascending, without overlap */
	size_t count;
	char *names;			/* what the names lie in */
	size_t names_size;		/* bytes; the first is a NUL */
	struct procinfo_sharing sharing;	/* of all; each mapping's part
						   is cut to KiB */
};

/** Read the mappings of a process. ERROR_OS: gone, or not permitted. */
struct error *procmaps_read(pid_t pid, struct procmaps *ret);

/** The same without what smaps adds, and much faster: from /proc/PID/maps. */
struct error *procmaps_read_lines(pid_t pid, struct procmaps *ret);

/**
 * Add to what procmaps_read_lines() has read what procmaps_read() had told of the
 * same mappings a moment before, maybe in the process that this one was forked
 * from.
 *
 * @return false: not all of them are known; what is not stays as it was
 */
bool procmaps_complete(struct procmaps *maps, const struct procmaps *known);

/** Parse the text of a smaps (or maps) file; name is for messages. */
struct error *procmaps_parse(FILE *in, const char *name, struct procmaps *ret);

/** Put in one more mapping, in its place; its name is copied. */
struct error *procmaps_add(struct procmaps *maps, const struct procmap *map);

void procmaps_deinit(struct procmaps *maps);

/** Whether two are the same by all that a line of /proc/PID/maps tells. */
bool procmap_is_same(const struct procmap *a, const struct procmap *b);

/** The mapping that holds address, or NULL. */
const struct procmap *procmaps_find(const struct procmaps *maps,
				    uint64_t address);

/**
 * True for memory that is shared, or could be: anonymous, or of a file that
 * lives in memory only (shm_open, memfd, System V).
 */
bool procmap_is_shared_memory(const struct procmap *map);

/** True for files in the sense of NT_FILE: a path, not "[stack]" and such. */
static inline bool procmap_is_file(const struct procmap *map)
{
	return map->inode != 0 && map->name[0] == '/';
}

#endif
