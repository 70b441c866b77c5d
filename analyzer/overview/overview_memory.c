/*
 * The overview's section about memory; see overview_memory.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/overview/overview_memory.h"

#include <stdio.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "image/base/units.h"

enum {
	ROWS_MAX = 8,		/* for people; the last takes the rest */
	/* Who holds malloc's chunks is asked where these have an eighth of the
	   memory, and so much. */
	OWNERS_SHARE = 8,
	OWNERS_BYTES = 16 << 20,
	NATIVE_SHARE = 4,	/* of them, what is told by itself */
	NATIVE_DETAIL = 64,
	NATIVE_TEXT = NATIVE_SHARE * (UNITS_TEXT_MAX + NATIVE_DETAIL + 64),
};

enum { MEMORY_BYTES, MEMORY_SHARE, MEMORY_GROUP, NUM_MEMORY };

static const struct column memory_columns[NUM_MEMORY] = {
	[MEMORY_BYTES] = { .key = "bytes", .unit = UNIT_BYTES },
	[MEMORY_SHARE] = { .key = "share", .unit = UNIT_SHARE },
	[MEMORY_GROUP] = { .key = "group", .unit = UNIT_TEXT },
};

struct group {
	enum ledger_group group;
	uint64_t bytes;
};

void overview_memory_gather(struct scan *scan, struct overview_memory *memory)
{
	*memory = (struct overview_memory){ 0 };
	memory->why_not = ledger_of(scan->opened, /* owners= */ false,
				    &memory->ledger);
	if (memory->why_not)
		memory->ledger = NULL;
	else
		memory->measure = ledger_measure(memory->ledger,
						 opened_image(scan->opened));
}

/** Is it worth asking who holds malloc's chunks, and saying it? */
static bool owners_matter(const struct ledger *ledger)
{
	uint64_t native = ledger_group_bytes(ledger, LEDGER_OF_MALLOC_USED);

	return native >= OWNERS_BYTES && native >= ledger->total / OWNERS_SHARE;
}

bool overview_memory_has_owners(const struct ledger *ledger)
{
	// What was kept knows them of small ones, too.
	return ledger->owners && owners_matter(ledger);
}

void overview_memory_reclaim(struct scan *scan, struct overview_memory *memory)
{
	const struct ledger *ledger = memory->ledger;

	if (!ledger)
		return;
	reclaimable_find(scan->opened, ledger, &memory->reclaimable);
	if (owners_matter(ledger))
		memory->why_not = ledger_of(scan->opened, /* owners= */ true,
					    &memory->ledger);
}

void overview_memory_deinit(struct overview_memory *memory)
{
	error_free(memory->why_not);
}

/** Groups that have bytes, the largest first; how many. */
static size_t sort_groups(const struct ledger *ledger,
			  struct group groups[LEDGER_NUM_GROUPS])
{
	size_t count = 0;

	for (int i = 0; i < LEDGER_NUM_GROUPS; i++) {
		struct group group = { (enum ledger_group)i, 0 };
		size_t at = count;

		group.bytes = ledger_group_bytes(ledger, group.group);
		if (group.bytes == 0)
			continue;
		for (; at > 0 && groups[at - 1].bytes < group.bytes; at--)
			groups[at] = groups[at - 1];
		groups[at] = group;
		count++;
	}
	return count;
}

/** What is below a thousandth does not have a line of its own. */
static size_t shown_groups(const struct ledger *ledger,
			   const struct group *groups, size_t count)
{
	size_t shown = 0;

	while (shown < count && shown < ROWS_MAX - 1 &&
	       groups[shown].bytes >= ledger->total / 1000)
		shown++;
	// A single one needs no more room than what would stand for it.
	return shown + 1 == count ? count : shown;
}

static void put_group(struct scan *scan, const struct ledger *ledger,
		      uint64_t bytes, const char *name, uint64_t count,
		      const char *more)
{
	char size[UNITS_TEXT_MAX], number[UNITS_TEXT_MAX], counted[64] = "";

	if (count)
		(void)snprintf(counted, sizeof(counted), " (%s)",
			       units_count(count, number));
	render_line(&scan->render, "  %11s  %5.1f %%  %s%s%s",
		    units_size(bytes, size),
		    100.0 * (double)bytes / (double)ledger->total, name,
		    counted, more);
}

/** ": 57.2 MiB that nothing refers to, 20.1 MiB of modules (…)" */
static const char *native_text(const struct scan *scan,
			       const struct ledger *ledger,
			       char text[NATIVE_TEXT])
{
	static const struct {
		enum ledger_category category;
		const char *whose;
	} owners[] = {
		{ LEDGER_MALLOC_NOBODY, "that nothing refers to" },
		{ LEDGER_MALLOC_PYTHON, "of objects" },
		{ LEDGER_MALLOC_MODULE, "of modules" },
		{ LEDGER_MALLOC_THREAD, "of threads" },
		{ LEDGER_MALLOC_MEMORY, "of other memory" },
		{ LEDGER_MALLOC_USED, "of unknown use" },
	};
	uint64_t least = ledger_group_bytes(ledger, LEDGER_OF_MALLOC_USED) /
			 NATIVE_SHARE;
	size_t used = 0;

	text[0] = '\0';
	if (!overview_memory_has_owners(ledger))
		return text;
	for (size_t i = 0; i < sizeof(owners) / sizeof(*owners); i++) {
		const struct ledger_row *row =
			&ledger->rows[owners[i].category];
		char size[UNITS_TEXT_MAX], most[LEDGER_DETAIL];
		char safe[RENDER_NAME_MAX];
		char *end;

		if (row->bytes < least)
			continue;
		// "lxml.etree._Element, 53.2 MiB"
		memcpy(most, row->detail, sizeof(most));
		end = strrchr(most, ',');
		if (end)
			*end = '\0';
		used += (size_t)snprintf(
			text + used, NATIVE_TEXT - used, "%s%s %s%s%.*s%s",
			used ? ", " : ": ", units_size(row->bytes, size),
			owners[i].whose, *most ? " (most " : "", NATIVE_DETAIL,
			*most ? render_name(&scan->render, most, 28, safe) : "",
			*most ? ")" : "");
	}
	return text;
}

