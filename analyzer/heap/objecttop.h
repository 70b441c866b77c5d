/*
 * The first objects in some order, by the columns of the analysis.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All workers go through the columns that matter, once. Which worker sees what
 * makes no difference.
 */
#ifndef ANALYZER_OBJECTTOP_H
#define ANALYZER_OBJECTTOP_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/show/toplist.h"
#include "image/base/error.h"

/** What puts objects in order; of equal ones the lower address is first. */
enum object_key {
	OBJECT_BY_ADDRESS,	/* the lowest first */
	OBJECT_BY_TYPE,		/* by name, in the order of bytes */
	OBJECT_BY_TYPE_ADDRESS,	/* the lowest first */
	OBJECT_BY_SIZE,		/* the largest first, as all that follow */
	OBJECT_BY_FOOTPRINT,
	OBJECT_BY_REFCOUNT,	/* the immortal ones last */
	OBJECT_BY_EXACT,	/* those whose size is exact first */
	OBJECT_BY_EVIDENCE,	/* certain, guessed, probable: by itself */
	OBJECT_BY_REFERRERS,
	OBJECT_BY_RETAINED,
	OBJECT_BY_DEVICE,	/* what they retain of devices */
	OBJECT_BY_RETAINED_REACHED,	/* only of those that are reached */
};

struct objecttop_options {
	unsigned int workers;
	const char *type, *match;	/* as --type and --match; may be NULL */
	uint64_t min_size;		/* of what the key is, if it is RETAINED… ,
					   else of sys.getsizeof */
	enum object_key key;
};

/**
 * Find the first ones.
 *
 * @param list  empty, with a limit; gets them in order
 * @param ret_count, ret_size  of all that the filters let through
 */
struct error *objecttop_find(const struct analysis *analysis,
			     const struct objecttop_options *options,
			     struct toplist *list, uint64_t *ret_count,
			     uint64_t *ret_size);

/**
 * Put the largest of what is in the process in order of analysis_retained(),
 * together with those that have memory of devices.
 *
 * @param type, match  as in struct objecttop_options
 * @param list  the first ones by OBJECT_BY_RETAINED_REACHED
 */
struct error *objecttop_with_devices(const struct analysis *analysis,
				     const char *type, const char *match,
				     struct toplist *list);

#endif
