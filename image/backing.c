/*
 * The bytes of a core file, whatever it is wrapped in; see backing.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zstd.h>

#include "image/base/bytes.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/expand.h"
#include "image/format.h"
#include "image/frames.h"
#include "image/mapping.h"
#include "image/seektable.h"

enum {
	CACHE_BYTES = 64 << 20,
	READER_PINS = 8,	/* frames that a reader keeps at most */
	NOTES_MAX = 64 << 20,	/* bytes of final notes that we keep */
	NOTES_SEARCH = 16 << 20,	/* of an uncompressed file's end */
	LZ4_MAGIC = 0x184D2204,
	SKIPPABLE_FIRST = 0x184D2A50,
	SKIPPABLE_LEADING_MAX = 4096,	/* looked through for the real magic */
	SOURCE_PIECE = 16 << 10,	/* bytes read from a source at once */
	READER_PIECES = 64,	/* of a source, that a reader keeps at most */
};

struct backing {
	enum backing_kind kind;
	int fd;			/* of the file */
	int expanded_fd;	/* of the temporary file, or -1 */
	char *name;
	char description[80];
	uint64_t stored_size, size;
	struct mapping mapping;	/* of the plain or the expanded file */
	struct frames *frames;	/* of BACKING_ZSTD_FRAMES */
	struct mapping stored;	/* the file as it is, under frames */
	uint8_t *notes;
	size_t notes_size;
	struct findings *findings;	/* borrowed */
	atomic_bool shrink_reported;
	struct backing_source source;	/* of BACKING_SOURCE */
};

/** A frame that a reader keeps pinned. */
struct pin {
	const uint8_t *data;	/* NULL: none is */
	size_t size;
	size_t frame;
};

/** Bytes of a source, as they were when they were read. */
struct piece {
	uint64_t offset;
	size_t size;		/* 0: none */
	uint8_t *bytes;		/* SOURCE_PIECE of them; NULL: not needed yet */
};

struct backing_reader {
	struct backing *backing;	/* borrowed */
	struct piece pieces[READER_PIECES];	/* of BACKING_SOURCE */
	/*
	 * Of BACKING_ZSTD_FRAMES: the frame that the last view was in, and
	 * others from before, each in its place by number, as long as there is
	 * room in the cache. Neighbours are looked at in turn, again and again.
	 */
	struct frames_decoder *decoder;
	struct pin pins[READER_PINS];
};

/* --- what it is ----------------------------------------------------------- */

enum content {
	CONTENT_PLAIN,		/* an ELF file, or what image_open() refuses */
	CONTENT_ZSTD,
	CONTENT_GZIP,
	CONTENT_XZ,
	CONTENT_LZ4,
	CONTENT_OTHER,		/* some other compression: name in *ret_name */
};

/** Magic numbers longer or odder than four little-endian bytes. */
static const struct {
	const char *bytes;
	size_t size;
	enum content content;
	const char *name;
} signatures[] = {
	{ "\x1f\x8b", 2, CONTENT_GZIP, "gzip" },
	{ "\xfd" "7zXZ", 6, CONTENT_XZ, "xz" },
	{ "BZh", 3, CONTENT_OTHER, "bzip2" },
	{ "PK\x03\x04", 4, CONTENT_OTHER, "zip" },
	{ "7z\xbc\xaf\x27\x1c", 6, CONTENT_OTHER, "7-Zip" },
	{ "\x02\x21\x4c\x18", 4, CONTENT_OTHER, "lz4 (legacy format)" },
	{ "\x5d\x00\x00", 3, CONTENT_OTHER, "lzma" },
};

