/*
 * Leak suspects: patterns and sentences; see suspect_words.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/suspect_words.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/pile.h"
#include "analyzer/opened.h"
#include "cudaheap/torchtensor.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "pyheap/references/pygc.h"
#include "pyheap/values/pydict.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LRU_CACHE "functools._lru_cache_wrapper"

enum { ANCESTORS = 4 };		/* looked at for who an object belongs to */

/** What words are put together from. */
struct wording {
	const struct analysis *analysis;
	const struct pyh_runtime *runtime;
	struct memory_reader memory;
	const struct suspects *all;
	struct suspect *suspect;
	const struct pyh_type *type;	/* of the object; NULL: there is none */
	const struct path *path;
	const struct pyh_type *mostly;	/* the type that takes the most of it */
	uint64_t mostly_bytes;
	uint64_t tracebacks;		/* that live by it */
	/* where what piles up is not held by the object itself: the container
	   between them that has so many, and of what */
	bool is_indirect;
	char sum[PATH_TEXT_MAX];	/* where a sum is; "": it is the object */
	uint32_t over;		/* GRAPH_NONE: none was found */
	const struct pyh_type *over_element;
};

const char *suspect_pattern_name(enum suspect_pattern pattern)
{
	static const char *const names[] = {
		[SUSPECT_CONTAINER] = "growing container",
		[SUSPECT_LRU_CACHE] = "lru_cache",
		[SUSPECT_QUEUE] = "unbounded queue",
		[SUSPECT_CALLBACKS] = "callbacks",
		[SUSPECT_EXCEPTIONS] = "exceptions",
		[SUSPECT_THREADS] = "threads",
		[SUSPECT_TASKS] = "tasks",
		[SUSPECT_LAST_ERROR] = "last error",
		[SUSPECT_CLOSURE] = "closure",
		[SUSPECT_CHAIN] = "chain",
		[SUSPECT_GARBAGE] = "garbage",
		[SUSPECT_NATIVE] = "native references",
		[SUSPECT_SCATTERED] = "many objects",
		[SUSPECT_SINGLE] = "large object",
		[SUSPECT_COPIES] = "copies",
		[SUSPECT_TENSORS] = "tensors",
		[SUSPECT_GRAPHS] = "autograd graphs",
		[SUSPECT_SUM] = "running sum",
	};

	return names[pattern];
}

const char *suspect_memory(const struct suspect *suspect,
			   char text[SUSPECT_MEMORY_MAX])
{
	const char *kind = torch_device_name(suspect->device);

	if (!kind)
		(void)snprintf(text, SUSPECT_MEMORY_MAX, "device %u:%d",
			       suspect->device, suspect->index);
	else if (suspect->device == 0)
		(void)snprintf(text, SUSPECT_MEMORY_MAX, "%s", kind);
	else
		(void)snprintf(text, SUSPECT_MEMORY_MAX, "%s:%d", kind,
			       suspect->index < 0 ? 0 : suspect->index);
	return text;
}

static void append(char *text, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void append(char *text, size_t size, const char *format, ...)
{
	size_t length = strlen(text);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text + length, size - length, format, args);
	va_end(args);
}

/* --- who has so many ------------------------------------------------------- */

/** References of an object to others of a type or alike, NULL: of any. */
static uint64_t count_out(const struct heapgraph *heap, uint32_t object,
			  const struct pyh_type *type)
{
	const struct graph *graph = &heap->graph;
	uint64_t count = 0;

	for (uint32_t i = graph->out_at[object]; i < graph->out_at[object + 1];
	     i++)
		count += graph_in(graph->out[i], GRAPH_MASK_STRONG) &&
			 (!type || pile_types_are_alike(
				heapgraph_type(heap, graph_end(graph->out[i])),
				type));
	return count;
}

/**
 * What lives by an object need not be in it: where two lists of callbacks have
 * the same namespaces behind them, these live by whoever has the two lists.
 */
