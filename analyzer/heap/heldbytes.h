/*
 * What objects keep alive beside the memory of the allocators of objects: data of
 * tensors, on devices and in the process, each storage once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A storage has an owner: the nearest object without which it would go, in the
 * tree of dominators that knows PyTorch's C++ objects as well. So only the owners
 * and those above them have any of it, which are few, and only they are here.
 */
#ifndef ANALYZER_HELDBYTES_H
#define ANALYZER_HELDBYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/graph/dominators.h"
#include "image/base/error.h"

/** What is known of a storage, as bits. */
enum {
	HELD_IN_HOST = 1 << 0,		/* in memory of the process: part of what
					   its owners retain. Else on a device */
	HELD_BY_GRAPH = 1 << 1,		/* saved for backward() */
	HELD_BY_SCALAR = 1 << 2,	/* … of a result of one item, as a loss is */
	HELD_OF_MODEL = 1 << 3,		/* of a parameter, a gradient, a buffer or
					   an optimizer's state */
	HELD_FLAGS = (1 << 4) - 1,
};

/** Kept as it is: see kept/keptcolumns.h. */
struct held_storage {
	uint64_t bytes;
	uint32_t owner;		/* an object, or DOMINATOR_ROOT: it is held and no
				   single one has it, or DOMINATOR_UNREACHED */
	uint32_t via;		/* an object that leads to it, that of a tensor;
				   GRAPH_NONE: there is none */
	uint8_t device;		/* PyTorch's number of the kind of device */
	int8_t index;
	uint8_t flags;		/* HELD_… */
	uint8_t unused[5];
};

/** An object that keeps some of it. */
struct held_object {
	uint32_t object;
	/* indices: of the nearest that it lives by, of the first that lives by it,
	   of the next with the same parent; GRAPH_NONE: none */
	uint32_t parent, child, next;
	uint64_t device;	/* bytes on all devices together */
	uint64_t host;		/* bytes in the process */
};

struct heldbytes {
	struct held_storage *storages;
	size_t num_storages;
	bool borrowed;			/* the storages are somebody else's */
	struct held_object *objects;	/* by number */
	uint32_t num_objects;
	uint32_t first;			/* of those without a parent; linked by
					   next */
	uint32_t *order;		/* indices of objects: below before above */
	uint64_t device;		/* bytes on devices, held or not */
	uint64_t device_reached;	/* … those that are held */
	uint64_t host;			/* bytes in the process */
};

/**
 * Put storages, which have owners, together by object.
 *
 * @param ret  with storages; the rest is filled in
 */
struct error *heldbytes_make(const struct dominators *dominators,
			     struct heldbytes *ret);
/** NULL is fine. */
void heldbytes_destroy(struct heldbytes *held);

/** Index of an object; GRAPH_NONE: it keeps nothing of the kind. */
uint32_t heldbytes_find(const struct heldbytes *held, uint32_t object);

/** Bytes on devices that would go with an object. held may be NULL. */
uint64_t heldbytes_device(const struct heldbytes *held, uint32_t object);

/** Is there memory of devices at all? */
static inline bool heldbytes_has_device(const struct heldbytes *held)
{
	return held && held->device > 0;
}

/**
 * What the objects of each group have on devices together: of those that no other
 * one of the group keeps.
 *
 * @param held  may be NULL
 * @param kinds, groups  as in domtree_by_group(); kinds are of objects
 * @param ret  by group, the caller frees it; NULL where there is no memory of
 *	devices
 */
struct error *heldbytes_by_group(const struct heldbytes *held,
				 const uint32_t *kinds, const uint32_t *groups,
				 uint32_t num_groups, uint64_t **ret);

#endif
