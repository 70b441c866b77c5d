/*
 * PyTorch's C++ objects on the heap: every block of malloc, or of what has its
 * place, that begins as a tensor, a storage or a node of autograd's does.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Such objects are always allocated by themselves, so no memory is searched: the
 * first word of each block in use is asked for its class, and that is all that is
 * read, however large the data of tensors are.
 */
#ifndef ANALYZER_TORCHHEAP_H
#define ANALYZER_TORCHHEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/opened.h"
#include "cudaheap/torchclass.h"

/**
 * A block: what the program got; of one that begins with a class's table no more
 * than two objects of that class have.
 */
struct torch_block {
	uint64_t address, end;
	uint64_t word;			/* its first one */
	enum torch_kind kind;
};

struct torchheap;

/**
 * Go through all blocks once.
 *
 * @param classes  borrowed; knows what Python's tensors have shown
 */
struct error *torchheap_open(struct opened *opened,
			     struct torch_classes *classes,
			     struct torchheap **ret);
/** NULL is fine. */
void torchheap_close(struct torchheap *heap);

/** Blocks of a kind, by address: borrowed. */
const struct torch_block *torchheap_blocks(const struct torchheap *heap,
					   enum torch_kind kind,
					   size_t *ret_count);

/**
 * NULL, or why there may be more: no allocator that is known, or one whose
 * blocks are not known one by one.
 */
const char *torchheap_unread(const struct torchheap *heap);

/** An error ends it. */
typedef struct error *torch_block_fn(void *context,
				     const struct torch_block *block);

/** Call fn for every block in use, of whatever kind; kind is not looked up. */
struct error *torchheap_each(struct torchheap *heap, torch_block_fn *fn,
			     void *context);

#endif