static struct error *find_between(struct wording *wording, struct paths *paths)
{
	const struct heapgraph *heap = wording->analysis->heap;
	const struct suspect *suspect = wording->suspect;
	CLEANUP(path_deinit) struct path way = { 0 };
	uint64_t most = suspect->elements / 2;
	struct error *err;
	uint32_t at = 0;

	wording->over = GRAPH_NONE;
	if (suspect->pattern != SUSPECT_CONTAINER ||
	    suspect->sample >= heap->count ||
	    count_out(heap, suspect->object, suspect->element) > most)
		return NULL;
	wording->is_indirect = true;
	err = paths_find(paths, suspect->sample, &way);
	if (err)
		return err;
	while (at < way.count && way.objects[at] != suspect->object)
		at++;
	for (at++; at + 1 < way.count; at++) {
		uint64_t count = count_out(heap, way.objects[at], NULL);

		if (count < most)
			continue;
		most = count;
		wording->over = way.objects[at];
		wording->over_element = heapgraph_type(heap,
						       way.objects[at + 1]);
	}
	return NULL;
}

/* --- which pattern --------------------------------------------------------- */

static bool is_named(const struct pyh_type *type, const char *const *names,
		     size_t count)
{
	for (size_t i = 0; type && i < count; i++)
		if (strcmp(type->name, names[i]) == 0)
			return true;
	return false;
}

/** One of the objects that a suspect's lives by has one of these types. */
static bool lives_by(const struct wording *wording, const char *const *names,
		     size_t count)
{
	const struct analysis *analysis = wording->analysis;
	uint32_t at = wording->suspect->object;

	for (int i = 0; i <= ANCESTORS && at < analysis->heap->count; i++) {
		if (is_named(heapgraph_type(analysis->heap, at), names, count))
			return true;
		at = analysis->dominators.parent[at];
	}
	return false;
}

static bool is_queue(const struct wording *wording)
{
	static const char *const names[] = {
		"queue.Queue", "queue.LifoQueue", "queue.PriorityQueue",
		"_queue.SimpleQueue", "asyncio.queues.Queue",
		"asyncio.queues.PriorityQueue", "asyncio.queues.LifoQueue",
		"multiprocessing.queues.Queue",
	};

	return lives_by(wording, names, COUNT(names));
}

static bool is_cache(const struct wording *wording)
{
	static const char *const names[] = { LRU_CACHE };

	return lives_by(wording, names, COUNT(names));
}

static bool holds_callbacks(const struct pyh_type *element)
{
	static const char *const names[] = {
		"function", "method", "functools.partial",
		"builtin_function_or_method",
	};

	return is_named(element, names, COUNT(names)) ||
	       (element->module && strncmp(element->module, "logging", 7) == 0 &&
		strstr(element->name, "Handler"));
}

static bool holds_tasks(const struct pyh_type *element)
{
	static const char *const names[] = {
		"_asyncio.Task", "asyncio.tasks.Task", "_asyncio.Future",
		"asyncio.futures.Future", "coroutine", "concurrent.futures._base.Future",
	};

	return is_named(element, names, COUNT(names));
}

static const char frames_keep[] = "frames keep all their variables, and those "
				  "that called them";
static const char exceptions_keep[] = "exceptions keep their tracebacks, these "
				      "frames, and frames all their variables";

static bool holds_exceptions(const struct pyh_type *element)
{
	static const char *const names[] = { "traceback", "frame" };

	return element->flags & PYH_TPFLAGS_BASE_EXC_SUBCLASS ||
	       is_named(element, names, COUNT(names));
}

static bool holds_threads(const struct pyh_type *element)
{
	static const char *const names[] = { "threading.Thread",
					     "threading.Timer" };

	return is_named(element, names, COUNT(names));
}

/** The last reference of the path is a cell's: a variable of a closure. */
static bool is_in_closure(const struct path *path)
{
	return path->count > 1 &&
	       strcmp(path->edges[path->count - 2].type->name, "cell") == 0;
}

static enum suspect_pattern pattern_of(const struct wording *wording)
{
	const struct suspect *suspect = wording->suspect;
	const struct pyh_type *element = wording->over_element ?
			wording->over_element : suspect->element;

