/*
 * Where the results of one dump are kept; see index.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/kept/index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "analyzer/kept/cachefolder.h"
#include "analyzer/kept/identity.h"
#include "image/base/guard.h"
#include "image/base/mixhash.h"

_Static_assert((int)STORE_KEY == (int)IDENTITY_KEY, "a store has the key");

enum { BOOT_ID = 40 };

/** NAME.seen: which files were all right, as the kernel knew them. */
struct seen {
	char boot[BOOT_ID];	/* after a crash, what is on the disk may be
				   neither old nor new */
	struct file_state index, dump;
	uint64_t checksum;	/* of all before */
};

struct index {
	struct index_options options;
	int folder, dump;
	char name[CACHE_NAME + 1];
	struct store_owner owner;
	struct file_state dump_state;	/* when it was opened */
	int fd;				/* of the store */
	struct store *store;
	bool believed;
};

/* --- opening --------------------------------------------------------------- */

static void name_index(struct index *index)
{
	for (int i = 0; i < CACHE_NAME / 2; i++)
		(void)snprintf(index->name + 2 * i, 3, "%02x",
			       index->owner.key[i]);
}

struct error *index_open(int dump, const struct index_options *options,
			 struct index **ret)
{
	struct index *index = calloc(1, sizeof(*index));
	struct error *err;

	if (!index)
		return error_no_memory();
	index->options = *options;
	index->dump = dump;
	index->folder = index->fd = -1;
	file_state_settle(dump);
	err = file_state_of(dump, &index->dump_state);
	if (!err)
		err = identity_look(dump, options->circumstances,
				    index->owner.key);
	if (!err)
		err = cachefolder_open(options->folder, /* make= */ false,
				       &index->folder);
	if (err) {
		index_close(index);
		return err;
	}
	name_index(index);
	*ret = index;
	return NULL;
}

static void let_go(struct index *index)
{
	store_close(TAKE(index->store));
	if (index->fd >= 0)
		(void)close(index->fd);
	index->fd = -1;
}

void index_close(struct index *index)
{
	if (!index)
		return;
	let_go(index);
	if (index->folder >= 0)
		(void)close(index->folder);
	free(index);
}

/* --- what was seen --------------------------------------------------------- */

static void boot_id(char ret[BOOT_ID])
{
	CLEANUP(close_fd) int fd = open("/proc/sys/kernel/random/boot_id",
					O_RDONLY | O_CLOEXEC);

	memset(ret, 0, BOOT_ID);
	// Without it nothing is believed: see is_seen().
	if (fd >= 0 && read(fd, ret, BOOT_ID - 1) < 0)
		ret[0] = '\0';
}

static uint64_t seen_checksum(const struct seen *seen)
{
	return mixhash(seen, offsetof(struct seen, checksum), STORE_VERSION);
}

static struct seen read_seen(const struct index *index)
{
	struct seen seen = { .boot = "" };
	char path[64];
	CLEANUP(close_fd) int fd = -1;

	cachefolder_path(index->name, "seen", path);
	fd = openat(index->folder, path,
		    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || read(fd, &seen, sizeof(seen)) != sizeof(seen) ||
	    seen.checksum != seen_checksum(&seen))
		return (struct seen){ .boot = "" };
	return seen;
}

static struct error *create(const struct index *index, char path[64],
			    int *ret_fd)
{
	char suffix[8];
	int fd;

	// Of many at once none gets in another's way.
	for (unsigned int i = 0; i < 100; i++) {
		(void)snprintf(suffix, sizeof(suffix), "%06x",
			       ((unsigned int)getpid() * 64 + i) & 0xFFFFFF);
		cachefolder_path(index->name, suffix, path);
		fd = openat(index->folder, path, O_RDWR | O_CREAT | O_EXCL |
			    O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd >= 0) {
			(void)flock(fd, LOCK_EX | LOCK_NB);
			*ret_fd = fd;
			return NULL;
		}
		if (errno != EEXIST)
			break;
	}
	return error_os(errno, "making a file of kept results");
}

/** Give a finished file its name, or take it away. */
static struct error *put_in_place(const struct index *index, const char *from,
				  const char *suffix, struct error *err)
{
	char path[64];

	cachefolder_path(index->name, suffix, path);
	if (!err && renameat(index->folder, from, index->folder, path) != 0)
		err = error_os(errno, "naming a file of kept results");
	if (err)
		(void)unlinkat(index->folder, from, 0);
	return err;
}

static struct error *write_seen(const struct index *index)
{
	struct seen seen = { .dump = index->dump_state };
	CLEANUP(close_fd) int fd = -1;
	struct error *err;
	char path[64];

