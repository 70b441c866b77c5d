/*
 * Allocators that take malloc's place; see otherallocators.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/otherallocators.h"

#include <string.h>

#include "image/symbols.h"

static const struct known {
	const char *name, *library;
	const char *symbols[3];
} known[] = {
	{ "jemalloc", "libjemalloc", { "mallctl", "je_mallctl" } },
	{ "tcmalloc", "libtcmalloc", { "tc_malloc",
				       "TCMalloc_Internal_GetStats" } },
	{ "mimalloc", "libmimalloc", { "mi_malloc" } },
};

static bool is_of(struct module *module, const struct memory *memory,
		  const struct known *one)
{
	const char *slash = strrchr(module->path, '/');
	struct symbol symbol;

	if (strncmp(slash ? slash + 1 : module->path, one->library,
		    strlen(one->library)) == 0)
		return true;
	// A program may have it built in. What it does not export is its own
	// affair: Python has a mimalloc for its objects alone.
	for (size_t i = 0; module->is_executable && i < 3 && one->symbols[i];
	     i++)
		if (symbols_lookup(module, memory, one->symbols[i], &symbol) &&
		    symbol.dynamic)
			return true;
	return false;
}

size_t other_allocators_find(struct image *image,
			     struct other_allocator ret[OTHER_ALLOCATORS_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < modules_count(image->modules); i++) {
		struct module *module = modules_get(image->modules, i);

		for (size_t j = 0; j < sizeof(known) / sizeof(*known) &&
		     count < OTHER_ALLOCATORS_MAX; j++)
			if (is_of(module, image->memory, &known[j]))
				ret[count++] = (struct other_allocator){
					known[j].name, module->path };
	}
	return count;
}
