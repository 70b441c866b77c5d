/*
 * A streaming writer of Python's pickles that cannot produce a broken one.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	pickle_begin(&pickle, out);
 *	pickle_dict(&pickle, NULL);
 *	pickle_u64(&pickle, "size", 512);
 *	pickle_list(&pickle, "frames");
 *	number = pickle_keep(&pickle);
 *	pickle_end(&pickle);
 *	pickle_again(&pickle, "same frames", number);
 *	pickle_end(&pickle);
 *	pickle_finish(&pickle);
 *
 * Inside a dict every value takes its key, inside a list key is NULL. What is
 * written are dicts, lists, pairs, text, whole and other numbers, truth values
 * and None: no class is named, so loading it runs nothing.
 *
 * The opcodes are of protocol 4 and few, as readers other than Python's know no
 * more of them: PyTorch's viewer of memory, in JavaScript, takes no frames of
 * bytes into account, whole numbers of up to 8 bytes, and puts the items of one
 * APPENDS on a stack, so that they go in batches, as CPython's own pickles do.
 *
 * Source: CPython Lib/pickletools.py.
 */
#ifndef BASE_PICKLE_H
#define BASE_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	PICKLE_DEPTH_MAX = 16,
	PICKLE_BATCH = 1000,		/* items of one APPENDS or SETITEMS */
	PICKLE_KEYS_MAX = 64,		/* that are written once and meant again */
	PICKLE_KEY_MAX = 40,		/* bytes of such a key, NUL included */
	PICKLE_TEXT_MAX = 1 << 20,	/* bytes of a text; the rest is cut off */
};

struct pickle {
	FILE *out;			/* borrowed */
	unsigned int depth;
	struct {
		bool dict;
		unsigned int batch;	/* items since the last mark */
	} levels[PICKLE_DEPTH_MAX];
	uint32_t kept;			/* values that can be meant again */
	struct {
		char text[PICKLE_KEY_MAX];
		uint32_t number;
	} keys[PICKLE_KEYS_MAX];
	size_t num_keys;
};

void pickle_begin(struct pickle *pickle, FILE *out);

/* Of values that are in no dict or list, the last one is what is loaded. */

/** Close what is open, and end it. Write errors stay in ferror(out). */
void pickle_finish(struct pickle *pickle);

void pickle_dict(struct pickle *pickle, const char *key);
void pickle_list(struct pickle *pickle, const char *key);
/** Close the innermost dict or list. */
void pickle_end(struct pickle *pickle);

/**
 * Remember the dict or list that was just begun, and has nothing in it yet.
 *
 * @return its number for pickle_again()
 */
uint32_t pickle_keep(struct pickle *pickle);
/** A value that was kept, once more: the same object for who loads it. */
void pickle_again(struct pickle *pickle, const char *key, uint32_t number);

/** In UTF-8; what is none becomes U+FFFD. NULL: None. */
void pickle_string(struct pickle *pickle, const char *key, const char *value);
/** The same, and kept: its number for pickle_again(). */
uint32_t pickle_kept_string(struct pickle *pickle, const char *key,
			    const char *value);
void pickle_u64(struct pickle *pickle, const char *key, uint64_t value);
void pickle_i64(struct pickle *pickle, const char *key, int64_t value);
void pickle_double(struct pickle *pickle, const char *key, double value);
void pickle_bool(struct pickle *pickle, const char *key, bool value);
void pickle_none(struct pickle *pickle, const char *key);
/** A tuple of two numbers. */
void pickle_pair(struct pickle *pickle, const char *key, uint64_t a,
		 uint64_t b);

#endif
