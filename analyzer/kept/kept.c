/*
 * Columns read back as an analysis; see kept.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is large is used in place, where it is mapped. What is small (types,
 * totals, roots) is copied, and each number in it checked whenever it is read.
 */
#include "analyzer/kept/kept.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/kept/keptcheck.h"
#include "analyzer/kept/keptcolumns.h"
#include "image/base/guard.h"

/** Columns asked for, one after the other; one that is not there shows later. */
struct reading {
	const struct store *store;
	struct kept_facts facts;
	const char *text;
	uint64_t text_size;
	bool damaged;
};

static struct error *damaged(const char *what)
{
	return error_new(ERROR_FORMAT, "kept %s cannot be right", what);
}

static const void *column(struct reading *reading, enum kept_column id,
			  uint32_t width, uint64_t count)
{
	const void *data = kept_column(reading->store, id, width, count);

	reading->damaged |= !data;
	return data;
}

/** The same where the number of elements is what it is. */
static const void *any_column(struct reading *reading, enum kept_column id,
			      uint32_t width, uint64_t *ret_count)
{
	const void *data = store_column(reading->store, id, width, ret_count);

	reading->damaged |= !data;
	return data;
}

static struct error *begin(struct reading *reading, const struct store *store)
{
	const struct kept_facts *facts;

	*reading = (struct reading){ .store = store };
	facts = column(reading, KEPT_FACTS, sizeof(*facts), 1);
	reading->text = any_column(reading, KEPT_TEXT, 1, &reading->text_size);
	if (reading->damaged)
		return damaged("facts");
	reading->facts = *facts;
	if (facts->num_objects > GRAPH_MAX_NODES ||
	    (reading->text_size > 0 &&
	     reading->text[reading->text_size - 1] != '\0'))
		return damaged("facts");
	return NULL;
}

/** A name of the text; NULL where there is none. */
static const char *text_at(struct reading *reading, uint64_t place)
{
	if (place == 0)
		return NULL;
	if (place - 1 >= reading->text_size) {
		reading->damaged = true;
		return NULL;
	}
	return reading->text + place - 1;
}

/* --- types and totals ------------------------------------------------------ */

static struct error *adopt(struct reading *reading, struct pyh_types *types,
			   const struct kept_type *from, uint32_t id)
{
	struct pyh_type_kept kept = {
		.type = {
			.id = id,
			.kind = (enum pyh_kind)from->kind,
			.address = from->address, .flags = from->flags,
			.basicsize = from->basicsize,
			.itemsize = from->itemsize,
			.dictoffset = from->dictoffset,
			.weaklistoffset = from->weaklistoffset,
			.metatype = from->metatype, .base = from->base,
			.presize = from->presize,
			.has_gc = from->bits & KEPT_HAS_GC,
			.is_static = from->bits & KEPT_IS_STATIC,
			.size_exact = from->bits & KEPT_SIZE_EXACT,
			.name_known = from->bits & KEPT_NAME_KNOWN,
			.foreign = from->bits & KEPT_FOREIGN,
			.own_layout = from->bits & KEPT_OWN_LAYOUT,
			.name = text_at(reading, from->name),
			.module = text_at(reading, from->module),
			.qualname = text_at(reading, from->qualname),
			.lane = (enum pyh_lane)from->lane,
			.is_leaf = from->bits & KEPT_IS_LEAF,
			.hidden_items = from->hidden_items,
			.shared_values = from->shared_values,
		},
		.defines_kind = from->bits & KEPT_DEFINES_KIND,
		.own_sizeof = from->own_sizeof,
	};

	return pyh_types_adopt(types, &kept);
}

static struct error *take_types(struct reading *reading, struct kept *kept,
				struct pyh_types *types)
{
	uint64_t count;
	const struct kept_type *from = any_column(reading, KEPT_TYPES,
						  sizeof(*from), &count);
	struct error *err = NULL;

