/*
 * Leak suspects: finding points of accumulation; see suspects.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * From the top of the dominator tree down, as far as branches are large enough
 * to matter: where most of a branch goes on through one child, that one is
 * looked at instead; where it divides into many of one type, there it piles up.
 */
#include "analyzer/heap/suspects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/bounded.h"
#include "analyzer/heap/classnames.h"
#include "analyzer/heap/copies.h"
#include "analyzer/heap/excess.h"
#include "analyzer/heap/gathered.h"
#include "analyzer/heap/pile.h"
#include "analyzer/heap/suspect_words.h"
#include "analyzer/heap/tensorpiles.h"
#include "analyzer/heap/threadpiles.h"
#include "analyzer/kept/kept.h"
#include "analyzer/opened.h"
#include "analyzer/threads/failure.h"
#include "image/base/guard.h"
#include "image/format.h"
#include "pyheap/references/pyholders.h"

enum {
	SINGLE_SHARE_LEAST = 5,		/* a fifth */
	SINGLE_BYTES_LEAST = 16 << 20,
	FEW_LEAST = 10,			/* children that are large */
	FEW_SHARE_LEAST = 10,		/* a tenth, for few */
	FEW_ALIKE = 4,			/* the largest to the mean of them */
	CHAIN_LEAST = 1000,		/* links of a chain */
	SCATTERED_LEAST = PILE_MANY * 10,	/* that no object alone holds */
	CANDIDATES_MAX = 256,
	VISITS_MAX = 1 << 22,		/* large objects looked at */
};

struct finding_suspects {
	struct opened *opened;
	const struct analysis *analysis;
	struct suspects *result;
	uint64_t least;			/* bytes of a branch that matters */
	struct piles piles;
	struct suspect candidates[CANDIDATES_MAX + TENSORPILES_MAX];
	size_t num_candidates;
	uint32_t *pending;		/* branches to be looked at */
	size_t num_pending, room;
	uint64_t visits;
	struct copies copies;
	struct bounded *bounded;	/* owned */
};

static uint64_t retained_by(const struct finding_suspects *finding,
			    uint32_t object)
{
	return pile_retained(finding->analysis, object);
}

/* --- candidates ------------------------------------------------------------ */

/**
 * Modules, classes and their namespaces: every program has many, and all that
 * its code consists of.
 */
static bool is_of_the_program(const struct finding_suspects *finding,
			      uint32_t object, const struct pyh_type *element)
{
	const struct heapgraph *heap = finding->analysis->heap;
	uint32_t parent;

	if (element->kind == PYH_KIND_TYPE || element->kind == PYH_KIND_MODULE ||
	    element->kind == PYH_KIND_CODE)
		return true;
	if (object >= heap->count)
		return false;
	if (pile_is_namespace(heap, object))
		return true;
	parent = finding->analysis->dominators.parent[object];
	return parent < heap->count &&
	       (heapgraph_type(heap, parent)->kind == PYH_KIND_MODULE ||
		heapgraph_type(heap, parent)->kind == PYH_KIND_TYPE);
}

static struct suspect *add(struct finding_suspects *finding,
			   enum suspect_pattern pattern, uint32_t object,
			   uint64_t retained)
{
	struct suspect *suspect;

	if (finding->num_candidates == CANDIDATES_MAX)
		return NULL;
	suspect = &finding->candidates[finding->num_candidates++];
	*suspect = (struct suspect){ .pattern = pattern, .object = object,
				     .sample = GRAPH_NONE,
				     .retained = retained };
	return suspect;
}

static void set_elements(const struct finding_suspects *finding,
			 struct suspect *suspect, const struct of_type *pile)
{
	if (!suspect)
		return;
	suspect->element = pyh_types_get(finding->analysis->heap->pyh_types,
					 pile->type);
	suspect->elements = pile->count;
	suspect->sample = pile->sample;
}

/** What there are many of as well. */
static void set_beside(const struct finding_suspects *finding,
		       struct suspect *suspect, const struct of_type *pile)
{
	if (pile->retained == 0)
		return;
	suspect->beside = pyh_types_get(finding->analysis->heap->pyh_types,
					pile->type);
	suspect->num_beside = pile->count;
}

static struct error *look_later(struct finding_suspects *finding,
				uint32_t object)
{
	if (finding->num_pending == finding->room) {
		size_t room = finding->room ? finding->room * 2 : 256;
		uint32_t *pending = realloc(finding->pending,
					    room * sizeof(*pending));

		if (!pending)
			return error_no_memory();
		finding->pending = pending;
		finding->room = room;
	}
	finding->pending[finding->num_pending++] = object;
	return NULL;
}

