/*
 * The numbers of a watched process as lines of JSON: --samples.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_SAMPLES_FILE_H
#define DUMPER_SAMPLES_FILE_H

#include <sys/types.h>

#include "dumper/vitals.h"
#include "image/base/error.h"

struct samples_file {
	const char *path;	/* borrowed */
	int fd;			/* -1: not open */
};

/** Appends to the file, which only its owner may read. */
struct error *samples_file_open(const char *path, struct samples_file *ret);
void samples_file_close(struct samples_file *file);

/**
 * Append one line, whole or not at all. A file that was moved away or removed,
 * as log rotation does, is made anew.
 */
struct error *samples_file_write(struct samples_file *file, pid_t pid,
				 const struct vitals *vitals);

#endif
