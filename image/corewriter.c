/*
 * Plans an ELF core and serializes all of it but the memory; see corewriter.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/corewriter.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

/* Zeroes are cheap in a compressed dump, but a debugger reads them all. */
static const uint64_t JOIN_HOLE_MAX = UINT64_C(1) << 24;

struct corewriter {
	uint16_t machine;
	uint32_t page_size;
	uint8_t *notes;
	size_t notes_size;
	struct core_segment *segments;
	size_t num_segments, capacity;
	uint8_t *header;
	size_t header_size;	/* a multiple of the page size */
	uint64_t size;
};

struct error *corewriter_create(uint16_t machine, uint32_t page_size,
				struct corewriter **ret)
{
	struct corewriter *writer = calloc(1, sizeof(*writer));

	if (!writer)
		return error_no_memory();
	writer->machine = machine;
	writer->page_size = page_size;
	*ret = writer;
	return NULL;
}

void corewriter_destroy(struct corewriter *writer)
{
	if (!writer)
		return;
	free(writer->notes);
	free(writer->segments);
	free(writer->header);
	free(writer);
}

struct error *corewriter_set_notes(struct corewriter *writer,
				   const void *notes, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	if (!copy)
		return error_no_memory();
	memcpy(copy, notes, size);
	free(writer->notes);
	writer->notes = copy;
	writer->notes_size = size;
	return NULL;
}

static bool aligned(const struct corewriter *writer, uint64_t value)
{
	return (value & (writer->page_size - 1)) == 0;
}

struct error *corewriter_add_segment(struct corewriter *writer,
				     const struct core_segment *segment)
{
	uint64_t above = writer->num_segments == 0 ?
		0 : writer->segments[writer->num_segments - 1].end;

	if (segment->start < above || segment->start >= segment->end ||
	    segment->captured > segment->end - segment->start ||
	    !aligned(writer, segment->start) ||
	    !aligned(writer, segment->end) ||
	    !aligned(writer, segment->captured))
		return error_at(ERROR_FORMAT, segment->start,
				"a segment from 0x%llx to 0x%llx does not fit "
				"after 0x%llx",
				(unsigned long long)segment->start,
				(unsigned long long)segment->end,
				(unsigned long long)above);
	if (writer->num_segments == writer->capacity) {
		size_t more = writer->capacity ? 2 * writer->capacity : 256;
		struct core_segment *grown = reallocarray(
			writer->segments, more, sizeof(*grown));

		if (!grown)
			return error_no_memory();
		writer->segments = grown;
		writer->capacity = more;
	}
	writer->segments[writer->num_segments++] = *segment;
	return NULL;
}

/** Whether joining two neighbours puts at most most zeroes into the file. */
static bool joinable(const struct core_segment *low,
		     const struct core_segment *high, uint64_t most)
{
	uint64_t tail = low->end - low->start - low->captured;

	if (low->end != high->start || low->protection != high->protection)
		return false;
	if (high->captured == 0)	/* the tail only grows */
		return tail == 0 || low->zero_tail == high->zero_tail;
	return tail == 0 || (low->zero_tail && tail <= most);
}

static void join_all(struct corewriter *writer, uint64_t most)
{
	size_t kept = 0;

	for (size_t i = 1; i < writer->num_segments; i++) {
		struct core_segment *low = &writer->segments[kept];
		const struct core_segment *high = &writer->segments[i];

		if (!joinable(low, high, most)) {
			writer->segments[++kept] = *high;
			continue;
		}
		if (high->captured > 0)
			low->captured = high->start - low->start +
					high->captured;
		if (high->captured < high->end - high->start)
			low->zero_tail = high->zero_tail;
		low->end = high->end;
	}
	if (writer->num_segments > 0)
		writer->num_segments = kept + 1;
}

static void write_ehdr(const struct corewriter *writer, uint8_t *at,
		       uint64_t section_offset)
{
	Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE },
		.e_type = ET_CORE,
		.e_machine = writer->machine,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (Elf64_Half)(writer->num_segments + 1),
	};

	if (section_offset != 0) {
		header.e_phnum = PN_XNUM;
		header.e_shoff = section_offset;
		header.e_shnum = 1;
		header.e_shentsize = sizeof(Elf64_Shdr);
	}
	memcpy(at, &header, sizeof(header));
}

