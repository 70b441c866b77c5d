/*
 * Where the results of one dump are kept, and whether they are believed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two files: NAME.index, columns (store.h), written once under another name; and
 * NAME.seen, a few words about both it and the dump. An index that nobody has
 * written to since it was made or last read through, as the kernel's times say
 * that nobody can set, is believed as it is. Any other is held against its
 * checksums, and each number in it against what it may be, before anything is
 * taken from it. The same with the dump: the very file that was seen before is
 * known by the kernel's times, a copy of it by all of its content.
 */
#ifndef ANALYZER_INDEX_H
#define ANALYZER_INDEX_H

#include <stdbool.h>

#include "analyzer/kept/store.h"
#include "image/base/error.h"

struct index;

struct index_options {
	const char *folder;	/* NULL: the default one */
	const char *circumstances;	/* what else results depend on */
	unsigned int workers;
};

/**
 * @param dump  the file, which stays open until index_close(). To be called
 *	before the dump is read
 * @return ERROR_… with the reason why there can be none
 */
struct error *index_open(int dump, const struct index_options *options,
			 struct index **ret);
/** NULL is fine. */
void index_close(struct index *index);

/**
 * Results that were kept of this very dump.
 *
 * @param ret_believed  false: the numbers in it are to be checked, then
 *	index_believe() or index_drop() is to be called
 * @param ret  borrowed, until index_close(); NULL: there are none
 * @return an error where there are some that are of no use, and why; they are
 *	gone then
 */
struct error *index_find(struct index *index, bool *ret_believed,
			 const struct store **ret);

/** They have been used, and are all right. */
void index_believe(struct index *index);

/** They are not: away with them. */
void index_drop(struct index *index);

/** Keep results of the dump, instead of those there may be. */
struct error *index_save(struct index *index, const struct store_part *parts,
			 size_t count);

#endif
