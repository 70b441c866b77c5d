/*
 * Keeps a folder of dumps within its limits; see retention.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/retention.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "image/base/bytes.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/format.h"
#include "image/seektable.h"

enum {
	FOOTER_SIZE = 9,	/* number of frames, descriptor, magic */
	ENTRY_SIZE = 8,
	NOTES_MAX = 1 << 20,	/* of the final notes of a plain dump */
};

/** One dump of ours. */
struct kept {
	char *name;
	uint64_t bytes;
	struct timespec when;
};

struct folder_list {
	struct kept *items;
	size_t count, capacity;
	uint64_t total;
};

static void release(struct folder_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].name);
	free(list->items);
}

/* --- what is ours ---------------------------------------------------------------- */

/** heapdump.HOST.SCRIPT.PID.TIME.core.zst, "-N" before ".core" perhaps. */
static bool has_our_name(const char *name)
{
	static const char start[] = "heapdump.";
	static const char *const ends[] = { ".core", ".core.zst" };
	size_t length = strlen(name);

	if (strncmp(name, start, sizeof(start) - 1) != 0)
		return false;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		size_t end = strlen(ends[i]);

		if (length > sizeof(start) + end &&
		    strcmp(name + length - end, ends[i]) == 0)
			return true;
	}
	return false;
}

static bool read_at(int fd, void *to, size_t size, uint64_t offset)
{
	return pread(fd, to, size, (off_t)offset) == (ssize_t)size;
}

static uint32_t word_at(const uint8_t *bytes)
{
	struct bytes cursor = bytes_over(bytes, sizeof(uint32_t));
	uint32_t word = 0;

	(void)bytes_u32(&cursor, &word);
	return word;
}

/** The frame of final notes starts at bytes. */
static bool starts_notes(const uint8_t *bytes, uint64_t room)
{
	static const char owner[] = FORMAT_NOTE_OWNER;
	size_t at = SKIPPABLE_HEADER_SIZE + 12;	/* of a note: three words */

	return room >= at + sizeof(owner) &&
	       word_at(bytes) == FORMAT_SKIPPABLE_NOTES &&
	       word_at(bytes + 4) == room - SKIPPABLE_HEADER_SIZE &&
	       memcmp(bytes + at, owner, sizeof(owner)) == 0;
}

/** The final notes are before the table, which tells their size or nothing. */
static bool has_our_notes(int fd, uint64_t table, uint32_t frames)
{
	CLEANUP(free_pointer) uint8_t *bytes = NULL;
	uint8_t entry[ENTRY_SIZE];
	uint64_t size = table < NOTES_MAX ? table : NOTES_MAX;
	bool found = false;

	if (frames > 0) {
		if (!read_at(fd, entry, sizeof(entry), table +
			     SKIPPABLE_HEADER_SIZE +
			     (uint64_t)ENTRY_SIZE * (frames - 1)) ||
		    word_at(entry) > size)
			return false;
		size = word_at(entry);
	}
	bytes = malloc(size + 1);
	if (!bytes || !read_at(fd, bytes, size, table - size))
		return false;
	if (frames > 0)
		return starts_notes(bytes, size);
	for (uint64_t at = 0; at < size && !found; at++)
		found = starts_notes(bytes + at, size - at);
	return found;
}

static bool is_our_dump(int fd, uint64_t size)
{
	uint8_t footer[FOOTER_SIZE];
	uint64_t table_size;
	uint32_t frames;

	if (size < FOOTER_SIZE ||
	    !read_at(fd, footer, sizeof(footer), size - FOOTER_SIZE) ||
	    word_at(footer + 5) != FORMAT_SEEK_MAGIC)
		return false;
	frames = word_at(footer);
	table_size = SKIPPABLE_HEADER_SIZE + FOOTER_SIZE +
		     (uint64_t)ENTRY_SIZE * frames;
	return frames <= SEEKTABLE_FRAMES_MAX && table_size < size &&
	       has_our_notes(fd, size - table_size, frames);
}

