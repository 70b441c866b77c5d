/*
 * Tensors that Python holds, and C++ as well; see tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A tensor counts its owners. Its Python object is one; PyTorch's own structures
 * are others: what nodes have saved, whose gradient it is, what a view is a view
 * of. Where the count says more, some C++ object has it, and lets go of it when it
 * pleases, whatever Python does. In Python's own count nothing of that is seen up to
 * PyTorch 2.9.
 */
#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/guard.h"

enum { PART_MAX = 1 << 12 };	/* bytes of a structure that are looked at */

struct owning {
	struct tensors *tensors;
	struct hashmap metas;		/* AutogradMeta: number of tensor + 1 */
};

static void count_owner(struct tensors *tensors, uint64_t word)
{
	uint32_t number;

	if (word && hashmap_get(&tensors->by_address, word, &number))
		tensors->known_owners[number - 1]++;
}

/** What is known without a look at other blocks: saved ones are counted. */
static void count_known(struct tensors *tensors)
{
	const struct autograd *graph = &tensors->graph;
	uint64_t word;

	for (uint32_t i = 0; graph->knows_own && i < graph->count; i++)
		if (tensors_accumulates(tensors, graph->nodes[i].address) &&
		    memory_try_u64(&tensors->memory,
				   graph->nodes[i].address + graph->own, &word))
			count_owner(tensors, word);
	for (size_t i = 0; i < tensors->num_slots; i++)
		if (tensors->slots[i].tensor != TENSORS_NONE)
			tensors->known_owners[tensors->slots[i].tensor]++;
	for (size_t i = 0; i < tensors->count; i++)
		count_owner(tensors, tensors->items[i].grad);
}

static bool has_more(const struct tensors *tensors, size_t i)
{
	const struct tensor *tensor = &tensors->items[i];

	return tensor->held == TENSOR_BY_PYTHON && !tensor->array &&
	       tensor->owners > tensors->known_owners[i];
}

bool tensors_may_view(const struct tensors *tensors, uint32_t view,
		      uint32_t base)
{
	uint32_t storage = tensors->items[view].storage;
	uint32_t other = tensors->items[base].storage;

	return storage == other || storage == TENSORS_NONE ||
	       other == TENSORS_NONE;
}

/**
 * @param view  a tensor: it is what autograd knows of that one. The gradient is
 *	counted already, and what the tensor is no view of has been left in memory
 *	by others. TENSORS_NONE: it is something else
 */
static void count_part(struct tensors *tensors, uint64_t start, uint64_t end,
		       uint32_t view)
{
	uint64_t words[PART_MAX / 8];
	uint64_t size = end - start < PART_MAX ? end - start : PART_MAX;

	if (!memory_try_read(&tensors->memory, start, words, size & ~7)) {
		// Then the count alone says nothing.
		tensors->owners_cut = true;
		return;
	}
	for (uint64_t i = 0; i < size / 8; i++) {
		uint32_t base;

		if (view == TENSORS_NONE ||
		    (words[i] != tensors->items[view].grad && words[i] &&
		     hashmap_get(&tensors->by_address, words[i], &base) &&
		     tensors_may_view(tensors, view, base - 1)))
			count_owner(tensors, words[i]);
	}
}

/** What autograd knows of a tensor: it is a view of another one. */
static struct error *look_at_meta(void *context,
				  const struct torch_block *block)
{
	struct owning *owning = context;
	uint32_t number;

	if (hashmap_get(&owning->metas, block->address, &number))
		count_part(owning->tensors, block->address, block->end,
			   number - 1);
	return NULL;
}

static void look_at_rest(void *context, uint64_t start, uint64_t end,
			 uint32_t number)
{
	(void)number;
	count_part(context, start, end, TENSORS_NONE);
}

static struct error *look_at_parts(struct tensors *tensors)
{
	struct owning owning = { .tensors = tensors };
	struct error *err = NULL;

	for (size_t i = 0; !err && i < tensors->count; i++)
		if (tensors->items[i].meta)
			err = hashmap_put(&owning.metas, tensors->items[i].meta,
					  (uint32_t)i + 1);
	if (!err)
		err = torchheap_each(tensors->heap, look_at_meta, &owning);
	hashmap_deinit(&owning.metas);
	tensors_each_rest(tensors, look_at_rest, tensors);
	return err;
}

struct error *tensors_find_owners(struct tensors *tensors)
{
	struct error *err = NULL;
	size_t more = 0;

	if (!tensors->heap || !tensors->known_owners)
		return NULL;
	count_known(tensors);
	for (size_t i = 0; i < tensors->count; i++)
		more += has_more(tensors, i);
	if (more)
		err = look_at_parts(tensors);
	for (size_t i = 0; !err && more && i < tensors->count; i++)
		tensors->items[i].also_cxx = has_more(tensors, i);
	return err;
}
