/*
 * An image: one frozen process, opened for reading; see image.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/image.h"

#include <elf.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/elfcore.h"
#include "image/format.h"

enum {
	NOTES_SIZE_MAX = 256 << 20,	/* bytes of all PT_NOTEs together */
	NOTE_SEGMENTS_MAX = 4096,
	PAGE_DEFAULT = 4096,
	PAGE_LARGEST = 1 << 16,
};

/* --- notes ---------------------------------------------------------------- */

/** How many of a segment's bytes the file holds. */
static uint64_t bytes_there(const struct backing *backing,
			    const Elf64_Phdr *segment)
{
	uint64_t size = backing_size(backing);

	if (segment->p_offset >= size)
		return 0;
	size -= segment->p_offset;
	return segment->p_filesz < size ? segment->p_filesz : size;
}

/** Sum of the sizes of the PT_NOTEs as far as they can be had. */
static size_t measure_notes(struct image *image, const struct elfcore *core)
{
	uint64_t limit = backing_size(image->backing);
	size_t total = 0, segments = 0;

	// Notes that overlap could be many times the file.
	if (limit > NOTES_SIZE_MAX)
		limit = NOTES_SIZE_MAX;
	for (size_t i = 0; i < core->num_segments; i++) {
		const Elf64_Phdr *segment = &core->segments[i];
		uint64_t size;

		if (segment->p_type != PT_NOTE)
			continue;
		size = bytes_there(image->backing, segment);
		if (size < segment->p_filesz) {
			findings_add(image->findings, "truncated", 0, "%" PRIu64
				     " of %" PRIu64 " bytes of notes at offset "
				     "0x%" PRIx64 " are missing from the file",
				     segment->p_filesz - size,
				     segment->p_filesz, segment->p_offset);
			findings_set_partial(image->findings);
		}
		if (size > limit - total || ++segments > NOTE_SEGMENTS_MAX) {
			findings_add(image->findings, "note", 0, "notes of "
				     "more than %" PRIu64 " bytes or in more "
				     "than %d pieces; those from offset 0x%"
				     PRIx64 " on are left out", limit,
				     NOTE_SEGMENTS_MAX, segment->p_offset);
			findings_set_partial(image->findings);
			break;
		}
		total += (size_t)size;
	}
	return total;
}

/** Read size bytes of notes, going on with zeroes where a frame is lost. */
static void read_lossy(struct image *image, struct backing_reader *reader,
		       uint64_t offset, uint8_t *buffer, size_t size)
{
	size_t done = 0, there;

	while (done < size) {
		const void *view = backing_view(reader, offset + done,
						size - done, &there);

		if (!view) {
			findings_add(image->findings, "note", 0, "the notes at "
				     "offset 0x%" PRIx64 " cannot be read",
				     offset + done);
			findings_set_partial(image->findings);
			return;
		}
		memcpy(buffer + done, view, there);
		done += there;
	}
}

static struct error *read_notes(struct image *image,
				const struct elfcore *core,
				struct backing_reader *reader)
{
	size_t total = measure_notes(image, core), at = 0, final_size;
	struct core_notes *notes = &image->notes;
	const void *final;
	struct error *err;

	notes->storage = calloc(1, total + 1);
	if (!notes->storage)
		return error_no_memory();
	for (size_t i = 0; i < core->num_segments && at < total; i++) {
		const Elf64_Phdr *segment = &core->segments[i];
		uint64_t size = bytes_there(image->backing, segment);

		if (segment->p_type != PT_NOTE || size > total - at)
			continue;
		read_lossy(image, reader, segment->p_offset,
			   notes->storage + at, (size_t)size);
		err = core_notes_add(notes, bytes_over(notes->storage + at,
						       (size_t)size),
				     core->machine, image->findings);
		if (err)
			return err;
		at += (size_t)size;
	}
	final = backing_final_notes(image->backing, &final_size);
	if (final) {
		err = core_notes_add(notes, bytes_over(final, final_size),
				     core->machine, image->findings);
		if (err)
			return err;
	}
	return core_notes_finish(notes, image->findings);
}

/* --- the address space ---------------------------------------------------- */