static enum content content_of(const uint8_t *file, size_t size,
			       const char **ret_name)
{
	struct bytes at = bytes_over(file, size);
	uint32_t magic, skipped;

	for (size_t i = 0; i < sizeof(signatures) / sizeof(*signatures); i++) {
		if (size >= signatures[i].size &&
		    memcmp(file, signatures[i].bytes, signatures[i].size) == 0) {
			*ret_name = signatures[i].name;
			return signatures[i].content;
		}
	}
	// zstd and lz4 share the skippable frames that may come first.
	for (int i = 0; i < SKIPPABLE_LEADING_MAX; i++) {
		if (!bytes_u32(&at, &magic))
			break;
		if (magic == ZSTD_MAGICNUMBER)
			return CONTENT_ZSTD;
		if (magic == LZ4_MAGIC)
			return CONTENT_LZ4;
		if ((magic & ~UINT32_C(0xF)) != SKIPPABLE_FIRST)
			break;
		if (!bytes_u32(&at, &skipped) || !bytes_take(&at, skipped))
			return CONTENT_ZSTD;
	}
	return CONTENT_PLAIN;
}

__attribute__((format(printf, 2, 3)))
static void describe(struct backing *backing, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(backing->description, sizeof(backing->description),
			format, args);
	va_end(args);
}

/* --- final notes ----------------------------------------------------------- */

static struct error *keep_notes(struct backing *backing, const uint8_t *notes,
				uint32_t size)
{
	if (size > NOTES_MAX) {
		findings_add(backing->findings, "final-notes", 0,
			     "%s: final notes of %" PRIu32
			     " bytes are not believed", backing->name, size);
		findings_set_partial(backing->findings);
		return NULL;
	}
	backing->notes = malloc(size ? size : 1);
	if (!backing->notes)
		return error_no_memory();
	memcpy(backing->notes, notes, size);
	backing->notes_size = size;
	return NULL;
}

/**
 * Where the skippable frame of notes starts that ends at end. Its size stands
 * at its start only, so it is looked for backwards: a header whose size leads
 * exactly to end.
 */
static bool find_notes_before(const uint8_t *file, uint64_t end,
			      uint64_t *ret_start, uint32_t *ret_size)
{
	struct bytes at = bytes_over(file, (size_t)end);
	uint64_t lowest = end > NOTES_SEARCH ? end - NOTES_SEARCH : 0;
	uint32_t magic = 0, size = 0;

	if (end < SKIPPABLE_HEADER_SIZE)
		return false;
	for (uint64_t start = end - SKIPPABLE_HEADER_SIZE + 1;
	     start-- > lowest;) {
		if (file[start] != (FORMAT_SKIPPABLE_NOTES & 0xFF))
			continue;
		at.at = (size_t)start;
		(void)bytes_u32(&at, &magic);
		(void)bytes_u32(&at, &size);
		if (magic == FORMAT_SKIPPABLE_NOTES &&
		    size == end - start - SKIPPABLE_HEADER_SIZE) {
			*ret_start = start;
			*ret_size = size;
			return true;
		}
	}
	return false;
}

/** The two frames that our uncompressed dumps have behind the core. */
static struct error *take_trailer(struct backing *backing)
{
	const uint8_t *file = backing->mapping.data;
	struct seektable table = { 0 };
	struct error *err;
	uint64_t end, start;
	uint32_t size;
	bool found;

	err = seektable_parse(file, backing->mapping.size, &table, &end);
	if (err && err->kind == ERROR_NO_MEMORY)
		return err;
	// A table with frames, or none that makes sense, is the core's own.
	found = !err && table.count == 0;
	error_free(err);
	seektable_deinit(&table);
	if (!found)
		return NULL;
	backing->size = end;
	if (!find_notes_before(file, end, &start, &size))
		return NULL;
	backing->size = start;
	return keep_notes(backing, file + start + SKIPPABLE_HEADER_SIZE, size);
}

/* --- opening ---------------------------------------------------------------- */

static struct error *open_plain(struct backing *backing, int fd, uint64_t size)
{
	struct error *err;

	err = mapping_init(&backing->mapping, fd, true, size, backing->name);
	if (err)
		return err;
	backing->size = size;
	err = take_trailer(backing);
	if (!err && backing->size == 0)
		err = error_new(ERROR_FORMAT, "%s holds no core", backing->name);
	return err;
}

