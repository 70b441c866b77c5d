/*
 * Fuzz target: a core that the kernel's handler reads from a pipe. The first
 * byte says how it comes and how much of it there is to be.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whatever it says of itself: the dump made of it opens as one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/image.h"
#include "image/live/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { PIPE_MAX = 60000 };	/* goes into a pipe without a reader */

static int as_pipe(const uint8_t *data, size_t size)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		abort();
	if (size > 0 && write(ends[1], data, size) != (ssize_t)size)
		abort();
	(void)close(ends[1]);
	return ends[0];
}

static int as_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("core", MFD_CLOEXEC);

	if (fd < 0 || (size > 0 && write(fd, data, size) != (ssize_t)size) ||
	    lseek(fd, 0, SEEK_SET) != 0)
		abort();
	return fd;
}

/** The dump must be one: what was written opens, whatever was read. */
static void open_dump(int fd)
{
	char path[40];
	struct image_options options = { 0 };
	struct image *image;
	struct error *err;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err = image_open(path, &options, &image);
	if (err) {
		(void)fprintf(stderr, "%s\n", err->message);
		abort();
	}
	image_close(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct live_options live = { .workers = 2 };
	struct last_seen seen = { 0 };
	struct convert_options options = {
		.live = &live,
		.seen = &seen,
		.mem_fd = -1,
		.max_image = 32 << 20,
	};
	struct live_result result;
	struct error *err;
	int in, out;

	if (size < 1 || size > PIPE_MAX)
		return 0;
	live.content = input[0] & 2 ? SELECT_FULL : SELECT_HEAP;
	live.no_compress = (input[0] & 4) != 0;
	in = input[0] & 1 ? as_file(input + 1, size - 1) :
			    as_pipe(input + 1, size - 1);
	out = memfd_create("dump", MFD_CLOEXEC);
	if (out < 0)
		abort();
	err = convert_core(&options, in, out, &result);
	if (!err)
		open_dump(out);
	error_free(err);
	(void)close(in);
	(void)close(out);
	return 0;
}
