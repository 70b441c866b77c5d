/*
 * Every container a core comes in: whole, cut off, damaged, too large.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Containers are written with the libraries themselves; what backing reads is
 * compared with the bytes that went in.
 */
#include "image/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <lz4frame.h>
#include <lzma.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "image/base/guard.h"
#include "image/format.h"
#include "image/frames.h"
#include "image/mapping.h"
#include "image/seektable.h"
#include "tests/lib/check.h"

enum {
	DATA_SIZE = 700 * 1000 + 123,	/* no multiple of anything */
	FRAME_LOG2 = 14,
	FRAME = 1 << FRAME_LOG2,
	FILE_MAX = 2 << 20,
};

static const char notes_text[] = "final notes of the dump";

static uint8_t data[DATA_SIZE];

/* A file in memory. */
struct file {
	uint8_t *bytes;		/* FILE_MAX of them */
	size_t size;
	size_t notes, table;	/* offsets of our two frames, where there are */
	size_t frames[64];	/* offsets of the data frames */
	size_t num_frames;
};

static uint64_t random_state = 88172645463325252ULL;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/** Noise, text and pages of zeroes, as memory has them. */
static void make_data(void)
{
	for (size_t i = 0; i < DATA_SIZE; i++) {
		size_t page = i / 4096;

		if (page % 5 == 1)
			data[i] = 0;
		else if (page % 5 == 3)
			data[i] = (uint8_t)random_next();
		else
			data[i] = (uint8_t)("0123456789abcdef"[i % 16] + page % 3);
	}
}

static void file_init(struct file *file)
{
	*file = (struct file){ .bytes = calloc(1, FILE_MAX) };
	if (!file->bytes)
		abort();
}

static void file_deinit(struct file *file)
{
	free(file->bytes);
}

static void append(struct file *file, const void *bytes, size_t size)
{
	if (size > FILE_MAX - file->size)
		abort();
	memcpy(file->bytes + file->size, bytes, size);
	file->size += size;
}

/** One zstd frame; unsized as a pipe makes it. */
static size_t append_zstd(struct file *file, const uint8_t *from, size_t size,
			  bool sized)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();
	ZSTD_inBuffer in = { from, size, 0 };
	ZSTD_outBuffer out = { file->bytes + file->size, FILE_MAX - file->size,
			       0 };

	(void)ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
	if (sized)
		(void)ZSTD_CCtx_setPledgedSrcSize(context, size);
	if (!sized)	// a first call without the end hides the size
		(void)ZSTD_compressStream2(context, &out, &in,
					   ZSTD_e_continue);
	if (ZSTD_compressStream2(context, &out, &in, ZSTD_e_end) != 0)
		abort();
	(void)ZSTD_freeCCtx(context);
	file->size += out.pos;
	return out.pos;
}

static void append_skippable(struct file *file, uint32_t magic,
			     const void *content, uint32_t size)
{
	uint8_t header[SKIPPABLE_HEADER_SIZE];

	skippable_header(magic, size, header);
	append(file, header, sizeof(header));
	append(file, content, size);
}

static void append_trailer(struct file *file, struct seektable *table)
{
	uint8_t *bytes;
	size_t size;

	file->notes = file->size;
	append_skippable(file, FORMAT_SKIPPABLE_NOTES, notes_text,
			 sizeof(notes_text));
	if (table->count > 0)
		error_free(seektable_add(table, file->size - file->notes, 0));
	file->table = file->size;
	size = seektable_serialized_size(table);
	bytes = malloc(size);
	seektable_serialize(table, bytes);
	append(file, bytes, size);
	free(bytes);
	seektable_deinit(table);
}

/** Our own container. step: expanded bytes of a frame, 0: odd sizes. */
static void make_dump(struct file *file, size_t step)
{
	struct seektable table = { 0 };
	size_t at = 0, size;

	file_init(file);
	while (at < DATA_SIZE) {
		size = step ? step : 5000 + random_next() % 50000;
		if (size > DATA_SIZE - at)
			size = DATA_SIZE - at;
		file->frames[file->num_frames++] = file->size;
		error_free(seektable_add(&table,
					 append_zstd(file, data + at, size, true),
					 size));
		at += size;
	}
	append_trailer(file, &table);
}

static void append_gzip(struct file *file, const uint8_t *from, size_t size)
{
	z_stream stream = { 0 };

	if (deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	stream.next_in = (Bytef *)(uintptr_t)from;
	stream.avail_in = (uInt)size;
	stream.next_out = file->bytes + file->size;
	stream.avail_out = (uInt)(FILE_MAX - file->size);
	if (deflate(&stream, Z_FINISH) != Z_STREAM_END)
		abort();
	file->size = FILE_MAX - stream.avail_out;
	(void)deflateEnd(&stream);
}

static void append_xz(struct file *file, const uint8_t *from, size_t size)
{
	if (lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, NULL, from, size,
				    file->bytes, &file->size,
				    FILE_MAX) != LZMA_OK)
		abort();
}

static void append_lz4(struct file *file, const uint8_t *from, size_t size)
{
	LZ4F_preferences_t how = { .frameInfo = {
		.contentChecksumFlag = LZ4F_contentChecksumEnabled,
		.contentSize = size,
	} };
	size_t made = LZ4F_compressFrame(file->bytes + file->size,
					 FILE_MAX - file->size, from, size,
					 &how);

	if (LZ4F_isError(made))
		abort();
	file->size += made;
}

/* --- opening ---------------------------------------------------------------- */

/* A backing with the findings it made. */
struct opened {
	struct findings *findings;
	struct backing *backing;
	struct backing_reader *reader;
	struct error *err;
	int fd;
};

static void open_bytes(struct opened *opened, const uint8_t *bytes, size_t size,
		       const struct backing_options *how)
{
	struct backing_options options = how ? *how :
					       (struct backing_options){ 0 };

	*opened = (struct opened){ .fd = memfd_create("core", MFD_CLOEXEC) };
	error_free(findings_create(&opened->findings));
	options.findings = opened->findings;
	for (size_t at = 0; at < size;) {
		ssize_t done = write(opened->fd, bytes + at, size - at);

		if (done <= 0)
			abort();
		at += (size_t)done;
	}
	opened->err = backing_open_fd(opened->fd, "core", &options,
				      &opened->backing);
	if (!opened->err)
		error_free(backing_reader_create(opened->backing,
						 &opened->reader));
}

