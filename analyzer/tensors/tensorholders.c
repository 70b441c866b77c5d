/*
 * Who holds tensors that nothing else accounts for; see tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The values of a sparse tensor, what a view is a view of, buckets of a reducer,
 * a list in a module that is compiled: some C++ object has the tensor's address.
 * So the blocks of malloc are read once for words that are such addresses, those
 * of tensors' data left out, and then for the addresses of blocks that have one
 * and are of no class (a std::vector's), until one with a class is found, or the
 * data of a module.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/guard.h"
#include "image/modules.h"

enum {
	ROUNDS = 4,			/* blocks on the way to a class */
	BLOCK_MAX = 1 << 18,		/* bytes of a block that is read */
	MODULE_MAX = 64 << 20,		/* of a module's data */
	VIEW = 1 << 16,
};

/* Most that are read in a round. */
#define READ_MAX (UINT64_C(1) << 30)

/* What leads to one: the best found so far. */
struct wanted {
	uint32_t tensor;	/* number */
	uint64_t address;	/* that is looked for */
	uint64_t next;		/* a block of no class that has it; 0: none */
	bool done;
};

struct search {
	struct tensors *tensors;
	struct wanted *wanted;
	size_t count;
	struct hashmap by_address;	/* in wanted: number + 1, of the last */
	struct hashmap metas;		/* AutogradMeta: number of tensor + 1 */
	uint32_t *following;		/* in wanted: the next with this address */
	uint64_t low, high;		/* addresses are in between */
	uint64_t read;
};

/** A number of an owner's name, which is added where it is new. */
static struct error *name_owner(struct tensors *tensors, const char *name,
				uint32_t *ret)
{
	char (*grown)[TORCH_CLASS_MAX];

	for (uint32_t i = 0; i < tensors->num_owners; i++)
		if (strcmp(tensors->owners[i], name) == 0) {
			*ret = i;
			return NULL;
		}
	grown = realloc(tensors->owners,
			(tensors->num_owners + 1) * sizeof(*grown));
	if (!grown)
		return error_no_memory();
	tensors->owners = grown;
	(void)snprintf(grown[tensors->num_owners], TORCH_CLASS_MAX, "%s", name);
	*ret = tensors->num_owners++;
	return NULL;
}

static void give_tensor(struct search *search, struct wanted *wanted,
			uint32_t holder)
{
	struct tensor *tensor = &search->tensors->items[wanted->tensor];

	// Two that have each other would have no end.
	for (uint32_t at = holder, i = 0; at != TENSORS_NONE; i++) {
		const struct tensor *one = &search->tensors->items[at];

		if (at == wanted->tensor || i == ROUNDS * 4)
			return;
		at = one->held == TENSOR_BY_TENSOR ? one->holder :
						     TENSORS_NONE;
	}
	tensor->held = TENSOR_BY_TENSOR;
	tensor->holder = holder;
	wanted->done = true;
}

static struct error *give_name(struct search *search, struct wanted *wanted,
			       const char *name)
{
	struct tensor *tensor = &search->tensors->items[wanted->tensor];

	wanted->done = true;
	return name_owner(search->tensors, name, &tensor->holder);
}

/** A block has the address: what is it? */
static struct error *found_in(struct search *search, struct wanted *wanted,
			      const struct torch_block *block)
{
	struct tensors *tensors = search->tensors;
	char text[TORCH_CLASS_MAX];
	const char *class = NULL;
	enum torch_kind kind;
	struct error *err;
	uint32_t number;

	if (hashmap_get(&tensors->by_address, block->address, &number) ||
	    hashmap_get(&search->metas, block->address, &number)) {
		give_tensor(search, wanted, number - 1);
		return NULL;
	}
	err = torch_kind_of(&tensors->classes, block->word, &kind);
	if (err)
		return err;
	if (kind != TORCH_KIND_NONE)
		class = torch_table_class(&tensors->classes, block->word, text);
	if (class)
		return give_name(search, wanted, class);
	if (!wanted->next)
		wanted->next = block->address;
	return NULL;
}

static struct error *look_at_word(struct search *search, uint64_t word,
				  const struct torch_block *block)
{
	struct error *err = NULL;
	uint32_t number;

	if (word < search->low || word > search->high ||
	    !hashmap_get(&search->by_address, word, &number))
		return NULL;
	while (!err && number) {
		struct wanted *wanted = &search->wanted[number - 1];

		if (!wanted->done)
			err = found_in(search, wanted, block);
		number = search->following[number - 1];
	}
	return err;
}

static struct error *look_at_block(void *context,
				   const struct torch_block *block)
{
	struct search *search = context;
	uint64_t size = (block->end - block->address) & ~UINT64_C(7);
	struct error *err = NULL;
	const uint8_t *bytes;
	uint32_t number;

	if (size > BLOCK_MAX || search->read > READ_MAX ||
	    hashmap_get(&search->tensors->by_data, block->address, &number))
		return NULL;
	search->read += size;
	bytes = memory_view(&search->tensors->memory, block->address, size);
	if (!bytes)
		return NULL;
	// Nothing else is read by this reader meanwhile that would take the view.
	for (uint64_t i = 0; !err && i < size; i += 8) {
		uint64_t word;

		memcpy(&word, bytes + i, sizeof(word));
		if (word >= search->low && word <= search->high)
			err = look_at_word(search, word, block);
	}
	return err;
}

