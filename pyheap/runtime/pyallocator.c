/*
 * Which allocators a runtime uses, and pymalloc's state.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/obmalloc.c, Include/internal/pycore_obmalloc.h and
 * pycore_pymem.h, Include/cpython/initconfig.h (PyPreConfig).
 */
#include "pyheap/runtime/pycalibrate.h"

#include "image/modules.h"
#include "image/symbols.h"

enum {
	NUM_CLASSES = 32,	/* size classes of pymalloc */
	POOL_ALIGNMENT = 4096,	/* 3.10 and later: 16 KiB */
	MAXARENAS_MAX = 1 << 24,
	ALLOCATOR_SIZE = 40,	/* PyMemAllocatorEx: ctx and four functions */
	ALLOCATOR_MALLOC = 8,
	DEBUG_ENTRY = 48,	/* debug_alloc_api_t: api_id, PyMemAllocatorEx */
	DEBUG_ALLOCATOR = 8,
	WRAPPERS_MAX = 4,	/* hooks upon hooks */
};

/* The three domains, in CPython's order. */
enum { DOMAIN_RAW, DOMAIN_MEM, DOMAIN_OBJ };

/* PyMemAllocatorName; the same numbers in all releases. */
enum {
	NAME_DEBUG = 2, NAME_MALLOC = 3, NAME_MALLOC_DEBUG = 4,
	NAME_PYMALLOC_DEBUG = 6, NAME_MIMALLOC = 7, NAME_MIMALLOC_DEBUG = 8,
};

/* --- pymalloc's state ----------------------------------------------------- */

/**
 * Whether an _obmalloc_state begins at address: with two pointers for each
 * size class, the ends of a ring of pools; a class without pools has both
 * point two words before themselves.
 *
 * @param ret_used  how many classes have pools
 */
static bool rings_hold(const struct pyh_probe *probe, uint64_t address,
		       unsigned int *ret_used)
{
	uint64_t rings[NUM_CLASSES][2];

	*ret_used = 0;
	if (!memory_try_read(probe->reader, address, rings, sizeof(rings)))
		return false;
	for (unsigned int i = 0; i < NUM_CLASSES; i++) {
		uint64_t self = address + i * sizeof(rings[0]) - 16;

		if (rings[i][0] == self && rings[i][1] == self)
			continue;
		if (rings[i][0] == 0 || rings[i][0] % POOL_ALIGNMENT != 0 ||
		    rings[i][1] == 0 || rings[i][1] % POOL_ALIGNMENT != 0)
			return false;
		++*ret_used;
	}
	return true;
}

/** At address: an _obmalloc_state, with its list of arenas. */
static bool state_holds(const struct pyh_probe *probe, uint64_t address)
{
	const struct pyh_runtime *runtime = probe->runtime;
	uint64_t arenas, maxarenas, count;
	unsigned int used;

	if (!rings_hold(probe, address, &used) ||
	    !pyh_field(runtime, probe->reader, address,
		       PYH_OBMALLOC_MGMT_ARENAS, &arenas) ||
	    !pyh_field(runtime, probe->reader, address,
		       PYH_OBMALLOC_MGMT_MAXARENAS, &maxarenas) ||
	    !pyh_field(runtime, probe->reader, address,
		       PYH_OBMALLOC_MGMT_NARENAS_CURRENTLY_ALLOCATED, &count))
		return false;
	if (arenas == 0)
		return used == 0 && maxarenas == 0 && count == 0;
	return maxarenas > 0 && maxarenas <= MAXARENAS_MAX &&
	       count <= maxarenas &&
	       memory_state_at(probe->reader->memory, arenas) !=
	       MEMORY_UNMAPPED;
}

/** At address: a pointer to an _obmalloc_state. */
static bool state_pointer_holds(const struct pyh_probe *probe,
				uint64_t address)
{
	uint64_t state;

	return pyh_pointer_at(probe->reader, address, &state) &&
	       state_holds(probe, state);
}

static bool state_has_arenas(const struct pyh_probe *probe, uint64_t state)
{
	uint64_t arenas;

	return pyh_field(probe->runtime, probe->reader, state,
			 PYH_OBMALLOC_MGMT_ARENAS, &arenas) && arenas != 0;
}

/**
 * The state whose place in an interpreter is at an address, if it has pools:
 * then it is one, whatever has become of its list of arenas.
 */
static uint64_t state_with_pools(const struct pyh_probe *probe, uint64_t at)
{
	uint64_t state = at;
	unsigned int used;

	if (probe->runtime->minor > 12 &&
	    !pyh_pointer_at(probe->reader, at, &state))
		return 0;
	return rings_hold(probe, state, &used) && used > 0 ? state : 0;
}

