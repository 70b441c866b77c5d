/*
 * A dump's file: complete under its name, or not there at all; see outfile.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/outfile.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "image/base/guard.h"

enum {
	NAME_PART_MAX = 64,	/* of the host's and script's names */
	SAME_NAME_MAX = 1000,
};

/** A part of a name from outside: letters, digits, "._-"; no leading dot. */
static void clean_part(const char *text, char part[NAME_PART_MAX])
{
	const char *slash = text ? strrchr(text, '/') : NULL;
	size_t at = 0;

	if (slash)
		text = slash + 1;
	for (; text && *text && at + 1 < NAME_PART_MAX; text++) {
		bool plain = isalnum((unsigned char)*text) ||
			     *text == '_' || *text == '-' ||
			     (*text == '.' && at > 0);

		part[at++] = (char)(plain ? *text : '_');
	}
	part[at] = '\0';
}

static char *default_name(const struct outfile_place *place)
{
	char host[NAME_PART_MAX], script[NAME_PART_MAX], raw[256] = "";
	char stamp[32];
	time_t when = (time_t)place->time;
	struct tm parts;
	char *name;

	(void)gethostname(raw, sizeof(raw) - 1);
	clean_part(raw, host);
	clean_part(place->script, script);
	if (!gmtime_r(&when, &parts) ||
	    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &parts) == 0)
		(void)snprintf(stamp, sizeof(stamp), "%lld",
			       (long long)place->time);
	return asprintf(&name, "heapdump.%s.%s.%d.%s%s",
			*host ? host : "host", *script ? script : "process",
			place->pid, stamp,
			place->ending ? place->ending :
			place->compressed ? ".core.zst" : ".core") < 0 ?
		NULL : name;
}

static bool is_folder(const char *path)
{
	struct stat status;
	size_t length = strlen(path);

	return (length > 0 && path[length - 1] == '/') ||
	       (stat(path, &status) == 0 && S_ISDIR(status.st_mode));
}

static struct error *find_path(const struct outfile_place *place, char **ret,
			       bool *ret_own_name)
{
	const char *output = place->output;
	CLEANUP(free_pointer) char *name = NULL;
	size_t length;
	int made;

	if (!output)
		output = getenv("HEAPDUMP_DIR");
	if (!output || !*output)
		output = ".";
	*ret_own_name = false;
	if (place->output && !is_folder(output)) {
		*ret = strdup(output);
		return *ret ? NULL : error_no_memory();
	}
	name = default_name(place);
	if (!name)
		return error_no_memory();
	*ret_own_name = true;
	length = strlen(output);
	made = strcmp(output, ".") == 0 ? asprintf(ret, "%s", name) :
	       asprintf(ret, "%s%s%s", output,
			output[length - 1] == '/' ? "" : "/", name);
	return made < 0 ? error_no_memory() : NULL;
}

/** Split the path into a folder and a name. */
static struct error *split(struct outfile *outfile)
{
	const char *slash = strrchr(outfile->path, '/');

	outfile->folder = !slash ? strdup(".") :
			  slash == outfile->path ? strdup("/") :
			  strndup(outfile->path, (size_t)(slash - outfile->path));
	outfile->name = strdup(slash ? slash + 1 : outfile->path);
	if (!outfile->folder || !outfile->name)
		return error_no_memory();
	outfile->folder_fd = open(outfile->folder,
				  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (outfile->folder_fd < 0)
		return error_os(errno, "the folder %s", outfile->folder);
	return NULL;
}

/** Let a file have a name in the folder; -1 and errno. */
typedef int name_fn(struct outfile *outfile, const char *name);

static int create(struct outfile *outfile, const char *name)
{
	outfile->fd = openat(outfile->folder_fd, name,
			     O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			     0600);
	return outfile->fd < 0 ? -1 : 0;
}

/** Of a file that has had none. */
static int link_as(struct outfile *outfile, const char *name)
{
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", outfile->fd);
	return linkat(AT_FDCWD, path, outfile->folder_fd, name,
		      AT_SYMLINK_FOLLOW);
}

static struct error *take_temporary(struct outfile *outfile, name_fn *give)
{
	// The suffix must fit where the name is as long as names can be.
	int room = NAME_MAX - 32;