	if (!from || count > UINT32_MAX)
		return damaged("types");
	for (uint32_t i = 0; !err && i < count; i++)
		err = adopt(reading, types, &from[i], i);
	kept->num_types = (uint32_t)count;
	kept->reached_by_type = column(reading, KEPT_REACHED_BY_TYPE,
				       sizeof(*kept->reached_by_type), count);
	kept->retained_by_type = column(reading, KEPT_RETAINED_BY_TYPE,
					sizeof(*kept->retained_by_type), count);
	kept->retained_by_module = column(reading, KEPT_RETAINED_BY_MODULE,
					  sizeof(*kept->retained_by_module),
					  count);
	return err;
}

static bool take_total(const struct kept *kept, const struct pyh_types *types,
		       const struct kept_total *from,
		       struct pyh_type_total *total)
{
	if (from->type >= kept->num_types)
		return false;
	*total = (struct pyh_type_total){
		.type = pyh_types_get(types, from->type),
		.count = from->count, .size = from->size,
		.footprint = from->footprint, .refcounts = from->refcounts,
		.immortal = from->immortal,
		.size_exact = from->size_exact != 0 };
	return true;
}

static struct error *take_totals(struct reading *reading, struct kept *kept,
				 const struct pyh_types *types)
{
	uint64_t count;
	const struct pyh_coverage *coverage = column(
		reading, KEPT_COVERAGE, sizeof(*coverage), 1);
	const struct kept_total *from = any_column(reading, KEPT_TOTALS,
						   sizeof(*from), &count);

	if (!from || !coverage || count > kept->num_types)
		return damaged("totals");
	kept->coverage = *coverage;
	kept->totals = calloc((size_t)count + 1, sizeof(*kept->totals));
	if (!kept->totals)
		return error_no_memory();
	for (size_t i = 0; i < count; i++)
		if (!take_total(kept, types, &from[i], &kept->totals[i]))
			return damaged("totals");
	kept->num_totals = (size_t)count;
	return NULL;
}

/** Lists are as long as there are objects, or as long as they get. */
static bool take_list(struct reading *reading, enum kept_column id,
		      const uint32_t **ret, uint32_t *ret_count)
{
	uint64_t count;

	*ret = any_column(reading, id, sizeof(**ret), &count);
	if (!*ret || count > reading->facts.num_objects)
		return false;
	for (uint64_t i = 0; i < count; i++)
		if ((*ret)[i] >= reading->facts.num_objects)
			return false;
	*ret_count = (uint32_t)count;
	return true;
}

/** A text that has room for it. */
static bool take_text(struct reading *reading, uint32_t place, char *ret,
		      size_t room)
{
	const char *text = text_at(reading, place);

	if (!text || strlen(text) >= room)
		return false;
	memcpy(ret, text, strlen(text) + 1);
	return true;
}

static bool take_suspect(struct reading *reading, const struct kept *kept,
			 const struct pyh_types *types,
			 const struct kept_suspect *from,
			 struct suspect *suspect)
{
	uint32_t objects = reading->facts.num_objects;

	suspect->pattern = (enum suspect_pattern)from->pattern;
	suspect->object = from->object;
	suspect->sample = from->sample;
	suspect->elements = from->elements;
	suspect->retained = from->retained;
	suspect->in_tensors = from->in_tensors;
	suspect->tensors = from->tensors;
	suspect->device = from->device;
	suspect->index = from->index;
	suspect->of_scalars = from->of_scalars != 0;
	suspect->share = from->share;
	if (from->element > 0)
		suspect->element = pyh_types_get(types, from->element - 1);
	return from->pattern < NUM_SUSPECT_PATTERNS && from->share >= 0 &&
	       from->share <= 1e9 &&
	       from->element <= kept->num_types &&
	       (from->object < objects || from->object == GRAPH_NONE) &&
	       (from->sample < objects || from->sample == GRAPH_NONE) &&
	       take_text(reading, from->path, suspect->path,
			 sizeof(suspect->path)) &&
	       take_text(reading, from->sentence, suspect->sentence,
			 sizeof(suspect->sentence)) &&
	       take_text(reading, from->evidence, suspect->evidence,
			 sizeof(suspect->evidence));
}