/** A variable of a module has it. */
static struct error *look_at_module(struct search *search,
				    const struct memory_range *range,
				    const struct module *module)
{
	const char *slash = strrchr(module->path, '/');
	struct error *err = NULL;

	for (uint64_t at = range->start;
	     !err && at < range->end && at - range->start < MODULE_MAX;
	     at += VIEW) {
		uint64_t size = range->end - at < VIEW ? range->end - at : VIEW;
		const uint8_t *bytes = memory_view(&search->tensors->memory, at,
						   size);

		for (uint64_t i = 0; !err && bytes && i + 8 <= size; i += 8) {
			uint32_t number;
			uint64_t word;

			memcpy(&word, bytes + i, sizeof(word));
			if (word < search->low || word > search->high ||
			    !hashmap_get(&search->by_address, word, &number))
				continue;
			while (!err && number) {
				struct wanted *wanted =
					&search->wanted[number - 1];

				if (!wanted->done)
					err = give_name(search, wanted,
							slash ? slash + 1 :
								module->path);
				number = search->following[number - 1];
			}
		}
	}
	return err;
}

static struct error *look_at_modules(struct search *search)
{
	const struct image *image = search->tensors->image;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < memory_num_ranges(image->memory); i++) {
		const struct memory_range *range = memory_range(image->memory,
								i);
		const struct module *module;

		if (range->state != MEMORY_CAPTURED ||
		    !(range->protection & PF_W))
			continue;
		module = modules_find(image->modules, range->start);
		if (module)
			err = look_at_module(search, range, module);
	}
	return err;
}

/** Addresses that are looked for in this round; false: there are none. */
static struct error *prepare_round(struct search *search, bool *ret_any)
{
	struct error *err = NULL;

	hashmap_deinit(&search->by_address);
	search->low = UINT64_MAX;
	search->high = 0;
	search->read = 0;
	*ret_any = false;
	for (size_t i = 0; !err && i < search->count; i++) {
		struct wanted *wanted = &search->wanted[i];
		uint32_t before = 0;

		if (wanted->done || wanted->address == 0)
			continue;
		if (wanted->address < search->low)
			search->low = wanted->address;
		if (wanted->address > search->high)
			search->high = wanted->address;
		(void)hashmap_get(&search->by_address, wanted->address,
				  &before);
		search->following[i] = before;
		err = hashmap_put(&search->by_address, wanted->address,
				  (uint32_t)i + 1);
		*ret_any = true;
	}
	return err;
}

static struct error *search_all(struct search *search)
{
	struct error *err = NULL;
	bool any = false;

	for (int round = 0; !err && round < ROUNDS; round++) {
		err = prepare_round(search, &any);
		if (err || !any)
			return err;
		err = torchheap_each(search->tensors->heap, look_at_block,
				     search);
		if (!err)
			err = look_at_modules(search);
		for (size_t i = 0; i < search->count; i++) {
			search->wanted[i].address = search->wanted[i].next;
			search->wanted[i].next = 0;
		}
	}
	return err;
}

static struct error *collect(struct search *search)
{
	struct tensors *tensors = search->tensors;
	struct error *err = NULL;

	for (size_t i = 0; i < tensors->count; i++)
		search->count += tensors->items[i].held == TENSOR_BY_CXX;
	if (search->count == 0)
		return NULL;
	search->wanted = calloc(search->count, sizeof(*search->wanted));
	search->following = calloc(search->count, sizeof(*search->following));
	if (!search->wanted || !search->following)
		return error_no_memory();
	search->count = 0;
	for (size_t i = 0; !err && i < tensors->count; i++) {
		const struct tensor *tensor = &tensors->items[i];

		if (tensor->held == TENSOR_BY_CXX)
			search->wanted[search->count++] = (struct wanted){
				.tensor = (uint32_t)i,
				.address = tensor->address };
		if (tensor->meta)
			err = hashmap_put(&search->metas, tensor->meta,
					  (uint32_t)i + 1);
	}
	return err;
}

/** A gradient is its tensor's, whose AutogradMeta has it. */
static void give_gradients(struct tensors *tensors)
{
	for (size_t i = 0; i < tensors->count; i++) {
		struct tensor *tensor = &tensors->items[i];

		if (tensor->held != TENSOR_BY_CXX ||
		    tensor->parent == TENSORS_NONE)
			continue;
		tensor->held = TENSOR_BY_TENSOR;
		tensor->holder = tensor->parent;
	}
}

struct error *tensors_find_holders(struct tensors *tensors)
{
	struct search search = { .tensors = tensors };
	struct error *err;

	give_gradients(tensors);
	err = collect(&search);
	if (!err && search.count)
		err = search_all(&search);
	hashmap_deinit(&search.by_address);
	hashmap_deinit(&search.metas);
	free(search.wanted);
	free(search.following);
	return err;
}