/** Say what is damaged in a state: the list of arenas, its length, or all. */
static void report_state(const struct pyh_probe *probe, uint64_t at)
{
	const struct pyh_runtime *runtime = probe->runtime;
	uint64_t state = state_with_pools(probe, at), arenas = 0;
	enum pyh_field field = PYH_OBMALLOC_MGMT_MAXARENAS;

	if (state == 0) {
		findings_add(probe->findings, "obmalloc-state", at,
			     "the state of pymalloc of an interpreter does not "
			     "hold together");
		return;
	}
	(void)pyh_field(runtime, probe->reader, state,
			PYH_OBMALLOC_MGMT_ARENAS, &arenas);
	if (memory_state_at(probe->reader->memory, arenas) == MEMORY_UNMAPPED)
		field = PYH_OBMALLOC_MGMT_ARENAS;
	findings_add(probe->findings, "obmalloc-state",
		     state + pyh_offset(runtime, field), "where pymalloc's "
		     "list of arenas is, or how long it is, is damaged; "
		     "arenas are known by their pools alone");
}

/** 3.12 has the state inside the interpreter, later ones a pointer to it. */
static void fit_states(const struct pyh_probe *probe)
{
	struct pyh_runtime *runtime = probe->runtime;
	struct pyh_interpreter *main = &runtime->interpreters[0];
	bool embedded = runtime->minor == 12;
	pyh_holds_fn *holds = embedded ? state_holds : state_pointer_holds;

	if (!pyh_has(runtime, PYH_INTERP_OBMALLOC))
		return;
	if (!state_with_pools(probe, main->address +
			      pyh_offset(runtime, PYH_INTERP_OBMALLOC)) &&
	    !pyh_fit_field(probe, main->address, PYH_INTERP_OBMALLOC, holds)) {
		pyh_forget(runtime, PYH_INTERP_OBMALLOC);
		return;
	}
	for (size_t i = 0; i < runtime->num_interpreters; i++) {
		struct pyh_interpreter *interpreter = &runtime->interpreters[i];
		uint64_t at = interpreter->address +
			      pyh_offset(runtime, PYH_INTERP_OBMALLOC);

		if (!holds(probe, at)) {
			report_state(probe, at);
			continue;
		}
		if (embedded)
			interpreter->obmalloc = at;
		else
			(void)pyh_pointer_at(probe->reader, at,
					     &interpreter->obmalloc);
		// 3.12: one that shares the main one's leaves its own alone.
		if (embedded && !state_has_arenas(probe, at))
			interpreter->obmalloc = main->obmalloc;
	}
}

/* --- which allocators ----------------------------------------------------- */

/** At address: `allocator` of a PyPreConfig, nine ints after its start. */
static bool preconfig_holds(const struct pyh_probe *probe, uint64_t address)
{
	enum { CONFIG_INIT, PARSE_ARGV, ISOLATED, USE_ENVIRONMENT,
	       CONFIGURE_LOCALE, COERCE, COERCE_WARN, UTF8_MODE, DEV_MODE,
	       ALLOCATOR, NUM_INTS };
	int32_t config[NUM_INTS];

	if (!memory_try_read(probe->reader, address -
			     ALLOCATOR * sizeof(config[0]), config,
			     sizeof(config)))
		return false;
	if (config[CONFIG_INIT] < 1 || config[CONFIG_INIT] > 3 ||
	    config[ALLOCATOR] < 0 || config[ALLOCATOR] > NAME_MIMALLOC_DEBUG)
		return false;
	// Only C locale coercion has a third state. A laxer rule would be met
	// by two places where the real one is not where the table has it.
	for (unsigned int i = PARSE_ARGV; i < ALLOCATOR; i++)
		if (config[i] < -1 || config[i] > (i == COERCE ? 2 : 1))
			return false;
	return true;
}

/** What stands in front of malloc in one domain. */
struct chain {
	uint64_t malloc;	/* address of the innermost function known */
	bool debug;		/* the debug hooks are among the wrappers */
	bool foreign;		/* somebody else's wrapper ended the chain */
};

struct triples {
	uint64_t standard[3];	/* PyMemAllocatorEx: raw, mem, obj */
	uint64_t debug[3];	/* debug_alloc_api_t, the ctx of the hooks */
};

static bool follow_chain(const struct pyh_probe *probe,
			 const struct triples *triples, uint64_t allocator,
			 struct chain *ret)
{
	const struct pyh_runtime *runtime = probe->runtime;
	struct chain chain = { 0 };