/**
 * The links of a chain that begins at an object: each retains nearly all that
 * the one before does, and every second one at least is of its type (between
 * them may stand the dicts of attributes).
 *
 * @param ret_end  the last one that keeps enough to be looked into
 */
static uint32_t chain_from(struct finding_suspects *finding, uint32_t object,
			   uint32_t *ret_end)
{
	const struct heapgraph *heap = finding->analysis->heap;
	uint32_t links = 0, between = 0, at = object;

	*ret_end = object;
	while (between < 3 && finding->visits < VISITS_MAX) {
		uint32_t count, next = GRAPH_NONE;
		uint64_t most = 0;
		const uint32_t *children =
			domtree_children(&finding->analysis->tree, at, &count);

		finding->visits += count + 1;
		for (uint32_t i = 0; i < count; i++) {
			uint64_t retained = retained_by(finding, children[i]);

			if (next == GRAPH_NONE || retained > most) {
				next = children[i];
				most = retained;
			}
		}
		if (next == GRAPH_NONE || most < retained_by(finding, at) / 2)
			break;
		at = next;
		if (most >= finding->least)
			*ret_end = at;
		between++;
		if (heap->types[at] == heap->types[object]) {
			links++;
			between = 0;
		}
	}
	return links;
}

/**
 * Of what piles up in an object: many of a type, or many of several, as the keys
 * and the values of a dict are. NULL: neither.
 */
static const struct of_type *many_in(const struct finding_suspects *finding,
				     uint32_t object, const struct pile *pile)
{
	const struct analysis *analysis = finding->analysis;
	uint64_t whole = retained_by(finding, object);
	uint64_t own = heapgraph_footprint(analysis->heap, object);

	return pile->retained_by_many >= finding->least &&
			       pile->retained_by_many >=
				       (whole > own ? whole - own : 0) / 2 &&
			       retained_by(finding, pile->largest) <
				       whole / 2 ?
		       &pile->many[0] : NULL;
}

/** That few are so large is worth a word. */
static bool are_large(const struct finding_suspects *finding, uint32_t count,
		      uint64_t retained, uint64_t largest)
{
	return count >= FEW_LEAST && retained >= SINGLE_BYTES_LEAST &&
	       retained >= finding->result->memory / FEW_SHARE_LEAST &&
	       largest < retained / count * FEW_ALIKE;
}

/** The same of few that are large, each about as large as the others. */
static const struct of_type *few_in(const struct finding_suspects *finding,
				    uint32_t object, const struct pile *pile)
{
	const struct of_type *most = &pile->most;

	return most->retained >= retained_by(finding, object) / 4 * 3 &&
			       are_large(finding, most->count, most->retained,
					 retained_by(finding, pile->largest)) ?
		       most : NULL;
}

/**
 * Functions that several hold are what libraries consist of, whose decorators keep
 * those that they wrap. They pile up where there are more than code for them.
 */
static bool is_of_libraries(const struct finding_suspects *finding,
			    const struct of_type *pile,
			    const struct pyh_type *element)
{
	const struct heapgraph *heap = finding->analysis->heap;
	uint32_t codes = 0;

	if (strcmp(element->name, "function") != 0)
		return false;
	for (uint32_t i = 0; i < heap->count; i++)
		codes += heapgraph_type(heap, i)->kind == PYH_KIND_CODE;
	return pile->count <= codes;
}

/**
 * What nobody holds alone, below an object or by nobody together: many of a
 * type, or few large ones that somebody has. Whoever has most is named.
 */
static struct error *add_scattered(struct finding_suspects *finding,
				   uint32_t parent, const struct of_type *most)
{
	const struct pyh_type *element = pyh_types_get(
		finding->analysis->heap->pyh_types, most->type);
	bool many = most->count >= SCATTERED_LEAST;
	struct suspect *suspect;
	struct gathered gathered;
	struct error *err = gathered_under(finding->analysis, parent, element,
					   &gathered);
	bool has_most = !err && gathered.object != GRAPH_NONE &&
			gathered.retained >= most->retained / 2;

	if (err || (!many &&
		    (!has_most ||
		     !are_large(finding, gathered.count, gathered.retained,
				gathered.largest) ||
		     is_of_the_program(finding, gathered.object, element))) ||
	    (has_most && bounded_is(finding->bounded, gathered.object)))
		return err;
	suspect = add(finding, SUSPECT_SCATTERED, GRAPH_NONE, most->retained);
	set_elements(finding, suspect, most);
	if (!suspect || !has_most)
		return NULL;
	suspect->object = gathered.object;
	suspect->elements = gathered.count;
	suspect->retained = gathered.retained;
	suspect->shared = true;
	return NULL;
}

