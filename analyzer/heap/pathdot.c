/*
 * Paths as a digraph; see pathdot.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/pathdot.h"

#include <inttypes.h>
#include <stdbool.h>

#include "image/base/escape.h"

void pathdot_begin(struct pathdot *dot, FILE *out, struct paths *paths,
		   const struct analysis *analysis)
{
	*dot = (struct pathdot){ .out = out, .paths = paths,
				 .analysis = analysis };
	(void)fputs("digraph paths {\n"
		    "\trankdir=LR;\n"
		    "\tnode [shape=box, fontname=\"monospace\"];\n"
		    "\tedge [fontname=\"monospace\"];\n", out);
}

/** Sets *ret where key was not in the map, and puts it there. */
static struct error *is_new(struct hashmap *map, uint64_t key, bool *ret)
{
	uint32_t unused;

	*ret = !hashmap_get(map, key, &unused);
	return *ret ? hashmap_put(map, key, 1) : NULL;
}

static uint64_t address_of(const struct pathdot *dot, uint32_t object)
{
	return heapgraph_address(dot->analysis->heap, object);
}

static struct error *put_object(struct pathdot *dot, uint32_t object,
				bool last, const char *remark)
{
	uint64_t address = address_of(dot, object), key = (uint64_t)object * 2;
	bool wanted;
	// What stood out stays so; what is last only now gets another label.
	struct error *err = is_new(&dot->objects, key + 1, &wanted);

	if (!err && last)
		err = is_new(&dot->objects, key + 2, &wanted);
	if (err || !wanted)
		return err;
	(void)fprintf(dot->out, "\t\"0x%" PRIx64 "\" [label=\"", address);
	escape_puts(dot->out, ESCAPE_DOT,
		    heapgraph_type(dot->analysis->heap, object)->name);
	(void)fprintf(dot->out, "\\n0x%" PRIx64, address);
	if (remark) {
		(void)fputs("\\n", dot->out);
		escape_puts(dot->out, ESCAPE_DOT, remark);
	}
	(void)fputs(last ? "\", style=bold];\n" : "\"];\n", dot->out);
	return NULL;
}

/** What holds the first object: a node of its own. */
static struct error *put_start(struct pathdot *dot, const struct path *path)
{
	uint64_t address = address_of(dot, path->objects[0]);
	char text[PATH_TEXT_MAX];
	bool wanted;
	struct error *err = is_new(&dot->edges,
				   (uint64_t)path->objects[0] << 32 | GRAPH_NONE,
				   &wanted);

	if (err || !wanted)
		return err;
	paths_start_text(dot->paths, path, text);
	(void)fprintf(dot->out, "\t\"root of 0x%" PRIx64 "\" [shape=plaintext, "
		      "label=\"", address);
	escape_puts(dot->out, ESCAPE_DOT, text);
	(void)fprintf(dot->out, "\"];\n\t\"root of 0x%" PRIx64 "\" -> \"0x%"
		      PRIx64 "\";\n", address, address);
	return NULL;
}

static struct error *put_edge(struct pathdot *dot, const struct path *path,
			      uint32_t i)
{
	uint32_t from = path->objects[i], to = path->objects[i + 1];
	char text[PATH_TEXT_MAX];
	bool wanted;
	// Ids have 30 bits, so this is not 0 and no start's.
	struct error *err = is_new(&dot->edges,
				   (uint64_t)from << 32 | (to + 1), &wanted);

	if (err || !wanted)
		return err;
	paths_step_text(dot->paths, path, i, text);
	(void)fprintf(dot->out, "\t\"0x%" PRIx64 "\" -> \"0x%" PRIx64
		      "\" [label=\"", address_of(dot, from),
		      address_of(dot, to));
	escape_puts(dot->out, ESCAPE_DOT, text);
	(void)fputs("\"];\n", dot->out);
	return NULL;
}

struct error *pathdot_add(struct pathdot *dot, const struct path *path,
			  const char *remark)
{
	struct error *err = path->count ? put_start(dot, path) : NULL;

	for (uint32_t i = 0; !err && i < path->count; i++) {
		bool last = i + 1 == path->count;

		err = put_object(dot, path->objects[i], last,
				 last ? remark : NULL);
		if (!err && !last)
			err = put_edge(dot, path, i);
	}
	return err;
}

void pathdot_end(struct pathdot *dot)
{
	(void)fputs("}\n", dot->out);
	hashmap_deinit(&dot->objects);
	hashmap_deinit(&dot->edges);
}
