/*
 * Small cores built in memory; see corebuilder.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/lib/corebuilder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 8 };

static void *grown(void *old, size_t size)
{
	void *more = realloc(old, size ? size : 1);

	if (!more) {
		fprintf(stderr, "corebuilder: out of memory\n");
		exit(1);
	}
	return more;
}

void corebuilder_note(struct corebuilder *core, const char *owner,
		      uint32_t type, const void *content, size_t size)
{
	size_t owner_size = strlen(owner) + 1;
	size_t owner_room = (owner_size + 3) & ~(size_t)3;
	size_t room = (size + 3) & ~(size_t)3;
	uint32_t header[3] = { (uint32_t)owner_size, (uint32_t)size, type };
	uint8_t *at;

	core->notes = grown(core->notes, core->notes_size + sizeof(header) +
			    owner_room + room);
	at = core->notes + core->notes_size;
	memset(at, 0, sizeof(header) + owner_room + room);
	memcpy(at, header, sizeof(header));
	memcpy(at + sizeof(header), owner, owner_size);
	if (size)
		memcpy(at + sizeof(header) + owner_room, content, size);
	core->notes_size += sizeof(header) + owner_room + room;
}

void corebuilder_thread(struct corebuilder *core, uint32_t tid, int16_t signal,
			uint64_t value)
{
	bool arm = core->machine == EM_AARCH64;
	size_t registers = arm ? 34 : 27;
	uint8_t status[392] = { 0 };

	memcpy(status + 12, &signal, sizeof(signal));
	memcpy(status + 32, &tid, sizeof(tid));
	for (size_t i = 0; i < registers; i++)
		memcpy(status + 112 + 8 * i, &value, sizeof(value));
	corebuilder_note(core, "CORE", NT_PRSTATUS, status, arm ? 392 : 336);
}

static struct corebuilder_segment *next_segment(struct corebuilder *core)
{
	size_t count = core->num_segments++;

	// A power of two at a time, so that a million is quick.
	if ((count & (count - 1)) == 0)
		core->segments = grown(core->segments,
				       (count ? 2 * count : 1) *
				       sizeof(*core->segments));
	return &core->segments[count];
}

void corebuilder_segment(struct corebuilder *core, uint64_t address,
			 const void *data, size_t size, uint64_t memory_size,
			 uint32_t flags)
{
	corebuilder_claim(core, address, data, size, 0, size, memory_size);
	core->segments[core->num_segments - 1].header.p_flags = flags;
}

void corebuilder_claim(struct corebuilder *core, uint64_t address,
		       const void *data, size_t size, uint64_t offset,
		       uint64_t file_size, uint64_t memory_size)
{
	*next_segment(core) = (struct corebuilder_segment){
		.header = {
			.p_type = PT_LOAD, .p_flags = PF_R | PF_W,
			.p_offset = offset, .p_vaddr = address,
			.p_filesz = file_size, .p_memsz = memory_size,
			.p_align = 4096,
		},
		.data = data, .size = data ? size : 0,
	};
}

uint8_t *corebuilder_bytes(const struct corebuilder *core, size_t *ret_size)
{
	size_t count = core->num_segments + (core->notes_size != 0);
	bool many = core->many || count >= PN_XNUM;
	size_t headers = sizeof(Elf64_Ehdr) + count * sizeof(Elf64_Phdr);
	size_t size = headers + core->notes_size, at;
	Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_CORE, .e_machine = core->machine,
		.e_version = EV_CURRENT, .e_phoff = sizeof(header),
		.e_ehsize = sizeof(header), .e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = many ? PN_XNUM : (uint16_t)count,
	};
	Elf64_Shdr section = { .sh_info = (uint32_t)count };
	Elf64_Phdr *segments;
	uint8_t *bytes;

	for (size_t i = 0; i < core->num_segments; i++)
		size = ((size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1)) +
		       core->segments[i].size;
	if (many) {
		// The kernel puts it at the very end.
		header.e_shoff = (size + 7) & ~(size_t)7;
		header.e_shnum = 1;
		header.e_shentsize = sizeof(section);
		size = (size_t)header.e_shoff + sizeof(section);
	}
	bytes = grown(NULL, size);
	memset(bytes, 0, size);
	memcpy(bytes, &header, sizeof(header));
	if (many)
		memcpy(bytes + header.e_shoff, &section, sizeof(section));
	segments = grown(NULL, count * sizeof(*segments));
	at = headers;
	if (core->notes_size) {
		segments[0] = (Elf64_Phdr){
			.p_type = PT_NOTE, .p_offset = at,
			.p_filesz = core->notes_size, .p_align = 4,
		};
		memcpy(bytes + at, core->notes, core->notes_size);
		at += core->notes_size;
	}
	for (size_t i = 0; i < core->num_segments; i++) {
		Elf64_Phdr *segment = &segments[count - core->num_segments + i];

		at = (at + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
		*segment = core->segments[i].header;
		if (!segment->p_offset)
			segment->p_offset = at;
		if (core->segments[i].size)
			memcpy(bytes + at, core->segments[i].data,
			       core->segments[i].size);
		at += core->segments[i].size;
	}
	memcpy(bytes + sizeof(header), segments, count * sizeof(*segments));
	free(segments);
	*ret_size = size;
	return bytes;
}

int corebuilder_file(const uint8_t *bytes, size_t size)
{
	int fd = memfd_create("core", MFD_CLOEXEC);
	size_t done = 0;

	while (fd >= 0 && done < size) {
		ssize_t written = write(fd, bytes + done, size - done);

		if (written <= 0)
			break;
		done += (size_t)written;
	}
	if (fd < 0 || done < size) {
		perror("corebuilder: writing an anonymous file");
		exit(1);
	}
	return fd;
}

int corebuilder_fd(const struct corebuilder *core)
{
	size_t size;
	uint8_t *bytes = corebuilder_bytes(core, &size);
	int fd = corebuilder_file(bytes, size);

	free(bytes);
	return fd;
}

void corebuilder_deinit(struct corebuilder *core)
{
	free(core->notes);
	free(core->segments);
	*core = (struct corebuilder){ 0 };
}