	if (suspect->in_tensors)
		return suspect->pattern;
	if (strstr(suspect->path, "sys.last_"))
		return SUSPECT_LAST_ERROR;
	if (suspect->pattern != SUSPECT_CONTAINER &&
	    suspect->pattern != SUSPECT_SCATTERED)
		return suspect->pattern;
	if (wording->type && is_cache(wording))
		return SUSPECT_LRU_CACHE;
	if (wording->type && is_queue(wording))
		return SUSPECT_QUEUE;
	// Also such as lie in a tuple or a record of what failed.
	if (holds_exceptions(element) ||
	    (wording->tracebacks > 0 &&
	     wording->tracebacks >= suspect->elements / 2))
		return SUSPECT_EXCEPTIONS;
	if (holds_threads(element))
		return SUSPECT_THREADS;
	if (holds_tasks(element))
		return SUSPECT_TASKS;
	if (holds_callbacks(element))
		return SUSPECT_CALLBACKS;
	return is_in_closure(wording->path) ? SUSPECT_CLOSURE :
					      suspect->pattern;
}

/* --- what it consists of --------------------------------------------------- */

struct composition {
	const struct heapgraph *heap;
	uint64_t *bytes, *counts;	/* by type */
};

static void weigh(void *context, uint32_t object)
{
	struct composition *composition = context;
	const struct heapgraph *heap = composition->heap;

	composition->bytes[heap->types[object]] += heapgraph_footprint(heap,
								       object);
	composition->counts[heap->types[object]]++;
}

static struct error *compose(struct wording *wording)
{
	const struct heapgraph *heap = wording->analysis->heap;
	uint32_t types = pyh_types_count(heap->pyh_types);
	CLEANUP(free_pointer) uint64_t *bytes = calloc((size_t)types + 1,
						       sizeof(*bytes));
	CLEANUP(free_pointer) uint64_t *counts = calloc((size_t)types + 1,
							sizeof(*counts));
	struct composition composition = { heap, bytes, counts };
	struct error *err;

	if (!bytes || !counts)
		return error_no_memory();
	err = domtree_each(&wording->analysis->tree, wording->suspect->object,
			   weigh, &composition);
	for (uint32_t i = 0; !err && i < types; i++) {
		const struct pyh_type *type = pyh_types_get(heap->pyh_types, i);

		if (strcmp(type->name, "traceback") == 0)
			wording->tracebacks += counts[i];
		if (bytes[i] > wording->mostly_bytes) {
			wording->mostly_bytes = bytes[i];
			wording->mostly = type;
		}
	}
	return err;
}

/* --- evidence -------------------------------------------------------------- */

/** Entries of a dict, and of its table with the deleted ones; false: none is. */
static bool count_entries(struct wording *wording, uint64_t *ret_used,
			  uint64_t *ret_made)
{
	uint64_t address = heapgraph_address(wording->analysis->heap,
					     wording->suspect->object);
	struct pyh_dict_walk walk;

	if ((wording->type->kind != PYH_KIND_DICT &&
	     wording->type->kind != PYH_KIND_ODICT) ||
	    pyh_dict_walk(wording->runtime, &wording->memory, address, &walk) !=
		    PYH_FOUND ||
	    !pyh_field(wording->runtime, &wording->memory, address,
		       PYH_DICT_MA_USED, ret_used))
		return false;
	*ret_made = walk.keys.nentries;
	return *ret_used > 0 && *ret_used <= *ret_made;
}

/** True of a dict from which nothing was deleted since its table was made. */
static bool only_grew(struct wording *wording)
{
	uint64_t used, made;

	return count_entries(wording, &used, &made) && used == made;
}

/** The maxlen of a deque; false: it has none. */
static bool bound_of(struct wording *wording, uint64_t *ret)
{
	uint64_t address = heapgraph_address(wording->analysis->heap,
					     wording->suspect->object);

	// Negative: there is none.
	return wording->type->kind == PYH_KIND_DEQUE &&
	       pyh_field(wording->runtime, &wording->memory, address,
			 PYH_DEQUE_MAXLEN, ret) &&
	       *ret > 0 && *ret >> 63 == 0;
}