static struct error *open_expanded(struct backing *backing,
				   enum expand_format format,
				   const struct backing_options *options)
{
	struct expanded expanded;
	struct error *err;

	err = expand(backing->fd, backing->stored_size, format, backing->name,
		     options, &expanded);
	if (err)
		return err;
	backing->expanded_fd = expanded.fd;
	backing->kind = BACKING_EXPANDED;
	describe(backing, "%s, expanded%s", expand_format_name(format),
		 expanded.damaged ? ", damaged" : "");
	return open_plain(backing, expanded.fd, expanded.size);
}

/** True if nothing of the core can stand where the walk ended. */
static bool past_data(const struct seektable_walk *walk)
{
	return walk->last_magic == FORMAT_SKIPPABLE_SEEK ||
	       walk->last_magic == FORMAT_SKIPPABLE_NOTES ||
	       walk->cut_magic == FORMAT_SKIPPABLE_SEEK;
}

/** Say what the end of the walk over the frames means for the user. */
static void report_walk(struct backing *backing,
			const struct seektable_walk *walk)
{
	bool cut = walk->end == SEEKTABLE_CUT;
	const char *code = cut ? "container-truncated" : "container-damaged";

	if (walk->end == SEEKTABLE_WHOLE) {
		// Our own notes are always followed by the table.
		if (walk->last_magic == FORMAT_SKIPPABLE_NOTES)
			findings_add(backing->findings, "container-truncated",
				     0, "%s: cut off before its seek table; no "
				     "data of the core is lost", backing->name);
		return;
	}
	if (past_data(walk)) {
		findings_add(backing->findings, code, 0,
			     "%s: %s at stored byte %" PRIu64
			     "; no data of the core is lost", backing->name,
			     cut ? "cut off behind its data" :
				   "other bytes follow its data", walk->stored);
		return;
	}
	findings_set_partial(backing->findings);
	if (walk->cut_magic == FORMAT_SKIPPABLE_NOTES) {
		findings_add(backing->findings, code, 0,
			     "%s: cut off in its final notes at stored byte %"
			     PRIu64, backing->name, walk->stored);
		return;
	}
	if (walk->cut_expanded > 0)
		findings_add(backing->findings, code, 0,
			     "%s: %s at stored byte %" PRIu64
			     "; bytes %" PRIu64 " to %" PRIu64
			     " of the core are lost, and all that followed",
			     backing->name,
			     cut ? "cut off" : "no whole frame", walk->stored,
			     walk->expanded, walk->expanded + walk->cut_expanded);
	else
		findings_add(backing->findings, code, 0,
			     "%s: %s at stored byte %" PRIu64
			     "; the core is lost from byte %" PRIu64 " on",
			     backing->name,
			     cut ? "cut off" : "no frame", walk->stored,
			     walk->expanded);
}

static uint32_t largest_frame(const struct seektable *table)
{
	uint32_t largest = 0;

	for (size_t i = 0; i < table->count; i++) {
		if (table->entries[i].expanded > largest)
			largest = table->entries[i].expanded;
	}
	return largest;
}

/**
 * True if the walk found nothing that is better read at random: a single
 * frame, a frame of unknown size, or (where the damaged frame is larger than
 * all before it) more to be saved from within that one.
 */
static bool better_expanded(const struct backing *backing,
			    const struct seektable_walk *walk)
{
	if (walk->end == SEEKTABLE_NO_RANDOM_ACCESS || walk->data_frames == 0)
		return true;
	if (walk->end == SEEKTABLE_WHOLE)
		return walk->data_frames == 1 && !past_data(walk);
	return backing->stored_size - walk->stored > walk->stored &&
	       !past_data(walk);
}

