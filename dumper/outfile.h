/*
 * A dump's file: complete under its name, or not there at all.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	outfile_open(&place, &outfile);
 *	... write to outfile.fd ...
 *	outfile_commit(&outfile);	(or outfile_abort())
 *
 * Where the file system can, the file has no name until it is complete
 * (O_TMPFILE), so that a SIGKILL leaves nothing behind; elsewhere (NFS, FUSE) it
 * is .NAME.tmp-PID in the same folder. Its mode is 0600 from birth, it is synced
 * before it gets its name, and then the folder is.
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
	char *temporary;	/* its name until then; NULL: it has none */
	bool keep_others;	/* never replace a file of that name */
};

/**
 * Open the temporary file. A path that is a FIFO or a device is written to as
 * a stream, as "-" is.
 */
struct error *outfile_open(const struct outfile_place *place,
			   struct outfile *ret);

/** Sync and give it its name. On failure the file is gone. */
struct error *outfile_commit(struct outfile *outfile);

/** Remove the temporary file; one without a name goes when it is closed. */
void outfile_abort(struct outfile *outfile);

/** Release; after outfile_commit() or outfile_abort(). */
void outfile_deinit(struct outfile *outfile);

/** False for a stream. */
bool outfile_is_file(const struct outfile *outfile);

/** True if the file lies in memory (tmpfs, ramfs). */
bool outfile_in_memory(const struct outfile *outfile);

#endif