/** May they be worth a word, before it is asked who has them? */
static bool may_be_scattered(const struct finding_suspects *finding,
			     const struct of_type *most)
{
	const struct pyh_type *element;

	if (most->count == 0 ||
	    !(most->count >= SCATTERED_LEAST ||
	      are_large(finding, most->count, most->retained, 0)))
		return false;
	element = pyh_types_get(finding->analysis->heap->pyh_types, most->type);
	return !is_of_the_program(finding, DOMINATOR_ROOT, element) &&
	       !is_of_libraries(finding, most, element);
}

/**
 * What several variables of a module hold, and none of them alone: instances that
 * a list and the session of a database know.
 */
static struct error *look_at_namespace(struct finding_suspects *finding,
				       uint32_t object, const struct pile *pile)
{
	return pile->most.retained / 2 >= finding->least &&
			       may_be_scattered(finding, &pile->most) ?
		       add_scattered(finding, object, &pile->most) : NULL;
}

/** A branch that divides into so many of a type, if they pile up there. */
static struct error *add_container(struct finding_suspects *finding,
				   uint32_t object, const struct pile *pile,
				   const struct of_type *many, bool *ret_added)
{
	const struct pyh_type *element = pyh_types_get(
		finding->analysis->heap->pyh_types, many->type);
	struct suspect *suspect;
	uint32_t class_names = 0;
	struct error *err = NULL;

	*ret_added = false;
	if (element->kind == PYH_KIND_TYPE)
		err = class_names_few(finding->opened, finding->analysis,
				      object, &class_names);
	if (err || (class_names == 0 &&
		    is_of_the_program(finding, object, element)) ||
	    bounded_is(finding->bounded, object))
		return err;
	*ret_added = true;
	suspect = add(finding, SUSPECT_CONTAINER, object,
		      retained_by(finding, object));
	if (!suspect)
		return NULL;
	set_elements(finding, suspect, many);
	suspect->class_names = class_names;
	if (many == &pile->many[0] &&
	    many->retained < pile->retained_by_many / 4 * 3)
		set_beside(finding, suspect, &pile->many[1]);
	return NULL;
}

/** One branch of the tree. */
static struct error *look_at(struct finding_suspects *finding, uint32_t object)
{
	const struct analysis *analysis = finding->analysis;
	const struct heapgraph *heap = analysis->heap;
	const struct of_type *many;
	struct pile pile = pile_under(&finding->piles, object);
	bool added = false;
	uint32_t count, links, end;
	const uint32_t *children = domtree_children(&analysis->tree, object,
						    &count);
	struct error *err = NULL;

	finding->visits += count + 1;
	if (heapgraph_footprint(heap, object) >= finding->least &&
	    heapgraph_footprint(heap, object) >= retained_by(finding, object) / 2)
		(void)add(finding, SUSPECT_SINGLE, object,
			  heapgraph_footprint(heap, object));
	if (pile.largest == GRAPH_NONE)
		return NULL;
	if (pile_is_namespace(heap, object))
		err = look_at_namespace(finding, object, &pile);
	many = many_in(finding, object, &pile);
	if (!many)
		many = few_in(finding, object, &pile);
	if (many && !err)
		err = add_container(finding, object, &pile, many, &added);
	if (err || added)
		return err;
	// Where instances have dicts of their own, both types take turns.
	links = heapgraph_type(heap, object)->kind == PYH_KIND_DICT &&
				heap->types[pile.largest] !=
					heap->types[object] ?
			0 : chain_from(finding, object, &end);
	if (links >= CHAIN_LEAST && end != object) {
		struct suspect *suspect = add(finding, SUSPECT_CHAIN, object,
					      retained_by(finding, object));

		if (suspect) {
			suspect->element = heapgraph_type(heap, object);
			suspect->elements = (uint64_t)links + 1;
		}
		return look_later(finding, end);
	}
	for (uint32_t i = 0; !err && i < count; i++)
		if (retained_by(finding, children[i]) >= finding->least)
			err = look_later(finding, children[i]);
	return err;
}

