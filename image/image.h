/*
 * An image: one frozen process, opened for reading.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	struct image *image;
 *	err = image_open("dump.core.zst", &(struct image_options){ 0 }, &image);
 *
 * Puts together the container (backing), the address space (memory), what the
 * notes say, and the modules. Damage that leaves something to read is a
 * finding, and image_partial() then says that the answer will be partial.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "image/backing.h"
#include "image/base/error.h"
#include "image/base/findings.h"
#include "image/memory.h"
#include "image/modules.h"
#include "image/notes.h"

struct image {
	char *path;
	uint16_t machine;	/* EM_X86_64 or EM_AARCH64 */
	uint32_t page_size;	/* bytes; from AT_PAGESZ or the segments */
	struct backing *backing;
	struct memory *memory;
	struct core_notes notes;
	struct modules *modules;
	struct findings *findings;
	uint64_t num_segments;	/* PT_LOADs */
	uint64_t segment_bytes;	/* their p_filesz */
	uint64_t missing_bytes;	/* of those, cut off or in lost frames */
	char writer[64];	/* what image_writer() returns */
};

struct image_options {
	const char *sysroot;		/* as in struct modules_options */
	bool debuginfod;		/* the same */
	const char *tmp_dir;		/* as in struct backing_options */
	uint64_t cache_bytes;
	void (*progress)(void *context, const char *what, uint64_t done,
			 uint64_t total);
	void *progress_context;
};

/**
 * Open a core file. Fails with a sentence that names what was wrong and where
 * (file, offset): not an ELF file, not a core, another class, byte order or
 * machine, no readable header. Truncation, lost frames and damaged notes are
 * findings with the ranges they cost.
 */
struct error *image_open(const char *path, const struct image_options *options,
			 struct image **ret);

/** As image_open(), of an open anonymous file that holds a core. */
struct error *image_open_fd(int fd, const char *name,
			    const struct image_options *options,
			    struct image **ret);

void image_close(struct image *image);

/**
 * Who wrote the file: "heapdump 0.1" (by its notes), "kernel", "qemu" or
 * "gcore" (by the order of the notes, in which they differ), "unknown". Owned
 * by image.
 */
const char *image_writer(const struct image *image);

/**
 * Of a signal in the notes, whether it can have ended the process; else 0. Those
 * that stop one, or nobody minds, are what a debugger left that wrote the file.
 */
int image_ended_by(const struct image *image, int signal);

/**
 * An error that says so where who wrote the core left out all that the process
 * had for itself, but for what is of files: nothing that it allocated is there.
 */
struct error *image_check_private(const struct image *image);

/** When the process was frozen, seconds since the epoch; false: unknown. */
bool image_captured_at(const struct image *image, int64_t *ret);

/**
 * True where bytes are missing that the writer meant to be there, or went
 * missing since. To be asked (again) when all has been read.
 */
bool image_partial(const struct image *image);

#endif
