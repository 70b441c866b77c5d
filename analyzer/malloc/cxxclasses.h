/*
 * Instances of C++ classes among memory that malloc gave, by their vtables.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An instance of a class with virtual functions begins with the address of a
 * place in its class's table of them, which has a symbol, _ZTV and a name.
 */
#ifndef ANALYZER_CXXCLASSES_H
#define ANALYZER_CXXCLASSES_H

#include <stddef.h>
#include <stdint.h>

#include "image/base/hashmap.h"
#include "image/demangle.h"
#include "image/image.h"

struct cxx_class {
	const char *symbol;	/* borrowed of the module */
	uint64_t count, bytes;
};

struct cxx_classes {
	struct image *image;
	uint64_t low, high;	/* modules lie in between */
	struct hashmap known;	/* words met: number of the class, from 1 */
	struct hashmap by_symbol;	/* a hash of that: number of the class */
	struct cxx_class *items;
	size_t count, room;
};

struct error *cxx_classes_init(struct cxx_classes *classes,
			       struct image *image);
void cxx_classes_deinit(struct cxx_classes *classes);

/**
 * Whose instance a block of memory is that begins with this word.
 *
 * @param ret  number of the class, from 1: an index of items, plus one; 0: none
 */
struct error *cxx_class_of(struct cxx_classes *classes, uint64_t word,
			   uint32_t *ret);

/** Count such a block. */
struct error *cxx_classes_add(struct cxx_classes *classes, uint64_t word,
			      uint64_t bytes);

/** Largest first. After this nothing may be added. */
void cxx_classes_sort(struct cxx_classes *classes);

/** "net::Session" for _ZTVN3net7SessionE. */
const char *cxx_name(const char *symbol, char text[DEMANGLE_MAX]);

#endif
