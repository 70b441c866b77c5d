/*
 * Values of objects, for --values; see previews.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/show/previews.h"

#include <stdlib.h>

#include "analyzer/opened.h"
#include "pyheap/values/pyvalue.h"

struct previews {
	struct pyh_value_reader *values;
};

struct error *previews_open(struct opened *opened, struct previews **ret)
{
	struct previews *previews = calloc(1, sizeof(*previews));
	struct pyh_runtime *runtime = NULL;
	struct pyh_types *types = NULL;
	struct pyh_shapes *shapes = NULL;
	struct error *err;

	if (!previews)
		return error_no_memory();
	err = opened_runtime(opened, &runtime);
	if (!err)
		err = opened_types(opened, &types);
	if (!err)
		err = opened_shapes(opened, &shapes);
	if (!err)
		err = pyh_value_reader_create(runtime, types, shapes,
					      &previews->values);
	if (err) {
		previews_close(previews);
		return err;
	}
	*ret = previews;
	return NULL;
}

void previews_close(struct previews *previews)
{
	if (!previews)
		return;
	pyh_value_reader_destroy(previews->values);
	free(previews);
}

struct pyh_value_reader *previews_reader(struct previews *previews)
{
	return previews ? previews->values : NULL;
}

const char *previews_text(struct previews *previews, uint64_t address,
			  char text[PREVIEW_MAX])
{
	if (!previews)
		return NULL;
	pyh_value_repr(previews->values, address, text, PREVIEW_MAX);
	return text;
}