static struct error *take_suspects(struct reading *reading, struct kept *kept,
				   const struct pyh_types *types)
{
	struct suspects *suspects = &kept->suspects;
	uint64_t count;
	const struct kept_suspect *from = any_column(reading, KEPT_SUSPECTS,
						     sizeof(*from), &count);

	if (!from || count > SUSPECTS_MAX)
		return damaged("suspects");
	for (size_t i = 0; i < count; i++)
		if (!take_suspect(reading, kept, types, &from[i],
				  &suspects->list[i]))
			return damaged("suspects");
	suspects->count = (size_t)count;
	suspects->memory = reading->facts.memory;
	suspects->memory_is_rss = reading->facts.memory_is_rss != 0;
	suspects->garbage_bytes = reading->facts.garbage_bytes;
	suspects->unexplained = reading->facts.unexplained;
	suspects->unexplained_bytes = reading->facts.unexplained_bytes;
	suspects->lost = reading->facts.collector.num_lost;
	suspects->lost_bytes = reading->facts.collector.lost_bytes;
	return NULL;
}

static bool take_root(struct reading *reading, const struct pyh_root *from,
		      struct pyh_root *root)
{
	*root = *from;
	root->name = text_at(reading, (uintptr_t)from->name);
	root->module = text_at(reading, (uintptr_t)from->module);
	return *(const uint8_t *)&from->deferred <= 1 &&
	       (unsigned int)root->kind <= PYH_ROOT_NATIVE &&
	       (unsigned int)root->hold <= PYH_HOLD_NONE && !reading->damaged;
}

/* --- what else was made ---------------------------------------------------- */

static struct error *take_ways(struct reading *reading, struct kept *kept)
{
	uint64_t count;

	kept->before = column(reading, KEPT_BEFORE, sizeof(*kept->before),
			      reading->facts.num_objects);
	kept->ways = any_column(reading, KEPT_WAYS, sizeof(*kept->ways),
				&count);
	if (!kept->before || !kept->ways || count > KEPT_WAYS_MAX)
		return damaged("ways");
	for (uint64_t i = 0; i < count; i++)
		if (kept->ways[i].type >= kept->num_types ||
		    kept->ways[i].sample >= reading->facts.num_objects)
			return damaged("ways");
	kept->num_ways = (size_t)count;
	kept->ways_known = reading->facts.ways_known != 0;
	return NULL;
}

static struct error *take_cycles(struct reading *reading, struct kept *kept)
{
	uint64_t count = reading->facts.components.count;

	kept->cycle_sizes = column(reading, KEPT_CYCLE_SIZES,
				   sizeof(*kept->cycle_sizes), count);
	kept->cycle_shapes = column(reading, KEPT_CYCLE_SHAPES,
				    sizeof(*kept->cycle_shapes), count);
	kept->cycle_finalizers = column(reading, KEPT_CYCLE_FINALIZERS,
					sizeof(*kept->cycle_finalizers), count);
	// They are keys of a map, which 0 cannot be.
	for (uint64_t i = 0; kept->cycle_shapes && i < count; i++)
		reading->damaged |= kept->cycle_shapes[i] == 0;
	return reading->damaged ? damaged("cycles") : NULL;
}

static struct error *take_holders(struct reading *reading, struct kept *kept)
{
	uint64_t count;
	const struct kept_holder *from = any_column(reading, KEPT_HOLDERS,
						    sizeof(*from), &count);

	if (!from)
		return damaged("holders");
	kept->holders = calloc((size_t)count + 1, sizeof(*kept->holders));
	if (!kept->holders)
		return error_no_memory();
	for (size_t i = 0; i < count; i++) {
		kept->holders[i].object = from[i].object;
		kept->holders[i].holders = from[i].holders;
		if (from[i].object >= reading->facts.num_objects ||
		    !take_root(reading, &from[i].first,
			       &kept->holders[i].first))
			return damaged("holders");
	}
	kept->num_holders = (size_t)count;
	return NULL;
}

