/*
 * The ELF header and program headers of a core file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * 64-bit little-endian cores of x86-64 and aarch64, read on either. Everything
 * in a header is a claim: counts are held against the size of the file, and
 * headers that are cut off are a finding.
 */
#ifndef IMAGE_ELFCORE_H
#define IMAGE_ELFCORE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#include "image/backing.h"
#include "image/base/error.h"
#include "image/base/findings.h"

enum {
	/* Linux allows 65,530 mappings unless told otherwise. */
	ELFCORE_HEADERS_MAX = 16 << 20,
};

/*
 * No process has memory from here on: Linux takes the last addresses for error
 * numbers. Whoever goes through memory in steps of up to 2 MiB may so add one to
 * any address that there is.
 */
#define ELFCORE_ADDRESSES_END	(UINT64_MAX << 21)

struct elfcore {
	uint16_t machine;	/* EM_X86_64 or EM_AARCH64 */
	Elf64_Phdr *segments;	/* PT_LOAD and PT_NOTE, in the file's order */
	size_t num_segments;
	uint64_t num_headers;	/* as claimed, of all types */
};

/**
 * Read the headers. More than 65,534 program headers are counted by section
 * header 0 (PN_XNUM), which the kernel writes at the very end of the file;
 * where it is cut off the headers are taken to reach to the first segment.
 *
 * @return NULL, or ERROR_FORMAT (not an ELF file, not a core, cut off before
 *	the first program header) or ERROR_UNSUPPORTED (another class, byte
 *	order or machine). A sentence without the file's name
 */
struct error *elfcore_read(struct backing *backing,
			   struct backing_reader *reader,
			   struct findings *findings, struct elfcore *ret);

void elfcore_deinit(struct elfcore *core);

/** "x86-64", "aarch64", "riscv" …; NULL where the number is not known here. */
const char *elfcore_machine_name(uint16_t machine);

#endif