static void open_file(struct opened *opened, const struct file *file)
{
	open_bytes(opened, file->bytes, file->size, NULL);
}

static void close_opened(struct opened *opened)
{
	backing_reader_destroy(opened->reader);
	backing_close(opened->backing);
	findings_destroy(opened->findings);
	error_free(opened->err);
	(void)close(opened->fd);
}

/** True if all of [0, size) reads as data has it. */
static bool reads_as_data(struct opened *opened, uint64_t size)
{
	static uint8_t got[DATA_SIZE];

	return size <= DATA_SIZE && opened->reader &&
	       backing_read(opened->reader, 0, got, size) &&
	       memcmp(got, data, size) == 0;
}

static bool random_reads(struct opened *opened, int count)
{
	uint8_t got[40000];

	for (int i = 0; i < count; i++) {
		uint64_t at = random_next() % DATA_SIZE;
		uint64_t size = 1 + random_next() % (i % 4 ? 64 : sizeof(got));

		if (size > DATA_SIZE - at)
			size = DATA_SIZE - at;
		if (!backing_read(opened->reader, at, got, size) ||
		    memcmp(got, data + at, size) != 0)
			return false;
	}
	return true;
}

static bool has_notes(const struct opened *opened)
{
	size_t size = 0;
	const void *notes = backing_final_notes(opened->backing, &size);

	return notes && size == sizeof(notes_text) &&
	       memcmp(notes, notes_text, size) == 0;
}

/** All that must hold of a whole container of all of data. */
static void check_whole(const char *what, const struct file *file,
			enum backing_kind kind, const char *description,
			bool notes)
{
	struct opened opened;
	char name[128];
	size_t size;

	open_file(&opened, file);
#define NAMED(text) (snprintf(name, sizeof(name), "%s, %s", what, text), name)
	if (CHECK(NAMED("opens"), opened.err == NULL)) {
		CHECK_U64(NAMED("kind"), backing_kind(opened.backing), kind);
		CHECK_STRING(NAMED("description"),
			     backing_describe(opened.backing), description);
		CHECK_U64(NAMED("size"), backing_size(opened.backing),
			  DATA_SIZE);
		CHECK_U64(NAMED("stored size"),
			  backing_stored_size(opened.backing), file->size);
		CHECK(NAMED("all of it reads"),
		      reads_as_data(&opened, DATA_SIZE));
		CHECK(NAMED("random reads"), random_reads(&opened, 2000));
		CHECK(NAMED("nothing past the end"),
		      !backing_view(opened.reader, DATA_SIZE, 1, &size) &&
		      !backing_view(opened.reader, UINT64_MAX, 1, &size) &&
		      !backing_read(opened.reader, DATA_SIZE - 1, name, 2));
		CHECK(NAMED("final notes"), has_notes(&opened) == notes);
		CHECK_U64(NAMED("findings"), findings_total(opened.findings),
			  0);
		CHECK(NAMED("nothing lost"),
		      !backing_lost(opened.backing, 0, DATA_SIZE) &&
		      backing_lost(opened.backing, 0, DATA_SIZE + 1));
	} else {
		printf("# %s\n", opened.err->message);
	}
	close_opened(&opened);
#undef NAMED
}

static void test_round_trips(void)
{
	struct seektable none = { 0 };
	struct file file;

	file_init(&file);
	append(&file, data, DATA_SIZE);
	check_whole("plain", &file, BACKING_PLAIN, "plain", false);
	append_trailer(&file, &none);
	check_whole("plain dump", &file, BACKING_PLAIN, "plain", true);
	file_deinit(&file);

	make_dump(&file, FRAME);
	check_whole("dump", &file, BACKING_ZSTD_FRAMES, "zstd, 43 frames",
		    true);
	file.size = file.notes;
	check_whole("frames without a table", &file, BACKING_ZSTD_FRAMES,
		    "zstd, 43 frames", false);
	file_deinit(&file);

	file_init(&file);
	append_skippable(&file, 0x184D2A50, "size", 4);
	append_zstd(&file, data, 100000, true);
	append_skippable(&file, 0x184D2A50, "size", 4);
	append_skippable(&file, 0x184D2A5A, "", 0);
	append_zstd(&file, data, 0, true);
	append_zstd(&file, data + 100000, DATA_SIZE - 100000, true);
	check_whole("frames with others between", &file, BACKING_ZSTD_FRAMES,
		    "zstd, 2 frames", false);
	file_deinit(&file);
}

static void test_odd_frames(void)
{
	struct file file;
	char text[64];

	make_dump(&file, 0);
	snprintf(text, sizeof(text), "zstd, %zu frames", file.num_frames);
	check_whole("odd frames", &file, BACKING_ZSTD_FRAMES, text, true);
	file_deinit(&file);
	make_dump(&file, 12345);
	snprintf(text, sizeof(text), "zstd, %zu frames", file.num_frames);
	check_whole("equal frames, no power of two", &file,
		    BACKING_ZSTD_FRAMES, text, true);
	file_deinit(&file);
	// One frame with a table needs no expansion.
	make_dump(&file, DATA_SIZE);
	check_whole("one frame and a table", &file, BACKING_ZSTD_FRAMES,
		    "zstd, 1 frame", true);
	file_deinit(&file);
}

static void test_expanded_round_trips(void)
{
	struct file file;

	file_init(&file);
	append_zstd(&file, data, DATA_SIZE, true);
	check_whole("one zstd frame", &file, BACKING_EXPANDED,
		    "zstd, expanded", false);
	file.size = 0;
	append_zstd(&file, data, DATA_SIZE, false);
	check_whole("one zstd frame of unknown size", &file, BACKING_EXPANDED,
		    "zstd, expanded", false);
	file.size = 0;
	append_zstd(&file, data, 1000, true);
	append_zstd(&file, data + 1000, 200000, false);
	append_zstd(&file, data + 201000, DATA_SIZE - 201000, true);
	check_whole("a frame of unknown size in the middle", &file,
		    BACKING_EXPANDED, "zstd, expanded", false);

	file.size = 0;
	append_gzip(&file, data, DATA_SIZE);
	check_whole("gzip", &file, BACKING_EXPANDED, "gzip, expanded", false);
	file.size = 0;
	append_gzip(&file, data, 300000);
	append_gzip(&file, data, 0);
	append_gzip(&file, data + 300000, DATA_SIZE - 300000);
	append(&file, "\0\0\0\0", 4);
	check_whole("gzip of three members and padding", &file,
		    BACKING_EXPANDED, "gzip, expanded", false);

	file.size = 0;
	append_xz(&file, data, DATA_SIZE);
	check_whole("xz", &file, BACKING_EXPANDED, "xz, expanded", false);
	file.size = 0;
	append_xz(&file, data, 300000);
	append(&file, "\0\0\0\0", 4);
	append_xz(&file, data + 300000, DATA_SIZE - 300000);
	check_whole("xz of two streams", &file, BACKING_EXPANDED,
		    "xz, expanded", false);

	file.size = 0;
	append_lz4(&file, data, DATA_SIZE);
	check_whole("lz4", &file, BACKING_EXPANDED, "lz4, expanded", false);
	file.size = 0;
	append_skippable(&file, 0x184D2A53, "xyz", 3);
	append_lz4(&file, data, 123456);
	append_lz4(&file, data + 123456, DATA_SIZE - 123456);
	check_whole("lz4 of two frames", &file, BACKING_EXPANDED,
		    "lz4, expanded", false);
	file_deinit(&file);
}

