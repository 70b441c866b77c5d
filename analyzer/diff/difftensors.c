/*
 * Two dumps beside each other: PyTorch's tensors and its memory of devices; see
 * diff.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/allocator/allocator.h"
#include "analyzer/diff/diff.h"
#include "analyzer/tensors/tensorcells.h"
#include "image/base/guard.h"

enum { WORD_MAX = TENSOR_LIST_MAX, TEXT_MAX = DIFF_NUM_WORDS * WORD_MAX };

/**
 * What tells a tensor from those that are not like it.
 *
 * @param name  "parameter float32 [1024, 1024] cuda:0"
 * @param words  the same, one behind the other
 */
static void describe(struct tensors *tensors, const struct tensor *tensor,
		     size_t i, char name[TEXT_MAX], char words[TEXT_MAX])
{
	char dtype[TORCH_CLASS_MAX], device[TENSOR_DEVICE_MAX];
	char shape[TENSOR_LIST_MAX];
	const char *parts[DIFF_NUM_WORDS] = {
		[DIFF_ROLE] = tensor_role_name((enum tensor_role)tensor->role),
		[DIFF_DTYPE] = tensors_dtype(tensors, i, dtype),
		[DIFF_SHAPE] = tensor_shape_text(tensors, i, shape),
		[DIFF_ON] = tensor_device_text(tensor, device),
	};
	size_t name_used = 0, words_used = 0;

	name[0] = '\0';
	for (int part = 0; part < DIFF_NUM_WORDS; part++) {
		const char *word = parts[part] ? parts[part] : "";

		name_used += (size_t)snprintf(
			name + name_used, TEXT_MAX - name_used, "%s%.*s",
			name_used && *word ? " " : "", WORD_MAX - 2, word);
		words_used += (size_t)snprintf(
			words + words_used, TEXT_MAX - words_used, "%.*s",
			WORD_MAX - 2, word) + 1;
	}
}

static struct error *add_tensors(struct diff *diff, enum diff_side side)
{
	CLEANUP(tensors_release) struct tensors *tensors = NULL;
	struct tensors_options options = { .values = false };
	char name[TEXT_MAX], words[TEXT_MAX];
	struct tensors_found all;
	struct error *err = tensors_find(diff->sides[side], &options, &tensors);

	if (err)
		return err;
	all = tensors_found(tensors);
	for (size_t i = 0; !err && i < all.count; i++) {
		const struct tensor *tensor = &all.items[i];
		bool counts = tensor->storage != TENSORS_NONE && !tensor->view;

		describe(tensors, tensor, i, name, words);
		err = diff_add_side(
			diff, DIFF_TENSOR, side,
			(struct diff_row){ .name = name, .words = words,
					   .counted = true },
			1, counts ? all.storages[tensor->storage].read.bytes : 0);
		// Few kinds, and perhaps millions of tensors.
		if (i % 4096 == 4095)
			diff_join(diff, DIFF_TENSOR);
	}
	return err;
}

static struct error *add_device(struct diff *diff, enum diff_side side,
				const struct allocator *allocator, size_t i)
{
	const struct torch_device *device = allocator->devices[i].device;
	char called[ALLOCATOR_NAME_MAX], name[64];
	const struct {
		const char *what;
		uint64_t bytes, count;
	} facts[] = {
		{ "reserved", device->reserved, device->num_segments },
		{ "allocated", device->allocated, device->num_blocks },
	};
	struct error *err = NULL;

	(void)allocator_device_name(allocator, i, called);
	for (size_t fact = 0; !err && fact < sizeof(facts) / sizeof(*facts);
	     fact++) {
		(void)snprintf(name, sizeof(name), "%s %s", called,
			       facts[fact].what);
		err = diff_add_side(diff, DIFF_DEVICE, side,
				    (struct diff_row){ .name = name,
						       .counted = true },
				    facts[fact].count, facts[fact].bytes);
	}
	return err;
}

static struct error *add_devices(struct diff *diff, enum diff_side side)
{
	CLEANUP(allocator_release) struct allocator *allocator = NULL;
	struct error *err = allocator_open(diff->sides[side],
					   /* with_tensors= */ false,
					   /* values= */ false, &allocator);

	for (size_t i = 0; !err && i < allocator->num_devices; i++)
		if (allocator->devices[i].device->is_known)
			err = add_device(diff, side, allocator, i);
	return err;
}

struct error *diff_tensors(struct diff *diff)
{
	struct error *err = NULL;

	for (int side = 0; !err && side < DIFF_SIDES; side++)
		err = add_tensors(diff, (enum diff_side)side);
	err = diff_forgive(diff, DIFF_TENSOR, err);
	for (int side = 0; !err && side < DIFF_SIDES; side++) {
		err = add_devices(diff, (enum diff_side)side);
		err = diff_forgive(diff, DIFF_DEVICE, err);
	}
	if (err)
		return err;
	diff_join(diff, DIFF_TENSOR);
	diff_join(diff, DIFF_DEVICE);
	return NULL;
}
