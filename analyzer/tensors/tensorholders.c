/*
 * Who holds tensors that nothing else accounts for; see tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The values of a sparse tensor, what a view is a view of, buckets of a reducer,
 * a list in a module that is compiled: some C++ object has the tensor's address.
 * So the blocks of malloc are read once for words that are such addresses, those
 * of tensors' data left out, and then for the addresses of blocks that have one
 * and are of no class (a std::vector's), until one with a class is found, or the
 * data of a module. Several blocks may have an address, some of them by chance:
 * each is followed. An object with a class may in turn be a tensor's, as the
 * quantizer of one is. For others there is an object of Python's, as for the
 * reducer of DistributedDataParallel, by pybind11, or a capsule for what DLPack
 * hands out.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/guard.h"
#include "image/modules.h"
#include "image/nativestacks.h"

enum {
	ROUNDS = 4,			/* blocks on the way to a class */
	WAYS_MAX = 8,			/* blocks that are followed for a tensor */
	BLOCK_MAX = 1 << 18,		/* bytes of a block that is read */
	MODULE_MAX = 64 << 20,		/* of a module's data */
	VIEW = 1 << 16,
	NATIVE_MAX = 256,		/* bytes of an object for one of C++ */
	PART_MAX = 512,			/* bytes of what a class has behind what
					   all tensors have */
	SHARED = 16,			/* bytes in front of what a shared_ptr's
					   counts are with */
	HEAD = 16,			/* … an object of Python's that is
					   collected */
	HANDED_OUT = 8,			/* … of what a DLManagedTensor is with: the
					   tensor itself */
};

/* Most that are read in a round. */
#define READ_MAX (UINT64_C(1) << 30)

/* A tensor whose holder is looked for. */
struct wanted {
	uint32_t tensor;	/* number */
	uint32_t ways;		/* that are followed so far */
	uint64_t class;		/* an object with a class that leads to it; 0:
				   none */
	uint32_t following;	/* number + 1 of the next with that one */
	uint32_t node;		/* number + 1 of a node's name that leads to it */
	bool done;
};

/* An address that leads to one. */
struct way {
	uint64_t address;
	uint32_t wanted;	/* number */
	uint32_t following;	/* number + 1 of the next with this address */
};

struct ways {
	struct way *items;
	size_t count, room;
};

