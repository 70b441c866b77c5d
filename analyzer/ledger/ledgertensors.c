/*
 * The ledger: storages of PyTorch's tensors; see ledgerparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A storage's data is a block of malloc, or a mapping, like the data of an array.
 * Those are told that Python's objects stand for, and their gradients; what only
 * C++ holds are chunks like others.
 */
#include "analyzer/ledger/ledgerparts.h"

#include <stdlib.h>

#include "analyzer/tensors/tensornames.h"
#include "cudaheap/torchtensor.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"

enum { ADDRESS_BITS = 48 };

struct error *ledger_tensor_types(const struct pyh_runtime *runtime,
				  struct pyh_types *types, uint8_t **ret,
				  size_t *ret_count)
{
	CLEANUP(free_pointer) struct pyh_type_reader *reader =
		calloc(1, sizeof(*reader));
	size_t count = pyh_types_count(types);
	struct error *err;

	*ret = calloc(count + 1, 1);
	*ret_count = count;
	if (!reader || !*ret)
		return error_no_memory();
	err = pyh_type_reader_init(reader, types);
	if (err)
		return err;
	for (uint32_t id = 0; id < count; id++)
		(*ret)[id] = tensornames_of_type(runtime, reader,
						 pyh_types_get(types, id)) &
			     TENSORNAMES_TENSOR;
	pyh_type_reader_deinit(reader);
	return NULL;
}

struct telling {
	struct ledger_making *making;
	struct torch_layout layout;
	struct memory_reader memory;
	struct hashmap storages;	/* those told */
	size_t room;			/* of making->blocks */
};

static struct error *add_block(struct telling *telling,
			       const struct torch_storage *storage)
{
	struct ledger_blocks *blocks = &telling->making->blocks;

	// What is on devices is not in this memory, wherever it says it is.
	if (storage->device != 0 || storage->bytes == 0 ||
	    storage->data >> ADDRESS_BITS)
		return NULL;
	if (blocks->count >= telling->room) {
		size_t room = blocks->count + blocks->count / 2 + 1024;
		struct ledger_block *grown =
			realloc(blocks->items, room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		blocks->items = grown;
		telling->room = room;
	}
	blocks->items[blocks->count++] = (struct ledger_block){
		.key = storage->data << 8 | LEDGER_TENSORS,
		.size = storage->bytes };
	telling->making->ledger->rows[LEDGER_TENSORS].count++;
	return NULL;
}

static struct error *tell_storage(struct telling *telling, uint64_t address)
{
	struct torch_storage storage;
	struct error *err;
	uint32_t known;

	if (address == 0 || hashmap_get(&telling->storages, address, &known) ||
	    torch_storage_read(&telling->layout, telling->making->image,
			       &telling->memory, address, &storage) != TORCH_READ)
		return NULL;
	err = hashmap_put(&telling->storages, address, 1);
	return err ? err : add_block(telling, &storage);
}

static struct error *tell_object(struct telling *telling, uint64_t object)
{
	const struct image *image = telling->making->image;
	struct torch_tensor tensor, grad;
	struct error *err;

	if (torch_tensor_of(&telling->layout, image, &telling->memory, object,
			    &tensor) != TORCH_READ)
		return NULL;
	err = tell_storage(telling, tensor.storage);
	if (!err && tensor.grad &&
	    torch_tensor_read(&telling->layout, image, &telling->memory,
			      tensor.grad, &grad) == TORCH_READ)
		err = tell_storage(telling, grad.storage);
	return err;
}

static struct error *find_layout(struct telling *telling,
				 const struct pyh_runtime *runtime,
				 const uint64_t *objects, size_t count)
{
	uint64_t samples[TORCH_LAYOUT_SAMPLES];
	size_t num = count < TORCH_LAYOUT_SAMPLES ? count :
						    TORCH_LAYOUT_SAMPLES;

	for (size_t i = 0; i < num; i++)
		samples[i] = objects[i * count / num];
	return torch_layout_find(&telling->memory, samples, num,
				 runtime->size_of[PYH_STRUCT_OBJECT],
				 &telling->layout);
}

struct error *ledger_tensors(struct ledger_making *making,
			     const uint64_t *objects, size_t count)
{
	struct telling telling = { .making = making };
	struct pyh_runtime *runtime;
	struct error *err = opened_runtime(making->opened, &runtime);

	telling.room = making->blocks.count;
	if (!err)
		err = memory_reader_init(&telling.memory,
					 making->image->memory);
	if (err)
		return err;
	err = find_layout(&telling, runtime, objects, count);
	if (err && err->kind == ERROR_UNSUPPORTED) {
		// Then they are chunks of unknown use; `tensors` says why.
		error_free(err);
		err = NULL;
		count = 0;
	}
	for (size_t i = 0; !err && i < count; i++)
		err = tell_object(&telling, objects[i]);
	hashmap_deinit(&telling.storages);
	memory_reader_deinit(&telling.memory);
	return err;
}
