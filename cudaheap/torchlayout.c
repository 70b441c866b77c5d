/*
 * Where the fields of PyTorch's tensors lie; see torchlayout.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchlayout.h"

#include <string.h>

enum {
	/* of a SizesAndStrides: a count, and room for five of each */
	SIZES = 88, INLINE_DIMENSIONS = 5,
	/* of an AutogradMeta: where its name is. A std::string of the newer kind
	   has 32 bytes and, where it is short, leads to its own middle; one of the
	   older kind is a pointer */
	META_NAME = 8, NEW_NAME = 32, OLD_NAME = 8, NAME_MIDDLE = 16,
	/* from its grad on: requires_grad, as releases have it */
	REQUIRES_SHORT = 88,	/* … since nodes count their owners themselves */
	REQUIRES_OLD = 96,	/* 1.13, 2.0 */
	REQUIRES = 104,
	META_SIZE = 160,	/* all that is looked at */
	NUM_WRAPPERS = 2,	/* places of the TensorImpl in a Python object */
	PERCENT = 95,
};

/* What tells releases apart: bytes of the vtable and the counts of owners; and of
   the interpreter and the Python object. */
static const struct {
	const char *releases;
	uint32_t counts, slot;
} tables[] = {
	{ "1.13 to 2.2", 24, 16 },
	{ "2.3 to 2.9", 16, 16 },
	{ "2.10 and later", 16, 8 },
};

enum { NUM_TABLES = sizeof(tables) / sizeof(*tables) };

static struct torch_layout layout_of(unsigned int table, uint32_t wrapper)
{
	uint32_t counts = tables[table].counts;
	uint32_t dimensions = counts + 4 * 8 + tables[table].slot;
	uint32_t offset = dimensions + SIZES;

	return (struct torch_layout){
		.releases = tables[table].releases,
		.wrapper = wrapper,
		.counts = counts,
		.storage = counts,
		.autograd = counts + 8,
		.extra = counts + 16,
		// Between them the counter of changes.
		.python = dimensions - 8,
		.dimensions = dimensions,
		.offset = offset,
		.numel = offset + 8,
		.dtype = offset + 16,
		// c10::optional had its flag in front, std::optional has not.
		.device = offset + 18,
		.has_device = offset + 20,
		.size = offset + 32,
	};
}

/** Do the object and the tensor it leads to know each other? */
static bool fits(struct memory_reader *memory, uint64_t object,
		 const struct torch_layout *layout, uint64_t *ret_tensor)
{
	uint64_t tensor, back;

	if (!memory_try_u64(memory, object + layout->wrapper, &tensor) ||
	    tensor == 0 || tensor % 8 ||
	    !memory_try_u64(memory, tensor + layout->python, &back))
		return false;
	*ret_tensor = tensor;
	// The lowest bit says which of them owns the other.
	return (back & ~UINT64_C(1)) == object;
}

/** Is the flag of the device before it, or behind? By which is one in most. */
static void settle_device(struct memory_reader *memory, const uint64_t *tensors,
			  size_t count, struct torch_layout *layout)
{
	size_t before = 0, behind = 0;

	for (size_t i = 0; i < count; i++) {
		uint8_t bytes[3];

		if (!memory_try_read(memory, tensors[i] + layout->device, bytes,
				     sizeof(bytes)))
			continue;
		before += bytes[0] == 1;
		behind += bytes[2] == 1;
	}
	if (before <= behind)
		return;
	layout->has_device = layout->device;
	layout->device++;
}

/* --- what autograd knows of a tensor ------------------------------------------ */

/* What the sampled tensors say. */
struct metas {
	size_t count, new_names;
	/* by candidate, with names of the newer and of the older kind: bytes that
	   are 1, and those that can be no bool */
	size_t ones[2][3], others[2][3];
};

static const uint32_t candidates[] = { REQUIRES_SHORT, REQUIRES_OLD, REQUIRES };

static void look_at_meta(struct memory_reader *memory, uint64_t meta,
			 struct metas *metas)
{
	uint8_t bytes[META_SIZE];
	uint64_t name;

	if (meta == 0 || meta % 8 ||
	    !memory_try_read(memory, meta, bytes, sizeof(bytes)))
		return;
	memcpy(&name, bytes + META_NAME, sizeof(name));
	metas->count++;
	metas->new_names += name == meta + META_NAME + NAME_MIDDLE;
	for (int older = 0; older < 2; older++)
		for (int i = 0; i < 3; i++) {
			uint8_t byte = bytes[META_NAME + candidates[i] +
					     (older ? OLD_NAME : NEW_NAME)];

			metas->ones[older][i] += byte == 1;
			metas->others[older][i] += byte > 1;
		}
}

