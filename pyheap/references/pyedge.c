/*
 * Paths of references as a person would write them; see pyedge.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyedge.h"

#include <inttypes.h>
#include <string.h>

#include "pyheap/references/pyedgename.h"

enum {
	VALUE_MAX = 64,		/* bytes of the value of a key */
	HOLDER_MAX = 80,	/* of who holds a traceback */
	PLACE_MAX = PYH_NAME_MAX + HOLDER_MAX + 64,	/* of where a root is */
};

/** A path being written. */
struct path {
	const struct pyh_naming *naming;
	const struct pyh_root *root;	/* NULL: none */
	const struct pyh_edge *edges;
	size_t count, at;		/* at: the next edge */
	const struct pyh_edge *before;	/* the one before edges, or NULL */
	struct pyh_root place;		/* said behind all steps, if placed */
	bool placed;
	bool by_traceback;		/* a traceback holds that place */
	char holder[HOLDER_MAX];	/* what holds the traceback */
	char place_text[PLACE_MAX];	/* what will be said there */
	size_t place_size;
	size_t room;			/* bytes for all of it */
	struct pyh_repr text;		/* its size leaves room for the place */
};

/** Fields that Python knows by another name than CPython. */
static const struct {
	const char *field, *name;
} python_names[] = {
	{ "func_code", "__code__" },
	{ "func_globals", "__globals__" },
	{ "func_defaults", "__defaults__" },
	{ "func_kwdefaults", "__kwdefaults__" },
	{ "func_closure", "__closure__" },
	{ "func_doc", "__doc__" },
	{ "func_name", "__name__" },
	{ "func_qualname", "__qualname__" },
	{ "func_module", "__module__" },
	{ "func_annotations", "__annotations__" },
	{ "func_annotate", "__annotate__" },
	{ "func_builtins", "__builtins__" },
	{ "func_typeparams", "__type_params__" },
	{ "im_func", "__func__" },
	{ "im_self", "__self__" },
	{ "m_self", "__self__" },
	{ "m_module", "__module__" },
	{ "md_name", "__name__" },
	{ "ob_ref", "cell_contents" },
	{ "prop_get", "fget" },
	{ "prop_set", "fset" },
	{ "prop_del", "fdel" },
	{ "prop_doc", "__doc__" },
	{ "d_type", "__objclass__" },
	{ "d_name", "__name__" },
	{ "d_qualname", "__qualname__" },
	{ "wr_object", "()" },
	{ "wr_callback", "__callback__" },
	{ "tp_dict", "__dict__" },
	{ "tp_bases", "__bases__" },
	{ "tp_base", "__base__" },
	{ "tp_mro", "__mro__" },
	{ "tp_subclasses", "__subclasses__" },
	{ "ht_name", "__name__" },
	{ "ht_qualname", "__qualname__" },
	{ "ht_slots", "__slots__" },
};

