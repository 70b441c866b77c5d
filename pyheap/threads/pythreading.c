/*
 * What threading knows of the threads; see pythreading.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/threads/pythreading.h"

#include <stdlib.h>

#include "pyheap/runtime/pycalibrate.h"
#include "pyheap/types/pyattributes.h"
#include "pyheap/values/pydict.h"

enum { BUDGET = 1 << 20 };	/* entries of dicts looked at in all */

/** The value of a key of a dict; 0: it has none. */
static uint64_t look_up(const struct pyh_runtime *runtime,
			struct memory_reader *memory, uint64_t dict,
			const char *name, uint64_t *budget)
{
	uint64_t value = 0;

	if (dict != 0)
		(void)pyh_dict_find(runtime, memory, dict, &name, 1, &value,
				    budget);
	return value;
}

/** threading._active; 0: not to be had. */
static uint64_t active_threads(const struct pyh_runtime *runtime,
			       struct memory_reader *memory, uint64_t *budget)
{
	uint64_t module, namespace;

	if (runtime->num_interpreters == 0)
		return 0;
	module = look_up(runtime, memory, runtime->interpreters[0].modules,
			 "threading", budget);
	if (module == 0 || !pyh_field(runtime, memory, module,
				      PYH_MODULE_MD_DICT, &namespace))
		return 0;
	return look_up(runtime, memory, namespace, "_active", budget);
}

static bool read_name(const struct pyh_runtime *runtime,
		      struct pyh_type_reader *types,
		      struct pyh_shapes *shapes, struct memory_reader *memory,
		      uint64_t thread, struct pyh_thread_name *ret)
{
	static const char *const names[] = { "_ident", "_name" };
	const struct pyh_type *type;
	uint64_t values[2], address;

	if (!pyh_field(runtime, memory, thread, PYH_OBJECT_OB_TYPE, &address))
		return false;
	type = pyh_type_find(types, address);
	if (!type)
		return false;
	pyh_attributes_find(runtime, shapes, memory, type, thread, names, 2,
			    values);
	ret->name = values[1];
	return values[0] != 0 && values[1] != 0 &&
	       pyh_small_int(runtime, memory, values[0], &ret->ident);
}

struct error *pyh_thread_names(const struct pyh_runtime *runtime,
			       struct pyh_type_reader *types,
			       struct pyh_shapes *shapes,
			       struct memory_reader *memory,
			       struct pyh_thread_name **ret,
			       size_t *ret_count)
{
	uint64_t budget = BUDGET, key, thread;
	struct pyh_thread_name *names = NULL;
	uint64_t active = active_threads(runtime, memory, &budget);
	size_t count = 0, room = 0;
	struct pyh_dict_walk walk;

	*ret = NULL;
	*ret_count = 0;
	if (active == 0 ||
	    pyh_dict_walk(runtime, memory, active, &walk) != PYH_FOUND)
		return NULL;
	walk.budget = &budget;
	while (count < PYH_THREAD_NAMES_MAX &&
	       pyh_dict_next(&walk, &key, &thread)) {
		if (count == room) {
			struct pyh_thread_name *more;

			room = room ? 2 * room : 16;
			more = realloc(names, room * sizeof(*names));
			if (!more) {
				free(names);
				return error_no_memory();
			}
			names = more;
		}
		count += read_name(runtime, types, shapes, memory, thread,
				   &names[count]);
	}
	*ret = names;
	*ret_count = count;
	return NULL;
}