/** A plain dump that someone compressed keeps its notes. */
static void test_compressed_plain_dump(void)
{
	struct seektable none = { 0 };
	struct file plain, file;

	file_init(&plain);
	append(&plain, data, DATA_SIZE);
	append_trailer(&plain, &none);
	file_init(&file);
	append_gzip(&file, plain.bytes, plain.size);
	check_whole("gzip of a plain dump", &file, BACKING_EXPANDED,
		    "gzip, expanded", true);
	file_deinit(&file);
	file_deinit(&plain);
}

/** Holes where there are zeroes: that is why expansion can be afforded. */
static void test_sparse(void)
{
	enum { SIZE = 64 << 20 };
	CLEANUP(free_pointer) uint8_t *zeroes = calloc(1, SIZE);
	struct opened opened;
	struct file file;
	char folder[] = "/tmp/backing-test-XXXXXX";
	struct stat status;
	char link[64], path[256];
	uint64_t blocks = UINT64_MAX;
	ssize_t length;

	if (!zeroes || !mkdtemp(folder))
		return;
	file_init(&file);
	zeroes[SIZE / 2] = 1;
	append_gzip(&file, zeroes, SIZE);
	open_bytes(&opened, file.bytes, file.size,
		   &(struct backing_options){ .tmp_dir = folder });
	// Nobody says which descriptor it is; it lies in our folder.
	for (int fd = 3; fd < 64; fd++) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		length = readlink(link, path, sizeof(path) - 1);
		if (length > 0 && strncmp(path, folder, strlen(folder)) == 0 &&
		    fstat(fd, &status) == 0)
			blocks = (uint64_t)status.st_blocks * 512;
	}
	CHECK("expansion opens", opened.err == NULL);
	CHECK_U64("expansion size", opened.backing ?
		  backing_size(opened.backing) : 0, SIZE);
	CHECK("zero pages are holes", blocks <= 64 << 10);
	CHECK("the temporary file has no name", rmdir(folder) == 0);
	close_opened(&opened);
	file_deinit(&file);
}

/* --- damage ------------------------------------------------------------------ */

/** Bytes of the core in frames that lie whole in the first size bytes. */
static uint64_t whole_below(const struct file *file, size_t size)
{
	uint64_t whole = 0;

	for (size_t i = 0; i < file->num_frames; i++) {
		size_t end = i + 1 < file->num_frames ? file->frames[i + 1] :
							file->notes;

		if (end > size)
			break;
		whole += FRAME;
	}
	return whole < DATA_SIZE ? whole : DATA_SIZE;
}

/** One cut of a dump: what is whole before the cut must be there. */
static bool survives_cut(const struct file *file, size_t size)
{
	uint64_t whole = whole_below(file, size), got;
	bool lost = size < file->notes, right;
	struct opened opened;

	open_bytes(&opened, file->bytes, size, NULL);
	if (opened.err) {
		right = whole == 0;
		close_opened(&opened);
		return right;
	}
	got = backing_size(opened.backing);
	// Of a frame that is most of the file so far, whole blocks are kept.
	right = size > 2 * FRAME ? got == whole :
				   got >= whole && got <= whole + FRAME;
	right &= reads_as_data(&opened, got);
	right &= backing_lost(opened.backing, got, 1);
	right &= has_notes(&opened) == (size >= file->table);
	// A cut between two frames cannot be seen: the missing notes tell.
	for (size_t i = 1; i < file->num_frames && lost; i++)
		lost = size != file->frames[i];
	right &= findings_partial(opened.findings) ==
		 (lost || (size > file->notes && size < file->table));
	if (!right)
		printf("# cut at %zu of %zu: size %llu, whole %llu, %zu findings: %s\n",
		       size, file->size, (unsigned long long)got,
		       (unsigned long long)whole,
		       findings_kept(opened.findings),
		       findings_kept(opened.findings) ?
		       findings_get(opened.findings, 0)->text : "none");
	close_opened(&opened);
	return right;
}

static void test_cuts(void)
{
	size_t wrong = 0, last, tried = 0;
	struct file file;

	make_dump(&file, FRAME);
	// Every byte of the tail, from inside the last data frame on …
	last = file.frames[file.num_frames - 1];
	for (size_t size = last - 20; size < file.size; size++, tried++)
		wrong += !survives_cut(&file, size);
	// … around every frame boundary, and all of the first header.
	for (size_t i = 1; i < file.num_frames; i++) {
		for (size_t by = 0; by < 5; by++, tried++)
			wrong += !survives_cut(&file, file.frames[i] - 2 + by);
	}
	for (size_t size = 4; size < 60; size++, tried++)
		wrong += !survives_cut(&file, size);
	CHECK_U64("cuts that went wrong", wrong, 0);
	CHECK("cuts were tried", tried > 400);
	file_deinit(&file);
}

/** Cuts of what is expanded: a finding, and the start is right. */
static void check_cut_expansion(const char *what,
				void (*make)(struct file *, const uint8_t *,
					     size_t))
{
	struct opened opened;
	struct file file;
	size_t wrong = 0, some = 0, size;
	char name[128];

	file_init(&file);
	make(&file, data, DATA_SIZE);
	for (size_t i = 0; i < 40; i++) {
		size = i < 20 ? file.size - 1 - i :
				file.size * (i - 20) / 20 + 8;
		open_bytes(&opened, file.bytes, size, NULL);
		if (opened.err) {
			wrong += opened.err->kind != ERROR_FORMAT || size > 60000;
		} else {
			wrong += !findings_partial(opened.findings);
			wrong += !reads_as_data(&opened,
						backing_size(opened.backing));
			some += backing_size(opened.backing) > 0;
		}
		close_opened(&opened);
	}
	snprintf(name, sizeof(name), "%s, cuts that went wrong", what);
	CHECK_U64(name, wrong, 0);
	snprintf(name, sizeof(name), "%s, what comes before a cut is kept",
		 what);
	CHECK(name, some > 30);
	file_deinit(&file);
}

