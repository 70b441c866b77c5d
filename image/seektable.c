/*
 * Seek tables of zstd files; see seektable.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/seektable.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "image/base/bytes.h"
#include "image/format.h"

enum {
	FOOTER_SIZE = 9,	/* count, descriptor, magic */
	DESCRIPTOR_CHECKSUMS = 0x80,
	DESCRIPTOR_RESERVED = 0x7C,
	ENTRY_SIZE = 8,
	FRAME_SIZE_MIN = 8,	/* an empty skippable frame */
	BLOCK_MAX = 128 << 10,	/* expanded bytes of one block */
	BLOCK_HEADER_SIZE = 3,
	FRAME_HEADER_MAX = 18,
	VERIFY_ALL = 4096,	/* up to so many frames are all looked at */
	VERIFY_SAMPLE = 512,
	/* A file of more frames than TINY_COUNT that expand to less than
	   TINY_SIZE on average is read from front to back instead. */
	TINY_COUNT = 1 << 16,
	TINY_SIZE = 4096,
	SKIPPABLE_MAGIC = 0x184D2A50,	/* to ...5F */
};

void seektable_deinit(struct seektable *table)
{
	free(table->entries);
	*table = (struct seektable){ 0 };
}

/** Room for count entries; false without memory. */
static bool reserve(struct seektable *table, size_t count)
{
	struct seektable_entry *entries;
	size_t capacity = table->capacity ? table->capacity : 64;

	if (count <= table->capacity)
		return true;
	while (capacity < count)
		capacity *= 2;
	entries = reallocarray(table->entries, capacity, sizeof(*entries));
	if (!entries)
		return false;
	table->entries = entries;
	table->capacity = capacity;
	return true;
}

struct error *seektable_add(struct seektable *table, uint64_t stored,
			    uint64_t expanded)
{
	if (stored > UINT32_MAX || expanded > SEEKTABLE_EXPANDED_MAX)
		return error_new(ERROR_LIMIT,
				 "a frame of %" PRIu64 " stored bytes that expands to %"
				 PRIu64 " has no place in a seek table",
				 stored, expanded);
	if (table->count >= SEEKTABLE_FRAMES_MAX)
		return error_new(ERROR_LIMIT,
				 "a seek table has no place for more than %d frames",
				 SEEKTABLE_FRAMES_MAX);
	if (!reserve(table, table->count + 1))
		return error_no_memory();
	table->entries[table->count++] = (struct seektable_entry){
		.stored = (uint32_t)stored,
		.expanded = (uint32_t)expanded,
	};
	return NULL;
}

size_t seektable_serialized_size(const struct seektable *table)
{
	return SKIPPABLE_HEADER_SIZE + table->count * ENTRY_SIZE + FOOTER_SIZE;
}

static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
	return at + 4;
}

void skippable_header(uint32_t magic, uint32_t size,
		      uint8_t ret[SKIPPABLE_HEADER_SIZE])
{
	put_u32(put_u32(ret, magic), size);
}

void seektable_serialize(const struct seektable *table, uint8_t *ret)
{
	// At most SEEKTABLE_FRAMES_MAX entries: the size fits in 32 bits.
	skippable_header(FORMAT_SKIPPABLE_SEEK,
			 (uint32_t)(seektable_serialized_size(table) -
				    SKIPPABLE_HEADER_SIZE), ret);
	ret += SKIPPABLE_HEADER_SIZE;
	for (size_t i = 0; i < table->count; i++) {
		ret = put_u32(ret, table->entries[i].stored);
		ret = put_u32(ret, table->entries[i].expanded);
	}
	ret = put_u32(ret, (uint32_t)table->count);
	*ret++ = 0;
	put_u32(ret, FORMAT_SEEK_MAGIC);
}

/* What the last bytes of a file say of the table before them. */
struct footer {
	uint32_t count;
	size_t entry_size;
	size_t entries;		/* offset in the file */
};

