/*
 * What heapscan finds out about cycles and garbage, object by object, for tests
 * that compare it with what Python's own collector does.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: collectordump CORE
 *
 * Prints lines of addresses in hexadecimal without 0x: "tracked ADDRESS",
 * "garbage ADDRESS", "uncollectable ADDRESS", "freed ADDRESS", "frozen ADDRESS", and for each
 * component "component ADDRESS…".
 */
#include <inttypes.h>
#include <stdio.h>

#include "analyzer/analysis.h"
#include "analyzer/opened.h"
#include "analyzer/scan_options.h"

static void print_set(const char *name, const struct heapgraph *heap,
		      const struct node_set *set)
{
	for (uint32_t i = 0; i < heap->count; i++)
		if (node_set_has(set, i))
			printf("%s %" PRIx64 "\n", name,
			       heapgraph_address(heap, i));
}

static void print(const struct analysis *analysis)
{
	const struct heapgraph *heap = analysis->heap;
	const struct components *components = &analysis->components;

	for (uint32_t i = 0; i < heap->count; i++)
		if (heap->flags[i] & HEAP_TRACKED)
			printf("tracked %" PRIx64 "\n",
			       heapgraph_address(heap, i));
	print_set("garbage", heap, &analysis->collector.garbage);
	print_set("uncollectable", heap, &analysis->collector.uncollectable);
	print_set("freed", heap, &analysis->collector.freed);
	print_set("frozen", heap, &analysis->collector.frozen);
	for (uint32_t i = 0; i < components->count; i++) {
		printf("component");
		for (uint32_t j = components->at[i]; j < components->at[i + 1];
		     j++)
			printf(" %" PRIx64, heapgraph_address(
				       heap, components->members[j]));
		putchar('\n');
	}
}

int main(int argc, char **argv)
{
	const struct options options = { 0 };
	const struct analysis *analysis;
	struct opened *opened = NULL;
	struct error *err;

	if (argc != 2) {
		fputs("usage: collectordump CORE\n", stderr);
		return 2;
	}
	err = opened_create(argv[1], &options, &opened);
	if (!err)
		err = analysis_of(opened, ANALYSIS_COMPONENTS |
					  ANALYSIS_COLLECTOR, &analysis);
	if (!err)
		print(analysis);
	opened_destroy(opened);
	if (!err)
		return 0;
	fprintf(stderr, "collectordump: %s\n", err->message);
	error_free(err);
	return 1;
}
