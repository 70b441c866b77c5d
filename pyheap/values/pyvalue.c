/*
 * Values of objects: who writes which, and the bounds of it all.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A type is written by the writer of the nearest of its bases that has one;
 * which that is, is found once for each type. Objects inside of objects make
 * writers call each other, no deeper than PYH_VALUE_DEPTH.
 */
#include "pyheap/values/pyvalue.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pyheap/values/pyrepr.h"

enum { BASES_MAX = 256 };

static pyh_repr_writer write_none, write_ellipsis, write_not_implemented;

/** How the objects of a type are written. */
struct style {
	const char *name;		/* of the type */
	pyh_repr_writer *write;
	enum pyh_struct structure;	/* instances are at least as big */
	/* of containers, else NULL: what stands for one inside of itself (of
	   sets, behind the name), and for one too deep inside of others */
	const char *cycle, *deep;
};

static const struct style styles[] = {
	{ "bool", pyh_write_bool, PYH_STRUCT_VAR, NULL, NULL },
	{ "int", pyh_write_int, PYH_STRUCT_VAR, NULL, NULL },
	{ "float", pyh_write_float, PYH_STRUCT_FLOAT, NULL, NULL },
	{ "complex", pyh_write_complex, PYH_STRUCT_COMPLEX, NULL, NULL },
	{ "decimal.Decimal", pyh_write_decimal, PYH_STRUCT_DECIMAL, NULL,
	  NULL },
	{ "str", pyh_write_str, PYH_STRUCT_UNICODE, NULL, NULL },
	{ "bytes", pyh_write_bytes, PYH_STRUCT_VAR, NULL, NULL },
	{ "bytearray", pyh_write_bytearray, PYH_STRUCT_BYTEARRAY, NULL, NULL },
	{ "list", pyh_write_list, PYH_STRUCT_LIST, "[...]", "[\xe2\x80\xa6]" },
	{ "tuple", pyh_write_tuple, PYH_STRUCT_VAR, "(...)", "(\xe2\x80\xa6)" },
	{ "dict", pyh_write_dict, PYH_STRUCT_DICT, "{...}", "{\xe2\x80\xa6}" },
	{ "frozendict", pyh_write_frozendict, PYH_STRUCT_DICT, "{...}",
	  "{\xe2\x80\xa6}" },
	{ "collections.OrderedDict", pyh_write_odict, PYH_STRUCT_ODICT, "...",
	  "{\xe2\x80\xa6}" },
	{ "collections.defaultdict", pyh_write_defaultdict,
	  PYH_STRUCT_DEFAULTDICT, "{...}", "{\xe2\x80\xa6}" },
	{ "set", pyh_write_set, PYH_STRUCT_SET, "(...)", "{\xe2\x80\xa6}" },
	{ "frozenset", pyh_write_frozenset, PYH_STRUCT_SET, "(...)",
	  "{\xe2\x80\xa6}" },
	{ "collections.deque", pyh_write_deque, PYH_STRUCT_DEQUE, "[...]",
	  "[\xe2\x80\xa6]" },
	{ "array.array", pyh_write_array, PYH_STRUCT_ARRAY, NULL, NULL },
	{ "NoneType", write_none, PYH_STRUCT_OBJECT, NULL, NULL },
	{ "ellipsis", write_ellipsis, PYH_STRUCT_OBJECT, NULL, NULL },
	{ "NotImplementedType", write_not_implemented, PYH_STRUCT_OBJECT, NULL,
	  NULL },
	{ "range", pyh_write_range, PYH_STRUCT_RANGE, NULL, NULL },
	{ "slice", pyh_write_slice, PYH_STRUCT_SLICE, NULL, NULL },
	{ "datetime.datetime", pyh_write_datetime, PYH_STRUCT_DATETIME, NULL,
	  NULL },
	{ "datetime.date", pyh_write_date, PYH_STRUCT_DATE, NULL, NULL },
	{ "datetime.time", pyh_write_time, PYH_STRUCT_TIME, NULL, NULL },
	{ "datetime.timedelta", pyh_write_delta, PYH_STRUCT_DELTA, NULL, NULL },
	{ "datetime.timezone", pyh_write_timezone, PYH_STRUCT_TIMEZONE, NULL,
	  NULL },
	{ "BaseException", pyh_write_exception, PYH_STRUCT_EXCEPTION, NULL,
	  NULL },
	{ "module", pyh_write_module, PYH_STRUCT_MODULE, NULL, NULL },
	{ "type", pyh_write_class, PYH_STRUCT_TYPE, NULL, NULL },
	{ "function", pyh_write_function, PYH_STRUCT_FUNCTION, NULL, NULL },
	{ "builtin_function_or_method", pyh_write_builtin,
	  PYH_STRUCT_CFUNCTION, NULL, NULL },
	{ "method", pyh_write_method, PYH_STRUCT_METHOD, NULL, NULL },
	{ "method-wrapper", pyh_write_method_wrapper, PYH_STRUCT_OBJECT, NULL,
	  NULL },
	{ "frame", pyh_write_frame, PYH_STRUCT_OBJECT, NULL, NULL },
	{ "generator", pyh_write_generator, PYH_STRUCT_OBJECT, NULL, NULL },
	{ "coroutine", pyh_write_generator, PYH_STRUCT_OBJECT, NULL, NULL },
	{ "async_generator", pyh_write_generator, PYH_STRUCT_OBJECT, NULL,
	  NULL },
};

