/*
 * A dump's file: complete under its name, or not there at all.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	outfile_open(&place, &outfile);
 *	... write to outfile.fd ...
 *	outfile_commit(&outfile);	(or outfile_abort())
 *
 * Written as .NAME.tmp-PID in the same folder, mode 0600 from birth, synced,
 * then renamed, and the folder synced. What a SIGKILL leaves behind carries
 * the temporary name.
 */
#ifndef DUMPER_OUTFILE_H
#define DUMPER_OUTFILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"

/** Where a dump is to go, and what its name is made of. */
struct outfile_place {
	const char *output;	/* as -o says; NULL: $HEAPDUMP_DIR, or here */
	pid_t pid;
	const char *script;	/* from the target: untrusted; may be NULL */
	int64_t time;		/* seconds since the epoch */
	bool compressed;
	const char *ending;	/* of the name; NULL: that of a dump */
	bool keep_others;	/* never replace a file, whose-ever its name */
};

struct outfile {
	int fd;
	int folder_fd;		/* -1: a stream */
	char *folder;		/* as given, for messages; "" for a stream */
	char *path;		/* where it will be; "-" for standard output */
	char *name;		/* last part of path */
	char *temporary;	/* its name until then; NULL: a stream */
	bool keep_others;	/* never replace a file of that name */
};

/**
 * Open the temporary file. A path that is a FIFO or a device is written to as
 * a stream, as "-" is.
 */
struct error *outfile_open(const struct outfile_place *place,
			   struct outfile *ret);

/** Sync and rename. On failure the temporary file is gone. */
struct error *outfile_commit(struct outfile *outfile);

/** Remove the temporary file. */
void outfile_abort(struct outfile *outfile);

/** Release; after outfile_commit() or outfile_abort(). */
void outfile_deinit(struct outfile *outfile);

/** True if the file lies in memory (tmpfs, ramfs). */
bool outfile_in_memory(const struct outfile *outfile);

#endif
