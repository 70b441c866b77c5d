/*
 * Storages of tensors: each once, and where its bytes are; see tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whose memory it is says the module that has the function which is to free it,
 * what this is given, and the file that is mapped there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/ledger/residency.h"
#include "analyzer/tensors/tensorsparts.h"
#include "image/base/findings.h"
#include "image/modules.h"

enum {
	DEVICE_CPU = 0,
	CONTEXT_WORDS = 8,	/* of what frees data of somebody else's */
};

/* --- whose memory it is -------------------------------------------------------------- */

/** Its name, if an address lies in one of these mappings: they are sorted. */
static const char *file_at(const struct image *image, uint64_t address)
{
	const struct core_notes *notes = &image->notes;
	size_t low = 0, high = notes->num_mappings;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (notes->mappings[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < notes->num_mappings &&
	    address >= notes->mappings[low].start &&
	    notes->mappings[low].name < notes->mapping_names_size)
		return notes->mapping_names + notes->mappings[low].name;
	low = 0;
	high = notes->num_files;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (notes->files[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < notes->num_files && address >= notes->files[low].start ?
		       notes->files[low].path : NULL;
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/** Is a function in a module whose name has this in it? */
static bool is_in(const struct tensors *tensors, uint64_t function,
		  const char *part)
{
	const struct module *module =
		function ? modules_find(tensors->image->modules, function) :
			   NULL;
	const char *name = module ? strrchr(module->path, '/') : NULL;

	return name && strstr(name, part);
}

/**
 * Is there an array in what the function is given? That is a std::function with
 * the array captured.
 */
static bool has_array(struct tensors *tensors, uint64_t context)
{
	const struct heapgraph *heap = tensors->analysis->heap;
	uint64_t words[CONTEXT_WORDS];

	if (!memory_try_read(&tensors->memory, context, words, sizeof(words)))
		return false;
	for (int i = 0; i < CONTEXT_WORDS; i++) {
		uint32_t object = words[i] ? heapgraph_find(heap, words[i]) :
					     GRAPH_NONE;

		if (object != GRAPH_NONE &&
		    heapgraph_type(heap, object)->kind == PYH_KIND_NDARRAY)
			return true;
	}
	return false;
}

static void find_memory(struct tensors *tensors,
			struct tensor_storage *storage)
{
	static const char *const devices[] = { "torch_cuda", "c10_cuda",
					       "torch_hip", "c10_hip" };
	const struct torch_storage *read = &storage->read;
	const char *file;

	if (read->data == 0)
		return;
	if (read->device != DEVICE_CPU) {
		if (read->received)
			storage->memory = TENSOR_IPC;
		return;
	}
	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++)
		if (is_in(tensors, read->deleter, devices[i])) {
			storage->memory = TENSOR_PINNED;
			return;
		}
	file = file_at(tensors->image, read->data);
	if (file && (begins(file, "/dev/shm/") || begins(file, "/memfd:"))) {
		storage->memory = TENSOR_SHARED;
		storage->name = file;
	} else if (file && *file == '/' && !begins(file, "/dev/")) {
		storage->memory = TENSOR_FILE;
		storage->name = file;
	} else if (read->context != read->data) {
		// PyTorch's own allocator gives what it is to free.
		storage->memory = has_array(tensors, read->context) ?
					  TENSOR_NUMPY : TENSOR_BORROWED;
	}
}

const char *tensor_memory_text(const struct tensor_storage *storage,
			       char text[TENSOR_PATH_MAX])
{
	static const char *const names[] = {
		[TENSOR_PINNED] = "pinned", [TENSOR_SHARED] = "shared",
		[TENSOR_FILE] = "file", [TENSOR_NUMPY] = "numpy",
		[TENSOR_BORROWED] = "borrowed", [TENSOR_IPC] = "ipc",
	};

	if (storage->memory == TENSOR_PAGEABLE)
		return NULL;
	if (!storage->name)
		return names[storage->memory];
	(void)snprintf(text, TENSOR_PATH_MAX, "%s %s", names[storage->memory],
		       storage->name);
	return text;
}

/* --- each once ------------------------------------------------------------------------ */

/** Somebody's who has the same data, on the same device. */
static struct tensor_storage *same_data(struct tensors *tensors,
					const struct torch_storage *read,
					uint32_t *ret)
{
	struct tensor_storage *known;
	uint32_t number;

	if (read->data == 0 ||
	    !hashmap_get(&tensors->by_data, read->data, &number))
		return NULL;
	known = &tensors->storages[number - 1];
	if (known->read.device != read->device ||
	    known->read.index != read->index)
		return NULL;
	*ret = number - 1;
	return known;
}

struct error *tensors_add_data(struct tensors *tensors,
			       const struct tensor_storage *storage,
			       uint32_t *ret)
{
	struct tensor_storage *known = same_data(tensors, &storage->read, ret);

	// Of what was made of the same memory twice, the larger.
	if (known) {
		if (storage->read.bytes > known->read.bytes)
			known->read.bytes = storage->read.bytes;
		return NULL;
	}
	if (tensors->num_storages == tensors->room_storages) {
		size_t room = tensors->room_storages ?
				      tensors->room_storages * 2 : 1024;
		struct tensor_storage *grown = realloc(tensors->storages,
						       room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		tensors->storages = grown;
		tensors->room_storages = room;
	}
	*ret = (uint32_t)tensors->num_storages;
	tensors->storages[tensors->num_storages++] = *storage;
	return storage->read.data ? hashmap_put(&tensors->by_data,
						storage->read.data, *ret + 1) :
				    NULL;
}

struct error *tensors_add_storage(struct tensors *tensors, uint64_t address,
				  uint32_t *ret)
{
	struct tensor_storage storage = { .memory = TENSOR_PAGEABLE };
	struct error *err;
	uint32_t number;

	*ret = TENSORS_NONE;
	if (address == 0)
		return NULL;
	if (hashmap_get(&tensors->by_impl, address, &number)) {
		*ret = number - 1;
		return NULL;
	}
	if (torch_storage_read(&tensors->layout, tensors->image,
			       &tensors->memory, address, &storage.read) !=
	    TORCH_READ) {
		findings_add(tensors->image->findings, "tensor", address,
			     "the storage of a tensor at 0x%" PRIx64 " cannot "
			     "be one, or was not captured: what it holds is "
			     "not known", address);
		return NULL;
	}
	find_memory(tensors, &storage);
	err = tensors_add_data(tensors, &storage, ret);
	return err ? err :
		     hashmap_put(&tensors->by_impl, address, *ret + 1);
}

/** Data of storages that lie side by side or over each other. */
struct span {
	uint64_t start, end;
	uint64_t below;		/* bytes of all spans in front of it */
};

static int by_start(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/** Where the data of storages on the CPU lie, joined; NULL: no memory. */
static struct span *spans_of_data(const struct tensors *tensors, size_t *ret)
{
	struct span *spans = calloc(tensors->num_storages + 1, sizeof(*spans));
	size_t count = 0, kept = 0;

	for (size_t i = 0; spans && i < tensors->num_storages; i++) {
		const struct torch_storage *read = &tensors->storages[i].read;

		if (read->device == DEVICE_CPU && read->data &&
		    read->bytes <= UINT64_MAX - read->data)
			spans[count++] = (struct span){
				.start = read->data,
				.end = read->data + read->bytes };
	}
	if (spans)
		qsort(spans, count, sizeof(*spans), by_start);
	for (size_t i = 0; i < count; i++) {
		struct span *last = kept ? &spans[kept - 1] : NULL;

		if (last && spans[i].start <= last->end) {
			if (spans[i].end > last->end)
				last->end = spans[i].end;
			continue;
		}
		spans[i].below = last ? last->below + (last->end - last->start) :
					0;
		spans[kept++] = spans[i];
	}
	*ret = kept;
	return spans;
}

/** Bytes of spans below an address. */
static uint64_t covered_below(const struct span *spans, size_t count,
			      uint64_t address)
{
	size_t low = 0, high = count;
	const struct span *span;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (spans[middle].start < address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return 0;
	span = &spans[low - 1];
	return span->below +
	       ((address < span->end ? address : span->end) - span->start);
}

/** Bytes of a storage that are not in others', as parts of a file's are. */
static uint64_t bytes_of_its_own(const struct torch_storage *storage,
				 const struct span *spans, size_t count)
{
	uint64_t start = storage->data, end;

	if (storage->device != DEVICE_CPU || storage->bytes > UINT64_MAX - start)
		return storage->bytes;
	end = start + storage->bytes;
	return storage->bytes - (covered_below(spans, count, end) -
				 covered_below(spans, count, start));
}

struct error *tensors_count_bare(struct tensors *tensors)
{
	const struct torch_block *blocks;
	size_t count, num_spans;
	struct span *spans = spans_of_data(tensors, &num_spans);

	if (!spans)
		return error_no_memory();
	blocks = torchheap_blocks(tensors->heap, TORCH_KIND_STORAGE, &count);
	for (size_t i = 0; i < count; i++) {
		struct torch_storage storage;
		uint32_t number;

		if (hashmap_get(&tensors->by_impl, blocks[i].address,
				&number) ||
		    torch_storage_read(&tensors->layout, tensors->image,
				       &tensors->memory, blocks[i].address,
				       &storage) != TORCH_READ ||
		    storage.bytes == 0 ||
		    same_data(tensors, &storage, &number))
			continue;
		tensors->bare++;
		tensors->bare_bytes += bytes_of_its_own(&storage, spans, num_spans);
	}
	free(spans);
	return NULL;
}

/* --- what of them was in memory -------------------------------------------------------- */

/*
 * Of what is not in the dump it is known how much of a mapping was in memory, and
 * not what of it: where several storages are in one, as in a file that was loaded
 * by mapping it, each has a share of that by its size.
 */

static uint64_t not_placed(const struct resident_mapping *mapping)
{
	return mapping && mapping->resident > mapping->placed ?
		       mapping->resident - mapping->placed : 0;
}

/** Is its memory one whose pages are told of? */
static bool has_pages(const struct tensor_storage *storage)
{
	return storage->read.device == DEVICE_CPU && storage->read.data &&
	       storage->read.bytes <= UINT64_MAX - storage->read.data;
}

/** @param sum  bytes of all storages of the mapping whose pages are not placed */
static void add_share(struct tensor_storage *storage,
		      const struct resident_mapping *mapping, uint64_t sum)
{
	uint64_t bytes = storage->read.bytes;
	uint64_t rest = bytes - storage->resident, left = not_placed(mapping);

	if (left > 0 && sum > left)
		rest = (uint64_t)((double)left * ((double)rest / (double)sum));
	if (left > 0)
		storage->resident += rest;
	// A file's pages are in the dump though they were not in memory.
	if (mapping && storage->read.data + bytes <= mapping->end &&
	    storage->resident > mapping->resident)
		storage->resident = mapping->resident;
	storage->knows_resident = true;
}

static void share_out(struct tensors *tensors,
		      const struct residency *residency, uint64_t *sums)
{
	const struct resident_mapping *mapping;
	size_t hint = 0;

	for (size_t i = 0; i < tensors->num_storages; i++) {
		struct tensor_storage *storage = &tensors->storages[i];
		uint64_t data = storage->read.data, bytes = storage->read.bytes;

		if (!has_pages(storage))
			continue;
		mapping = residency_at(residency, data);
		storage->resident = residency_of(residency, data, data + bytes,
						 &hint);
		if (storage->resident > bytes)
			storage->resident = bytes;
		if (mapping)
			sums[mapping - residency->mappings] +=
				bytes - storage->resident;
	}
	for (size_t i = 0; i < tensors->num_storages; i++) {
		struct tensor_storage *storage = &tensors->storages[i];

		if (!has_pages(storage))
			continue;
		mapping = residency_at(residency, storage->read.data);
		add_share(storage, mapping, mapping ?
			  sums[mapping - residency->mappings] : 0);
	}
}

struct error *tensors_find_resident(struct tensors *tensors)
{
	struct residency *residency = NULL;
	struct error *err;
	uint64_t *sums;
	bool any = false;

	for (size_t i = 0; !any && i < tensors->num_storages; i++)
		any = has_pages(&tensors->storages[i]);
	if (!any || !residency_is_noted(tensors->image))
		return NULL;
	err = residency_of_dump(tensors->opened, &residency);
	if (err)
		return err;
	sums = calloc(residency->count + 1, sizeof(*sums));
	if (!sums)
		return error_no_memory();
	share_out(tensors, residency, sums);
	free(sums);
	return NULL;
}
