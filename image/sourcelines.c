/*
 * Places in source code; see sourcelines.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: DWARF 5, 3.3.8 (inlined subroutines); elfutils libdw.h.
 */
#include "image/sourcelines.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <libelf.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "image/base/hashmap.h"
#include "image/symbols.h"

enum { SCOPES_MAX = 256 };	/* blocks inside of each other */

struct debug {
	Dwarf *dwarf;		/* NULL: none */
	bool looked;
};

struct source_lines {
	struct image *image;
	struct debug *debug;	/* by index of module */
	/* What was asked for: an address leads to the number of a group, groups
	   lie one behind the other. */
	struct hashmap known;
	uint32_t *groups;	/* where each begins; one more than there are */
	size_t num_groups;
	struct source_place *places;
	size_t num_places;
};

/* --- debug information ------------------------------------------------------- */

/** libdw writes expanded sections' headers where libelf has the file. */
static bool make_writable(Elf *elf)
{
	size_t size;
	char *bytes = elf_rawfile(elf, &size);

	return bytes && mprotect(bytes, size, PROT_READ | PROT_WRITE) == 0;
}

static Dwarf *debug_of(struct source_lines *lines, struct module *module,
		       size_t index)
{
	struct debug *debug = &lines->debug[index];

	if (!debug->looked) {
		Elf *elf = symbols_debug_elf(module, lines->image->memory);

		debug->looked = true;
		if (elf && make_writable(elf))
			debug->dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
	}
	return debug->dwarf;
}

/** The compilation unit that has an address; not all compilers list them. */
static bool find_unit(Dwarf *dwarf, Dwarf_Addr pc, Dwarf_Die *ret)
{
	Dwarf_CU *unit = NULL;
	Dwarf_Die child;
	uint8_t type;

	if (dwarf_addrdie(dwarf, pc, ret))
		return true;
	while (dwarf_get_units(dwarf, unit, &unit, NULL, &type, ret,
			       &child) == 0)
		if (type == DW_UT_compile && dwarf_haspc(ret, pc) > 0)
			return true;
	return false;
}

/* --- the places of one address ------------------------------------------------ */

static const char *function_of(Dwarf_Die *die)
{
	static const unsigned int names[] = {
		DW_AT_linkage_name, DW_AT_MIPS_linkage_name, DW_AT_name,
	};
	Dwarf_Attribute memory;
	const char *name = NULL;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !name; i++)
		name = dwarf_formstring(dwarf_attr_integrate(die, names[i],
							     &memory));
	return name ? name : "?";
}

/** Where an inlined function was called from. */
static void read_call(Dwarf_Die *die, struct source_place *ret)
{
	Dwarf_Attribute memory;
	Dwarf_Word file, line;
	Dwarf_Files *files;
	Dwarf_Die unit;
	size_t count;

	*ret = (struct source_place){ 0 };
	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &memory),
			    &line) == 0 && line <= INT32_MAX)
		ret->line = (int)line;
	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &memory),
			    &file) == 0 &&
	    dwarf_diecu(die, &unit, NULL, NULL) &&
	    dwarf_getsrcfiles(&unit, &files, &count) == 0 && file < count)
		ret->file = dwarf_filesrc(files, file, NULL, NULL);
}

/** What code can be in, and what has no code but such things in it. */
static bool may_have(Dwarf_Die *die, Dwarf_Addr pc)
{
	switch (dwarf_tag(die)) {
	case DW_TAG_subprogram:
	case DW_TAG_inlined_subroutine:
	case DW_TAG_lexical_block:
	case DW_TAG_try_block:
	case DW_TAG_catch_block:
	case DW_TAG_with_stmt:
		return dwarf_haspc(die, pc) > 0;
	case DW_TAG_namespace:
	case DW_TAG_module:
		return true;
	default:
		return false;
	}
}

struct scopes {
	Dwarf_Addr pc;
	Dwarf_Die inlined[SOURCE_PLACES_MAX - 1];	/* the outermost first */
	size_t count;
};

/**
 * Find what was inlined at an address, from a unit down. dwarf_getscopes() does
 * not: it gives up on functions that come from another unit, as they do in
 * programs that were optimized as a whole.
 *
 * @return true: the function that has the code is in this scope
 */
