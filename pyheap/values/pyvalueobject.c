/*
 * Values of everything else: classes, functions, modules, exceptions, members
 * of enumerations, and plain instances.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/rangeobject.c, sliceobject.c, exceptions.c,
 * moduleobject.c, typeobject.c, funcobject.c, methodobject.c, classobject.c,
 * genobject.c, frameobject.c, descrobject.c and Lib/enum.py.
 */
#include <inttypes.h>
#include <string.h>

#include "pyheap/references/pyrefs.h"
#include "pyheap/sizes/pysize.h"
#include "pyheap/threads/pystack.h"
#include "pyheap/types/pyattributes.h"
#include "pyheap/types/pytypeview.h"
#include "pyheap/values/pydict.h"
#include "pyheap/values/pyrepr.h"
#include "pyheap/values/pystr.h"

enum {
	BASES_MAX = 64,
	FIELDS_MAX = 4096,		/* of a namedtuple */
	TYPE_DICT_BUDGET = 4096,	/* entries of a type's dict looked at */
};

void pyh_write_range(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	uint64_t step;

	pyh_repr_put(repr, "range(");
	pyh_repr_value_at(repr, object->address, PYH_RANGE_START);
	pyh_repr_put(repr, ", ");
	pyh_repr_value_at(repr, object->address, PYH_RANGE_STOP);
	if (pyh_repr_field(repr, object->address, PYH_RANGE_STEP, &step)) {
		// A step of one is not shown.
		size_t at = repr->at, cut = repr->cut;
		bool full = repr->full;

		pyh_repr_put(repr, ", ");
		pyh_repr_value(repr, step);
		if (!full && repr->at - at == 3 &&
		    strcmp(repr->buffer + at, ", 1") == 0) {
			repr->at = at;
			repr->cut = cut;
			repr->buffer[at] = '\0';
		}
	}
	pyh_repr_put(repr, ")");
}

void pyh_write_slice(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	pyh_repr_put(repr, "slice(");
	pyh_repr_value_at(repr, object->address, PYH_SLICE_START);
	pyh_repr_put(repr, ", ");
	pyh_repr_value_at(repr, object->address, PYH_SLICE_STOP);
	pyh_repr_put(repr, ", ");
	pyh_repr_value_at(repr, object->address, PYH_SLICE_STEP);
	pyh_repr_put(repr, ")");
}

void pyh_write_exception(struct pyh_repr *repr,
			 const struct pyh_repr_object *object)
{
	uint64_t args, count, only;

	pyh_repr_put(repr, pyh_repr_short_name(object->type));
	if (!pyh_repr_field(repr, object->address, PYH_EXCEPTION_ARGS, &args))
		return;
	// One argument stands without the comma of a tuple.
	if (!pyh_field(repr->runtime, repr->memory, args, PYH_VAR_OB_SIZE,
		       &count) || count != 1) {
		pyh_repr_value(repr, args);
		return;
	}
	pyh_repr_put(repr, "(");
	if (pyh_repr_field(repr, args, PYH_TUPLE_OB_ITEM, &only))
		pyh_repr_value(repr, only);
	pyh_repr_put(repr, ")");
}

/* --- attributes ----------------------------------------------------------- */

/** The dict of a type's attributes, or 0. */
static uint64_t type_dict(struct pyh_repr *repr, const struct pyh_type *type)
{
	struct pyh_type_view view;

	return pyh_type_view(repr->runtime, repr->memory, type->chains,
			     type->address, &view) ?
		       pyh_type_dict(repr->runtime, repr->memory, &view) : 0;
}

/* --- namedtuple and enum -------------------------------------------------- */

/** True if a tuple is one of as many str as it says. */
static bool is_fields(struct pyh_repr *repr, uint64_t address)
{
	const struct pyh_type *type = pyh_repr_type(repr, address), *item_type;
	uint32_t first = pyh_offset(repr->runtime, PYH_TUPLE_OB_ITEM);
	uint64_t count, item;

	if (!type || type->kind != PYH_KIND_TUPLE ||
	    !pyh_field(repr->runtime, repr->memory, address, PYH_VAR_OB_SIZE,
		       &count) || count > FIELDS_MAX)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		if (!memory_try_u64(repr->memory, address + first + i * 8,
				    &item))
			return false;
		item_type = pyh_repr_type(repr, item);
		if (!item_type || item_type->kind != PYH_KIND_STR)
			return false;
	}
	return true;
}

