/*
 * The headers of one executable or library; see elfimage.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/elfimage.h"

#include <string.h>

#include "image/notes.h"

enum {
	OFFSET_MAX = 1 << 20,	/* program headers start before it */
	NOTES_MAX = 64 << 10,	/* bytes of one PT_NOTE looked at */
};

/** A program or library no larger than this, in bytes of addresses. */
#define EXTENT_MAX (UINT64_C(1) << 40)

static bool header_fits(const Elf64_Ehdr *header)
{
	return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
	       header->e_ident[EI_CLASS] == ELFCLASS64 &&
	       header->e_ident[EI_DATA] == ELFDATA2LSB &&
	       (header->e_type == ET_DYN || header->e_type == ET_EXEC) &&
	       header->e_phentsize == sizeof(Elf64_Phdr) &&
	       header->e_phnum > 0 &&
	       header->e_phnum <= ELF_IMAGE_HEADERS_MAX &&
	       header->e_phoff >= sizeof(*header) &&
	       header->e_phoff <= OFFSET_MAX;
}

/** Fill in low and high; false where the PT_LOADs cannot be. */
static bool measure(struct elf_image *image)
{
	image->low = UINT64_MAX;
	image->high = 0;
	for (size_t i = 0; i < image->num_headers; i++) {
		const Elf64_Phdr *header = &image->headers[i];
		uint64_t end;

		if (header->p_type != PT_LOAD || header->p_memsz == 0)
			continue;
		if (__builtin_add_overflow(header->p_vaddr, header->p_memsz,
					   &end) ||
		    header->p_filesz > header->p_memsz ||
		    header->p_offset > INT64_MAX)
			return false;
		if (header->p_vaddr < image->low)
			image->low = header->p_vaddr;
		if (end > image->high)
			image->high = end;
	}
	return image->low < image->high &&
	       image->high - image->low <= EXTENT_MAX;
}

static void start_image(struct elf_image *image, const Elf64_Ehdr *header)
{
	image->type = header->e_type;
	image->machine = header->e_machine;
	image->num_headers = header->e_phnum;
}

enum elf_image_answer elf_image_in_memory(struct memory_reader *reader,
					  uint64_t address,
					  struct elf_image *ret)
{
	Elf64_Ehdr header;
	uint64_t at;

	if (!memory_try_read(reader, address, &header, sizeof(header)))
		return ELF_IMAGE_ABSENT;
	if (!header_fits(&header) ||
	    __builtin_add_overflow(address, header.e_phoff, &at))
		return ELF_IMAGE_OTHER;
	start_image(ret, &header);
	if (!memory_try_read(reader, at, ret->headers,
			     ret->num_headers * sizeof(ret->headers[0])))
		return ELF_IMAGE_ABSENT;
	return measure(ret) ? ELF_IMAGE_FOUND : ELF_IMAGE_OTHER;
}

enum elf_image_answer elf_image_in_file(const uint8_t *file, size_t size,
					struct elf_image *ret)
{
	struct bytes bytes = bytes_over(file, size);
	Elf64_Ehdr header;

	if (!bytes_copy(&bytes, &header, sizeof(header)) ||
	    !header_fits(&header) || header.e_phoff > size)
		return ELF_IMAGE_OTHER;
	start_image(ret, &header);
	bytes.at = (size_t)header.e_phoff;
	if (!bytes_copy(&bytes, ret->headers,
			ret->num_headers * sizeof(ret->headers[0])))
		return ELF_IMAGE_OTHER;
	return measure(ret) ? ELF_IMAGE_FOUND : ELF_IMAGE_OTHER;
}

bool elf_image_bias(const struct elf_image *image, uint64_t base,
		    uint64_t page, uint64_t *ret)
{
	uint64_t mask = ~(page - 1), bias = base - (image->low & mask);

	// The segment that loads the start of the file tells; linkers that
	// reorder segments do not always put it at the lowest address.
	for (size_t i = 0; i < image->num_headers; i++) {
		const Elf64_Phdr *header = &image->headers[i];

		if (header->p_type == PT_LOAD && header->p_filesz &&
		    (header->p_offset & mask) == 0) {
			bias = base - (header->p_vaddr & mask);
			break;
		}
	}
	if (image->type == ET_EXEC && bias != 0)
		return false;
	// A module does not wrap around the address space.
	if (bias + image->high < bias + image->low)
		return false;
	*ret = bias;
	return true;
}

const Elf64_Phdr *elf_image_load_at(const struct elf_image *image,
				    uint64_t vaddr, uint64_t page)
{
	for (size_t i = 0; i < image->num_headers; i++) {
		const Elf64_Phdr *header = &image->headers[i];
		uint64_t start = header->p_vaddr & ~(page - 1);

		if (header->p_type == PT_LOAD && vaddr >= start &&
		    vaddr - start < header->p_memsz +
				    (header->p_vaddr - start))
			return header;
	}
	return NULL;
}

const Elf64_Phdr *elf_image_header(const struct elf_image *image,
				   uint32_t type)
{
	for (size_t i = 0; i < image->num_headers; i++) {
		if (image->headers[i].p_type == type)
			return &image->headers[i];
	}
	return NULL;
}

static size_t find_build_id(struct bytes notes,
			    uint8_t ret[ELF_IMAGE_BUILD_ID_MAX])
{
	struct error *err;
	struct note note;

	while (note_next(&notes, &note, &err)) {
		if (note.type != NT_GNU_BUILD_ID ||
		    strcmp(note.owner, ELF_NOTE_GNU) != 0 ||
		    note.content.size == 0 ||
		    note.content.size > ELF_IMAGE_BUILD_ID_MAX)
			continue;
		memcpy(ret, note.content.data, note.content.size);
		return note.content.size;
	}
	error_free(err);
	return 0;
}

size_t elf_image_build_id_in_memory(const struct elf_image *image,
				    struct memory_reader *reader, uint64_t bias,
				    uint8_t ret[ELF_IMAGE_BUILD_ID_MAX])
{
	for (size_t i = 0; i < image->num_headers; i++) {
		const Elf64_Phdr *header = &image->headers[i];
		const void *view;
		size_t size;

		if (header->p_type != PT_NOTE || header->p_filesz == 0 ||
		    header->p_filesz > NOTES_MAX)
			continue;
		view = memory_view(reader, bias + header->p_vaddr,
				   (size_t)header->p_filesz);
		if (!view)
			continue;
		size = find_build_id(bytes_over(view, (size_t)header->p_filesz),
				     ret);
		if (size)
			return size;
	}
	return 0;
}

size_t elf_image_build_id_in_file(const struct elf_image *image,
				  const uint8_t *file, size_t size,
				  uint8_t ret[ELF_IMAGE_BUILD_ID_MAX])
{
	for (size_t i = 0; i < image->num_headers; i++) {
		const Elf64_Phdr *header = &image->headers[i];
		struct bytes bytes = bytes_over(file, size);
		const void *notes;
		size_t found;

		if (header->p_type != PT_NOTE || header->p_filesz == 0 ||
		    header->p_filesz > NOTES_MAX || header->p_offset > size)
			continue;
		bytes.at = (size_t)header->p_offset;
		notes = bytes_take(&bytes, (size_t)header->p_filesz);
		if (!notes)
			continue;
		found = find_build_id(bytes_over(notes,
						 (size_t)header->p_filesz),
				      ret);
		if (found)
			return found;
	}
	return 0;
}
