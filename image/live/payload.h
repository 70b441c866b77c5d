/*
 * Finds the data of big buffers, so that it can be left out of a dump.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A chunk of malloc is payload if
 * (1) it is large enough to be worth a hole, and more than a little of it was
 *     ever touched,
 * (2) fewer than 1/64 of its words, by a sample, point into known memory, and
 *     it is no stack,
 * (3) it is no object of a model, and
 * (4) no object that needs it to be understood owns it.
 * Only whole pages inside of it go: its header, the beginning of its content
 * and whatever shares a page with it stay. In doubt all of it stays.
 */
#ifndef LIVE_PAYLOAD_H
#define LIVE_PAYLOAD_H

#include <stddef.h>

#include "image/base/error.h"
#include "image/live/select.h"
#include "image/live/standing.h"
#include "image/model.h"

enum {
	PAYLOAD_MIN = 64 << 10,		/* bytes of a chunk worth looking at */
	PAYLOAD_TOUCHED = 32 << 10,	/* … of it in memory, at least */
	PAYLOAD_HEAD = 1 << 10,		/* bytes of content kept, at least */
	/* One word in so many points somewhere: it is a table, no payload. */
	PAYLOAD_SPARSE = 64,
	PAYLOAD_WHY_MAX = 200,
};

struct payload_options {
	const struct model *const *models;	/* ended by a NULL */
	const struct select_rules *rules;	/* --include keeps; may be NULL */
	unsigned int workers;
	/* Where the threads' stacks are in use: chunks around these stay. */
	const uint64_t *stack_pointers;
	size_t num_stack_pointers;
};

/** What is to be left out: ascending, whole pages, apart from each other. */
struct payload {
	struct select_span *spans;
	size_t count;
	/* Why nothing is, where a process was not understood; else "" */
	char kept_because[PAYLOAD_WHY_MAX];
};

struct error *payload_find(struct standing *standing,
			   const struct payload_options *options,
			   struct payload *ret);
void payload_deinit(struct payload *payload);

#endif
