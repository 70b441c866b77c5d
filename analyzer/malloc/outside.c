/*
 * What one object keeps outside of itself; see outside.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/malloc/outside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "image/base/units.h"
#include "pyheap/types/pynumpy.h"

enum {
	BODY_MAX = 4096,	/* bytes of the object that tell */
	CLAIMS_SHOWN = 4,	/* to people */
};

enum array_column {
	ARRAY_DTYPE,
	ARRAY_SHAPE,
	ARRAY_STRIDES,
	ARRAY_DATA_PTR,
	ARRAY_BYTES,
	ARRAY_OWNS_DATA,
	ARRAY_BASE,
	ARRAY_BASE_TYPE,
	NUM_ARRAY_COLUMNS
};

static const struct column array_columns[NUM_ARRAY_COLUMNS] = {
	[ARRAY_DTYPE] = { .key = "dtype", .unit = UNIT_TEXT },
	[ARRAY_SHAPE] = { .key = "shape", .unit = UNIT_TEXT },
	[ARRAY_STRIDES] = { .key = "strides", .unit = UNIT_TEXT },
	[ARRAY_DATA_PTR] = { .key = "data_ptr", .unit = UNIT_ADDRESS },
	[ARRAY_BYTES] = { .key = "bytes", .unit = UNIT_BYTES },
	[ARRAY_OWNS_DATA] = { .key = "owns_data", .unit = UNIT_BOOL },
	[ARRAY_BASE] = { .key = "base", .unit = UNIT_ADDRESS },
	[ARRAY_BASE_TYPE] = { .key = "base_type", .unit = UNIT_TEXT },
};

enum { CLAIM_ADDRESS, CLAIM_BYTES, NUM_CLAIM_COLUMNS };

static const struct column claim_columns[NUM_CLAIM_COLUMNS] = {
	[CLAIM_ADDRESS] = { .key = "address", .unit = UNIT_ADDRESS },
	[CLAIM_BYTES] = { .key = "bytes", .unit = UNIT_BYTES },
};

/* --- finding -------------------------------------------------------------- */

static void see_claim(void *context, struct pyh_claim claim)
{
	struct outside *outside = context;

	if (outside->num_claims < OUTSIDE_CLAIMS_MAX)
		outside->claims[outside->num_claims] = claim;
	outside->num_claims++;
	outside->bytes += claim.size;
}

/** "[100, 30]", as Python writes a list. */
static void put_numbers(struct memory_reader *memory, uint64_t address,
			uint32_t count, char text[static OUTSIDE_TEXT_MAX])
{
	size_t at = 1;
	int64_t number;

	(void)strcpy(text, "[");
	for (uint32_t i = 0; i < count; i++) {
		if (!memory_try_read(memory, address + i * UINT64_C(8), &number,
				     sizeof(number)))
			break;
		at += (size_t)snprintf(text + at, OUTSIDE_TEXT_MAX - at,
				       "%s%" PRId64, i ? ", " : "", number);
	}
	(void)strcpy(text + at, "]");
}

/** As numpy calls a dtype: by its name, or as its attribute str does. */
static void put_dtype(const struct pyh_dtype *dtype, char text[static 32])
{
	static const struct {
		char kind;
		const char *name;
	} names[] = { { 'i', "int" }, { 'u', "uint" }, { 'f', "float" },
		      { 'c', "complex" } };
	char order = dtype->order == '=' ? '<' : dtype->order;
	uint64_t units = dtype->kind == 'U' ? dtype->item / 4 : dtype->item;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (dtype->kind != names[i].kind || order == '>')
			continue;
		(void)snprintf(text, 32, "%s%" PRIu64, names[i].name,
			       dtype->item * 8);
		return;
	}
	if (dtype->kind == 'b')
		(void)strcpy(text, "bool");
	else if (dtype->kind == 'O')
		(void)strcpy(text, "object");
	else if (dtype->kind && strchr("iufcUSVMmT", dtype->kind))
		(void)snprintf(text, 32, "%c%c%" PRIu64,
			       order && strchr("<>|", order) ? order : '|',
			       dtype->kind, units);
}

static const char *type_of(const struct pyh_runtime *runtime,
			   struct memory_reader *memory,
			   struct pyh_type_reader *types, uint64_t object)
{
	const struct pyh_type *type = NULL;
	uint64_t address;

	if (object && memory_try_u64(memory, object +
				     pyh_offset(runtime, PYH_OBJECT_OB_TYPE),
				     &address))
		type = pyh_type_find(types, address);
	return type ? type->name : NULL;
}

static void look_at_array(const struct pyh_runtime *runtime,
			  struct memory_reader *memory,
			  struct pyh_type_reader *types,
			  const struct pyh_object *object,
			  struct outside *outside)
{
	uint32_t header = runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t words[PYH_NDARRAY_WORDS];
	struct pyh_ndarray array;