/** Saturating: a sum of claims may be anything. */
static void add_to(uint64_t *sum, uint64_t more)
{
	if (__builtin_add_overflow(*sum, more, sum))
		*sum = UINT64_MAX;
}

/** The mapping of a file that holds address, or NULL. */
static const struct file_mapping *file_at(const struct core_notes *notes,
					  uint64_t address)
{
	size_t low = 0, high = notes->num_files;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (notes->files[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || address >= notes->files[low - 1].end)
		return NULL;
	return &notes->files[low - 1];
}

/** Add [start, end) as not captured, unless it is empty. */
static struct error *add_absent(struct memory *memory, uint64_t start,
				uint64_t end, uint32_t protection,
				uint32_t reason)
{
	struct memory_range range = {
		.start = start, .end = end, .state = MEMORY_NOT_CAPTURED,
		.protection = protection, .reason = reason,
	};

	return start < end ? memory_add(memory, &range) : NULL;
}

/** Say what a segment promised and the file has not got. */
static void note_truncation(struct image *image, const Elf64_Phdr *segment,
			    uint64_t there, uint64_t claimed)
{
	add_to(&image->missing_bytes, claimed - there);
	findings_add(image->findings, "truncated", segment->p_vaddr + there,
		     "the file ends at %" PRIu64 " bytes; the memory from 0x%"
		     PRIx64 " to 0x%" PRIx64 " is missing",
		     backing_size(image->backing), segment->p_vaddr + there,
		     segment->p_vaddr + claimed);
	findings_set_partial(image->findings);
}

/** Bring a PT_LOAD's sizes to what can be; *segment is a copy. */
static void clamp_segment(struct image *image, Elf64_Phdr *segment)
{
	uint64_t address = segment->p_vaddr;
	uint64_t room = address < ELFCORE_ADDRESSES_END ?
			ELFCORE_ADDRESSES_END - address : 0;

	if (segment->p_memsz < segment->p_filesz) {
		// Seen with p_memsz 0 from old writers; the bytes are there.
		if (segment->p_memsz)
			findings_add(image->findings, "segment", address,
				     "a segment claims %" PRIu64 " bytes of "
				     "file for %" PRIu64 " of memory",
				     segment->p_filesz, segment->p_memsz);
		else
			segment->p_memsz = segment->p_filesz;
		segment->p_filesz = segment->p_memsz;
	}
	if (segment->p_memsz > room) {
		findings_add(image->findings, "segment", address, "a segment "
			     "of %" PRIu64 " bytes reaches past the end of the "
			     "address space", segment->p_memsz);
		findings_set_partial(image->findings);
		segment->p_memsz = room;
		if (segment->p_filesz > segment->p_memsz)
			segment->p_filesz = segment->p_memsz;
	}
}

static struct error *add_segment(struct image *image, struct memory *memory,
				 const Elf64_Phdr *claimed)
{
	const struct file_mapping *file;
	Elf64_Phdr segment = *claimed;
	struct memory_range range;
	uint64_t start, cut, there;
	struct error *err;

	clamp_segment(image, &segment);
	there = bytes_there(image->backing, &segment);
	if (there < segment.p_filesz)
		note_truncation(image, &segment, there, segment.p_filesz);
	add_to(&image->segment_bytes, segment.p_filesz);
	image->num_segments++;
	start = segment.p_vaddr;
	cut = start + there;
	range = (struct memory_range){
		.start = start, .end = cut, .state = MEMORY_CAPTURED,
		.source = MEMORY_FROM_CORE, .protection = segment.p_flags,
		.offset = segment.p_offset,
	};
	if (there) {
		err = memory_add(memory, &range);
		if (err)
			return err;
	}
	err = add_absent(memory, cut, start + segment.p_filesz,
			 segment.p_flags, MEMORY_REASON_CUT);
	if (err)
		return err;
	cut = start + segment.p_filesz;
	file = file_at(&image->notes, cut);
	return add_absent(memory, cut, start + segment.p_memsz,
			  segment.p_flags, file ? FORMAT_FILE : 0);
}

/**
 * Add the ranges that the writer left out, with the protection of the
 * mappings they lie in. Both lists are sorted by start.
 */
static struct error *add_skipped(const struct core_notes *notes,
				 struct memory *memory)
{
	uint64_t done = 0;
	struct error *err;
	size_t at = 0;

	for (size_t i = 0; i < notes->num_skipped; i++) {
		const struct format_skipped *skipped = &notes->skipped[i];
		uint64_t start = skipped->start > done ? skipped->start : done;

		// One of FORMAT_FAILED must not be hidden by an earlier one.
		if (skipped->reason == FORMAT_FAILED)
			start = skipped->start;
		while (start < skipped->end) {
			const struct format_mapping *mapping = NULL;
			struct memory_range range = {
				.start = start, .end = skipped->end,
				.state = skipped->reason == FORMAT_ZERO ?
					 MEMORY_ZERO : MEMORY_NOT_CAPTURED,
				.reason = skipped->reason,
			};

			while (at < notes->num_mappings &&
			       notes->mappings[at].end <= start)
				at++;
			if (at < notes->num_mappings)
				mapping = &notes->mappings[at];
			if (mapping && mapping->start <= start)
				range.protection = mapping->protection;
			if (mapping && mapping->start > start &&
			    mapping->start < range.end)
				range.end = mapping->start;
			else if (mapping && mapping->start <= start &&
				 mapping->end < range.end)
				range.end = mapping->end;
			err = memory_add(memory, &range);
			if (err)
				return err;
			start = range.end;
		}
		done = skipped->end > done ? skipped->end : done;
	}
	return NULL;
}

/** What was mapped, so that "not captured" differs from "unmapped". */
static struct error *add_mappings(const struct core_notes *notes,
				  struct memory *memory)
{
	struct error *err;

	for (size_t i = 0; i < notes->num_mappings; i++) {
		const struct format_mapping *mapping = &notes->mappings[i];

		err = add_absent(memory, mapping->start, mapping->end,
				 mapping->protection, mapping->reason);
		if (err)
			return err;
	}
	for (size_t i = 0; i < notes->num_files; i++) {
		const struct file_mapping *file = &notes->files[i];

		err = add_absent(memory, file->start, file->end, 0,
				 FORMAT_FILE);
		if (err)
			return err;
	}
	return NULL;
}

/** Build the address space of what the core itself says. */
static struct error *build_memory(struct image *image,
				  const struct elfcore *core,
				  struct memory **ret)
{
	struct memory *memory;
	struct error *err;

	err = memory_create(image->backing, &memory);
	if (err)
		return err;
	err = add_skipped(&image->notes, memory);
	for (size_t i = 0; i < core->num_segments && !err; i++) {
		if (core->segments[i].p_type == PT_LOAD)
			err = add_segment(image, memory, &core->segments[i]);
	}
	if (!err)
		err = add_mappings(&image->notes, memory);
	if (!err)
		err = memory_seal(memory);
	if (err) {
		memory_destroy(memory);
		return err;
	}
	*ret = memory;
	return NULL;
}

/** The final address space: the core's ranges and the modules' file pages. */
static struct error *add_files(struct image *image, const struct memory *core)
{
	struct memory *memory;
	struct error *err;

	err = memory_create(image->backing, &memory);
	if (err)
		return err;
	for (size_t i = 0; i < memory_num_ranges(core) && !err; i++)
		err = memory_add(memory, memory_range(core, i));
	if (!err)
		err = modules_add_file_pages(image->modules, memory);
	if (!err)
		err = memory_seal(memory);
	if (err) {
		memory_destroy(memory);
		return err;
	}
	image->memory = memory;
	return NULL;
}

/** Count the bytes of captured ranges that the container has lost. */
static void count_lost(struct image *image, const struct memory *memory)
{
	if (!backing_lost(image->backing, 0, backing_size(image->backing)))
		return;
	for (size_t i = 0; i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);
		uint64_t step = UINT64_C(1) << FORMAT_FRAME_LOG2;

		if (range->source != MEMORY_FROM_CORE ||
		    !backing_lost(image->backing, range->offset,
				  range->end - range->start))
			continue;
		for (uint64_t at = range->start; at < range->end;) {
			uint64_t part = range->end - at < step ?
					range->end - at : step;

			if (backing_lost(image->backing, range->offset +
					 (at - range->start), part)) {
				add_to(&image->missing_bytes, part);
				findings_add(image->findings, "lost", at, "the "
					     "memory from 0x%" PRIx64 " to 0x%"
					     PRIx64 " is in a damaged part of "
					     "the file", at, at + part);
			}
			at += part;
		}
	}
	findings_set_partial(image->findings);
}