static void make_zstd(struct file *file, const uint8_t *from, size_t size)
{
	append_zstd(file, from, size, false);
}

static void test_cut_expansions(void)
{
	check_cut_expansion("zstd", make_zstd);
	check_cut_expansion("gzip", append_gzip);
	check_cut_expansion("xz", append_xz);
	check_cut_expansion("lz4", append_lz4);
}

/** The large one of two frames is cut: it is worth saving what it has. */
static void test_cut_in_large_frame(void)
{
	struct opened opened;
	struct file file;

	file_init(&file);
	append_zstd(&file, data, 5000, true);
	append_zstd(&file, data + 5000, DATA_SIZE - 5000, true);
	file.size -= 1000;
	open_file(&opened, &file);
	CHECK("cut in a large last frame, most of it is saved",
	      !opened.err && backing_size(opened.backing) > DATA_SIZE / 2 &&
	      reads_as_data(&opened, backing_size(opened.backing)) &&
	      findings_partial(opened.findings));
	close_opened(&opened);
	file_deinit(&file);
}

static void test_corrupt_frame(void)
{
	struct opened opened;
	struct file file;
	uint8_t byte;
	size_t size, wrong = 0;

	make_dump(&file, FRAME);
	file.bytes[file.frames[7] + 300] ^= 0x55;
	open_file(&opened, &file);
	CHECK("corrupt frame, opens", opened.err == NULL);
	CHECK("corrupt frame, not lost before it is met",
	      !backing_lost(opened.backing, 0, DATA_SIZE));
	for (int i = 0; i < 3; i++) {
		CHECK("corrupt frame, reads of it fail",
		      !backing_view(opened.reader, 7 * FRAME + 5, 1, &size) &&
		      !backing_read(opened.reader, 7 * FRAME - 1, &byte, 2));
	}
	CHECK_U64("corrupt frame, one finding",
		  findings_of(opened.findings, "frame-lost"), 1);
	CHECK("corrupt frame, partial", findings_partial(opened.findings));
	CHECK("corrupt frame, exactly its range is lost",
	      backing_lost(opened.backing, 7 * FRAME, 1) &&
	      backing_lost(opened.backing, 8 * FRAME - 1, 1) &&
	      backing_lost(opened.backing, 0, DATA_SIZE) &&
	      !backing_lost(opened.backing, 0, 7 * FRAME) &&
	      !backing_lost(opened.backing, 8 * FRAME,
			    DATA_SIZE - 8 * FRAME));
	for (uint64_t at = 0; at < DATA_SIZE; at += 777) {
		bool there = backing_read(opened.reader, at, &byte, 1);

		wrong += there != (at / FRAME != 7) ||
			 (there && byte != data[at]);
	}
	CHECK_U64("corrupt frame, all others read", wrong, 0);
	close_opened(&opened);
	file_deinit(&file);
}

/** The table is right and a frame's header is not: only that frame is lost. */
static void test_corrupt_frame_header(void)
{
	struct opened opened;
	struct file file;
	uint8_t byte = 0;

	make_dump(&file, FRAME);
	memset(file.bytes + file.frames[5], 0, 64);
	open_file(&opened, &file);
	CHECK("corrupt frame header, the table is still used",
	      !opened.err && backing_size(opened.backing) == DATA_SIZE &&
	      has_notes(&opened));
	CHECK("corrupt frame header, lost",
	      !backing_read(opened.reader, 5 * FRAME, &byte, 1));
	CHECK("corrupt frame header, what follows is there",
	      backing_read(opened.reader, 6 * FRAME, &byte, 1) &&
	      byte == data[6 * FRAME]);
	close_opened(&opened);
	file_deinit(&file);
}

/** A table that lies is found out, and the frames speak for themselves. */
static void test_corrupt_table(void)
{
	struct opened opened;
	struct file file;
	size_t entries, wrong = 0;

	make_dump(&file, FRAME);
	entries = file.table + SKIPPABLE_HEADER_SIZE;
	// Every byte of the table except the magic at the end.
	for (size_t at = file.table; at < file.size - 4; at++) {
		file.bytes[at] ^= 0x81;
		open_file(&opened, &file);
		if (opened.err || !has_notes(&opened) ||
		    backing_size(opened.backing) != DATA_SIZE ||
		    !reads_as_data(&opened, DATA_SIZE) ||
		    findings_partial(opened.findings) ||
		    // a flipped checksum bit makes another table, so all else
		    findings_of(opened.findings, "seek-table") != 1) {
			wrong++;
			printf("# byte %zu of the table, %s\n", at - entries,
			       opened.err ? opened.err->message : "opened");
		}
		close_opened(&opened);
		file.bytes[at] ^= 0x81;
	}
	CHECK_U64("spoilt bytes of the table that went wrong", wrong, 0);
	file_deinit(&file);
}

static void test_missing_notes(void)
{
	struct seektable table = { 0 };
	struct opened opened;
	struct file file;
	uint8_t bytes[256];
	size_t size = 1;

	file_init(&file);
	error_free(seektable_add(&table, append_zstd(&file, data, FRAME, true),
				 FRAME));
	error_free(seektable_add(&table,
				 append_zstd(&file, data + FRAME, FRAME, true),
				 FRAME));
	seektable_serialize(&table, bytes);
	append(&file, bytes, seektable_serialized_size(&table));
	seektable_deinit(&table);
	open_file(&opened, &file);
	CHECK("no final notes",
	      !opened.err && !backing_final_notes(opened.backing, &size) &&
	      size == 0);
	CHECK("no final notes, all there", reads_as_data(&opened, 2 * FRAME));
	close_opened(&opened);
	file_deinit(&file);
}

