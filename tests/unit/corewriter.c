/*
 * The core writer: geometry, joining, the extended segment count.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/corewriter.h"
#include "tests/lib/check.h"

enum { PAGE = 4096 };

static struct corewriter *fresh(void)
{
	struct corewriter *writer = NULL;
	struct error *err = corewriter_create(EM_X86_64, PAGE, &writer);

	CHECK("a writer is made", err == NULL);
	return writer;
}

static void add(struct corewriter *writer, uint64_t start, uint64_t size,
		uint64_t captured, uint32_t protection, bool zero_tail)
{
	struct core_segment segment = {
		.start = start, .end = start + size, .captured = captured,
		.protection = protection, .zero_tail = zero_tail,
	};

	error_free(corewriter_add_segment(writer, &segment));
}

static void check_geometry(void)
{
	struct corewriter *writer = fresh();
	static const char notes[] = "0123456789";
	size_t header_size;
	Elf64_Ehdr header;
	Elf64_Phdr phdr[4];
	const uint8_t *bytes;

	add(writer, 0x10000, 3 * PAGE, 2 * PAGE, PF_R | PF_W, true);
	add(writer, 0x20000, PAGE, 0, 0, false);
	add(writer, 0x30000, PAGE, PAGE, PF_R, false);
	error_free(corewriter_set_notes(writer, notes, sizeof(notes)));
	CHECK("it can be planned", corewriter_plan(writer) == NULL);
	bytes = corewriter_header(writer, &header_size);
	memcpy(&header, bytes, sizeof(header));
	CHECK("it is an ELF core", memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
	      header.e_type == ET_CORE && header.e_machine == EM_X86_64);
	CHECK_U64("program headers", header.e_phnum, 4);
	CHECK_U64("section headers", header.e_shnum, 0);
	CHECK_U64("the header ends at a page", header_size, PAGE);
	memcpy(phdr, bytes + header.e_phoff, sizeof(phdr));
	CHECK_U64("notes come first", phdr[0].p_type, PT_NOTE);
	CHECK("notes are where they are said to be",
	      memcmp(bytes + phdr[0].p_offset, notes, sizeof(notes)) == 0);
	CHECK_U64("first offset", phdr[1].p_offset, PAGE);
	CHECK_U64("a hole takes no space", phdr[1].p_filesz, 2 * PAGE);
	CHECK_U64("but addresses", phdr[1].p_memsz, 3 * PAGE);
	CHECK_U64("nothing captured", phdr[2].p_filesz, 0);
	CHECK_U64("next offset", phdr[3].p_offset, 3 * PAGE);
	CHECK_U64("size", corewriter_size(writer), 4 * PAGE);
	corewriter_destroy(writer);
}

/** What is to come early does so in the file, and nowhere else. */
static void check_early(void)
{
	struct corewriter *writer = fresh();
	const struct core_segment *segments;

	for (unsigned int i = 0; i < 4; i++)
		error_free(corewriter_add_segment(writer, &(struct core_segment){
			.start = 0x10000 + i * 0x10000,
			.end = 0x10000 + i * 0x10000 + 2 * PAGE,
			.captured = (i + 1) % 3 * PAGE, .early = i % 2 }));
	CHECK("it can be planned", corewriter_plan(writer) == NULL);
	segments = corewriter_segments(writer);
	CHECK_U64("segments by address", segments[1].start, 0x20000);
	CHECK_U64("the first early one", segments[1].offset, PAGE);
	CHECK_U64("the second early one", segments[3].offset, 3 * PAGE);
	CHECK_U64("the first of the rest", segments[0].offset, 4 * PAGE);
	CHECK_U64("what is left out", segments[2].offset, 5 * PAGE);
	CHECK_U64("size", corewriter_size(writer), 5 * PAGE);
	corewriter_destroy(writer);
}

static bool refused(uint64_t start, uint64_t end, uint64_t captured)
{
	struct corewriter *writer = NULL;
	struct core_segment first = { .start = 0x10000, .end = 0x12000 };
	struct core_segment second = {
		.start = start, .end = end, .captured = captured,
	};
	struct error *err = corewriter_create(EM_X86_64, PAGE, &writer);
	bool is_refused;

	if (!err)
		err = corewriter_add_segment(writer, &first);
	error_free(err);
	err = corewriter_add_segment(writer, &second);
	is_refused = err && err->kind == ERROR_FORMAT;
	error_free(err);
	corewriter_destroy(writer);
	return is_refused;
}

