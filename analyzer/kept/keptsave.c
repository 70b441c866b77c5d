/*
 * An analysis put into columns; see kept.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/kept/kept.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/objecttop.h"
#include "analyzer/kept/keptcolumns.h"
#include "analyzer/kept/keptmade.h"
#include "analyzer/opened.h"
#include "analyzer/show/toplist.h"
#include "image/base/guard.h"

enum { TOP = 1 << 14 };		/* objects of the largest that are kept */

/** What is put together for the file, and is not in the analysis as it is. */
struct saving {
	const struct analysis *analysis;
	struct type_counts counts;
	uint32_t num_types;
	struct kept_facts facts;
	char *text;
	size_t text_size, text_room;
	struct kept_type *types;
	struct kept_total *totals;
	uint64_t *chunks;
	struct spill_array cells;
	struct heap_root *roots;
	uint32_t *by_retained, *by_size;
	uint32_t num_by_retained, num_by_size;
	uint32_t *reached_by_type;
	struct keptmade made;
	struct kept_holder *holders;
	size_t num_holders;
	struct kept_group_row *groups;
	size_t num_groups;
	struct kept_owned_row *owned;
	struct suspects suspects;
	struct kept_suspect kept_suspects[SUSPECTS_MAX];
	struct store_part parts[KEPT_NUM_COLUMNS];
	size_t num_parts;
};

/** The place of a name in the text plus 1; 0 for NULL. */
static struct error *put_text(struct saving *saving, const char *name,
			      uint32_t *ret)
{
	size_t size = name ? strlen(name) + 1 : 0;

	*ret = 0;
	if (!name)
		return NULL;
	if (size > UINT32_MAX - 1 - saving->text_size)
		return error_new(ERROR_LIMIT, "the names are too long");
	if (size > saving->text_room - saving->text_size) {
		size_t room = saving->text_room * 2 + size + 4096;
		char *grown = realloc(saving->text, room);

		if (!grown)
			return error_no_memory();
		saving->text = grown;
		saving->text_room = room;
	}
	memcpy(saving->text + saving->text_size, name, size);
	*ret = (uint32_t)saving->text_size + 1;
	saving->text_size += size;
	return NULL;
}

static struct error *save_type(struct saving *saving, uint32_t id)
{
	struct kept_type *to = &saving->types[id];
	struct pyh_type_kept kept;
	const struct pyh_type *type = &kept.type;
	struct error *err;

	pyh_types_keep(saving->analysis->heap->pyh_types, id, &kept);
	*to = (struct kept_type){
		.address = type->address, .flags = type->flags,
		.metatype = type->metatype, .base = type->base,
		.basicsize = type->basicsize, .itemsize = type->itemsize,
		.dictoffset = type->dictoffset,
		.weaklistoffset = type->weaklistoffset,
		.kind = type->kind, .lane = type->lane,
		.hidden_items = type->hidden_items,
		.bits = (uint8_t)((type->has_gc ? KEPT_HAS_GC : 0) |
				  (type->is_static ? KEPT_IS_STATIC : 0) |
				  (type->size_exact ? KEPT_SIZE_EXACT : 0) |
				  (type->name_known ? KEPT_NAME_KNOWN : 0) |
				  (type->foreign ? KEPT_FOREIGN : 0) |
				  (type->own_layout ? KEPT_OWN_LAYOUT : 0) |
				  (type->is_leaf ? KEPT_IS_LEAF : 0) |
				  (kept.defines_kind ? KEPT_DEFINES_KIND : 0)),
		.presize = type->presize,
		.shared_values = type->shared_values,
		.own_sizeof = kept.own_sizeof,
	};
	err = put_text(saving, type->name, &to->name);
	if (!err)
		err = put_text(saving, type->module, &to->module);
	return err ? err : put_text(saving, type->qualname, &to->qualname);
}

static struct error *save_types(struct saving *saving)
{
	struct error *err = NULL;

	saving->types = calloc((size_t)saving->num_types + 1,
			       sizeof(*saving->types));
	if (!saving->types)
		return error_no_memory();
	for (uint32_t i = 0; !err && i < saving->num_types; i++)
		err = save_type(saving, i);
	return err;
}