uint64_t pyh_repr_fields(struct pyh_repr *repr, const struct pyh_type *type)
{
	static const char *const names[] = { "_fields", "_make" };

	for (int i = 0; i < BASES_MAX && type && !type->is_static; i++) {
		uint64_t budget = TYPE_DICT_BUDGET, found[2] = { 0 };
		uint64_t dict = type_dict(repr, type);

		if (dict)
			(void)pyh_dict_find(repr->runtime, repr->memory, dict,
					    names, 2, found, &budget);
		if (found[0] && found[1] && is_fields(repr, found[0]))
			return found[0];
		type = pyh_repr_type_at(repr, type->base);
	}
	return 0;
}

/** True if a type has this name, or is built on one that has. */
static bool is_built_on(struct pyh_repr *repr, const struct pyh_type *type,
			const char *name, const char *other)
{
	for (int i = 0; i < BASES_MAX && type; i++) {
		if (strcmp(type->name, name) == 0 ||
		    strcmp(type->name, other) == 0)
			return true;
		type = pyh_repr_type_at(repr, type->base);
	}
	return false;
}

bool pyh_repr_is_enum(struct pyh_repr *repr, const struct pyh_type *type)
{
	// The usual metatype needs no look.
	return type->metatype != repr->runtime->types.type &&
	       is_built_on(repr, pyh_repr_type_at(repr, type->metatype),
			   "enum.EnumMeta", "enum.EnumType");
}

void pyh_write_enum(struct pyh_repr *repr,
		    const struct pyh_repr_object *object)
{
	static const char *const names[] = { "_name_", "_value_" };
	const struct pyh_type *name_type;
	uint64_t values[2];

	pyh_attributes_find(repr->runtime, repr->shapes, repr->memory,
			    object->type, object->address, names, 2, values);
	if (!values[1]) {
		pyh_write_other(repr, object);
		return;
	}
	pyh_repr_format(repr, "<");
	pyh_repr_put(repr, pyh_repr_short_name(object->type));
	// Values of a flag that no member has have no name.
	name_type = values[0] ? pyh_repr_type(repr, values[0]) : NULL;
	if (name_type && name_type->kind == PYH_KIND_STR) {
		pyh_repr_put(repr, ".");
		pyh_repr_plain_str(repr, values[0]);
	}
	pyh_repr_put(repr, ": ");
	pyh_repr_value(repr, values[1]);
	pyh_repr_put(repr, ">");
}

/* --- code and classes ----------------------------------------------------- */

static void put_address(struct pyh_repr *repr, uint64_t address)
{
	pyh_repr_format(repr, " at 0x%" PRIx64 ">", address);
}

void pyh_write_module(struct pyh_repr *repr,
		      const struct pyh_repr_object *object)
{
	static const char *const names[] = { "__name__" };
	uint64_t budget = TYPE_DICT_BUDGET, dict, name = 0;
	const struct pyh_type *type;

	pyh_repr_put(repr, "<module ");
	if (pyh_repr_field(repr, object->address, PYH_MODULE_MD_DICT, &dict)) {
		if (dict)
			(void)pyh_dict_find(repr->runtime, repr->memory, dict,
					    names, 1, &name, &budget);
		type = name ? pyh_repr_type(repr, name) : NULL;
		if (type && type->kind == PYH_KIND_STR)
			pyh_repr_value(repr, name);
		else
			pyh_repr_put(repr, "'?'");
	}
	pyh_repr_put(repr, ">");
}

void pyh_write_class(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	const struct pyh_type *type = pyh_repr_type_at(repr, object->address);

	if (!type) {
		pyh_repr_damaged(repr, "class");
		return;
	}
	if (pyh_repr_is_enum(repr, type)) {
		bool flag = repr->runtime->minor >= 11 &&
			    is_built_on(repr, type, "enum.Flag", "enum.Flag");

		pyh_repr_put(repr, flag ? "<flag '" : "<enum '");
		pyh_repr_put(repr, pyh_repr_short_name(type));
	} else {
		pyh_repr_put(repr, "<class '");
		pyh_repr_put(repr, type->name);
	}
	pyh_repr_put(repr, "'>");
}