static void check_refusals(void)
{
	CHECK("overlap is refused", refused(0x11000, 0x13000, 0));
	CHECK("disorder is refused", refused(0x1000, 0x2000, 0));
	CHECK("an empty segment is refused", refused(0x20000, 0x20000, 0));
	CHECK("a negative one is refused", refused(0x21000, 0x20000, 0));
	CHECK("unaligned is refused", refused(0x20010, 0x21000, 0));
	CHECK("more captured than there is is refused",
	      refused(0x20000, 0x21000, 0x2000));
	CHECK("neighbours are fine", !refused(0x12000, 0x13000, 0x1000));
}

/** As many segments as asked, in pairs of one mapping cut by a small hole. */
static struct corewriter *many(size_t count, uint32_t other, bool zero_tail)
{
	struct corewriter *writer = fresh();

	for (size_t i = 0; i < count; i++)
		add(writer, 0x10000 + i * 4 * PAGE, 4 * PAGE, 2 * PAGE,
		    i % 2 ? other : PF_R, zero_tail);
	error_free(corewriter_plan(writer));
	return writer;
}

static void check_joining(void)
{
	struct corewriter *writer = many(COREWRITER_PLAIN_SEGMENTS, PF_R, true);
	const struct core_segment *segments;

	CHECK_U64("as many as fit are left alone",
		  corewriter_num_segments(writer), COREWRITER_PLAIN_SEGMENTS);
	corewriter_destroy(writer);

	writer = many(COREWRITER_PLAIN_SEGMENTS + 1, PF_R, true);
	segments = corewriter_segments(writer);
	CHECK_U64("too many are joined", corewriter_num_segments(writer), 1);
	CHECK_U64("from the first", segments[0].start, 0x10000);
	CHECK_U64("to the last", segments[0].end, 0x10000 +
		  (COREWRITER_PLAIN_SEGMENTS + 1) * (uint64_t)(4 * PAGE));
	CHECK_U64("its last hole stays one", segments[0].captured,
		  segments[0].end - segments[0].start - 2 * PAGE);
	corewriter_destroy(writer);

	writer = many(COREWRITER_PLAIN_SEGMENTS + 1, PF_R, false);
	CHECK_U64("what is not known to be zero is not written as zeroes",
		  corewriter_num_segments(writer),
		  COREWRITER_PLAIN_SEGMENTS + 1);
	corewriter_destroy(writer);
}

static void check_extended(void)
{
	enum { COUNT = 70000 };
	struct corewriter *writer = many(COUNT, PF_R | PF_W, true);
	size_t header_size;
	const uint8_t *bytes = corewriter_header(writer, &header_size);
	Elf64_Ehdr header;
	Elf64_Shdr section;

	memcpy(&header, bytes, sizeof(header));
	CHECK_U64("e_phnum says: look elsewhere", header.e_phnum, PN_XNUM);
	CHECK_U64("one section header", header.e_shnum, 1);
	CHECK("it lies in the header", header.e_shoff + sizeof(section) <=
	      header_size);
	memcpy(&section, bytes + header.e_shoff, sizeof(section));
	CHECK_U64("it has the count", section.sh_info, COUNT + 1);
	CHECK_U64("its type is null", section.sh_type, SHT_NULL);
	corewriter_destroy(writer);
}

static void check_note(void)
{
	char *data = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&data, &size);
	static const uint32_t expected[] = {
		5, 6, 7, 0x45524f43 /* CORE */, 0, 0x64636261, 0x6665,
	};

	core_note_write(out, "CORE", 7, "abcdef", 6);
	fclose(out);
	CHECK_U64("size of a note with padding", size, sizeof(expected));
	CHECK("bytes of a note", size == sizeof(expected) &&
	      memcmp(data, expected, size) == 0);
	free(data);
}

int main(void)
{
	check_geometry();
	check_early();
	check_refusals();
	check_joining();
	check_extended();
	check_note();
	return check_result();
}