/** Whose it is: by the root, and how far away that is. */
static const char *place_of(const struct path *path)
{
	const struct pyh_root *root = path->root;

	if (!root)
		return "";
	if (root->kind == PYH_ROOT_LOCAL && path->count == 1)
		return "local ";
	// The dict of modules, a module, its dict, the object.
	return root->kind == PYH_ROOT_INTERPRETER && path->count == 4 ?
		       "global " : "";
}

static void put_elements(struct wording *wording)
{
	struct suspect *suspect = wording->suspect;
	char number[UNITS_TEXT_MAX], each[UNITS_TEXT_MAX];

	append(suspect->evidence, sizeof(suspect->evidence), "%s %s",
	       units_count(suspect->elements, number), suspect->element->name);
	if (suspect->beside)
		append(suspect->evidence, sizeof(suspect->evidence),
		       " and %s %s", units_count(suspect->num_beside, number),
		       suspect->beside->name);
	append(suspect->evidence, sizeof(suspect->evidence), ", %s %s",
	       units_size(suspect->retained / suspect->elements, each),
	       suspect->beside ? "an entry" : "each");
	if (wording->mostly && !suspect->shared &&
	    wording->mostly_bytes > suspect->retained / 4 &&
	    wording->mostly != suspect->element)
		append(suspect->evidence, sizeof(suspect->evidence),
		       "; %.0f %% of it is %s",
		       100.0 * (double)wording->mostly_bytes /
			       (double)suspect->retained,
		       wording->mostly->name);
}

/** Over which container what piles up is held. */
static void put_between(struct wording *wording)
{
	const struct heapgraph *heap = wording->analysis->heap;
	struct suspect *suspect = wording->suspect;
	char number[UNITS_TEXT_MAX];

	if (wording->over == GRAPH_NONE)
		append(suspect->evidence, sizeof(suspect->evidence),
		       "; held over several objects in it");
	else
		append(suspect->evidence, sizeof(suspect->evidence),
		       "; held over the %s of %s %s in it",
		       heapgraph_type(heap, wording->over)->name,
		       units_count(count_out(heap, wording->over,
					     wording->over_element), number),
		       wording->over_element->name);
}

/** Of one large object: what it is so large for. */
static void put_single(struct wording *wording)
{
	struct suspect *suspect = wording->suspect;
	char left[UNITS_TEXT_MAX], all[UNITS_TEXT_MAX];
	uint64_t used, made;

	if (count_entries(wording, &used, &made) && used < made / 2)
		append(suspect->evidence, sizeof(suspect->evidence),
		       "%s entries are left of %s: a dict gives no memory back "
		       "when entries go; a copy of it would take less",
		       units_count(used, left), units_count(made, all));
	else
		append(suspect->evidence, sizeof(suspect->evidence),
		       "one object");
}

/** Why the collector has not been there: its own state says so, if any does. */
static void put_garbage(struct wording *wording)
{
	const struct collector *collector = &wording->analysis->collector;
	char *evidence = wording->suspect->evidence;
	size_t size = sizeof(wording->suspect->evidence);
	char number[UNITS_TEXT_MAX];
	struct pyh_gc gc;

	pyh_gc_read(wording->runtime, &wording->memory, 0, /* lists= */ false,
		    &gc);
	append(evidence, size, "cycles that nothing refers to: gc.collect() "
	       "would free them; %s",
	       gc.enabled == 0 ? "the collector is off" :
	       pyh_gc_never_runs(&gc) ? "its threshold is 0, so that it never "
					"runs by itself" :
					"are the collector's thresholds high?");
	if (collector->num_by_words > 0)
		append(evidence, size, "; %s of them by words of unknown "
		       "structures, as of Cython's classes",
		       units_count(collector->num_by_words, number));
}