/** True if the frames that were walked over are those the table begins with. */
static bool begins_with(const struct seektable *table,
			const struct seektable *walked)
{
	size_t i = 0;

	for (size_t j = 0; j < walked->count; j++) {
		if (walked->entries[j].expanded == 0)
			continue;
		while (i < table->count && table->entries[i].expanded == 0)
			i++;
		if (i == table->count ||
		    table->entries[i].stored != walked->entries[j].stored ||
		    table->entries[i].expanded != walked->entries[j].expanded)
			return false;
		i++;
	}
	return true;
}

/**
 * Get the table of frames, from the end of the file or from the frames.
 *
 * Where table and frames disagree, one of them is damaged. If the walk stops
 * short at a frame and agreed with the table until there, it is the frame: the
 * table is kept, and the frame will be lost when it is read.
 *
 * @param ret_expand  true if the file is to be expanded instead
 */
static struct error *find_frames(struct backing *backing, const uint8_t *file,
				 size_t size, struct seektable *ret,
				 bool *ret_expand)
{
	struct seektable table = { 0 }, walked = { 0 };
	struct seektable_walk walk;
	struct error *problem, *err;
	uint64_t start;

	*ret_expand = false;
	// The table leads to headers all over the file. The kernel would read
	// ahead of each: at 8 MiB, as some disks have it, all of a large file.
	(void)madvise((void *)(uintptr_t)file, size, MADV_RANDOM);
	problem = seektable_parse(file, size, &table, &start);
	if (!problem)
		problem = seektable_verify(&table, file, size);
	(void)madvise((void *)(uintptr_t)file, size, MADV_NORMAL);
	if (!problem && largest_frame(&table) > 0) {
		*ret = table;
		return NULL;
	}
	err = seektable_rebuild(file, size, &walked, &walk);
	if (!err && largest_frame(&table) > 0 && walk.end != SEEKTABLE_WHOLE &&
	    begins_with(&table, &walked)) {
		error_free(problem);
		seektable_deinit(&walked);
		*ret = table;
		return NULL;
	}
	seektable_deinit(&table);
	if (problem && problem->kind == ERROR_FORMAT)
		findings_take(backing->findings, "seek-table",
			      error_context(problem, "%s", backing->name));
	else
		error_free(problem);
	if (err)
		return err;
	*ret = walked;
	*ret_expand = better_expanded(backing, &walk);
	if (!*ret_expand)
		report_walk(backing, &walk);
	return NULL;
}

static struct error *open_frames(struct backing *backing,
				 const struct seektable *table,
				 const struct backing_options *options)
{
	char count[UNITS_TEXT_MAX];
	struct error *err;

	err = frames_create(table, &(struct frames_options){
				.fd = backing->fd,
				.mapping = &backing->stored,
				.name = backing->name,
				.cache_bytes = options->cache_bytes,
				.findings = backing->findings,
			    }, &backing->frames);
	if (err)
		return err;
	backing->kind = BACKING_ZSTD_FRAMES;
	backing->size = frames_size(backing->frames);
	describe(backing, "zstd, %s frame%s",
		 units_count(frames_count(backing->frames), count),
		 frames_count(backing->frames) == 1 ? "" : "s");
	return NULL;
}

/** Takes over the mapping of the file if it is to be read frame by frame. */
static struct error *open_zstd(struct backing *backing,
			       struct mapping *mapping,
			       const struct backing_options *options)
{
	const uint8_t *file = mapping->data;
	size_t size = mapping->size;
	struct seektable table = { 0 };
	const uint8_t *notes;
	uint32_t notes_size;
	struct error *err;
	bool to_expand;

	err = find_frames(backing, file, size, &table, &to_expand);
	if (err)
		return err;
	notes = seektable_skippable(&table, file, size, FORMAT_SKIPPABLE_NOTES,
				    &notes_size);
	if (notes)
		err = keep_notes(backing, notes, notes_size);
	// One frame that is larger than the cache would defeat it.
	if (!err && (to_expand || largest_frame(&table) > options->cache_bytes))
		err = open_expanded(backing, EXPAND_ZSTD, options);
	else if (!err)
		err = open_frames(backing, &table, options);
	if (backing->frames) {
		backing->stored = *mapping;
		*mapping = (struct mapping){ .slot = -1 };
	}
	seektable_deinit(&table);
	return err;
}

