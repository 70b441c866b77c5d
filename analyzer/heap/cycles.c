/*
 * Cycles as rows; see cycles.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/cycles.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/kept/kept.h"
#include "analyzer/show/render.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum { TYPES_NAMED = 4 };	/* the others of a component are counted */

/** What leads to one of its objects leads to all of them. */
static bool is_lost(const struct analysis *analysis, const struct cycle *cycle)
{
	const struct components *components = &analysis->components;
	uint32_t object = components->members[components->at[cycle->component]];

	return !cycle->garbage && analysis->have & ANALYSIS_DOMINATORS &&
	       analysis->dominators.parent[object] == DOMINATOR_UNREACHED &&
	       collector_is_lost(analysis->heap, &analysis->collector, object);
}

struct cycle cycles_get(const struct analysis *analysis,
			struct finalizers *finalizers, uint32_t component)
{
	const struct components *components = &analysis->components;
	const struct heapgraph *heap = analysis->heap;
	uint32_t first = components->at[component];
	uint32_t end = components->at[component + 1];
	const struct kept *kept = analysis->kept;
	struct cycle cycle = { .component = component, .count = 1,
			       .objects = end - first };

	if (kept) {
		cycle.size = kept->cycle_sizes[component];
		cycle.finalizers = kept->cycle_finalizers[component] >> 1;
		cycle.garbage = kept->cycle_finalizers[component] & 1;
		cycle.lost = is_lost(analysis, &cycle);
		return cycle;
	}
	for (uint32_t i = first; i < end; i++) {
		uint32_t object = components->members[i];

		cycle.size += heapgraph_size(heap, object);
		cycle.finalizers += finalizers_pending(finalizers, object);
		// Of a component all that are tracked are, or none.
		cycle.garbage |= node_set_has(&analysis->collector.garbage,
					      object);
	}
	cycle.lost = is_lost(analysis, &cycle);
	return cycle;
}

/** Of all the numbers that are near, one is as likely as another. */
static uint64_t scatter(uint64_t number)
{
	number = (number ^ number >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	number = (number ^ number >> 27) * UINT64_C(0x94D049BB133111EB);
	return number ^ number >> 31;
}

uint64_t cycles_shape(const struct analysis *analysis,
		      const struct cycle *cycle)
{
	const struct components *components = &analysis->components;
	uint64_t shape = cycle->garbage + 2U * cycle->lost;

	if (analysis->kept)
		return analysis->kept->cycle_shapes[cycle->component];
	// A sum: whatever the order.
	for (uint32_t i = components->at[cycle->component];
	     i < components->at[cycle->component + 1]; i++)
		shape += scatter((uint64_t)analysis->heap->types[
					 components->members[i]] + 1);
	return shape ? shape : 1;
}

/* --- types ----------------------------------------------------------------- */

struct share {
	const struct pyh_type *type;
	uint32_t count;
};

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/** The most frequent first, and of those by name. */
static int by_count(const void *a, const void *b)
{
	const struct share *x = a, *y = b;
	int order;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	order = strcmp(x->type->name, y->type->name);
	if (order)
		return order;
	return x->type->address < y->type->address ? -1 :
	       x->type->address > y->type->address;
}

/** How often each of count ids, which this puts in order, occurs. */
static size_t tally_few(const struct heapgraph *heap, uint32_t *ids,
			uint32_t count, struct share *shares)
{
	size_t num = 0;

	qsort(ids, count, sizeof(*ids), by_number);
	for (uint32_t i = 0; i < count; i++) {
		if (i == 0 || ids[i] != ids[i - 1])
			shares[num++].type = pyh_types_get(heap->pyh_types,
							   ids[i]);
		shares[num - 1].count++;
	}
	return num;
}

/** The types of count objects and how many of each, by counting all types. */
static size_t tally_many(const struct heapgraph *heap, const uint32_t *objects,
			 uint32_t count, uint32_t num_types,
			 struct share *shares)
{
	size_t num = 0;

	for (uint32_t i = 0; i < count; i++)
		shares[heap->types[objects[i]]].count++;
	for (uint32_t i = 0; i < num_types; i++) {
		if (shares[i].count == 0)
			continue;
		shares[num] = (struct share){
			pyh_types_get(heap->pyh_types, i), shares[i].count };
		num++;
	}
	return num;
}

__attribute__((format(printf, 2, 3)))
static void append(char text[CYCLES_TYPES_MAX], const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text + used, CYCLES_TYPES_MAX - used, format, args);
	va_end(args);
}

struct error *cycles_types(const struct analysis *analysis, uint32_t component,
			   char text[CYCLES_TYPES_MAX])
{
	const struct components *components = &analysis->components;
	uint32_t first = components->at[component];
	uint32_t count = components->at[component + 1] - first;
	uint32_t num_types = pyh_types_count(analysis->heap->pyh_types);
	bool many = count > num_types;
	CLEANUP(free_pointer) uint32_t *ids = calloc(many ? 1 : count,
						     sizeof(*ids));
	CLEANUP(free_pointer) struct share *shares =
		calloc(many ? num_types : count, sizeof(*shares));
	const uint32_t *members = components->members + first;
	size_t num;

	if (!ids || !shares)
		return error_no_memory();
	for (uint32_t i = 0; !many && i < count; i++)
		ids[i] = analysis->heap->types[members[i]];
	num = many ? tally_many(analysis->heap, members, count, num_types,
				shares) :
		     tally_few(analysis->heap, ids, count, shares);
	qsort(shares, num, sizeof(*shares), by_count);
	text[0] = '\0';
	for (size_t i = 0; i < num && i < TYPES_NAMED; i++)
		append(text, "%s%s %" PRIu32, i ? ", " : "",
		       shares[i].type->name, shares[i].count);
	if (num > TYPES_NAMED)
		append(text, ", %zu more type%s", num - TYPES_NAMED,
		       num - TYPES_NAMED == 1 ? "" : "s");
	return NULL;
}

/* --- what is lost ------------------------------------------------------------ */

void cycles_lost_line(struct render *render, const struct collector *collector)
{
	char number[UNITS_TEXT_MAX], size[UNITS_TEXT_MAX];

	if (collector->num_lost == 0)
		return;
	render_line(render, "%s object%s, %s that nothing known leads to:",
		    units_count(collector->num_lost, number),
		    collector->num_lost == 1 ? "" : "s",
		    units_size(collector->lost_bytes, size));
	render_line(render, "  garbage that the collector cannot see, or a "
		    "cycle through native code");
}
