/*
 * One walk over the references of an object: inner part of pyrefs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Content is what the C structure of its kind holds beyond its own fields; a
 * function for each kind, by file: containers, dicts, frames.
 */
#ifndef PYHEAP_PYREFSWALK_H
#define PYHEAP_PYREFSWALK_H

#include <string.h>

#include "pyheap/references/pyrefs.h"

enum {
	BATCH = 256,			/* words read at a time */
	ITEMS_MAX = 1 << 30,
};

struct walk {
	const struct pyh_referrer *of;
	const struct pyh_runtime *runtime;
	const struct pyh_shape *shape;
	pyh_ref_fn *fn;
	void *context;
	enum pyh_hold hold;	/* of what its kind holds */
	bool uncollected;	/* a static type, which no collector sees */
	bool stopped;
};

/** Tell of a reference, unless it is none. */
static inline void walk_tell(struct walk *walk, const struct pyh_ref *ref)
{
	if (ref->address && !walk->stopped)
		walk->stopped = !walk->fn(walk->context, ref);
}

static inline void walk_emit(struct walk *walk, struct pyh_ref ref)
{
	walk_tell(walk, &ref);
}

static inline void walk_emit_guess(struct walk *walk, uint64_t word, uint64_t index)
{
	if (word % 8 == 0)
		walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_GUESS,
			.hold = PYH_HOLD_GUESSED, .address = word,
			.index = index });
}

/** Bytes of the object itself. */
bool walk_own(const struct walk *walk, uint64_t offset, void *buffer,
	      size_t size);

/** A word of the object itself, or 0. */
static inline uint64_t walk_own_word(const struct walk *walk, uint64_t offset)
{
	const struct pyh_referrer *of = walk->of;
	uint64_t word;

	if (offset + 8 <= of->available) {
		memcpy(&word, of->body + offset, sizeof(word));
		return word;
	}
	return memory_try_u64(of->memory, of->address + offset, &word) ? word :
									 0;
}

/** A field of the object itself, of at most 8 bytes, or 0. */
uint64_t walk_own_field(const struct walk *walk, enum pyh_field field);

/** The same of a structure elsewhere, which may be 0. */
uint64_t walk_field_at(const struct walk *walk, uint64_t structure,
		       enum pyh_field field);

/** Few words need no counting: objects are as many as the dump has room for. */
static inline bool walk_pay(const struct walk *walk, uint64_t words)
{
	return words <= BATCH ||
	       (words <= ITEMS_MAX &&
		pyh_shapes_pay(walk->of->shapes, walk->of->address, words));
}

/**
 * Read up to count entries of some bytes each, as many as are there before a
 * gap: perhaps fewer than that, but not none.
 *
 * @return how many
 */
static inline uint64_t walk_read_some(struct walk *walk, uint64_t address,
				      void *buffer, uint64_t count, size_t size)
{
	while (count && !memory_try_read(walk->of->memory, address, buffer,
					 (size_t)count * size))
		count /= 2;
	return count;
}

/** Words of an array elsewhere: references like this one, indexes from its on. */
void walk_each_word(struct walk *walk, uint64_t array, uint64_t count,
		    struct pyh_ref like);

/** Words of the object itself, as many of them as it has room for. */
void walk_each_own_word(struct walk *walk, uint64_t offset, uint64_t count,
			struct pyh_ref like);

static inline struct pyh_ref walk_item(const struct walk *walk)
{
	return (struct pyh_ref){ .kind = PYH_REF_ITEM, .hold = walk->hold };
}

/** What it holds beyond the fields of its structure, by its kind. */
void walk_content(struct walk *walk);
void walk_dict(struct walk *walk);
void walk_odict(struct walk *walk);
void walk_generator(struct walk *walk);
void walk_frame(struct walk *walk);
void walk_greenlet(struct walk *walk);
void walk_ndarray(struct walk *walk);

/**
 * What an interpreter frame (3.11 and later) holds.
 *
 * @param foreign  its code cannot be told from the object that is walked over:
 *	the references of variables have it as their key
 */
void walk_interpreter_frame(struct walk *walk, uint64_t frame, bool foreign);

/** Of values inside an instance, and its dict: see pyrefsdict.c. */
bool walk_values_go_first(const struct pyh_runtime *runtime);

#endif
