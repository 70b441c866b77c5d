/*
 * The layout tables are consistent in themselves.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/runtime/pylayout.h"

#include <stdlib.h>

#include "tests/lib/check.h"

static void complain(const struct pyh_layout *layout, enum pyh_field field,
		     const char *what)
{
	printf("# %s %s.%s at %u, %u bytes: %s\n", layout->release,
	       pyh_field_struct(field), pyh_field_member(field),
	       layout->at[field].offset, layout->at[field].size, what);
}

/** Members that are one inside the other: "mgmt" and "mgmt.arenas". */
static bool is_nested(enum pyh_field a, enum pyh_field b)
{
	const char *one = pyh_field_member(a), *other = pyh_field_member(b);
	size_t length = strlen(one);

	return strncmp(one, other, length) == 0 && other[length] == '.';
}

static bool overlap(struct pyh_field_at a, struct pyh_field_at b)
{
	return a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

/** Arrays that only begin in their structure, where they have no size of it. */
static bool is_flexible(unsigned int field)
{
	return field == PYH_ALLOCTRACEBACK_FRAMES;
}

static unsigned int count_outside(const struct pyh_layout *layout)
{
	unsigned int bad = 0;

	for (unsigned int i = 0; i < PYH_NUM_FIELDS; i++) {
		uint32_t size = layout->size_of[pyh_field_owner(i)];
		struct pyh_field_at at = layout->at[i];

		if (at.size == 0)
			continue;
		if (size == 0 || at.offset > size ||
		    (at.size > size - at.offset && !is_flexible(i))) {
			complain(layout, i, "outside of its structure");
			bad++;
		}
	}
	return bad;
}

static unsigned int count_overlaps(const struct pyh_layout *layout)
{
	unsigned int bad = 0;

	for (unsigned int i = 0; i < PYH_NUM_FIELDS; i++) {
		for (unsigned int j = i + 1; j < PYH_NUM_FIELDS; j++) {
			if (pyh_field_owner(i) != pyh_field_owner(j) ||
			    layout->at[i].size == 0 ||
			    layout->at[j].size == 0 || is_nested(i, j) ||
			    is_nested(j, i) ||
			    !overlap(layout->at[i], layout->at[j]))
				continue;
			complain(layout, i, pyh_field_member(j));
			bad++;
		}
	}
	return bad;
}

/** Numbers and pointers are at multiples of their size. */
static unsigned int count_misaligned(const struct pyh_layout *layout)
{
	unsigned int bad = 0;

	for (unsigned int i = 0; i < PYH_NUM_FIELDS; i++) {
		struct pyh_field_at at = layout->at[i];

		// Years and times are arrays of bytes.
		if (strcmp(pyh_field_member(i), "data") == 0)
			continue;
		if (at.size != 0 && at.size <= 8 && at.offset % at.size != 0) {
			complain(layout, i, "misaligned");
			bad++;
		}
	}
	return bad;
}

/** What the finding of a runtime cannot do without. */
static unsigned int count_missing(const struct pyh_layout *layout)
{
	static const enum pyh_field needed[] = {
		PYH_RUNTIME_INTERPRETERS_HEAD, PYH_RUNTIME_INTERPRETERS_MAIN,
		PYH_INTERP_NEXT, PYH_INTERP_ID, PYH_INTERP_SYSDICT,
		PYH_INTERP_BUILTINS, PYH_GC_GENERATIONS,
		PYH_GC_PERMANENT_GENERATION, PYH_GC_COLLECTING,
		PYH_TSTATE_PREV, PYH_TSTATE_NEXT, PYH_TSTATE_INTERP,
		PYH_OBJECT_OB_TYPE, PYH_VAR_OB_SIZE, PYH_TYPE_TP_BASE,
		PYH_TYPE_TP_MRO, PYH_DICT_MA_KEYS, PYH_KEYS_DK_NENTRIES,
		PYH_ASCII_LENGTH, PYH_ASCII_STATE,
	};
	unsigned int bad = 0;

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (layout->at[needed[i]].size == 0) {
			complain(layout, needed[i], "missing");
			bad++;
		}
	}
	// The offset of main is that of head and a word.
	bad += layout->at[PYH_RUNTIME_INTERPRETERS_MAIN].offset !=
	       layout->at[PYH_RUNTIME_INTERPRETERS_HEAD].offset + 8;
	return bad;
}

