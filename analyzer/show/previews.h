/*
 * Values of objects, for --values.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_PREVIEWS_H
#define ANALYZER_PREVIEWS_H

#include <stdint.h>

#include "image/base/error.h"

enum { PREVIEW_MAX = 240 };	/* bytes of a text, NUL included */

struct opened;
struct previews;
struct pyh_value_reader;

/** Not for concurrent use. opened must outlive it. */
struct error *previews_open(struct opened *opened, struct previews **ret);
void previews_close(struct previews *previews);
static inline void previews_release(struct previews **previews)
{
	previews_close(*previews);
}

/** What they are made with; NULL for NULL. Borrowed. */
struct pyh_value_reader *previews_reader(struct previews *previews);

/**
 * What repr() would say of the object at an address, as far as it fits; see
 * pyvalue.h.
 *
 * @param previews  NULL: values are not to be shown
 * @return text, or NULL where there is nothing to be shown
 */
const char *previews_text(struct previews *previews, uint64_t address,
			  char text[PREVIEW_MAX]);

#endif