static struct kept_total total_of(const struct pyh_type_total *total)
{
	return (struct kept_total){
		.count = total->count, .size = total->size,
		.footprint = total->footprint, .refcounts = total->refcounts,
		.immortal = total->immortal, .type = total->type->id,
		.size_exact = total->size_exact };
}

static struct error *save_totals(struct saving *saving)
{
	size_t count = saving->counts.num_totals;

	saving->totals = calloc(count + 1, sizeof(*saving->totals));
	if (!saving->totals)
		return error_no_memory();
	for (size_t i = 0; i < count; i++)
		saving->totals[i] = total_of(&saving->counts.totals[i]);
	return NULL;
}

/** The chunks of memory behind one another. */
static struct error *save_cells(struct saving *saving)
{
	const struct rank *rank = saving->analysis->heap->rank;
	size_t bytes = RANK_CELLS * sizeof(struct rank_cell);
	struct error *err = spill_alloc(&saving->analysis->heap->spill,
					rank->num_chunks * bytes,
					&saving->cells);

	if (err)
		return err;
	saving->chunks = calloc(rank->num_chunks + 1, sizeof(*saving->chunks));
	if (!saving->chunks)
		return error_no_memory();
	for (size_t i = 0; i < rank->num_chunks; i++) {
		saving->chunks[i] = rank->chunks[i].address;
		memcpy((uint8_t *)saving->cells.data + i * bytes,
		       rank->chunks[i].cells, bytes);
	}
	return NULL;
}

/** A root with the places of its names instead of them. */
static struct error *put_root(struct saving *saving, const struct pyh_root *from,
			      struct pyh_root *to)
{
	uint32_t name, module = 0;
	struct error *err = put_text(saving, from->name, &name);

	if (!err)
		err = put_text(saving, from->module, &module);
	*to = *from;
	to->name = (const char *)(uintptr_t)name;
	to->module = (const char *)(uintptr_t)module;
	return err;
}

static struct error *save_roots(struct saving *saving)
{
	const struct heaproots *roots = &saving->analysis->roots;
	struct error *err = NULL;

	saving->roots = calloc(roots->num_roots + 1, sizeof(*saving->roots));
	if (!saving->roots)
		return error_no_memory();
	for (size_t i = 0; !err && i < roots->num_roots; i++) {
		saving->roots[i].object = roots->roots[i].object;
		err = put_root(saving, &roots->roots[i].root,
			       &saving->roots[i].root);
	}
	return err;
}

/* --- what was made of it --------------------------------------------------- */

static int by_object(const void *a, const void *b)
{
	const struct kept_holder *x = a, *y = b;

	return x->object < y->object ? -1 : x->object > y->object;
}

static struct error *save_holders(struct saving *saving)
{
	const struct excesses *excesses = &saving->made.excesses;
	struct error *err = NULL;

	saving->holders = calloc(excesses->count + 1, sizeof(*saving->holders));
	if (!saving->holders)
		return error_no_memory();
	for (size_t i = 0; !err && i < excesses->count; i++) {
		const struct excess *from = &excesses->list[i];
		struct kept_holder *to = &saving->holders[saving->num_holders];

		if (from->holders == 0)
			continue;
		to->object = from->object;
		to->holders = from->holders;
		err = put_root(saving, &from->holder, &to->first);
		saving->num_holders++;
	}
	if (saving->num_holders > 0)
		qsort(saving->holders, saving->num_holders,
		      sizeof(*saving->holders), by_object);
	return err;
}

static struct error *put_groups(struct saving *saving,
				const struct retained_groups *groups,
				enum group_by by)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < groups->count; i++) {
		const struct retained_group *from = &groups->groups[i];
		struct kept_group_row *to =
			&saving->groups[saving->num_groups++];

		*to = (struct kept_group_row){
			.by = by, .count = from->count, .size = from->size,
			.retained = from->retained, .device = from->device };
		err = put_text(saving, from->name, &to->name);
	}
	return err;
}

static struct error *save_groups(struct saving *saving)
{
	const struct keptmade *made = &saving->made;
	struct error *err;

	saving->groups = calloc(made->by_thread.count + made->by_root.count + 1,
				sizeof(*saving->groups));
	if (!saving->groups)
		return error_no_memory();
	err = put_groups(saving, &made->by_thread, BY_THREAD);
	return err ? err : put_groups(saving, &made->by_root, BY_ROOT);
}