static struct error *open_content(struct backing *backing,
				  const struct backing_options *options)
{
	struct mapping mapping = { .slot = -1 };
	const char *name = NULL;
	struct error *err;

	err = mapping_init(&mapping, backing->fd, true, backing->stored_size,
			   backing->name);
	if (err)
		return err;
	switch (content_of(mapping.data, mapping.size, &name)) {
	case CONTENT_PLAIN:
		backing->kind = BACKING_PLAIN;
		describe(backing, "plain");
		err = open_plain(backing, backing->fd, backing->stored_size);
		break;
	case CONTENT_ZSTD:
		err = open_zstd(backing, &mapping, options);
		break;
	case CONTENT_GZIP:
		err = open_expanded(backing, EXPAND_GZIP, options);
		break;
	case CONTENT_XZ:
		err = open_expanded(backing, EXPAND_XZ, options);
		break;
	case CONTENT_LZ4:
		err = open_expanded(backing, EXPAND_LZ4, options);
		break;
	case CONTENT_OTHER:
		err = error_new(ERROR_UNSUPPORTED,
				"%s is %s data, which cannot be read here; expand it first",
				backing->name, name);
		break;
	}
	mapping_deinit(&mapping);
	return err;
}

static const char *kind_of_file(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe, which cannot be read at random; save it to a file first";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	default:
		return "no regular file";
	}
}

static struct error *check_file(struct backing *backing)
{
	struct stat status;

	if (fstat(backing->fd, &status) != 0)
		return error_os(errno, "%s", backing->name);
	if (!S_ISREG(status.st_mode))
		return error_new(ERROR_USAGE, "%s is %s", backing->name,
				 kind_of_file(status.st_mode));
	if (status.st_size <= 0)
		return error_new(ERROR_FORMAT, "%s is empty", backing->name);
	backing->stored_size = (uint64_t)status.st_size;
	return NULL;
}

/** Takes fd, also on failure. */
static struct error *open_descriptor(int fd, const char *name,
				     const struct backing_options *options,
				     struct backing **ret)
{
	struct backing_options own = *options;
	struct backing *backing = calloc(1, sizeof(*backing));
	struct error *err;

	if (!backing) {
		close_fd(&fd);
		return error_no_memory();
	}
	if (own.cache_bytes == 0)
		own.cache_bytes = CACHE_BYTES;
	backing->fd = fd;
	backing->expanded_fd = -1;
	backing->mapping.slot = -1;
	backing->stored.slot = -1;
	backing->findings = own.findings;
	backing->name = strdup(name);
	err = backing->name ? check_file(backing) : error_no_memory();
	if (!err)
		err = open_content(backing, &own);
	if (err) {
		backing_close(backing);
		return err;
	}
	*ret = backing;
	return NULL;
}

struct error *backing_open(const char *path,
			   const struct backing_options *options,
			   struct backing **ret)
{
	// A FIFO without a writer would otherwise block us here.
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && errno == ENXIO)
		return error_new(ERROR_USAGE, "%s is a socket or a device",
				 path);
	if (fd < 0)
		return error_os(errno, "cannot open %s", path);
	return open_descriptor(fd, path, options, ret);
}

struct error *backing_open_fd(int fd, const char *name,
			      const struct backing_options *options,
			      struct backing **ret)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (own < 0)
		return error_os(errno, "%s", name);
	return open_descriptor(own, name, options, ret);
}

struct error *backing_open_source(const struct backing_source *source,
				  const char *name, struct backing **ret)
{
	struct backing *backing = calloc(1, sizeof(*backing));

	if (!backing)
		return error_no_memory();
	backing->kind = BACKING_SOURCE;
	backing->fd = backing->expanded_fd = -1;
	backing->mapping.slot = backing->stored.slot = -1;
	backing->source = *source;
	backing->size = source->size;
	backing->name = strdup(name);
	if (!backing->name) {
		backing_close(backing);
		return error_no_memory();
	}
	*ret = backing;
	return NULL;
}

