/*
 * The headers of one executable or library, in the target's memory or a file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only what is needed to place a module: its program headers and its build
 * id. Nothing read is believed before it is held against its own limits.
 */
#ifndef IMAGE_ELFIMAGE_H
#define IMAGE_ELFIMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/bytes.h"
#include "image/memory.h"

enum {
	ELF_IMAGE_HEADERS_MAX = 128,	/* usual are 7 to 14 */
	ELF_IMAGE_BUILD_ID_MAX = 64,	/* bytes */
};

struct elf_image {
	uint16_t type;		/* ET_DYN or ET_EXEC */
	uint16_t machine;
	Elf64_Phdr headers[ELF_IMAGE_HEADERS_MAX];
	size_t num_headers;
	uint64_t low, high;	/* p_vaddr of its PT_LOADs: first, end of last */
};

enum elf_image_answer {
	ELF_IMAGE_ABSENT,	/* the bytes are not to be had */
	ELF_IMAGE_OTHER,	/* no 64-bit little-endian program or library */
	ELF_IMAGE_FOUND,	/* *ret is filled */
};

/** Read the headers that start at address. */
enum elf_image_answer elf_image_in_memory(struct memory_reader *reader,
					  uint64_t address,
					  struct elf_image *ret);

/** Read the headers at the start of a file. */
enum elf_image_answer elf_image_in_file(const uint8_t *file, size_t size,
					struct elf_image *ret);

/**
 * What to add to a p_vaddr to get an address, if the page that starts the
 * file is mapped at base. False if the headers cannot have been loaded so.
 *
 * @param page  bytes, a power of two
 */
bool elf_image_bias(const struct elf_image *image, uint64_t base,
		    uint64_t page, uint64_t *ret);

/** The PT_LOAD whose pages hold p_vaddr vaddr, or NULL. */
const Elf64_Phdr *elf_image_load_at(const struct elf_image *image,
				    uint64_t vaddr, uint64_t page);

/** The first header of this type, or NULL. */
const Elf64_Phdr *elf_image_header(const struct elf_image *image,
				   uint32_t type);

/**
 * The build id by the PT_NOTEs, from memory at bias or from the file.
 *
 * @return its size in bytes; 0: none, or not to be had
 */
size_t elf_image_build_id_in_memory(const struct elf_image *image,
				    struct memory_reader *reader, uint64_t bias,
				    uint8_t ret[ELF_IMAGE_BUILD_ID_MAX]);
size_t elf_image_build_id_in_file(const struct elf_image *image,
				  const uint8_t *file, size_t size,
				  uint8_t ret[ELF_IMAGE_BUILD_ID_MAX]);

#endif
