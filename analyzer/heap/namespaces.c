/*
 * Namespaces of modules; see namespaces.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/namespaces.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/paths.h"
#include "pyheap/references/pyedgename.h"
#include "pyheap/values/pydict.h"

enum {
	MODULES_MAX = 1 << 20,	/* entries of sys.modules */
	NAME_LOOK_MAX = 1 << 8,	/* entries looked at for __name__, which is one
				   of the first that there are */
	GLOBALS_LOOK_MAX = 1 << 14,	/* … for a function that is at home */
	GLOBALS_YES = 1, GLOBALS_NO = 2,
};

void namespaces_deinit(struct namespaces *namespaces)
{
	free(namespaces->modules);
	hashmap_deinit(&namespaces->globals);
	*namespaces = (struct namespaces){ 0 };
}

static uint64_t field(const struct namespaces *namespaces, uint64_t structure,
		      enum pyh_field which)
{
	uint64_t value;

	return pyh_field(namespaces->naming->runtime,
			 namespaces->naming->memory, structure, which,
			 &value) ? value : 0;
}

static bool is_kind(const struct namespaces *namespaces, uint32_t object,
		    enum pyh_kind kind)
{
	const struct heapgraph *heap = namespaces->analysis->heap;

	return object != GRAPH_NONE &&
	       heapgraph_type(heap, object)->kind == kind;
}

/* --- of sys.modules ------------------------------------------------------- */

static bool is_modules(const struct pyh_root *root)
{
	return root->kind == PYH_ROOT_INTERPRETER && root->name &&
	       (strcmp(root->name, "modules") == 0 ||
		strcmp(root->name, "imports.modules") == 0);
}

