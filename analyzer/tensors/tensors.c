/*
 * Tensors of PyTorch, and what each is for; see tensors.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors/tensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/findings.h"
#include "image/base/guard.h"
#include "image/base/mixhash.h"
#include "image/modules.h"

/** Why there may be more that only C++ holds, or NULL. */
static const char *unswept(const struct tensors *tensors)
{
	if (!tensors->heap)
		return NULL;
	if (tensors->classes.num_anchors[TORCH_KIND_TENSOR] == 0)
		return "what classes are derived from was not captured";
	return torchheap_unread(tensors->heap);
}

struct tensors_found tensors_found(const struct tensors *tensors)
{
	return (struct tensors_found){
		.items = tensors->items, .count = tensors->count,
		.storages = tensors->storages,
		.num_storages = tensors->num_storages,
		.unread = tensors->unread, .released = tensors->released,
		.bare = tensors->bare, .bare_bytes = tensors->bare_bytes,
		.cupy_allocated = tensors->cupy_allocated,
		.cupy_pooled = tensors->cupy_pooled,
		.nodes = tensors->graph.count,
		.releases = tensors->layout.releases,
		.unswept = unswept(tensors),
	};
}

uint64_t tensors_object(const struct tensors *tensors, size_t i,
			const struct pyh_type **ret_type)
{
	uint32_t object = tensors->items[i].object;

	*ret_type = NULL;
	if (object == TENSORS_NONE)
		return tensors->items[i].address;
	*ret_type = heapgraph_type(tensors->analysis->heap, object);
	return heapgraph_address(tensors->analysis->heap, object);
}

const char *tensors_type(struct tensors *tensors, size_t i,
			 char text[TORCH_CLASS_MAX])
{
	const struct pyh_type *type;
	const char *class;

	(void)tensors_object(tensors, i, &type);
	if (type)
		return type->name;
	class = torch_table_class(&tensors->classes, tensors->items[i].class,
				  text);
	return class ? class : "C++";
}

const char *tensors_owner(const struct tensors *tensors, size_t i)
{
	const struct tensor *tensor = &tensors->items[i];

	return (tensor->held == TENSOR_BY_CXX || tensor->also_cxx) &&
			       tensor->holder != TENSORS_NONE ?
		       tensors->owners[tensor->holder] : NULL;
}

const char *tensors_dtype(struct tensors *tensors, size_t i,
			  char text[TORCH_CLASS_MAX])
{
	const struct tensor *tensor = &tensors->items[i];

	return tensor->array ? tensors_array_dtype(tensors, i, text) :
			       torch_dtype_name(tensor->dtype);
}

bool tensors_read(struct tensors *tensors, size_t i, struct torch_tensor *ret)
{
	if (tensors->items[i].array)
		return tensors_read_array(tensors, i, ret);
	if (torch_tensor_read(&tensors->layout, tensors->image,
			      &tensors->memory, tensors->items[i].address,
			      ret) != TORCH_READ)
		return false;
	// A nested one has a shape for each of those in it.
	ret->has_shape = ret->has_shape && !tensors_is_nested(tensors, i);
	return true;
}

bool tensors_data_of(struct tensors *tensors, uint64_t address, uint64_t *ret)
{
	struct torch_storage storage;
	struct torch_tensor tensor;

	if (address == 0 ||
	    torch_tensor_read(&tensors->layout, tensors->image,
			      &tensors->memory, address, &tensor) != TORCH_READ ||
	    torch_storage_read(&tensors->layout, tensors->image,
			       &tensors->memory, tensor.storage, &storage) != TORCH_READ)
		return false;
	*ret = storage.data ? storage.data + (uint64_t)tensor.offset *
					torch_dtype_size(tensor.dtype) : 0;
	return true;
}

const char *tensors_grad_fn(struct tensors *tensors, size_t i,
			    char text[TORCH_CLASS_MAX])
{
	uint64_t node = tensors->items[i].grad_fn;

	return node ? tensors_node_name(tensors, node, text) : NULL;
}

/* --- layout ------------------------------------------------------------------------ */

