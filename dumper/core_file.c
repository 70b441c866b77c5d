/*
 * Where the kernel will put the core of a process; see core_file.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/core_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/live/corestream.h"
#include "image/notes.h"

static const char pattern_path[] = "/proc/sys/kernel/core_pattern";
static const char pid_path[] = "/proc/sys/kernel/core_uses_pid";

/** The first line of a file of /proc/sys; "" where it cannot be read. */
static void read_setting(const char *path, char *text, int size)
{
	CLEANUP(close_file) FILE *file = fopen(path, "re");

	text[0] = '\0';
	if (file && fgets(text, size, file))
		text[strcspn(text, "\n")] = '\0';
}

/* --- names ------------------------------------------------------------------- */

static void put_literal(FILE *out, char letter)
{
	if (strchr("*?[\\", letter))
		(void)fputc('\\', out);
	(void)fputc(letter, out);
}

char *core_names_expand(const char *pattern, const struct core_names *names)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool has_pid = false;

	if (!out)
		return NULL;
	for (const char *at = pattern; *at; at++) {
		if (*at != '%') {
			put_literal(out, *at);
			continue;
		}
		switch (*++at) {
		case '\0':
			at--;
			break;
		case '%':
			(void)fputc('%', out);
			break;
		case 'p':
			(void)fprintf(out, "%d", names->pid);
			has_pid = true;
			break;
		case 'P':
			(void)fprintf(out, "%d", names->global_pid);
			break;
		case 'u':
			(void)fprintf(out, "%u", names->uid);
			break;
		case 'g':
			(void)fprintf(out, "%u", names->gid);
			break;
		case 's':
			(void)fprintf(out, "%d", names->signal);
			break;
		default:
			// Time, the thread that takes the signal and its
			// processor; names, in which the kernel changes letters.
			if (strchr("iIdthefEcC", *at))
				(void)fputc('*', out);
		}
	}
	if (names->append_pid && !has_pid)
		(void)fprintf(out, ".%d", names->pid);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* --- before ------------------------------------------------------------------ */

/** Where a core that is given to a program can be had. */
static struct error *piped(const char *pattern, pid_t pid)
{
	size_t length = strcspn(pattern + 1, " \t");

	if (strstr(pattern, "systemd-coredump"))
		return error_new(ERROR_UNSUPPORTED, "cores of this machine go "
				 "to systemd-coredump (%s). Let it take this "
				 "one: kill -ABRT %d; coredumpctl dump %d "
				 "--output FILE; heapscan FILE", pattern_path,
				 pid, pid);
	if (strstr(pattern, "heapdump --core-pattern"))
		return error_new(ERROR_UNSUPPORTED, "cores of this machine go "
				 "to heapdump itself (%s): kill -ABRT %d, and "
				 "the dump is in the folder that "
				 "/etc/heapdump.conf names", pattern_path, pid);
	return error_new(ERROR_UNSUPPORTED, "cores of this machine are not "
			 "files but go to %.*s (%s), and that program knows "
			 "where they are; or use --method stop", (int)length,
			 pattern + 1, pattern_path);
}