/** Bytes that only look like the trailer of a plain dump. */
static void test_false_trailers(void)
{
	struct seektable table = { 0 };
	struct opened opened;
	struct file file;
	uint8_t bytes[64];

	file_init(&file);
	append(&file, data, 100000);
	seektable_serialize(&table, bytes);
	append(&file, bytes, seektable_serialized_size(&table));
	open_file(&opened, &file);
	CHECK("plain, table without notes",
	      !opened.err && backing_size(opened.backing) == 100000 &&
	      backing_kind(opened.backing) == BACKING_PLAIN);
	close_opened(&opened);
	file.size -= 1;
	open_file(&opened, &file);
	CHECK("plain, cut in the table", !opened.err &&
	      backing_size(opened.backing) == file.size);
	close_opened(&opened);
	// Nothing but a trailer is no core.
	open_bytes(&opened, bytes, seektable_serialized_size(&table), NULL);
	CHECK("only a table",
	      opened.err && opened.err->kind == ERROR_FORMAT);
	close_opened(&opened);
	file_deinit(&file);
}

static void test_absurd_claims(void)
{
	static const struct {
		const char *name;
		uint8_t bytes[24];
		size_t size;
	} tries[] = {
		{ "zstd frame of 2^64 - 1 bytes",
		  { 0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
		    0xFF, 0xFF, 0xFF, 0x01, 0, 0 }, 16 },
		{ "zstd window of 2^41 bytes",
		  { 0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xFF, 0x01, 0, 0 }, 9 },
		{ "skippable frame of 4 GiB",
		  { 0x51, 0x2A, 0x4D, 0x18, 0xFF, 0xFF, 0xFF, 0xFF }, 8 },
		{ "only a magic", { 0x28, 0xB5, 0x2F, 0xFD }, 4 },
		{ "gzip of nothing", { 0x1F, 0x8B }, 2 },
		{ "xz of nothing", { 0xFD, '7', 'z', 'X', 'Z', 0 }, 6 },
		{ "lz4 of nothing", { 0x04, 0x22, 0x4D, 0x18 }, 4 },
	};
	struct opened opened;

	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++) {
		open_bytes(&opened, tries[i].bytes, tries[i].size, NULL);
		CHECK(tries[i].name, opened.err &&
		      (opened.err->kind == ERROR_FORMAT ||
		       opened.err->kind == ERROR_LIMIT));
		close_opened(&opened);
	}
	open_bytes(&opened, (const uint8_t *)"BZh91AY&SY", 10, NULL);
	CHECK("bzip2 is named", opened.err &&
	      opened.err->kind == ERROR_UNSUPPORTED &&
	      strstr(opened.err->message, "bzip2"));
	close_opened(&opened);
	open_bytes(&opened, (const uint8_t *)"x", 1, NULL);
	CHECK("a single byte is plain", !opened.err &&
	      backing_size(opened.backing) == 1);
	close_opened(&opened);
}

/* --- refusals ----------------------------------------------------------------- */

static void check_refused(const char *name, const char *path,
			  enum error_kind kind, const char *words)
{
	struct backing_options options = { 0 };
	struct backing *backing = NULL;
	struct error *err = backing_open(path, &options, &backing);

	if (!CHECK(name, err && err->kind == kind &&
		   strstr(err->message, words) && strstr(err->message, path)))
		printf("# %s\n", err ? err->message : "opened");
	error_free(err);
	backing_close(backing);
}

static void test_refusals(void)
{
	char folder[] = "/tmp/backing-test-XXXXXX", path[64];
	int fd;

	if (!CHECK("scratch folder", mkdtemp(folder) != NULL))
		return;
	check_refused("directory", folder, ERROR_USAGE, "is a directory");
	check_refused("device", "/dev/null", ERROR_USAGE, "is a device");
	snprintf(path, sizeof(path), "%s/missing", folder);
	check_refused("missing", path, ERROR_OS, "No such file");
	snprintf(path, sizeof(path), "%s/fifo", folder);
	CHECK("making a FIFO", mkfifo(path, 0600) == 0);
	check_refused("FIFO", path, ERROR_USAGE, "is a pipe");
	(void)unlink(path);
	snprintf(path, sizeof(path), "%s/empty", folder);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	check_refused("empty", path, ERROR_FORMAT, "is empty");
	if (write(fd, data, 5000) != 5000 || fchmod(fd, 0) != 0)
		abort();
	(void)close(fd);
	if (geteuid() != 0) {
		check_refused("no permission", path, ERROR_OS,
			      "Permission denied");
	} else {
		pid_t child = fork();
		int status = 0;

		if (child == 0) {
			check_failures = 0;
			(void)!chmod(folder, 0755);
			if (setgid(65534) != 0 || setuid(65534) != 0)
				_exit(2);
			check_refused("no permission", path, ERROR_OS,
				      "Permission denied");
			_exit(check_result());
		}
		CHECK("a child without privileges",
		      waitpid(child, &status, 0) == child && status == 0);
	}
	(void)unlink(path);
	(void)rmdir(folder);
}

/* --- space -------------------------------------------------------------------- */

/** True if opening file ends in ERROR_LIMIT with these words. */
static bool limited(const struct file *file, const char *folder,
		    const char *words)
{
	struct opened opened;
	bool right;

	open_bytes(&opened, file->bytes, file->size,
		   &(struct backing_options){ .tmp_dir = folder });
	right = opened.err && opened.err->kind == ERROR_LIMIT &&
		strstr(opened.err->message, words) &&
		strstr(opened.err->message, folder) &&
		strstr(opened.err->message, "--tmp");
	if (!right)
		printf("# %s\n", opened.err ? opened.err->message : "opened");
	close_opened(&opened);
	return right;
}

/**
 * In a child, as limits cannot be taken back: files of at most 4 MiB. That is
 * known to be too little where the size is told, and found out where not.
 */
static void space_by_limit(void)
{
	struct rlimit limit = { 4 << 20, 4 << 20 };
	struct file told, untold, gzip;
	uint8_t *large = malloc(8 << 20);

	if (!large)
		abort();
	for (size_t i = 0; i < 8 << 20; i++)
		large[i] = (uint8_t)(1 + i % 7);
	file_init(&told);
	append_zstd(&told, large, 8 << 20, true);
	file_init(&untold);
	append_zstd(&untold, large, 8 << 20, false);
	file_init(&gzip);
	append_gzip(&gzip, large, 8 << 20);
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		abort();
	CHECK("no space for a size that is told",
	      limited(&told, "/tmp", "needs 8.0 MiB in /tmp, which can spare"));
	CHECK("no space for gzip's size",
	      limited(&gzip, "/tmp", "needs 8.0 MiB in /tmp, which can spare"));
	CHECK("no space for a size that is not told",
	      limited(&untold, "/tmp", "stopped at 4.0 MiB"));
	memset(large, 0, 8 << 20);
	untold.size = 0;
	append_zstd(&untold, large, 8 << 20, false);
	CHECK("no space for zeroes either",
	      limited(&untold, "/tmp", "stopped at 4.0 MiB"));
	file_deinit(&told);
	file_deinit(&untold);
	file_deinit(&gzip);
	free(large);
}

