/*
 * Calibrating what lies at the far end of the runtime and interpreters.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tables of static types, interned strings, small integers: their offsets
 * differ between micro releases and configurations, so they are believed only
 * where the contents show what they are. What cannot be told by its contents
 * is forgotten.
 *
 * Source: CPython Include/internal/pycore_typeobject.h, pycore_interp.h,
 * pycore_global_objects.h, 3.12 and later.
 */
#include "pyheap/runtime/pycalibrate.h"

#include "pyheap/values/pydict.h"

enum {
	STATE_SIZE_3_12 = 40,	/* static_builtin_state */
	STATE_SIZE = 48,	/* managed_static_type_state, 3.13 and later */
	STATES_MAX = 256,
	STATES_SEEN = 4,	/* looked at before the table is believed */
	INTERNED_MIN = 100,	/* strings any interpreter has */
	SMALL_INT_FIRST = -5,	/* value of the first static integer */
	SMALL_INTS_SEEN = 8,
};

/** The first entries of a table of static types hold types. */
static bool states_hold(const struct pyh_probe *probe, uint64_t states,
			uint32_t size)
{
	uint64_t type, meta;

	for (unsigned int i = 0; i < STATES_SEEN; i++)
		if (!pyh_pointer_at(probe->reader, states + i * size, &type) ||
		    !pyh_object_type(probe, type, &meta) ||
		    meta != probe->runtime->types.type)
			return false;
	return true;
}

static bool builtins_3_12_hold(const struct pyh_probe *probe, uint64_t address)
{
	return states_hold(probe, address, STATE_SIZE_3_12);
}

/** At address: the number of entries, then the entries. */
static bool builtins_hold(const struct pyh_probe *probe, uint64_t address)
{
	uint64_t count;

	return memory_try_u64(probe->reader, address, &count) &&
	       count >= STATES_SEEN && count <= STATES_MAX &&
	       states_hold(probe, address + 8, STATE_SIZE);
}

static void fit_static_types(const struct pyh_probe *probe)
{
	static const enum pyh_field together[] = {
		PYH_INTERP_TYPES, PYH_INTERP_TYPES_NUM_BUILTINS_INITIALIZED,
		PYH_INTERP_TYPES_BUILTINS_NUM_INITIALIZED,
		PYH_INTERP_TYPES_FOR_EXTENSIONS,
	};
	struct pyh_runtime *runtime = probe->runtime;
	uint32_t expected = pyh_offset(runtime, PYH_INTERP_TYPES_BUILTINS);
	bool fits = pyh_fit_field(probe, runtime->interpreters[0].address,
				  PYH_INTERP_TYPES_BUILTINS,
				  runtime->minor == 12 ? builtins_3_12_hold :
							 builtins_hold);
	uint32_t moved = pyh_offset(runtime, PYH_INTERP_TYPES_BUILTINS) -
			 expected;

	// One structure: what moved one member moved all.
	for (size_t i = 0; i < sizeof(together) / sizeof(together[0]); i++) {
		runtime->at[together[i]].offset += moved;
		if (!fits)
			pyh_forget(runtime, together[i]);
	}
	if (!fits)
		pyh_forget(runtime, PYH_INTERP_TYPES_BUILTINS);
}

/** At address: a dict with many strings as keys. */
static bool interned_hold(const struct pyh_probe *probe, uint64_t address)
{
	const struct pyh_runtime *runtime = probe->runtime;
	uint64_t dict, type, used, key, value;
	struct pyh_dict_walk walk;

	return pyh_pointer_at(probe->reader, address, &dict) &&
	       pyh_object_type(probe, dict, &type) &&
	       type == runtime->types.dict &&
	       pyh_field(runtime, probe->reader, dict, PYH_DICT_MA_USED,
			 &used) &&
	       used >= INTERNED_MIN &&
	       pyh_dict_walk(runtime, probe->reader, dict, &walk) ==
	       PYH_FOUND &&
	       pyh_dict_next(&walk, &key, &value) &&
	       pyh_object_type(probe, key, &type) &&
	       type == runtime->types.str;
}

/** At address: the static integers -5, -4, -3 …, all of one type. */
static bool small_ints_hold(const struct pyh_probe *probe, uint64_t address)
{
	const struct pyh_runtime *runtime = probe->runtime;
	uint32_t size = runtime->size_of[PYH_STRUCT_LONG];
	uint64_t type, first, value;

	if (!pyh_object_type(probe, address, &first))
		return false;
	for (int i = 1; i < SMALL_INTS_SEEN; i++) {
		uint64_t at = address + (uint32_t)i * size;

		if (!pyh_object_type(probe, at, &type) || type != first)
			return false;
		if (SMALL_INT_FIRST + i >= 0 &&
		    (!pyh_small_int(probe->runtime, probe->reader, at,
				    &value) ||
		     value != (uint64_t)(SMALL_INT_FIRST + i)))
			return false;
	}
	return true;
}

/** At address: the pointer to the GIL, which the main interpreter holds. */
static bool gil_holds(const struct pyh_probe *probe, uint64_t address)
{
	const struct pyh_runtime *runtime = probe->runtime;
	uint64_t gil;

	return pyh_pointer_at(probe->reader, address, &gil) &&
	       gil == runtime->interpreters[0].address +
		      pyh_offset(runtime, PYH_INTERP_GIL);
}

void pyh_calibrate_static(const struct pyh_probe *probe)
{
	// Nothing in their contents tells them from their neighbours.
	static const enum pyh_field untold[] = {
		PYH_RUNTIME_CACHED_OBJECTS_INTERNED_STRINGS,
		PYH_INTERP_DICT, PYH_INTERP_OBJECT_STATE,
		PYH_INTERP_STATIC_OBJECTS, PYH_INTERP_INITIAL_THREAD,
	};
	struct pyh_runtime *runtime = probe->runtime;
	uint64_t main = runtime->interpreters[0].address;

	for (size_t i = 0; i < sizeof(untold) / sizeof(untold[0]); i++)
		pyh_forget(runtime, untold[i]);
	if (!pyh_has(runtime, PYH_INTERP_CEVAL_GIL) ||
	    !gil_holds(probe, main + pyh_offset(runtime,
						PYH_INTERP_CEVAL_GIL)))
		pyh_forget(runtime, PYH_INTERP_GIL);
	if (pyh_has(runtime, PYH_INTERP_TYPES_BUILTINS))
		fit_static_types(probe);
	if (!pyh_fit_field(probe, main,
			   PYH_INTERP_CACHED_OBJECTS_INTERNED_STRINGS,
			   interned_hold))
		pyh_forget(runtime,
			   PYH_INTERP_CACHED_OBJECTS_INTERNED_STRINGS);
	if (!pyh_fit_field(probe, runtime->address, PYH_RUNTIME_STATIC_OBJECTS,
			   small_ints_hold))
		pyh_forget(runtime, PYH_RUNTIME_STATIC_OBJECTS);
}
