/*
 * A file of columns: written whole, mapped, read in place.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	header		magic, version, whose it is, checksum of header and table
 *	table		what each column is, and where
 *	checksums	of each piece of each column
 *	columns		each from a multiple of 4096 on
 *
 * docs/format.md has it byte by byte. Numbers are in the order of the machine:
 * the file is never read on another one, nor by another build of the program,
 * as its key says.
 *
 * store_open() checks header and table against the size of the file, so that no
 * column reaches beyond it. store_verify() checks the columns' bytes. What the
 * numbers in them mean, whoever reads them must check.
 */
#ifndef ANALYZER_STORE_H
#define ANALYZER_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum {
	STORE_VERSION = 6,
	STORE_KEY = 32,			/* bytes */
	STORE_COLUMNS_MAX = 64,
};

/** A column to be written. */
struct store_part {
	uint32_t id;
	uint32_t width;		/* bytes of an element */
	uint64_t count;
	const void *data;	/* borrowed */
};

/** Whose columns they are. */
struct store_owner {
	uint8_t key[STORE_KEY];
	uint64_t content[2];	/* hash of the dump */
};

/** Bytes that a file of these parts takes. */
uint64_t store_size(const struct store_part *parts, size_t count);

/**
 * Write a file from its beginning. The space is taken before anything is
 * written, so that a full disk is found out at once.
 *
 * @param fd  of an empty file
 */
struct error *store_write(int fd, const struct store_owner *owner,
			  const struct store_part *parts, size_t count,
			  unsigned int workers);

struct store;

/**
 * Map a file.
 *
 * @param fd  kept open by the caller until store_close()
 * @param name  for the sentences of errors
 * @return ERROR_FORMAT where it is no such file, of another version, damaged,
 *	or cut off
 */
struct error *store_open(int fd, const char *name, struct store **ret);
/** NULL is fine. */
void store_close(struct store *store);

const struct store_owner *store_owner(const struct store *store);

/** Hold all columns against their checksums. */
struct error *store_verify(const struct store *store, unsigned int workers);

/**
 * A column, or NULL: there is none of this id and width. Valid until
 * store_close(), and not to be written to.
 */
const void *store_column(const struct store *store, uint32_t id, uint32_t width,
			 uint64_t *ret_count);

#endif
