/*
 * Classes of one name; see classnames.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/classnames.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/pile.h"
#include "analyzer/opened.h"
#include "image/base/guard.h"

/** Names of classes, which the types of the dump own. */
struct class_names {
	const char **list;
	uint32_t count;
};

static int by_letters(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/** Those of an object's children that are classes; there is room for all. */
static void collect(struct pyh_type_reader *reader,
		    const struct analysis *analysis, uint32_t object,
		    struct class_names *names)
{
	const struct heapgraph *heap = analysis->heap;
	uint32_t count;
	const uint32_t *children = domtree_children(&analysis->tree, object,
						    &count);

	for (uint32_t i = 0; i < count; i++) {
		const struct pyh_type *class = NULL;

		if (heapgraph_type(heap, children[i])->kind == PYH_KIND_TYPE)
			class = pyh_type_find(reader, heapgraph_address(
							      heap, children[i]));
		if (class && class->name_known)
			names->list[names->count++] = class->name;
	}
}

static uint32_t count_different(struct class_names *names)
{
	uint32_t different = names->count > 0;

	qsort(names->list, names->count, sizeof(*names->list), by_letters);
	for (uint32_t i = 1; i < names->count; i++)
		different += strcmp(names->list[i - 1], names->list[i]) != 0;
	return different;
}

struct error *class_names_few(struct opened *opened,
			      const struct analysis *analysis, uint32_t object,
			      uint32_t *ret)
{
	CLEANUP(free_pointer) const char **list = NULL;
	struct class_names names = { 0 };
	struct pyh_type_reader reader;
	struct pyh_types *types;
	uint32_t children, different;
	struct error *err;

	*ret = 0;
	(void)domtree_children(&analysis->tree, object, &children);
	if (children < PILE_MANY)
		return NULL;
	names.list = list = malloc(children * sizeof(*list));
	if (!list)
		return error_no_memory();
	err = opened_types(opened, &types);
	if (!err)
		err = pyh_type_reader_init(&reader, types);
	if (err)
		return err;
	collect(&reader, analysis, object, &names);
	pyh_type_reader_deinit(&reader);
	different = count_different(&names);
	if (names.count >= PILE_MANY &&
	    different <= names.count / CLASSES_A_NAME)
		*ret = different;
	return NULL;
}