/* --- facts about the whole ------------------------------------------------ */

static bool is_page_size(uint64_t size)
{
	return size >= PAGE_DEFAULT && size <= PAGE_LARGEST &&
	       (size & (size - 1)) == 0;
}

static uint32_t find_page_size(const struct image *image,
			       const struct elfcore *core)
{
	uint64_t size;

	if (core_notes_auxv(&image->notes, AT_PAGESZ, &size) &&
	    is_page_size(size))
		return (uint32_t)size;
	for (size_t i = 0; i < core->num_segments; i++) {
		if (core->segments[i].p_type == PT_LOAD &&
		    is_page_size(core->segments[i].p_align))
			return (uint32_t)core->segments[i].p_align;
	}
	return PAGE_DEFAULT;
}

/**
 * The kernel writes the status of the thread that died, then the process; gdb
 * the process, then the threads, and offsets of NT_FILE in bytes.
 */
static void find_writer(struct image *image)
{
	const struct core_notes *notes = &image->notes;
	const char *creator = core_notes_fact(notes, FORMAT_FACT_CREATOR);
	const char *writer = "unknown";

	if (notes->has_header)
		writer = creator ? creator : "heapdump";
	else if (notes->num_order >= 2 && notes->order[0] == NT_PRSTATUS &&
		 notes->order[1] == NT_PRPSINFO)
		// qemu follows the kernel, but tells of no files and no signal.
		writer = notes->num_order >= 3 && !notes->has_siginfo &&
			 notes->order[2] == NT_AUXV ? "qemu" : "kernel";
	else if (notes->num_order >= 2 && notes->order[0] == NT_PRPSINFO &&
		 notes->order[1] == NT_PRSTATUS &&
		 (notes->num_files == 0 || notes->file_unit == 1))
		writer = "gcore";
	(void)snprintf(image->writer, sizeof(image->writer), "%s", writer);
}