static struct error *save_owned(struct saving *saving)
{
	const struct keptmade *made = &saving->made;

	saving->owned = calloc(made->num_owned + 1, sizeof(*saving->owned));
	if (!saving->owned)
		return error_no_memory();
	for (size_t i = 0; i < made->num_owned; i++) {
		const struct kept_owned *from = &made->owned[i];

		saving->owned[i] = (struct kept_owned_row){
			.total = total_of(&from->total),
			.retained = from->retained, .device = from->device,
			.owner = from->owner ? from->owner->id + 1 : 0 };
	}
	return NULL;
}

/* --- the largest ----------------------------------------------------------- */

static struct error *save_top(struct opened *opened,
			      const struct saving *saving, enum object_key key,
			      uint32_t **ret, uint32_t *ret_count)
{
	CLEANUP(toplist_deinit) struct toplist list;
	uint64_t count, size;
	struct error *err;

	toplist_init(&list, TOP);
	err = objecttop_find(saving->analysis, &(struct objecttop_options){
		.workers = opened_workers(opened), .key = key },
		&list, &count, &size);
	if (err)
		return err;
	*ret = calloc(list.count + 1, sizeof(**ret));
	if (!*ret)
		return error_no_memory();
	for (size_t i = 0; i < list.count; i++)
		(*ret)[i] = list.entries[i].id;
	*ret_count = (uint32_t)list.count;
	return NULL;
}

static struct error *save_tops(struct saving *saving, struct opened *opened)
{
	const struct analysis *analysis = saving->analysis;
	struct error *err;

	saving->reached_by_type = calloc((size_t)saving->num_types + 1,
					 sizeof(uint32_t));
	if (!saving->reached_by_type)
		return error_no_memory();
	for (uint32_t i = 0; i < analysis->heap->count; i++)
		saving->reached_by_type[analysis->heap->types[i]] +=
			analysis->dominators.parent[i] != DOMINATOR_UNREACHED;
	err = save_top(opened, saving, OBJECT_BY_SIZE, &saving->by_size,
		       &saving->num_by_size);
	return err ? err : save_top(opened, saving, OBJECT_BY_RETAINED_REACHED,
				    &saving->by_retained,
				    &saving->num_by_retained);
}

/* --- suspects -------------------------------------------------------------- */

static struct error *save_suspect(struct saving *saving,
				  const struct suspect *from,
				  struct kept_suspect *to)
{
	struct error *err;

	*to = (struct kept_suspect){
		.elements = from->elements, .retained = from->retained,
		.pattern = from->pattern, .object = from->object,
		.sample = from->sample,
		.element = from->element ? from->element->id + 1 : 0,
		.in_tensors = from->in_tensors, .tensors = from->tensors,
		.share = from->share, .device = from->device,
		.index = from->index, .of_scalars = from->of_scalars,
	};
	err = put_text(saving, from->path, &to->path);
	if (!err)
		err = put_text(saving, from->sentence, &to->sentence);
	return err ? err : put_text(saving, from->evidence, &to->evidence);
}

static struct error *save_suspects(struct saving *saving,
				   struct opened *opened)
{
	struct error *err = suspects_find(opened, saving->analysis,
					  /* values= */ false,
					  &saving->suspects);

	for (size_t i = 0; !err && i < saving->suspects.count; i++)
		err = save_suspect(saving, &saving->suspects.list[i],
				   &saving->kept_suspects[i]);
	return err;
}

/* --- the file -------------------------------------------------------------- */

static void put_facts(struct saving *saving)
{
	const struct analysis *analysis = saving->analysis;

	saving->facts = (struct kept_facts){
		.footprint = analysis->heap->footprint,
		.num_objects = analysis->heap->count,
		.num_edges = analysis->heap->graph.num_edges,
		.roots = analysis->roots,
		.dominators = analysis->dominators,
		.components = analysis->components,
		.collector = analysis->collector,
		.memory = saving->suspects.memory,
		.memory_is_rss = saving->suspects.memory_is_rss,
		.garbage_bytes = saving->suspects.garbage_bytes,
		.unexplained = saving->suspects.unexplained,
		.unexplained_bytes = saving->suspects.unexplained_bytes,
		.ways_known = saving->made.num_ways <= KEPT_WAYS_MAX,
	};
}