static void check_layout(const struct pyh_layout *layout, unsigned int minor,
			 bool free_threaded)
{
	char name[64], release[8];

	snprintf(release, sizeof(release), "3.%u%s", minor,
		 free_threaded ? "t" : "");
	snprintf(name, sizeof(name), "table %s", release);
	if (!CHECK(name, layout != NULL))
		return;
	snprintf(name, sizeof(name), "table %s: its name", release);
	CHECK_STRING(name, layout->release, release);
	snprintf(name, sizeof(name), "table %s: a source", release);
	CHECK(name, layout->source && layout->source[0] != '\0');
	snprintf(name, sizeof(name), "table %s: free-threaded", release);
	CHECK_U64(name, layout->free_threaded, free_threaded);
	snprintf(name, sizeof(name), "table %s: fields in structures",
		 release);
	CHECK_U64(name, count_outside(layout), 0);
	snprintf(name, sizeof(name), "table %s: no overlap", release);
	CHECK_U64(name, count_overlaps(layout), 0);
	snprintf(name, sizeof(name), "table %s: alignment", release);
	CHECK_U64(name, count_misaligned(layout), 0);
	snprintf(name, sizeof(name), "table %s: what is needed", release);
	CHECK_U64(name, count_missing(layout), 0);
}

/** A variant of a table is a table: apply it and look again. */
static void check_variant(const struct pyh_layout_variant *variant)
{
	const struct pyh_layout *table =
		variant->free_threaded ?
			pyh_layout_for_free_threaded(variant->minor) :
			pyh_layout_for(variant->minor);
	struct pyh_layout *layout = malloc(sizeof(*layout));
	char name[80];

	snprintf(name, sizeof(name), "variant %s", variant->name);
	if (!CHECK(name, layout && table && variant->first <= variant->last)) {
		free(layout);
		return;
	}
	*layout = *table;
	for (size_t i = 0; i < variant->num_fields; i++)
		layout->at[variant->fields[i].field] = variant->fields[i].at;
	for (size_t i = 0; i < variant->num_sizes; i++)
		layout->size_of[variant->sizes[i].structure] =
			variant->sizes[i].size;
	for (int i = PYH_RELATIVE_FIRST; i <= PYH_RELATIVE_LAST; i++)
		layout->at[i].size = 0;
	snprintf(name, sizeof(name), "variant %s: fields in structures",
		 variant->name);
	CHECK_U64(name, count_outside(layout), 0);
	snprintf(name, sizeof(name), "variant %s: no overlap", variant->name);
	CHECK_U64(name, count_overlaps(layout), 0);
	free(layout);
}

static void check_names(void)
{
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < PYH_NUM_FIELDS; i++)
		wrong += strcmp(pyh_field_struct(i),
				pyh_struct_name(pyh_field_owner(i))) != 0;
	CHECK_U64("every field's structure is in the list", wrong, 0);
	CHECK_STRING("name of a structure", pyh_struct_name(PYH_STRUCT_LIST),
		     "PyListObject");
	CHECK_STRING("name of a member", pyh_field_member(PYH_LIST_OB_ITEM),
		     "ob_item");
	CHECK("a list has a header", pyh_struct_is_object(PYH_STRUCT_LIST));
	CHECK("a thread state has none",
	      !pyh_struct_is_object(PYH_STRUCT_TSTATE));
}

int main(void)
{
	for (unsigned int minor = PYH_MINOR_FIRST; minor <= PYH_MINOR_LAST;
	     minor++) {
		check_layout(pyh_layout_for(minor), minor, false);
		if (minor >= 13)
			check_layout(pyh_layout_for_free_threaded(minor), minor,
				     true);
	}
	CHECK("no table before the first",
	      pyh_layout_for(PYH_MINOR_FIRST - 1) == NULL);
	CHECK("no table after the last",
	      pyh_layout_for(PYH_MINOR_LAST + 1) == NULL);
	CHECK("no free-threaded 3.12",
	      pyh_layout_for_free_threaded(12) == NULL);
	for (size_t i = 0; i < pyh_num_layout_variants; i++)
		check_variant(&pyh_layout_variants[i]);
	check_names();
	return check_result();
}