/** Split what is expanded into a folder, opened, and the name's pattern. */
static struct error *open_folder(const struct target *target,
				 const char *expanded, struct core_file *file)
{
	const char *slash = strrchr(expanded, '/');
	char *path;
	int made;

	file->folder = !slash ? strdup(".") : slash == expanded ? strdup("/") :
		strndup(expanded, (size_t)(slash - expanded));
	file->glob = strdup(slash ? slash + 1 : expanded);
	if (!file->folder || !file->glob)
		return error_no_memory();
	if (strpbrk(file->folder, "*?[\\"))
		return error_new(ERROR_UNSUPPORTED, "kernel.core_pattern puts "
				 "each core into another folder, which is not "
				 "known before");
	made = asprintf(&path, "%s/%s", file->folder[0] == '/' ? "root" : "cwd",
			file->folder);
	if (made < 0)
		return error_no_memory();
	file->folder_fd = openat(target->proc_fd, path,
				 O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(path);
	if (file->folder_fd < 0)
		return error_os(errno, "the folder %s, where the kernel would "
				"write the core (%s)", file->folder,
				pattern_path);
	return NULL;
}

/** A file that is made now tells what the file system calls now. */
static void read_time(struct core_file *file)
{
	struct stat status;
	int fd = openat(file->folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC,
			0600);

	if (fd < 0 || fstat(fd, &status) != 0)
		(void)clock_gettime(CLOCK_REALTIME_COARSE, &file->before);
	else
		file->before = status.st_mtim;
	close_fd(&fd);
}

struct error *core_file_expect(const struct target *target, int signal,
			       struct core_file *ret)
{
	struct core_file file = {
		.folder_fd = -1,
		.fd = -1,
		.inside_pid = target->info.inside_pid,
	};
	struct core_names names = {
		.pid = target->info.inside_pid,
		.global_pid = target->pid,
		.signal = signal,
		.uid = target->info.real_uid,
		.gid = target->info.gid,
	};
	CLEANUP(free_pointer) char *expanded = NULL;
	char pattern[256], uses_pid[16];
	struct error *err;

	read_setting(pattern_path, pattern, sizeof(pattern));
	read_setting(pid_path, uses_pid, sizeof(uses_pid));
	names.append_pid = uses_pid[0] != '\0' && uses_pid[0] != '0';
	if (pattern[0] == '|' || pattern[0] == '@')
		return piped(pattern, target->pid);
	if (pattern[0] == '\0' && !names.append_pid)
		return error_new(ERROR_UNSUPPORTED, "this machine writes no "
				 "cores: %s is empty", pattern_path);
	expanded = core_names_expand(pattern, &names);
	if (!expanded)
		return error_no_memory();
	err = open_folder(target, expanded, &file);
	if (err) {
		core_file_deinit(&file);
		return err;
	}
	read_time(&file);
	*ret = file;
	return NULL;
}

/* --- afterwards -------------------------------------------------------------- */

static bool is_older(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec ||
	       (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/** Whether this is a core of the process; the descriptor is at its start. */
static bool is_of_process(int fd, pid_t inside_pid)
{
	struct core_notes notes = { 0 };
	struct corestream stream;
	struct error *err = corestream_open(fd, &stream);
	bool is = false;

	if (!err) {
		err = core_notes_add(&notes, bytes_over(stream.notes,
							stream.notes_size),
				     stream.machine, NULL);
		is = !err && notes.pid == (uint32_t)inside_pid;
		core_notes_deinit(&notes);
		corestream_close(&stream);
	}
	error_free(err);
	return is;
}

/** Open NAME if it is the core; -1 where it is not. */
static int open_candidate(const struct core_file *file, const char *name)
{
	int fd = openat(file->folder_fd, name,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
			O_CLOEXEC);
	struct stat status;

	if (fd < 0)
		return -1;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
	    !is_older(&status.st_mtim, &file->before) &&
	    is_of_process(fd, file->inside_pid))
		return fd;
	close_fd(&fd);
	return -1;
}

static void close_folder(DIR **folder)
{
	if (*folder)
		(void)closedir(*folder);
}

struct error *core_file_find(struct core_file *file)
{
	int fd = openat(file->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close_folder) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!folder) {
		close_fd(&fd);
		return error_os(errno, "the folder %s", file->folder);
	}
	while ((entry = readdir(folder)) != NULL) {
		if (fnmatch(file->glob, entry->d_name, 0) != 0)
			continue;
		file->fd = open_candidate(file, entry->d_name);
		if (file->fd < 0)
			continue;
		file->name = strdup(entry->d_name);
		return file->name ? NULL : error_no_memory();
	}
	return error_new(ERROR_NOT_FOUND, "the kernel has written no core of it "
			 "into %s: that folder is not writable for it, or its "
			 "disk is full, or the program may not be dumped",
			 file->folder);
}

struct error *core_file_remove(const struct core_file *file)
{
	struct stat here, ours;

	if (fstatat(file->folder_fd, file->name, &here,
		    AT_SYMLINK_NOFOLLOW) != 0 || fstat(file->fd, &ours) != 0 ||
	    here.st_ino != ours.st_ino || here.st_dev != ours.st_dev)
		return error_new(ERROR_OS, "the kernel's core %s/%s was renamed "
				 "meanwhile, and is left alone", file->folder,
				 file->name);
	if (unlinkat(file->folder_fd, file->name, 0) != 0)
		return error_os(errno, "removing the kernel's core %s/%s",
				file->folder, file->name);
	return NULL;
}

void core_file_deinit(struct core_file *file)
{
	close_fd(&file->folder_fd);
	close_fd(&file->fd);
	free(file->folder);
	free(file->glob);
	free(file->name);
	*file = (struct core_file){ .folder_fd = -1, .fd = -1 };
}