static bool put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) > 0;

	close_fd(&fd);
	return done;
}

/** Namespaces in which this process may mount; false where there are none. */
static bool own_namespaces(void)
{
	unsigned int uid = geteuid(), gid = getegid();
	char text[32];

	if (uid == 0 && unshare(CLONE_NEWNS) == 0)
		return mount("none", "/", NULL, MS_REC | MS_PRIVATE,
			     NULL) == 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
		return false;
	snprintf(text, sizeof(text), "0 %u 1", uid);
	if (!put_text("/proc/self/uid_map", text) ||
	    !put_text("/proc/self/setgroups", "deny"))
		return false;
	snprintf(text, sizeof(text), "0 %u 1", gid);
	return put_text("/proc/self/gid_map", text);
}

/** In a child of its own namespaces: a file system of 40 MiB. */
static bool space_by_tmpfs(void)
{
	struct file file;
	uint8_t *large;

	if (!own_namespaces() ||
	    mount("none", "/mnt", "tmpfs", 0, "size=40m") != 0)
		return false;
	large = malloc(60 << 20);
	if (!large)
		abort();
	memset(large, 'x', 60 << 20);
	file_init(&file);
	append_zstd(&file, large, 60 << 20, true);
	CHECK("small disk, size told",
	      limited(&file, "/mnt", "needs 60.0 MiB in /mnt"));
	file.size = 0;
	append_zstd(&file, large, 60 << 20, false);
	CHECK("small disk, size not told", limited(&file, "/mnt", "stopped at"));
	file_deinit(&file);
	free(large);
	return true;
}

static void test_space(void)
{
	struct file file;
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		check_failures = 0;
		space_by_limit();
		_exit(check_result());
	}
	CHECK("limit of file sizes",
	      waitpid(child, &status, 0) == child && status == 0);
	child = fork();
	if (child == 0) {
		check_failures = 0;
		if (!space_by_tmpfs())
			_exit(77);
		_exit(check_result());
	}
	CHECK("child for the small disk",
	      waitpid(child, &status, 0) == child && WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		printf("skip small disk: no namespaces or mounts here\n");
	else
		CHECK_U64("small disk", WEXITSTATUS(status), 0);

	file_init(&file);
	append_gzip(&file, data, DATA_SIZE);
	CHECK("folder that is not there", ({
		struct opened opened;
		bool right;

		open_bytes(&opened, file.bytes, file.size,
			   &(struct backing_options){
				   .tmp_dir = "/nowhere/at/all" });
		right = opened.err && opened.err->kind == ERROR_OS &&
			strstr(opened.err->message, "/nowhere/at/all");
		close_opened(&opened);
		right;
	}));
	file_deinit(&file);
}

/* --- cache and threads ---------------------------------------------------------- */

/** The budget holds whatever is read, and a frame over it is expanded. */
static void test_budget(void)
{
	struct seektable table = { 0 };
	struct frames_decoder *decoder = NULL;
	struct frames *frames = NULL;
	struct opened opened;
	struct file file;
	uint64_t start, peak = 0, resident;
	size_t size;
	int fd;

	make_dump(&file, FRAME);
	fd = memfd_create("core", MFD_CLOEXEC);
	if (write(fd, file.bytes, file.size) != (ssize_t)file.size)
		abort();
	error_free(seektable_parse(file.bytes, file.size, &table, &start));
	error_free(frames_create(&table, &(struct frames_options){
					 .fd = fd,
					 .name = "core",
					 .cache_bytes = 4 * FRAME,
				 }, &frames));
	error_free(frames_decoder_create(&decoder));
	seektable_deinit(&table);
	for (int i = 0; i < 3000; i++) {
		size_t frame = i < 200 ? (size_t)i % frames_count(frames) :
					 random_next() % frames_count(frames);

		if (!frames_pin(frames, decoder, frame, &size))
			abort();
		frames_unpin(frames, frame);
	}
	resident = frames_resident(frames, &peak);
	CHECK("at most four frames are kept", peak <= 4 * FRAME);
	CHECK("and the cache is used", resident > 2 * FRAME);
	(void)frames_pin(frames, decoder, 0, &size);
	(void)frames_pin(frames, decoder, 0, &size);
	CHECK("one frame pinned, room for more", !frames_crowded(frames));
	(void)frames_pin(frames, decoder, 1, &size);
	CHECK("half of the budget pinned, crowded", frames_crowded(frames));
	frames_unpin(frames, 1);
	CHECK("given back, room again", !frames_crowded(frames));
	frames_unpin(frames, 0);
	frames_unpin(frames, 0);
	// More pinned than the budget: allowed, and given back afterwards.
	for (size_t i = 0; i < 7; i++)
		(void)frames_pin(frames, decoder, i, &size);
	(void)frames_resident(frames, &peak);
	CHECK_U64("pinned frames exceed the budget", peak, 7 * FRAME);
	for (size_t i = 0; i < 7; i++)
		frames_unpin(frames, i);
	CHECK("and are given back",
	      frames_resident(frames, &peak) <= 4 * FRAME);
	frames_decoder_destroy(decoder);
	frames_destroy(frames);
	(void)close(fd);

	open_bytes(&opened, file.bytes, file.size,
		   &(struct backing_options){ .cache_bytes = FRAME - 1 });
	CHECK("frames larger than the cache are expanded",
	      !opened.err && backing_kind(opened.backing) == BACKING_EXPANDED &&
	      reads_as_data(&opened, DATA_SIZE) && has_notes(&opened));
	close_opened(&opened);
	file_deinit(&file);
}

enum { MIB = 1 << 20 };

static void pin_once(struct frames *frames, struct frames_decoder *decoder,
		     size_t frame)
{
	size_t size;

	if (!frames_pin(frames, decoder, frame, &size))
		abort();
	frames_unpin(frames, frame);
}

