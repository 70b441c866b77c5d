/*
 * Where the answer goes; see scan_output.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/show/scan_output.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/guard.h"

enum { BUFFER_SIZE = 1 << 18 };

/* The temporary name, where a signal handler finds it. */
static _Atomic(char *) pending;

void output_interrupted(void)
{
	char *path = atomic_exchange(&pending, NULL);

	if (path)
		(void)unlink(path);
}

/** True if path names something that a rename would wrongly replace. */
static bool is_special(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

static struct error *open_special(struct output *output, const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return error_os(errno, "%s", path);
	output->file = fdopen(fd, "w");
	if (!output->file) {
		(void)close(fd);
		return error_no_memory();
	}
	return NULL;
}

/** Make the file and tell the signal handler, with no signal in between. */
static int make_pending(char *template)
{
	sigset_t all, before;
	int fd, os_errno;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	fd = mkostemp(template, O_CLOEXEC);
	os_errno = errno;
	if (fd >= 0)
		atomic_store(&pending, template);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return fd >= 0 ? fd : -os_errno;
}

static struct error *open_temporary(struct output *output, const char *path,
				    bool private)
{
	mode_t mask = umask(0);
	int fd;

	(void)umask(mask);
	if (asprintf(&output->temporary, "%s.XXXXXX", path) < 0) {
		output->temporary = NULL;
		return error_no_memory();
	}
	fd = make_pending(output->temporary);
	if (fd < 0) {
		struct error *err = error_os(-fd, "%s", path);

		free(TAKE(output->temporary));
		return err;
	}
	// Most answers hold names, not memory: files like any other.
	(void)fchmod(fd, (private ? 0600 : 0666) & ~mask);
	output->file = fdopen(fd, "w");
	if (!output->file) {
		(void)close(fd);
		output_discard(output);
		return error_no_memory();
	}
	return NULL;
}

struct error *output_open(struct output *output, const char *path,
			  bool private)
{
	struct error *err = NULL;

	*output = (struct output){ 0 };
	if (!path || strcmp(path, "-") == 0) {
		output->file = stdout;
	} else {
		output->path = path;
		err = is_special(path) ? open_special(output, path) :
					 open_temporary(output, path, private);
	}
	if (err)
		return err;
	output->terminal = isatty(fileno(output->file));
	// One thread writes, and perhaps millions of rows.
	(void)__fsetlocking(output->file, FSETLOCKING_BYCALLER);
	if (!output->terminal)
		(void)setvbuf(output->file, NULL, _IOFBF, BUFFER_SIZE);
	return NULL;
}

static struct error *write_error(const struct output *output)
{
	int os_errno = errno ? errno : EIO;

	return error_os(os_errno, "writing %s",
			output->path ? output->path : "the answer");
}

struct error *output_finish(struct output *output, bool *ret_unread)
{
	FILE *file = TAKE(output->file);
	bool failed = ferror(file) != 0;
	struct error *err = NULL;

	errno = 0;
	// The errno of a failure in the middle is gone by now; a further
	// write brings it back.
	if (failed) {
		clearerr(file);
		(void)fputc('\n', file);
	}
	if (fflush(file) != 0)
		failed = true;
	if (failed) {
		*ret_unread = errno == EPIPE;
		err = *ret_unread ? NULL : write_error(output);
	} else if (output->temporary && fsync(fileno(file)) != 0) {
		err = write_error(output);
	}
	if (file != stdout && fclose(file) != 0 && !err)
		err = write_error(output);
	if (!err && output->temporary &&
	    rename(output->temporary, output->path) != 0)
		err = error_os(errno, "%s", output->path);
	if (!err && output->temporary)
		atomic_store(&pending, NULL);
	else
		output_interrupted();
	free(TAKE(output->temporary));
	return err;
}

void output_discard(struct output *output)
{
	if (output->file && output->file != stdout)
		(void)fclose(output->file);
	output->file = NULL;
	output_interrupted();
	free(TAKE(output->temporary));
}
