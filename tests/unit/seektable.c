/*
 * Seek tables: what is written is read back, what cannot be true is refused.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/seektable.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "image/base/error.h"
#include "image/base/guard.h"
#include "image/format.h"
#include "tests/lib/check.h"

enum {
	FRAME = 1000,		/* expanded bytes */
	FRAMES = 5,
	FILE_MAX = 64 << 10,
	FOOTER = 9,
};

/* A file of FRAMES zstd frames, one notes frame and a table. */
struct file {
	uint8_t bytes[FILE_MAX];
	size_t size;
	size_t table;		/* offset of the table's frame */
	size_t notes;		/* offset of the notes' frame */
	size_t starts[FRAMES];
};

static void put_u32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void build(struct file *file)
{
	static uint8_t data[FRAME];
	struct seektable table = { 0 };
	size_t size;

	memset(file, 0, sizeof(*file));
	for (int i = 0; i < FRAMES; i++) {
		memset(data, 'a' + i, sizeof(data));
		data[17] = (uint8_t)(i * 3);
		size = ZSTD_compress(file->bytes + file->size,
				     FILE_MAX - file->size, data, FRAME, 1);
		file->starts[i] = file->size;
		file->size += size;
		error_free(seektable_add(&table, size, FRAME));
	}
	file->notes = file->size;
	skippable_header(FORMAT_SKIPPABLE_NOTES, 12, file->bytes + file->size);
	memcpy(file->bytes + file->size + SKIPPABLE_HEADER_SIZE,
	       "final notes!", 12);
	file->size += SKIPPABLE_HEADER_SIZE + 12;
	error_free(seektable_add(&table, SKIPPABLE_HEADER_SIZE + 12, 0));
	file->table = file->size;
	seektable_serialize(&table, file->bytes + file->size);
	file->size += seektable_serialized_size(&table);
	seektable_deinit(&table);
}

/** The kind of error that parsing and verifying end in; -1: none. */
static int kind_of(const struct file *file)
{
	struct seektable table = { 0 };
	struct error *err;
	uint64_t start;
	int kind;

	err = seektable_parse(file->bytes, file->size, &table, &start);
	if (!err)
		err = seektable_verify(&table, file->bytes, file->size);
	kind = err ? (int)err->kind : -1;
	error_free(err);
	seektable_deinit(&table);
	return kind;
}

static void test_round_trip(void)
{
	CLEANUP(free_pointer) struct file *file = malloc(sizeof(*file));
	struct seektable table = { 0 };
	const uint8_t *notes;
	uint32_t size = 0;
	uint64_t start = 0;
	bool same = true;
	struct error *err;

	build(file);
	err = seektable_parse(file->bytes, file->size, &table, &start);
	if (!CHECK("parse what was serialized", err == NULL))
		return;
	CHECK_U64("entries", table.count, FRAMES + 1);
	CHECK_U64("table starts where it was put", start, file->table);
	for (int i = 0; i < FRAMES; i++)
		same &= table.entries[i].expanded == FRAME;
	CHECK("expanded sizes", same && table.entries[FRAMES].expanded == 0);
	CHECK("frames are what the table says",
	      seektable_verify(&table, file->bytes, file->size) == NULL);
	notes = seektable_skippable(&table, file->bytes, file->size,
				    FORMAT_SKIPPABLE_NOTES, &size);
	CHECK("final notes found",
	      notes && size == 12 && memcmp(notes, "final notes!", 12) == 0);
	CHECK("no frame of another magic",
	      !seektable_skippable(&table, file->bytes, file->size, 0x184D2A57,
				   &size));
	seektable_deinit(&table);
}

static void test_empty(void)
{
	uint8_t bytes[64] = { 0 };
	struct seektable table = { 0 }, again = { 0 };
	size_t size = seektable_serialized_size(&table);
	uint64_t start = 1;
	struct error *err;

	CHECK_U64("an empty table has 17 bytes", size, 17);
	seektable_serialize(&table, bytes);
	err = seektable_parse(bytes, size, &again, &start);
	CHECK("an empty table parses", err == NULL && again.count == 0);
	CHECK_U64("and starts the file", start, 0);
	error_free(err);
	seektable_deinit(&again);
}