static void put_container(struct wording *wording)
{
	struct suspect *suspect = wording->suspect;
	char *evidence = suspect->evidence;
	size_t size = sizeof(suspect->evidence);
	char number[UNITS_TEXT_MAX];
	uint64_t bound;

	if (wording->is_indirect)
		return;
	append(evidence, size, "; growing %s%s", place_of(wording->path),
	       wording->type->name);
	if (bound_of(wording, &bound))
		append(evidence, size, " with a maxlen of %s",
		       units_count(bound, number));
	if (suspect->class_names)
		append(evidence, size, ": classes of %s name%s, made by code "
		       "that runs again and again",
		       units_count(suspect->class_names, number),
		       suspect->class_names == 1 ? "" : "s");
	else
		append(evidence, size, ": values of %s type%s",
		       suspect->beside ? "few" : "one",
		       suspect->beside ? "s" : "");
	if (only_grew(wording))
		append(evidence, size, ", no entry deleted since its last resize");
}

static void put_evidence(struct wording *wording)
{
	struct suspect *suspect = wording->suspect;
	char *evidence = suspect->evidence;
	size_t size = sizeof(suspect->evidence);

	if (suspect->element && suspect->elements)
		put_elements(wording);
	if (wording->is_indirect)
		put_between(wording);
	switch (suspect->pattern) {
	case SUSPECT_CONTAINER:
		put_container(wording);
		break;
	case SUSPECT_LRU_CACHE:
		append(evidence, size, "; functools.lru_cache keeps arguments "
		       "and results of each call%s",
		       only_grew(wording) ? ", none was dropped so far" : "");
		break;
	case SUSPECT_QUEUE:
		append(evidence, size, "; a queue that is filled faster than "
		       "it is emptied");
		break;
	case SUSPECT_CALLBACKS:
		append(evidence, size, "; callbacks or handlers that are added "
		       "and not removed");
		break;
	case SUSPECT_EXCEPTIONS:
		// A function that traces calls keeps frames without any.
		append(evidence, size, "; %s",
		       wording->tracebacks == 0 &&
				       strcmp(suspect->element->name, "frame") == 0 ?
			       frames_keep : exceptions_keep);
		break;
	case SUSPECT_THREADS:
		append(evidence, size, suspect->object == GRAPH_NONE ?
		       "; each held by a thread of its own that has not ended" :
		       "; threads that nobody joined");
		break;
	case SUSPECT_TASKS:
		append(evidence, size, "; tasks or coroutines that nobody "
		       "awaits");
		break;
	case SUSPECT_LAST_ERROR:
		append(evidence, size, "%sthe interpreter keeps the last "
		       "unhandled error with its frames and their variables",
		       evidence[0] ? "; " : "");
		break;
	case SUSPECT_CLOSURE:
		append(evidence, size, "; a variable of a closure that outlives "
		       "its call");
		break;
	case SUSPECT_CHAIN:
		append(evidence, size, "; each holds the next one");
		break;
	case SUSPECT_GARBAGE:
		put_garbage(wording);
		break;
	case SUSPECT_NATIVE:
		append(evidence, size, "; counts that no object accounts for: a "
		       "C extension that does not release what it holds");
		break;
	case SUSPECT_SCATTERED:
		append(evidence, size, suspect->shared ?
		       "; held by other objects, too" :
		       "; held by more than one object each, or by many");
		break;
	case SUSPECT_SINGLE:
		put_single(wording);
		break;
	case SUSPECT_TENSORS:
	case SUSPECT_GRAPHS:
	case SUSPECT_SUM:	/* in put_pile() */
	case SUSPECT_COPIES:
	case NUM_SUSPECT_PATTERNS:
		break;		/* in suspect_put_copies() */
	}
}

/* --- the sentence ---------------------------------------------------------- */

static void put_share(const struct suspects *all, struct suspect *suspect)
{
	append(suspect->sentence, sizeof(suspect->sentence), ", %.1f %% of %s",
	       100.0 * suspect->share,
	       all->memory_is_rss ? "RSS" : "all objects");
}

