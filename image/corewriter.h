/*
 * Plans an ELF core and serializes all of it but the memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	corewriter_create(EM_X86_64, 4096, &writer);
 *	corewriter_set_notes(writer, notes, notes_size);
 *	corewriter_add_segment(writer, &segment);	(ascending addresses)
 *	corewriter_plan(writer);
 *	... write corewriter_header(), then each segment at its offset ...
 *
 * The geometry is complete before the first byte of memory is read, so the
 * file can be written as a stream and nothing in it is ever patched. Laid out
 * as debuggers like it: one PT_NOTE first, then PT_LOAD ascending by address,
 * offsets aligned to pages, a hole only at the end of a segment. Their content
 * ascends by address as well, but for what is to come early.
 */
#ifndef IMAGE_COREWRITER_H
#define IMAGE_COREWRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "image/base/error.h"

/*
 * More need an extended count (PN_XNUM), which older libunwind misreads;
 * one of the 65,534 that e_phnum can say is the PT_NOTE.
 */
enum { COREWRITER_PLAIN_SEGMENTS = 65533 };

struct core_segment {
	uint64_t start, end;	/* addresses, multiples of the page size */
	uint64_t captured;	/* bytes from start that are in the file */
	uint64_t offset;	/* of start in the core; set by corewriter_plan() */
	uint32_t protection;	/* PF_R, PF_W, PF_X of elf.h */
	bool zero_tail;		/* what is not in the file is known to be zero */
	bool early;		/* in the file before those that are not */
};

struct corewriter;

/** machine: EM_X86_64 or EM_AARCH64. page_size: the target's, in bytes. */
struct error *corewriter_create(uint16_t machine, uint32_t page_size,
				struct corewriter **ret);
void corewriter_destroy(struct corewriter *writer);

/** The content of the PT_NOTE, copied; see core_note_write(). */
struct error *corewriter_set_notes(struct corewriter *writer,
				   const void *notes, size_t size);

/**
 * Add a segment above all that were added before. Fails with ERROR_FORMAT
 * where it overlaps, is empty, unaligned, or captured is more than its size.
 */
struct error *corewriter_add_segment(struct corewriter *writer,
				     const struct core_segment *segment);

/**
 * Fix every offset. Beyond COREWRITER_PLAIN_SEGMENTS, neighbours of one
 * protection are joined where that puts only zeroes into the file, smallest
 * holes first; if too many are left the count is stored the extended way.
 */
struct error *corewriter_plan(struct corewriter *writer);

/* --- after corewriter_plan() --------------------------------------------- */

size_t corewriter_num_segments(const struct corewriter *writer);
/** Segments in address order; without early ones that of their offsets, too. */
const struct core_segment *corewriter_segments(const struct corewriter *writer);
/** The bytes before the first segment: ELF header, program headers, notes. */
const void *corewriter_header(const struct corewriter *writer, size_t *ret_size);
/** Bytes of the whole core. */
uint64_t corewriter_size(const struct corewriter *writer);

/**
 * Append one ELF note (header, owner, content, each padded to 4 bytes) to
 * out. Write errors stay in ferror(out).
 */
void core_note_write(FILE *out, const char *owner, uint32_t type,
		     const void *content, size_t size);

#endif