struct search {
	struct tensors *tensors;
	struct wanted *wanted;
	size_t count;
	struct ways now, next;	/* of this round, and of the one to come */
	struct hashmap by_address;	/* in now: number + 1, of the last */
	struct hashmap metas;		/* AutogradMeta: number of tensor + 1 */
	struct hashmap classes;		/* of wanted: number + 1, of the last */
	uint64_t low, high;		/* addresses are in between */
	uint64_t read;
	bool cut;			/* some blocks were not looked at */
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

/** PyTorch's own structures have it, one in the other: they are no others. */
static void give_torch(struct search *search, struct wanted *wanted)
{
	search->tensors->items[wanted->tensor].also_cxx = false;
	wanted->done = true;
}

static struct error *add_way(struct ways *ways, uint64_t address,
			     uint32_t wanted)
{
	if (ways->count == ways->room) {
		size_t room = ways->room ? ways->room * 2 : 1024;
		struct way *grown = realloc(ways->items,
					    room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		ways->items = grown;
		ways->room = room;
	}
	ways->items[ways->count++] = (struct way){ .address = address,
						   .wanted = wanted };
	return NULL;
}

static struct error *give_name(struct search *search, struct wanted *wanted,
			       const char *name)
{
	struct tensor *tensor = &search->tensors->items[wanted->tensor];

	wanted->done = true;
	return name_owner(search->tensors, name, &tensor->holder);
}

/** An object of Python's, without pymalloc? Its head may be in front. */
static bool is_object(const struct tensors *tensors,
		      const struct torch_block *block)
{
	const struct heapgraph *heap = tensors->analysis->heap;

	return heapgraph_find(heap, block->address) != GRAPH_NONE ||
	       heapgraph_find(heap, block->address + HEAD) != GRAPH_NONE;
}

/**
 * Has what autograd knows of a tensor the address of another one that it is no view
 * of? Then others have left it in that memory.
 */
static bool is_left_there(const struct search *search, const struct way *way,
			  const struct torch_block *block, uint32_t number)
{
	const struct tensors *tensors = search->tensors;
	const struct tensor *view = &tensors->items[number];
	uint32_t wanted = search->wanted[way->wanted].tensor;

	return block->address == view->meta &&
	       way->address == tensors->items[wanted].address &&
	       way->address != view->grad &&
	       !tensors_may_view(tensors, number, wanted);
}

/** A block has the address: what is it? */
static struct error *found_in(struct search *search, const struct way *way,
			      const struct torch_block *block)
{
	struct tensors *tensors = search->tensors;
	struct wanted *wanted = &search->wanted[way->wanted];
	const struct tensor *tensor = &tensors->items[wanted->tensor];
	// By itself what these have is counted.
	bool counted = tensor->also_cxx && way->address == tensor->address;
	char text[TORCH_CLASS_MAX];
	const char *class = NULL;
	enum torch_kind kind;
	struct error *err;
	uint32_t number;

	if (hashmap_get(&tensors->by_address, block->address, &number) ||
	    hashmap_get(&search->metas, block->address, &number)) {
		if (is_left_there(search, way, block, number - 1))
			return NULL;
		if (!tensor->also_cxx)
			give_tensor(search, wanted, number - 1);
		else if (!counted)
			give_torch(search, wanted);
		return NULL;
	}
	// So it is of a node that lies behind the counts of its owners.
	if (counted && autograd_find(&tensors->graph, block->address + SHARED) !=
			       TENSORS_NONE)
		return NULL;
	err = torch_kind_of(&tensors->classes, block->word, &kind);
	if (err)
		return err;
	if (kind != TORCH_KIND_NONE)
		class = torch_table_class(&tensors->classes, block->word, text);
	// What nodes have saved is known: what else leads from one to a tensor
	// may be what was left in memory that they make no use of.
	if (class && kind == TORCH_KIND_NODE) {
		err = wanted->node ? NULL : name_owner(tensors, class, &number);
		if (!err && !wanted->node)
			wanted->node = number + 1;
		return err;
	}
	// Some of other classes have a tensor; this has what malloc rounds up to.
	if (class && kind == TORCH_KIND_STORAGE &&
	    strcmp(class, "StorageImpl") == 0)
		return NULL;
	if (class) {
		wanted->class = block->address;
		return give_name(search, wanted, class);
	}
	if (wanted->ways == WAYS_MAX ||
	    (tensor->also_cxx && is_object(tensors, block)))
		return NULL;
	wanted->ways++;
	return add_way(&search->next, block->address,
		       (uint32_t)(wanted - search->wanted));
}

/**
 * What may lead to a tensor that is looked for does.
 *
 * @param block  which has the word, or NULL: the data of a module has it
 */
static struct error *look_at_word(struct search *search, uint64_t word,
				  const struct torch_block *block,
				  const char *module)
{
	struct error *err = NULL;
	uint32_t number;

	if (word < search->low || word > search->high ||
	    !hashmap_get(&search->by_address, word, &number))
		return NULL;
	while (!err && number) {
		const struct way *way = &search->now.items[number - 1];
		struct wanted *wanted = &search->wanted[way->wanted];

		number = way->following;
		if (!wanted->done)
			err = block ? found_in(search, way, block) :
				      give_name(search, wanted, module);
	}
	return err;
}

/** An object of Python's that stands for what has the address. */
static struct error *look_at_native(struct search *search, uint32_t object)
{
	const struct heapgraph *heap = search->tensors->analysis->heap;
	const struct pyh_type *type = heapgraph_type(heap, object);
	uint64_t words[NATIVE_MAX / 8];
	uint64_t size = (uint64_t)type->basicsize & ~UINT64_C(7);
	struct error *err = NULL;

	if (size > sizeof(words) ||
	    !memory_try_read(&search->tensors->memory,
			     heapgraph_address(heap, object), words, size))
		return NULL;
	for (uint64_t i = 0; !err && i < size / 8; i++) {
		uint32_t number = 0;

		if (!hashmap_get(&search->by_address, words[i], &number) &&
		    !hashmap_get(&search->by_address, words[i] - SHARED,
				 &number))
			(void)hashmap_get(&search->by_address,
					  words[i] - HANDED_OUT, &number);
		while (!err && number) {
			const struct way *way = &search->now.items[number - 1];
			struct wanted *wanted = &search->wanted[way->wanted];

			number = way->following;
			if (wanted->done)
				continue;
			search->tensors->items[wanted->tensor].native = object;
			err = give_name(search, wanted, type->name);
		}
	}
	return err;
}

static struct error *look_at_natives(struct search *search)
{
	struct error *err = NULL;
	const uint32_t *objects;
	size_t count;

	objects = tensornames_natives(search->tensors->names, &count);
	for (size_t i = 0; !err && i < count; i++)
		err = look_at_native(search, objects[i]);
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

	if (hashmap_get(&search->tensors->by_data, block->address, &number))
		return NULL;
	if (size > BLOCK_MAX || search->read > READ_MAX) {
		search->cut = true;
		return NULL;
	}
	search->read += size;
	bytes = memory_view(&search->tensors->memory, block->address, size);
	if (!bytes) {
		search->cut = true;
		return NULL;
	}
	// Nothing else is read by this reader meanwhile that would take the view.
	for (uint64_t i = 0; !err && i < size; i += 8) {
		uint64_t word;

		memcpy(&word, bytes + i, sizeof(word));
		if (word >= search->low && word <= search->high)
			err = look_at_word(search, word, block, NULL);
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
			uint64_t word;

			memcpy(&word, bytes + i, sizeof(word));
			if (word >= search->low && word <= search->high)
				err = look_at_word(search, word, NULL,
						   slash ? slash + 1 :
							   module->path);
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

/** Addresses that are looked for in this round, by what is to come. */
static struct error *prepare_round(struct search *search)
{
	struct ways ways = search->now;
	struct error *err = NULL;

	search->now = search->next;
	search->next = ways;
	search->next.count = 0;
	hashmap_deinit(&search->by_address);
	search->low = UINT64_MAX;
	search->high = 0;
	search->read = 0;
	for (size_t i = 0; !err && i < search->now.count; i++) {
		struct way *way = &search->now.items[i];

		way->following = 0;
		if (search->wanted[way->wanted].done)
			continue;
		if (way->address < search->low)
			search->low = way->address;
		if (way->address > search->high)
			search->high = way->address;
		(void)hashmap_get(&search->by_address, way->address,
				  &way->following);
		err = hashmap_put(&search->by_address, way->address,
				  (uint32_t)i + 1);
	}
	return err;
}

static void look_at_stack(struct search *search, struct hashmap *wanted,
			  const struct native_stack *stack)
{
	for (uint64_t at = stack->start; at < stack->end; at += VIEW) {
		uint64_t size = stack->end - at < VIEW ? stack->end - at : VIEW;
		const uint8_t *bytes = memory_view(&search->tensors->memory, at,
						   size);
		uint32_t number;

		for (uint64_t i = 0; bytes && i + 8 <= size; i += 8) {
			uint64_t word;

			memcpy(&word, bytes + i, sizeof(word));
			if (word && hashmap_get(wanted, word, &number))
				search->tensors->items[number - 1].also_cxx =
					false;
		}
	}
}

/**
 * An operation that runs owns what it was given, until it is through: what a stack
 * leads to, and nothing else that is known, nobody else has for long.
 */
static struct error *forgive_stacks(struct search *search)
{
	struct native_stacks stacks = { 0 };
	struct hashmap wanted = { 0 };
	struct error *err = NULL;

	for (size_t i = 0; !err && i < search->count; i++) {
		uint32_t number = search->wanted[i].tensor;
		const struct tensor *tensor = &search->tensors->items[number];

		if (tensor->also_cxx && !search->wanted[i].done)
			err = hashmap_put(&wanted, tensor->address, number + 1);
	}
	if (!err && wanted.count)
		err = native_stacks_find(search->tensors->image, &stacks);
	for (size_t i = 0; !err && i < stacks.count; i++)
		look_at_stack(search, &wanted, &stacks.items[i]);
	native_stacks_deinit(&stacks);
	hashmap_deinit(&wanted);
	return err;
}

/**
 * Better than nothing: functions in C++ have more than what they save. That C++
 * holds what Python does, is not told on the word of a count alone where not all
 * was read that may be known to own it.
 */
static struct error *give_rest(struct search *search)
{
	bool whole = !search->tensors->graph.unread &&
		     !search->tensors->owners_cut && !search->cut &&
		     !torchheap_unread(search->tensors->heap);

	for (size_t i = 0; i < search->count; i++) {
		struct wanted *wanted = &search->wanted[i];
		struct tensor *tensor = &search->tensors->items[wanted->tensor];

		if (wanted->done)
			continue;
		if (tensor->also_cxx && (wanted->node || !whole))
			tensor->also_cxx = false;
		else if (wanted->node)
			tensor->holder = wanted->node - 1;
	}
	return forgive_stacks(search);
}

static struct error *search_all(struct search *search)
{
	struct error *err = NULL;

	for (int round = 0; !err && round < ROUNDS; round++) {
		err = prepare_round(search);
		if (err || search->by_address.count == 0)
			return err;
		err = look_at_natives(search);
		if (!err)
			err = torchheap_each(search->tensors->heap,
					     look_at_block, search);
		if (!err)
			err = look_at_modules(search);
	}
	return err;
}

/* --- objects with a class that are a tensor's ----------------------------------------- */

static void give_class(struct search *search, uint64_t word, uint32_t holder)
{
	uint32_t number;

	if (word == 0 || !hashmap_get(&search->classes, word, &number))
		return;
	for (; number; number = search->wanted[number - 1].following) {
		struct wanted *wanted = &search->wanted[number - 1];
		struct tensor *tensor = &search->tensors->items[wanted->tensor];
		uint32_t name = tensor->holder;

		if (tensor->held != TENSOR_BY_CXX)
			continue;
		give_tensor(search, wanted, holder);
		if (tensor->held == TENSOR_BY_TENSOR)
			tensor->through = name;
	}
}

/** Any of these words may be the address of one. */
static void look_at_part(struct search *search, uint64_t address, uint64_t size,
			 uint32_t holder)
{
	uint64_t words[PART_MAX / 8];

	if (size > PART_MAX)
		size = PART_MAX;
	if (!memory_try_read(&search->tensors->memory, address, words, size & ~7))
		return;
	for (uint64_t i = 0; i < size / 8; i++) {
		give_class(search, words[i], holder);
		give_class(search, words[i] - SHARED, holder);
	}
}

/** What autograd knows of a tensor, a block of its own. */
static struct error *look_at_meta(void *context,
				  const struct torch_block *block)
{
	struct search *search = context;
	uint32_t number;

	if (hashmap_get(&search->metas, block->address, &number))
		look_at_part(search, block->address,
			     block->end - block->address, number - 1);
	return NULL;
}

static void look_at_rest(void *context, uint64_t start, uint64_t end,
			 uint32_t number)
{
	look_at_part(context, start, end - start, number);
}

/** A tensor's own storage, if that is of another class; its meta; its rest. */
static struct error *search_tensors(struct search *search)
{
	struct tensors *tensors = search->tensors;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < search->count; i++) {
		struct wanted *wanted = &search->wanted[i];

		if (wanted->class == 0)
			continue;
		(void)hashmap_get(&search->classes, wanted->class,
				  &wanted->following);
		err = hashmap_put(&search->classes, wanted->class,
				  (uint32_t)i + 1);
	}
	if (err || search->classes.count == 0)
		return err;
	tensors_each_rest(tensors, look_at_rest, search);
	for (uint32_t i = 0; i < tensors->count; i++) {
		const struct tensor *tensor = &tensors->items[i];

		if (tensor->storage != TENSORS_NONE)
			give_class(search, tensors->storages[tensor->storage]
						   .read.address, i);
	}
	return torchheap_each(tensors->heap, look_at_meta, search);
}

static bool is_wanted(const struct tensors *tensors, size_t i)
{
	return tensors->items[i].also_cxx ||
	       (tensors->items[i].held == TENSOR_BY_CXX &&
		!tensors_slot_of(tensors, (uint32_t)i));
}

static struct error *collect(struct search *search)
{
	struct tensors *tensors = search->tensors;
	struct error *err = NULL;

	for (size_t i = 0; i < tensors->count; i++)
		search->count += is_wanted(tensors, i);
	if (search->count == 0)
		return NULL;
	search->wanted = calloc(search->count, sizeof(*search->wanted));
	if (!search->wanted)
		return error_no_memory();
	search->count = 0;
	for (size_t i = 0; !err && i < tensors->count; i++) {
		const struct tensor *tensor = &tensors->items[i];

		if (is_wanted(tensors, i)) {
			search->wanted[search->count] = (struct wanted){
				.tensor = (uint32_t)i };
			err = add_way(&search->next, tensor->address,
				      (uint32_t)search->count);
			// Or its object is what C++ has.
			if (!err && tensor->object != TENSORS_NONE &&
			    !tensor->also_cxx)
				err = add_way(&search->next,
					      heapgraph_address(
						      tensors->analysis->heap,
						      tensor->object),
					      (uint32_t)search->count);
			search->count++;
		}
		if (!err && tensor->meta)
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
	if (!err && search.count)
		err = search_tensors(&search);
	if (!err)
		err = give_rest(&search);
	hashmap_deinit(&search.by_address);
	hashmap_deinit(&search.metas);
	hashmap_deinit(&search.classes);
	free(search.now.items);
	free(search.next.items);
	free(search.wanted);
	return err;
}
