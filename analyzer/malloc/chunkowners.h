/*
 * Who holds each chunk of glibc's malloc that is in use, and which nobody does.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	err = mallocheap_open(opened, NULL, &heap);
 *	err = chunkowners_create(heap, &options, &owners);
 *	err = chunkowners_each(owners, fn, context);
 *
 * Claimed is what the census knows: an object of Python lies in the chunk, or
 * the chunk is a buffer of one. All others are held by words of memory: captured
 * memory is read once, by all workers, and each aligned word that leads into a
 * chunk in use counts, whether to its first byte or into its middle. Chunks
 * lead to chunks, so each is held by whatever comes first on the shortest way to
 * it. Objects of Python are asked first: what they and their buffers lead to is
 * theirs, whoever else has a pointer to it. Then come blocks of pymalloc that are
 * no objects, data of modules, stacks and registers of threads with their
 * thread-local data, and any other memory that was captured. Of several that lead
 * there themselves one with a pointer to the first byte goes before those with
 * pointers into the middle, then the type at the lowest address. From chunk to
 * chunk, small ones are followed before buffers, which have remains in them.
 *
 * What no such way leads to is lost: nobody can free it any more. Of lost chunks
 * that lead to each other one is the head of the others, which are lost with it
 * (as memcheck tells definitely and indirectly lost blocks apart).
 *
 * Not looked at are free chunks, whatever malloc keeps in them, free blocks of
 * pymalloc, dead objects in others, text and numbers of Python, versions of its
 * dicts, data of tensors, stacks below their pointers. A pointer that a program
 * hides (mixed with a key, as difference, in 8 bytes that are not aligned) is not
 * found; numbers that look like one are.
 */
#ifndef ANALYZER_CHUNKOWNERS_H
#define ANALYZER_CHUNKOWNERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/malloc/chunktable.h"
#include "analyzer/opened.h"
#include "image/malloc/glibcheap.h"
#include "pyheap/types/pytypes.h"

enum chunk_owner {
	CHUNK_UNUSED,		/* free, top: nobody's */
	CHUNK_OBJECT,		/* an object lies in it: its type */
	CHUNK_BUFFER,		/* an object owns it: the type */
	CHUNK_BY_OBJECT,	/* an object, or what one owns, leads to it: the
				   type */
	CHUNK_BY_PYMALLOC,	/* a block of Python's allocator that is no
				   object and no buffer of one */
	CHUNK_BY_MODULE,	/* data of a module: which one */
	CHUNK_BY_THREAD,	/* a stack, registers, thread-local data: tid */
	CHUNK_BY_MEMORY,	/* other captured memory */
	CHUNK_LOST,		/* nothing leads to it */
	CHUNK_LOST_WITH,	/* only what is lost leads to it: head */
	CHUNK_NUM_OWNERS
};

struct chunk_row {
	uint32_t id;
	uint64_t start, end;		/* with its header: the user's begins
					   CHUNK_HEADER on */
	enum glibc_kind kind;
	enum chunk_owner owner;
	bool inside;			/* only by pointers into its middle, as
					   far as its owner goes */
	const struct pyh_type *type;	/* of OBJECT, BUFFER, BY_OBJECT */
	const struct module *module;	/* of BY_MODULE */
	uint32_t tid;			/* of BY_THREAD */
	uint32_t head;			/* id; of LOST: its own, of LOST_WITH: of
					   the chunk it is lost with */
};

struct chunkowners;

/**
 * Find them.
 *
 * @param opened  takes the census, where there is a Python; without one all but
 *	objects is told
 * @param heap  of the same image; borrowed, not needed after this
 * @return what the census returns where there is a Python whose heap cannot be
 *	enumerated
 */
struct error *chunkowners_create(struct opened *opened,
				 struct glibc_heap *heap,
				 struct chunkowners **ret);
/** NULL is fine. */
void chunkowners_destroy(struct chunkowners *owners);

/** Ids are 0 … this - 1; some are gaps. */
uint32_t chunkowners_count(const struct chunkowners *owners);

/** An error ends it. row is valid during the call. */
typedef struct error *chunk_row_fn(void *context, const struct chunk_row *row);

/** Call fn for each chunk, used or not, in the order of addresses. */
struct error *chunkowners_each(const struct chunkowners *owners,
			       chunk_row_fn *fn, void *context);

/** One chunk by its id; false: a gap. */
bool chunkowners_get(const struct chunkowners *owners, uint32_t id,
		     struct chunk_row *ret);

/** The chunk that an address lies in; false: none. */
bool chunkowners_at(const struct chunkowners *owners, uint64_t address,
		    struct chunk_row *ret);

/** How much of memory was looked at, in bytes. */
struct chunk_coverage {
	uint64_t scanned;	/* memory that was looked at for words */
	uint64_t missing;	/* writable, and not in the dump: what leads from
				   there is not known, and may show as lost */
	bool objects;		/* there is a census */
};
struct chunk_coverage chunkowners_coverage(const struct chunkowners *owners);

#endif