	for (int i = 0; i < SAME_NAME_MAX; i++) {
		char *name;
		int made = i == 0 ?
			asprintf(&name, ".%.*s.tmp-%d", room, outfile->name,
				 getpid()) :
			asprintf(&name, ".%.*s.tmp-%d-%d", room, outfile->name,
				 getpid(), i);

		if (made < 0)
			return error_no_memory();
		if (give(outfile, name) == 0) {
			outfile->temporary = name;
			return NULL;
		}
		free(name);
		if (errno != EEXIST)
			break;
	}
	return error_os(errno, "creating a file in %s", outfile->folder);
}

static int open_nameless(const struct outfile *outfile)
{
	return openat(outfile->folder_fd, ".",
		      O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/**
 * Whether a file without a name can get one later: file systems differ, and
 * rules of security modules as well. By another file, as none can be named
 * twice.
 */
static bool names_come_later(const struct outfile *outfile)
{
	struct outfile trial = *outfile;
	struct error *err;

	trial.fd = open_nameless(outfile);
	if (trial.fd < 0)
		return false;
	err = take_temporary(&trial, link_as);
	if (!err)
		(void)unlinkat(trial.folder_fd, trial.temporary, 0);
	free(trial.temporary);
	close_fd(&trial.fd);
	if (!err)
		return true;
	error_free(err);
	return false;
}

static struct error *open_file(struct outfile *outfile)
{
	if (names_come_later(outfile)) {
		outfile->fd = open_nameless(outfile);
		if (outfile->fd >= 0)
			return NULL;
	}
	return take_temporary(outfile, create);
}

/** A FIFO or device is not replaced by a file but written to. */
static struct error *open_stream(struct outfile *outfile, bool *ret_is_stream)
{
	struct stat status;
	int fd;

	assert(outfile->path);
	*ret_is_stream = true;
	if (strcmp(outfile->path, "-") == 0) {
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		if (isatty(STDOUT_FILENO)) {
			close_fd(&fd);
			return error_new(ERROR_USAGE, "a dump is not written "
					 "to a terminal: redirect standard "
					 "output");
		}
	} else if (stat(outfile->path, &status) == 0 &&
		   !S_ISREG(status.st_mode)) {
		fd = open(outfile->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	} else {
		*ret_is_stream = false;
		return NULL;
	}
	if (fd < 0)
		return error_os(errno, "%s", outfile->path);
	outfile->fd = fd;
	outfile->folder = strdup("");
	return outfile->folder ? NULL : error_no_memory();
}

struct error *outfile_open(const struct outfile_place *place,
			   struct outfile *ret)
{
	struct outfile outfile = { .fd = -1, .folder_fd = -1 };
	bool is_stream;
	struct error *err = find_path(place, &outfile.path,
				      &outfile.keep_others);

	outfile.keep_others |= place->keep_others;
	if (!err)
		err = open_stream(&outfile, &is_stream);
	if (!err && !is_stream) {
		err = split(&outfile);
		if (!err)
			err = open_file(&outfile);
	}
	if (err) {
		outfile_deinit(&outfile);
		return err;
	}
	*ret = outfile;
	return NULL;
}

/** Another dump of the same second has the name: take the next one. */
static struct error *next_name(struct outfile *outfile, const char *first,
			       int number)
{
	static const char ending[] = ".core";
	const char *at = strstr(first, ending), *rest = first + strlen(first);
	char *name, *path;

	// The last one: a script's name may hold ".core" as well.
	for (; at; at = strstr(at + 1, ending))
		rest = at;
	if (asprintf(&name, "%.*s-%d%s", (int)(rest - first), first, number,
		     rest) < 0)
		return error_no_memory();
	if (asprintf(&path, "%.*s%s", (int)(strlen(outfile->path) -
					    strlen(outfile->name)),
		     outfile->path, name) < 0) {
		free(name);
		return error_no_memory();
	}
	free(outfile->path);
	outfile->path = path;
	free(outfile->name);
	outfile->name = name;
	return NULL;
}

/** Give the file its name, if nobody has it; -1 and errno. */
static int name_exclusively(struct outfile *outfile)
{
	int fd = outfile->folder_fd;

	if (!outfile->temporary)
		return link_as(outfile, outfile->name);
	if (renameat2(fd, outfile->temporary, fd, outfile->name,
		      RENAME_NOREPLACE) == 0)
		return 0;
	// Some file systems do not have that call's flag.
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (linkat(fd, outfile->temporary, fd, outfile->name, 0) != 0)
		return -1;
	(void)unlinkat(fd, outfile->temporary, 0);
	return 0;
}

static struct error *not_named(const struct outfile *outfile, int os_errno)
{
	return error_os(os_errno, "renaming the dump to %s", outfile->path);
}

/** Take the place of a file of that name, if there is one. */
static struct error *name_replacing(struct outfile *outfile)
{
	struct error *err = NULL;

	if (!outfile->temporary) {
		if (link_as(outfile, outfile->name) == 0)
			return NULL;
		if (errno != EEXIST)
			return not_named(outfile, errno);
		// Only a file with a name can replace another one.
		err = take_temporary(outfile, link_as);
	}
	if (!err && renameat(outfile->folder_fd, outfile->temporary,
			     outfile->folder_fd, outfile->name) != 0)
		err = not_named(outfile, errno);
	return err;
}

static struct error *name_file(struct outfile *outfile)
{
	struct error *err = NULL;

	if (!outfile->keep_others)
		return name_replacing(outfile);
	CLEANUP(free_pointer) char *first = strdup(outfile->name);
	if (!first)
		return error_no_memory();
	for (int number = 2; name_exclusively(outfile) != 0; number++) {
		if (errno != EEXIST || number > SAME_NAME_MAX)
			err = not_named(outfile, errno);
		else
			err = next_name(outfile, first, number);
		if (err)
			break;
	}
	return err;
}

struct error *outfile_commit(struct outfile *outfile)
{
	struct error *err = NULL;

	if (!outfile_is_file(outfile)) {
		// A stream cannot be synced, and some devices say so.
		(void)fsync(outfile->fd);
		return NULL;
	}
	if (fsync(outfile->fd) != 0)
		err = error_os(errno, "writing %s to the disk", outfile->path);
	if (!err)
		err = name_file(outfile);
	if (err) {
		outfile_abort(outfile);
		return err;
	}
	free(outfile->temporary);
	outfile->temporary = NULL;
	// The dump is there; only whether its name outlives a power failure
	// is open, and not every file system can sync a folder.
	(void)fsync(outfile->folder_fd);
	return NULL;
}

void outfile_abort(struct outfile *outfile)
{
	if (outfile->temporary)
		(void)unlinkat(outfile->folder_fd, outfile->temporary, 0);
	free(outfile->temporary);
	outfile->temporary = NULL;
}

void outfile_deinit(struct outfile *outfile)
{
	close_fd(&outfile->fd);
	close_fd(&outfile->folder_fd);
	free(outfile->folder);
	free(outfile->path);
	free(outfile->name);
	free(outfile->temporary);
	*outfile = (struct outfile){ .fd = -1, .folder_fd = -1 };
}

bool outfile_is_file(const struct outfile *outfile)
{
	return outfile->folder_fd >= 0;
}

bool outfile_in_memory(const struct outfile *outfile)
{
	struct statfs status;

	return outfile_is_file(outfile) && fstatfs(outfile->fd, &status) == 0 &&
	       (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC);
}