void backing_close(struct backing *backing)
{
	if (!backing)
		return;
	frames_destroy(backing->frames);
	mapping_deinit(&backing->mapping);
	mapping_deinit(&backing->stored);
	close_fd(&backing->fd);
	close_fd(&backing->expanded_fd);
	free(backing->notes);
	free(backing->name);
	free(backing);
}

/* --- asking ------------------------------------------------------------------ */

int backing_fd(const struct backing *backing)
{
	return backing->fd;
}

bool backing_peek(const struct backing *backing, uint64_t offset, void *buffer,
		  size_t size)
{
	return backing->kind == BACKING_PLAIN && backing->fd >= 0 &&
	       offset <= INT64_MAX && size <= SSIZE_MAX &&
	       pread(backing->fd, buffer, size, (off_t)offset) == (ssize_t)size;
}

enum backing_kind backing_kind(const struct backing *backing)
{
	return backing->kind;
}

uint64_t backing_grain(const struct backing *backing)
{
	switch (backing->kind) {
	case BACKING_ZSTD_FRAMES:
		return UINT64_C(1) << FORMAT_FRAME_LOG2;
	case BACKING_SOURCE:
		return SOURCE_PIECE;
	case BACKING_PLAIN:
	case BACKING_EXPANDED:
		break;
	}
	return 0;
}

const char *backing_describe(const struct backing *backing)
{
	return backing->description;
}

uint64_t backing_size(const struct backing *backing)
{
	return backing->size;
}

uint64_t backing_stored_size(const struct backing *backing)
{
	return backing->stored_size;
}

const void *backing_final_notes(const struct backing *backing, size_t *ret_size)
{
	*ret_size = backing->notes_size;
	return backing->notes;
}

bool backing_shrank(struct backing *backing)
{
	uint64_t start, end;

	if (!mapping_lost(&backing->mapping, &start, &end))
		return false;
	if (!atomic_exchange(&backing->shrink_reported, true)) {
		findings_add(backing->findings, "file-shrank", 0,
			     "%s became unreadable while it was being read: bytes %"
			     PRIu64 " to %" PRIu64 " were taken for zeroes",
			     backing->name, start, end);
		findings_set_partial(backing->findings);
	}
	return true;
}

bool backing_lost(const struct backing *backing, uint64_t offset, uint64_t size)
{
	uint64_t start, end;

	if (size == 0)
		return false;
	if (offset >= backing->size || size > backing->size - offset)
		return true;
	if (backing->frames)
		return frames_lost(backing->frames, offset, size);
	if (backing->kind == BACKING_SOURCE)
		return false;
	return mapping_lost(&backing->mapping, &start, &end) && offset < end &&
	       offset + size > start;
}

/* --- reading ----------------------------------------------------------------- */

struct error *backing_reader_create(struct backing *backing,
				    struct backing_reader **ret)
{
	struct backing_reader *reader = calloc(1, sizeof(*reader));
	struct error *err = NULL;

	if (!reader)
		return error_no_memory();
	reader->backing = backing;
	if (backing->frames)
		err = frames_decoder_create(&reader->decoder);
	if (err) {
		free(reader);
		return err;
	}
	*ret = reader;
	return NULL;
}

static void drop_pin(struct backing_reader *reader, struct pin *pin)
{
	if (pin->data)
		frames_unpin(reader->backing->frames, pin->frame);
	*pin = (struct pin){ 0 };
}

static void drop_all_pins(struct backing_reader *reader)
{
	for (size_t i = 0; i < READER_PINS; i++)
		drop_pin(reader, &reader->pins[i]);
}

void backing_reader_pass(struct backing_reader *reader, bool pass)
{
	if (reader->decoder)
		frames_decoder_pass(reader->decoder, pass);
}

