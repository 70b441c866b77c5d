/*
 * Unwind tables of modules in memory; see unwindtable.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: Linux Standard Base, "Exception Frames", for .eh_frame_hdr.
 */
#include "image/unwindtable.h"

#include <elf.h>
#include <libelf.h>
#include <string.h>
#include <sys/mman.h>

#include "image/elfimage.h"

enum {
	PAGE = 4096,
	TABLE_HEADER = 12,	/* bytes of .eh_frame_hdr read */
	PCREL_SDATA4 = 0x1b,	/* DW_EH_PE_pcrel | DW_EH_PE_sdata4 */
};

/* No more than this is put together. */
#define TABLE_MOST (UINT64_C(1) << 30)

/**
 * Where the unwind table of a module in memory lies: .eh_frame_hdr, then as a
 * rule .eh_frame, up to the end of their segment.
 */
static bool find_table(struct memory_reader *memory, const struct module *module,
		       const struct elf_image *image, const Elf64_Phdr **ret,
		       uint64_t *ret_start)
{
	const Elf64_Phdr *table = elf_image_header(image, PT_GNU_EH_FRAME);
	uint8_t header[TABLE_HEADER];
	const Elf64_Phdr *load;
	int32_t distance;
	uint64_t frames;

	if (!table)
		return false;
	load = elf_image_load_at(image, table->p_vaddr, PAGE);
	if (!load || table->p_vaddr < load->p_vaddr ||
	    !memory_try_read(memory, module->bias + table->p_vaddr,
			     header, sizeof(header)))
		return false;
	*ret = load;
	*ret_start = table->p_vaddr;
	if (header[1] == PCREL_SDATA4) {
		memcpy(&distance, header + 4, sizeof(distance));
		frames = table->p_vaddr + 4 + (uint64_t)(int64_t)distance;
		if (frames >= load->p_vaddr && frames < *ret_start)
			*ret_start = frames;
	}
	return true;
}

static void copy_memory(struct memory_reader *memory, uint8_t *to, uint64_t from,
			uint64_t size)
{
	for (uint64_t at = 0; at < size;) {
		uint64_t piece = PAGE - (from + at) % PAGE;

		if (piece > size - at)
			piece = size - at;
		// What is absent stays zero: no entries.
		(void)memory_try_read(memory, from + at, to + at,
				      (size_t)piece);
		at += piece;
	}
}

Elf *unwind_table_elf(struct memory_reader *memory,
		      const struct module *module, struct unwind_table *ret)
{
	struct elf_image image;
	const Elf64_Phdr *load;
	uint64_t start, size, headers;
	Elf64_Ehdr *header;

	if (elf_image_in_memory(memory, module->start, &image) !=
	    ELF_IMAGE_FOUND ||
	    !find_table(memory, module, &image, &load, &start) ||
	    __builtin_add_overflow(load->p_offset, load->p_filesz, &size) ||
	    size > TABLE_MOST || start - load->p_vaddr >= load->p_filesz)
		return NULL;
	ret->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ret->bytes == MAP_FAILED) {
		ret->bytes = NULL;
		return NULL;
	}
	ret->size = size;
	copy_memory(memory, (uint8_t *)ret->bytes + load->p_offset +
		    (start - load->p_vaddr), module->bias + start,
		    load->p_filesz - (start - load->p_vaddr));
	header = ret->bytes;
	headers = sizeof(*header) + image.num_headers * sizeof(Elf64_Phdr);
	if (size < headers)
		return NULL;
	// In a place of our own choice, as those of the file may lie anywhere.
	copy_memory(memory, ret->bytes, module->start, sizeof(*header));
	header->e_phoff = sizeof(*header);
	header->e_phnum = (uint16_t)image.num_headers;
	header->e_shoff = 0;
	header->e_shnum = 0;
	header->e_shstrndx = 0;
	memcpy(header + 1, image.headers,
	       image.num_headers * sizeof(Elf64_Phdr));
	return elf_memory(ret->bytes, size);
}

void unwind_table_deinit(struct unwind_table *table)
{
	if (table->bytes)
		(void)munmap(table->bytes, table->size);
	*table = (struct unwind_table){ 0 };
}