/** From all over the heap. */
static struct error *find_layout(struct tensors *tensors,
				 const struct pyh_runtime *runtime,
				 const uint32_t *objects, size_t count)
{
	uint64_t samples[TORCH_LAYOUT_SAMPLES];
	size_t num = count < TORCH_LAYOUT_SAMPLES ? count :
						    TORCH_LAYOUT_SAMPLES;

	for (size_t i = 0; i < num; i++)
		samples[i] = heapgraph_address(tensors->analysis->heap,
					       objects[i * count / num]);
	return torch_layout_find(&tensors->memory, samples, num,
				 runtime->size_of[PYH_STRUCT_OBJECT],
				 &tensors->layout);
}

/* --- tensors --------------------------------------------------------------------------- */

static uint64_t hash_shape(const struct torch_tensor *tensor)
{
	uint64_t about = (uint64_t)tensor->dtype << 16 |
			 (uint64_t)tensor->device << 8 | (uint8_t)tensor->index;
	size_t size = tensor->num_dimensions * sizeof(int64_t);

	return mixhash(tensor->strides, size,
		       mixhash(tensor->sizes, size, about));
}

/** What a tensor reaches must be in its storage. */
static void check_extent(struct tensors *tensors, uint64_t object,
			 const struct torch_tensor *tensor, uint32_t number)
{
	const struct torch_storage *storage = &tensors->storages[number].read;
	uint64_t extent = torch_tensor_extent(tensor);

	if (storage->data && extent > storage->bytes)
		findings_add(tensors->image->findings, "tensor", object,
			     "the tensor at 0x%" PRIx64 " reaches to byte "
			     "%" PRIu64 " of a storage of %" PRIu64, object,
			     extent, storage->bytes);
}

uint32_t tensors_of_object(const struct tensors *tensors, uint32_t object)
{
	size_t low = 0, high = tensors->num_objects;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (tensors->items[middle].object < object)
			low = middle + 1;
		else
			high = middle;
	}
	return low < tensors->num_objects &&
			       tensors->items[low].object == object ?
		       (uint32_t)low : TENSORS_NONE;
}

