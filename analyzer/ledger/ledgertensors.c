/*
 * The ledger: storages of PyTorch's tensors; see ledgerparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A storage's data is a block of malloc, or a mapping, like the data of an array;
 * whoever holds the tensor, Python or C++.
 */
#include "analyzer/ledger/ledgerparts.h"

#include <stdlib.h>

#include "analyzer/tensors/tensors.h"
#include "image/base/guard.h"

enum { ADDRESS_BITS = 48 };

/** Is its data in this memory? What is on devices is not, wherever it is. */
static bool is_here(const struct torch_storage *storage)
{
	return storage->device == 0 && storage->bytes > 0 &&
	       !(storage->data >> ADDRESS_BITS);
}

struct error *ledger_tensors(struct ledger_making *making)
{
	CLEANUP(tensors_release) struct tensors *tensors = NULL;
	struct ledger_blocks *blocks = &making->blocks;
	struct ledger_block *grown;
	struct tensors_found found;
	// Where they cannot be read they are chunks of unknown use.
	struct error *err = tensors_look(making->opened, &tensors);

	if (err || !tensors)
		return err;
	found = tensors_found(tensors);
	grown = realloc(blocks->items, (blocks->count + found.num_storages + 1) *
					       sizeof(*grown));
	if (!grown)
		return error_no_memory();
	blocks->items = grown;
	for (size_t i = 0; i < found.num_storages; i++) {
		const struct torch_storage *read = &found.storages[i].read;

		if (!is_here(read))
			continue;
		blocks->items[blocks->count++] = (struct ledger_block){
			.key = read->data << 8 | LEDGER_TENSORS,
			.size = read->bytes };
		making->ledger->rows[LEDGER_TENSORS].count++;
	}
	return NULL;
}