/** A sum, of so many results, each with a graph that keeps so much. */
static void put_sum(const struct wording *wording, const char *number,
		    const char *each)
{
	struct suspect *suspect = wording->suspect;

	if (*wording->sum)
		append(suspect->evidence, sizeof(suspect->evidence),
		       "the sum is %.200s; ", wording->sum);
	append(suspect->evidence, sizeof(suspect->evidence),
	       "its grad_fn is a chain of %s links, each with a graph of its "
	       "own, %s each, as of total += loss; if backward() is not to go "
	       "through all of these: .item() or .detach() keeps none", number,
	       each);
}

/** One exception, or several in a container, whose frames have tensors. */
static void put_exceptions(struct suspect *suspect, const char *number,
			   const char *each)
{
	if (suspect->sample != suspect->object)
		append(suspect->evidence, sizeof(suspect->evidence),
		       "%s %s, %s each; ", number, suspect->element->name, each);
	append(suspect->evidence, sizeof(suspect->evidence), "%s",
	       exceptions_keep);
}

/** What of it cannot be seen: a view of few items keeps the whole storage. */
static void put_views(struct suspect *suspect)
{
	char shown[UNITS_TEXT_MAX], all[UNITS_TEXT_MAX];

	if (suspect->shown >= suspect->in_tensors / 2)
		return;
	append(suspect->evidence, sizeof(suspect->evidence),
	       "; %s: %s of the %s can be seen, .clone() keeps no more than "
	       "that", suspect->tensors == 1 ? "a view of a larger storage" :
	       "views of larger storages", units_size(suspect->shown, shown),
	       units_size(suspect->in_tensors, all));
}

/** Tensors in a container that grows; a deque may have a bound, far off. */
static void put_growth(struct wording *wording, const char *each)
{
	struct suspect *suspect = wording->suspect;
	const char *place = place_of(wording->path);
	char number[UNITS_TEXT_MAX], full[UNITS_TEXT_MAX];
	uint64_t bound, bytes;

	append(suspect->evidence, sizeof(suspect->evidence), "%s %s, %s each; ",
	       units_count(suspect->elements, number), suspect->element->name,
	       each);
	if (!bound_of(wording, &bound) ||
	    __builtin_mul_overflow(suspect->in_tensors / suspect->elements,
				   bound, &bytes))
		// That few of them will be more is not known.
		append(suspect->evidence, sizeof(suspect->evidence),
		       suspect->elements < PILE_MANY ?
			       "few, but large, in a %s%s" :
			       "growing %s%s of tensors",
		       place, wording->type->name);
	else
		append(suspect->evidence, sizeof(suspect->evidence),
		       "%s%s of tensors with a maxlen of %s: it would have %s",
		       place, wording->type->name, units_count(bound, number),
		       units_size(bytes, full));
}

/** Results that each have a graph, or several of which have one. */
static void put_graphs(struct suspect *suspect)
{
	char number[UNITS_TEXT_MAX], each[UNITS_TEXT_MAX];

	append(suspect->evidence, sizeof(suspect->evidence),
	       "%s autograd graphs, %s each; of results %s: %s",
	       units_count(suspect->graphs, number),
	       units_size(suspect->in_tensors / suspect->graphs, each),
	       suspect->of_scalars ? "of one item, as losses are" :
				     "kept with their grad_fn",
	       suspect->of_scalars ? ".item() or .detach() keeps none" :
				     ".detach() keeps none");
}

/** A large tensor, and nothing else. */
static void put_stray(struct wording *wording)
{
	append(wording->suspect->evidence, sizeof(wording->suspect->evidence),
	       "one tensor, of no module and no optimizer");
	put_views(wording->suspect);
}

