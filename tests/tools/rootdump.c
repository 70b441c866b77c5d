/*
 * What pyheap says holds the objects of a heap from outside, for tests that
 * compare it with what a target knows of itself.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: rootdump [--values] [--sysroot DIR] CORE [ADDRESS...]
 *
 * Prints "root KIND HOLD ADDRESS HOLDER THREAD INDEX NAME MODULE TEXT" for each
 * root: numbers are hexadecimal but THREAD and INDEX, "-" stands for no name.
 * For each ADDRESS (hexadecimal) "holder" and the same for each native holder,
 * and "path ADDRESS TEXT" for a shortest path to it from a root, over types only
 * by their names, "-" for none.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/escape.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "image/image.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/references/pyedge.h"
#include "pyheap/references/pyholders.h"
#include "pyheap/references/pyrefs.h"
#include "pyheap/references/pyroots.h"

enum { TEXT = 1000, STEPS_MAX = 1000, NO_EDGE = UINT32_MAX };

/** An edge of the graph, and the one by which its holder was reached. */
struct link {
	struct pyh_edge edge;
	uint32_t before;	/* index of a link, or NO_EDGE: root */
};

struct dump {
	struct pyh_runtime *runtime;
	struct pyh_types *types;
	struct pyh_shapes *shapes;
	struct pyh_census *census;
	struct memory_reader memory;
	struct pyh_type_reader type_reader;
	struct pyh_naming naming;
	const char *label;
	struct link *links;
	size_t num_links, links_room;
	struct hashmap first;	/* of an object's links, by its address */
	struct hashmap reached;	/* by address: link + 1, or 0 of a root */
	struct pyh_root *roots;
	size_t num_roots, roots_room;
	struct hashmap root_of;	/* by address: index of its root */
	struct error *err;
};

static const char *const kinds[] = {
	[PYH_ROOT_LOCAL] = "local", [PYH_ROOT_STACK] = "stack",
	[PYH_ROOT_FRAME] = "frame", [PYH_ROOT_THREAD] = "thread",
	[PYH_ROOT_INTERPRETER] = "interpreter",
	[PYH_ROOT_RUNTIME] = "runtime", [PYH_ROOT_STATIC] = "static",
	[PYH_ROOT_NATIVE_STACK] = "native-stack",
	[PYH_ROOT_NATIVE] = "native",
};

static const char *const holds[] = {
	[PYH_HOLD_TRAVERSED] = "traversed",
	[PYH_HOLD_UNTRAVERSED] = "owned",
	[PYH_HOLD_GUESSED] = "guessed",
	[PYH_HOLD_NONE] = "borrowed",
};

static void *grow(struct dump *dump, void *items, size_t count, size_t *room,
		  size_t size)
{
	void *grown;

	if (count < *room)
		return items;
	grown = reallocarray(items, *room ? *room * 2 : 1024, size);
	if (!grown) {
		dump->err = error_no_memory();
		return NULL;
	}
	*room = *room ? *room * 2 : 1024;
	return grown;
}

static bool print_root(void *context, const struct pyh_root *root)
{
	struct dump *dump = context;
	char text[TEXT];

	pyh_path_text(&dump->naming, root, NULL, 0, text, sizeof(text));
	printf("%s %s %s %" PRIx64 " %" PRIx64 " %" PRIu64 " %" PRIu64
	       " %s %s ", dump->label, kinds[root->kind],
	       root->deferred ? "deferred" : holds[root->hold],
	       root->address, root->holder, root->thread, root->index,
	       root->name ? root->name : "-",
	       root->module ? root->module : "-");
	escape_puts(stdout, ESCAPE_TEXT, text);
	putchar('\n');
	return true;
}

static bool keep_root(void *context, const struct pyh_root *root)
{
	struct dump *dump = context;
	struct pyh_root *roots = grow(dump, dump->roots, dump->num_roots,
				      &dump->roots_room, sizeof(*roots));

	if (!roots)
		return false;
	dump->roots = roots;
	dump->roots[dump->num_roots++] = *root;
	return print_root(dump, root);
}