static void put(struct saving *saving, enum kept_column id, uint32_t width,
		uint64_t count, const void *data)
{
	saving->parts[saving->num_parts++] = (struct store_part){
		.id = id, .width = width, .count = count, .data = data };
}

static void put_heap(struct saving *saving)
{
	const struct heapgraph *heap = saving->analysis->heap;
	const struct graph *graph = &heap->graph;
	uint64_t count = heap->count;
	size_t chunks = heap->rank->num_chunks;

	put(saving, KEPT_CHUNKS, sizeof(uint64_t), chunks, saving->chunks);
	put(saving, KEPT_CELLS, sizeof(struct rank_cell), chunks * RANK_CELLS,
	    saving->cells.data);
	put(saving, KEPT_OBJECT_TYPES, sizeof(uint32_t), count, heap->types);
	put(saving, KEPT_SIZES, sizeof(uint32_t), count, heap->sizes);
	put(saving, KEPT_FOOTPRINTS, sizeof(uint32_t), count,
	    heap->footprints);
	put(saving, KEPT_REFCOUNTS, sizeof(uint16_t), count, heap->refcounts);
	put(saving, KEPT_FLAGS, sizeof(uint8_t), count, heap->flags);
	put(saving, KEPT_BIGS, sizeof(struct heap_big), heap->num_bigs,
	    heap->bigs);
	put(saving, KEPT_DEFERRED, sizeof(struct heap_deferred),
	    heap->num_deferred, heap->deferred);
	put(saving, KEPT_OUT_AT, sizeof(uint32_t), count + 1, graph->out_at);
	put(saving, KEPT_OUT, sizeof(uint32_t), graph->num_edges, graph->out);
	put(saving, KEPT_IN_AT, sizeof(uint32_t), count + 1, graph->in_at);
	put(saving, KEPT_IN, sizeof(uint32_t), graph->num_edges, graph->in);
}

/** None where there is no tensor. */
static void put_storages(struct saving *saving)
{
	const struct heldbytes *held = saving->analysis->held;

	put(saving, KEPT_STORAGES, sizeof(struct held_storage),
	    held ? held->num_storages : 0, held ? held->storages : NULL);
}

static void put_parts(struct saving *saving)
{
	const struct analysis *analysis = saving->analysis;
	const struct components *components = &analysis->components;
	uint64_t count = analysis->heap->count, words = count / 64 + 1;

	put(saving, KEPT_UNEXPLAINED, sizeof(uint64_t), words,
	    analysis->roots.unexplained.words);
	put(saving, KEPT_HELD, sizeof(uint64_t), words,
	    analysis->roots.held.words);
	put(saving, KEPT_OVER_RELEASED, sizeof(uint64_t), words,
	    analysis->roots.over_released.words);
	put(saving, KEPT_PARENTS, sizeof(uint32_t), count,
	    analysis->dominators.parent);
	put(saving, KEPT_RETAINED, sizeof(uint64_t), count,
	    analysis->dominators.retained);
	put(saving, KEPT_TREE_AT, sizeof(uint32_t), count + 2,
	    analysis->tree.at);
	put(saving, KEPT_TREE, sizeof(uint32_t), analysis->tree.at[count + 1],
	    analysis->tree.children);
	put(saving, KEPT_COMPONENTS_AT, sizeof(uint32_t),
	    (uint64_t)components->count + 1, components->at);
	put(saving, KEPT_COMPONENTS, sizeof(uint32_t),
	    components->at[components->count], components->members);
	put(saving, KEPT_GARBAGE, sizeof(uint64_t), words,
	    analysis->collector.garbage.words);
	put(saving, KEPT_FREED, sizeof(uint64_t), words,
	    analysis->collector.freed.words);
	put(saving, KEPT_FROZEN, sizeof(uint64_t), words,
	    analysis->collector.frozen.words);
	put(saving, KEPT_UNCOLLECTABLE, sizeof(uint64_t), words,
	    analysis->collector.uncollectable.words);
}