/* Those that are told from their classes, not by a name. */
static const struct style namedtuple_style = {
	"", pyh_write_namedtuple, PYH_STRUCT_VAR, "(...)", "(\xe2\x80\xa6)" };
static const struct style structseq_style = {
	"", pyh_write_structseq, PYH_STRUCT_VAR, "(...)", "(\xe2\x80\xa6)" };
static const struct style enum_style = {
	"", pyh_write_enum, PYH_STRUCT_OBJECT, NULL, NULL };
static const struct style other_style = {
	"", pyh_write_other, PYH_STRUCT_OBJECT, NULL, NULL };

/* Flags that tell of a base whose name the dump does not have. */
static const struct {
	uint64_t flag;
	const char *name;
} flagged[] = {
	{ PYH_TPFLAGS_LONG_SUBCLASS, "int" },
	{ PYH_TPFLAGS_LIST_SUBCLASS, "list" },
	{ PYH_TPFLAGS_TUPLE_SUBCLASS, "tuple" },
	{ PYH_TPFLAGS_BYTES_SUBCLASS, "bytes" },
	{ PYH_TPFLAGS_UNICODE_SUBCLASS, "str" },
	{ PYH_TPFLAGS_DICT_SUBCLASS, "dict" },
	{ PYH_TPFLAGS_BASE_EXC_SUBCLASS, "BaseException" },
	{ PYH_TPFLAGS_TYPE_SUBCLASS, "type" },
};

/** What was found out about a type. */
struct known_type {
	const struct style *style;	/* NULL: not looked at yet */
	const struct pyh_type *base;	/* that the style is of */
};

struct pyh_value_reader {
	const struct pyh_runtime *runtime;	/* borrowed */
	struct pyh_shapes *shapes;		/* borrowed */
	struct pyh_type_reader types;
	struct memory_reader memory;
	struct known_type *known;		/* by type id */
	size_t num_known;
};

struct error *pyh_value_reader_create(const struct pyh_runtime *runtime,
				      struct pyh_types *types,
				      struct pyh_shapes *shapes,
				      struct pyh_value_reader **ret)
{
	struct pyh_value_reader *reader = calloc(1, sizeof(*reader));
	struct error *err;

	if (!reader)
		return error_no_memory();
	reader->runtime = runtime;
	reader->shapes = shapes;
	err = pyh_type_reader_init(&reader->types, types);
	if (!err)
		err = memory_reader_init(&reader->memory,
					 runtime->image->memory);
	if (err) {
		pyh_value_reader_destroy(reader);
		return err;
	}
	*ret = reader;
	return NULL;
}

void pyh_value_reader_destroy(struct pyh_value_reader *reader)
{
	if (!reader)
		return;
	pyh_type_reader_deinit(&reader->types);
	memory_reader_deinit(&reader->memory);
	free(reader->known);
	free(reader);
}

/* --- types ---------------------------------------------------------------- */

const struct pyh_type *pyh_repr_type_at(struct pyh_repr *repr,
					uint64_t address)
{
	return address ? pyh_type_find(&repr->reader->types, address) : NULL;
}

const struct pyh_type *pyh_repr_type(struct pyh_repr *repr, uint64_t address)
{
	uint64_t type;

	if (address == 0 || address % 8 ||
	    !memory_try_u64(repr->memory,
			    address + pyh_offset(repr->runtime,
						 PYH_OBJECT_OB_TYPE),
			    &type))
		return NULL;
	return pyh_repr_type_at(repr, type);
}

const char *pyh_repr_short_name(const struct pyh_type *type)
{
	const char *name = type->qualname ? type->qualname : type->name;
	const char *dot = strrchr(name, '.');

	return dot ? dot + 1 : name;
}

/**
 * Names are free for everyone to choose: a heap type has to have exactly the
 * size of the structure.
 */
static bool fits(const struct pyh_runtime *runtime,
		 const struct pyh_type *type, const struct style *style)
{
	int64_t size = runtime->size_of[style->structure];

	if (style->structure == PYH_STRUCT_OBJECT ||
	    style->structure == PYH_STRUCT_VAR || type->is_static)
		return type->basicsize >= size && size > 0;
	return type->basicsize == size;
}

static const struct style *style_named(const char *name)
{
	for (size_t i = 0; i < sizeof(styles) / sizeof(styles[0]); i++)
		if (strcmp(styles[i].name, name) == 0)
			return &styles[i];
	return NULL;
}