/* --- at the top ------------------------------------------------------------ */

/** What threads that have not ended hold, each by itself. */
static struct error *look_at_threads(struct finding_suspects *finding)
{
	const struct analysis *analysis = finding->analysis;
	struct threadpile pile;
	struct error *err = threadpile_find(analysis, &pile);

	if (err || pile.threads < FEW_LEAST || pile.retained < finding->least ||
	    (pile.threads < PILE_MANY &&
	     (pile.retained < SINGLE_BYTES_LEAST ||
	      pile.retained < finding->result->memory / FEW_SHARE_LEAST)))
		return err;
	set_elements(finding, add(finding, SUSPECT_THREADS, GRAPH_NONE,
				  pile.retained),
		     &(struct of_type){
			     .type = analysis->heap->types[pile.sample],
			     .count = pile.threads, .sample = pile.sample });
	return NULL;
}

/** Of one type at the top, most are what threads hold. */
static bool is_of_threads(const struct finding_suspects *finding,
			  const struct of_type *pile)
{
	const struct pyh_type *element = pyh_types_get(
		finding->analysis->heap->pyh_types, pile->type);

	for (size_t i = 0; i < finding->num_candidates; i++)
		if (finding->candidates[i].pattern == SUSPECT_THREADS &&
		    finding->candidates[i].element == element &&
		    finding->candidates[i].retained > pile->retained / 2)
			return true;
	return false;
}

/**
 * How many objects of a type closures of libffi hold. No object refers to them
 * there, but one owns the closure: a callback, which is no leak.
 */
static struct error *count_in_closures(struct finding_suspects *finding,
				       struct opened *opened,
				       const struct pyh_type *type, uint32_t *ret)
{
	const struct analysis *analysis = finding->analysis;
	struct excesses excesses;
	struct error *err = excesses_find(opened, analysis, &excesses);

	*ret = 0;
	if (err)
		return err;
	for (size_t i = 0; i < excesses.count; i++) {
		const struct excess *excess = &excesses.list[i];

		*ret += pile_types_are_alike(heapgraph_type(analysis->heap,
							    excess->object),
					     type) &&
			excess->holders > 0 && excess_left(excess) == 0 &&
			pyh_holder_is_closure(&excess->holder);
	}
	excesses_deinit(&excesses);
	return NULL;
}

/**
 * Objects of one type that nobody holds together: scattered over others, or
 * held by native code.
 */
static struct error *look_at_top(struct finding_suspects *finding,
				 struct opened *opened)
{
	const struct analysis *analysis = finding->analysis;
	const struct node_set *unexplained = &analysis->roots.unexplained;
	struct pile pile = pile_under(&finding->piles, DOMINATOR_ROOT);
	const struct of_type *most = &pile.most;
	struct of_type native = { .type = most->type };
	const struct pyh_type *element;
	struct error *err = NULL;
	uint32_t count, in_closures = 0;
	const uint32_t *children = domtree_children(&analysis->tree,
						    DOMINATOR_ROOT, &count);

	if (most->retained < finding->least ||
	    !may_be_scattered(finding, most) || is_of_threads(finding, most))
		return NULL;
	element = pyh_types_get(analysis->heap->pyh_types, most->type);
	for (uint32_t i = 0; i < count; i++) {
		if (!node_set_has(unexplained, children[i]) ||
		    !pile_types_are_alike(heapgraph_type(analysis->heap,
							 children[i]), element))
			continue;
		if (native.count++ == 0)
			native.sample = children[i];
		native.retained += retained_by(finding, children[i]);
	}
	if (native.count <= most->count / 2 || most->count < SCATTERED_LEAST)
		return add_scattered(finding, DOMINATOR_ROOT, most);
	err = count_in_closures(finding, opened, element, &in_closures);
	if (!err && in_closures <= native.count / 2)
		set_elements(finding, add(finding, SUSPECT_NATIVE, GRAPH_NONE,
					  native.retained), &native);
	return err;
}

static void look_at_garbage(struct finding_suspects *finding)
{
	const struct collector *collector = &finding->analysis->collector;
	struct suspect *suspect;

	finding->result->garbage_bytes = collector->freed_bytes;
	finding->result->lost = collector->num_lost;
	finding->result->lost_bytes = collector->lost_bytes;
	if (collector->freed_bytes < finding->least)
		return;
	suspect = add(finding, SUSPECT_GARBAGE, GRAPH_NONE,
		      collector->freed_bytes);
	if (suspect)
		suspect->elements = collector->num_garbage;
}