/** Tensors that pile up: in one sentence, and what it is by all appearance. */
static void put_pile(struct wording *wording)
{
	struct suspect *suspect = wording->suspect;
	char number[UNITS_TEXT_MAX], bytes[UNITS_TEXT_MAX];
	char tensors[UNITS_TEXT_MAX], each[UNITS_TEXT_MAX];
	char memory[SUSPECT_MEMORY_MAX];
	bool on_device = suspect->device != 0;

	append(suspect->sentence, sizeof(suspect->sentence), "%s",
	       wording->type->name);
	(void)units_count(suspect->elements, number);
	if (suspect->sample != suspect->object ||
	    suspect->pattern == SUSPECT_SUM)
		append(suspect->sentence, sizeof(suspect->sentence), "%s of %s",
		       suspect->pattern != SUSPECT_SUM ? "" :
		       *wording->sum ? " with a sum" : ", a sum", number);
	append(suspect->sentence, sizeof(suspect->sentence),
	       " keeps %s of %s alive in %s tensor%s, %.1f %% of %s",
	       units_size(suspect->in_tensors, bytes),
	       on_device ? suspect_memory(suspect, memory) : "data",
	       units_count(suspect->tensors, tensors),
	       suspect->tensors == 1 ? "" : "s", 100.0 * suspect->share,
	       on_device ? "all tensors there" :
	       wording->all->memory_is_rss ? "RSS" : "all objects");
	(void)units_size(suspect->in_tensors / suspect->elements, each);
	if (suspect->pattern == SUSPECT_TENSORS) {
		put_growth(wording, each);
		put_views(suspect);
	} else if (suspect->pattern == SUSPECT_SINGLE) {
		put_stray(wording);
	} else if (suspect->pattern == SUSPECT_SUM) {
		put_sum(wording, number, each);
	} else if (suspect->pattern == SUSPECT_EXCEPTIONS) {
		put_exceptions(suspect, number, each);
	} else {
		put_graphs(suspect);
	}
}

static void put_sentence(struct wording *wording)
{
	struct suspect *suspect = wording->suspect;
	char number[UNITS_TEXT_MAX], retained[UNITS_TEXT_MAX];

	uint64_t count = suspect->elements, made;

	// Keys and values of a dict may be of the same type.
	if (wording->type && !count_entries(wording, &count, &made))
		count = suspect->elements;
	(void)units_count(count, number);
	(void)units_size(suspect->retained, retained);
	if (suspect->pattern == SUSPECT_GARBAGE)
		append(suspect->sentence, sizeof(suspect->sentence),
		       "%s objects are garbage, with %s", number, retained);
	else if (suspect->object == GRAPH_NONE)
		append(suspect->sentence, sizeof(suspect->sentence),
		       "%s %s keep %s alive", number, suspect->element->name,
		       retained);
	else if (suspect->pattern == SUSPECT_SINGLE)
		append(suspect->sentence, sizeof(suspect->sentence),
		       "%s takes %s", wording->type->name, retained);
	else if (suspect->pattern == SUSPECT_CHAIN)
		append(suspect->sentence, sizeof(suspect->sentence),
		       "chain of %s %s keeps %s alive", number,
		       suspect->element->name, retained);
	else
		append(suspect->sentence, sizeof(suspect->sentence),
		       "%s of %s keeps %s alive%s", wording->type->name, number,
		       retained, suspect->shared ? ", with others" : "");
	put_share(wording->all, suspect);
}

/** Most of what piles up is held from outside, each by a root like the sample's. */
static bool is_by_roots(const struct analysis *analysis,
			const struct suspect *suspect)
{
	const struct heaproots *roots = &analysis->roots;
	size_t count;
	const struct heap_root *like = heaproots_of(roots, suspect->sample,
						    &count);
	uint64_t alike = 0;

	if (count == 0 || !like->root.name)
		return false;
	for (size_t i = 0; i < roots->num_roots; i++) {
		const struct heap_root *root = &roots->roots[i];

		alike += root->root.kind == like->root.kind &&
			 root->root.name &&
			 strcmp(root->root.name, like->root.name) == 0 &&
			 pile_types_are_alike(heapgraph_type(analysis->heap,
							     root->object),
					      suspect->element);
	}
	return alike >= suspect->elements / 2;
}