/** What our own notes say about what is missing. */
static void check_completeness(struct image *image)
{
	const struct core_notes *notes = &image->notes;
	const char *complete = core_notes_fact(notes, FORMAT_FACT_COMPLETE);

	for (size_t i = 0; i < notes->num_skipped; i++) {
		const struct format_skipped *skipped = &notes->skipped[i];

		if (skipped->reason != FORMAT_FAILED)
			continue;
		findings_add(image->findings, "missing", skipped->start,
			     "the memory from 0x%" PRIx64 " to 0x%" PRIx64
			     " could not be read when the dump was made%s%s",
			     skipped->start, skipped->end,
			     skipped->os_errno ? ": " : "",
			     skipped->os_errno ?
			     strerror((int)skipped->os_errno) : "");
		findings_set_partial(image->findings);
	}
	if (!notes->has_header)
		return;
	if (!notes->has_final) {
		findings_add(image->findings, "incomplete", 0, "the last "
			     "notes, which say that a dump is whole, are not "
			     "there: %sit was not finished, or its end was cut "
			     "off",
			     image->backing && backing_kind(image->backing) ==
						       BACKING_PLAIN ?
			     "zstd -d leaves them out (the .zst itself can be "
			     "read), or " : "");
		findings_set_partial(image->findings);
	} else if (complete && strcmp(complete, "yes") != 0) {
		findings_add(image->findings, "incomplete", 0, "heapdump says "
			     "that this dump is not complete");
		findings_set_partial(image->findings);
	}
}

/* --- opening -------------------------------------------------------------- */

static struct error *find_modules(struct image *image,
				  const struct image_options *options,
				  const struct memory *memory)
{
	struct modules_options modules = {
		.sysroot = options->sysroot, .machine = image->machine,
		.debuginfod = options->debuginfod,
	};

	return modules_create(&image->notes, memory, &modules,
			      image->findings, &image->modules);
}