/* The same of exceptions: others may have slots of these names. */
static const struct {
	const char *field, *name;
} exception_names[] = {
	{ "traceback", "__traceback__" },
	{ "context", "__context__" },
	{ "cause", "__cause__" },
	{ "notes", "__notes__" },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *python_name(const struct pyh_edge *edge)
{
	const char *field = edge->ref.name;

	for (size_t i = 0; i < COUNT(python_names); i++)
		if (strcmp(python_names[i].field, field) == 0)
			return python_names[i].name;
	if (!edge->type || !(edge->type->flags & PYH_TPFLAGS_BASE_EXC_SUBCLASS))
		return field;
	for (size_t i = 0; i < COUNT(exception_names); i++)
		if (strcmp(exception_names[i].field, field) == 0)
			return exception_names[i].name;
	return field;
}

/** The edge that many after the next one, or NULL. */
static const struct pyh_edge *ahead(const struct path *path, size_t by)
{
	return by < path->count - path->at ? &path->edges[path->at + by] : NULL;
}

static bool is_field(const struct pyh_edge *edge, const char *name)
{
	return edge && edge->ref.kind == PYH_REF_FIELD && edge->ref.name &&
	       strcmp(python_name(edge), name) == 0;
}

/** A variable of a frame, or an entry of its stack, which may be guessed. */
static bool is_slot(const struct pyh_edge *edge)
{
	return edge && edge->type &&
	       (edge->ref.kind == PYH_REF_LOCAL ||
		(edge->ref.kind == PYH_REF_GUESS &&
		 (edge->type->kind == PYH_KIND_FRAME ||
		  edge->type->kind == PYH_KIND_GENERATOR ||
		  edge->type->kind == PYH_KIND_GREENLET ||
		  edge->type->kind == PYH_KIND_OLD_GREENLET)));
}

/* --- keys and elements ---------------------------------------------------- */

/** Put a value in brackets, or "..." where values are not shown. */
static void put_value(struct path *path, const char *open, uint64_t object,
		      const char *close)
{
	char value[VALUE_MAX];

	pyh_repr_put(&path->text, open);
	if (path->naming->values) {
		pyh_value_repr(path->naming->values, object, value,
			       sizeof(value));
		pyh_repr_bytes(&path->text, value, strlen(value));
	} else {
		pyh_repr_put(&path->text, "...");
	}
	pyh_repr_put(&path->text, close);
}

/** Put ".name" if the str is an identifier. */
static bool put_attribute(struct path *path, uint64_t key)
{
	char name[PYH_NAME_MAX + 1];

	if (!pyh_name_identifier(path->naming, key, name))
		return false;
	pyh_repr_put(&path->text, ".");
	pyh_repr_bytes(&path->text, name, strlen(name));
	return true;
}

/** Put a name behind a dot, or what stands for one that is none. */
static void put_name_in(struct path *path, uint64_t key)
{
	char name[PYH_NAME_MAX + 1];

	if (pyh_name_identifier(path->naming, key, name))
		pyh_repr_bytes(&path->text, name, strlen(name));
	else
		put_value(path, "__dict__[", key, "]");
}

/** Leave room behind the steps for where they begin, if it is not too much. */
static void make_place(struct path *path)
{
	struct pyh_repr text = { .runtime = path->naming->runtime,
				 .memory = path->naming->memory,
				 .buffer = path->place_text,
				 .size = PLACE_MAX };

	path->place_text[0] = '\0';
	if (path->placed)
		pyh_name_put_place(path->naming, &text, &path->place);
	if (path->placed && path->by_traceback) {
		pyh_repr_put(&text, " (frame kept by ");
		pyh_repr_put(&text, path->holder);
		pyh_repr_put(&text, ")");
	}
	path->place_size =
		path->text.at + text.at + PYH_EDGE_TEXT_MIN <= path->room ?
			text.at : 0;
	path->text.size = path->room - path->place_size;
}

/* --- steps of several references ------------------------------------------ */

/**
 * A name in a module's namespace: says better what this is than how the path
 * came there, which is forgotten. False if the module has no name.
 */
static bool put_module_name(struct path *path, uint64_t dict, uint64_t key)
{
	struct pyh_repr before = path->text;

	path->text.at = path->text.cut = 0;
	if (!pyh_name_put_module(path->naming, &path->text, 0, dict)) {
		path->text = before;
		return false;
	}
	put_name_in(path, key);
	// Each interpreter has modules of its own.
	path->placed = path->root && path->root->kind == PYH_ROOT_INTERPRETER;
	if (path->by_traceback) {
		path->by_traceback = false;
		path->place = path->root ? *path->root : path->place;
		make_place(path);
	}
	return true;
}

/** object, its dict, a value of that: `.attr` */
static void put_namespace(struct path *path)
{
	const struct pyh_edge *dict = ahead(path, 0);
	const struct pyh_edge *value = ahead(path, 1);

	if (!value || value->ref.kind != PYH_REF_VALUE) {
		path->at++;
		pyh_repr_put(&path->text, ".__dict__");
		return;
	}
	path->at += 2;
	if ((dict->type && dict->type->kind == PYH_KIND_MODULE &&
	     put_module_name(path, dict->ref.address, value->ref.key)) ||
	    put_attribute(path, value->ref.key))
		return;
	pyh_repr_put(&path->text, ".__dict__");
	put_value(path, "[", value->ref.key, "]");
}

/** function, its closure, a cell, what is in that: `.<closure x>` */
static bool put_closure(struct path *path)
{
	const struct pyh_edge *closure = ahead(path, 0);
	const struct pyh_edge *item = ahead(path, 1);
	char name[PYH_NAME_MAX + 1];

	if (!is_field(closure, "__closure__") || !item ||
	    item->ref.kind != PYH_REF_ITEM ||
	    !pyh_name_read(path->naming,
			   pyh_name_of_free(path->naming, closure->holder,
					    item->ref.index),
			   name, sizeof(name)))
		return false;
	pyh_repr_put(&path->text, ".<closure ");
	pyh_repr_bytes(&path->text, name, strlen(name));
	pyh_repr_put(&path->text, ">");
	path->at += is_field(ahead(path, 2), "cell_contents") ? 3 : 2;
	return true;
}

/** function or frame, its globals, a value of them: `module.name` */
static bool put_globals(struct path *path)
{
	const struct pyh_edge *globals = ahead(path, 0);
	const struct pyh_edge *value = ahead(path, 1);

	if (!(is_field(globals, "__globals__") ||
	      is_field(globals, "f_globals")) ||
	    !value || value->ref.kind != PYH_REF_VALUE ||
	    !put_module_name(path, globals->ref.address, value->ref.key))
		return false;
	path->at += 2;
	return true;
}

/** True where a generator leads to its frame's variables. */
static bool is_own_frame(const struct path *path)
{
	const struct pyh_edge *edge = ahead(path, 0);
	const struct pyh_edge *next = ahead(path, 1);

	return (is_field(edge, "gi_frame") || is_field(edge, "cr_frame") ||
		is_field(edge, "ag_frame")) &&
	       is_slot(next);
}

/** Which of the frames of a greenlet it is of. */
static void put_frame_of(struct path *path, const struct pyh_edge *edge)
{
	if (edge->ref.key) {
		pyh_repr_put(&path->text, " in ");
		pyh_name_put_code(path->naming, &path->text, edge->ref.key);
	}
	pyh_repr_put(&path->text, ">");
}

static void put_local(struct path *path, const struct pyh_edge *edge)
{
	uint64_t code = edge->ref.key ? edge->ref.key :
		pyh_name_code_of(path->naming, edge->holder, edge->type);
	char name[PYH_NAME_MAX + 1];

	path->at++;
	if (!pyh_name_read(path->naming,
			   pyh_name_of_local(path->naming, code,
					     edge->ref.index),
			   name, sizeof(name))) {
		pyh_repr_put(&path->text, ".<temporary value");
		put_frame_of(path, edge);
		return;
	}
	pyh_repr_put(&path->text, ".<local ");
	pyh_repr_bytes(&path->text, name, strlen(name));
	put_frame_of(path, edge);
	if (is_field(ahead(path, 0), "cell_contents"))
		path->at++;
}

/** "sys.last_value" of "sys.last_value.__traceback__.tb_next". */
static void note_holder(struct path *path)
{
	static const char *const ends[] = { ".__traceback__", ".tb_next" };
	const char *text = path->text.buffer;
	size_t size = path->text.at;

	for (size_t i = 0; i < COUNT(ends); i++) {
		const char *end = memmem(text, size, ends[i], strlen(ends[i]));

		size = end ? (size_t)(end - text) : size;
	}
	if (size == 0 || size >= HOLDER_MAX) {
		(void)strcpy(path->holder, "a traceback");
		return;
	}
	memcpy(path->holder, text, size);
	path->holder[size] = '\0';
}

/**
 * A traceback, a frame that ended by the exception, a variable of that: says
 * better what this is than the way to the exception, of which the beginning goes
 * behind it.
 */
static bool put_traceback(struct path *path)
{
	const struct pyh_edge *edge = ahead(path, 1);
	struct pyh_root root = { .kind = PYH_ROOT_LOCAL };

	if (path->room == 0 || !is_field(ahead(path, 0), "tb_frame") ||
	    !is_slot(edge))
		return false;
	root.code = pyh_name_code_of(path->naming, edge->holder, edge->type);
	if (!pyh_name_of_local(path->naming, root.code, edge->ref.index))
		root.kind = PYH_ROOT_STACK;
	root.index = edge->ref.index;
	path->place = root;
	note_holder(path);
	path->placed = path->by_traceback = true;
	path->text.at = path->text.cut = 0;
	path->text.size = path->room;
	pyh_name_put_root(path->naming, &path->text, &root);
	path->at += 2;
	if (is_field(ahead(path, 0), "cell_contents"))
		path->at++;
	make_place(path);
	return true;
}

/* --- one reference -------------------------------------------------------- */

static bool is_lru_cache(const struct pyh_edge *edge)
{
	return edge->type && strcmp(edge->type->name,
				    "functools._lru_cache_wrapper") == 0;
}

static void put_key(struct path *path, const struct pyh_edge *edge)
{
	if (edge->type && edge->type->kind == PYH_KIND_SET)
		put_value(path, "{", edge->ref.address, "}");
	else if (is_lru_cache(edge))
		pyh_repr_put(&path->text, ".<cached key>");
	else
		put_value(path, ".<key ", edge->ref.address, ">");
}

static void put_field(struct path *path, const struct pyh_edge *edge)
{
	const char *name = edge->ref.name ? python_name(edge) : "?";

	if (name[0] != '(')
		pyh_repr_put(&path->text, ".");
	pyh_repr_bytes(&path->text, name, strlen(name));
}

static bool is_root(const struct path *path, const char *name)
{
	return path->root && path->root->name &&
	       (path->root->kind == PYH_ROOT_INTERPRETER ||
		path->root->kind == PYH_ROOT_FRAME) &&
	       strcmp(path->root->name, name) == 0;
}

/** sys.modules, whose keys are names with dots. */
static bool is_modules(const struct path *path)
{
	return is_root(path, "modules") || is_root(path, "imports.modules");
}

/** True if an edge leads to a dict whose keys are names. */
static bool is_namespace(const struct pyh_edge *edge)
{
	return edge && (edge->ref.kind == PYH_REF_DICT ||
			is_field(edge, "__dict__") ||
			is_field(edge, "__globals__") ||
			is_field(edge, "f_globals") ||
			is_field(edge, "f_locals"));
}

/** Reads the key of an entry where that is a name of code. */
static bool read_key(const struct path *path, const struct pyh_edge *edge,
		     const struct pyh_edge *before,
		     char name[static PYH_NAME_MAX + 1])
{
	if (before)
		return is_namespace(before) &&
		       pyh_name_identifier(path->naming, edge->ref.key, name);
	if (is_modules(path))
		return pyh_name_read(path->naming, edge->ref.key, name,
				     PYH_NAME_MAX + 1);
	return (is_root(path, "sysdict") || is_root(path, "builtins") ||
		is_root(path, "f_locals") ||
		is_root(path, "types.builtins.tp_dict")) &&
	       pyh_name_identifier(path->naming, edge->ref.key, name);
}

static void put_item(struct path *path, const struct pyh_edge *edge,
		     const struct pyh_edge *before)
{
	char name[PYH_NAME_MAX + 1];

	if (!read_key(path, edge, before, name)) {
		put_value(path, "[", edge->ref.key, "]");
		return;
	}
	pyh_repr_put(&path->text, "['");
	pyh_repr_bytes(&path->text, name, strlen(name));
	pyh_repr_put(&path->text, "']");
}

static void put_single(struct path *path, const struct pyh_edge *edge)
{
	struct pyh_repr *text = &path->text;
	const struct pyh_edge *before =
		path->at > 0 ? &path->edges[path->at - 1] : path->before;

	path->at++;
	switch (edge->ref.kind) {
	case PYH_REF_TYPE:
		pyh_repr_put(text, ".__class__");
		break;
	case PYH_REF_ATTRIBUTE:
		if (!put_attribute(path, edge->ref.key))
			put_value(path, ".__dict__[", edge->ref.key, "]");
		break;
	case PYH_REF_ITEM:
		pyh_repr_format(text, is_lru_cache(edge) ?
				".<cache entry %" PRIu64 ">" :
				"[%" PRIu64 "]", edge->ref.index);
		break;
	case PYH_REF_KEY:
		put_key(path, edge);
		break;
	case PYH_REF_VALUE:
		if (is_lru_cache(edge))
			pyh_repr_put(text, ".<cached value>");
		else
			put_item(path, edge, before);
		break;
	case PYH_REF_GUESS:
		pyh_repr_format(text, ".<word at +%" PRIu64 ">",
				edge->ref.index);
		break;
	default:
		put_field(path, edge);
	}
}

static void put_step(struct path *path)
{
	const struct pyh_edge *edge = ahead(path, 0);

	if (edge->ref.kind == PYH_REF_DICT || is_field(edge, "__dict__"))
		put_namespace(path);
	else if (is_slot(edge))
		put_local(path, edge);
	else if (is_own_frame(path))
		path->at++;
	else if (!put_closure(path) && !put_globals(path) &&
		 !put_traceback(path))
		put_single(path, edge);
}

/* --- the beginning -------------------------------------------------------- */

/** sys.modules, a module, its dict, a value: `module.name` */
static void put_module(struct path *path, const struct pyh_edge *module)
{
	const struct pyh_edge *dict = ahead(path, 1);
	const struct pyh_edge *value = ahead(path, 2);
	char name[PYH_NAME_MAX + 1];

	if (dict && dict->ref.kind == PYH_REF_DICT && value &&
	    value->ref.kind == PYH_REF_VALUE) {
		(void)pyh_name_put_module(path->naming, &path->text,
					  module->ref.key, dict->ref.address);
		put_name_in(path, value->ref.key);
		path->at += 3;
		return;
	}
	path->at++;
	if (!pyh_name_read(path->naming, module->ref.key, name, sizeof(name)))
		(void)strcpy(name, "?");
	pyh_repr_put(&path->text, "sys.modules['");
	pyh_repr_bytes(&path->text, name, strlen(name));
	pyh_repr_put(&path->text, "']");
}

/** A name in the dict of locals of the root's frame: of a module, globals. */
static void put_local_of(struct path *path, uint64_t key)
{
	if (pyh_name_is_module_code(path->naming, path->root->code)) {
		pyh_name_put_code(path->naming, &path->text, path->root->code);
		pyh_repr_put(&path->text, ":");
		path->placed = false;
	} else {
		pyh_repr_put(&path->text, "local ");
	}
	put_name_in(path, key);
}

/** A root that is a namespace, and a value of it. */
static bool put_root_namespace(struct path *path, const struct pyh_edge *value)
{
	struct pyh_repr *text = &path->text;
	const struct pyh_type *type;

	if (is_modules(path)) {
		put_module(path, value);
		return true;
	}
	if (is_root(path, "f_locals")) {
		put_local_of(path, value->ref.key);
		path->at++;
		return true;
	}
	if (is_root(path, "sysdict")) {
		pyh_repr_put(text, "sys.");
	} else if (is_root(path, "builtins")) {
		pyh_repr_put(text, "builtins.");
	} else if (is_root(path, "types.builtins.tp_dict") &&
		   (type = pyh_type_find(path->naming->types,
					 path->root->type)) != NULL) {
		pyh_repr_put(text, type->name);
		pyh_repr_put(text, ".");
	} else {
		return false;
	}
	put_name_in(path, value->ref.key);
	path->at++;
	return true;
}

/**
 * Up to 3.10: a frame that runs, or one that called it, and a variable or
 * temporary value of that.
 */
static bool put_frame_variable(struct path *path)
{
	struct pyh_root root = *path->root;
	const struct pyh_edge *edge;
	size_t by = 0;

	while (is_field(ahead(path, by), "f_back"))
		by++;
	edge = ahead(path, by);
	if (!is_root(path, "frame") || !is_slot(edge))
		return false;
	root.code = pyh_name_code_of(path->naming, edge->holder, edge->type);
	root.kind = pyh_name_of_local(path->naming, root.code,
				      edge->ref.index) ? PYH_ROOT_LOCAL :
							 PYH_ROOT_STACK;
	root.index = edge->ref.index;
	path->place = root;
	pyh_name_put_root(path->naming, &path->text, &root);
	path->at += by + 1;
	if (is_field(ahead(path, 0), "cell_contents"))
		path->at++;
	return true;
}

/** Up to 3.10: a frame that runs, its dict of locals, a value of that. */
static bool put_frame_namespace(struct path *path)
{
	const struct pyh_edge *value = ahead(path, 1);

	if (!is_root(path, "frame") || !is_field(ahead(path, 0), "f_locals") ||
	    !value || value->ref.kind != PYH_REF_VALUE)
		return false;
	put_local_of(path, value->ref.key);
	path->at += 2;
	return true;
}

static void put_beginning(struct path *path)
{
	const struct pyh_edge *first = ahead(path, 0);

	if (path->root) {
		path->place = *path->root;
		path->placed = true;
	}

	if (!path->root) {
		pyh_repr_put(&path->text, "<");
		if (first && first->type)
			pyh_repr_bytes(&path->text, first->type->name,
				       strlen(first->type->name));
		pyh_repr_put(&path->text, ">");
		return;
	}
	if (first && first->ref.kind == PYH_REF_VALUE &&
	    put_root_namespace(path, first))
		return;
	if (put_frame_variable(path) || put_frame_namespace(path))
		return;
	pyh_name_put_root(path->naming, &path->text, path->root);
	if (path->root->kind == PYH_ROOT_LOCAL &&
	    is_field(first, "cell_contents"))
		path->at++;
	// What stands before is no name in Python.
	if (path->root->kind >= PYH_ROOT_STATIC && path->at < path->count)
		pyh_repr_put(&path->text, " -> ");
}

static struct path path_begin(const struct pyh_naming *naming,
			      const struct pyh_edge *edges, size_t count,
			      char *buffer, size_t size)
{
	buffer[0] = '\0';
	return (struct path){
		.naming = naming, .edges = edges, .count = count,
		.text = { .runtime = naming->runtime, .memory = naming->memory,
			  .buffer = buffer, .size = size,
			  .budget = PYH_VALUE_BUDGET },
	};
}

void pyh_path_text(const struct pyh_naming *naming, const struct pyh_root *root,
		   const struct pyh_edge *edges, size_t count, char *buffer,
		   size_t size)
{
	struct path path = path_begin(naming, edges, count, buffer, size);

	path.root = root;
	path.room = size;
	put_beginning(&path);
	make_place(&path);
	while (path.at < path.count && !path.text.full)
		put_step(&path);
	if (!path.placed)
		path.place_size = 0;
	memcpy(buffer + path.text.at, path.place_text, path.place_size);
	buffer[path.text.at + path.place_size] = '\0';
}

void pyh_step_text(const struct pyh_naming *naming, const struct pyh_root *root,
		   const struct pyh_edge *before, const struct pyh_edge *edge,
		   char *buffer, size_t size)
{
	struct path path = path_begin(naming, edge, 1, buffer, size);

	path.root = root;
	path.before = before;
	put_single(&path, edge);
}