static void put_made(struct saving *saving)
{
	const struct keptmade *made = &saving->made;
	uint64_t components = saving->analysis->components.count;

	put(saving, KEPT_RETAINED_BY_TYPE, sizeof(uint64_t), saving->num_types,
	    made->by_type);
	put(saving, KEPT_RETAINED_BY_MODULE, sizeof(uint64_t),
	    saving->num_types, made->by_module);
	put(saving, KEPT_BEFORE, sizeof(uint32_t),
	    saving->analysis->heap->count, made->before);
	put(saving, KEPT_WAYS, sizeof(struct path_group),
	    saving->facts.ways_known ? made->num_ways : 0, made->ways);
	put(saving, KEPT_CYCLE_SIZES, sizeof(uint64_t), components,
	    made->cycle_sizes);
	put(saving, KEPT_CYCLE_SHAPES, sizeof(uint64_t), components,
	    made->cycle_shapes);
	put(saving, KEPT_CYCLE_FINALIZERS, sizeof(uint32_t), components,
	    made->cycle_finalizers);
	put(saving, KEPT_HOLDERS, sizeof(struct kept_holder),
	    saving->num_holders, saving->holders);
	put(saving, KEPT_GROUPS, sizeof(struct kept_group_row),
	    saving->num_groups, saving->groups);
	put(saving, KEPT_OWNED, sizeof(struct kept_owned_row), made->num_owned,
	    saving->owned);
	put(saving, KEPT_COLLECTORS, sizeof(struct pyh_gc),
	    made->num_collectors, made->collectors);
	put(saving, KEPT_LEDGER, 1, sizeof(*made->ledger), made->ledger);
}

static void put_all(struct saving *saving)
{
	put_facts(saving);
	put(saving, KEPT_FACTS, sizeof(saving->facts), 1, &saving->facts);
	put(saving, KEPT_COVERAGE, sizeof(struct pyh_coverage), 1,
	    saving->counts.coverage);
	put(saving, KEPT_TEXT, 1, saving->text_size, saving->text);
	put(saving, KEPT_TYPES, sizeof(struct kept_type), saving->num_types,
	    saving->types);
	put(saving, KEPT_TOTALS, sizeof(struct kept_total),
	    saving->counts.num_totals, saving->totals);
	put_heap(saving);
	put(saving, KEPT_ROOTS, sizeof(struct heap_root),
	    saving->analysis->roots.num_roots, saving->roots);
	put_parts(saving);
	put_storages(saving);
	put(saving, KEPT_BY_RETAINED, sizeof(uint32_t),
	    saving->num_by_retained, saving->by_retained);
	put(saving, KEPT_BY_SIZE, sizeof(uint32_t), saving->num_by_size,
	    saving->by_size);
	put(saving, KEPT_REACHED_BY_TYPE, sizeof(uint32_t), saving->num_types,
	    saving->reached_by_type);
	put(saving, KEPT_SUSPECTS, sizeof(struct kept_suspect),
	    saving->suspects.count, saving->kept_suspects);
	put_made(saving);
}

static void saving_deinit(struct saving *saving)
{
	free(saving->text);
	free(saving->types);
	free(saving->totals);
	free(saving->chunks);
	spill_free(&saving->cells);
	free(saving->roots);
	free(saving->by_retained);
	free(saving->by_size);
	free(saving->reached_by_type);
	free(saving->holders);
	free(saving->groups);
	free(saving->owned);
	keptmade_deinit(&saving->made);
}

struct error *kept_save(struct index *index, struct opened *opened,
			const struct analysis *analysis)
{
	struct saving saving = { .analysis = analysis };
	// These may look at types that nobody has asked for yet.
	struct error *err = save_suspects(&saving, opened);

	if (!err)
		err = keptmade_make(opened, analysis, &saving.made);
	saving.num_types = pyh_types_count(analysis->heap->pyh_types);
	if (!err)
		err = save_types(&saving);
	if (!err)
		err = opened_counts(opened, &saving.counts);
	if (!err)
		err = save_totals(&saving);
	if (!err)
		err = save_cells(&saving);
	if (!err)
		err = save_roots(&saving);
	if (!err)
		err = save_holders(&saving);
	if (!err)
		err = save_groups(&saving);
	if (!err)
		err = save_owned(&saving);
	if (!err)
		err = save_tops(&saving, opened);
	// What was read for all this may have been damaged: findings are not
	// kept, so that they are found each time.
	if (!err)
		err = opened_index(opened, &index);
	if (!err) {
		put_all(&saving);
		err = index_save(index, saving.parts, saving.num_parts);
	}
	saving_deinit(&saving);
	return err;
}
