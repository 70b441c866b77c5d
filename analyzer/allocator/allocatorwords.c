/*
 * What the rows of `allocator` have in common; see allocatorwords.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/allocator/allocatorwords.h"

#include <inttypes.h>
#include <stdio.h>

#include "analyzer/cmd.h"

const char *allocator_kind_name(enum caching_kind kind)
{
	static const char *const names[] = {
		[CACHING_ABSENT] = NULL,
		[CACHING_NATIVE] = "native",
		[CACHING_ASYNC] = "cudaMallocAsync",
		[CACHING_PLUGGABLE] = "pluggable",
		[CACHING_OTHER] = "other",
		[CACHING_UNKNOWN] = "unknown",
	};

	return names[kind];
}

const char *allocator_pool_text(bool small, bool private, const uint64_t id[2],
				char text[ALLOCATOR_POOL_MAX])
{
	const char *size = small ? "small" : "large";

	if (!private)
		return size;
	(void)snprintf(text, ALLOCATOR_POOL_MAX,
		       "%s (%" PRIu64 ", %" PRIu64 ")", size, id[0], id[1]);
	return text;
}

const char *allocator_stream_text(uint64_t stream,
				  char text[ALLOCATOR_POOL_MAX])
{
	(void)snprintf(text, ALLOCATOR_POOL_MAX, stream ? "0x%" PRIx64 :
							  "%" PRIu64, stream);
	return text;
}

struct error *allocator_owner_text(const struct allocator *allocator,
				   size_t device, uint32_t block,
				   struct allocator_text *text,
				   const char **ret)
{
	const struct allocator_owner *owner =
		&allocator->devices[device].owners[block];
	bool cxx = owner->tensor == TENSORS_NONE;
	uint32_t tensor = cxx ? owner->cxx : owner->tensor;
	struct error *err = NULL;

	*ret = NULL;
	text->path[0] = '\0';
	if (!allocator->tensors)
		return NULL;
	if (tensor != TENSORS_NONE)
		err = tensors_path(allocator->tensors, tensor, text->path);
	if (!err)
		*ret = *text->path ? text->path :
		       cxx ? allocator_guess(allocator, device, block,
					     text->guess) :
			     "a tensor that no path leads to";
	return err;
}

void allocator_remark(const struct scan *scan,
		      const struct allocator *allocator)
{
	char text[ALLOCATOR_OWNER_MAX];
	const char *why = allocator_absence(allocator, text);

	if (why)
		scan_remark(scan, "%s", why);
	else if (allocator->tensors_error)
		scan_remark(scan, "what blocks are for is not known: %s",
			    allocator->tensors_error->message);
}
