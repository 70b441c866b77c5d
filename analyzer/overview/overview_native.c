/*
 * The overview: who has native memory; see overview_native.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/overview/overview_native.h"

#include <stdio.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/heap/gathered.h"
#include "analyzer/heap/paths.h"
#include "analyzer/overview/overview_memory.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum { NAME_COLUMNS = 50, PATH_COLUMNS = 90, HOLDERS_LINES = 2 };

/** Objects of the type that leads to the most, and who has the most of them. */
struct native_holders {
	const char *type;
	uint64_t bytes;		/* of all objects that lead to native memory */
	uint32_t objects;
	uint32_t first;
	struct gathered gathered;
};

/** "lxml.etree._Element, 100.3 MiB" tells of a type of this name. */
static bool is_told(const char *detail, const char *name)
{
	const char *end = strrchr(detail, ',');

	return end && strlen(name) == (size_t)(end - detail) &&
	       strncmp(detail, name, (size_t)(end - detail)) == 0;
}

/** Objects of the type that a row of the ledger tells of; false: there are none. */
static struct error *find_holders(const struct analysis *analysis,
				  const struct ledger_row *row,
				  struct native_holders *ret)
{
	const struct heapgraph *heap = analysis->heap;
	CLEANUP(node_set_deinit) struct node_set set = { 0 };
	struct error *err = node_set_init(&set, heap->count);

	*ret = (struct native_holders){ .bytes = row->bytes };
	for (uint32_t i = 0; !err && i < heap->count; i++) {
		const char *name = heapgraph_type(heap, i)->name;

		if (ret->type ? strcmp(name, ret->type) != 0 :
				!is_told(row->detail, name))
			continue;
		if (ret->objects++ == 0) {
			ret->type = name;
			ret->first = i;
		}
		(void)node_set_add(&set, i);
	}
	if (!err)
		gathered_find(analysis, &set, &ret->gathered);
	return err;
}

/** Half of them are with somebody. */
static bool are_gathered(const struct native_holders *holders)
{
	return holders->gathered.object != GRAPH_NONE &&
	       holders->gathered.count >= holders->objects / 2 &&
	       holders->gathered.count > 1;
}

static struct error *tell_holders(struct scan *scan,
				  const struct analysis *analysis,
				  const struct native_holders *holders)
{
	CLEANUP(paths_release) struct paths *paths = NULL;
	CLEANUP(path_deinit) struct path path = { 0 };
	char text[PATH_TEXT_MAX] = "", name[RENDER_NAME_MAX];
	char where[RENDER_NAME_MAX], bytes[UNITS_TEXT_MAX];
	char count[UNITS_TEXT_MAX];
	struct error *err = paths_open(scan->opened, analysis,
				       scan->options->values, &paths);

	if (!err)
		err = paths_find(paths, are_gathered(holders) ?
						holders->gathered.object :
						holders->first, &path);
	if (err)
		return err;
	paths_text(paths, &path, text);
	render_line(&scan->render, "  native code: objects lead to %s, %s %s to "
		    "the most of it", units_size(holders->bytes, bytes),
		    units_count(holders->objects, count),
		    render_name(&scan->render, holders->type, NAME_COLUMNS,
				name));
	render_name(&scan->render, text, PATH_COLUMNS, where);
	if (are_gathered(holders))
		render_line(&scan->render, "     %s of these in %s",
			    units_count(holders->gathered.count, count), where);
	else
		render_line(&scan->render, "     %s%s",
			    holders->objects > 1 ? "one of these: " : "", where);
	return NULL;
}

struct error *overview_native_tell(struct scan *scan,
				   const struct analysis *analysis,
				   const struct ledger *ledger, uint64_t least,
				   unsigned int *ret_lines)
{
	const struct ledger_row *lost = &ledger->rows[LEDGER_MALLOC_NOBODY];
	const struct ledger_row *held = &ledger->rows[LEDGER_MALLOC_PYTHON];
	struct native_holders holders;
	char bytes[UNITS_TEXT_MAX];
	struct error *err = NULL;

	*ret_lines = 0;
	if (!overview_memory_has_owners(ledger))
		return NULL;
	if (lost->bytes >= least) {
		render_line(&scan->render, "  native code: nothing refers to %s, "
			    "which C code took and did not free",
			    units_size(lost->bytes, bytes));
		(*ret_lines)++;
	}
	if (held->bytes < least)
		return NULL;
	err = find_holders(analysis, held, &holders);
	if (err || holders.objects == 0)
		return err;
	*ret_lines += HOLDERS_LINES;
	return tell_holders(scan, analysis, &holders);
}
