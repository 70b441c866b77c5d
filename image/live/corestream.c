/*
 * A core that somebody else writes, read as it comes; see corestream.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/corestream.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/bytes.h"
#include "image/base/guard.h"
#include "image/elfcore.h"
#include "image/notes.h"

enum {
	PIPE_SIZE = 1 << 20,	/* 16 times the usual one: fewer wake-ups */
	SKIP_SIZE = 64 << 10,
	POLL_MS = 200,		/* how soon a cancelled read ends */
	NOTE_ALIGN = 4,
};

/* More than the addresses of a process, on any machine there is. */
static const uint64_t ADDRESSES_MAX = UINT64_C(1) << 57;

/* --- bytes ------------------------------------------------------------------ */

/** What is there now, at most size bytes; 0: the end, or cancelled. */
static size_t read_pipe(struct corestream *stream, uint8_t *buffer, size_t size)
{
	while (!atomic_load(&stream->cancelled)) {
		struct pollfd event = { .fd = stream->fd, .events = POLLIN };
		ssize_t got;

		if (poll(&event, 1, POLL_MS) == 0)
			continue;
		got = read(stream->fd, buffer, size);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			return 0;
		stream->at += (uint64_t)got;
		return (size_t)got;
	}
	return 0;
}

static bool skip_to(struct corestream *stream, uint64_t offset)
{
	uint8_t unused[SKIP_SIZE];

	while (stream->at < offset) {
		uint64_t left = offset - stream->at;

		if (read_pipe(stream, unused, left < sizeof(unused) ?
				      (size_t)left : sizeof(unused)) == 0)
			return false;
	}
	return stream->at == offset;
}

static size_t read_file(struct corestream *stream, uint64_t offset,
			uint8_t *buffer, size_t size)
{
	size_t have = 0;

	while (have < size && !atomic_load(&stream->cancelled)) {
		ssize_t got = pread(stream->fd, buffer + have, size - have,
				    (off_t)(stream->start + offset + have));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		have += (size_t)got;
	}
	return have;
}

size_t corestream_read(struct corestream *stream, uint64_t offset,
		       uint8_t *buffer, size_t size)
{
	size_t have = 0, got = 1;

	// No file is that long; and off_t is signed.
	if (offset > INT64_MAX / 2)
		return 0;
	if (stream->any_order)
		return read_file(stream, offset, buffer, size);
	if (!skip_to(stream, offset))
		return 0;
	while (have < size && got > 0) {
		got = read_pipe(stream, buffer + have, size - have);
		have += got;
	}
	return have;
}

void corestream_cancel(struct corestream *stream)
{
	atomic_store(&stream->cancelled, true);
}

/* --- headers ---------------------------------------------------------------- */

static struct error *check_header(const Elf64_Ehdr *header)
{
	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
		return error_new(ERROR_FORMAT, "is not an ELF file");
	if (header->e_ident[EI_CLASS] != ELFCLASS64 ||
	    header->e_ident[EI_DATA] != ELFDATA2LSB)
		return error_new(ERROR_UNSUPPORTED, "is not a 64-bit "
				 "little-endian core; only those are taken");
	if (header->e_type != ET_CORE)
		return error_new(ERROR_FORMAT, "is an ELF file of type %u, not "
				 "a core", header->e_type);
	if (header->e_machine != EM_X86_64 && header->e_machine != EM_AARCH64)
		return error_new(ERROR_UNSUPPORTED, "is a core of machine %s; "
				 "x86-64 and aarch64 are known",
				 elfcore_machine_name(header->e_machine) ?
				 elfcore_machine_name(header->e_machine) : "?");
	if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 ||
	    header->e_phoff < sizeof(*header))
		return error_new(ERROR_FORMAT, "has no program headers of the "
				 "usual size behind its ELF header");
	return NULL;
}

static struct error *cut_off(uint64_t offset)
{
	return error_new(ERROR_FORMAT, "ends before offset %" PRIu64 ", within "
			 "its headers", offset);
}

/**
 * Read all program headers. Where there are too many for e_phnum, their number
 * stands at the very end of the core, which a pipe has not brought yet; but the
 * notes follow the headers, so the first header, that of the notes, tells it.
 */
static struct error *read_headers(struct corestream *stream,
				  const Elf64_Ehdr *header, Elf64_Phdr **ret,
				  size_t *ret_count)
{
	uint64_t count = header->e_phnum;
	CLEANUP(free_pointer) Elf64_Phdr *all = malloc(sizeof(*all));
	size_t rest;

	if (!all)
		return error_no_memory();
	if (corestream_read(stream, header->e_phoff, (uint8_t *)all,
			    sizeof(*all)) != sizeof(*all))
		return cut_off(header->e_phoff + sizeof(*all));
	if (count == PN_XNUM && all->p_type == PT_NOTE &&
	    all->p_offset > header->e_phoff)
		count = (all->p_offset - header->e_phoff) / sizeof(*all);
	if (count == 0 || count > CORESTREAM_SEGMENTS_MAX)
		return error_new(ERROR_LIMIT, "has %" PRIu64 " segments; at "
				 "most %d are taken", count,
				 CORESTREAM_SEGMENTS_MAX);
	Elf64_Phdr *grown = reallocarray(all, count, sizeof(*all));
	if (!grown)
		return error_no_memory();
	all = grown;
	rest = (size_t)(count - 1) * sizeof(*all);
	if (corestream_read(stream, header->e_phoff + sizeof(*all),
			    (uint8_t *)(all + 1), rest) != rest)
		return cut_off(header->e_phoff + count * sizeof(*all));
	*ret = TAKE(all);
	*ret_count = (size_t)count;
	return NULL;
}