struct error *tensors_append(struct tensors *tensors, struct tensor **ret)
{
	if (tensors->count == tensors->room) {
		size_t room = tensors->room ? tensors->room * 2 : 1024;
		struct tensor *grown = realloc(tensors->items,
					       room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		tensors->items = grown;
		tensors->room = room;
	}
	if (tensors->count >= TENSORS_NONE - 1)
		return error_new(ERROR_LIMIT, "more than 2^32 tensors");
	*ret = &tensors->items[tensors->count++];
	**ret = (struct tensor){
		.object = TENSORS_NONE, .storage = TENSORS_NONE,
		.parent = TENSORS_NONE, .holder = TENSORS_NONE,
		.native = TENSORS_NONE, .through = TENSORS_NONE,
		.nodes = { TENSORS_NONE, TENSORS_NONE } };
	return NULL;
}

/**
 * Does nothing of Python lead to an object? C++ keeps the objects of tensors that
 * it holds itself: where that is the only reference, a frame's slot with its
 * address is a stale one.
 */
static bool is_natives(const struct tensors *tensors, uint32_t object,
		       bool owned)
{
	const struct graph *graph = &tensors->analysis->heap->graph;
	size_t roots;

	if (owned && heapgraph_references(tensors->analysis->heap, object) == 1)
		return true;
	for (uint32_t i = graph->in_at[object]; i < graph->in_at[object + 1];
	     i++)
		if (graph_in(graph->in[i], GRAPH_MASK_STRONG))
			return false;
	(void)heaproots_of(&tensors->analysis->roots, object, &roots);
	return roots == 0;
}

/** @param object  its number, or TENSORS_NONE */
static struct error *add_tensor(struct tensors *tensors, uint32_t object,
				const struct torch_tensor *read)
{
	const struct torch_storage *storage;
	struct tensor *tensor;
	struct error *err = tensors_append(tensors, &tensor);
	uint64_t shown = object == TENSORS_NONE ? read->address :
			heapgraph_address(tensors->analysis->heap, object);

	if (err)
		return err;
	tensor->object = object;
	tensor->held = object == TENSORS_NONE ||
				       is_natives(tensors, object,
						  read->owns_object) ?
			       TENSOR_BY_CXX : TENSOR_BY_PYTHON;
	tensor->address = read->address;
	tensor->meta = read->meta;
	tensor->grad = read->grad;
	tensor->grad_fn = read->grad_fn;
	tensor->numel = read->numel;
	tensor->owners = read->owners;
	tensor->shape_hash = hash_shape(read);
	tensor->dtype = read->dtype;
	tensor->device = read->device;
	tensor->index = read->index;
	tensor->requires_grad = read->requires_grad;
	tensor->knows_requires_grad = read->knows_requires_grad;
	(void)memory_try_u64(&tensors->memory, read->address, &tensor->class);
	err = hashmap_put(&tensors->by_address, read->address,
			  (uint32_t)tensors->count);
	if (!err)
		err = tensors_add_storage(tensors, read->storage,
					  &tensor->storage);
	if (err || tensor->storage == TENSORS_NONE)
		return err;
	storage = &tensors->storages[tensor->storage].read;
	check_extent(tensors, shown, read, tensor->storage);
	if (storage->data)
		tensor->data = storage->data + (uint64_t)read->offset *
				torch_dtype_size(read->dtype);
	tensor->whole = storage->data && read->offset == 0 &&
			torch_tensor_extent(read) == storage->bytes;
	return NULL;
}

static struct error *read_objects(struct tensors *tensors,
				  const uint32_t *objects, size_t count)
{
	const struct torch_layout *layout = &tensors->layout;
	struct error *err = NULL;
	uint64_t of_another = 0, first = 0;

	for (size_t i = 0; !err && i < count; i++) {
		uint64_t object = heapgraph_address(tensors->analysis->heap,
						    objects[i]);
		struct torch_tensor read;

		if (layout->other &&
		    !torch_layout_fits(&tensors->memory, layout, object)) {
			first = of_another++ ? first : object;
			continue;
		}
		switch (torch_tensor_of(&tensors->layout, tensors->image,
					&tensors->memory, object, &read)) {
		case TORCH_READ:
			err = add_tensor(tensors, objects[i], &read);
			break;
		case TORCH_BAD:
			findings_add(tensors->image->findings, "tensor", object,
				     "what the object at 0x%" PRIx64 " has for a "
				     "tensor cannot be one", object);
			tensors->unread++;
			break;
		case TORCH_MISSING:
			tensors->unread++;
			break;
		case TORCH_NONE:
			break;
		}
	}
	if (of_another)
		findings_add(tensors->image->findings, "tensor", first,
			     "%" PRIu64 " tensors, the first at 0x%" PRIx64
			     ", are of another copy of PyTorch (as of %s), and "
			     "are not told of: those that are shown are as of %s",
			     of_another, first, layout->other, layout->releases);
	tensors->unread += of_another;
	tensors->num_objects = tensors->count;
	return err;
}

/* --- those that only C++ holds ----------------------------------------------------------- */

/** What is known for sure tells the rest. */
static struct error *learn_classes(struct tensors *tensors)
{
	struct torch_classes *classes = &tensors->classes;
	struct error *err = torch_classes_init(classes, tensors->image);

	for (size_t i = 0; !err && i < tensors->count; i++)
		err = torch_classes_learn(classes, tensors->items[i].address,
					  TORCH_KIND_TENSOR);
	for (size_t i = 0; !err && i < tensors->num_storages; i++)
		err = torch_classes_learn(classes,
					  tensors->storages[i].read.address,
					  TORCH_KIND_STORAGE);
	for (size_t i = 0; !err && i < tensors->count; i++)
		if (tensors->items[i].grad_fn)
			err = torch_classes_learn(classes,
						  tensors->items[i].grad_fn,
						  TORCH_KIND_NODE);
	return err;
}

/** A block that begins as a tensor does, and has not been told of yet. */
static struct error *add_block(struct tensors *tensors,
			       const struct torch_block *block)
{
	struct torch_tensor read;
	uint32_t number, strong;

	if (hashmap_get(&tensors->by_address, block->address, &number))
		return NULL;
	if (block->end - block->address < tensors->layout.size) {
		findings_add(tensors->image->findings, "tensor",
			     block->address, "the block at 0x%" PRIx64 " begins "
			     "as a tensor does, and has only %" PRIu64 " bytes",
			     block->address, block->end - block->address);
		return NULL;
	}
	switch (torch_tensor_read(&tensors->layout, tensors->image,
				  &tensors->memory, block->address, &read)) {
	case TORCH_READ:
		return add_tensor(tensors, TENSORS_NONE, &read);
	case TORCH_BAD:
		// Whoever has a weak reference keeps the memory of it.
		if (memory_try_u32(&tensors->memory, block->address + 8,
				   &strong) && strong == 0)
			tensors->released++;
		else
			findings_add(tensors->image->findings, "tensor",
				     block->address, "what begins at 0x%" PRIx64
				     " as a tensor does cannot be one, or is "
				     "half made", block->address);
		break;
	case TORCH_MISSING:
		tensors->unread++;
		break;
	case TORCH_NONE:
		break;
	}
	return NULL;
}

void tensors_each_rest(struct tensors *tensors,
		       void (*fn)(void *context, uint64_t start, uint64_t end,
				  uint32_t number), void *context)
{
	const struct torch_block *blocks;
	uint32_t number;
	size_t count;

	blocks = torchheap_blocks(tensors->heap, TORCH_KIND_TENSOR, &count);
	for (size_t i = 0; i < count; i++) {
		uint64_t start = blocks[i].address + tensors->layout.size;

		if (blocks[i].end > start &&
		    hashmap_get(&tensors->by_address, blocks[i].address,
				&number))
			fn(context, start, blocks[i].end, number - 1);
	}
}

/** Gradients of which the heap has not told, as it could not be gone through. */
static struct error *add_gradients(struct tensors *tensors)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < tensors->count; i++) {
		uint64_t grad = tensors->items[i].grad;
		struct torch_tensor read;
		uint32_t number;