static struct error *take_groups(struct reading *reading, struct kept *kept)
{
	uint64_t count;
	const struct kept_group_row *from = any_column(
		reading, KEPT_GROUPS, sizeof(*from), &count);

	if (!from)
		return damaged("groups");
	kept->groups = calloc((size_t)count + 1, sizeof(*kept->groups));
	if (!kept->groups)
		return error_no_memory();
	for (size_t i = 0; i < count; i++) {
		const char *name = text_at(reading, from[i].name);

		if (!name || from[i].by >= NUM_BY)
			return damaged("groups");
		kept->groups[i] = (struct kept_group){
			.name = name, .by = (enum group_by)from[i].by,
			.count = from[i].count, .size = from[i].size,
			.retained = from[i].retained,
			.device = from[i].device };
	}
	kept->num_groups = (size_t)count;
	return NULL;
}

static struct error *take_owned(struct reading *reading, struct kept *kept,
				const struct pyh_types *types)
{
	uint64_t count;
	const struct kept_owned_row *from = any_column(
		reading, KEPT_OWNED, sizeof(*from), &count);

	if (!from)
		return damaged("owners");
	kept->owned = calloc((size_t)count + 1, sizeof(*kept->owned));
	if (!kept->owned)
		return error_no_memory();
	for (size_t i = 0; i < count; i++) {
		struct kept_owned *owned = &kept->owned[i];

		if (from[i].owner > kept->num_types ||
		    !take_total(kept, types, &from[i].total, &owned->total))
			return damaged("owners");
		owned->retained = from[i].retained;
		owned->device = from[i].device;
		owned->owner = from[i].owner ?
			pyh_types_get(types, from[i].owner - 1) : NULL;
	}
	kept->num_owned = (size_t)count;
	return NULL;
}

static struct error *take_collectors(struct reading *reading,
				     struct kept *kept)
{
	uint64_t count;
	const struct pyh_gc *from = any_column(reading, KEPT_COLLECTORS,
					       sizeof(*from), &count);

	for (uint64_t i = 0; from && i < count; i++) {
		uint8_t collecting;

		// As a bool it may only be looked at when it is one.
		memcpy(&collecting, &from[i].collecting, sizeof(collecting));
		if ((unsigned int)from[i].kind > PYH_GC_FREE_THREADED ||
		    collecting > 1)
			return damaged("collectors");
	}
	kept->collectors = from;
	kept->num_collectors = (size_t)count;
	return from ? NULL : damaged("collectors");
}

static struct error *take_ledger(struct reading *reading, struct kept *kept)
{
	uint64_t count;
	const uint8_t *from = any_column(reading, KEPT_LEDGER, 1, &count);

	if (!from || count != sizeof(*kept->ledger))
		return damaged("ledger");
	kept->ledger = malloc(sizeof(*kept->ledger));
	if (!kept->ledger)
		return error_no_memory();
	// The file may change while it is looked at: the copy may not.
	memcpy(kept->ledger, from, sizeof(*kept->ledger));
	return ledger_is_sound(kept->ledger) ? NULL : damaged("ledger");
}

static struct error *take_made(struct reading *reading, struct kept *kept,
			       const struct pyh_types *types)
{
	struct error *err = take_ways(reading, kept);

	if (!err)
		err = take_cycles(reading, kept);
	if (!err)
		err = take_holders(reading, kept);
	if (!err)
		err = take_groups(reading, kept);
	if (!err)
		err = take_owned(reading, kept, types);
	if (!err)
		err = take_collectors(reading, kept);
	return err ? err : take_ledger(reading, kept);
}

static struct error *take_all(struct kept *kept, struct pyh_types *types)
{
	struct reading reading;
	struct error *err = begin(&reading, kept->store);