static void put_rows(struct scan *scan, const struct ledger *ledger)
{
	struct group groups[LEDGER_NUM_GROUPS];
	size_t count = sort_groups(ledger, groups);
	size_t shown = shown_groups(ledger, groups, count);
	char text[NATIVE_TEXT];
	uint64_t rest = 0;

	for (size_t i = 0; i < shown; i++)
		put_group(scan, ledger, groups[i].bytes,
			  ledger_group_name(groups[i].group),
			  groups[i].group == LEDGER_OF_OBJECTS ?
				  ledger->objects : 0,
			  groups[i].group == LEDGER_OF_MALLOC_USED ?
				  native_text(scan, ledger, text) : "");
	for (size_t i = shown; i < count; i++)
		rest += groups[i].bytes;
	if (rest)
		put_group(scan, ledger, rest, "other rows", count - shown, "");
}

static void put_json(struct scan *scan, const struct overview_memory *memory)
{
	const struct ledger *ledger = memory->ledger;
	struct group groups[LEDGER_NUM_GROUPS];
	size_t count = sort_groups(ledger, groups);

	render_table(&scan->render, &(struct table_spec){
		.json_key = "memory", .columns = memory_columns,
		.num_columns = NUM_MEMORY });
	for (size_t i = 0; i < count; i++)
		render_row(&scan->render, (struct cell[NUM_MEMORY]){
			[MEMORY_BYTES] = cell_number(UNIT_BYTES,
						     groups[i].bytes),
			[MEMORY_SHARE] = cell_part(groups[i].bytes,
						   ledger->total),
			[MEMORY_GROUP] = cell_text(
				ledger_group_name(groups[i].group)) });
	render_table_end(&scan->render);
}

void overview_memory_tell(struct scan *scan,
			  const struct overview_memory *memory)
{
	char line[RECLAIMABLE_LINE], text[UNITS_TEXT_MAX];
	char why[RENDER_NAME_MAX];
	struct render *render = &scan->render;

	if (memory->why_not) {
		render_line(render, "MEMORY    not told: %s",
			    render_name(render, memory->why_not->message, 90,
					why));
	} else if (!render_for_people(render)) {
		put_json(scan, memory);
	} else {
		(void)snprintf(line, sizeof(line), "MEMORY  %s %s, each byte "
			       "in one row",
			       units_size(memory->ledger->total, text),
			       memory->measure);
		render_line_see(render, line, "memory");
		put_rows(scan, memory->ledger);
		render_line(render, "  reclaimable: %s",
			    reclaimable_line(&memory->reclaimable, line));
	}
	render_gap(render);
}

unsigned int overview_memory_lines(const struct overview_memory *memory)
{
	struct group groups[LEDGER_NUM_GROUPS];
	size_t count, shown;

	if (!memory->ledger)
		return 2;
	count = sort_groups(memory->ledger, groups);
	shown = shown_groups(memory->ledger, groups, count);
	return 3 + (unsigned int)(shown + (shown < count));
}

const char *overview_memory_question(const struct overview_memory *memory,
				     uint64_t least, uint64_t *ret_bytes)
{
	struct group groups[LEDGER_NUM_GROUPS];
	size_t count;

	*ret_bytes = 0;
	if (!memory->ledger)
		return NULL;
	count = sort_groups(memory->ledger, groups);
	for (size_t i = 0; i < count && groups[i].bytes >= least; i++) {
		*ret_bytes = groups[i].bytes;
		switch (groups[i].group) {
		case LEDGER_OF_OBJECTS:
		case LEDGER_OF_ARRAYS:
		case LEDGER_OF_MODULES:
			continue;
		case LEDGER_OF_MALLOC_USED:
			return "malloc --by owner";
		case LEDGER_OF_MALLOC_FREE:
		case LEDGER_OF_ALLOCATORS:
			return "malloc";
		default:
			return "memory";
		}
	}
	*ret_bytes = 0;
	return NULL;
}

const char *overview_memory_short(const struct overview_memory *memory,
				  char text[OVERVIEW_MEMORY_SHORT])
{
	const struct ledger *ledger = memory->ledger;
	uint64_t unexplained;

	text[0] = '\0';
	if (!ledger || ledger->total == 0 || *ledger->no_python)
		return text;
	unexplained = ledger_group_bytes(ledger, LEDGER_OF_UNEXPLAINED);
	(void)snprintf(text, OVERVIEW_MEMORY_SHORT,
		       "%.1f %% of %s bytes explained",
		       100.0 * (double)(ledger->total - unexplained) /
			       (double)ledger->total,
		       memory->measure);
	return text;
}
