/*
 * The notes of a core made from a live process.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nearly in the kernel's order: the first thread's NT_PRSTATUS, then what is
 * about the process (NT_PRPSINFO, NT_SIGINFO, NT_AUXV), then that thread's
 * other registers, then the other threads; then NT_FILE; ours, of
 * image/format.h, last.
 */
#ifndef LIVE_PROCESS_NOTES_H
#define LIVE_PROCESS_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/live/copy.h"
#include "image/live/freeze.h"
#include "image/live/procinfo.h"
#include "image/live/procmaps.h"
#include "image/live/select.h"

/** What the notes are made of; all borrowed. */
struct process_notes {
	const struct procinfo *info;	/* read while frozen */
	const struct procinfo_sharing *sharing;	/* read before; may be NULL */
	pid_t memory_pid;	/* the process, or its snapshot, which has the
				   same arguments, program and vector */
	const struct procmaps *maps;
	const struct selection *selection;
	/* the one that a signal ends first, else the main one */
	const struct frozen_thread *threads;
	size_t num_threads;
	uint32_t page_size;
	bool compressed;
	bool no_cmdline;	/* leave the arguments out */
	bool environ;		/* put the environment in */
	int64_t captured_at_ns;	/* since the epoch */
	int64_t captured_monotonic_ns;
	const char *method, *content, *trigger;
	const char *payload_kept;	/* why, or NULL */
	const char *reason;	/* may be NULL */
	const char *extra;	/* further facts, "key=value\0" each, or NULL */
	size_t extra_size;
};

/**
 * Make the content of the PT_NOTE.
 *
 * @param ret  the caller frees
 */
struct error *process_notes_make(const struct process_notes *notes,
				 uint8_t **ret, size_t *ret_size);

/**
 * Make the content of FORMAT_NOTE_FACTS from info, no_cmdline, captured_at_ns,
 * method, content, trigger and extra, and from /proc. A process that is gone
 * has fewer.
 *
 * @param ret  the caller frees
 */
struct error *process_facts_make(const struct process_notes *notes,
				 char **ret, size_t *ret_size);

/** The notes of a core that somebody else wrote, and ours; all borrowed. */
struct foreign_notes {
	const void *core;	/* whole notes */
	size_t core_size;
	const struct procmaps *maps;
	const struct selection *selection;
	const struct format_thread *threads;
	size_t num_threads;
	const void *facts;	/* of process_facts_make() */
	size_t facts_size;
	bool compressed;
};

/** As process_notes_make(). */
struct error *foreign_notes_make(const struct foreign_notes *notes,
				 uint8_t **ret, size_t *ret_size);

/** What is known only at the end. */
struct final_notes {
	bool complete;
	uint64_t pause_ns, total_ns;
	uint64_t image_bytes;
	const struct format_skipped *missing;	/* borrowed */
	size_t num_missing;
};

/** Make the content of the final skippable frame; the caller frees ret. */
struct error *final_notes_make(const struct final_notes *notes, uint8_t **ret,
			       size_t *ret_size);

#endif