static void write_phdrs(const struct corewriter *writer, uint8_t *at,
			uint64_t notes_offset)
{
	Elf64_Phdr note = {
		.p_type = PT_NOTE,
		.p_offset = notes_offset,
		.p_filesz = writer->notes_size,
		.p_align = 4,
	};

	memcpy(at, &note, sizeof(note));
	for (size_t i = 0; i < writer->num_segments; i++) {
		const struct core_segment *segment = &writer->segments[i];
		Elf64_Phdr load = {
			.p_type = PT_LOAD,
			.p_flags = segment->protection,
			.p_offset = segment->offset,
			.p_vaddr = segment->start,
			.p_filesz = segment->captured,
			.p_memsz = segment->end - segment->start,
			.p_align = writer->page_size,
		};

		at += sizeof(load);
		memcpy(at, &load, sizeof(load));
	}
}

struct error *corewriter_plan(struct corewriter *writer)
{
	uint64_t phdrs_size, notes_offset, section_offset = 0, offset;

	for (uint64_t most = writer->page_size;
	     writer->num_segments > COREWRITER_PLAIN_SEGMENTS &&
	     most <= JOIN_HOLE_MAX;
	     most *= 2)
		join_all(writer, most);
	if (__builtin_mul_overflow(writer->num_segments + 1,
				   sizeof(Elf64_Phdr), &phdrs_size))
		return error_no_memory();
	notes_offset = sizeof(Elf64_Ehdr) + phdrs_size;
	offset = (notes_offset + writer->notes_size + 7) & ~UINT64_C(7);
	if (writer->num_segments > COREWRITER_PLAIN_SEGMENTS) {
		section_offset = offset;
		offset += sizeof(Elf64_Shdr);
	}
	offset = (offset + writer->page_size - 1) &
		 ~(uint64_t)(writer->page_size - 1);
	free(writer->header);
	writer->header_size = offset;
	writer->header = calloc(1, offset);
	if (!writer->header)
		return error_no_memory();
	for (int late = 0; late < 2; late++)
		for (size_t i = 0; i < writer->num_segments; i++) {
			struct core_segment *segment = &writer->segments[i];

			if (segment->early == late)
				continue;
			segment->offset = offset;
			offset += segment->captured;
		}
	writer->size = offset;
	write_ehdr(writer, writer->header, section_offset);
	write_phdrs(writer, writer->header + sizeof(Elf64_Ehdr), notes_offset);
	if (writer->notes_size > 0)
		memcpy(writer->header + notes_offset, writer->notes,
		       writer->notes_size);
	if (section_offset != 0) {
		Elf64_Shdr extended = {
			.sh_size = 1,	/* e_shnum, as the kernel does */
			.sh_info = (Elf64_Word)(writer->num_segments + 1),
		};

		memcpy(writer->header + section_offset, &extended,
		       sizeof(extended));
	}
	return NULL;
}

size_t corewriter_num_segments(const struct corewriter *writer)
{
	return writer->num_segments;
}

const struct core_segment *corewriter_segments(const struct corewriter *writer)
{
	return writer->segments;
}

const void *corewriter_header(const struct corewriter *writer, size_t *ret_size)
{
	*ret_size = writer->header_size;
	return writer->header;
}

uint64_t corewriter_size(const struct corewriter *writer)
{
	return writer->size;
}

void core_note_write(FILE *out, const char *owner, uint32_t type,
		     const void *content, size_t size)
{
	static const char padding[4];
	size_t owner_size = strlen(owner) + 1;
	Elf64_Nhdr header = {
		.n_namesz = (Elf64_Word)owner_size,
		.n_descsz = (Elf64_Word)size,
		.n_type = type,
	};

	(void)fwrite(&header, sizeof(header), 1, out);
	(void)fwrite(owner, owner_size, 1, out);
	(void)fwrite(padding, 1, -owner_size & 3, out);
	if (size > 0)
		(void)fwrite(content, size, 1, out);
	(void)fwrite(padding, 1, -size & 3, out);
}
