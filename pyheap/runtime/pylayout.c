/*
 * Finding the table of a release, and the names of what is in it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/runtime/pylayout.h"

#include <string.h>

static const struct pyh_layout *const layouts[] = {
	&pyh_layout_3_8,   &pyh_layout_3_9,   &pyh_layout_3_10,
	&pyh_layout_3_11,  &pyh_layout_3_12,  &pyh_layout_3_13,
	&pyh_layout_3_14,  &pyh_layout_3_15,  &pyh_layout_3_13t,
	&pyh_layout_3_14t, &pyh_layout_3_15t,
};

static const struct {
	const char *structure;
	const char *member;
} field_names[PYH_NUM_FIELDS] = {
#define FIELD_NAME(id, structure, member) [PYH_##id] = { structure, member },
	PYH_FIELDS(FIELD_NAME)
#undef FIELD_NAME
};

static const char *const struct_names[PYH_NUM_STRUCTS] = {
#define STRUCT_NAME(id, structure) [PYH_STRUCT_##id] = (structure),
	PYH_STRUCTS(STRUCT_NAME)
#undef STRUCT_NAME
};

/* Structures that are no Python objects: no header in front. */
static const bool plain_structs[PYH_NUM_STRUCTS] = {
	[PYH_STRUCT_RUNTIME] = true,
	[PYH_STRUCT_INTERP] = true,
	[PYH_STRUCT_GC] = true,
	[PYH_STRUCT_TSTATE] = true,
	[PYH_STRUCT_KEYS] = true,
	[PYH_STRUCT_VALUES] = true,
	[PYH_STRUCT_IFRAME] = true,
	[PYH_STRUCT_CFRAME] = true,
	[PYH_STRUCT_DEQUEBLOCK] = true,
	[PYH_STRUCT_ODICTNODE] = true,
	[PYH_STRUCT_ARRAYDESCR] = true,
	[PYH_STRUCT_ELEMENTEXTRA] = true,
	[PYH_STRUCT_OBMALLOC] = true,
	[PYH_STRUCT_ARENA] = true,
	[PYH_STRUCT_POOL] = true,
	[PYH_STRUCT_TSTATEIMPL] = true,
	[PYH_STRUCT_MIHEAP] = true,
	[PYH_STRUCT_MIPAGE] = true,
	[PYH_STRUCT_MISEGMENT] = true,
	[PYH_STRUCT_METHODDEF] = true,
	[PYH_STRUCT_GENERATION] = true,
	[PYH_STRUCT_GENERATIONSTATS] = true,
	[PYH_STRUCT_GCSTATS] = true,
	[PYH_STRUCT_OLDSTATS] = true,
	[PYH_STRUCT_TRACECONFIG] = true,
	[PYH_STRUCT_TRACEMALLOC] = true,
	[PYH_STRUCT_HASHTABLE] = true,
	[PYH_STRUCT_HASHENTRY] = true,
	[PYH_STRUCT_TRACE] = true,
	[PYH_STRUCT_ALLOCTRACEBACK] = true,
	[PYH_STRUCT_ALLOCFRAME] = true,
};

static const struct pyh_layout *find_layout(unsigned int minor,
					    bool free_threaded)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		if (layouts[i]->minor == minor &&
		    layouts[i]->free_threaded == free_threaded)
			return layouts[i];
	return NULL;
}

const struct pyh_layout *pyh_layout_for(unsigned int minor)
{
	return find_layout(minor, false);
}

const struct pyh_layout *pyh_layout_for_free_threaded(unsigned int minor)
{
	return find_layout(minor, true);
}

const char *pyh_field_struct(enum pyh_field field)
{
	return field_names[field].structure;
}

const char *pyh_field_member(enum pyh_field field)
{
	return field_names[field].member;
}

const char *pyh_struct_name(enum pyh_struct structure)
{
	return struct_names[structure];
}

enum pyh_struct pyh_field_owner(enum pyh_field field)
{
	const char *name = field_names[field].structure;
	unsigned int i;

	for (i = 0; i < PYH_NUM_STRUCTS - 1; i++)
		if (strcmp(struct_names[i], name) == 0)
			break;
	return (enum pyh_struct)i;
}

bool pyh_struct_is_object(enum pyh_struct structure)
{
	return !plain_structs[structure];
}
