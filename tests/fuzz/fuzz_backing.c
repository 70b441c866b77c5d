/*
 * Fuzz target: the container of a core, whichever it takes the input for.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "image/backing.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum {
	EXPANDED_MAX = 32 << 20,	/* bytes: a larger one is refused */
	READ_MAX = 32 << 20,		/* bytes read of one input */
	VIEWS_MAX = 4096,
};

/** A file size limit is what bounds an expansion from outside. */
static void bound_expansion(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) != 0 ||
	    limit.rlim_cur <= EXPANDED_MAX)
		return;
	limit.rlim_cur = EXPANDED_MAX;
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		abort();
	(void)signal(SIGXFSZ, SIG_IGN);
}

/** A view is read here and there and at its end, where a sanitizer watches. */
static void touch(const uint8_t *bytes, size_t size)
{
	const volatile uint8_t *at = bytes;

	for (size_t i = 0; i < size; i += 61)
		(void)at[i];
	(void)at[size - 1];
}

static void read_all(struct backing *backing)
{
	uint64_t end = backing_size(backing), at = 0;
	struct backing_reader *reader = NULL;
	uint8_t buffer[512];
	const uint8_t *view;
	size_t size, views = 0;

	error_free(backing_reader_create(backing, &reader));
	if (!reader)
		return;
	while (at < end && at < READ_MAX && views++ < VIEWS_MAX) {
		view = backing_view(reader, at, READ_MAX, &size);
		if (view) {
			if (size == 0 || size > end - at)
				abort();
			touch(view, size);
			at += size;
		} else if (backing_lost(backing, at, 1)) {
			at += 4096;
		} else {
			abort();	// neither there nor lost
		}
	}
	// From the end and across what lies between two frames.
	for (uint64_t back = 1; back < end && back < READ_MAX; back *= 3)
		(void)backing_read(reader, end - back, buffer,
				   back < sizeof(buffer) ? (size_t)back :
							   sizeof(buffer));
	if (backing_view(reader, end, 1, &size))
		abort();
	(void)backing_lost(backing, 0, end);
	(void)backing_shrank(backing);
	backing_reader_destroy(reader);
}

static void open_and_read(int fd, uint64_t cache_bytes)
{
	struct findings *findings = NULL;
	struct backing *backing = NULL;
	struct error *err;
	const uint8_t *notes;
	size_t size;

	error_free(findings_create(&findings));
	err = backing_open_fd(fd, "input", &(struct backing_options){
				      .tmp_dir = "/tmp",
				      .cache_bytes = cache_bytes,
				      .findings = findings,
			      }, &backing);
	if (!err) {
		notes = backing_final_notes(backing, &size);
		if (notes && size > 0)
			touch(notes, size);
		read_all(backing);
	}
	error_free(err);
	backing_close(backing);
	findings_destroy(findings);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	bound_expansion();
	if (fd < 0 || size > EXPANDED_MAX ||
	    write(fd, input, size) != (ssize_t)size) {
		if (fd >= 0)
			(void)close(fd);
		return 0;
	}
	// Large frames through the cache, and through a file.
	open_and_read(fd, 4 << 20);
	open_and_read(fd, 2000);
	(void)close(fd);
	return 0;
}