	if (!err)
		err = take_types(&reading, kept, types);
	if (!err)
		err = take_totals(&reading, kept, types);
	if (!err && (!take_list(&reading, KEPT_BY_RETAINED, &kept->by_retained,
				&kept->num_by_retained) ||
		     !take_list(&reading, KEPT_BY_SIZE, &kept->by_size,
				&kept->num_by_size) ||
		     reading.damaged))
		err = damaged("lists");
	if (!err)
		err = take_suspects(&reading, kept, types);
	return err ? err : take_made(&reading, kept, types);
}

struct error *kept_open(const struct store *store, struct pyh_types *types,
			struct kept **ret)
{
	struct kept *kept = calloc(1, sizeof(*kept));
	struct error *err;

	if (!kept)
		return error_no_memory();
	kept->store = store;
	err = pyh_types_count(types) > 0 ?
		      error_new(ERROR_LIMIT, "types have been found already") :
		      take_all(kept, types);
	if (err)
		kept_close(kept);
	else
		*ret = kept;
	return err;
}

void kept_close(struct kept *kept)
{
	if (!kept)
		return;
	free(kept->totals);
	free(kept->holders);
	free(kept->groups);
	free(kept->owned);
	free(kept->ledger);
	free(kept);
}

struct error *kept_check(const struct kept *kept, unsigned int workers)
{
	return keptcheck_all(kept->store, kept->num_types, workers);
}

/* --- the analysis ---------------------------------------------------------- */

/* Columns are only read; what holds them could be written to, were they not
   somebody else's. */
#define COLUMN(reading, id, field, count) \
	((__typeof__(field))(uintptr_t)column(reading, id, sizeof(*(field)), \
					      count))

static struct error *take_rank(struct reading *reading, struct heapgraph *heap)
{
	uint64_t count;
	const uint64_t *chunks = any_column(reading, KEPT_CHUNKS,
					    sizeof(*chunks), &count);
	const struct rank_cell *cells =
		chunks ? column(reading, KEPT_CELLS, sizeof(*cells),
				count * RANK_CELLS) : NULL;

	return cells ? rank_borrow(chunks, cells, (size_t)count, heap->count,
				   &heap->rank) :
		       damaged("addresses");
}

static void take_objects(struct reading *reading, struct heapgraph *heap)
{
	uint32_t count = heap->count;

	heap->types = COLUMN(reading, KEPT_OBJECT_TYPES, heap->types, count);
	heap->sizes = COLUMN(reading, KEPT_SIZES, heap->sizes, count);
	heap->footprints = COLUMN(reading, KEPT_FOOTPRINTS, heap->footprints,
				  count);
	heap->refcounts = COLUMN(reading, KEPT_REFCOUNTS, heap->refcounts,
				 count);
	heap->flags = COLUMN(reading, KEPT_FLAGS, heap->flags, count);
}

static struct error *take_bigs(struct reading *reading, struct heapgraph *heap)
{
	uint64_t count;
	const struct heap_big *bigs = any_column(reading, KEPT_BIGS,
						 sizeof(*bigs), &count);

	if (!bigs || count > heap->count)
		return damaged("sizes");
	for (uint64_t i = 0; i < count; i++)
		if (bigs[i].object >= heap->count ||
		    (i > 0 && bigs[i].object <= bigs[i - 1].object))
			return damaged("sizes");
	heap->bigs = (struct heap_big *)(uintptr_t)bigs;
	heap->num_bigs = (size_t)count;
	return NULL;
}

static struct error *take_deferred(struct reading *reading,
				   struct heapgraph *heap)
{
	uint64_t count;
	const struct heap_deferred *deferred =
		any_column(reading, KEPT_DEFERRED, sizeof(*deferred), &count);

	if (!deferred || count > heap->count)
		return damaged("references without a count");
	for (uint64_t i = 0; i < count; i++)
		if (deferred[i].object >= heap->count ||
		    (i > 0 && deferred[i].object <= deferred[i - 1].object))
			return damaged("references without a count");
	heap->deferred = (struct heap_deferred *)(uintptr_t)deferred;
	heap->num_deferred = (size_t)count;
	return NULL;
}

