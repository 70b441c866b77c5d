/*
 * ELF notes of a core, and what they say of the process.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_NOTES_H
#define IMAGE_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/bytes.h"
#include "image/base/error.h"
#include "image/base/findings.h"
#include "image/format.h"

struct note {
	const char *owner;	/* NUL-terminated, borrowed; "" where the note
				   has none or one without a terminator */
	uint32_t type;
	struct bytes content;	/* borrowed */
};

/**
 * Step to the next note. A note whose sizes do not fit what is left ends the
 * walk with ERROR_FORMAT; the cursor is then at the damaged note.
 *
 * @return false at the end or on damage (then *err is set)
 */
bool note_next(struct bytes *notes, struct note *ret, struct error **err);

/** One mapping of NT_FILE. */
struct file_mapping {
	uint64_t start, end;		/* addresses */
	uint64_t file_offset;		/* bytes */
	const char *path;		/* as the target saw it; borrowed */
};

/** One thread, in the order of the notes: the first is the one that died. */
struct core_thread {
	uint32_t tid;
	char name[16];		/* "" where unknown */
	char state;		/* 'R', 'S', 'D' …; 0 where unknown */
	int16_t signal;		/* pr_cursig: what killed it, else 0 */
	struct bytes registers;	/* elf_gregset_t of the machine; borrowed */
};

struct core_fact {
	char *key;		/* owned; value lies behind it */
	const char *value;
};

enum { CORE_NOTES_ORDER = 4 };

/** All that the notes say; everything absent is 0, NULL or empty. */
struct core_notes {
	uint8_t *storage;		/* the PT_NOTE bytes, owned */
	struct core_thread *threads;
	size_t num_threads;
	struct file_mapping *files;	/* sorted by start */
	size_t num_files;
	uint64_t (*auxv)[2];
	size_t num_auxv;
	/* NT_PRPSINFO */
	uint32_t pid, ppid, uid;
	char program[17];		/* pr_fname */
	char arguments[81];		/* pr_psargs */
	/* NT_SIGINFO of the first thread */
	bool has_siginfo;
	int32_t signal, signal_code;
	uint64_t fault_address;
	uint32_t signal_pid;	/* who sent it, by kill() and the like */
	/* HEAPDUMP */
	bool has_header;
	struct format_header header;
	struct core_fact *facts;	/* first and final ones */
	size_t num_facts;
	struct format_mapping *mappings;
	size_t num_mappings;
	const char *mapping_names;	/* valid NUL-terminated names, borrowed */
	size_t mapping_names_size;
	struct format_skipped *skipped;	/* skipped and missing ones */
	size_t num_skipped;
	bool has_final;			/* the final notes are there */
	struct format_thread *named;	/* sorted by tid */
	size_t num_named;
	/* who wrote it shows in the order of its notes and NT_FILE's unit */
	uint32_t order[CORE_NOTES_ORDER]; /* types of the first "CORE" ones */
	size_t num_order;
	uint64_t file_unit;		/* bytes; of NT_FILE's offsets */
};

/**
 * Parse the content of one PT_NOTE segment (or of the final notes) and add
 * what it says. bytes are borrowed and must outlive notes. Damage is a
 * finding. An unknown required feature is ERROR_UNSUPPORTED.
 *
 * @param machine  EM_X86_64 or EM_AARCH64
 */
struct error *core_notes_add(struct core_notes *notes, struct bytes bytes,
			     uint16_t machine, struct findings *findings);

/** Sort, cross-check and name threads after the last core_notes_add(). */
struct error *core_notes_finish(struct core_notes *notes,
				struct findings *findings);

void core_notes_deinit(struct core_notes *notes);

/** The value of a fact, or NULL. */
const char *core_notes_fact(const struct core_notes *notes, const char *key);

/** A fact that is a decimal number; false where absent or malformed. */
bool core_notes_number(const struct core_notes *notes, const char *key,
		       uint64_t *ret);

/** AT_* of elf.h; false where absent. */
bool core_notes_auxv(const struct core_notes *notes, uint64_t type,
		     uint64_t *ret);

#endif