/** Pin every frame once, in order; the bytes kept afterwards. */
static uint64_t pass_over(struct frames *frames, struct frames_decoder *decoder)
{
	uint64_t peak;

	for (size_t i = 0; i < frames_count(frames); i++)
		pin_once(frames, decoder, i);
	return frames_resident(frames, &peak);
}

/** How many of the frames of a MiB from first to end are in the cache. */
static uint64_t num_at_hand(struct frames *frames, size_t first, size_t end)
{
	uint64_t count = 0, word;

	for (size_t i = first; i < end; i++)
		count += frames_copy(frames, i * MIB, &word, sizeof(word));
	return count;
}

/** Memory is taken for frames that are wanted again, not for a single pass. */
static void test_second_pass(void)
{
	enum { COUNT = 64, STAYING = 12 };
	struct seektable table = { 0 };
	struct frames_decoder *decoder = NULL;
	struct frames *frames = NULL;
	uint8_t *zeroes = calloc(1, MIB);
	struct file file;
	uint64_t once;
	int fd = memfd_create("core", MFD_CLOEXEC);

	file_init(&file);
	for (int i = 0; i < COUNT; i++)
		error_free(seektable_add(&table, append_zstd(&file, zeroes, MIB,
							     true), MIB));
	if (write(fd, file.bytes, file.size) != (ssize_t)file.size)
		abort();
	error_free(frames_decoder_create(&decoder));
	error_free(frames_create(&table, &(struct frames_options){
					 .fd = fd,
					 .name = "core",
					 .cache_bytes = UINT64_C(2) * COUNT * MIB,
				 }, &frames));
	once = pass_over(frames, decoder);
	CHECK("one pass keeps less than half", once < COUNT * MIB / 2);
	CHECK_U64("after a second pass all are kept",
		  pass_over(frames, decoder), COUNT * MIB);
	frames_destroy(frames);
	error_free(frames_create(&table, &(struct frames_options){
					 .fd = fd,
					 .name = "core",
					 .cache_bytes = COUNT / 2 * MIB,
				 }, &frames));
	(void)pass_over(frames, decoder);
	(void)pass_over(frames, decoder);
	CHECK_U64("or as many as the budget allows",
		  pass_over(frames, decoder), COUNT / 2 * MIB);
	frames_destroy(frames);
	error_free(frames_create(&table, &(struct frames_options){
					 .fd = fd,
					 .name = "core",
					 .cache_bytes = UINT64_C(2) * COUNT * MIB,
				 }, &frames));
	for (size_t i = 0; i < STAYING; i++)
		pin_once(frames, decoder, i);
	frames_decoder_pass(decoder, true);
	for (size_t i = STAYING; i < COUNT; i++)
		pin_once(frames, decoder, i);
	CHECK_U64("what passes leaves what was there before",
		  num_at_hand(frames, 0, STAYING), STAYING);
	CHECK("and little of itself",
	      num_at_hand(frames, STAYING, COUNT) < STAYING);
	frames_decoder_pass(decoder, false);
	frames_destroy(frames);
	frames_decoder_destroy(decoder);
	seektable_deinit(&table);
	(void)close(fd);
	free(zeroes);
	file_deinit(&file);
}

struct walker {
	struct backing *backing;
	size_t wrong;
	uint64_t seed;
};

static void *walk(void *context)
{
	struct walker *walker = context;
	struct backing_reader *reader = NULL;
	uint64_t state = walker->seed;
	const uint8_t *view;
	size_t size;

	error_free(backing_reader_create(walker->backing, &reader));
	for (int pass = 0; pass < 3; pass++) {
		for (uint64_t at = 0; at < DATA_SIZE; at += size) {
			view = backing_view(reader, at, DATA_SIZE, &size);
			if (!view) {
				walker->wrong++;
				break;
			}
			walker->wrong += memcmp(view, data + at, size) != 0;
		}
	}
	for (int i = 0; i < 3000; i++) {
		uint64_t at;

		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		at = (state >> 20) % DATA_SIZE;
		view = backing_view(reader, at, 16, &size);
		walker->wrong += !view || memcmp(view, data + at, size) != 0;
	}
	backing_reader_destroy(reader);
	return NULL;
}

static void test_threads(uint64_t cache_bytes, const char *name)
{
	struct walker walkers[4];
	pthread_t threads[4];
	struct opened opened;
	struct file file;
	size_t wrong = 0;

	make_dump(&file, FRAME);
	open_bytes(&opened, file.bytes, file.size,
		   &(struct backing_options){ .cache_bytes = cache_bytes });
	for (uint64_t i = 0; i < 4; i++) {
		walkers[i] = (struct walker){ opened.backing, 0, i };
		if (pthread_create(&threads[i], NULL, walk, &walkers[i]) != 0)
			abort();
	}
	for (int i = 0; i < 4; i++) {
		(void)pthread_join(threads[i], NULL);
		wrong += walkers[i].wrong;
	}
	CHECK_U64(name, wrong, 0);
	close_opened(&opened);
	file_deinit(&file);
}

/* --- copies without a pin ------------------------------------------------------- */

enum { WORDS = 4 << 20, SMALL = 64 << 10 };	/* in 512 frames */

struct copier {
	struct frames *frames;
	uint64_t state;
	size_t copied, wrong;
};

static uint64_t word_at(uint64_t offset)
{
	return (offset / 8 + 1) * UINT64_C(0x9E3779B97F4A7C15);
}

static uint64_t some_offset(struct copier *copier)
{
	copier->state = copier->state * 6364136223846793005ULL +
			1442695040888963407ULL;
	return (copier->state >> 20) % WORDS * 8;
}

/** Few frames pinned, much copied: most frames go as fast as they come. */
static void *copy(void *context)
{
	struct copier *copier = context;
	struct frames_decoder *decoder = NULL;
	uint64_t page[512];

	error_free(frames_decoder_create(&decoder));
	for (int i = 0; i < 1000; i++) {
		uint64_t pinned = some_offset(copier), word;
		size_t frame = frames_find(copier->frames, pinned), size;
		const uint8_t *bytes = frames_pin(copier->frames, decoder,
						  frame, &size);

		for (int j = 0; bytes && j < 300; j++) {
			uint64_t at = some_offset(copier) & ~UINT64_C(4095);

			frames_fetch(copier->frames, at);
			if (!frames_copy(copier->frames, at, page,
					 sizeof(page)))
				continue;
			copier->copied++;
			for (size_t k = 0; k < 512; k++)
				copier->wrong += page[k] != word_at(at + k * 8);
		}
		copier->wrong += !bytes ||
				 !frames_copy(copier->frames, pinned, &word,
					      sizeof(word)) ||
				 word != word_at(pinned);
		frames_unpin(copier->frames, frame);
	}
	frames_decoder_destroy(decoder);
	return NULL;
}