/** From 0 to so many in all; what is between, kept_check() looks at. */
static bool are_bounds(const uint32_t *at, uint32_t last, uint64_t total)
{
	return at && at[0] == 0 && at[last] == total;
}

static struct error *take_graph(struct reading *reading, struct graph *graph)
{
	const struct kept_facts *facts = &reading->facts;
	uint64_t edges = facts->num_edges, nodes = facts->num_objects;

	graph->num_nodes = facts->num_objects;
	graph->num_edges = facts->num_edges;
	graph->out_at = COLUMN(reading, KEPT_OUT_AT, graph->out_at, nodes + 1);
	graph->out = COLUMN(reading, KEPT_OUT, graph->out, edges);
	graph->in_at = COLUMN(reading, KEPT_IN_AT, graph->in_at, nodes + 1);
	graph->in = COLUMN(reading, KEPT_IN, graph->in, edges);
	return are_bounds(graph->out_at, facts->num_objects, edges) &&
	       are_bounds(graph->in_at, facts->num_objects, edges) ?
		       NULL : damaged("references");
}

static void take_set(struct reading *reading, enum kept_column id,
		     struct node_set *set)
{
	set->num_nodes = reading->facts.num_objects;
	set->words = COLUMN(reading, id, set->words,
			    (uint64_t)set->num_nodes / 64 + 1);
}

static struct error *take_roots(struct reading *reading,
				struct heaproots *roots)
{
	uint64_t count;
	const struct heap_root *from = any_column(reading, KEPT_ROOTS,
						  sizeof(*from), &count);

	*roots = reading->facts.roots;
	roots->roots = NULL;
	roots->num_roots = 0;
	take_set(reading, KEPT_UNEXPLAINED, &roots->unexplained);
	take_set(reading, KEPT_HELD, &roots->held);
	take_set(reading, KEPT_OVER_RELEASED, &roots->over_released);
	if (reading->damaged)
		return damaged("roots");
	roots->roots = calloc((size_t)count + 1, sizeof(*roots->roots));
	if (!roots->roots)
		return error_no_memory();
	for (size_t i = 0; i < count; i++) {
		roots->roots[i].object = from[i].object;
		if (from[i].object >= reading->facts.num_objects ||
		    (i > 0 && from[i].object < from[i - 1].object) ||
		    !take_root(reading, &from[i].root, &roots->roots[i].root))
			return damaged("roots");
	}
	roots->num_roots = (size_t)count;
	return NULL;
}

static void take_dominators(struct reading *reading,
			    struct dominators *dominators)
{
	uint32_t count = reading->facts.num_objects;

	dominators->num_nodes = count;
	dominators->parent = COLUMN(reading, KEPT_PARENTS, dominators->parent,
				    count);
	dominators->retained = COLUMN(reading, KEPT_RETAINED,
				      dominators->retained, count);
	memset(dominators->arrays, 0, sizeof(dominators->arrays));
	reading->damaged |= dominators->num_reached > count;
}

static void take_tree(struct reading *reading,
		      const struct dominators *dominators, struct domtree *tree)
{
	uint32_t count = reading->facts.num_objects;
	uint64_t members = 0;

	tree->dominators = dominators;
	tree->at = COLUMN(reading, KEPT_TREE_AT, tree->at,
			  (uint64_t)count + 2);
	tree->children = (uint32_t *)(uintptr_t)
		any_column(reading, KEPT_TREE, sizeof(uint32_t), &members);
	reading->damaged |= !are_bounds(tree->at, count + 1, members);
}

static void take_components(struct reading *reading,
			    struct components *components)
{
	uint64_t members = 0;

	components->at = COLUMN(reading, KEPT_COMPONENTS_AT, components->at,
				(uint64_t)components->count + 1);
	components->members = (uint32_t *)(uintptr_t)
		any_column(reading, KEPT_COMPONENTS, sizeof(uint32_t),
			   &members);
	reading->damaged |= !are_bounds(components->at, components->count,
					members);
}

