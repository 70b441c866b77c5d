/*
 * How much of the memory in use the objects explain; see coverage.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/coverage.h"

#include <stdio.h>

#include "image/base/units.h"

static const struct column fields[] = {
	{ .key = "arenas", .unit = UNIT_COUNT },
	{ .key = "arena_bytes", .unit = UNIT_BYTES },
	{ .key = "pools", .unit = UNIT_COUNT },
	{ .key = "pools_free", .unit = UNIT_COUNT },
	{ .key = "blocks_in_use", .unit = UNIT_COUNT },
	{ .key = "blocks_in_use_bytes", .unit = UNIT_BYTES },
	{ .key = "blocks_object", .unit = UNIT_COUNT },
	{ .key = "blocks_claimed", .unit = UNIT_COUNT },
	{ .key = "blocks_other", .unit = UNIT_COUNT },
	{ .key = "free_bytes", .unit = UNIT_BYTES },
	{ .key = "overhead_bytes", .unit = UNIT_BYTES },
	{ .key = "objects_outside", .unit = UNIT_COUNT },
	{ .key = "gc_tracked", .unit = UNIT_COUNT },
};

enum { NUM_FIELDS = sizeof(fields) / sizeof(*fields) };

void coverage_json(struct render *render, const struct pyh_coverage *coverage)
{
	const uint64_t numbers[NUM_FIELDS] = {
		coverage->arenas, coverage->arena_bytes, coverage->pools,
		coverage->pools_free, coverage->blocks_in_use,
		coverage->blocks_in_use_bytes, coverage->blocks_object,
		coverage->blocks_claimed, coverage->blocks_other,
		coverage->free_bytes, coverage->overhead_bytes,
		coverage->objects_outside, coverage->gc_tracked,
	};
	struct cell cells[NUM_FIELDS];

	for (int i = 0; i < NUM_FIELDS; i++)
		cells[i] = cell_number(fields[i].unit, numbers[i]);
	render_object(render, "coverage", fields, cells, NUM_FIELDS);
}

static double percent(uint64_t part, uint64_t whole)
{
	return 100.0 * (double)part / (double)whole;
}

void coverage_lines(struct render *render, const struct pyh_coverage *coverage)
{
	char blocks[UNITS_TEXT_MAX], outside[UNITS_TEXT_MAX];
	uint64_t in_use = coverage->blocks_in_use;

	(void)units_count(coverage->objects_outside, outside);
	if (in_use == 0) {
		render_line(render, "no %s blocks in use; %s objects "
			    "elsewhere", coverage->mimalloc ? "mimalloc" :
			    "pymalloc", outside);
		return;
	}
	render_line(render, "blocks in use %s: objects %.1f %%, buffers of "
		    "objects %.1f %%, other %.1f %%; %s objects outside %s",
		    units_count(in_use, blocks),
		    percent(coverage->blocks_object, in_use),
		    percent(coverage->blocks_claimed, in_use),
		    percent(coverage->blocks_other, in_use), outside,
		    coverage->mimalloc ? "mimalloc" : "arenas");
}

const char *coverage_short(const struct pyh_coverage *coverage, char text[64])
{
	text[0] = '\0';
	if (coverage->blocks_in_use)
		(void)snprintf(text, 64, "%.1f %% of blocks in use explained",
			       percent(coverage->blocks_object +
				       coverage->blocks_claimed,
				       coverage->blocks_in_use));
	return text;
}

void coverage_arenas(struct render *render, const struct pyh_coverage *coverage)
{
	char arenas[UNITS_TEXT_MAX], size[UNITS_TEXT_MAX];
	char in_use[UNITS_TEXT_MAX], unused[UNITS_TEXT_MAX];
	char overhead[UNITS_TEXT_MAX];

	if (coverage->arenas == 0)
		return;
	render_line(render, "%s%s%s%s in %s %s%s: blocks in use %s, "
		    "free %s, headers and padding %s",
		    render->format == RENDER_MD ? "**" : "",
		    coverage->mimalloc ? "MIMALLOC" : "PYMALLOC",
		    render->format == RENDER_MD ? "** " : "  ",
		    units_size(coverage->arena_bytes, size),
		    units_count(coverage->arenas, arenas),
		    coverage->mimalloc ? "segment" : "arena",
		    coverage->arenas == 1 ? "" : "s",
		    units_size(coverage->blocks_in_use_bytes, in_use),
		    units_size(coverage->free_bytes, unused),
		    units_size(coverage->overhead_bytes, overhead));
}