	for (unsigned int i = 0; i < WRAPPERS_MAX; i++) {
		uint64_t ctx;
		bool hooks = false;

		if (!memory_try_u64(probe->reader, allocator, &ctx) ||
		    !memory_try_u64(probe->reader, allocator +
				    ALLOCATOR_MALLOC, &chain.malloc) ||
		    chain.malloc == 0)
			return false;
		for (unsigned int j = 0; ctx != 0 && j < 3; j++)
			hooks |= ctx == triples->debug[j];
		if (hooks) {
			chain.debug = true;
			allocator = ctx + DEBUG_ALLOCATOR;
		} else if (ctx > runtime->address && ctx - runtime->address <
			   runtime->size_of[PYH_STRUCT_RUNTIME]) {
			// tracemalloc keeps what it wraps in the runtime.
			allocator = ctx;
		} else {
			chain.foreign = ctx != 0;
			break;
		}
	}
	*ret = chain;
	return true;
}

/** Where the allocators stand: in the runtime, before 3.12 in static data. */
static bool find_triples(const struct pyh_probe *probe, struct triples *ret)
{
	static const char *const names[] = { "_PyMem_Raw", "_PyMem",
					     "_PyObject" };
	const struct pyh_runtime *runtime = probe->runtime;
	struct symbol symbol;
	uint64_t standard, debug;

	if (pyh_has(runtime, PYH_RUNTIME_ALLOCATORS_STANDARD)) {
		standard = runtime->address +
			pyh_offset(runtime, PYH_RUNTIME_ALLOCATORS_STANDARD);
		debug = runtime->address +
			pyh_offset(runtime, PYH_RUNTIME_ALLOCATORS_DEBUG);
		for (unsigned int i = 0; i < 3; i++)
			ret->standard[i] = standard +
					   (uint64_t)i * ALLOCATOR_SIZE;
	} else {
		if (!runtime->module ||
		    !symbols_lookup(runtime->module, runtime->image->memory,
				    "_PyMem_Debug", &symbol))
			return false;
		debug = symbol.address;
		for (unsigned int i = 0; i < 3; i++) {
			if (!symbols_lookup(runtime->module,
					    runtime->image->memory, names[i],
					    &symbol))
				return false;
			ret->standard[i] = symbol.address;
		}
	}
	for (unsigned int i = 0; i < 3; i++)
		ret->debug[i] = debug + (uint64_t)i * DEBUG_ENTRY;
	return true;
}

/** The allocator by its name in the configuration, and its default. */
static void allocator_by_name(struct pyh_runtime *runtime, uint64_t name)
{
	runtime->allocator = runtime->free_threaded ? PYH_ALLOCATOR_MIMALLOC :
						      PYH_ALLOCATOR_PYMALLOC;
	if (name == NAME_MALLOC || name == NAME_MALLOC_DEBUG)
		runtime->allocator = PYH_ALLOCATOR_MALLOC;
	if (name == NAME_MIMALLOC || name == NAME_MIMALLOC_DEBUG)
		runtime->allocator = PYH_ALLOCATOR_MIMALLOC;
	runtime->debug_hooks = name == NAME_DEBUG ||
			       name == NAME_MALLOC_DEBUG ||
			       name == NAME_PYMALLOC_DEBUG ||
			       name == NAME_MIMALLOC_DEBUG ||
			       (name <= 1 && runtime->debug_build);
}

/**
 * What the allocator structures themselves say, which is stronger than the
 * name: objects from the same function as raw memory are malloc's.
 */
static void allocator_by_chain(const struct pyh_probe *probe)
{
	struct pyh_runtime *runtime = probe->runtime;
	struct triples triples;
	struct chain raw, obj;

	if (!find_triples(probe, &triples) ||
	    !follow_chain(probe, &triples, triples.standard[DOMAIN_RAW],
			  &raw) ||
	    !follow_chain(probe, &triples, triples.standard[DOMAIN_OBJ], &obj))
		return;
	runtime->debug_hooks = obj.debug;
	if (obj.foreign || raw.foreign) {
		runtime->foreign_allocators = true;
		pyh_note(runtime->build, sizeof(runtime->build),
			 "allocators wrapped by another library");
		return;
	}
	if (obj.malloc == raw.malloc)
		runtime->allocator = PYH_ALLOCATOR_MALLOC;
	else if (runtime->allocator == PYH_ALLOCATOR_MALLOC)
		runtime->allocator = PYH_ALLOCATOR_PYMALLOC;
}

void pyh_calibrate_allocators(const struct pyh_probe *probe)
{
	struct pyh_runtime *runtime = probe->runtime;
	uint64_t name = 0;

	if (!pyh_fit_field(probe, runtime->address,
			   PYH_RUNTIME_PRECONFIG_ALLOCATOR, preconfig_holds))
		pyh_forget(runtime, PYH_RUNTIME_PRECONFIG_ALLOCATOR);
	(void)pyh_field(runtime, probe->reader, runtime->address,
			PYH_RUNTIME_PRECONFIG_ALLOCATOR, &name);
	allocator_by_name(runtime, name);
	allocator_by_chain(probe);
	fit_states(probe);
}