/** Checked whenever it is read, as it is small. */
static bool are_storages(const struct held_storage *storages, uint64_t count,
			 uint32_t num_objects)
{
	for (uint64_t i = 0; i < count; i++)
		if ((storages[i].owner >= num_objects &&
		     storages[i].owner < DOMINATOR_ROOT) ||
		    (storages[i].via >= num_objects &&
		     storages[i].via != GRAPH_NONE) ||
		    storages[i].flags & ~(unsigned int)HELD_FLAGS)
			return false;
	return true;
}

/** Who has what of them is made once more, of few objects. */
static struct error *take_storages(struct reading *reading,
				   struct analysis *analysis)
{
	uint64_t count;
	const struct held_storage *storages = any_column(
		reading, KEPT_STORAGES, sizeof(*storages), &count);

	if (!storages ||
	    !are_storages(storages, count, reading->facts.num_objects))
		return damaged("storages");
	if (count == 0)
		return NULL;
	analysis->held = calloc(1, sizeof(*analysis->held));
	if (!analysis->held)
		return error_no_memory();
	*analysis->held = (struct heldbytes){
		.storages = (struct held_storage *)(uintptr_t)storages,
		.num_storages = (size_t)count, .borrowed = true };
	return heldbytes_make(&analysis->dominators, analysis->held);
}

/** Their numbers are as they were, their columns where they are now. */
static struct error *take_parts(struct reading *reading,
				struct analysis *analysis)
{
	const struct kept_facts *facts = &reading->facts;

	analysis->dominators = facts->dominators;
	take_dominators(reading, &analysis->dominators);
	take_tree(reading, &analysis->dominators, &analysis->tree);
	analysis->components = facts->components;
	take_components(reading, &analysis->components);
	analysis->collector = facts->collector;
	take_set(reading, KEPT_GARBAGE, &analysis->collector.garbage);
	take_set(reading, KEPT_FREED, &analysis->collector.freed);
	take_set(reading, KEPT_FROZEN, &analysis->collector.frozen);
	take_set(reading, KEPT_UNCOLLECTABLE,
		 &analysis->collector.uncollectable);
	return reading->damaged ? damaged("results") : NULL;
}

static struct error *take_analysis(struct reading *reading,
				   struct analysis *analysis,
				   struct pyh_types *types)
{
	struct heapgraph *heap = analysis->heap;
	struct error *err = begin(reading, analysis->kept->store);

	if (err)
		return err;
	heap->pyh_types = types;
	heap->count = reading->facts.num_objects;
	heap->footprint = reading->facts.footprint;
	take_objects(reading, heap);
	err = take_bigs(reading, heap);
	if (!err)
		err = take_deferred(reading, heap);
	if (!err)
		err = take_rank(reading, heap);
	if (!err)
		err = take_graph(reading, &heap->graph);
	if (!err)
		err = take_roots(reading, &analysis->roots);
	if (!err)
		err = take_parts(reading, analysis);
	return err ? err : take_storages(reading, analysis);
}

struct error *kept_analysis(const struct kept *kept, struct pyh_types *types,
			    struct analysis **ret)
{
	struct analysis *analysis = calloc(1, sizeof(*analysis));
	struct reading reading;
	struct error *err = NULL;

	if (!analysis)
		return error_no_memory();
	analysis->kept = kept;
	analysis->have = ANALYSIS_ALL;
	analysis->heap = calloc(1, sizeof(*analysis->heap));
	if (!analysis->heap)
		err = error_no_memory();
	if (!err)
		err = take_analysis(&reading, analysis, types);
	if (err)
		kept_analysis_destroy(analysis);
	else
		*ret = analysis;
	return err;
}

/** Its columns are in the file, but for those that were made since. */
static void kept_heap_destroy(struct heapgraph *heap)
{
	rank_destroy(heap->rank);
	spill_deinit(&heap->spill);
	free(heap);
}

void kept_analysis_destroy(struct analysis *analysis)
{
	if (analysis->heap)
		kept_heap_destroy(analysis->heap);
	heldbytes_destroy(analysis->held);
	free(analysis->roots.roots);
	free(analysis);
}