/** The nearest base of a name that has a writer. */
static struct known_type style_by_name(struct pyh_repr *repr,
				       const struct pyh_type *type)
{
	const struct pyh_type *base = type;

	for (int i = 0; i < BASES_MAX && base; i++) {
		const struct style *style = style_named(base->name);

		if (style && fits(repr->runtime, base, style))
			return (struct known_type){ style, base };
		base = pyh_repr_type_at(repr, base->base);
	}
	for (size_t i = 0; i < sizeof(flagged) / sizeof(flagged[0]); i++)
		if (type->flags & flagged[i].flag)
			return (struct known_type){
				style_named(flagged[i].name), type };
	return (struct known_type){ &other_style, type };
}

static struct known_type look_at(struct pyh_repr *repr,
				 const struct pyh_type *type)
{
	struct known_type known;

	if (pyh_repr_is_enum(repr, type))
		return (struct known_type){ &enum_style, type };
	known = style_by_name(repr, type);
	if (type->kind == PYH_KIND_STRUCTSEQ)
		return (struct known_type){ &structseq_style, type };
	if (known.style->write == pyh_write_tuple && !type->is_static &&
		 pyh_repr_fields(repr, type))
		known.style = &namedtuple_style;
	return known;
}

static struct known_type known_type(struct pyh_repr *repr,
				    const struct pyh_type *type)
{
	struct pyh_value_reader *reader = repr->reader;

	if (type->id >= reader->num_known) {
		size_t room = (type->id | 1023) + 1;
		struct known_type *grown =
			realloc(reader->known, room * sizeof(*grown));

		// Without memory it is found out each time.
		if (!grown)
			return look_at(repr, type);
		memset(grown + reader->num_known, 0,
		       (room - reader->num_known) * sizeof(*grown));
		reader->known = grown;
		reader->num_known = room;
	}
	if (!reader->known[type->id].style) {
		struct known_type found = look_at(repr, type);

		reader->known[type->id] = found;
	}
	return reader->known[type->id];
}

/* --- one object ----------------------------------------------------------- */

static void write_none(struct pyh_repr *repr,
		       const struct pyh_repr_object *object)
{
	(void)object;
	pyh_repr_put(repr, "None");
}

static void write_ellipsis(struct pyh_repr *repr,
			   const struct pyh_repr_object *object)
{
	(void)object;
	pyh_repr_put(repr, "Ellipsis");
}

static void write_not_implemented(struct pyh_repr *repr,
				  const struct pyh_repr_object *object)
{
	(void)object;
	pyh_repr_put(repr, "NotImplemented");
}

static bool is_open(const struct pyh_repr *repr, uint64_t address)
{
	for (unsigned int i = 0; i < repr->depth; i++)
		if (repr->open[i] == address)
			return true;
	return false;
}

/** What stands for an object that is being written already. */
static void put_cycle(struct pyh_repr *repr,
		      const struct pyh_repr_object *object,
		      const struct style *style)
{
	if (style->write == pyh_write_defaultdict) {
		pyh_write_defaultdict_cycle(repr, object);
		return;
	}
	if (style->write == pyh_write_set ||
	    style->write == pyh_write_frozenset)
		pyh_repr_put(repr, pyh_repr_short_name(object->type));
	pyh_repr_put(repr, style->cycle ? style->cycle : "\xe2\x80\xa6");
}

void pyh_repr_value(struct pyh_repr *repr, uint64_t address)
{
	struct pyh_repr_object object = { .address = address };
	struct known_type known;
	uint64_t header[2];

	if (repr->full)
		return;
	if (address == 0) {
		pyh_repr_put(repr, "<NULL>");
		return;
	}
	if (address % 8 == 0 &&
	    !memory_try_read(repr->memory, address, header, sizeof(header))) {
		pyh_repr_unread(repr, address);
		return;
	}
	object.type = pyh_repr_type(repr, address);
	if (!object.type) {
		pyh_repr_format(repr, "<damaged: no object at 0x%" PRIx64 ">",
				address);
		return;
	}
	known = known_type(repr, object.type);
	object.base = known.base;
	if (is_open(repr, address)) {
		put_cycle(repr, &object, known.style);
	} else if (repr->depth >= (known.style->deep ? PYH_VALUE_DEPTH :
						       PYH_REPR_OPEN_MAX)) {
		pyh_repr_put(repr, known.style->deep ? known.style->deep :
						       "\xe2\x80\xa6");
	} else {
		repr->open[repr->depth++] = address;
		known.style->write(repr, &object);
		repr->depth--;
	}
}

void pyh_repr_value_at(struct pyh_repr *repr, uint64_t structure,
		       enum pyh_field field)
{
	uint64_t address;

	if (pyh_repr_field(repr, structure, field, &address))
		pyh_repr_value(repr, address);
}

void pyh_value_repr(struct pyh_value_reader *reader, uint64_t address,
		    char *buffer, size_t size)
{
	struct pyh_repr repr = {
		.reader = reader,
		.runtime = reader->runtime,
		.shapes = reader->shapes,
		.memory = &reader->memory,
		.buffer = buffer,
		.size = size,
		.budget = PYH_VALUE_BUDGET,
	};

	buffer[0] = '\0';
	pyh_repr_value(&repr, address);
}