static bool look_through(struct scopes *scopes, Dwarf_Die *scope, int depth)
{
	Dwarf_Die child;
	int more = depth > 0 ? dwarf_child(scope, &child) : -1;

	for (; more == 0; more = dwarf_siblingof(&child, &child)) {
		int tag;

		if (!may_have(&child, scopes->pc))
			continue;
		tag = dwarf_tag(&child);
		if (tag == DW_TAG_inlined_subroutine &&
		    scopes->count < SOURCE_PLACES_MAX - 1)
			scopes->inlined[scopes->count++] = child;
		if (look_through(scopes, &child, depth - 1) ||
		    (tag != DW_TAG_namespace && tag != DW_TAG_module))
			return true;
	}
	return false;
}

static size_t read_places(Dwarf *dwarf, Dwarf_Addr pc,
			  struct source_place places[SOURCE_PLACES_MAX])
{
	struct scopes scopes = { .pc = pc };
	Dwarf_Line *line;
	Dwarf_Die unit;

	if (!find_unit(dwarf, pc, &unit))
		return 0;
	places[0] = (struct source_place){ 0 };
	line = dwarf_getsrc_die(&unit, pc);
	if (line && dwarf_lineno(line, &places[0].line) == 0)
		places[0].file = dwarf_linesrc(line, NULL, NULL);
	(void)look_through(&scopes, &unit, SCOPES_MAX);
	for (size_t i = 0; i < scopes.count; i++) {
		Dwarf_Die *inlined = &scopes.inlined[scopes.count - 1 - i];

		places[i].function = function_of(inlined);
		read_call(inlined, &places[i + 1]);
	}
	return scopes.count > 0 || places[0].file ? scopes.count + 1 : 0;
}

/* --- what is known ------------------------------------------------------------- */

static size_t index_of(const struct modules *modules,
		       const struct module *module)
{
	size_t i = 0;

	while (i < modules_count(modules) && modules_get(modules, i) != module)
		i++;
	return i;
}

static size_t look(struct source_lines *lines, uint64_t address,
		   struct source_place places[SOURCE_PLACES_MAX])
{
	struct module *module = modules_find(lines->image->modules, address);
	Dwarf *dwarf = !module ? NULL :
		debug_of(lines, module, index_of(lines->image->modules,
						 module));

	return dwarf ? read_places(dwarf, address - module->bias, places) : 0;
}

/** Keep what was found; false without memory. */
static bool keep(struct source_lines *lines, uint64_t address,
		 const struct source_place *places, size_t count)
{
	struct error *err;
	void *grown;

	grown = realloc(lines->groups, (lines->num_groups + 2) *
			sizeof(*lines->groups));
	if (!grown)
		return false;
	lines->groups = grown;
	grown = realloc(lines->places, (lines->num_places + count + 1) *
			sizeof(*lines->places));
	if (!grown)
		return false;
	lines->places = grown;
	err = hashmap_put(&lines->known, address, (uint32_t)lines->num_groups);
	if (err) {
		error_free(err);
		return false;
	}
	for (size_t i = 0; i < count; i++)
		lines->places[lines->num_places + i] = places[i];
	lines->groups[lines->num_groups++] = (uint32_t)lines->num_places;
	lines->num_places += count;
	lines->groups[lines->num_groups] = (uint32_t)lines->num_places;
	return true;
}

size_t source_lines_at(struct source_lines *lines, uint64_t address,
		       const struct source_place **ret)
{
	struct source_place places[SOURCE_PLACES_MAX];
	uint32_t group;

	if (address == 0)
		return 0;
	if (!hashmap_get(&lines->known, address, &group)) {
		size_t count = look(lines, address, places);

		group = (uint32_t)lines->num_groups;
		if (!keep(lines, address, places, count))
			return 0;
	}
	*ret = &lines->places[lines->groups[group]];
	return lines->groups[group + 1] - lines->groups[group];
}

/* --- making them --------------------------------------------------------------- */

struct error *source_lines_create(struct image *image,
				  struct source_lines **ret)
{
	struct source_lines *lines = calloc(1, sizeof(*lines));

	if (lines)
		lines->debug = calloc(modules_count(image->modules) + 1,
				      sizeof(*lines->debug));
	if (!lines || !lines->debug) {
		free(lines);
		return error_no_memory();
	}
	lines->image = image;
	*ret = lines;
	return NULL;
}

void source_lines_destroy(struct source_lines *lines)
{
	if (!lines)
		return;
	for (size_t i = 0; i < modules_count(lines->image->modules); i++)
		(void)dwarf_end(lines->debug[i].dwarf);
	hashmap_deinit(&lines->known);
	free(lines->groups);
	free(lines->places);
	free(lines->debug);
	free(lines);
}