	boot_id(seen.boot);
	err = file_state_of(index->fd, &seen.index);
	if (!err)
		err = create(index, path, &fd);
	if (err)
		return err;
	seen.checksum = seen_checksum(&seen);
	if (write(fd, &seen, sizeof(seen)) != sizeof(seen))
		err = error_os(errno, "writing what was seen");
	return put_in_place(index, path, "seen", err);
}

/** By its time it shows when they were last of use. */
static void touch_seen(const struct index *index)
{
	char path[64];

	cachefolder_path(index->name, "seen", path);
	(void)utimensat(index->folder, path, NULL, AT_SYMLINK_NOFOLLOW);
}

/* --- finding --------------------------------------------------------------- */

static struct error *open_file(struct index *index)
{
	struct stat status;
	char path[64];

	if (index->folder < 0)
		return NULL;
	cachefolder_path(index->name, "index", path);
	index->fd = openat(index->folder, path,
			   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (index->fd < 0)
		return errno == ENOENT ? NULL : error_os(errno, "%s", path);
	if (fstat(index->fd, &status) != 0)
		return error_os(errno, "%s", path);
	if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
	    status.st_mode & (S_IWGRP | S_IWOTH))
		return error_new(ERROR_DENIED, "others can write to %s", path);
	return store_open(index->fd, path, &index->store);
}

/** Of this very dump, or of one that looks like it? */
static struct error *check_content(struct index *index)
{
	const struct store_owner *owner = store_owner(index->store);
	struct error *err = identity_content(index->dump,
					     index->options.workers,
					     index->owner.content);

	if (!err && memcmp(owner->content, index->owner.content,
			   sizeof(owner->content)) != 0)
		err = error_new(ERROR_FORMAT, "they are of another dump");
	return err;
}

static struct error *check(struct index *index)
{
	const struct store_owner *owner = store_owner(index->store);
	struct seen seen = read_seen(index);
	struct file_state state = { 0 };
	struct error *err = file_state_of(index->fd, &state);
	char boot[BOOT_ID];

	if (err)
		return err;
	if (memcmp(owner->key, index->owner.key, STORE_KEY) != 0)
		return error_new(ERROR_FORMAT, "they are of another dump");
	boot_id(boot);
	if (boot[0] == '\0' || memcmp(boot, seen.boot, BOOT_ID) != 0)
		seen = (struct seen){ .boot = "" };
	index->believed = file_state_same(&seen.index, &state);
	if (!index->believed)
		err = store_verify(index->store, index->options.workers);
	if (!err && !file_state_same(&seen.dump, &index->dump_state)) {
		index->believed = false;
		err = check_content(index);
	}
	return err;
}

struct error *index_find(struct index *index, bool *ret_believed,
			 const struct store **ret)
{
	struct error *err = open_file(index);

	if (!err && index->store)
		err = check(index);
	if (err) {
		index_drop(index);
		return err;
	}
	*ret = index->store;
	*ret_believed = index->believed;
	return NULL;
}

void index_believe(struct index *index)
{
	if (index->believed)
		touch_seen(index);
	else
		error_free(write_seen(index));
	index->believed = true;
}

void index_drop(struct index *index)
{
	char path[64];

	let_go(index);
	cachefolder_path(index->name, "index", path);
	(void)unlinkat(index->folder, path, 0);
	cachefolder_path(index->name, "seen", path);
	(void)unlinkat(index->folder, path, 0);
}

/* --- saving ---------------------------------------------------------------- */

/** Of the dump as it was when it was opened, and still is. */
static struct error *check_unchanged(struct index *index)
{
	struct file_state state;
	struct error *err = identity_content(index->dump,
					     index->options.workers,
					     index->owner.content);

	if (!err)
		err = file_state_of(index->dump, &state);
	if (!err && !file_state_same(&state, &index->dump_state))
		err = error_new(ERROR_FORMAT, "the dump was changed meanwhile");
	return err;
}

static struct error *write_index(struct index *index,
				 const struct store_part *parts, size_t count)
{
	struct error *err;
	char path[64];

	err = create(index, path, &index->fd);
	if (err)
		return err;
	err = store_write(index->fd, &index->owner, parts, count,
			  index->options.workers);
	err = put_in_place(index, path, "index", err);
	if (err)
		return err;
	// Only then its times tell whether somebody has been at it.
	file_state_settle(index->fd);
	return write_seen(index);
}

struct error *index_save(struct index *index, const struct store_part *parts,
			 size_t count)
{
	struct error *err = check_unchanged(index);

	let_go(index);
	if (!err && index->folder < 0)
		err = cachefolder_open(index->options.folder, /* make= */ true,
				       &index->folder);
	if (!err && index->folder < 0)
		err = error_new(ERROR_NOT_FOUND, "the folder is gone again");
	if (!err)
		err = cachefolder_make_room(index->folder, index->name,
					    store_size(parts, count));
	return err ? err : write_index(index, parts, count);
}