/* --- the graph ------------------------------------------------------------ */

struct visited {
	struct dump *dump;
	const struct pyh_object *object;
};

static bool keep_ref(void *context, const struct pyh_ref *ref)
{
	const struct visited *visited = context;
	struct dump *dump = visited->dump;
	struct link *links;

	// Guessed entries of the stacks of frames are as good as any.
	if (ref->hold == PYH_HOLD_NONE || ref->kind == PYH_REF_TYPE ||
	    (ref->hold == PYH_HOLD_GUESSED &&
	     visited->object->type->kind != PYH_KIND_FRAME))
		return true;
	links = grow(dump, dump->links, dump->num_links, &dump->links_room,
		     sizeof(*links));
	if (!links)
		return false;
	dump->links = links;
	dump->links[dump->num_links++] = (struct link){
		.edge = { visited->object->address, visited->object->type,
			  *ref },
	};
	return true;
}

static void visit(void *context, const struct pyh_visit *visit)
{
	struct dump *dump = context;
	struct pyh_referrer referrer = pyh_referrer(dump->runtime,
						    dump->shapes, visit);
	struct visited visited = { dump, &visit->object };

	if (dump->err)
		return;
	dump->err = hashmap_put(&dump->first, visit->object.address,
				(uint32_t)dump->num_links);
	if (!dump->err)
		pyh_refs_each(&referrer, keep_ref, &visited);
}

static bool reach(struct dump *dump, uint64_t address, uint32_t by,
		  uint64_t *queue, size_t *end)
{
	uint32_t unused;

	if (hashmap_get(&dump->reached, address, &unused) ||
	    !hashmap_get(&dump->first, address, &unused))
		return false;
	if (!dump->err)
		dump->err = hashmap_put(&dump->reached, address, by);
	queue[(*end)++] = address;
	return true;
}

/** Breadth first, from what roots own. */
static struct error *search(struct dump *dump)
{
	CLEANUP(free_pointer) uint64_t *queue =
		calloc(dump->first.count + 1, sizeof(*queue));
	size_t at = 0, end = 0;

	if (!queue)
		return error_no_memory();
	for (size_t i = 0; i < dump->num_roots && !dump->err; i++) {
		const struct pyh_root *root = &dump->roots[i];

		if (root->hold == PYH_HOLD_UNTRAVERSED &&
		    reach(dump, root->address, NO_EDGE, queue, &end))
			dump->err = hashmap_put(&dump->root_of, root->address,
						(uint32_t)i);
	}
	for (; at < end && !dump->err; at++) {
		uint32_t link = 0, by = 0;

		(void)hashmap_get(&dump->first, queue[at], &link);
		(void)hashmap_get(&dump->reached, queue[at], &by);
		for (; link < dump->num_links &&
		       dump->links[link].edge.holder == queue[at]; link++) {
			dump->links[link].before = by;
			(void)reach(dump, dump->links[link].edge.ref.address,
				    link, queue, &end);
		}
	}
	return TAKE(dump->err);
}

static void print_path(struct dump *dump, uint64_t address)
{
	struct pyh_edge edges[STEPS_MAX];
	size_t count = 0;
	uint64_t from = address;
	uint32_t link, root;
	char text[TEXT];

	printf("path %" PRIx64 " ", address);
	if (!hashmap_get(&dump->reached, address, &link)) {
		printf("-\n");
		return;
	}
	for (; link != NO_EDGE && count < STEPS_MAX;
	     link = dump->links[link].before) {
		edges[STEPS_MAX - ++count] = dump->links[link].edge;
		from = dump->links[link].edge.holder;
	}
	if (!hashmap_get(&dump->root_of, from, &root)) {
		printf("-\n");
		return;
	}
	pyh_path_text(&dump->naming, &dump->roots[root],
		      edges + STEPS_MAX - count, count, text, sizeof(text));
	escape_puts(stdout, ESCAPE_TEXT, text);
	putchar('\n');
}