static struct error *look_for_copies(struct finding_suspects *finding,
				     struct opened *opened)
{
	struct copies *copies = &finding->copies;
	struct suspect *suspect;
	struct error *err = copies_find(opened, finding->analysis,
					finding->least, copies);

	if (err || !copies->type)
		return err;
	suspect = add(finding, SUSPECT_COPIES, copies->container, copies->bytes);
	if (!suspect)
		return NULL;
	suspect->element = copies->type;
	suspect->elements = copies->count;
	suspect->sample = copies->sample;
	return NULL;
}

static struct error *count_unexplained(struct finding_suspects *finding)
{
	const struct analysis *analysis = finding->analysis;
	CLEANUP(node_set_deinit) struct node_set native = { 0 };
	struct suspects *result = finding->result;
	struct error *err = heaproots_native(analysis->heap, &analysis->roots,
					     &native);

	for (uint32_t i = 0; !err && i < analysis->heap->count; i++) {
		if (!node_set_has(&native, i))
			continue;
		result->unexplained++;
		if (analysis->dominators.parent[i] == DOMINATOR_ROOT)
			result->unexplained_bytes +=
				analysis->dominators.retained[i];
	}
	return err;
}

/* --- the result ------------------------------------------------------------ */

/**
 * Each is held against the memory that it is in: the largest share first. Of
 * objects, which are all in one memory, that is the largest.
 */
static int by_share(const void *a, const void *b)
{
	const struct suspect *x = a, *y = b;

	if (x->share != y->share)
		return x->share > y->share ? -1 : 1;
	if (x->retained != y->retained)
		return x->retained > y->retained ? -1 : 1;
	return x->object < y->object ? -1 : x->object > y->object;
}

/** True if one of those that were chosen keeps this one. */
static bool is_inside(const struct finding_suspects *finding,
		      const struct suspect *suspect)
{
	const struct dominators *dominators = &finding->analysis->dominators;
	const struct suspects *result = finding->result;

	// What keeps copies alive says nothing of there being so many.
	if (suspect->object == GRAPH_NONE || suspect->pattern == SUSPECT_COPIES)
		return false;
	for (size_t i = 0; i < result->count; i++) {
		uint32_t at = suspect->object;

		if (result->list[i].object == GRAPH_NONE ||
		    result->list[i].pattern == SUSPECT_COPIES ||
		    result->list[i].pattern == SUSPECT_CHAIN)
			continue;
		for (int steps = 0; steps < 1000 && at < DOMINATOR_ROOT;
		     steps++) {
			if (at == result->list[i].object)
				return true;
			at = dominators->parent[at];
		}
	}
	return false;
}

/** What memory ran out, comes first. */
static void put_first(struct finding_suspects *finding, int device)
{
	struct suspect *list = finding->candidates;
	size_t first = 0;

	for (size_t i = 0; device >= 0 && i < finding->num_candidates; i++) {
		struct suspect suspect = list[i];

		if (suspect.in_tensors == 0 || suspect.device == 0 ||
		    suspect.index != device)
			continue;
		memmove(&list[first + 1], &list[first],
			(i - first) * sizeof(*list));
		list[first++] = suspect;
	}
}

/** @param device  whose memory ran out; -1: none's */
static void choose(struct finding_suspects *finding, int device)
{
	struct suspects *result = finding->result;

	for (size_t i = 0; i < finding->num_candidates; i++) {
		struct suspect *suspect = &finding->candidates[i];

		if (suspect->in_tensors == 0)
			suspect->share = result->memory ?
				(double)suspect->retained /
					(double)result->memory : 0;
	}

	if (finding->num_candidates > 0)
		qsort(finding->candidates, finding->num_candidates,
		      sizeof(finding->candidates[0]), by_share);
	put_first(finding, device);
	for (size_t i = 0; i < finding->num_candidates &&
			   result->count < SUSPECTS_MAX; i++) {
		const struct suspect *suspect = &finding->candidates[i];

		if (suspect->pattern == SUSPECT_SINGLE &&
		    suspect->in_tensors == 0 &&
		    (suspect->retained < SINGLE_BYTES_LEAST ||
		     suspect->retained < result->memory / SINGLE_SHARE_LEAST))
			continue;
		if (!is_inside(finding, suspect))
			result->list[result->count++] = *suspect;
	}
}