static struct error *add_module(struct namespaces *namespaces,
				const struct pyh_root *modules, uint64_t key,
				uint64_t value)
{
	const struct heapgraph *heap = namespaces->analysis->heap;
	uint32_t module = heapgraph_find(heap, value);
	char name[PYH_NAME_MAX + 1];
	uint64_t dict;

	if (!is_kind(namespaces, module, PYH_KIND_MODULE) ||
	    !pyh_name_read(namespaces->naming, key, name, sizeof(name)))
		return NULL;
	dict = field(namespaces, value, PYH_MODULE_MD_DICT);
	if (!is_kind(namespaces, heapgraph_find(heap, dict), PYH_KIND_DICT))
		return NULL;
	if (namespaces->count == namespaces->room) {
		size_t room = namespaces->room ? namespaces->room * 2 : 256;
		struct module_dict *grown = realloc(namespaces->modules,
						    room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		namespaces->modules = grown;
		namespaces->room = room;
	}
	namespaces->modules[namespaces->count] = (struct module_dict){
		.dict = dict, .key = key, .module = module,
		.order = (uint32_t)namespaces->count, .modules = modules };
	namespaces->count++;
	return NULL;
}

static struct error *add_modules_of(struct namespaces *namespaces,
				    const struct pyh_root *modules)
{
	const struct pyh_naming *naming = namespaces->naming;
	uint64_t budget = MODULES_MAX, key, value;
	struct pyh_dict_walk walk;
	struct error *err = NULL;

	if (pyh_dict_walk(naming->runtime, naming->memory, modules->address,
			  &walk) != PYH_FOUND)
		return NULL;
	walk.budget = &budget;
	while (!err && pyh_dict_next(&walk, &key, &value))
		err = add_module(namespaces, modules, key, value);
	return err;
}

static int by_dict(const void *a, const void *b)
{
	const struct module_dict *x = a, *y = b;

	if (x->dict != y->dict)
		return x->dict < y->dict ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

static struct error *gather(struct namespaces *namespaces)
{
	const struct heaproots *roots = &namespaces->analysis->roots;
	struct error *err = NULL;

	if (namespaces->gathered)
		return NULL;
	for (size_t i = 0; !err && i < roots->num_roots; i++)
		if (is_modules(&roots->roots[i].root))
			err = add_modules_of(namespaces,
					     &roots->roots[i].root);
	if (namespaces->count > 0)
		qsort(namespaces->modules, namespaces->count,
		      sizeof(namespaces->modules[0]), by_dict);
	namespaces->gathered = !err;
	return err;
}

/** The first by which a dict is known, or NULL. */
static const struct module_dict *module_of(const struct namespaces *namespaces,
					   uint32_t object)
{
	const struct heapgraph *heap = namespaces->analysis->heap;
	uint64_t address = heapgraph_address(heap, object);
	size_t low = 0, high = namespaces->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (namespaces->modules[middle].dict < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < namespaces->count &&
			       namespaces->modules[low].dict == address ?
		       &namespaces->modules[low] : NULL;
}

/* --- without a module ----------------------------------------------------- */

static bool has_name(const struct namespaces *namespaces, uint64_t dict)
{
	static const char *const names[] = { "__name__" };
	const struct pyh_naming *naming = namespaces->naming;
	uint64_t budget = NAME_LOOK_MAX, found = 0;
	char name[PYH_NAME_MAX + 1];

	(void)pyh_dict_find(naming->runtime, naming->memory, dict, names, 1,
			    &found, &budget);
	return found && pyh_name_read(naming, found, name, sizeof(name));
}

/** A frame that runs has it for its globals. */
static bool runs_in(const struct namespaces *namespaces, uint32_t object)
{
	size_t count;
	const struct heap_root *roots = heaproots_of(
		&namespaces->analysis->roots, object, &count);

	for (size_t i = 0; i < count; i++)
		if (roots[i].root.kind == PYH_ROOT_FRAME &&
		    roots[i].root.name &&
		    strcmp(roots[i].root.name, "f_globals") == 0)
			return true;
	return false;
}

static bool is_function(const struct namespaces *namespaces, uint64_t address)
{
	const struct heapgraph *heap = namespaces->analysis->heap;
	uint32_t object = heapgraph_find(heap, address);

	return object != GRAPH_NONE &&
	       strcmp(heapgraph_type(heap, object)->name, "function") == 0;
}

/** A function in it has it for its globals, which those in a copy do not. */
static bool has_function(const struct namespaces *namespaces, uint64_t dict)
{
	const struct pyh_naming *naming = namespaces->naming;
	uint64_t budget = GLOBALS_LOOK_MAX, key, value;
	struct pyh_dict_walk walk;

	if (pyh_dict_walk(naming->runtime, naming->memory, dict, &walk) !=
	    PYH_FOUND)
		return false;
	walk.budget = &budget;
	while (pyh_dict_next(&walk, &key, &value))
		if (is_function(namespaces, value) &&
		    field(namespaces, value, PYH_FUNCTION_FUNC_GLOBALS) == dict)
			return true;
	return false;
}

/** What profilers and debuggers run a program in may be no module's. */
static struct error *is_globals(struct namespaces *namespaces, uint32_t object,
				bool *ret)
{
	uint64_t dict = heapgraph_address(namespaces->analysis->heap, object);
	uint32_t known;

	if (hashmap_get(&namespaces->globals, (uint64_t)object + 1, &known)) {
		*ret = known == GLOBALS_YES;
		return NULL;
	}
	*ret = has_name(namespaces, dict) &&
	       (runs_in(namespaces, object) || has_function(namespaces, dict));
	return hashmap_put(&namespaces->globals, (uint64_t)object + 1,
			   *ret ? GLOBALS_YES : GLOBALS_NO);
}

struct error *namespaces_has(struct namespaces *namespaces, uint32_t object,
			     bool *ret)
{
	struct error *err;

	*ret = false;
	if (!is_kind(namespaces, object, PYH_KIND_DICT))
		return NULL;
	err = gather(namespaces);
	if (err)
		return err;
	*ret = module_of(namespaces, object) != NULL;
	return *ret ? NULL : is_globals(namespaces, object, ret);
}

/* --- of paths ------------------------------------------------------------- */

/** Two edges to a dict by sys.modules, or one as if of a function's globals. */
static uint32_t put_way(const struct namespaces *namespaces,
			const struct module_dict *known, uint64_t dict,
			struct pyh_edge way[static 2])
{
	const struct heapgraph *heap = namespaces->analysis->heap;
	const struct pyh_type *type;
	uint64_t module;

	if (!known) {
		way[0] = (struct pyh_edge){ .ref = {
			.kind = PYH_REF_FIELD, .hold = PYH_HOLD_TRAVERSED,
			.address = dict, .name = "func_globals" } };
		return 1;
	}
	module = heapgraph_address(heap, known->module);
	type = heapgraph_type(heap, known->module);
	way[0] = (struct pyh_edge){ .holder = known->modules->address, .ref = {
		.kind = PYH_REF_VALUE, .hold = PYH_HOLD_TRAVERSED,
		.address = module, .key = known->key } };
	way[1] = (struct pyh_edge){ .holder = module, .type = type, .ref = {
		.kind = PYH_REF_DICT, .hold = PYH_HOLD_TRAVERSED,
		.address = dict } };
	return 2;
}

/** Say it by that way, and by the edges of the path from number at on. */
static struct error *say_from(const struct namespaces *namespaces,
			      const struct module_dict *known, uint32_t at,
			      struct path *path)
{
	uint32_t rest = at < path->num_edges ? path->num_edges - at : 0;
	uint64_t dict = heapgraph_address(namespaces->analysis->heap,
					  path->objects[at]);
	uint32_t first;

	path->said = calloc((size_t)rest + 2, sizeof(*path->said));
	if (!path->said)
		return error_no_memory();
	first = put_way(namespaces, known, dict, path->said);
	if (rest > 0)
		memcpy(path->said + first, path->edges + at,
		       rest * sizeof(*path->said));
	path->num_said = first + rest;
	path->said_root = known ? known->modules : path->root;
	return NULL;
}

/** True if a path names a module already: over sys.modules, or it is sys. */
static bool is_said(const struct module_dict *known, uint32_t at,
		    const struct path *path)
{
	return (at == 2 && path->root == known->modules &&
		path->objects[1] == known->module) ||
	       (at == 0 && path->root &&
		path->root->kind == PYH_ROOT_INTERPRETER);
}

/** True where an entry of a dict follows, or nothing at all. */
static bool may_be_said(const struct namespaces *namespaces, uint32_t at,
			const struct path *path)
{
	return is_kind(namespaces, path->objects[at], PYH_KIND_DICT) &&
	       (at < path->num_edges ?
			path->edges[at].ref.kind == PYH_REF_VALUE :
			at == path->count - 1);
}

struct error *namespaces_say(struct namespaces *namespaces, struct path *path)
{
	struct error *err = gather(namespaces);
	bool found = false;

	if (err)
		return err;
	// Beyond the edges that are known only the last object is of interest.
	for (uint32_t i = 0; i <= path->num_edges; i++) {
		uint32_t at = i == 0 ? path->count - 1 : path->num_edges - i;
		const struct module_dict *known;

		if (!may_be_said(namespaces, at, path))
			continue;
		known = module_of(namespaces, path->objects[at]);
		if (known)
			return is_said(known, at, path) ? NULL :
				say_from(namespaces, known, at, path);
		if (at == path->count - 1)
			continue;
		err = is_globals(namespaces, path->objects[at], &found);
		if (err || found)
			return err ? err : say_from(namespaces, NULL, at, path);
	}
	return NULL;
}