	if (!memory_try_read(memory, object->address + header, words,
			     sizeof(words)) ||
	    pyh_ndarray_read(memory, words, header, &array) != PYH_NDARRAY_READ)
		return;
	outside->is_array = true;
	outside->owns_data = array.owns_data;
	outside->data = array.data;
	outside->array_bytes = array.bytes;
	outside->base = array.base;
	outside->base_type = type_of(runtime, memory, types, array.base);
	put_dtype(&array.dtype, outside->dtype);
	put_numbers(memory, array.dimensions, array.num_dimensions,
		    outside->shape);
	put_numbers(memory, array.strides, array.num_dimensions,
		    outside->strides);
}

void outside_find(const struct pyh_runtime *runtime,
		  struct memory_reader *memory, struct pyh_type_reader *types,
		  const struct pyh_object *object, struct outside *ret)
{
	uint8_t body[BODY_MAX] __attribute__((aligned(8)));
	size_t size = object->type->basicsize > 0 &&
				      object->type->basicsize < BODY_MAX ?
			      (size_t)object->type->basicsize : BODY_MAX;

	*ret = (struct outside){ 0 };
	if (object->type->kind == PYH_KIND_NDARRAY)
		look_at_array(runtime, memory, types, object, ret);
	if (memory_try_read(memory, object->address, body, size))
		pyh_claims_each(runtime, object->type, object->address, body,
				size, memory, see_claim, ret);
}

/* --- showing -------------------------------------------------------------- */

static size_t kept(const struct outside *outside)
{
	return outside->num_claims < OUTSIDE_CLAIMS_MAX ? outside->num_claims :
							  OUTSIDE_CLAIMS_MAX;
}

void outside_put_row(const struct outside *outside, struct render *render)
{
	const struct cell cells[NUM_ARRAY_COLUMNS] = {
		[ARRAY_DTYPE] = cell_text(outside->dtype[0] ? outside->dtype :
							      NULL),
		[ARRAY_SHAPE] = cell_text(outside->shape),
		[ARRAY_STRIDES] = cell_text(outside->strides),
		[ARRAY_DATA_PTR] = cell_number(UNIT_ADDRESS, outside->data),
		[ARRAY_BYTES] = cell_number(UNIT_BYTES, outside->array_bytes),
		[ARRAY_OWNS_DATA] = cell_number(UNIT_BOOL, outside->owns_data),
		[ARRAY_BASE] = outside->base ?
			cell_number(UNIT_ADDRESS, outside->base) :
			cell_unknown(),
		[ARRAY_BASE_TYPE] = cell_text(outside->base_type),
	};

	if (outside->is_array) {
		render_nested_object(render, "array", array_columns, cells,
				     NUM_ARRAY_COLUMNS);
		render_nested_end(render);
	}
	render_nested(render, "outside");
	for (size_t i = 0; i < kept(outside); i++) {
		const struct pyh_claim *claim = &outside->claims[i];
		const struct cell row[NUM_CLAIM_COLUMNS] = {
			[CLAIM_ADDRESS] = cell_number(UNIT_ADDRESS,
						      claim->address),
			[CLAIM_BYTES] = claim->size ?
				cell_number(UNIT_BYTES, claim->size) :
				cell_unknown(),
		};

		render_nested_row(render, claim_columns, row,
				  NUM_CLAIM_COLUMNS);
	}
	render_nested_end(render);
}

static void put_array_lines(const struct outside *outside,
			    struct render *render)
{
	char size[UNITS_TEXT_MAX], name[RENDER_NAME_MAX];

	render_line(render, "  array      %s %s, strides %s",
		    outside->dtype[0] ? outside->dtype : "of unknown items",
		    outside->shape, outside->strides);
	(void)units_size(outside->array_bytes, size);
	if (outside->owns_data)
		render_line(render, "  data       0x%" PRIx64 ", %s, its own",
			    outside->data, size);
	else if (outside->base)
		render_line(render, "  data       0x%" PRIx64 ", %s, of %s 0x%"
			    PRIx64, outside->data, size, outside->base_type ?
				    render_name(render, outside->base_type, 60,
						name) : "",
			    outside->base);
	else
		render_line(render, "  data       0x%" PRIx64 ", %s, of others",
			    outside->data, size);
}

void outside_put_lines(const struct outside *outside, struct render *render)
{
	char size[UNITS_TEXT_MAX], count[UNITS_TEXT_MAX];

	if (outside->is_array)
		put_array_lines(outside, render);
	for (size_t i = 0; i < kept(outside) && i < CLAIMS_SHOWN; i++) {
		const struct pyh_claim *claim = &outside->claims[i];

		render_line(render, "  %-9s  0x%" PRIx64 "%s%s",
			    i == 0 ? "outside" : "", claim->address,
			    claim->size ? ", " : "", claim->size ?
				    units_size(claim->size, size) : "");
	}
	if (outside->num_claims > CLAIMS_SHOWN)
		render_line(render, "             %s more, %s in all",
			    units_count(outside->num_claims - CLAIMS_SHOWN,
					count),
			    units_size(outside->bytes, size));
}