static void test_copies(void)
{
	struct copier copiers[4];
	pthread_t threads[4];
	struct seektable table = { 0 };
	struct frames *frames = NULL;
	uint64_t *words = malloc(sizeof(*words) * WORDS), word;
	size_t copied = 0, wrong = 0;
	int fd = memfd_create("core", MFD_CLOEXEC);
	struct file file;

	for (uint64_t i = 0; i < WORDS; i++)
		words[i] = word_at(i * 8);
	file_init(&file);
	for (uint64_t at = 0; at < sizeof(*words) * WORDS; at += SMALL) {
		size_t stored = append_zstd(&file, (uint8_t *)words + at, SMALL,
					    true);

		error_free(seektable_add(&table, stored, SMALL));
		if (write(fd, file.bytes, file.size) != (ssize_t)file.size)
			abort();
		file.size = 0;
	}
	error_free(frames_create(&table, &(struct frames_options){
					 .fd = fd,
					 .name = "core",
					 .cache_bytes = 8 << 20,
				 }, &frames));
	CHECK("nothing is there at first",
	      !frames_copy(frames, 0, &word, sizeof(word)));
	for (uint64_t i = 0; i < 4; i++) {
		copiers[i] = (struct copier){ .frames = frames, .state = i };
		if (pthread_create(&threads[i], NULL, copy, &copiers[i]) != 0)
			abort();
	}
	for (int i = 0; i < 4; i++) {
		(void)pthread_join(threads[i], NULL);
		copied += copiers[i].copied;
		wrong += copiers[i].wrong;
	}
	CHECK("copies of what is there", copied > 10000);
	CHECK_U64("are what is there", wrong, 0);
	CHECK("nothing that lies in two frames",
	      !frames_copy(frames, SMALL - 4, &word, sizeof(word)));
	frames_destroy(frames);
	seektable_deinit(&table);
	(void)close(fd);
	free(words);
	file_deinit(&file);
}

/* --- files that shrink ----------------------------------------------------------- */

static void test_shrinking(void)
{
	struct opened opened;
	const uint8_t *view = NULL;
	uint64_t sum = 0;
	size_t size = 0, half = DATA_SIZE / 2 / 4096 * 4096;

	mapping_guard_sigbus();
	open_bytes(&opened, data, DATA_SIZE, NULL);
	view = backing_view(opened.reader, 0, DATA_SIZE, &size);
	CHECK_U64("plain, one view reaches to the end", size, DATA_SIZE);
	CHECK("whole, nothing shrank", !backing_shrank(opened.backing));
	if (ftruncate(opened.fd, (off_t)half) != 0)
		abort();
	for (size_t i = half; i < DATA_SIZE; i++)
		sum += view[i];
	CHECK_U64("shrunk, reads as zeroes", sum, 0);
	CHECK("shrunk, the start is as it was", memcmp(view, data, half) == 0);
	CHECK("shrunk, lost from there on",
	      backing_lost(opened.backing, half, 1) &&
	      backing_lost(opened.backing, DATA_SIZE - 1, 1) &&
	      !backing_lost(opened.backing, 0, half));
	CHECK("shrunk, told", backing_shrank(opened.backing) &&
	      backing_shrank(opened.backing));
	CHECK_U64("shrunk, one finding",
		  findings_of(opened.findings, "file-shrank"), 1);
	CHECK("shrunk, partial", findings_partial(opened.findings));
	close_opened(&opened);
}

/** Frames behind the end of a file that shrank are lost, and say why. */
static void test_shrinking_frames(void)
{
	enum { CUT = 5 };	/* the frame that the file now ends in */
	struct opened opened;
	struct file file;
	uint8_t bytes[FRAME];
	size_t wrong = 0, kept;

	mapping_guard_sigbus();
	make_dump(&file, FRAME);
	open_file(&opened, &file);
	if (ftruncate(opened.fd, (off_t)(file.frames[CUT + 1] - 1)) != 0)
		abort();
	for (uint64_t at = 0; at + FRAME <= DATA_SIZE; at += FRAME) {
		bool there = backing_read(opened.reader, at, bytes, FRAME);

		wrong += there != (at / FRAME < CUT) ||
			 (there && memcmp(bytes, data + at, FRAME) != 0);
	}
	CHECK_U64("shrunk frames, those before the end read", wrong, 0);
	kept = findings_kept(opened.findings);
	CHECK("shrunk frames, found", kept > 0);
	for (size_t i = 0; i < kept; i++)
		wrong += !strstr(findings_get(opened.findings, i)->text,
				 "the file ends in it");
	CHECK_U64("shrunk frames, the reason is told", wrong, 0);
	CHECK("shrunk frames, partial", findings_partial(opened.findings));
	close_opened(&opened);
	file_deinit(&file);
}

/** A fault that is not ours is not hidden. Our handler is in place. */
static void test_foreign_sigbus(void)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		int fd = memfd_create("other", MFD_CLOEXEC);
		volatile uint8_t *bytes;
		struct rlimit none = { 0, 0 };

		(void)setrlimit(RLIMIT_CORE, &none);
		// A sanitizer would tell of it at length.
		(void)!freopen("/dev/null", "w", stderr);
		bytes = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		(void)bytes[0];
		_exit(0);
	}
	// A sanitizer's own handler ends the child with a status instead.
	CHECK("a fault elsewhere goes to the handler before ours",
	      waitpid(child, &status, 0) == child && status != 0);
}

int main(void)
{
	make_data();
	test_round_trips();
	test_odd_frames();
	test_expanded_round_trips();
	test_compressed_plain_dump();
	test_sparse();
	test_cuts();
	test_cut_expansions();
	test_cut_in_large_frame();
	test_corrupt_frame();
	test_corrupt_frame_header();
	test_corrupt_table();
	test_missing_notes();
	test_false_trailers();
	test_absurd_claims();
	test_refusals();
	test_space();
	test_budget();
	test_second_pass();
	test_threads(0, "four threads, all frames kept");
	test_threads(3 * FRAME, "four threads, hardly any kept");
	test_copies();
	test_shrinking();
	test_shrinking_frames();
	test_foreign_sigbus();
	return check_result();
}
