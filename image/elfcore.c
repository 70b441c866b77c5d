/*
 * The ELF header and program headers of a core file; see elfcore.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/elfcore.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


/* elf.h of glibc 2.36 lacks the number of CUDA's own class of files. */
enum { OSABI_CUDA = 0x33, OSABI_CUDA_NEW = 0x41 };

static const struct {
	uint16_t machine;
	const char *name;
} machines[] = {
	{ EM_X86_64, "x86-64" },
	{ EM_AARCH64, "aarch64" },
	{ EM_386, "i386" },
	{ EM_ARM, "arm" },
	{ EM_PPC, "powerpc" },
	{ EM_PPC64, "powerpc64" },
	{ EM_S390, "s390" },
	{ EM_RISCV, "riscv" },
	{ EM_MIPS, "mips" },
	{ EM_SPARC, "sparc" },
	{ EM_SPARCV9, "sparc64" },
	{ EM_LOONGARCH, "loongarch" },
	{ EM_CUDA, "CUDA" },
	{ EM_BPF, "bpf" },
};

const char *elfcore_machine_name(uint16_t machine)
{
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
		if (machines[i].machine == machine)
			return machines[i].name;
	}
	return NULL;
}

#define COMPRESSED_TWICE \
	"holds compressed data within compressed data; expand it once first"

/** What a file that is no ELF file seems to be. */
static struct error *not_elf(const uint8_t *ident, size_t size)
{
	static const struct {
		const char *magic;
		const char *what;
	} known[] = {
		{ "MDMP", "is a minidump, as lldb and Breakpad write it, not "
			  "an ELF core" },
		{ "#!", "is a script, not an ELF core" },
		{ "SQLite format 3", "is an SQLite database, not an ELF core" },
		{ "!<arch>", "is an archive, not an ELF core" },
		{ "KDUMP", "is a dump of a whole machine, not of a process" },
		{ "\x28\xb5\x2f\xfd", COMPRESSED_TWICE },
		{ "\x1f\x8b", COMPRESSED_TWICE },
		{ "\xfd" "7zXZ", COMPRESSED_TWICE },
		{ "\x04\x22\x4d\x18", COMPRESSED_TWICE },
	};
	size_t zeroes = 0;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t length = strlen(known[i].magic);

		if (size >= length && !memcmp(ident, known[i].magic, length))
			return error_new(ERROR_FORMAT, "%s", known[i].what);
	}
	while (zeroes < size && ident[zeroes] == 0)
		zeroes++;
	if (size && zeroes == size)
		return error_new(ERROR_FORMAT, "is not an ELF file: it begins "
				 "with zero bytes");
	return error_new(ERROR_FORMAT, "is not an ELF file");
}

static struct error *not_core(uint16_t type)
{
	switch (type) {
	case ET_REL:
		return error_new(ERROR_FORMAT,
				 "is an object file, not a core");
	case ET_EXEC:
		return error_new(ERROR_FORMAT,
				 "is an executable, not a core");
	case ET_DYN:
		return error_new(ERROR_FORMAT, "is a shared library or a "
				 "position-independent executable, not a core");
	default:
		return error_new(ERROR_FORMAT, "is an ELF file of type %"
				 PRIu16 ", not a core", type);
	}
}

static struct error *check_machine(const Elf64_Ehdr *header)
{
	const char *name = elfcore_machine_name(header->e_machine);

	if (header->e_machine == EM_X86_64 || header->e_machine == EM_AARCH64)
		return NULL;
	if (header->e_machine == EM_CUDA ||
	    header->e_ident[EI_OSABI] == OSABI_CUDA ||
	    header->e_ident[EI_OSABI] == OSABI_CUDA_NEW)
		return error_new(ERROR_UNSUPPORTED, "is the core of a GPU, "
				 "not of a process");
	if (name)
		return error_new(ERROR_UNSUPPORTED, "is a core of machine %s; "
				 "x86-64 and aarch64 can be read", name);
	return error_new(ERROR_UNSUPPORTED, "is a core of machine number %"
			 PRIu16 "; x86-64 and aarch64 can be read",
			 header->e_machine);
}

