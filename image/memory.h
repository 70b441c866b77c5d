/*
 * The target's address space: ranges, and typed reads that never lie.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Three different answers to "what is at this address": nothing was mapped
 * there; something was, but the dump has not got it; here are the bytes
 * (which may be zero). Ranges are sorted, do not overlap, and carry where
 * their bytes come from: the core, or an unchanged page of a module file whose
 * build id matched.
 *
 * struct memory is built once and then read-only; each thread reads through a
 * struct memory_reader of its own.
 */
#ifndef IMAGE_MEMORY_H
#define IMAGE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "image/backing.h"
#include "image/base/error.h"

struct memory;

enum memory_state {
	MEMORY_UNMAPPED,
	MEMORY_NOT_CAPTURED,
	MEMORY_CAPTURED,
	MEMORY_ZERO,		/* known to be zero, takes no space in the dump */
};

enum memory_source {
	MEMORY_FROM_NOTHING,	/* not captured, or zero */
	MEMORY_FROM_CORE,
	MEMORY_FROM_FILE,	/* a module file, mapped read-only */
};

/*
 * Why a range is not captured, beyond enum format_reason: what the reader of
 * the file found out, where the writer said nothing.
 */
enum memory_reason {
	MEMORY_REASON_CUT = 0x100,	/* the file ends before it */
};

struct memory_range {
	uint64_t start, end;	/* addresses, start < end, exclusive */
	enum memory_state state;
	enum memory_source source;
	uint32_t protection;	/* PF_R, PF_W, PF_X of elf.h */
	uint32_t reason;	/* enum format_reason or memory_reason when not
				   captured; 0: not known */
	uint64_t offset;	/* of start in the core or the file */
	const uint8_t *bytes;	/* where all of it lies in memory, else NULL */
};

/* --- building, by whoever opened the core ------------------------------- */

/** backing is borrowed and must outlive the memory; NULL for tests. */
struct error *memory_create(struct backing *backing, struct memory **ret);
void memory_destroy(struct memory *memory);

/**
 * Add a range. Ranges may come in any order and overlap: captured bytes win
 * over zero, zero over not captured; among equals the range added first wins
 * (gdb's rule for cores). One exception: not captured with FORMAT_FAILED wins
 * over all, because then the writer itself says that the bytes it left in the
 * place of that range are not the target's.
 * MEMORY_FROM_FILE ranges need bytes, which are borrowed.
 */
struct error *memory_add(struct memory *memory, const struct memory_range *range);

/** Sort and cut. After this the memory is read-only and may be read. */
struct error *memory_seal(struct memory *memory);

/* --- asking -------------------------------------------------------------- */

size_t memory_num_ranges(const struct memory *memory);
const struct memory_range *memory_range(const struct memory *memory, size_t i);

/** The range that holds address, or NULL. */
const struct memory_range *memory_find(const struct memory *memory,
				       uint64_t address);

/** The first range that ends above address, or NULL. */
const struct memory_range *memory_find_above(const struct memory *memory,
					     uint64_t address);

enum memory_state memory_state_at(const struct memory *memory,
				  uint64_t address);

/** Bytes in ranges of this state. */
uint64_t memory_total(const struct memory *memory, enum memory_state state);

/* --- reading ------------------------------------------------------------- */

enum {
	MEMORY_VIEW_MAX = 64 << 20,	/* bytes that a view copies together */
	MEMORY_RECENT = 1024,		/* ranges remembered, by address: */
	MEMORY_RECENT_LOG2 = 20,	/* one for so many bytes */
};

struct memory_reader {
	const struct memory *memory;
	struct backing_reader *backing;
	const struct memory_range *recent[MEMORY_RECENT];
	uint8_t *bounce;	/* for views that cross frames or ranges */
	size_t bounce_size;	/* bytes there is room for */
	uint64_t bounce_start;	/* address of what is in it */
	uint64_t bounced;	/* bytes of that; 0: nothing */
	/* the most recent view: a hit costs two comparisons */
	const uint8_t *view;
	uint64_t view_start;	/* address of view[0] */
	uint64_t view_size;	/* bytes; 0: no view */
	/* where little was copied from last without a view, and how often */
	uint64_t far_place;
	unsigned int far_count;
};