void backing_reader_destroy(struct backing_reader *reader)
{
	if (!reader)
		return;
	drop_all_pins(reader);
	frames_decoder_destroy(reader->decoder);
	for (size_t i = 0; i < READER_PIECES; i++)
		free(reader->pieces[i].bytes);
	free(reader);
}

/**
 * Borrow bytes at offset, at most size of them and as far as the piece that
 * offset is in; NULL where they cannot be had.
 */
static const uint8_t *view_piece(struct backing_reader *reader, uint64_t offset,
				 size_t size, size_t *ret_size)
{
	const struct backing_source *source = &reader->backing->source;
	struct piece *piece = &reader->pieces[offset / SOURCE_PIECE %
					      READER_PIECES];
	size_t most = SOURCE_PIECE - offset % SOURCE_PIECE;
	uint64_t inside = offset - piece->offset;

	if (size > most)
		size = most;
	*ret_size = size;
	if (inside < piece->size && piece->size - inside >= size)
		return piece->bytes + inside;
	if (!piece->bytes)
		piece->bytes = malloc(SOURCE_PIECE);
	piece->size = 0;
	if (!piece->bytes ||
	    !source->read(source->context, offset, piece->bytes, size))
		return NULL;
	piece->offset = offset;
	piece->size = size;
	return piece->bytes;
}

/** The frame that holds offset, pinned; NULL where it is lost. */
static const struct pin *pin_frame(struct backing_reader *reader,
				   uint64_t offset)
{
	struct frames *frames = reader->backing->frames;
	size_t frame = frames_find(frames, offset);
	struct pin *pin = &reader->pins[frame % READER_PINS];

	if (pin->data && pin->frame == frame)
		return pin;
	if (frames_crowded(frames))
		drop_all_pins(reader);
	else
		drop_pin(reader, pin);
	pin->frame = frame;
	pin->data = frames_pin(frames, reader->decoder, frame, &pin->size);
	return pin->data ? pin : NULL;
}

const void *backing_view(struct backing_reader *reader, uint64_t offset,
			 size_t size, size_t *ret_size)
{
	const struct backing *backing = reader->backing;
	const uint8_t *data = backing->mapping.data;
	const struct pin *pin;
	uint64_t at = offset, left;

	if (size == 0 || offset >= backing->size)
		return NULL;
	left = backing->size - offset;
	if (backing->kind == BACKING_SOURCE)
		return view_piece(reader, offset,
				  left < size ? (size_t)left : size, ret_size);
	if (backing->frames) {
		pin = pin_frame(reader, offset);
		if (!pin)
			return NULL;
		data = pin->data;
		at = offset - frames_offset(backing->frames, pin->frame);
		left = pin->size - at;
	}
	*ret_size = left < size ? (size_t)left : size;
	return data + at;
}

bool backing_copy(const struct backing *backing, uint64_t offset, void *buffer,
		  size_t size)
{
	return backing->frames && offset < backing->size &&
	       size <= backing->size - offset &&
	       frames_copy(backing->frames, offset, buffer, size);
}

void backing_fetch(const struct backing *backing, uint64_t offset)
{
	if (backing->frames && offset < backing->size)
		frames_fetch(backing->frames, offset);
}

const void *backing_mapped(const struct backing *backing, uint64_t offset,
			   uint64_t size)
{
	const uint8_t *data = backing->mapping.data;

	return data && !backing->frames && offset <= backing->size &&
	       size <= backing->size - offset ? data + offset : NULL;
}

bool backing_read(struct backing_reader *reader, uint64_t offset, void *buffer,
		  size_t size)
{
	uint8_t *to = buffer;
	const void *from;
	size_t got;

	while (size > 0) {
		from = backing_view(reader, offset, size, &got);
		if (!from)
			return false;
		memcpy(to, from, got);
		to += got;
		offset += got;
		size -= got;
	}
	return true;
}