void pyh_write_function(struct pyh_repr *repr,
			const struct pyh_repr_object *object)
{
	uint64_t name;

	pyh_repr_put(repr, "<function ");
	if (pyh_repr_field(repr, object->address, PYH_FUNCTION_FUNC_QUALNAME,
			   &name))
		pyh_repr_plain_str(repr, name);
	put_address(repr, object->address);
}

void pyh_write_builtin(struct pyh_repr *repr,
		       const struct pyh_repr_object *object)
{
	const struct pyh_type *type;
	uint64_t self, method, name = 0;
	bool bound;

	if (!pyh_repr_field(repr, object->address, PYH_CFUNCTION_M_SELF,
			    &self) ||
	    !pyh_repr_field(repr, object->address, PYH_CFUNCTION_M_ML, &method))
		return;
	type = self ? pyh_repr_type(repr, self) : NULL;
	bound = type && type->kind != PYH_KIND_MODULE;
	pyh_repr_put(repr, bound ? "<built-in method " : "<built-in function ");
	// Its name is in pages that many cores lack.
	(void)pyh_field(repr->runtime, repr->memory, method,
			PYH_METHODDEF_ML_NAME, &name);
	if (!pyh_repr_c_string(repr, name))
		pyh_repr_put(repr, "?");
	if (!bound) {
		pyh_repr_put(repr, ">");
		return;
	}
	pyh_repr_put(repr, " of ");
	pyh_repr_put(repr, type->name);
	pyh_repr_put(repr, " object");
	put_address(repr, self);
}

void pyh_write_method(struct pyh_repr *repr,
		      const struct pyh_repr_object *object)
{
	const struct pyh_type *type;
	uint64_t function, name = 0;

	pyh_repr_put(repr, "<bound method ");
	if (pyh_repr_field(repr, object->address, PYH_METHOD_IM_FUNC,
			   &function)) {
		type = pyh_repr_type(repr, function);
		if (type && strcmp(type->name, "function") == 0)
			(void)pyh_field(repr->runtime, repr->memory, function,
					PYH_FUNCTION_FUNC_QUALNAME, &name);
		pyh_repr_plain_str(repr, name);
	}
	pyh_repr_put(repr, " of ");
	pyh_repr_value_at(repr, object->address, PYH_METHOD_IM_SELF);
	pyh_repr_put(repr, ">");
}

void pyh_write_generator(struct pyh_repr *repr,
			 const struct pyh_repr_object *object)
{
	uint64_t name;

	pyh_repr_put(repr, "<");
	pyh_repr_put(repr, object->type->name);
	pyh_repr_put(repr, " object ");
	if (pyh_repr_field(repr, object->address, PYH_GEN_GI_QUALNAME, &name))
		pyh_repr_plain_str(repr, name);
	put_address(repr, object->address);
}

/** Of a slot as a method: the descriptor's name, and whose it is. */
void pyh_write_method_wrapper(struct pyh_repr *repr,
			      const struct pyh_repr_object *object)
{
	uint32_t header = repr->runtime->size_of[PYH_STRUCT_OBJECT];
	const struct pyh_type *type;
	uint64_t words[2], name;	/* the descriptor, the object */

	if (!memory_try_read(repr->memory, object->address + header, words,
			     sizeof(words))) {
		pyh_repr_unread(repr, object->address + header);
		return;
	}
	pyh_repr_put(repr, "<method-wrapper '");
	if (!pyh_repr_field(repr, words[0], PYH_DESCR_D_NAME, &name))
		return;
	pyh_repr_plain_str(repr, name);
	type = pyh_repr_type(repr, words[1]);
	pyh_repr_format(repr, "' of %s object", type ? type->name : "?");
	put_address(repr, words[1]);
}

void pyh_write_frame(struct pyh_repr *repr, const struct pyh_repr_object *object)
{
	struct pyh_frame frame;

	if (!pyh_frame_of_object(repr->runtime, repr->memory, object->address,
				 &frame)) {
		pyh_write_other(repr, object);
		return;
	}
	pyh_repr_format(repr, "<frame at 0x%" PRIx64 ", file ", object->address);
	pyh_repr_value(repr, frame.filename);
	pyh_repr_format(repr, ", line %" PRIu32 ", code ", frame.line);
	pyh_repr_plain_str(repr, frame.name);
	pyh_repr_put(repr, ">");
}

void pyh_write_other(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	pyh_repr_put(repr, "<");
	pyh_repr_put(repr, object->type->name);
	pyh_repr_put(repr, " object");
	put_address(repr, object->address);
}