/* --- the program ---------------------------------------------------------- */

static struct error *dump_objects(struct dump *dump, char **addresses,
				  size_t count)
{
	CLEANUP(free_pointer) uint64_t *objects = calloc(count + 1,
							 sizeof(*objects));
	struct error *err = NULL;
	bool all;

	if (!objects)
		return error_no_memory();
	for (size_t i = 0; i < count; i++)
		objects[i] = strtoull(addresses[i], NULL, 16);
	dump->label = "holder";
	if (count > 0)
		err = pyh_holders_each(dump->runtime, dump->census,
				       dump->shapes, objects, count, NULL,
				       print_root, dump, &all);
	if (!err && count > 0)
		err = pyh_census_visit(dump->census, visit, dump);
	if (!err)
		err = TAKE(dump->err);
	if (!err && count > 0)
		err = search(dump);
	for (size_t i = 0; !err && i < count; i++)
		print_path(dump, objects[i]);
	return err;
}

static struct error *open_dump(struct dump *dump, struct image *image)
{
	struct pyh_census_options options = { .workers = 1 };
	struct error *err = pyh_runtime_open(image, &dump->runtime);

	if (!err)
		err = memory_reader_init(&dump->memory, image->memory);
	if (!err)
		err = pyh_types_create(dump->runtime, &dump->types);
	if (!err)
		err = pyh_type_reader_init(&dump->type_reader, dump->types);
	if (!err)
		err = pyh_census_take(dump->runtime, dump->types, &options,
				      &dump->census);
	if (!err)
		err = pyh_shapes_create(dump->runtime, dump->types,
					&dump->shapes);
	dump->naming = (struct pyh_naming){
		.runtime = dump->runtime, .types = &dump->type_reader,
		.memory = &dump->memory,
	};
	return err;
}

static void close_dump(struct dump *dump)
{
	hashmap_deinit(&dump->first);
	hashmap_deinit(&dump->reached);
	hashmap_deinit(&dump->root_of);
	pyh_value_reader_destroy(dump->naming.values);
	pyh_shapes_destroy(dump->shapes);
	pyh_census_destroy(dump->census);
	pyh_type_reader_deinit(&dump->type_reader);
	pyh_types_destroy(dump->types);
	memory_reader_deinit(&dump->memory);
	pyh_runtime_close(dump->runtime);
	free(dump->links);
	free(dump->roots);
}

int main(int argc, char **argv)
{
	struct image_options options = { 0 };
	struct dump dump = { .label = "root" };
	struct image *image = NULL;
	struct error *err;
	bool values = false;
	int at = 1;

	for (; at < argc && argv[at][0] == '-'; at++) {
		if (strcmp(argv[at], "--values") == 0)
			values = true;
		else if (strcmp(argv[at], "--sysroot") == 0 && at + 1 < argc)
			options.sysroot = argv[++at];
	}
	if (at >= argc) {
		fprintf(stderr, "usage: rootdump [--values] [--sysroot DIR] "
				"CORE [ADDRESS...]\n");
		return 2;
	}
	err = image_open(argv[at], &options, &image);
	if (!err)
		err = open_dump(&dump, image);
	if (!err && values)
		err = pyh_value_reader_create(dump.runtime, dump.types,
					      dump.shapes, &dump.naming.values);
	if (!err) {
		pyh_roots_each(dump.runtime, &dump.memory, keep_root, &dump);
		err = dump_objects(&dump, argv + at + 1,
				   (size_t)(argc - at - 1));
	}
	close_dump(&dump);
	image_close(image);
	if (!err)
		return 0;
	fprintf(stderr, "rootdump: %s\n", err->message);
	error_free(err);
	return 1;
}