/** Spoil one field after another; each must be noticed. */
static void test_damage(void)
{
	CLEANUP(free_pointer) struct file *good = malloc(sizeof(*good));
	CLEANUP(free_pointer) struct file *bad = malloc(sizeof(*bad));
	size_t entries;

	build(good);
	entries = good->table + SKIPPABLE_HEADER_SIZE;
	CHECK("the good one is believed", kind_of(good) == -1);
#define SPOIL(name, kind, statement)                    \
	do {                                            \
		*bad = *good;                           \
		statement;                              \
		CHECK_U64(name, kind_of(bad), kind);    \
	} while (0)
	SPOIL("no magic at the end", ERROR_NOT_FOUND,
	      bad->bytes[bad->size - 1] ^= 1);
	SPOIL("reserved bits", ERROR_FORMAT, bad->bytes[bad->size - 5] |= 4);
	SPOIL("one frame more", ERROR_FORMAT, bad->bytes[bad->size - 9]++);
	SPOIL("absurd number of frames", ERROR_FORMAT,
	      put_u32(bad->bytes + bad->size - FOOTER, 0xFFFFFFFF));
	SPOIL("most frames the format allows", ERROR_FORMAT,
	      put_u32(bad->bytes + bad->size - FOOTER, SEEKTABLE_FRAMES_MAX));
	SPOIL("magic of the table's frame", ERROR_FORMAT,
	      bad->bytes[bad->table] ^= 1);
	SPOIL("size of the table's frame", ERROR_FORMAT,
	      bad->bytes[bad->table + 4] ^= 1);
	SPOIL("stored size too large", ERROR_FORMAT,
	      put_u32(bad->bytes + entries, 0xFFFFFFFF));
	SPOIL("stored size zero", ERROR_FORMAT,
	      put_u32(bad->bytes + entries, 0));
	SPOIL("sum of stored sizes", ERROR_FORMAT, bad->bytes[entries]++);
	SPOIL("stored sizes shifted", ERROR_FORMAT,
	      (bad->bytes[entries]++, bad->bytes[entries + 8]--));
	SPOIL("expanded size differs from the frame", ERROR_FORMAT,
	      bad->bytes[entries + 4]++);
	SPOIL("expanded size over 1 GiB", ERROR_FORMAT,
	      put_u32(bad->bytes + entries + 4, (1U << 30) + 1));
	SPOIL("expanded size that the stored one cannot give", ERROR_FORMAT,
	      put_u32(bad->bytes + entries + 4, 1U << 29));
	SPOIL("skippable frame with an expanded size", ERROR_FORMAT,
	      put_u32(bad->bytes + entries + FRAMES * 8 + 4, 5));
	SPOIL("header of a frame", ERROR_FORMAT,
	      bad->bytes[bad->starts[3]] ^= 1);
#undef SPOIL
}

static void test_checksums(void)
{
	CLEANUP(free_pointer) struct file *file = malloc(sizeof(*file));
	size_t at;

	build(file);
	// The same table with a checksum behind each entry.
	at = file->table + SKIPPABLE_HEADER_SIZE + (FRAMES + 1) * 8;
	for (int i = FRAMES; i >= 0; i--) {
		size_t from = file->table + SKIPPABLE_HEADER_SIZE +
			      (size_t)i * 8;
		size_t to = file->table + SKIPPABLE_HEADER_SIZE +
			    (size_t)i * 12;

		memmove(file->bytes + to, file->bytes + from, 8);
		put_u32(file->bytes + to + 8, 0xABCD1234);
	}
	at = file->table + SKIPPABLE_HEADER_SIZE + (FRAMES + 1) * 12;
	put_u32(file->bytes + at, FRAMES + 1);
	file->bytes[at + 4] = 0x80;
	put_u32(file->bytes + at + 5, FORMAT_SEEK_MAGIC);
	file->size = at + FOOTER;
	put_u32(file->bytes + file->table + 4,
		(uint32_t)(file->size - file->table - SKIPPABLE_HEADER_SIZE));
	CHECK("a table with checksums is believed", kind_of(file) == -1);
}

/** Cut the file everywhere: the walk must find exactly the whole frames. */
static void test_rebuild(void)
{
	CLEANUP(free_pointer) struct file *file = malloc(sizeof(*file));
	struct seektable_walk walk;
	struct seektable table;
	size_t wrong = 0, expected;
	uint64_t stored;
	bool at_end;

	build(file);
	for (size_t size = 0; size <= file->size; size++) {
		// A copy of that size, so that a sanitizer sees a byte too many.
		CLEANUP(free_pointer) uint8_t *cut = malloc(size + !size);

		memcpy(cut, file->bytes, size);
		expected = 0;
		stored = 0;
		at_end = size == 0 || size == file->table ||
			 size == file->notes || size == file->size;
		for (int i = 0; i < FRAMES; i++) {
			uint64_t end = i + 1 < FRAMES ? file->starts[i + 1] :
							file->notes;

			expected += size >= end;
			stored = size >= end ? end : stored;
			at_end |= size == end;
		}
		if (size >= file->table)
			stored = file->table;
		if (size == file->size)
			stored = size;
		table = (struct seektable){ 0 };
		if (seektable_rebuild(cut, size, &table, &walk) ||
		    walk.data_frames != expected || walk.stored != stored ||
		    walk.expanded != expected * FRAME ||
		    walk.end != (at_end ? SEEKTABLE_WHOLE : SEEKTABLE_CUT) ||
		    (walk.last_magic == FORMAT_SKIPPABLE_SEEK) !=
			    (size == file->size))
			wrong++;
		seektable_deinit(&table);
	}
	CHECK_U64("walks that went wrong, cut at every byte", wrong, 0);
	file->bytes[file->starts[2]] ^= 0x10;
	error_free(seektable_rebuild(file->bytes, file->size, &table, &walk));
	CHECK("a spoilt frame ends the walk",
	      walk.end == SEEKTABLE_DAMAGED && walk.data_frames == 2 &&
	      walk.stored == file->starts[2]);
	seektable_deinit(&table);
}

static void test_limits(void)
{
	struct seektable table = { 0 };
	struct error *err;

	err = seektable_add(&table, 100, (UINT64_C(1) << 30) + 1);
	CHECK("no frame over 1 GiB", err && err->kind == ERROR_LIMIT);
	error_free(err);
	err = seektable_add(&table, UINT64_C(1) << 32, 5);
	CHECK("no stored size over 32 bits", err && err->kind == ERROR_LIMIT);
	error_free(err);
	CHECK_U64("a refused frame leaves no trace", table.count, 0);
	seektable_deinit(&table);
}

int main(void)
{
	test_round_trip();
	test_empty();
	test_damage();
	test_checksums();
	test_rebuild();
	test_limits();
	return check_result();
}
