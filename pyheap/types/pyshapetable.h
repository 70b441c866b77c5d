/*
 * What is known of the structures of builtin and library types: the tables
 * behind pyshape.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYSHAPETABLE_H
#define PYHEAP_PYSHAPETABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/runtime/pyfields.h"

enum { PYH_KNOWN_FIELDS_MAX = 20, PYH_NEVER = 255,
       PYH_ONE = 255 };

/** By the fields of the layout tables, which are calibrated. */
struct pyh_known_fields {
	const char *type;	/* name, as in struct pyh_type */
	bool all;	/* no other word refers to an object */
	/* each ends with the first 0; a field that a release does not have is
	   passed over */
	enum pyh_field fields[PYH_KNOWN_FIELDS_MAX];	/* tp_traverse's */
	enum pyh_field hidden[PYH_KNOWN_FIELDS_MAX];	/* owned, not visited */
};

/** NULL: none of that name. */
const struct pyh_known_fields *pyh_known_fields_of(const char *type);

/** True for the fields that hold the dict of an instance's attributes. */
bool pyh_is_dict_field(enum pyh_field field);

/**
 * What follows the header of an instance, one token for each word, with spaces
 * between; no word behind the last one refers to an object:
 *
 *	name	refers to an object that it owns, and tp_traverse tells
 *	-name	… and tp_traverse does not
 *	=name	… which it does not own, or which another object tells of
 *	?name	… or it holds nothing of use, which another word says
 *	~	something else
 *	@	goes on behind a PyHeapTypeObject: what a metatype adds
 *	name*9	nine of them
 *	name[]	as many as ob_size says, tp_itemsize bytes apart: the last
 *	~name[]	each of which has a word before it that is something else
 *	name[1]	as many as the first half of word 1 (from 0) says: the last
 *
 * @param minor  of the release
 * @param n  0: the first that is known of such a structure, 1: the next …,
 *	where micro releases differ: the first that is no larger than the type
 *	says is right
 * @return NULL: not known
 */
const char *pyh_known_words_of(const char *type, unsigned int minor, size_t n);

/** References in memory that an instance has allocated for itself. */
struct pyh_known_array {
	uint8_t pointer;	/* the word that leads there */
	uint8_t inner;		/* 0, or: it leads to a structure, whose word
				   this is the pointer; count is one of its */
	uint8_t count;		/* the word that says how many entries;
				   PYH_ONE: one */
	uint8_t step;		/* bytes of an entry */
	uint8_t each;		/* references at the start of each */
	uint8_t seen_from;	/* micro release since when tp_traverse visits
				   them; PYH_NEVER */
};

/** NULL: none is known. */
const struct pyh_known_array *pyh_known_array_of(const char *type,
						 unsigned int minor);

/**
 * True if the tp_traverse of this heap type, written in C, does not visit the
 * type of the instance, as it should since 3.9.
 */
bool pyh_omits_type(const char *type, unsigned int minor, unsigned int micro);

#endif
