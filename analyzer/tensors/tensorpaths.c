/*
 * Where tensors are found, in words; see tensors.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/guard.h"

enum {
	HOLDERS_MAX = 4,	/* ways from one to its holder that are told */
	HOPS_MAX = 64,		/* tensors on the way */
	DEPTH_MAX = 4,		/* … whose paths begin with those of others */
};

/** "local model in main()", and in it ".weight" behind "model". */
static void insert(char text[TENSOR_PATH_MAX], const char *more)
{
	char rest[TENSOR_PATH_MAX] = "";
	size_t at = strlen(text);
	char *in = strncmp(text, "local ", 6) == 0 ? strstr(text, " in ") : NULL;

	if (in) {
		(void)snprintf(rest, sizeof(rest), "%s", in);
		at = (size_t)(in - text);
	}
	(void)snprintf(text + at, TENSOR_PATH_MAX - at, "%s%s", more, rest);
}

static void append(char text[TENSOR_PATH_MAX], const char *more)
{
	size_t used = strlen(text);

	(void)snprintf(text + used, TENSOR_PATH_MAX - used, "%s", more);
}

static struct error *object_path(struct tensors *tensors,
				 const struct tensor *tensor,
				 char text[TENSOR_PATH_MAX]);

/** Whose graph a node is: "local loss in main() thread 7 graph: ". */
static struct error *graph_start(struct tensors *tensors, uint32_t node,
				 char text[TENSOR_PATH_MAX])
{
	uint32_t root = tensors->node_roots[node];
	struct error *err = NULL;

	text[0] = '\0';
	if (root != TENSORS_NONE)
		err = object_path(tensors, &tensors->items[root], text);
	append(text, *text ? " graph: " : "graph: ");
	return err;
}

static void append_node(struct tensors *tensors, uint32_t node,
			char text[TENSOR_PATH_MAX])
{
	char class[TORCH_CLASS_MAX];
	const char *name = tensors_node_name(
		tensors, tensors->graph.nodes[node].address, class);

	append(text, name ? name : "?");
}

/** A result that the function itself has would have no end. */
static bool is_own_root(const struct tensors *tensors, uint32_t node,
			uint32_t object)
{
	uint32_t root = tensors->node_roots[node];

	return tensors->depth >= DEPTH_MAX ||
	       (root != TENSORS_NONE && tensors->items[root].object == object);
}

/** What follows "held by native code: <TYPE>" in a path's text. */
static const char *steps_of(const struct tensors *tensors,
			    const struct path *path, const char *text)
{
	const char *name = heapgraph_type(tensors->analysis->heap,
					  path->objects[0])->name;
	const char *type = strchr(text, '<');

	return type && strncmp(type + 1, name, strlen(name)) == 0 &&
			       type[1 + strlen(name)] == '>' ?
		       type + 1 + strlen(name) + 1 : "";
}

/** What an object has to which a node leads: a function, or what hooks made. */
static struct error *node_path(struct tensors *tensors, const struct path *path,
			       uint32_t node, char text[TENSOR_PATH_MAX])
{
	struct error *err = graph_start(tensors, node, text);
	char whole[PATH_TEXT_MAX];

	paths_text(tensors->paths, path, whole);
	append_node(tensors, node, text);
	append(text, steps_of(tensors, path, whole));
	return err;
}

static struct error *path_of(struct tensors *tensors, uint32_t object,
			     char text[PATH_TEXT_MAX])
{
	CLEANUP(path_deinit) struct path path = { 0 };
	const struct tensors_packed *packed;
	uint32_t node = TENSORS_NONE;
	struct error *err = NULL;

	text[0] = '\0';
	if (!tensors->paths)
		err = paths_open(tensors->opened, tensors->analysis,
				 tensors->options.values, &tensors->paths);
	if (!err)
		err = paths_find(tensors->paths, object, &path);
	if (err || path.start == PATH_NOWHERE)
		return err;
	if (path.start == PATH_UNEXPLAINED && tensors->node_roots) {
		packed = tensors_packed_of(tensors, path.objects[0]);
		node = packed ? packed->node : path.count > 1 ?
			tensors_function_node(tensors, path.objects[0]) :
			TENSORS_NONE;
	}
	if (node != TENSORS_NONE && !is_own_root(tensors, node, object))
		return node_path(tensors, &path, node, text);
	paths_text(tensors->paths, &path, text);
	return NULL;
}