/** True, and what it takes on the disk, if the file is a dump of ours. */
static bool look_at(int folder_fd, const char *name, struct stat *ret)
{
	CLEANUP(close_fd) int fd = -1;

	if (!has_our_name(name))
		return false;
	fd = openat(folder_fd, name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd >= 0 && fstat(fd, ret) == 0 && S_ISREG(ret->st_mode) &&
	       ret->st_uid == geteuid() &&
	       is_our_dump(fd, (uint64_t)ret->st_size);
}

/* --- removing --------------------------------------------------------------------- */

/** Plain dumps are sparse: what counts is what they take. */
static uint64_t taken_by(const struct stat *status)
{
	uint64_t size = (uint64_t)status->st_size;
	uint64_t blocks = (uint64_t)status->st_blocks * 512;

	return blocks < size ? blocks : size;
}

static struct error *add(struct folder_list *list, const char *name,
			 const struct stat *status)
{
	char *copy = strdup(name);

	if (list->count == list->capacity) {
		size_t more = list->capacity ? 2 * list->capacity : 32;
		struct kept *grown = reallocarray(list->items, more,
						  sizeof(*grown));

		if (!grown) {
			free(copy);
			return error_no_memory();
		}
		list->items = grown;
		list->capacity = more;
	}
	if (!copy)
		return error_no_memory();
	list->items[list->count++] = (struct kept){
		.name = copy,
		.bytes = taken_by(status),
		.when = status->st_mtim,
	};
	list->total += taken_by(status);
	return NULL;
}

static int by_age(const void *a, const void *b)
{
	const struct kept *one = a, *two = b;

	if (one->when.tv_sec != two->when.tv_sec)
		return one->when.tv_sec < two->when.tv_sec ? -1 : 1;
	if (one->when.tv_nsec != two->when.tv_nsec)
		return one->when.tv_nsec < two->when.tv_nsec ? -1 : 1;
	return strcmp(one->name, two->name);
}

static struct error *list_dumps(int folder_fd, const char *folder,
				struct folder_list *list)
{
	int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	struct error *err = NULL;
	struct stat status;

	if (!dir) {
		err = error_os(errno, "reading the folder %s", folder);
		close_fd(&fd);
		return err;
	}
	while (!err && (entry = readdir(dir)) != NULL)
		if (look_at(folder_fd, entry->d_name, &status))
			err = add(list, entry->d_name, &status);
	(void)closedir(dir);
	if (!err && list->count > 0)
		qsort(list->items, list->count, sizeof(*list->items), by_age);
	return err;
}

struct error *retention_make_room(int folder_fd, const char *folder,
				  uint64_t max_total, uint64_t coming,
				  const char *keep,
				  void (*told)(const char *name))
{
	CLEANUP(release) struct folder_list list = { 0 };
	char limit[UNITS_TEXT_MAX], size[UNITS_TEXT_MAX];
	struct error *err = list_dumps(folder_fd, folder, &list);
	uint64_t staying = coming;

	for (size_t i = 0; i < list.count; i++)
		if (keep && strcmp(list.items[i].name, keep) == 0)
			staying += list.items[i].bytes;
	// Nothing is removed for a dump that cannot be kept all the same.
	if (!err && staying > max_total)
		err = error_new(ERROR_LIMIT, "--max-total allows %s in %s, and "
				"this dump needs about %s",
				units_size(max_total, limit), folder,
				units_size(staying, size));
	for (size_t i = 0; !err && i < list.count; i++) {
		const struct kept *oldest = &list.items[i];

		if (list.total + coming <= max_total)
			return NULL;
		if (keep && strcmp(oldest->name, keep) == 0)
			continue;
		if (unlinkat(folder_fd, oldest->name, 0) != 0)
			continue;
		list.total -= oldest->bytes;
		if (told)
			told(oldest->name);
	}
	return err;
}

struct error *retention_check_free(int fd, const char *folder,
				   uint64_t min_free, uint64_t coming)
{
	char have[UNITS_TEXT_MAX], need[UNITS_TEXT_MAX], keep[UNITS_TEXT_MAX];
	struct statvfs status;
	uint64_t available;

	if (fstatvfs(fd, &status) != 0 || status.f_blocks == 0)
		return NULL;	/* a file system that cannot say */
	available = (uint64_t)status.f_bavail * status.f_frsize;
	if (available >= min_free && available - min_free >= coming)
		return NULL;
	return error_new(ERROR_LIMIT, "%s has %s free, the dump needs about %s, "
			 "and --min-free keeps %s", folder,
			 units_size(available, have), units_size(coming, need),
			 units_size(min_free, keep));
}
