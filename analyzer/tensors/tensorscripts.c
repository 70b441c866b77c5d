/*
 * Tensors in TorchScript's modules, which Python has no objects for; see
 * tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An object of Python's, made by pybind11, stands for a module and leads to the
 * C++ object that it is. Attributes lead from there to tensors and to the modules
 * in it, which may have objects of Python's as well: names begin at those that no
 * other module has.
 */
#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "cudaheap/torchscript.h"
#include "image/base/guard.h"

enum { SCRIPTS_MOST = 1 << 20 };	/* modules, and attributes that are kept */

/* A module that is to be gone through. */
struct script {
	uint64_t address;
	uint32_t native;	/* the object of Python's that leads there */
	uint32_t outer;		/* number + 1 of the slot that has it */
};

struct scripts {
	struct tensors *tensors;
	struct script *items;	/* roots, then what they lead to */
	size_t count, room, num_roots;
	struct hashmap inner;	/* objects that others have */
	struct hashmap seen;
};

static struct error *add_script(struct scripts *scripts, uint64_t address,
				uint32_t native, uint32_t outer)
{
	if (scripts->count == SCRIPTS_MOST)
		return NULL;
	if (scripts->count == scripts->room) {
		size_t room = scripts->room ? scripts->room * 2 : 64;
		struct script *grown = realloc(scripts->items,
					       room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		scripts->items = grown;
		scripts->room = room;
	}
	scripts->items[scripts->count++] = (struct script){
		.address = address, .native = native, .outer = outer };
	return NULL;
}

/**
 * What pybind11's object leads to has the module's object first.
 *
 * @param modules  those of type ScriptModule; else the others, as what lists a
 *	module's parameters
 */
static struct error *add_roots(struct scripts *scripts, bool modules)
{
	struct tensors *tensors = scripts->tensors;
	uint64_t head = tensors->runtime->size_of[PYH_STRUCT_OBJECT];
	const uint32_t *natives;
	struct torch_script script;
	struct error *err = NULL;
	uint64_t held, object;
	size_t count;

	natives = tensornames_natives(tensors->names, &count);
	for (size_t i = 0; !err && i < count; i++) {
		uint64_t at = heapgraph_address(tensors->analysis->heap,
						natives[i]);
		const char *type = heapgraph_type(tensors->analysis->heap,
						  natives[i])->name;
		const char *dot = strrchr(type, '.');

		if ((strcmp(dot ? dot + 1 : type, "ScriptModule") == 0) ==
			    modules &&
		    memory_try_u64(&tensors->memory, at + head, &held) &&
		    held % 8 == 0 &&
		    memory_try_u64(&tensors->memory, held, &object) &&
		    torch_script_read(&tensors->classes, object, &script))
			err = add_script(scripts, object, natives[i], 0);
	}
	return err;
}

static struct error *add_slot(struct tensors *tensors,
			      const struct script *script,
			      const struct torch_slot *slot, uint32_t tensor)
{
	struct tensors_slot *added;

	if (tensors->num_slots == SCRIPTS_MOST)
		return NULL;
	if (tensors->num_slots == tensors->room_slots) {
		size_t room = tensors->room_slots ? tensors->room_slots * 2 :
						    256;
		struct tensors_slot *grown =
			realloc(tensors->slots, room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		tensors->slots = grown;
		tensors->room_slots = room;
	}
	added = &tensors->slots[tensors->num_slots++];
	*added = (struct tensors_slot){ .tensor = tensor,
					.native = script->native,
					.outer = script->outer,
					.kind = slot->kind };
	memcpy(added->name, slot->name, sizeof(added->name));
	return tensor == TENSORS_NONE ? NULL :
		hashmap_put(&tensors->by_slot, (uint64_t)tensor + 1,
			    (uint32_t)tensors->num_slots);
}

/**
 * Go through a module.
 *
 * @param names  what it has is named; else only which modules are in others is
 *	found out
 */
static struct error *walk(struct scripts *scripts, size_t number, bool names)
{
	struct tensors *tensors = scripts->tensors;
	struct script from = scripts->items[number];
	struct torch_script script, other;
	struct error *err = NULL;
	struct torch_slot slot;
	uint32_t tensor;

	if (hashmap_get(&scripts->seen, from.address, &tensor) ||
	    !torch_script_read(&tensors->classes, from.address, &script))
		return NULL;
	err = hashmap_put(&scripts->seen, from.address, 1);
	for (uint32_t i = 0; !err && i < script.count; i++) {
		if (!torch_script_slot(&tensors->classes, &script, i, &slot))
			continue;
		if (hashmap_get(&tensors->by_address, slot.value, &tensor)) {
			if (names && !tensors_slot_of(tensors, tensor - 1))
				err = add_slot(tensors, &from, &slot,
					       tensor - 1);
			continue;
		}
		if (!torch_script_read(&tensors->classes, slot.value, &other))
			continue;
		if (names)
			err = add_slot(tensors, &from, &slot, TENSORS_NONE);
		else
			err = hashmap_put(&scripts->inner, slot.value, 1);
		if (!err)
			err = add_script(scripts, slot.value, from.native,
					 (uint32_t)tensors->num_slots);
	}
	return err;
}

static struct error *walk_all(struct scripts *scripts, bool names)
{
	struct error *err = NULL;
	uint32_t is;

	hashmap_deinit(&scripts->seen);
	scripts->count = scripts->num_roots;
	for (size_t i = 0; !err && i < scripts->count; i++)
		if (!names || i >= scripts->num_roots ||
		    !hashmap_get(&scripts->inner, scripts->items[i].address,
				 &is))
			err = walk(scripts, i, names);
	return err;
}

struct error *tensors_find_scripts(struct tensors *tensors)
{
	struct scripts scripts = { .tensors = tensors };
	struct error *err = add_roots(&scripts, true);

	if (!err)
		err = add_roots(&scripts, false);
	scripts.num_roots = scripts.count;
	if (!err && scripts.count)
		err = walk_all(&scripts, /* names= */ false);
	if (!err && scripts.count)
		err = walk_all(&scripts, /* names= */ true);
	for (size_t i = 0; !err && i < tensors->num_slots; i++) {
		uint32_t tensor = tensors->slots[i].tensor;

		if (tensor != TENSORS_NONE &&
		    tensors->items[tensor].held == TENSOR_BY_CXX)
			tensors->items[tensor].native =
				tensors->slots[i].native;
	}
	hashmap_deinit(&scripts.inner);
	hashmap_deinit(&scripts.seen);
	free(scripts.items);
	return err;
}

const struct tensors_slot *tensors_slot_of(const struct tensors *tensors,
					   uint32_t tensor)
{
	uint32_t number;

	return hashmap_get(&tensors->by_slot, (uint64_t)tensor + 1, &number) ?
		       &tensors->slots[number - 1] : NULL;
}

void tensors_slot_text(const struct tensors *tensors,
		       const struct tensors_slot *slot,
		       char text[TENSOR_PATH_MAX])
{
	size_t at = TENSOR_PATH_MAX - 1;

	// From the last name to the first.
	text[at] = '\0';
	while (slot) {
		size_t length = strlen(slot->name);

		if (length + 1 > at)
			break;
		at -= length;
		memcpy(text + at, slot->name, length);
		text[--at] = '.';
		slot = slot->outer ? &tensors->slots[slot->outer - 1] : NULL;
	}
	memmove(text, text + at, TENSOR_PATH_MAX - at);
}