/** Of a module, which many tensors have: found once. */
static struct error *path_of_module(struct tensors *tensors, uint32_t module,
				    char text[PATH_TEXT_MAX])
{
	uint32_t number;
	struct error *err;
	char **grown;

	if (hashmap_get(&tensors->module_paths, (uint64_t)module + 1,
			&number)) {
		(void)snprintf(text, PATH_TEXT_MAX, "%s",
			       tensors->texts[number]);
		return NULL;
	}
	err = path_of(tensors, module, text);
	if (err)
		return err;
	grown = realloc(tensors->texts,
			((size_t)tensors->num_texts + 1) * sizeof(*grown));
	if (!grown)
		return error_no_memory();
	tensors->texts = grown;
	grown[tensors->num_texts] = strdup(text);
	if (!grown[tensors->num_texts])
		return error_no_memory();
	return hashmap_put(&tensors->module_paths, (uint64_t)module + 1,
			   tensors->num_texts++);
}

/** By the names of modules, if one has it. */
static struct error *module_path(struct tensors *tensors, uint32_t object,
				 char text[TENSOR_PATH_MAX])
{
	char names[TENSOR_PATH_MAX] = ".";
	uint32_t module, wrapper;
	struct error *err;

	text[0] = '\0';
	if (!tensornames_text(tensors->names, object, &module, names + 1,
			      sizeof(names) - 1))
		return NULL;
	// It may begin with a tensor, which modules have no name for.
	wrapper = tensors_of_object(tensors, module);
	err = wrapper == TENSORS_NONE || wrapper == tensors_of_object(tensors,
								     object) ?
		      path_of_module(tensors, module, text) :
		      object_path(tensors, &tensors->items[wrapper], text);
	if (!err && *text)
		insert(text, names);
	return err;
}

/** Of a gradient: its holder is in C++, and not known to be one. */
static struct error *gradient_path(struct tensors *tensors, uint32_t parent,
				   char text[TENSOR_PATH_MAX])
{
	uint32_t object = tensors->items[parent].object;
	struct error *err;

	if (object == TENSORS_NONE)
		return NULL;
	err = module_path(tensors, object, text);
	if (!err && *text == '\0')
		err = path_of(tensors, object, text);
	if (!err && *text)
		insert(text, ".grad");
	return err;
}

/** Of a tensor that an object stands for. */
static struct error *object_path(struct tensors *tensors,
				 const struct tensor *tensor,
				 char text[TENSOR_PATH_MAX])
{
	struct error *err = NULL;

	_Static_assert((int)TENSOR_PATH_MAX == (int)PATH_TEXT_MAX,
		       "one buffer for both");
	text[0] = '\0';
	// A gradient may have its parameter as an attribute.
	if (tensors->depth < DEPTH_MAX) {
		tensors->depth++;
		err = module_path(tensors, tensor->object, text);
		if (!err && *text == '\0' && tensor->parent != TENSORS_NONE) {
			err = gradient_path(tensors, tensor->parent, text);
			tensors->depth--;
			return err;
		}
		tensors->depth--;
	}
	return err || *text ? err : path_of(tensors, tensor->object, text);
}

/** "local loss in main() thread 7 graph: GeluBackward0, AddmmBackward0" */
static struct error *graph_path(struct tensors *tensors,
				const struct tensor *tensor,
				char text[TENSOR_PATH_MAX])
{
	struct error *err = graph_start(tensors, tensor->nodes[0], text);

	for (int i = 0; i < 2 && tensor->nodes[i] != TENSORS_NONE; i++) {
		if (i)
			append(text, ", ");
		append_node(tensors, tensor->nodes[i], text);
	}
	return err;
}