static struct error *read_footer(const uint8_t *file, size_t size,
				 struct footer *ret)
{
	struct bytes at = bytes_over(file, size);
	uint32_t magic = 0, frame_size = 0;
	uint8_t descriptor = 0;
	uint64_t table;

	if (size < SKIPPABLE_HEADER_SIZE + FOOTER_SIZE)
		return error_new(ERROR_NOT_FOUND, "no seek table");
	at.at = size - FOOTER_SIZE;
	(void)bytes_u32(&at, &ret->count);
	(void)bytes_u8(&at, &descriptor);
	(void)bytes_u32(&at, &magic);
	if (magic != FORMAT_SEEK_MAGIC)
		return error_new(ERROR_NOT_FOUND, "no seek table");
	if (descriptor & DESCRIPTOR_RESERVED)
		return error_new(ERROR_FORMAT,
				 "the seek table has reserved bits set (0x%02x)",
				 descriptor);
	ret->entry_size = descriptor & DESCRIPTOR_CHECKSUMS ? 12 : 8;
	table = (uint64_t)ret->count * ret->entry_size + FOOTER_SIZE;
	if (ret->count > SEEKTABLE_FRAMES_MAX ||
	    table > size - SKIPPABLE_HEADER_SIZE)
		return error_new(ERROR_FORMAT,
				 "the seek table claims %" PRIu32 " frames",
				 ret->count);
	ret->entries = size - (size_t)table;
	at.at = ret->entries - SKIPPABLE_HEADER_SIZE;
	(void)bytes_u32(&at, &magic);
	(void)bytes_u32(&at, &frame_size);
	if (magic != FORMAT_SKIPPABLE_SEEK || frame_size != table)
		return error_new(ERROR_FORMAT,
				 "the seek table's own frame does not fit its %"
				 PRIu32 " entries", ret->count);
	return NULL;
}

/** The most that stored bytes can expand to: one repeated byte a block. */
static uint64_t expanded_max(uint32_t stored)
{
	return ((uint64_t)stored / BLOCK_HEADER_SIZE + 1) * BLOCK_MAX;
}

static bool read_entry(const uint8_t *file, size_t size,
		       const struct footer *footer, size_t i,
		       struct seektable_entry *ret)
{
	struct bytes at = bytes_over(file, size);

	at.at = footer->entries + i * footer->entry_size;
	return bytes_u32(&at, &ret->stored) && bytes_u32(&at, &ret->expanded);
}

/** Everything that can be said without allocating for the count first. */
static struct error *check_entries(const uint8_t *file, size_t size,
				   const struct footer *footer)
{
	uint64_t stored = 0, start = footer->entries - SKIPPABLE_HEADER_SIZE;
	struct seektable_entry entry = { 0 };

	for (size_t i = 0; i < footer->count; i++) {
		if (!read_entry(file, size, footer, i, &entry) ||
		    entry.stored < FRAME_SIZE_MIN ||
		    entry.stored > start - stored)
			return error_new(ERROR_FORMAT,
					 "the seek table gives frame %zu %"
					 PRIu32 " stored bytes", i,
					 entry.stored);
		if (entry.expanded > SEEKTABLE_EXPANDED_MAX ||
		    entry.expanded > expanded_max(entry.stored))
			return error_new(ERROR_FORMAT,
					 "the seek table lets frame %zu expand from %"
					 PRIu32 " to %" PRIu32 " bytes", i,
					 entry.stored, entry.expanded);
		stored += entry.stored;
	}
	// An uncompressed dump has a table of no frames behind the core.
	if (footer->count > 0 && stored != start)
		return error_new(ERROR_FORMAT,
				 "the frames of the seek table end at byte %"
				 PRIu64 ", the table starts at %" PRIu64,
				 stored, start);
	return NULL;
}

struct error *seektable_parse(const uint8_t *file, size_t size,
			      struct seektable *ret, uint64_t *ret_start)
{
	struct seektable table = { 0 };
	struct footer footer = { 0 };
	struct error *err;

