/*
 * Dumps a live process into an open file.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	target_open(pid, &target);
 *	live_dump(&target, &options, fd, &result);
 *	target_close(&target);
 *
 * By a snapshot the target stands still only while that is made; by stopping,
 * while its memory is read. It is let go on every way out, at the limit at the
 * latest. A snapshot is dropped before it costs the target the memory that it
 * needs itself; what was read until then is the dump.
 */
#ifndef LIVE_LIVE_H
#define LIVE_LIVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/format.h"
#include "image/live/freeze.h"
#include "image/live/pack.h"
#include "image/live/payload.h"
#include "image/live/select.h"
#include "image/live/stacks.h"
#include "image/live/target.h"
#include "image/model.h"

/* Without --max-pause: 2 s. */
#define LIVE_MAX_PAUSE_NS UINT64_C(2000000000)

enum {
	LIVE_WORKERS_MAX = 8,	/* by default: memory is 4 MiB for each */
	LIVE_LEVEL = 1,		/* of zstd: where speed and ratio bend */
};

struct live_progress {
	uint64_t done, total;	/* bytes of memory */
	uint64_t stored;	/* bytes written */
	bool frozen;		/* the target still stands still */
};

struct freeze_standing;

struct live_options {
	bool snapshot;		/* else the target is stopped while copying */
	bool assume_fork_allowed;	/* see image/live/snapshot.h */
	bool force;		/* dump a process that forbids dumps, too */
	enum select_content content;
	const struct select_rules *rules;	/* borrowed; may be NULL */
	/*
	 * Asked what SELECT_HEAP must not leave out, and what SELECT_STACKS
	 * takes of them, ended by a NULL. Without any no payload is left out.
	 */
	const struct model *const *models;
	uint64_t max_pause_ns;	/* 0: LIVE_MAX_PAUSE_NS */
	bool no_compress;
	int level;		/* of zstd; 0: LIVE_LEVEL */
	unsigned int workers;	/* 0: processors there are, at most
				   LIVE_WORKERS_MAX */
	bool own_file;		/* the file is nobody else's and not read soon:
				   it may bypass the page cache */
	bool hash;		/* compute live_result.sha256 */
	bool no_cmdline;	/* leave the arguments out of the notes */
	bool environ;		/* record the environment in the notes */
	const char *trigger;	/* why; NULL: "request" */
	const char *reason;	/* why exactly, a sentence; may be NULL */
	/* NULL: the process runs, and live_dump() stops it. Else it is held
	 * until live_dump() has returned, and only max_pause_ns above 0 is a
	 * limit: what is held is dying */
	const struct freeze_standing *held;
	const char *extra;	/* facts to record, "key=value\0" each */
	size_t extra_size;
	/* set from a signal handler: give up; may be NULL */
	const atomic_bool *stop;
	/* called about ten times a second; may be NULL */
	void (*progress)(void *context, const struct live_progress *progress);
	void *progress_context;
};

/** What is left out for one reason. */
struct live_skipped {
	uint64_t bytes, ranges;
};

struct live_result {
	uint64_t stored;	/* bytes of the file */
	uint64_t image_bytes;	/* of the uncompressed core */
	uint64_t memory_bytes;	/* read from the target */
	uint64_t pause_ns, total_ns;
	bool complete;		/* nothing is missing that was selected */
	uint64_t missing_bytes;
	uint64_t swapped_bytes;	/* left in swap, by lack of room */
	bool snapshot;
	uint64_t window_ns;	/* see freeze_window() */
	bool expired;		/* the limit let the target go too early */
	bool dropped;		/* the snapshot went for lack of memory */
	struct room room;	/* what was left then */
	struct freeze_end end;
	size_t num_threads;
	/* Why no payload was left out, where it was to be; else "" */
	char payload_kept[PAYLOAD_WHY_MAX];
	/* Of SELECT_STACKS: why only what debuggers need was taken, or not all
	   of the rest; else "" */
	char native_only[STACKS_WHY_MAX];
	struct live_skipped skipped[FORMAT_NUM_REASONS];	/* by reason */
	bool hashed;
	uint8_t sha256[PACK_SHA256_SIZE];	/* of the file, if hashed */
};

/** What a dump would be like; nothing is stopped for it. */
struct live_estimate {
	uint64_t read_bytes;	/* of memory to be read */
	uint64_t image_bytes;	/* uncompressed */
	uint64_t stored_bytes;	/* of the file */
	uint64_t pause_ns;
	uint64_t total_ns;
	unsigned int workers;
	uint64_t swapped_bytes;	/* would be left in swap */
};

/**
 * An upper bound from the resident size alone, at a rate that any machine
 * reaches: what it allows needs no better estimate. Takes no time.
 */
void live_estimate_bound(const struct target *target,
			 const struct live_options *options,
			 struct live_estimate *ret);

/**
 * Estimate from the mappings and a sample of the memory itself, which is read
 * and compressed. Takes some tens of milliseconds.
 */
struct error *live_estimate(const struct target *target,
			    const struct live_options *options,
			    struct live_estimate *ret);

/**
 * Whether the method of options can be used at all: ERROR_UNSUPPORTED or
 * ERROR_LIMIT with the reason. Nothing is stopped for it.
 */
struct error *live_check_method(const struct target *target,
				const struct live_options *options);

/** ERROR_LIMIT where the estimated pause is longer than options allow. */
struct error *live_check_pause(const struct live_estimate *estimate,
			       const struct live_options *options);

/** ERROR_LIMIT where the file system of fd has not the space; folder names it. */
struct error *live_check_space(const struct live_estimate *estimate, int fd,
			       const char *folder);

/** All three, by the bound or, where that forbids it, by the estimate. */
struct error *live_check(const struct target *target,
			 const struct live_options *options, int fd,
			 const char *folder);

/**
 * Dump into fd, from where it stands. Stops the target; an estimate is not
 * made here. ERROR_INTERRUPTED where options->stop was set: fd then holds
 * part of a dump, to be thrown away, as after every other failure.
 */
struct error *live_dump(const struct target *target,
			const struct live_options *options, int fd,
			struct live_result *ret);

/**
 * Dump a process into an unlinked temporary file, for reading at once:
 * refused (ERROR_LIMIT) if the estimate exceeds the limits of time and space.
 * The target runs again when this returns.
 *
 * @param tmp_dir  NULL: $TMPDIR, else /var/tmp
 * @param ret_fd  a descriptor at offset 0, the caller closes
 */
struct error *live_dump_to_fd(pid_t pid, const struct live_options *options,
			      const char *tmp_dir, int *ret_fd,
			      struct live_result *ret);

#endif
