/*
 * Expanding a compressed file into a sparse temporary one; see expand.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Three parts: a sink that writes what is not zero and watches the disk, one
 * small table entry (struct codec) for each library, and the loop that feeds
 * one from the file and empties it into the other.
 */
#include "image/expand.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lz4frame.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "image/base/bytes.h"
#include "image/base/guard.h"
#include "image/base/tempfile.h"
#include "image/base/units.h"

enum {
	INPUT_SIZE = 256 << 10,
	OUTPUT_SIZE = 1 << 20,		/* a multiple of PAGE */
	PAGE = 4096,			/* unit of holes in the file */
	SPACE_CHECK = 32 << 20,		/* bytes written between two looks */
	MARGIN_MAX = 256 << 20,		/* bytes left free, or 1/20 of the disk */
	XZ_MEMORY = 256 << 20,		/* dictionary: xz -9 needs 65 MiB */
	XZ_INDEX_MAX = 16 << 20,
	FRAME_HEADER_MAX = 32,		/* holds any zstd or lz4 frame header */
};

/* --- where it goes ------------------------------------------------------- */

struct sink {
	const char *name;	/* of what is expanded; borrowed */
	const char *folder;	/* borrowed */
	int fd;
	uint64_t margin;	/* bytes to leave free on the disk */
	uint64_t unchecked;	/* bytes written since free space was seen */
	uint64_t size_max;	/* RLIMIT_FSIZE: past it a signal kills us */
	uint64_t at;		/* offset in the file of buffer[0] */
	uint8_t *buffer;	/* OUTPUT_SIZE bytes */
	size_t filled;
};

/** Bytes that may still be written, the margin kept back. */
static struct error *space_left(struct sink *sink, uint64_t *ret)
{
	struct statvfs fs;
	uint64_t unit, total;

	if (fstatvfs(sink->fd, &fs) != 0)
		return error_os(errno, "asking for the free space of %s",
				sink->folder);
	unit = fs.f_frsize;
	if (__builtin_mul_overflow(unit, (uint64_t)fs.f_blocks, &total))
		total = UINT64_MAX;
	sink->margin = total / 20 < MARGIN_MAX ? total / 20 : MARGIN_MAX;
	if (__builtin_mul_overflow(unit, (uint64_t)fs.f_bavail, ret))
		*ret = UINT64_MAX;
	*ret = *ret > sink->margin ? *ret - sink->margin : 0;
	return NULL;
}

static struct error *no_space(const struct sink *sink, uint64_t need,
			      uint64_t left)
{
	char need_text[UNITS_TEXT_MAX], left_text[UNITS_TEXT_MAX];

	return error_new(ERROR_LIMIT,
			 "expanding %s needs %s in %s, which can spare %s; name a folder with more space (--tmp DIR)",
			 sink->name, units_size(need, need_text), sink->folder,
			 units_size(left, left_text));
}

/** @param why  static storage: what stands in the way of one byte more */
static struct error *ran_out(const struct sink *sink, const char *why)
{
	char text[UNITS_TEXT_MAX];

	return error_new(ERROR_LIMIT,
			 "expanding %s stopped at %s: in %s %s; name a folder with more space (--tmp DIR)",
			 sink->name, units_size(sink->at, text), sink->folder,
			 why);
}

static void sink_deinit(struct sink *sink)
{
	close_fd(&sink->fd);
	free(sink->buffer);
}