/** The memory that the process took, or, where that is not known, its heap. */
static void set_memory(struct opened *opened, const struct analysis *analysis,
		       struct suspects *result)
{
	uint64_t rss;

	result->memory = analysis->heap->footprint;
	if (core_notes_number(&opened_image(opened)->notes, FORMAT_FACT_RSS,
			      &rss) && rss >= result->memory) {
		result->memory = rss;
		result->memory_is_rss = true;
	}
}

/** Tensors, where they pile up. */
static struct error *look_for_piles(struct finding_suspects *finding,
				    struct opened *opened)
{
	struct suspect *room = &finding->candidates[finding->num_candidates];
	size_t count;
	struct error *err = tensorpiles_find(opened, finding->analysis,
					     finding->bounded,
					     finding->result->memory, room,
					     &count);

	if (!err)
		finding->num_candidates += count;
	return err;
}

/** The device whose memory ran out, if an exception says so; else -1. */
static struct error *find_failed(struct opened *opened,
				 const struct analysis *analysis, int *ret)
{
	struct thread_stacks stacks = { 0 };
	struct thread_names *names = NULL;
	struct failure failure = { 0 };
	struct error *err;

	*ret = -1;
	if (opened_image(opened)->notes.num_threads == 0)
		return NULL;
	err = thread_stacks_gather(opened_image(opened),
				   opened_runtime_if_found(opened), &stacks);
	if (!err)
		err = thread_names_open(opened, &names);
	if (!err)
		err = failure_find(opened, names, &stacks, analysis->heap,
				   &failure);
	if (!err && failure.how != FAILURE_NONE)
		*ret = failure.oom.device;
	thread_names_close(names);
	thread_stacks_deinit(&stacks);
	return err;
}

static struct error *search(struct finding_suspects *finding,
			    struct opened *opened)
{
	const struct analysis *analysis = finding->analysis;
	uint32_t count;
	const uint32_t *children = domtree_children(&analysis->tree,
						    DOMINATOR_ROOT, &count);
	struct error *err = look_for_copies(finding, opened);

	if (!err)
		err = look_at_threads(finding);
	if (!err)
		err = look_at_top(finding, opened);
	look_at_garbage(finding);
	if (!err)
		err = count_unexplained(finding);
	for (uint32_t i = 0; !err && i < count; i++)
		if (retained_by(finding, children[i]) >=
		    finding->least)
			err = look_later(finding, children[i]);
	while (!err && finding->num_pending > 0 && finding->visits < VISITS_MAX)
		err = look_at(finding,
			      finding->pending[--finding->num_pending]);
	return err ? err : look_for_piles(finding, opened);
}

static struct error *find(struct opened *opened,
			  const struct analysis *analysis, bool values,
			  struct suspects *ret)
{
	struct finding_suspects *finding = calloc(1, sizeof(*finding));
	CLEANUP(paths_release) struct paths *paths = NULL;
	struct error *err = NULL;
	int device = -1;

	*ret = (struct suspects){ 0 };
	if (!finding)
		return error_no_memory();
	set_memory(opened, analysis, ret);
	finding->opened = opened;
	finding->analysis = analysis;
	finding->result = ret;
	finding->least = suspects_least(ret);
	err = piles_init(&finding->piles, analysis, finding->least);
	if (!err)
		err = bounded_open(opened, analysis, &finding->bounded);
	if (!err)
		err = search(finding, opened);
	if (!err && finding->num_candidates && analysis->held)
		err = find_failed(opened, analysis, &device);
	if (!err) {
		choose(finding, device);
		err = paths_open(opened, analysis, values, &paths);
	}
	for (size_t i = 0; !err && i < ret->count; i++) {
		err = ret->list[i].pattern == SUSPECT_COPIES ?
			      suspect_put_copies(&finding->copies, analysis,
						 paths, ret, &ret->list[i]) :
			      suspect_put_words(opened, analysis, paths, ret,
						&ret->list[i]);
	}
	piles_deinit(&finding->piles);
	free(finding->pending);
	bounded_close(finding->bounded);
	free(finding);
	return err;
}

struct error *suspects_find(struct opened *opened,
			    const struct analysis *analysis, bool values,
			    struct suspects *ret)
{
	if (!analysis->kept || values)
		return find(opened, analysis, values, ret);
	*ret = analysis->kept->suspects;
	return NULL;
}