/** Read the ELF header and see that this is a core we can read. */
static struct error *read_header(struct backing *backing,
				 struct backing_reader *reader,
				 Elf64_Ehdr *ret)
{
	uint64_t size = backing_size(backing);
	size_t there = size < sizeof(*ret) ? (size_t)size : sizeof(*ret);
	Elf64_Ehdr header = { 0 };

	if (!backing_read(reader, 0, &header, there))
		return error_new(ERROR_FORMAT, "its first %zu bytes cannot be "
				 "read: the compressed data is damaged there, "
				 "and without the headers the rest is of no "
				 "use; copy the file again if there is another",
				 there);
	if (there < SELFMAG || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		return not_elf(header.e_ident, there < EI_NIDENT ? there :
			       EI_NIDENT);
	if (there > EI_CLASS && header.e_ident[EI_CLASS] == ELFCLASS32)
		return error_new(ERROR_UNSUPPORTED, "is a 32-bit ELF file; "
				 "64-bit cores can be read");
	if (there > EI_DATA && header.e_ident[EI_DATA] == ELFDATA2MSB)
		return error_new(ERROR_UNSUPPORTED, "is a big-endian ELF file; "
				 "little-endian cores can be read");
	if (there < sizeof(header))
		return error_new(ERROR_FORMAT, "is cut off after %" PRIu64
				 " bytes, within the ELF header", size);
	if (header.e_ident[EI_CLASS] != ELFCLASS64 ||
	    header.e_ident[EI_DATA] != ELFDATA2LSB)
		return error_new(ERROR_FORMAT, "has a damaged ELF header: "
				 "class %u, byte order %u",
				 header.e_ident[EI_CLASS],
				 header.e_ident[EI_DATA]);
	if (header.e_type != ET_CORE)
		return not_core(header.e_type);
	*ret = header;
	return check_machine(&header);
}

/**
 * How many program headers there are. True if the count is certain, false if
 * it was lost and the caller has to see where the headers end.
 */
static bool count_headers(struct backing_reader *reader,
			  const Elf64_Ehdr *header, struct findings *findings,
			  uint64_t *ret)
{
	Elf64_Shdr section;

	if (header->e_phnum != PN_XNUM) {
		*ret = header->e_phnum;
		return true;
	}
	if (header->e_shoff &&
	    backing_read(reader, header->e_shoff, &section, sizeof(section)) &&
	    section.sh_info >= PN_XNUM) {
		*ret = section.sh_info;
		return true;
	}
	findings_add(findings, "headers", 0, "the number of segments stands in "
		     "a section header at offset 0x%" PRIx64 ", which is not "
		     "there; they are counted", header->e_shoff);
	findings_set_partial(findings);
	*ret = ELFCORE_HEADERS_MAX;
	return false;
}

static struct error *keep(struct elfcore *core, size_t *capacity,
			  const Elf64_Phdr *segment)
{
	if (core->num_segments == *capacity) {
		size_t more = *capacity ? *capacity * 2 : 64;
		Elf64_Phdr *segments;

		segments = reallocarray(core->segments, more,
					sizeof(*segments));
		if (!segments)
			return error_no_memory();
		core->segments = segments;
		*capacity = more;
	}
	core->segments[core->num_segments++] = *segment;
	return NULL;
}

/** Say that headers from number at on are missing. */
static void headers_cut(struct findings *findings, uint64_t at, uint64_t count)
{
	findings_add(findings, "headers", 0, "the file ends within its program "
		     "headers: %" PRIu64 " of %" PRIu64 " are missing",
		     count - at, count);
	findings_set_partial(findings);
}

/** Read count program headers from offset on and keep those that matter. */
static struct error *read_segments(struct backing_reader *reader,
				   uint64_t offset, uint64_t count,
				   bool certain, struct findings *findings,
				   struct elfcore *core)
{
	uint64_t first_content = UINT64_MAX;
	size_t capacity = 0;
	struct error *err;
	Elf64_Phdr segment;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t at;

		if (__builtin_add_overflow(offset, i * sizeof(segment), &at))
			at = UINT64_MAX;
		if (!certain && at > first_content - sizeof(segment)) {
			core->num_headers = i;
			return NULL;
		}
		if (!backing_read(reader, at, &segment, sizeof(segment))) {
			if (i == 0)
				return error_new(ERROR_FORMAT, "is cut off "
						 "before its program headers "
						 "at offset 0x%" PRIx64,
						 offset);
			headers_cut(findings, i, certain ? count : i + 1);
			return NULL;
		}
		if (segment.p_filesz && segment.p_offset < first_content &&
		    segment.p_offset >= sizeof(Elf64_Ehdr))
			first_content = segment.p_offset;
		if (segment.p_type != PT_LOAD && segment.p_type != PT_NOTE)
			continue;
		if (segment.p_filesz == 0 && segment.p_memsz == 0)
			continue;
		err = keep(core, &capacity, &segment);
		if (err)
			return err;
	}
	return NULL;
}

struct error *elfcore_read(struct backing *backing,
			   struct backing_reader *reader,
			   struct findings *findings, struct elfcore *ret)
{
	struct elfcore core = { 0 };
	Elf64_Ehdr header = { 0 };
	struct error *err;
	uint64_t count;
	bool certain;

	err = read_header(backing, reader, &header);
	if (err)
		return err;
	core.machine = header.e_machine;
	if (header.e_phnum == 0)
		return error_new(ERROR_FORMAT, "is an ELF core without any "
				 "program header");
	if (header.e_phentsize != sizeof(Elf64_Phdr))
		return error_new(ERROR_FORMAT, "has program headers of %" PRIu16
				 " bytes, not %zu", header.e_phentsize,
				 sizeof(Elf64_Phdr));
	certain = count_headers(reader, &header, findings, &count);
	core.num_headers = count;
	if (count > ELFCORE_HEADERS_MAX) {
		findings_add(findings, "headers", 0, "the core claims %" PRIu64
			     " program headers; the first %d are read", count,
			     ELFCORE_HEADERS_MAX);
		findings_set_partial(findings);
		count = ELFCORE_HEADERS_MAX;
	}
	err = read_segments(reader, header.e_phoff, count, certain, findings,
			    &core);
	if (err) {
		elfcore_deinit(&core);
		return err;
	}
	*ret = core;
	return NULL;
}

void elfcore_deinit(struct elfcore *core)
{
	free(core->segments);
	*core = (struct elfcore){ 0 };
}