/** "atexit callback[38211]" is one of "atexit callback[...]". */
static void drop_index(char *path)
{
	char *at = strrchr(path, '[');

	if (at && strspn(at + 1, "0123456789") == strlen(at) - 2)
		(void)snprintf(at, PATH_TEXT_MAX - (size_t)(at - path), "[...]");
}

/** A path in one of many threads is that in each of them, but for its number. */
static void drop_thread(char *path)
{
	char *at = NULL;

	for (char *next = strstr(path, " thread "); next;
	     next = strstr(next + 1, " thread "))
		at = next;
	if (at && strspn(at + 8, "0123456789") == strlen(at + 8))
		*at = '\0';
}

struct error *suspect_put_words(struct opened *opened,
				const struct analysis *analysis,
				struct paths *paths,
				const struct suspects *all,
				struct suspect *suspect)
{
	CLEANUP(path_deinit) struct path path = { 0 };
	struct wording wording = {
		.analysis = analysis,
		.runtime = opened_runtime_if_found(opened),
		.all = all, .suspect = suspect, .path = &path,
	};
	struct error *err = memory_reader_init(&wording.memory,
					       opened_image(opened)->memory);

	if (err)
		return err;
	if (suspect->pattern == SUSPECT_SUM &&
	    suspect->sample != suspect->object) {
		err = paths_find(paths, suspect->sample, &path);
		if (!err)
			paths_text(paths, &path, wording.sum);
		path_deinit(&path);
	}
	if (!err && suspect->object != GRAPH_NONE) {
		wording.type = heapgraph_type(analysis->heap, suspect->object);
		err = paths_find(paths, suspect->object, &path);
		if (!err)
			paths_text(paths, &path, suspect->path);
		if (!err)
			err = compose(&wording);
		if (!err)
			err = find_between(&wording, paths);
	} else if (suspect->pattern == SUSPECT_THREADS) {
		err = paths_find(paths, suspect->sample, &path);
		if (!err)
			paths_text(paths, &path, suspect->path);
		drop_thread(suspect->path);
	} else if (!err && suspect->pattern == SUSPECT_SCATTERED &&
		   is_by_roots(analysis, suspect)) {
		err = paths_find(paths, suspect->sample, &path);
		if (!err && path.count == 1)
			paths_text(paths, &path, suspect->path);
		drop_index(suspect->path);
	}
	if (!err) {
		suspect->pattern = pattern_of(&wording);
		if (suspect->in_tensors) {
			put_pile(&wording);
		} else {
			put_sentence(&wording);
			put_evidence(&wording);
		}
	}
	memory_reader_deinit(&wording.memory);
	return err;
}

struct error *suspect_put_copies(const struct copies *copies,
				 const struct analysis *analysis,
				 struct paths *paths,
				 const struct suspects *all,
				 struct suspect *suspect)
{
	char count[UNITS_TEXT_MAX], values[UNITS_TEXT_MAX];
	char bytes[UNITS_TEXT_MAX], each[UNITS_TEXT_MAX];
	double part;
	struct error *err = copies_place(copies, analysis, paths, suspect->path,
					 &part);

	if (err)
		return err;
	append(suspect->sentence, sizeof(suspect->sentence),
	       "%s %s are copies of %s value%s, %s",
	       units_count(copies->count, count), copies->type->name,
	       units_count(copies->values, values),
	       copies->values == 1 ? "" : "s",
	       units_size(copies->bytes, bytes));
	put_share(all, suspect);
	append(suspect->evidence, sizeof(suspect->evidence), "%s each; ",
	       units_size(copies->bytes / copies->count, each));
	if (part < 0.995)
		append(suspect->evidence, sizeof(suspect->evidence),
		       "%.0f %% of them are there, the others in other "
		       "attributes; ", 100 * part);
	append(suspect->evidence, sizeof(suspect->evidence), "%s",
	       copies->type->kind == PYH_KIND_STR ?
		       "one object of each value would do: sys.intern()" :
		       "one object of each value would do");
	return NULL;
}
