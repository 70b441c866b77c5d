/*
 * The dynamic loader's own list of what it has loaded; see linkmap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/linkmap.h"

#include <elf.h>
#include <string.h>

#include "image/base/bytes.h"
#include "image/modules.h"
#include "image/notes.h"

enum {
	DYNAMIC_MAX = 512,	/* entries of one PT_DYNAMIC */
	DYNAMIC_MIN = 8,	/* fewer are no evidence; usual are 20 to 30 */
	LOADER_MAX = 16 << 20,	/* bytes of addresses of a loader */
	RANGES_MAX = 64,	/* that a loader consists of */
	STATE_MAX = 2,		/* r_state: RT_DELETE */
	VERSION_MAX = 2,	/* r_version: 2 is glibc's struct r_debug_extended */
};

/** struct r_debug. */
struct debug {
	uint32_t version, padding;
	uint64_t map;
	uint64_t brk;		/* a function of the loader */
	uint32_t state, more_padding;
	uint64_t base;
};

/** struct link_map, the part that is not private to the loader. */
struct link {
	uint64_t bias, name, dynamic, next, previous;
};

uint64_t linkmap_by_dynamic(struct memory_reader *reader, uint64_t dynamic)
{
	for (uint64_t i = 0; i < DYNAMIC_MAX; i++) {
		struct debug debug;
		Elf64_Dyn entry;

		if (!memory_try_read(reader, dynamic + i * sizeof(entry),
				     &entry, sizeof(entry)) ||
		    entry.d_tag == DT_NULL)
			break;
		if (entry.d_tag == DT_DEBUG)
			return memory_try_read(reader, entry.d_un.d_ptr,
					       &debug, sizeof(debug)) ?
			       debug.map : 0;
	}
	return 0;
}

static bool is_debug(struct memory_reader *reader, uint64_t address,
		     uint64_t base)
{
	struct linkmap_entry first;
	struct debug debug;

	// The loader also keeps its base elsewhere, so all of it must hold.
	return memory_try_read(reader, address, &debug, sizeof(debug)) &&
	       debug.base == base && debug.version >= 1 &&
	       debug.version <= VERSION_MAX && debug.state <= STATE_MAX &&
	       debug.brk - base < LOADER_MAX &&
	       linkmap_read(reader, debug.map, 0, &first);
}

uint64_t linkmap_by_loader(struct memory_reader *reader, uint64_t base)
{
	const struct memory_range *range;
	uint64_t at = base;

	if (base > UINT64_MAX - LOADER_MAX)
		return 0;
	for (unsigned int i = 0; i < RANGES_MAX; i++, at = range->end) {
		range = memory_find_above(reader->memory, at);
		if (!range || range->start - base >= LOADER_MAX)
			break;
		at = range->start > at ? range->start : at;
		if (range->state != MEMORY_CAPTURED ||
		    !(range->protection & PF_W))
			continue;
		for (at = (at + 7) & ~UINT64_C(7);
		     at < range->end && at - base < LOADER_MAX; at += 8) {
			uint64_t word, map;

			if (memory_try_u64(reader, at + offsetof(struct debug,
								 base),
					   &word) &&
			    word == base && is_debug(reader, at, base) &&
			    memory_try_u64(reader, at + offsetof(struct debug,
								 map), &map))
				return map;
		}
	}
	return 0;
}

uint64_t linkmap_find(struct memory_reader *reader,
		      const struct core_notes *notes,
		      const struct module *program, uint64_t page)
{
	const Elf64_Phdr *dynamic;
	struct elf_image image;
	uint64_t base, list = 0;

	if (program && elf_image_in_memory(reader, program->start, &image) ==
			       ELF_IMAGE_FOUND) {
		dynamic = elf_image_header(&image, PT_DYNAMIC);
		if (dynamic)
			list = linkmap_by_dynamic(reader, program->bias +
							  dynamic->p_vaddr);
	}
	if (list)
		return list;
	// A loader that was called as a program has no other one.
	if (!core_notes_auxv(notes, AT_BASE, &base) || base == 0) {
		if (!core_notes_auxv(notes, AT_PHDR, &base))
			return 0;
		base &= ~(page - 1);
	}
	return linkmap_by_loader(reader, base);
}

bool linkmap_read(struct memory_reader *reader, uint64_t address,
		  uint64_t previous, struct linkmap_entry *ret)
{
	struct link link;

	if (!memory_try_read(reader, address, &link, sizeof(link)) ||
	    link.previous != previous)
		return false;
	*ret = (struct linkmap_entry){
		.bias = link.bias, .name = link.name, .dynamic = link.dynamic,
		.next = link.next,
	};
	return true;
}

/** One entry in memory against the file's, whose addresses are not moved. */
static bool same_entry(const Elf64_Dyn *loaded, const Elf64_Dyn *filed,
		       uint64_t bias)
{
	// What the loader fills in. Others are moved in place by some loaders
	// and left alone by others.
	return loaded->d_tag == filed->d_tag &&
	       (loaded->d_tag == DT_DEBUG ||
		loaded->d_un.d_val == filed->d_un.d_val ||
		loaded->d_un.d_val == filed->d_un.d_val + bias);
}

bool linkmap_same_dynamic(struct memory_reader *reader, uint64_t dynamic,
			  uint64_t bias, const struct elf_image *image,
			  const uint8_t *file, size_t size)
{
	const Elf64_Phdr *header = elf_image_header(image, PT_DYNAMIC);
	struct bytes bytes = bytes_over(file, size);
	Elf64_Dyn loaded, filed;

	if (!header || bias + header->p_vaddr != dynamic ||
	    header->p_offset > size)
		return false;
	bytes.at = (size_t)header->p_offset;
	for (uint64_t i = 0; i < DYNAMIC_MAX; i++) {
		if (!bytes_copy(&bytes, &filed, sizeof(filed)) ||
		    !memory_try_read(reader, dynamic + i * sizeof(loaded),
				     &loaded, sizeof(loaded)) ||
		    !same_entry(&loaded, &filed, bias))
			return false;
		if (filed.d_tag == DT_NULL)
			return i >= DYNAMIC_MIN;
	}
	return false;
}