		if (grad &&
		    !hashmap_get(&tensors->by_address, grad, &number) &&
		    torch_tensor_read(&tensors->layout, tensors->image,
				      &tensors->memory, grad, &read) ==
			    TORCH_READ)
			err = add_tensor(tensors, TENSORS_NONE, &read);
	}
	return err;
}

/** Where no Python object has told it: from all over the heap. */
static bool find_layout_by_blocks(struct tensors *tensors,
				  const struct torch_block *blocks, size_t count)
{
	uint64_t samples[TORCH_LAYOUT_SAMPLES];
	size_t num = count < TORCH_LAYOUT_SAMPLES ? count :
						    TORCH_LAYOUT_SAMPLES;

	for (size_t i = 0; i < num; i++)
		samples[i] = blocks[i * count / num].address;
	return torch_layout_by_tensors(&tensors->memory, samples, num,
			tensors->runtime->size_of[PYH_STRUCT_OBJECT],
			&tensors->layout);
}

static struct error *read_heap(struct tensors *tensors)
{
	const struct torch_block *blocks;
	struct error *err = learn_classes(tensors);
	size_t count;

	if (!err)
		err = torchheap_open(tensors->opened, &tensors->classes,
				     &tensors->heap);
	if (err)
		return err;
	blocks = torchheap_blocks(tensors->heap, TORCH_KIND_TENSOR, &count);
	if (!tensors->layout.releases &&
	    !find_layout_by_blocks(tensors, blocks, count)) {
		if (count > 0)
			findings_add(tensors->image->findings, "tensor",
				     blocks[0].address, "%zu blocks, the first "
				     "at 0x%" PRIx64 ", begin as tensors of "
				     "PyTorch do, and are not laid out as in any "
				     "release that is known (1.13 to 2.15): they "
				     "are not told of", count,
				     blocks[0].address);
		tensors->unread += count;
		return NULL;
	}
	for (size_t i = 0; !err && i < count; i++)
		err = add_block(tensors, &blocks[i]);
	return err ? err : add_gradients(tensors);
}

/* --- all of it ------------------------------------------------------------------------- */

/** Each has tensors of its own, and may have laid them out in its own way. */
static void tell_copies(const struct tensors *tensors)
{
	const struct modules *modules = tensors->image->modules;
	const struct module *first = NULL;

	for (size_t i = 0; i < modules_count(modules); i++) {
		const struct module *module = modules_get(modules, i);
		const char *name = strrchr(module->path, '/');

		if (!name || strcmp(name, "/libc10.so") != 0)
			continue;
		if (first && strcmp(first->path, module->path) != 0)
			findings_add(tensors->image->findings, "tensor",
				     module->start, "two copies of PyTorch are "
				     "in the process: tensors of one may be "
				     "missing");
		first = module;
	}
}

static struct error *find_torchs(struct tensors *tensors)
{
	const uint32_t *objects;
	struct pyh_types *types;
	struct error *err;
	size_t count;