static struct error *read_core(struct image *image,
			       const struct image_options *options,
			       struct backing_reader *reader,
			       const struct elfcore *core)
{
	struct memory *memory;
	struct error *err;

	image->machine = core->machine;
	err = read_notes(image, core, reader);
	if (err)
		return err;
	image->page_size = find_page_size(image, core);
	find_writer(image);
	err = build_memory(image, core, &memory);
	if (err)
		return err;
	count_lost(image, memory);
	check_completeness(image);
	err = find_modules(image, options, memory);
	if (!err)
		err = add_files(image, memory);
	memory_destroy(memory);
	return err;
}

static struct error *read_image(struct image *image,
				const struct image_options *options)
{
	struct backing_reader *reader;
	struct elfcore core = { 0 };
	struct error *err;

	err = backing_reader_create(image->backing, &reader);
	if (err)
		return err;
	err = elfcore_read(image->backing, reader, image->findings, &core);
	if (!err)
		err = read_core(image, options, reader, &core);
	elfcore_deinit(&core);
	backing_reader_destroy(reader);
	return err;
}

/** Open path, or fd where path is NULL. */
static struct error *open_image(const char *path, int fd, const char *name,
				const struct image_options *options,
				struct image **ret)
{
	struct image *image = calloc(1, sizeof(*image));
	struct backing_options backing = {
		.tmp_dir = options->tmp_dir,
		.cache_bytes = options->cache_bytes,
		.progress = options->progress,
		.progress_context = options->progress_context,
	};
	struct error *err;

	if (!image)
		return error_no_memory();
	image->path = strdup(name);
	err = image->path ? findings_create(&image->findings) :
	      error_no_memory();
	backing.findings = image->findings;
	if (!err && path)
		err = backing_open(path, &backing, &image->backing);
	else if (!err)
		err = backing_open_fd(fd, name, &backing, &image->backing);
	if (!err)
		err = error_context(read_image(image, options), "%s", name);
	if (err) {
		image_close(image);
		return err;
	}
	*ret = image;
	return NULL;
}

struct error *image_open(const char *path, const struct image_options *options,
			 struct image **ret)
{
	return open_image(path, -1, path, options, ret);
}

struct error *image_open_fd(int fd, const char *name,
			    const struct image_options *options,
			    struct image **ret)
{
	return open_image(NULL, fd, name, options, ret);
}

void image_close(struct image *image)
{
	if (!image)
		return;
	modules_destroy(image->modules);
	memory_destroy(image->memory);
	core_notes_deinit(&image->notes);
	if (image->backing)
		backing_close(image->backing);
	findings_destroy(image->findings);
	free(image->path);
	free(image);
}

const char *image_writer(const struct image *image)
{
	return image->writer;
}

int image_ended_by(const struct image *image, int signal)
{
	switch (signal) {
	case SIGSTOP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGCONT:
	case SIGCHLD:
	case SIGURG:
	case SIGWINCH:
		return 0;
	case SIGTRAP:	// of a breakpoint, as a rule
		return strcmp(image->writer, "gcore") == 0 ? 0 : signal;
	default:
		return signal > 0 ? signal : 0;
	}
}

bool image_captured_at(const struct image *image, int64_t *ret)
{
	uint64_t nanoseconds;

	if (!core_notes_number(&image->notes, FORMAT_FACT_CAPTURED_AT,
			       &nanoseconds))
		return false;
	*ret = (int64_t)(nanoseconds / UINT64_C(1000000000));
	return true;
}

struct error *image_check_private(const struct image *image)
{
	// Where a core ends too early it is not known what was left out.
	if (image->missing_bytes)
		return NULL;
	for (size_t i = 0; i < memory_num_ranges(image->memory); i++) {
		const struct memory_range *range =
			memory_range(image->memory, i);

		if (range->source == MEMORY_FROM_CORE &&
		    range->protection & PF_W &&
		    !file_at(&image->notes, range->start))
			return NULL;
	}
	return error_new(ERROR_UNSUPPORTED, "the core has no heap, no stack and "
			 "no other memory of the process's own: bit 0 of its "
			 "/proc/PID/coredump_filter was not set (man 5 core), "
			 "or who wrote the core left it out");
}

bool image_partial(const struct image *image)
{
	// Nobody notices a file that shrinks but the handler of SIGBUS.
	bool shrank = image->backing && backing_shrank(image->backing);

	return shrank || findings_partial(image->findings);
}