/** @param need  bytes that the input says or implies it expands to */
static struct error *sink_init(struct sink *sink, const char *name,
			       const char *folder, uint64_t need)
{
	struct rlimit limit;
	struct error *err;
	uint64_t left = 0;

	*sink = (struct sink){ .name = name, .folder = folder, .fd = -1,
			       .size_max = UINT64_MAX };
	err = tempfile_create(folder, &sink->fd);
	if (!err)
		err = space_left(sink, &left);
	if (err)
		return err;
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		sink->size_max = limit.rlim_cur;
	if (left > sink->size_max)
		left = sink->size_max;
	if (need > left)
		return no_space(sink, need, left);
	sink->buffer = calloc(1, OUTPUT_SIZE);
	return sink->buffer ? NULL : error_no_memory();
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static struct error *sink_write(struct sink *sink, size_t start, size_t end)
{
	ssize_t done;

	while (start < end) {
		done = pwrite(sink->fd, sink->buffer + start, end - start,
			      (off_t)(sink->at + start));
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && (errno == ENOSPC || errno == EDQUOT ||
				 errno == EFBIG))
			return ran_out(sink, strerror(errno));
		if (done <= 0)
			return error_os(done ? errno : EIO,
					"writing a temporary file in %s",
					sink->folder);
		start += (size_t)done;
		sink->unchecked += (uint64_t)done;
	}
	return NULL;
}

/** Write the buffer, leaving holes for its pages of zeroes. */
static struct error *sink_flush(struct sink *sink)
{
	struct error *err = NULL;
	size_t start = 0, page, size;
	uint64_t left = 0;

	if (sink->filled > sink->size_max ||
	    sink->at > sink->size_max - sink->filled ||
	    sink->at > (uint64_t)INT64_MAX - OUTPUT_SIZE)
		return ran_out(sink, "no file may be larger (ulimit -f)");
	for (page = 0; page < sink->filled && !err; page += size) {
		size = sink->filled - page < PAGE ? sink->filled - page : PAGE;
		if (!is_zero(sink->buffer + page, size))
			continue;
		err = sink_write(sink, start, page);
		start = page + size;
	}
	if (!err)
		err = sink_write(sink, start, sink->filled);
	sink->at += sink->filled;
	sink->filled = 0;
	if (err || sink->unchecked < SPACE_CHECK)
		return err;
	sink->unchecked = 0;
	err = space_left(sink, &left);
	if (!err && left == 0)
		err = ran_out(sink, "there is hardly any space left");
	return err;
}

/** Write what is left and give the file its length. */
static struct error *sink_finish(struct sink *sink)
{
	struct error *err = sink_flush(sink);

	if (!err && ftruncate(sink->fd, (off_t)sink->at) != 0)
		err = errno == EFBIG ? ran_out(sink, strerror(errno)) :
		      error_os(errno, "writing a temporary file in %s",
			       sink->folder);
	return err;
}

/* --- the libraries ------------------------------------------------------- */

enum step {
	STEP_ON,	/* consumed or produced something, or wants input */
	STEP_BOUNDARY,	/* as STEP_ON, and a frame, member or stream ended */
	STEP_END,	/* all is done */
	STEP_BAD,	/* why says what is wrong */
	STEP_TOO_MUCH,	/* asks for more memory than we give: why says so */
};

struct stream {
	const uint8_t *in;
	size_t in_left;
	bool in_ended;		/* nothing follows in_left */
	uint8_t *out;
	size_t out_left;
	const char *why;	/* static storage, or the library's */
	bool foreign;		/* STEP_BAD at bytes that start no new frame */
	union {
		ZSTD_DStream *zstd;
		LZ4F_dctx *lz4;
		z_stream *gzip;
		lzma_stream *xz;
	};
	bool between;		/* gzip: the next byte starts a member */
};

struct codec {
	const char *name;
	struct error *(*start)(struct stream *stream);
	enum step (*step)(struct stream *stream);
	void (*finish)(struct stream *stream);
	/* expanded bytes as the file tells them; 0: it does not */
	uint64_t (*claim)(int fd, uint64_t stored_size);
	/* the most that one stored byte can become */
	uint64_t ratio_max;
};