static int compare_segments(const void *a, const void *b)
{
	const struct corestream_segment *left = a, *right = b;

	return left->start < right->start ? -1 : left->start > right->start;
}

static struct error *add_segment(struct corestream *stream,
				 const Elf64_Phdr *header)
{
	uint64_t mask = stream->page_size - 1;
	struct corestream_segment *segment =
		&stream->segments[stream->num_segments];

	segment->start = header->p_vaddr;
	segment->captured = header->p_filesz < header->p_memsz ?
				    header->p_filesz : header->p_memsz;
	segment->offset = header->p_offset;
	segment->protection = header->p_flags & (PF_R | PF_W | PF_X);
	if (__builtin_add_overflow(header->p_vaddr, header->p_memsz,
				   &segment->end) ||
	    ((segment->start | segment->end | segment->captured) & mask))
		return error_at(ERROR_FORMAT, header->p_vaddr, "has a segment "
				"at 0x%" PRIx64 " that is not whole pages",
				header->p_vaddr);
	stream->num_segments++;
	return NULL;
}

static struct error *add_segments(struct corestream *stream,
				  const Elf64_Phdr *headers, size_t count)
{
	uint64_t total = 0;

	stream->segments = calloc(count, sizeof(*stream->segments));
	if (!stream->segments)
		return error_no_memory();
	for (size_t i = 0; i < count; i++) {
		struct error *err;

		if (headers[i].p_type != PT_LOAD || headers[i].p_memsz == 0)
			continue;
		err = add_segment(stream, &headers[i]);
		if (err)
			return err;
	}
	if (stream->num_segments == 0)
		return error_new(ERROR_FORMAT, "holds no memory");
	qsort(stream->segments, stream->num_segments, sizeof(*stream->segments),
	      compare_segments);
	for (size_t i = 0; i < stream->num_segments; i++) {
		const struct corestream_segment *segment = &stream->segments[i];

		total += segment->captured < ADDRESSES_MAX ?
				 segment->captured : ADDRESSES_MAX;
		if (total >= ADDRESSES_MAX)
			return error_new(ERROR_FORMAT, "claims more memory than "
					 "a process can have");
		if (i > 0 && segment->start < segment[-1].end)
			return error_at(ERROR_FORMAT, segment->start, "has two "
					"segments at 0x%" PRIx64,
					segment->start);
	}
	return NULL;
}

/** Cut off what is not a whole note at the end. */
static void keep_whole_notes(struct corestream *stream)
{
	struct bytes left = bytes_over(stream->notes, stream->notes_size);
	struct error *err = NULL;
	struct note note;

	while (note_next(&left, &note, &err))
		continue;
	error_free(err);
	stream->notes_cut |= bytes_left(&left) > 0;
	// The last one may lack its padding, and others will follow it.
	stream->notes_size = left.at;
	while (stream->notes_size % NOTE_ALIGN)
		stream->notes[stream->notes_size++] = 0;
}

static struct error *read_notes(struct corestream *stream,
				const Elf64_Phdr *headers, size_t count)
{
	const Elf64_Phdr *header = headers;
	size_t size;

	while (header < headers + count && header->p_type != PT_NOTE)
		header++;
	if (header == headers + count)
		return error_new(ERROR_FORMAT, "has no notes, so no registers");
	if (!stream->any_order && header->p_offset < stream->at)
		return error_new(ERROR_UNSUPPORTED, "has its notes before its "
				 "headers, and cannot be read twice");
	size = header->p_filesz < CORESTREAM_NOTES_MAX ?
		       (size_t)header->p_filesz : CORESTREAM_NOTES_MAX;
	stream->notes = malloc(size + NOTE_ALIGN);
	if (!stream->notes)
		return error_no_memory();
	stream->notes_size = corestream_read(stream, header->p_offset,
					     stream->notes, size);
	stream->notes_cut = stream->notes_size < header->p_filesz;
	keep_whole_notes(stream);
	return NULL;
}

static struct error *read_start(struct corestream *stream)
{
	CLEANUP(free_pointer) Elf64_Phdr *headers = NULL;
	Elf64_Ehdr header;
	struct error *err;
	size_t count;

	if (corestream_read(stream, 0, (uint8_t *)&header, sizeof(header)) !=
	    sizeof(header))
		return cut_off(sizeof(header));
	err = check_header(&header);
	if (!err)
		err = read_headers(stream, &header, &headers, &count);
	if (err)
		return err;
	stream->machine = header.e_machine;
	err = add_segments(stream, headers, count);
	return err ? err : read_notes(stream, headers, count);
}

struct error *corestream_open(int fd, struct corestream *ret)
{
	struct corestream stream = {
		.fd = fd,
		.page_size = (uint32_t)sysconf(_SC_PAGESIZE),
	};
	struct stat status;
	struct error *err;
	off_t at;

	if (fstat(fd, &status) != 0)
		return error_os(errno, "the core");
	at = lseek(fd, 0, SEEK_CUR);
	stream.any_order = S_ISREG(status.st_mode) && at >= 0;
	if (stream.any_order)
		stream.start = (uint64_t)at;
	else
		(void)fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE);
	err = read_start(&stream);
	if (err) {
		corestream_close(&stream);
		return err;
	}
	*ret = stream;
	return NULL;
}

void corestream_close(struct corestream *stream)
{
	free(stream->segments);
	free(stream->notes);
	stream->segments = NULL;
	stream->notes = NULL;
}

const struct corestream_segment *
corestream_segment_at(const struct corestream *stream, uint64_t address)
{
	size_t low = 0, high = stream->num_segments;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (stream->segments[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < stream->num_segments ? &stream->segments[low] : NULL;
}