	err = read_footer(file, size, &footer);
	if (!err)
		err = check_entries(file, size, &footer);
	if (err)
		return err;
	if (!reserve(&table, (size_t)footer.count + !footer.count))
		return error_no_memory();
	for (size_t i = 0; i < footer.count; i++)
		(void)read_entry(file, size, &footer, i, &table.entries[i]);
	table.count = footer.count;
	*ret = table;
	*ret_start = footer.entries - SKIPPABLE_HEADER_SIZE;
	return NULL;
}

static bool is_skippable(uint32_t magic)
{
	return (magic & ~UINT32_C(0xF)) == SKIPPABLE_MAGIC;
}

/** True if a frame with these sizes starts with the bytes at frame. */
static bool entry_holds(const struct seektable_entry *entry,
			struct bytes frame)
{
	unsigned long long content;
	const uint8_t *start = frame.data;
	uint32_t magic = 0, skipped = 0;

	(void)bytes_u32(&frame, &magic);
	if (is_skippable(magic))
		return entry->expanded == 0 && bytes_u32(&frame, &skipped) &&
		       skipped == entry->stored - SKIPPABLE_HEADER_SIZE;
	if (magic != ZSTD_MAGICNUMBER)
		return false;
	content = ZSTD_getFrameContentSize(start, frame.size);
	return content == ZSTD_CONTENTSIZE_UNKNOWN || content == entry->expanded;
}

struct error *seektable_verify(const struct seektable *table,
			       const uint8_t *file, size_t size)
{
	size_t stride = table->count / VERIFY_SAMPLE + 1;
	struct bytes at = bytes_over(file, size);
	const uint8_t *frame;

	if (table->count <= VERIFY_ALL)
		stride = 1;
	for (size_t i = 0; i < table->count; i++) {
		const struct seektable_entry *entry = &table->entries[i];

		frame = bytes_take(&at, entry->stored);
		if (!frame)
			return error_new(ERROR_FORMAT,
					 "the seek table's frame %zu is past the end",
					 i);
		if (i % stride != 0 && i + 1 != table->count &&
		    entry->expanded == table->entries[0].expanded)
			continue;
		if (!entry_holds(entry, bytes_over(frame, entry->stored)))
			return error_new(ERROR_FORMAT,
					 "frame %zu is not what the seek table says of it",
					 i);
	}
	return NULL;
}

/* The frame under the walk's eyes. */
struct frame_seen {
	size_t stored;
	uint64_t expanded;
	uint32_t magic;
};

static enum seektable_end end_of(size_t zstd_result)
{
	return ZSTD_getErrorCode(zstd_result) == ZSTD_error_srcSize_wrong ?
		       SEEKTABLE_CUT : SEEKTABLE_DAMAGED;
}

/** Look at one frame; SEEKTABLE_WHOLE if it is there and can be indexed. */
static enum seektable_end see_frame(const uint8_t *at, size_t left,
				    struct frame_seen *seen)
{
	struct bytes head = bytes_over(at, left);
	unsigned long long content;
	uint32_t skipped;
	size_t stored;

	*seen = (struct frame_seen){ 0 };
	if (!bytes_u32(&head, &seen->magic))
		return SEEKTABLE_CUT;
	if (is_skippable(seen->magic)) {
		if (!bytes_u32(&head, &skipped) || skipped > bytes_left(&head))
			return SEEKTABLE_CUT;
		seen->stored = SKIPPABLE_HEADER_SIZE + (size_t)skipped;
		return SEEKTABLE_WHOLE;
	}
	if (seen->magic != ZSTD_MAGICNUMBER)
		return SEEKTABLE_DAMAGED;
	content = ZSTD_getFrameContentSize(at, left);
	if (content == ZSTD_CONTENTSIZE_ERROR)
		return left < FRAME_HEADER_MAX ? SEEKTABLE_CUT :
							 SEEKTABLE_DAMAGED;
	// Asked before walking the blocks: they may be many gigabytes.
	if (content == ZSTD_CONTENTSIZE_UNKNOWN ||
	    content > SEEKTABLE_EXPANDED_MAX)
		return SEEKTABLE_NO_RANDOM_ACCESS;
	seen->expanded = content;
	stored = ZSTD_findFrameCompressedSize(at, left);
	if (ZSTD_isError(stored))
		return end_of(stored);
	if (stored > UINT32_MAX)
		return SEEKTABLE_NO_RANDOM_ACCESS;
	if (content > expanded_max((uint32_t)stored))
		return SEEKTABLE_DAMAGED;
	seen->stored = stored;
	return SEEKTABLE_WHOLE;
}

