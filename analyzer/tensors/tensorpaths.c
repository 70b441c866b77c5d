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

enum { HOLDERS_MAX = 4 };	/* tensors on the way from one to its holder */

static struct error *path_of(struct tensors *tensors, uint32_t object,
			     char text[PATH_TEXT_MAX])
{
	CLEANUP(path_deinit) struct path path = { 0 };
	struct error *err = NULL;

	text[0] = '\0';
	if (!tensors->paths)
		err = paths_open(tensors->opened, tensors->analysis,
				 tensors->options.values, &tensors->paths);
	if (!err && !tensors->prepared)
		err = paths_prepare(tensors->paths);
	if (err)
		return err;
	tensors->prepared = true;
	err = paths_find(tensors->paths, object, &path);
	if (!err && path.start != PATH_NOWHERE)
		paths_text(tensors->paths, &path, text);
	return err;
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

/** By the names of modules, if one has it. */
static struct error *module_path(struct tensors *tensors, uint32_t object,
				 char text[TENSOR_PATH_MAX])
{
	char names[TENSOR_PATH_MAX] = ".";
	struct error *err;
	uint32_t module;

	text[0] = '\0';
	if (!tensornames_text(tensors->names, object, &module, names + 1,
			      sizeof(names) - 1))
		return NULL;
	err = path_of_module(tensors, module, text);
	if (!err && *text)
		insert(text, names);
	return err;
}

/** Of a tensor that an object stands for. */
static struct error *object_path(struct tensors *tensors,
				 const struct tensor *tensor,
				 char text[TENSOR_PATH_MAX])
{
	struct error *err = module_path(tensors, tensor->object, text);

	_Static_assert((int)TENSOR_PATH_MAX == (int)PATH_TEXT_MAX,
		       "one buffer for both");
	if (err || *text)
		return err;
	// Its holder is in C++, and not known to be one.
	if (tensor->parent != TENSORS_NONE) {
		uint32_t parent = tensors->items[tensor->parent].object;

		if (parent == TENSORS_NONE)
			return NULL;
		err = module_path(tensors, parent, text);
		if (!err && *text == '\0')
			err = path_of(tensors, parent, text);
		if (!err && *text)
			insert(text, ".grad");
		return err;
	}
	return path_of(tensors, tensor->object, text);
}

/** "local loss in main() thread 7 graph: GeluBackward0, AddmmBackward0" */
static struct error *graph_path(struct tensors *tensors,
				const struct tensor *tensor,
				char text[TENSOR_PATH_MAX])
{
	uint32_t root = tensors->node_roots[tensor->nodes[0]];
	struct error *err = NULL;

	text[0] = '\0';
	if (root != TENSORS_NONE)
		err = object_path(tensors, &tensors->items[root], text);
	append(text, *text ? " graph: " : "graph: ");
	for (int i = 0; i < 2 && tensor->nodes[i] != TENSORS_NONE; i++) {
		char class[TORCH_CLASS_MAX];
		const char *name = tensors_node_name(
			tensors, tensors->graph.nodes[tensor->nodes[i]].address,
			class);

		if (i)
			append(text, ", ");
		append(text, name ? name : "?");
	}
	return err;
}

struct error *tensors_path(struct tensors *tensors, size_t i,
			   char text[TENSOR_PATH_MAX])
{
	const struct tensor *tensor = &tensors->items[i];
	char ways[HOLDERS_MAX][TORCH_CLASS_MAX];
	struct error *err = NULL;
	int steps = 0;

	text[0] = '\0';
	// What a tensor has: that one's path, and how it has it.
	while (tensor->held == TENSOR_BY_TENSOR && steps < HOLDERS_MAX) {
		const struct tensor *holder = &tensors->items[tensor->holder];
		char class[TORCH_CLASS_MAX];
		const char *name = torch_table_class(&tensors->classes,
						     holder->class, class);

		if (tensor->parent == tensor->holder)
			(void)snprintf(ways[steps], TORCH_CLASS_MAX, ".grad");
		else if (name && strcmp(name, "TensorImpl") != 0)
			(void)snprintf(ways[steps], TORCH_CLASS_MAX, " in its "
				       "%.100s", name);
		else
			(void)snprintf(ways[steps], TORCH_CLASS_MAX,
				       ": what it is a view of");
		steps++;
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
		if (tensor->holder != TENSORS_NONE)
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