/** "local served._c in main()", which Python's module has: a module's names. */
static void insert_native(const struct tensors *tensors,
			  const struct tensor *tensor,
			  char text[TENSOR_PATH_MAX])
{
	const struct tensors_slot *slot = tensors_slot_of(
		tensors, (uint32_t)(tensor - tensors->items));
	char names[TENSOR_PATH_MAX];
	char *own = strstr(text, "._c");

	if (!slot) {
		insert(text, " (in C++)");
		return;
	}
	if (own && (own[3] == '\0' || own[3] == ' '))
		(void)memmove(own, own + 3, strlen(own + 3) + 1);
	tensors_slot_text(tensors, slot, names);
	insert(text, names);
}

struct error *tensors_path(struct tensors *tensors, size_t i,
			   char text[TENSOR_PATH_MAX])
{
	const struct tensor *tensor = &tensors->items[i];
	char ways[HOLDERS_MAX][TORCH_CLASS_MAX];
	struct error *err = NULL;
	int steps = 0, hops = 0;

	text[0] = '\0';
	// What a tensor has: that one's path, and how it has it.
	while (tensor->held == TENSOR_BY_TENSOR && steps < HOLDERS_MAX &&
	       hops < HOPS_MAX) {
		const struct tensor *holder = &tensors->items[tensor->holder];
		char class[TORCH_CLASS_MAX];
		const char *name = torch_table_class(&tensors->classes,
						     holder->class, class);

		if (tensor->parent == tensor->holder)
			(void)snprintf(ways[steps], TORCH_CLASS_MAX, ".grad");
		else if (tensor->through != TENSORS_NONE)
			(void)snprintf(ways[steps], TORCH_CLASS_MAX, " in its "
				       "%.100s",
				       tensors->owners[tensor->through]);
		else if (name && strcmp(name, "TensorImpl") != 0)
			(void)snprintf(ways[steps], TORCH_CLASS_MAX, " in its "
				       "%.100s", name);
		else
			(void)snprintf(ways[steps], TORCH_CLASS_MAX,
				       ": what it is a view of");
		// A view of a view is one of what that is a view of.
		if (steps == 0 || strcmp(ways[steps], ways[steps - 1]) != 0)
			steps++;
		hops++;
		tensor = holder;
	}
	switch ((enum tensor_held)tensor->held) {
	case TENSOR_BY_PYTHON:
		err = object_path(tensors, tensor, text);
		break;
	case TENSOR_BY_GRAPH:
		err = graph_path(tensors, tensor, text);
		break;
	case TENSOR_BY_CXX:
		if (tensor->native != TENSORS_NONE)
			err = path_of(tensors, tensor->native, text);
		if (!err && *text)
			insert_native(tensors, tensor, text);
		else if (!err && tensor->holder != TENSORS_NONE)
			(void)snprintf(text, TENSOR_PATH_MAX, "C++: %s",
				       tensors->owners[tensor->holder]);
		break;
	case TENSOR_BY_TENSOR:
		break;
	}
	while (!err && *text && steps-- > 0) {
		if (ways[steps][0] == '.')
			insert(text, ways[steps]);
		else
			append(text, ways[steps]);
	}
	return err;
}

/** "[3]" and ".3." become "[*]" and ".*.". */
static void star(char *text)
{
	char *to = text, before = '\0';

	for (const char *from = text; *from;) {
		if (isdigit((unsigned char)*from) &&
		    (before == '.' || before == '[')) {
			while (isdigit((unsigned char)*from))
				from++;
			*to++ = before = '*';
			continue;
		}
		before = *to++ = *from++;
	}
	*to = '\0';
}

struct error *tensors_starred(struct tensors *tensors, size_t i,
			      char text[TENSOR_PATH_MAX])
{
	struct error *err = tensors_path(tensors, i, text);

	star(text);
	return err;
}