static void settle_metas(const struct metas *metas, struct torch_layout *layout)
{
	int older = metas->new_names * 2 < metas->count;
	size_t most = 0;

	layout->grad = META_NAME + (older ? OLD_NAME : NEW_NAME);
	layout->grad_fn = layout->grad + 8;
	for (int i = 0; i < 3; i++)
		if (metas->others[older][i] == 0 &&
		    metas->ones[older][i] > most) {
			most = metas->ones[older][i];
			layout->requires_grad = layout->grad + candidates[i];
		}
}

/** What the tensors themselves say of the rest. */
static void settle(struct memory_reader *memory, const uint64_t *tensors,
		   size_t count, struct torch_layout *layout)
{
	struct metas metas = { 0 };
	uint64_t meta;

	settle_device(memory, tensors, count, layout);
	for (size_t i = 0; i < count; i++)
		if (memory_try_u64(memory, tensors[i] + layout->autograd,
				   &meta))
			look_at_meta(memory, meta, &metas);
	settle_metas(&metas, layout);
}

/** The layout that most of the objects have which none of `not_of` is of. */
static void find_most(struct memory_reader *memory, const uint64_t *objects,
		      size_t count, uint32_t header,
		      const struct torch_layout *not_of, struct torch_layout *ret)
{
	for (unsigned int i = 0; i < NUM_TABLES * NUM_WRAPPERS; i++) {
		struct torch_layout layout =
			layout_of(i / NUM_WRAPPERS, header + i % NUM_WRAPPERS * 8);
		uint64_t tensor;

		layout.looked = count;
		for (size_t j = 0; j < count; j++)
			layout.fitting +=
				fits(memory, objects[j], &layout, &tensor) &&
				!(not_of && fits(memory, objects[j], not_of,
						 &tensor));
		if (layout.fitting > ret->fitting)
			*ret = layout;
	}
}

struct error *torch_layout_find(struct memory_reader *memory,
				const uint64_t *objects, size_t count,
				uint32_t header, struct torch_layout *ret)
{
	struct torch_layout other = { 0 };
	uint64_t tensors[TORCH_LAYOUT_SAMPLES];
	size_t num = 0;

	*ret = (struct torch_layout){ 0 };
	if (count > TORCH_LAYOUT_SAMPLES)
		count = TORCH_LAYOUT_SAMPLES;
	find_most(memory, objects, count, header, NULL, ret);
	if (ret->fitting > 0 && ret->fitting < count)
		find_most(memory, objects, count, header, ret, &other);
	// Of damaged ones no two fit the same table by accident.
	if (other.fitting > 1)
		ret->other = other.releases;
	else
		other.fitting = 0;
	if (ret->fitting == 0 ||
	    (ret->fitting + other.fitting) * 100 < count * PERCENT)
		return error_new(ERROR_UNSUPPORTED, "PyTorch's tensors are not "
				  "laid out as in any release that is known (1.13 "
				  "to 2.15): of %zu looked at, %zu fit", count,
				  ret->fitting);
	for (size_t i = 0; i < count; i++)
		num += fits(memory, objects[i], ret, &tensors[num]);
	settle(memory, tensors, num, ret);
	return NULL;
}

/** Has a tensor as many items as its sizes say, where these would lie? */
static bool has_items(struct memory_reader *memory, uint64_t tensor,
		      const struct torch_layout *layout)
{
	uint64_t words[1 + INLINE_DIMENSIONS], numel, items = 1;

	if (!memory_try_read(memory, tensor + layout->dimensions, words,
			     sizeof(words)) ||
	    !memory_try_u64(memory, tensor + layout->numel, &numel) ||
	    words[0] > INLINE_DIMENSIONS)
		return false;
	for (uint64_t i = 1; i <= words[0]; i++)
		if (__builtin_mul_overflow(items, words[i], &items))
			return false;
	return items == numel;
}

bool torch_layout_by_tensors(struct memory_reader *memory,
			     const uint64_t *tensors, size_t count,
			     uint32_t header, struct torch_layout *ret)
{
	*ret = (struct torch_layout){ 0 };
	if (count > TORCH_LAYOUT_SAMPLES)
		count = TORCH_LAYOUT_SAMPLES;
	for (unsigned int i = 0; i < NUM_TABLES; i++) {
		struct torch_layout layout = layout_of(i, header);

		layout.looked = count;
		for (size_t j = 0; j < count; j++)
			layout.fitting += has_items(memory, tensors[j], &layout);
		if (layout.fitting > ret->fitting)
			*ret = layout;
	}
	if (ret->fitting * 2 <= count)
		return false;
	settle(memory, tensors, count, ret);
	return true;
}

bool torch_layout_fits(struct memory_reader *memory,
		       const struct torch_layout *layout, uint64_t object)
{
	uint64_t tensor;

	return fits(memory, object, layout, &tensor);
}
