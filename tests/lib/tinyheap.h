/*
 * A heap of CPython built by hand, for tests of what is no heap at all.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	struct tinyheap heap;
 *	tinyheap_init(&heap, 12);
 *	list = tinyheap_object(&heap, heap.list, 40);
 *	tinyheap_set(&heap, list, PYH_LIST_OB_ITEM, 0x1234);
 *	tinyheap_open(&heap);		... after which nothing is built any more
 *	tinyheap_deinit(&heap);
 *
 * One range of memory with the types type, object, tuple, str, dict, list, int
 * and set, laid out as the tables say for a release. Failing to build is the
 * test's own mistake and ends it.
 */
#ifndef TESTS_TINYHEAP_H
#define TESTS_TINYHEAP_H

#include <stddef.h>
#include <stdint.h>

#include "image/image.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/sizes/pysize.h"
#include "pyheap/types/pytypes.h"

#define TINYHEAP_START UINT64_C(0x7f0000000000)

enum { TINYHEAP_SIZE = 4 << 20 };

struct tinyheap {
	uint8_t *bytes;			/* TINYHEAP_SIZE of them */
	uint64_t next;			/* where the next thing goes */
	uint64_t limit;			/* where captured memory ends */
	struct image image;
	struct pyh_interpreter interpreter;
	struct pyh_runtime runtime;
	struct pyh_types *types;
	struct pyh_type_reader reader;
	struct memory_reader memory;
	uint64_t type, object, tuple, str, dict, list, integer, set;
};

void tinyheap_init(struct tinyheap *heap, unsigned int minor);
void tinyheap_deinit(struct tinyheap *heap);

/** Zeroed memory of size bytes, at a multiple of 16; its address. */
uint64_t tinyheap_take(struct tinyheap *heap, size_t size);

void tinyheap_put(struct tinyheap *heap, uint64_t address, uint64_t value,
		  size_t size);
void tinyheap_set(struct tinyheap *heap, uint64_t structure,
		  enum pyh_field field, uint64_t value);

/** An object of a type, size bytes with 64 zero ones before it. */
uint64_t tinyheap_object(struct tinyheap *heap, uint64_t type, size_t size);

/** A C string. */
uint64_t tinyheap_text(struct tinyheap *heap, const char *text);

/** A ready type that may be a base. name NULL: its tp_name leads nowhere. */
uint64_t tinyheap_type(struct tinyheap *heap, const char *name, uint64_t flags,
		       uint64_t basicsize, uint64_t itemsize, uint64_t base);

/** An ASCII str, compact. */
uint64_t tinyheap_str(struct tinyheap *heap, const char *text, size_t length);

/** A dict of up to 5 str keys; values 0 are left out. */
uint64_t tinyheap_dict(struct tinyheap *heap, const char *const *keys,
		       const uint64_t *values, size_t count);

/** Close the memory and make types and readers. */
void tinyheap_open(struct tinyheap *heap);

/** Measure the object at an address by the type it has. */
enum pyh_measured tinyheap_measure(struct tinyheap *heap, uint64_t address,
				   struct pyh_measure *ret);

#endif