static size_t read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;
	ssize_t got;

	while (done < size) {
		got = pread(fd, (uint8_t *)buffer + done, size - done,
			    (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

static struct error *start_zstd(struct stream *stream)
{
	// The library's default bounds the window to 128 MiB.
	stream->zstd = ZSTD_createDStream();
	return stream->zstd ? NULL : error_no_memory();
}

static enum step step_zstd(struct stream *stream)
{
	ZSTD_inBuffer in = { stream->in, stream->in_left, 0 };
	ZSTD_outBuffer out = { stream->out, stream->out_left, 0 };
	size_t result = ZSTD_decompressStream(stream->zstd, &out, &in);

	stream->in += in.pos;
	stream->in_left -= in.pos;
	stream->out += out.pos;
	stream->out_left -= out.pos;
	if (!ZSTD_isError(result))
		return result == 0 ? STEP_BOUNDARY : STEP_ON;
	stream->why = ZSTD_getErrorName(result);
	stream->foreign = ZSTD_getErrorCode(result) ==
			  ZSTD_error_prefix_unknown;
	if (ZSTD_getErrorCode(result) ==
	    ZSTD_error_frameParameter_windowTooLarge) {
		stream->why = "its window is larger than 128 MiB (zstd --long)";
		return STEP_TOO_MUCH;
	}
	if (ZSTD_getErrorCode(result) == ZSTD_error_dictionary_wrong)
		stream->why = "it was made with a dictionary; expand it first, "
			      "with zstd -d -D";
	return STEP_BAD;
}

static void finish_zstd(struct stream *stream)
{
	(void)ZSTD_freeDStream(stream->zstd);
}

static uint64_t claim_zstd(int fd, uint64_t stored_size)
{
	uint8_t head[FRAME_HEADER_MAX];
	size_t size = read_at(fd, head, sizeof(head), 0);
	unsigned long long claim = ZSTD_getFrameContentSize(head, size);

	(void)stored_size;
	return claim == ZSTD_CONTENTSIZE_UNKNOWN ||
	       claim == ZSTD_CONTENTSIZE_ERROR ? 0 : claim;
}

static struct error *start_lz4(struct stream *stream)
{
	stream->lz4 = NULL;
	return LZ4F_isError(LZ4F_createDecompressionContext(&stream->lz4,
							    LZ4F_VERSION)) ?
		       error_no_memory() : NULL;
}

static enum step step_lz4(struct stream *stream)
{
	size_t in = stream->in_left, out = stream->out_left;
	size_t result = LZ4F_decompress(stream->lz4, stream->out, &out,
					stream->in, &in, NULL);

	if (LZ4F_isError(result)) {
		stream->why = LZ4F_getErrorName(result);
		stream->foreign = strcmp(stream->why,
					 "ERROR_frameType_unknown") == 0;
		return STEP_BAD;
	}
	stream->in += in;
	stream->in_left -= in;
	stream->out += out;
	stream->out_left -= out;
	return result == 0 ? STEP_BOUNDARY : STEP_ON;
}

static void finish_lz4(struct stream *stream)
{
	(void)LZ4F_freeDecompressionContext(stream->lz4);
}

static uint64_t claim_lz4(int fd, uint64_t stored_size)
{
	LZ4F_frameInfo_t info = { 0 };
	uint8_t head[FRAME_HEADER_MAX];
	size_t size = read_at(fd, head, sizeof(head), 0);
	struct stream stream;
	struct error *err = start_lz4(&stream);

	(void)stored_size;
	if (err) {
		error_free(err);
		return 0;
	}
	if (LZ4F_isError(LZ4F_getFrameInfo(stream.lz4, &info, head, &size)))
		info.contentSize = 0;
	finish_lz4(&stream);
	return info.contentSize;
}

static struct error *start_gzip(struct stream *stream)
{
	stream->gzip = calloc(1, sizeof(*stream->gzip));
	if (stream->gzip &&
	    inflateInit2(stream->gzip, MAX_WBITS + 16) == Z_OK)
		return NULL;
	free(stream->gzip);
	return error_no_memory();
}

static enum step step_gzip(struct stream *stream)
{
	z_stream *gzip = stream->gzip;
	int result;

	if (stream->between) {
		if (stream->in_left == 0)
			return STEP_ON;
		// Zeroes pad the end of what tar or a tape wrote.
		if (*stream->in == 0) {
			stream->in++;
			stream->in_left--;
			return STEP_BOUNDARY;
		}
		stream->foreign = *stream->in != 0x1f;
		stream->between = false;
		(void)inflateReset(gzip);
	}
	gzip->next_in = (Bytef *)(uintptr_t)stream->in;
	gzip->avail_in = (uInt)stream->in_left;
	gzip->next_out = stream->out;
	gzip->avail_out = (uInt)stream->out_left;
	result = inflate(gzip, Z_NO_FLUSH);
	stream->in += stream->in_left - gzip->avail_in;
	stream->in_left = gzip->avail_in;
	stream->out += stream->out_left - gzip->avail_out;
	stream->out_left = gzip->avail_out;
	if (result == Z_STREAM_END) {
		stream->between = true;
		return STEP_BOUNDARY;
	}
	if (result == Z_OK || result == Z_BUF_ERROR)
		return STEP_ON;
	stream->why = gzip->msg ? gzip->msg : "invalid data";
	return STEP_BAD;
}

static void finish_gzip(struct stream *stream)
{
	(void)inflateEnd(stream->gzip);
	free(stream->gzip);
}

/** The last member's length modulo 4 GiB is all that a gzip file tells. */
static uint64_t claim_gzip(int fd, uint64_t stored_size)
{
	uint8_t tail[4];
	struct bytes at = bytes_over(tail, sizeof(tail));
	uint32_t low = 0;

	if (stored_size >= sizeof(tail) &&
	    read_at(fd, tail, sizeof(tail),
		    stored_size - sizeof(tail)) == sizeof(tail))
		(void)bytes_u32(&at, &low);
	return low;
}

static struct error *start_xz(struct stream *stream)
{
	static const lzma_stream empty = LZMA_STREAM_INIT;

	stream->xz = malloc(sizeof(*stream->xz));
	if (!stream->xz)
		return error_no_memory();
	*stream->xz = empty;
	if (lzma_stream_decoder(stream->xz, XZ_MEMORY,
				LZMA_CONCATENATED) == LZMA_OK)
		return NULL;
	free(stream->xz);
	return error_no_memory();
}

static enum step step_xz(struct stream *stream)
{
	lzma_stream *xz = stream->xz;
	lzma_ret result;

	xz->next_in = stream->in;
	xz->avail_in = stream->in_left;
	xz->next_out = stream->out;
	xz->avail_out = stream->out_left;
	result = lzma_code(xz, stream->in_ended ? LZMA_FINISH : LZMA_RUN);
	stream->in = xz->next_in;
	stream->in_left = xz->avail_in;
	stream->out = xz->next_out;
	stream->out_left = xz->avail_out;
	switch (result) {
	case LZMA_OK:
	case LZMA_BUF_ERROR:
		return STEP_ON;
	case LZMA_STREAM_END:
		return STEP_END;
	case LZMA_MEMLIMIT_ERROR:
		stream->why = "its dictionary needs more than 256 MiB";
		return STEP_TOO_MUCH;
	case LZMA_FORMAT_ERROR:
		// Of the first stream the magic was seen before we came here.
		stream->foreign = true;
		stream->why = "bytes that are no xz stream";
		return STEP_BAD;
	case LZMA_MEM_ERROR:
		stream->why = "out of memory";
		return STEP_TOO_MUCH;
	default:
		stream->why = result == LZMA_OPTIONS_ERROR ?
			"a filter that liblzma does not know" : "corrupt data";
		return STEP_BAD;
	}
}

static void finish_xz(struct stream *stream)
{
	lzma_end(stream->xz);
	free(stream->xz);
}

/** The index of the last stream, found through its footer. */
static uint64_t claim_xz(int fd, uint64_t stored_size)
{
	CLEANUP(free_pointer) uint8_t *bytes = NULL;
	uint8_t footer[LZMA_STREAM_HEADER_SIZE];
	lzma_stream_flags flags;
	lzma_index *index = NULL;
	uint64_t claim = 0, memory = XZ_MEMORY;
	size_t size, at = 0;

	if (stored_size < sizeof(footer) ||
	    read_at(fd, footer, sizeof(footer),
		    stored_size - sizeof(footer)) != sizeof(footer) ||
	    lzma_stream_footer_decode(&flags, footer) != LZMA_OK ||
	    flags.backward_size > XZ_INDEX_MAX ||
	    flags.backward_size > stored_size - sizeof(footer))
		return 0;
	size = (size_t)flags.backward_size;
	bytes = malloc(size);
	if (!bytes || read_at(fd, bytes, size,
			      stored_size - sizeof(footer) - size) != size)
		return 0;
	if (lzma_index_buffer_decode(&index, &memory, NULL, bytes, &at,
				     size) == LZMA_OK)
		claim = lzma_index_uncompressed_size(index);
	lzma_index_end(index, NULL);
	return claim;
}

static const struct codec codecs[] = {
	[EXPAND_ZSTD] = {
		.name = "zstd",
		.start = start_zstd,
		.step = step_zstd,
		.finish = finish_zstd,
		.claim = claim_zstd,
		.ratio_max = 128 << 10,
	},
	[EXPAND_GZIP] = {
		.name = "gzip",
		.start = start_gzip,
		.step = step_gzip,
		.finish = finish_gzip,
		.claim = claim_gzip,
		.ratio_max = 1100,
	},
	[EXPAND_XZ] = {
		.name = "xz",
		.start = start_xz,
		.step = step_xz,
		.finish = finish_xz,
		.claim = claim_xz,
		.ratio_max = 64 << 10,
	},
	[EXPAND_LZ4] = {
		.name = "lz4",
		.start = start_lz4,
		.step = step_lz4,
		.finish = finish_lz4,
		.claim = claim_lz4,
		.ratio_max = 300,
	},
};

const char *expand_format_name(enum expand_format format)
{
	return codecs[format].name;
}

/* --- from one to the other ------------------------------------------------ */

struct expansion {
	const struct codec *codec;
	const char *name;	/* borrowed */
	const struct backing_options *options;	/* borrowed */
	int fd;			/* borrowed */
	uint64_t stored_size, read;
	uint8_t *input;		/* INPUT_SIZE bytes */
	struct stream stream;
	struct sink sink;
	bool boundary;		/* a frame, member or stream has just ended */
};

/**
 * Bytes of disk to ask for: what the file claims, if that can be true. A file
 * that tells nothing expands at least to its own size.
 */
static uint64_t space_needed(const struct expansion *work)
{
	uint64_t claim = work->codec->claim(work->fd, work->stored_size);

	if (claim < work->stored_size ||
	    claim / work->codec->ratio_max > work->stored_size)
		return work->stored_size;
	return claim;
}

static void fill(struct expansion *work)
{
	struct stream *stream = &work->stream;
	size_t got = read_at(work->fd, work->input, INPUT_SIZE, work->read);

	stream->in = work->input;
	stream->in_left = got;
	work->read += got;
	stream->in_ended = got < INPUT_SIZE;
	if (work->options->progress)
		work->options->progress(work->options->progress_context,
					"expanding", work->read,
					work->stored_size);
}

/** The input ended, or turned bad at a place of which why says what. */
static void report_damage(struct expansion *work, const char *why)
{
	uint64_t at = work->read - work->stream.in_left;

	findings_add(work->options->findings,
		     why ? "container-damaged" : "container-truncated", 0,
		     "%s: %s %s at stored byte %" PRIu64
		     "%s%s; the core is lost from byte %" PRIu64 " on",
		     work->name, work->codec->name,
		     why ? "data is damaged" : "data is cut off", at,
		     why ? ": " : "", why ? why : "",
		     work->sink.at + work->sink.filled);
	findings_set_partial(work->options->findings);
}

/**
 * One step of the library, its output to the sink.
 *
 * @param ret_idle  true if it neither took nor gave anything
 */
static enum step step(struct expansion *work, bool *ret_idle)
{
	struct stream *stream = &work->stream;
	size_t in_left = stream->in_left, made;
	enum step result;

	stream->out = work->sink.buffer + work->sink.filled;
	stream->out_left = OUTPUT_SIZE - work->sink.filled;
	result = work->codec->step(stream);
	made = OUTPUT_SIZE - work->sink.filled - stream->out_left;
	work->sink.filled += made;
	*ret_idle = made == 0 && stream->in_left == in_left;
	if (result == STEP_BOUNDARY || result == STEP_END)
		work->boundary = true;
	else if (!*ret_idle && result != STEP_BAD)
		work->boundary = false;
	return result;
}

/** Expand until the input ends. *ret_damaged where it ends badly. */
static struct error *pump(struct expansion *work, bool *ret_damaged)
{
	struct stream *stream = &work->stream;
	struct error *err;
	bool idle;

	*ret_damaged = false;
	for (;;) {
		if (stream->in_left == 0 && !stream->in_ended)
			fill(work);
		switch (step(work, &idle)) {
		case STEP_END:
			return NULL;
		case STEP_TOO_MUCH:
			return error_new(ERROR_LIMIT,
					 "%s cannot be expanded: %s",
					 work->name, stream->why);
		case STEP_BAD:
			// Padding, or the damaged start of what follows.
			if (work->boundary && stream->foreign)
				stream->why = "no further frame starts here";
			*ret_damaged = true;
			report_damage(work, stream->why);
			return NULL;
		case STEP_ON:
		case STEP_BOUNDARY:
			break;
		}
		if (work->sink.filled == OUTPUT_SIZE) {
			err = sink_flush(&work->sink);
			if (err)
				return err;
		} else if (idle && stream->in_left == 0 && stream->in_ended) {
			*ret_damaged = !work->boundary;
			if (*ret_damaged)
				report_damage(work, NULL);
			return NULL;
		} else if (idle && stream->in_left > 0) {
			*ret_damaged = true;
			report_damage(work, "the decoder makes no progress");
			return NULL;
		}
	}
}

static struct error *run(struct expansion *work, struct expanded *ret)
{
	struct error *err;
	bool damaged;

	err = work->codec->start(&work->stream);
	if (err)
		return err;
	err = pump(work, &damaged);
	work->codec->finish(&work->stream);
	if (!err)
		err = sink_finish(&work->sink);
	if (!err && work->sink.at == 0)
		err = error_new(ERROR_FORMAT,
				"%s is a %s file of which nothing can be expanded"
				"%s%s", work->name, work->codec->name,
				work->stream.why ? ": " : "",
				work->stream.why ? work->stream.why : "");
	if (err)
		return err;
	*ret = (struct expanded){
		.fd = work->sink.fd,
		.size = work->sink.at,
		.damaged = damaged,
	};
	work->sink.fd = -1;
	return NULL;
}

struct error *expand(int fd, uint64_t stored_size, enum expand_format format,
		     const char *name, const struct backing_options *options,
		     struct expanded *ret)
{
	struct expansion work = {
		.codec = &codecs[format],
		.name = name,
		.options = options,
		.fd = fd,
		.stored_size = stored_size,
		.input = malloc(INPUT_SIZE),
	};
	struct error *err;

	if (!work.input)
		return error_no_memory();
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	err = sink_init(&work.sink, name, tempfile_folder(options->tmp_dir),
			space_needed(&work));
	if (!err)
		err = run(&work, ret);
	sink_deinit(&work.sink);
	free(work.input);
	return err;
}