	objects = tensornames_tensors(tensors->names, &count);
	err = opened_types(tensors->opened, &types);
	if (err || (count == 0 && !tensors_possible(types)))
		return err;
	tell_copies(tensors);
	if (count)
		err = find_layout(tensors, tensors->runtime, objects, count);
	if (!err)
		err = read_objects(tensors, objects, count);
	if (!err)
		err = tensors_find_wrappers(tensors);
	if (!err)
		err = read_heap(tensors);
	if (err || tensors->count == 0)
		return err;
	tensors_find_parents(tensors);
	err = tensors_find_graph(tensors);
	if (!err)
		err = tensors_find_scripts(tensors);
	if (!err)
		err = tensors_find_owners(tensors);
	if (!err)
		err = tensors_find_holders(tensors);
	return err ? err : tensors_count_bare(tensors);
}

static struct error *find(struct tensors *tensors)
{
	struct error *err;

	err = opened_runtime(tensors->opened, &tensors->runtime);
	if (!err)
		err = analysis_of(tensors->opened, 0, &tensors->analysis);
	if (!err)
		err = memory_reader_init(&tensors->memory,
					 tensors->image->memory);
	if (!err)
		err = tensornames_make(tensors->opened, tensors->analysis,
				       &tensors->names);
	if (!err)
		err = find_torchs(tensors);
	if (!err && tensors->options.arrays)
		err = tensors_add_arrays(tensors);
	if (!err)
		err = tensors_find_resident(tensors);
	if (err)
		return err;
	return tensors_give_roles(tensors);
}

struct error *tensors_find(struct opened *opened,
			   const struct tensors_options *options,
			   struct tensors **ret)
{
	struct tensors **known = opened_tensors(opened), *tensors;
	struct error *err;

	if (*known && !options->arrays) {
		// That is about paths, which are asked for last.
		(*known)->options.values |= options->values;
		*ret = *known;
		return NULL;
	}
	tensors = calloc(1, sizeof(*tensors));
	if (!tensors)
		return error_no_memory();
	tensors->opened = opened;
	tensors->image = opened_image(opened);
	tensors->options = *options;
	err = find(tensors);
	if (err) {
		tensors_destroy(tensors);
		return err;
	}
	if (!options->arrays) {
		tensors->shared = true;
		*known = tensors;
	}
	*ret = tensors;
	return NULL;
}

bool tensors_possible(const struct pyh_types *types)
{
	for (uint32_t i = 0; i < pyh_types_count(types); i++) {
		const char *name = pyh_types_get(types, i)->name;

		if (strcmp(name, "torch._C.TensorBase") == 0 ||
		    strcmp(name, "torch._C._TensorBase") == 0)
			return true;
	}
	return false;
}

struct error *tensors_look(struct opened *opened, struct tensors **ret)
{
	struct pyh_types *types;
	struct error *err = opened_types(opened, &types);

	*ret = NULL;
	if (!err && tensors_possible(types))
		err = tensors_find(opened, &(struct tensors_options){ 0 }, ret);
	if (!err || err->kind == ERROR_NO_MEMORY ||
	    err->kind == ERROR_INTERRUPTED)
		return err;
	error_free(err);
	return NULL;
}

void tensors_close(struct tensors *tensors)
{
	if (tensors && !tensors->shared)
		tensors_destroy(tensors);
}

void tensors_destroy(struct tensors *tensors)
{
	if (!tensors)
		return;
	paths_close(tensors->paths);
	torchheap_close(tensors->heap);
	torch_classes_deinit(&tensors->classes);
	tensornames_destroy(tensors->names);
	memory_reader_deinit(&tensors->memory);
	hashmap_deinit(&tensors->by_impl);
	hashmap_deinit(&tensors->by_data);
	hashmap_deinit(&tensors->by_address);
	hashmap_deinit(&tensors->module_paths);
	autograd_deinit(&tensors->graph);
	for (uint32_t i = 0; i < tensors->num_texts; i++)
		free(tensors->texts[i]);
	free(tensors->texts);
	hashmap_deinit(&tensors->by_slot);
	free(tensors->slots);
	hashmap_deinit(&tensors->by_packed);
	free(tensors->packed);
	free(tensors->node_roots);
	free(tensors->known_owners);
	free(tensors->owners);
	free(tensors->storages);
	free(tensors->items);
	free(tensors);
}
