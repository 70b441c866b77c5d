/*
 * Small cores of any awkward shape, built in memory, for the unit tests.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	struct corebuilder core = { .machine = EM_X86_64 };
 *	corebuilder_note(&core, "CORE", NT_AUXV, auxv, sizeof(auxv));
 *	corebuilder_segment(&core, 0x1000, bytes, 4096, 8192, PF_R);
 *	fd = corebuilder_fd(&core);
 *	corebuilder_deinit(&core);
 *
 * Everything exits with a message if it cannot be done: a test that has no
 * memory is no test.
 */
#ifndef TESTS_COREBUILDER_H
#define TESTS_COREBUILDER_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct corebuilder_segment {
	Elf64_Phdr header;	/* p_offset: 0, or what the header shall claim */
	const void *data;	/* borrowed; NULL: the file has nothing of it */
	size_t size;
};

struct corebuilder {
	uint16_t machine;
	bool many;		/* PN_XNUM whatever the number */
	uint8_t *notes;
	size_t notes_size;
	struct corebuilder_segment *segments;
	size_t num_segments;
};

/** Append a note. */
void corebuilder_note(struct corebuilder *core, const char *owner,
		      uint32_t type, const void *content, size_t size);

/** NT_PRSTATUS of a thread; all registers hold value. */
void corebuilder_thread(struct corebuilder *core, uint32_t tid, int16_t signal,
			uint64_t value);

/** Append a PT_LOAD whose first size bytes are in the file; data is borrowed. */
void corebuilder_segment(struct corebuilder *core, uint64_t address,
			 const void *data, size_t size, uint64_t memory_size,
			 uint32_t flags);

/** The same, with p_filesz and p_offset as given. p_offset 0: as laid out. */
void corebuilder_claim(struct corebuilder *core, uint64_t address,
		       const void *data, size_t size, uint64_t offset,
		       uint64_t file_size, uint64_t memory_size);

/** The whole file, to be freed: headers, notes, segments at multiples of 8. */
uint8_t *corebuilder_bytes(const struct corebuilder *core, size_t *ret_size);

/** An anonymous file that holds the first size bytes. */
int corebuilder_file(const uint8_t *bytes, size_t size);

/** An anonymous file of the whole core. */
int corebuilder_fd(const struct corebuilder *core);

void corebuilder_deinit(struct corebuilder *core);

#endif
