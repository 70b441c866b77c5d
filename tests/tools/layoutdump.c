/*
 * The layout tables as text, for the tests that verify them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A line each: "RELEASE STRUCT MEMBER OFFSET SIZE", MEMBER "-" and OFFSET 0
 * for the size of a structure; before them "# RELEASE SOURCE". RELEASE is also
 * the name of a variant, with what it has elsewhere: size 0 if it has it not.
 */
#include <stdio.h>

#include "pyheap/runtime/pylayout.h"

static void dump(const struct pyh_layout *layout)
{
	printf("# %s %s\n", layout->release, layout->source);
	for (unsigned int i = 0; i < PYH_NUM_STRUCTS; i++)
		if (layout->size_of[i] != 0)
			printf("%s %s - 0 %u\n", layout->release,
			       pyh_struct_name(i), layout->size_of[i]);
	for (unsigned int i = 0; i < PYH_NUM_FIELDS; i++)
		if (layout->at[i].size != 0)
			printf("%s %s %s %u %u\n", layout->release,
			       pyh_field_struct(i), pyh_field_member(i),
			       layout->at[i].offset, layout->at[i].size);
}

static void dump_variant(const struct pyh_layout_variant *variant)
{
	printf("# %s %s\n", variant->name, variant->source);
	for (size_t i = 0; i < variant->num_sizes; i++)
		printf("%s %s - 0 %u\n", variant->name,
		       pyh_struct_name(variant->sizes[i].structure),
		       variant->sizes[i].size);
	for (size_t i = 0; i < variant->num_fields; i++)
		printf("%s %s %s %u %u\n", variant->name,
		       pyh_field_struct(variant->fields[i].field),
		       pyh_field_member(variant->fields[i].field),
		       variant->fields[i].at.offset,
		       variant->fields[i].at.size);
}

int main(void)
{
	for (unsigned int minor = 0; minor < 100; minor++) {
		const struct pyh_layout *layout = pyh_layout_for(minor);

		if (layout)
			dump(layout);
		layout = pyh_layout_for_free_threaded(minor);
		if (layout)
			dump(layout);
	}
	for (size_t i = 0; i < pyh_num_layout_variants; i++)
		dump_variant(&pyh_layout_variants[i]);
	return 0;
}
