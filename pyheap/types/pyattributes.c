/*
 * Attributes of an instance by name; see pyattributes.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pyattributes.h"

#include <string.h>

#include "pyheap/references/pyrefs.h"
#include "pyheap/sizes/pysize.h"
#include "pyheap/values/pydict.h"
#include "pyheap/values/pystr.h"

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

/** What leads to an instance's references; false: they cannot be told. */
static bool refer(const struct pyh_runtime *runtime, struct pyh_shapes *shapes,
		  struct memory_reader *memory, const struct pyh_type *type,
		  uint64_t address, struct pyh_referrer *ret)
{
	struct pyh_measure measure;

	if (pyh_measure(runtime, type, address, NULL, 0, memory, &measure) ==
	    PYH_MEASURE_REFUSED)
		return false;
	*ret = (struct pyh_referrer){
		.runtime = runtime, .shapes = shapes, .type = type,
		.address = address, .memory = memory,
		.extent = measure.extent,
	};
	return true;
}

void pyh_attributes_find(const struct pyh_runtime *runtime,
			 struct pyh_shapes *shapes,
			 struct memory_reader *memory,
			 const struct pyh_type *type, uint64_t address,
			 const char *const *names, size_t count,
			 uint64_t *values)
{
	uint64_t budget = INSTANCE_BUDGET;
	struct pyh_referrer referrer;
	struct wanted wanted = {
		.runtime = runtime, .memory = memory, .names = names,
		.values = values, .count = count, .left = INSTANCE_BUDGET,
	};

	memset(values, 0, count * sizeof(*values));
	if (!refer(runtime, shapes, memory, type, address, &referrer))
		return;
	pyh_refs_each(&referrer, see_reference, &wanted);
	if (wanted.dict && !values[0])
		(void)pyh_dict_find(runtime, memory, wanted.dict, names, count,
				    values, &budget);
}

/** Attributes that are told one by one. */
struct telling {
	pyh_attribute_fn *fn;
	void *context;
	uint64_t dict;
	unsigned int left;
	bool ended;
};

static bool tell_reference(void *context, const struct pyh_ref *ref)
{
	struct telling *telling = context;

	if (ref->kind == PYH_REF_DICT)
		telling->dict = ref->address;
	if (ref->kind == PYH_REF_ATTRIBUTE || ref->kind == PYH_REF_FIELD)
		telling->ended = !telling->fn(telling->context,
					      ref->kind == PYH_REF_FIELD ?
						      ref->name : NULL,
					      ref->key, ref->address);
	return !telling->ended && telling->left-- > 0;
}

void pyh_attributes_each(const struct pyh_runtime *runtime,
			 struct pyh_shapes *shapes,
			 struct memory_reader *memory,
			 const struct pyh_type *type, uint64_t address,
			 pyh_attribute_fn *fn, void *context)
{
	struct telling telling = { .fn = fn, .context = context,
				   .left = INSTANCE_BUDGET };
	uint64_t budget = INSTANCE_BUDGET, key, value;
	struct pyh_referrer referrer;
	struct pyh_dict_walk walk;

	if (!refer(runtime, shapes, memory, type, address, &referrer))
		return;
	pyh_refs_each(&referrer, tell_reference, &telling);
	if (telling.ended || !telling.dict ||
	    pyh_dict_walk(runtime, memory, telling.dict, &walk) != PYH_FOUND)
		return;
	walk.budget = &budget;
	while (pyh_dict_next(&walk, &key, &value) &&
	       fn(context, NULL, key, value))
		;
}