struct error *memory_reader_init(struct memory_reader *reader,
				 const struct memory *memory);
void memory_reader_deinit(struct memory_reader *reader);

/**
 * Say whether much is read now that goes by once, in the order of addresses:
 * frames of the dump that were at hand before then still are afterwards.
 */
void memory_reader_pass(struct memory_reader *reader, bool pass);

/** Where a reader remembers the range that holds address. */
static inline size_t memory_recent_slot(uint64_t address)
{
	return (address >> MEMORY_RECENT_LOG2) % MEMORY_RECENT;
}

/**
 * Borrow size bytes at address where that costs nothing: of the view, or of a
 * range that lies in memory and was met before. NULL says nothing; the view
 * stays.
 */
static inline const uint8_t *memory_peek(const struct memory_reader *reader,
					 uint64_t address, size_t size)
{
	uint64_t at = address - reader->view_start;
	const struct memory_range *range;

	if (at < reader->view_size && size <= reader->view_size - at)
		return reader->view + at;
	range = reader->recent[memory_recent_slot(address)];
	if (!range || !range->bytes || address < range->start ||
	    address >= range->end || size > range->end - address)
		return NULL;
	return range->bytes + (address - range->start);
}

/** The part of memory_fetch() that has to look; call that one instead. */
void memory_fetch_slow(struct memory_reader *reader, uint64_t address);

/** Ask for the word at address, which will be read soon, if that costs little. */
static inline void memory_fetch(struct memory_reader *reader, uint64_t address)
{
	const uint8_t *bytes = memory_peek(reader, address, 8);

	if (bytes)
		__builtin_prefetch(bytes);
	else
		memory_fetch_slow(reader, address);
}

/** The part of memory_try_read() that has to look; call that one instead. */
bool memory_read_slow(struct memory_reader *reader, uint64_t address,
		      void *buffer, size_t size);

/**
 * Copy size bytes at address; false, without a reason and without writing
 * buffer, where any of them is not to be had. For loops over millions.
 */
static inline bool memory_try_read(struct memory_reader *reader,
				   uint64_t address, void *buffer, size_t size)
{
	uint64_t at = address - reader->view_start;

	if (at < reader->view_size && size <= reader->view_size - at) {
		memcpy(buffer, reader->view + at, size);
		return true;
	}
	return memory_read_slow(reader, address, buffer, size);
}

/**
 * The same, where little is read here and there in much that is not to be read:
 * of a plain core no more than that comes from the disk.
 */
bool memory_try_few(struct memory_reader *reader, uint64_t address,
		    void *buffer, size_t size);

static inline bool memory_try_u64(struct memory_reader *reader,
				  uint64_t address, uint64_t *ret)
{
	return memory_try_read(reader, address, ret, sizeof(*ret));
}

static inline bool memory_try_u32(struct memory_reader *reader,
				  uint64_t address, uint32_t *ret)
{
	return memory_try_read(reader, address, ret, sizeof(*ret));
}

/**
 * Copy size bytes at address.
 *
 * @return NULL, or ERROR_UNMAPPED or ERROR_NOT_CAPTURED with the first address
 *	that could not be had; buffer is then untouched
 */
struct error *memory_read(struct memory_reader *reader, uint64_t address,
			  void *buffer, size_t size);
struct error *memory_read_u64(struct memory_reader *reader, uint64_t address,
			      uint64_t *ret);

/**
 * Copy a NUL-terminated string of at most size - 1 bytes into buffer.
 *
 * @return false where it is not to be had or has no terminator in size bytes
 */
bool memory_try_string(struct memory_reader *reader, uint64_t address,
		       char *buffer, size_t size);

/**
 * Borrow size contiguous bytes at address, without copying where they lie
 * together (always, for a plain core, within one range).
 *
 * @return valid until the next call on this reader; NULL where any byte is
 *	not to be had, or for more than MEMORY_VIEW_MAX bytes that do not lie
 *	together
 */
const void *memory_view(struct memory_reader *reader, uint64_t address,
			size_t size);

#endif