/** Add a frame; skippable ones in a row become one entry, being many maybe. */
static struct error *add_seen(struct seektable *table,
			      const struct frame_seen *seen)
{
	struct seektable_entry *last;

	if (seen->expanded == 0 && table->count > 0) {
		last = &table->entries[table->count - 1];
		if (last->expanded == 0 &&
		    seen->stored <= UINT32_MAX - last->stored) {
			last->stored += (uint32_t)seen->stored;
			return NULL;
		}
	}
	return seektable_add(table, seen->stored, seen->expanded);
}

struct error *seektable_rebuild(const uint8_t *file, size_t size,
				struct seektable *ret,
				struct seektable_walk *ret_walk)
{
	struct seektable_walk walk = { .end = SEEKTABLE_WHOLE };
	struct seektable table = { 0 };
	struct frame_seen seen;
	struct error *err = NULL;

	while (walk.stored < size) {
		walk.end = see_frame(file + walk.stored, size - walk.stored,
				     &seen);
		if (walk.end == SEEKTABLE_WHOLE &&
		    walk.data_frames >= TINY_COUNT &&
		    walk.expanded / walk.data_frames < TINY_SIZE)
			walk.end = SEEKTABLE_NO_RANDOM_ACCESS;
		if (walk.end != SEEKTABLE_WHOLE) {
			walk.cut_magic = seen.magic;
			walk.cut_expanded = seen.expanded;
			break;
		}
		err = add_seen(&table, &seen);
		if (err)
			break;
		walk.stored += seen.stored;
		walk.expanded += seen.expanded;
		walk.data_frames += seen.expanded > 0;
		walk.last_magic = seen.magic;
	}
	if (err && err->kind == ERROR_LIMIT) {
		error_free(err);
		err = NULL;
		walk.end = SEEKTABLE_NO_RANDOM_ACCESS;
	}
	if (err) {
		seektable_deinit(&table);
		return err;
	}
	*ret = table;
	*ret_walk = walk;
	return NULL;
}

/** The last frame of this magic in a run of skippable frames. */
static const uint8_t *find_in_run(struct bytes run, uint32_t wanted,
				  uint32_t *ret_size)
{
	const uint8_t *found = NULL, *content;
	uint32_t magic, size;

	while (bytes_u32(&run, &magic) && is_skippable(magic) &&
	       bytes_u32(&run, &size)) {
		content = bytes_take(&run, size);
		if (!content)
			break;
		if (magic == wanted) {
			found = content;
			*ret_size = size;
		}
	}
	return found;
}

const uint8_t *seektable_skippable(const struct seektable *table,
				   const uint8_t *file, size_t size,
				   uint32_t magic, uint32_t *ret_size)
{
	const uint8_t *found = NULL, *run, *in_run;
	struct bytes at = bytes_over(file, size);

	for (size_t i = 0; i < table->count; i++) {
		run = bytes_take(&at, table->entries[i].stored);
		if (!run)
			break;
		if (table->entries[i].expanded != 0)
			continue;
		in_run = find_in_run(bytes_over(run, table->entries[i].stored),
				     magic, ret_size);
		if (in_run)
			found = in_run;
	}
	return found;
}
