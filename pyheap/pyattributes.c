/*
 * Attributes of an instance by name; see pyattributes.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/pyattributes.h"

#include <string.h>

#include "pyheap/pydict.h"
#include "pyheap/pyrefs.h"
#include "pyheap/pysize.h"
#include "pyheap/pystr.h"

/* References of an instance, and entries of its dict, that are looked at. */
enum { INSTANCE_BUDGET = 256 };

/** Attributes that are looked for. */
struct wanted {
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	const char *const *names;
	uint64_t *values;
	size_t count;
	uint64_t dict;		/* where others may be */
	unsigned int left;	/* references that may still be looked at */
};

static bool see_reference(void *context, const struct pyh_ref *ref)
{
	struct wanted *wanted = context;
	struct pyh_str str;

	if (ref->kind == PYH_REF_DICT)
		wanted->dict = ref->address;
	if (ref->kind == PYH_REF_ATTRIBUTE &&
	    pyh_str_read(wanted->runtime, wanted->memory, ref->key, &str) ==
		    PYH_FOUND) {
		for (size_t i = 0; i < wanted->count; i++)
			if (pyh_str_is(wanted->memory, &str, wanted->names[i]))
				wanted->values[i] = ref->address;
	}
	return wanted->left-- > 0;
}

void pyh_attributes_find(const struct pyh_runtime *runtime,
			 struct pyh_shapes *shapes,
			 struct memory_reader *memory,
			 const struct pyh_type *type, uint64_t address,
			 const char *const *names, size_t count,
			 uint64_t *values)
{
	uint64_t budget = INSTANCE_BUDGET;
	struct pyh_measure measure;
	struct pyh_referrer referrer = {
		.runtime = runtime, .shapes = shapes, .type = type,
		.address = address, .memory = memory,
	};
	struct wanted wanted = {
		.runtime = runtime, .memory = memory, .names = names,
		.values = values, .count = count, .left = INSTANCE_BUDGET,
	};

	memset(values, 0, count * sizeof(*values));
	if (pyh_measure(runtime, type, address, NULL, 0, memory, &measure) ==
	    PYH_MEASURE_REFUSED)
		return;
	referrer.extent = measure.extent;
	pyh_refs_each(&referrer, see_reference, &wanted);
	if (wanted.dict && !values[0])
		(void)pyh_dict_find(runtime, memory, wanted.dict, names, count,
				    values, &budget);
}
