/*
 * The bytes of a core file, whatever it is wrapped in.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Offsets are those of the uncompressed ELF core. A plain file is mapped; a
 * zstd file of many frames is read at random through a frame cache; everything
 * else (one zstd frame as systemd-coredump writes it, gzip, xz, lz4) is
 * expanded once into an unlinked, sparse temporary file and mapped. Which it
 * is is told from the content, never from the name. Of a process there is no
 * file: its memory is read in small pieces as it is asked for.
 *
 * A mapped file that shrinks while it is read would kill the process: a
 * program that opens files of others calls mapping_guard_sigbus() (see
 * image/mapping.h) first, and backing_shrank() when it is done.
 */
#ifndef IMAGE_BACKING_H
#define IMAGE_BACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/base/findings.h"

struct backing;
struct backing_reader;

struct backing_options {
	const char *tmp_dir;	/* for expansion; NULL: $TMPDIR, else /var/tmp */
	uint64_t cache_bytes;	/* decompressed frames kept; 0: 64 MiB */
	struct findings *findings;	/* borrowed; may be NULL */
	/* told now and then while expanding; total 0: unknown. May be NULL */
	void (*progress)(void *context, const char *what, uint64_t done,
			 uint64_t total);
	void *progress_context;
};

enum backing_kind {
	BACKING_PLAIN,
	BACKING_ZSTD_FRAMES,	/* random access */
	BACKING_EXPANDED,	/* was compressed, is now a temporary file */
	BACKING_SOURCE,		/* no file: read as it is asked for */
};

/** Where bytes come from that are in no file. */
struct backing_source {
	/** Fill buffer, all of it; false where that cannot be done. */
	bool (*read)(void *context, uint64_t offset, void *buffer, size_t size);
	void *context;
	uint64_t size;		/* offsets are below */
};

/**
 * Open path. Refuses, with the reason: what is no regular file (directory,
 * FIFO, device: ERROR_USAGE), what is empty (ERROR_FORMAT), a temporary folder
 * without the space (ERROR_LIMIT), compression we cannot read
 * (ERROR_UNSUPPORTED). A damaged or truncated container is a finding; what can
 * be read is read. Content that is no compression we know is BACKING_PLAIN,
 * ELF or not. options, without progress, are needed no longer afterwards.
 */
struct error *backing_open(const char *path, const struct backing_options *options,
			   struct backing **ret);

/** As backing_open(), of a descriptor (duplicated) of an anonymous file. */
struct error *backing_open_fd(int fd, const char *name,
			      const struct backing_options *options,
			      struct backing **ret);

/**
 * Bytes that are read in small pieces when they are asked for, and kept for as
 * long as a reader looks around there.
 */
struct error *backing_open_source(const struct backing_source *source,
				  const char *name, struct backing **ret);

void backing_close(struct backing *backing);

/** The descriptor of the file, borrowed; -1: there is none. */
int backing_fd(const struct backing *backing);

enum backing_kind backing_kind(const struct backing *backing);

/**
 * Views end where offsets are multiples of this power of two; 0: they reach as
 * far as there are bytes.
 */
uint64_t backing_grain(const struct backing *backing);

/** "plain", "zstd, 4,096 frames", "gzip, expanded": for `info`. */
const char *backing_describe(const struct backing *backing);

/** Uncompressed bytes there are (where truncated: that can be had). */
uint64_t backing_size(const struct backing *backing);

/** Bytes of the file as it lies on the disk. */
uint64_t backing_stored_size(const struct backing *backing);

/**
 * The payload of our final-notes skippable frame (ELF notes).
 *
 * @param ret_size  its size, 0 if there is none
 * @return borrowed bytes, NULL if there are none
 */
const void *backing_final_notes(const struct backing *backing, size_t *ret_size);

/**
 * A reader: one thread's way in. Readers share the frame cache.
 * Destroy all readers before backing_close().
 */
struct error *backing_reader_create(struct backing *backing,
				    struct backing_reader **ret);
void backing_reader_destroy(struct backing_reader *reader);

/** Say whether its views go by once, in order: see frames_decoder_pass(). */
void backing_reader_pass(struct backing_reader *reader, bool pass);

/**
 * Borrow contiguous bytes at offset.
 *
 * @param size  bytes wanted, at least 1
 * @param ret_size  bytes there are at the returned pointer: at least 1, at
 *	most size; fewer than size where a frame or the file ends
 * @return valid until the next call on this reader, or NULL: past the end, or
 *	a frame that does not decompress (a finding the first time)
 */
const void *backing_view(struct backing_reader *reader, uint64_t offset,
			 size_t size, size_t *ret_size);

/** The same where all of them lie in one mapping, for good; else NULL. */
const void *backing_mapped(const struct backing *backing, uint64_t offset,
			   uint64_t size);

/**
 * Copy a few bytes that are decompressed already. What a reader has borrowed
 * stays as it is.
 *
 * @return false, and something in buffer, where they are not
 */
bool backing_copy(const struct backing *backing, uint64_t offset, void *buffer,
		  size_t size);

/** Ask the processor for what backing_copy() will look at. */
void backing_fetch(const struct backing *backing, uint64_t offset);

/** Copy size bytes at offset. False if not all of them can be had. */
bool backing_read(struct backing_reader *reader, uint64_t offset, void *buffer,
		  size_t size);

/**
 * Copy a few bytes of a plain file, and let the kernel read no more of it than
 * these: around what is looked at in a mapping it reads 128 KiB.
 *
 * @return false: it is no plain file, or they cannot be had
 */
bool backing_peek(const struct backing *backing, uint64_t offset, void *buffer,
		  size_t size);

/**
 * True if any byte of [offset, offset + size) cannot be had: in a corrupt
 * frame (of those met so far), past the end, or in what a file lost that shrank
 * while it was mapped.
 */
bool backing_lost(const struct backing *backing, uint64_t offset, uint64_t size);

/**
 * True if the file shrank, or its disk failed, while it was mapped, so that
 * some bytes were taken for zeroes. A finding (partial) the first time. To be
 * asked at the end of a pass: views point into the mapping, so nobody notices
 * before.
 */
bool backing_shrank(struct backing *backing);

#endif
