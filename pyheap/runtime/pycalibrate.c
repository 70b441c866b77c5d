/*
 * Calibrating interpreters, threads, collector and namespaces.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source of the invariants: CPython Python/pystate.c (interpreter and thread
 * lists), Modules/gcmodule.c and Python/gc.c (generation0, list heads),
 * Objects/typeobject.c (type is its own type).
 */
#include "pyheap/runtime/pycalibrate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/symbols.h"
#include "pyheap/types/pytypes.h"
#include "pyheap/values/pydict.h"

enum {
	INTERPRETERS_MAX = 4096,
	THREADS_MAX = 4 << 20,	/* PID_MAX_LIMIT of Linux */
	MAIN_OFFSET_MAX = 4 << 20,	/* of the main one in _PyRuntime */
	GENERATION_SIZE = 24,	/* struct gc_generation */
	GC_FLAGS = 3,		/* low bits of the words of PyGC_Head */
	HEADER_TRACE_REFS = 16,	/* _ob_next and _ob_prev */
	NAMES_MAX = 1 << 20,	/* entries of a dict looked at for a name */
	BASES_MAX = 64,		/* of a type */
};

unsigned int pyh_fit_score(const struct pyh_fit *fit)
{
	unsigned int score;

	if (!fit->interpreters ||
	    !(fit->threads || fit->gc || fit->namespaces))
		return 0;
	score = 1 + 4u * (fit->threads + fit->gc + fit->namespaces) +
		2u * (fit->types + fit->list);
	// A table that has to be bent in many places is the wrong one.
	return score * 8 - (fit->moved < 7 ? fit->moved : 7);
}

void pyh_note(char *text, size_t size, const char *format, ...)
{
	size_t length = strnlen(text, size);
	va_list arguments;

	if (length > 0 && length + 2 < size) {
		memcpy(text + length, "; ", 3);
		length += 2;
	}
	if (length >= size)
		return;
	va_start(arguments, format);
	(void)vsnprintf(text + length, size - length, format, arguments);
	va_end(arguments);
}

static void note_moved(const struct pyh_probe *probe, enum pyh_field field,
		       int64_t distance)
{
	pyh_note(probe->runtime->layout_by, sizeof(probe->runtime->layout_by),
		 "%s %+" PRId64, pyh_field_member(field), distance);
	probe->runtime->num_moved++;
}

bool pyh_pointer_at(struct memory_reader *reader, uint64_t address,
		    uint64_t *ret)
{
	uint64_t pointer;

	// List heads are at multiples of four in late releases of 3.13.
	if (!memory_try_u64(reader, address, &pointer) || pointer == 0 ||
	    (pointer & 3) != 0 ||
	    memory_state_at(reader->memory, pointer) < MEMORY_CAPTURED)
		return false;
	*ret = pointer;
	return true;
}

bool pyh_fit_field(const struct pyh_probe *probe, uint64_t base,
		   enum pyh_field field, pyh_holds_fn *holds)
{
	struct pyh_field_at *at = &probe->runtime->at[field];

	if (at->size == 0)
		return false;
	if (holds(probe, base + at->offset))
		return true;
	for (int64_t step = 8; step <= PYH_CALIBRATE_WINDOW; step += 8) {
		for (int sign = 1; sign >= -1; sign -= 2) {
			int64_t offset = (int64_t)at->offset + sign * step;

			if (offset < 0 ||
			    !holds(probe, base + (uint64_t)offset))
				continue;
			at->offset = (uint32_t)offset;
			note_moved(probe, field, sign * step);
			return true;
		}
	}
	return false;
}

bool pyh_value_of(const struct pyh_probe *probe, uint64_t dict,
		  const char *name, uint64_t *ret)
{
	uint64_t budget = NAMES_MAX, value;

	if (pyh_dict_find(probe->runtime, probe->reader, dict, &name, 1,
			  &value, &budget) == PYH_FOUND_BAD || value == 0)
		return false;
	*ret = value;
	return true;
}

bool pyh_small_int(const struct pyh_runtime *runtime,
		   struct memory_reader *memory, uint64_t object, uint64_t *ret)
{
	enum pyh_field first = PYH_LONG_OB_DIGIT;
	uint32_t digits[2] = { 0, 0 };
	uint64_t count;

	if (pyh_field(runtime, memory, object,
		      PYH_LONG_LONG_VALUE_LV_TAG, &count)) {
		if (count & 2)	// negative
			return false;
		count >>= 3;
		first = PYH_LONG_LONG_VALUE_OB_DIGIT;
	} else if (!pyh_field(runtime, memory, object, PYH_VAR_OB_SIZE,
			      &count)) {
		return false;
	}
	if (count > 2 || !pyh_has(runtime, first) ||
	    !memory_try_read(memory, object + pyh_offset(runtime, first),
			     digits, (size_t)count * sizeof(digits[0])))
		return false;
	*ret = (uint64_t)digits[1] << 30 | digits[0];
	return true;
}

static bool probe_field(const struct pyh_probe *probe, uint64_t structure,
			enum pyh_field field, uint64_t *ret)
{
	return pyh_field(probe->runtime, probe->reader, structure, field, ret);
}

/* --- interpreters and threads --------------------------------------------- */

/** The field that leads to the first thread state of an interpreter. */
static enum pyh_field threads_field(const struct pyh_runtime *runtime)
{
	return pyh_has(runtime, PYH_INTERP_THREADS_HEAD) ?
	       PYH_INTERP_THREADS_HEAD : PYH_INTERP_TSTATE_HEAD;
}

/** At address: a pointer to a first thread state; *ret is its interpreter. */
static bool first_thread_at(const struct pyh_probe *probe, uint64_t address,
			    uint64_t *ret)
{
	uint64_t thread, prev;

	return pyh_pointer_at(probe->reader, address, &thread) &&
	       probe_field(probe, thread, PYH_TSTATE_PREV, &prev) &&
	       prev == 0 && probe_field(probe, thread, PYH_TSTATE_INTERP, ret);
}

/** At address: `interpreters.main`, `interpreters.head` just before it. */
static bool main_holds(const struct pyh_probe *probe, uint64_t address)
{
	const struct pyh_runtime *runtime = probe->runtime;
	uint64_t head, main, owner;

	if (!pyh_pointer_at(probe->reader, address - 8, &head) ||
	    !pyh_pointer_at(probe->reader, address, &main))
		return false;
	// From 3.11 on the main interpreter is part of the runtime.
	if (pyh_has(runtime, PYH_RUNTIME_MAIN_INTERPRETER))
		return main > runtime->address &&
		       main - runtime->address < MAIN_OFFSET_MAX;
	return first_thread_at(probe, main +
			       pyh_offset(runtime, threads_field(runtime)),
			       &owner) && owner == main;
}

/** Put the main interpreter into runtime->interpreters; false if none fits. */
static bool fit_main(const struct pyh_probe *probe)
{
	struct pyh_runtime *runtime = probe->runtime;
	struct pyh_field_at *embedded =
		&runtime->at[PYH_RUNTIME_MAIN_INTERPRETER];
	uint64_t main;
	int64_t moved;

	if (!pyh_fit_field(probe, runtime->address,
			   PYH_RUNTIME_INTERPRETERS_MAIN, main_holds) ||
	    !probe_field(probe, runtime->address,
			 PYH_RUNTIME_INTERPRETERS_MAIN, &main))
		return false;
	runtime->at[PYH_RUNTIME_INTERPRETERS_HEAD].offset =
		pyh_offset(runtime, PYH_RUNTIME_INTERPRETERS_MAIN) - 8;
	if (embedded->size != 0) {
		moved = (int64_t)(main - runtime->address) - embedded->offset;
		embedded->offset = (uint32_t)(main - runtime->address);
		// Differs between builds of one release; says nothing.
		if (moved != 0)
			pyh_note(runtime->layout_by,
				 sizeof(runtime->layout_by),
				 "main interpreter %+" PRId64, moved);
	}
	runtime->interpreters[0].address = main;
	runtime->num_interpreters = 1;
	return true;
}

static bool is_known(const struct pyh_runtime *runtime, uint64_t address)
{
	for (size_t i = 0; i < runtime->num_interpreters; i++)
		if (runtime->interpreters[i].address == address)
			return true;
	return false;
}

static struct error *add_interpreter(struct pyh_runtime *runtime,
				     uint64_t address)
{
	struct pyh_interpreter *more;

	more = reallocarray(runtime->interpreters,
			    runtime->num_interpreters + 1, sizeof(*more));
	if (!more)
		return error_no_memory();
	runtime->interpreters = more;
	more[runtime->num_interpreters++] =
		(struct pyh_interpreter){ .address = address };
	return NULL;
}

/**
 * Walk interpreters.head; the main interpreter stays first.
 *
 * @param ret  the list led to the main one and to its end
 */
static struct error *walk_interpreters(const struct pyh_probe *probe,
				       bool *ret)
{
	struct pyh_runtime *runtime = probe->runtime;
	uint64_t main = runtime->interpreters[0].address, at, next;
	bool seen_main = false;
	struct error *err;

	if (!probe_field(probe, runtime->address,
			 PYH_RUNTIME_INTERPRETERS_HEAD, &at))
		return NULL;
	while (at != 0 && runtime->num_interpreters < INTERPRETERS_MAX) {
		if (at == main ? seen_main : is_known(runtime, at)) {
			findings_add(probe->findings, "interpreter-list", at,
				     "the list of interpreters is a cycle");
			return NULL;
		}
		if (!probe_field(probe, at, PYH_INTERP_NEXT, &next)) {
			findings_add(probe->findings, "interpreter-list", at,
				     "an interpreter of the list cannot be "
				     "read");
			return NULL;
		}
		if (at != main) {
			err = add_interpreter(runtime, at);
			if (err)
				return err;
		}
		seen_main |= at == main;
		at = next;
	}
	if (!seen_main)
		findings_add(probe->findings, "interpreter-list", main,
			     "the list of interpreters does not lead to the "
			     "main one");
	*ret = seen_main && at == 0;
	return NULL;
}

/** At address: `threads.head` of the main interpreter. */
static bool main_threads_hold(const struct pyh_probe *probe, uint64_t address)
{
	uint64_t owner;

	return first_thread_at(probe, address, &owner) &&
	       owner == probe->runtime->interpreters[0].address;
}

/**
 * Count the thread states of an interpreter. Each must name the interpreter
 * and the one before it, so the list cannot be a cycle unnoticed.
 */
static void walk_threads(const struct pyh_probe *probe,
			 struct pyh_interpreter *interpreter)
{
	uint64_t at, before = 0, prev, owner;

	interpreter->num_threads = 0;
	if (!probe_field(probe, interpreter->address,
			 threads_field(probe->runtime), &at))
		return;
	interpreter->first_thread = at;
	while (at != 0 && interpreter->num_threads < THREADS_MAX) {
		if (!probe_field(probe, at, PYH_TSTATE_PREV, &prev) ||
		    !probe_field(probe, at, PYH_TSTATE_INTERP, &owner) ||
		    prev != before || owner != interpreter->address) {
			findings_add(probe->findings, "thread-list", at,
				     "the list of thread states of the "
				     "interpreter at 0x%" PRIx64
				     " is damaged here", interpreter->address);
			return;
		}
		interpreter->num_threads++;
		before = at;
		if (!probe_field(probe, at, PYH_TSTATE_NEXT, &at))
			return;
	}
}

/* --- the collector -------------------------------------------------------- */

/** A list head whose neighbours on both sides point back at it. */
static bool list_head_holds(struct memory_reader *reader, uint64_t head)
{
	uint64_t next, prev, back, forth;

	if (!memory_try_u64(reader, head, &next) ||
	    !memory_try_u64(reader, head + 8, &prev))
		return false;
	next &= ~(uint64_t)GC_FLAGS;
	prev &= ~(uint64_t)GC_FLAGS;
	return next != 0 && prev != 0 &&
	       memory_try_u64(reader, next + 8, &back) &&
	       memory_try_u64(reader, prev, &forth) &&
	       (back & ~(uint64_t)GC_FLAGS) == head &&
	       (forth & ~(uint64_t)GC_FLAGS) == head;
}

/** How many of the list heads of a _gc_runtime_state hold. */
static unsigned int count_heads(const struct pyh_probe *probe, uint64_t gc,
				uint64_t generations)
{
	unsigned int holding = 0;

	for (unsigned int i = 0; i < PYH_GC_LISTS - 1; i++)
		holding += list_head_holds(probe->reader, generations +
					   i * GENERATION_SIZE);
	return holding + list_head_holds(probe->reader, gc +
			pyh_offset(probe->runtime,
				   PYH_GC_PERMANENT_GENERATION));
}

/** At address: gc.garbage and gc.callbacks, objects of one type. */
static bool gc_lists_hold(const struct pyh_probe *probe, uint64_t address)
{
	uint64_t garbage, callbacks, type, other;

	return probe_field(probe, address, PYH_GC_GARBAGE, &garbage) &&
	       probe_field(probe, address, PYH_GC_CALLBACKS, &callbacks) &&
	       garbage != callbacks &&
	       pyh_object_type(probe, garbage, &type) &&
	       pyh_object_type(probe, callbacks, &other) && type == other;
}

/**
 * At address: a _gc_runtime_state whose generation0 leads to its generations.
 * While a collection runs the lists being collected do not point back. In
 * free-threaded builds the lists of objects are not used, nor even made.
 */
static bool gc_holds(const struct pyh_probe *probe, uint64_t address)
{
	const struct pyh_runtime *runtime = probe->runtime;
	uint64_t generations = address +
			       pyh_offset(runtime, PYH_GC_GENERATIONS);
	uint64_t generation0, collecting = 0;
	unsigned int heads;

	if (!probe_field(probe, address, PYH_GC_COLLECTING, &collecting) ||
	    collecting > 1)
		return false;
	if (runtime->free_threaded)
		return gc_lists_hold(probe, address);
	if (!pyh_has(runtime, PYH_GC_GENERATION0))
		return count_heads(probe, address, generations) >=
		       (collecting ? PYH_GC_LISTS - 1 : PYH_GC_LISTS);
	if (!probe_field(probe, address, PYH_GC_GENERATION0, &generation0) ||
	    (generation0 != generations && generation0 != generations - 4 &&
	     generation0 != generations + 4))
		return false;
	heads = count_heads(probe, address, generation0);
	return heads >= (collecting ? 1 : 2);
}

/** The generations may begin 4 bytes before or after where the table says. */
static void fit_generations(const struct pyh_probe *probe, uint64_t gc)
{
	struct pyh_field_at *at = &probe->runtime->at[PYH_GC_GENERATIONS];
	uint64_t generation0;

	if (probe->runtime->free_threaded ||
	    !probe_field(probe, gc, PYH_GC_GENERATION0, &generation0) ||
	    generation0 - gc == at->offset)
		return;
	note_moved(probe, PYH_GC_GENERATIONS,
		   (int64_t)(generation0 - gc) - at->offset);
	at->offset = (uint32_t)(generation0 - gc);
}

/** The structure that holds an interpreter's collector, and in which field. */
static uint64_t gc_base(const struct pyh_runtime *runtime,
			const struct pyh_interpreter *interpreter,
			enum pyh_field *ret)
{
	*ret = pyh_has(runtime, PYH_INTERP_GC) ? PYH_INTERP_GC :
						 PYH_RUNTIME_GC;
	return *ret == PYH_INTERP_GC ? interpreter->address : runtime->address;
}

/**
 * Find the collector's state of the main interpreter. The incremental
 * collector of early 3.14 and of 3.15 alphas has no generation0.
 */
static bool fit_gc(const struct pyh_probe *probe)
{
	struct pyh_runtime *runtime = probe->runtime;
	struct pyh_field_at generation0 = runtime->at[PYH_GC_GENERATION0];
	enum pyh_field field;
	uint64_t base = gc_base(runtime, &runtime->interpreters[0], &field);

	if (pyh_fit_field(probe, base, field, gc_holds)) {
		fit_generations(probe, base + pyh_offset(runtime, field));
		return true;
	}
	if (runtime->minor < 14 || runtime->free_threaded ||
	    generation0.size == 0)
		return false;
	pyh_forget(runtime, PYH_GC_GENERATION0);
	if (!pyh_fit_field(probe, base, field, gc_holds)) {
		runtime->at[PYH_GC_GENERATION0] = generation0;
		return false;
	}
	pyh_forget(runtime, PYH_GC_LONG_LIVED_TOTAL);
	pyh_forget(runtime, PYH_GC_LONG_LIVED_PENDING);
	pyh_note(runtime->layout_by, sizeof(runtime->layout_by),
		 "incremental collector");
	return true;
}

/** Where the lists of one interpreter begin. */
static void read_gc(const struct pyh_probe *probe,
		    struct pyh_interpreter *interpreter)
{
	const struct pyh_runtime *runtime = probe->runtime;
	enum pyh_field field;
	uint64_t base = gc_base(runtime, interpreter, &field), collecting = 0;
	uint64_t gc = base + pyh_offset(runtime, field);

	if (!gc_holds(probe, gc)) {
		findings_add(probe->findings, "gc-state", gc,
			     "the collector's state of the interpreter at 0x%"
			     PRIx64 " does not hold together",
			     interpreter->address);
		return;
	}
	(void)probe_field(probe, gc, PYH_GC_COLLECTING, &collecting);
	interpreter->gc = gc;
	interpreter->collecting = collecting != 0;
	if (runtime->free_threaded)
		return;
	for (unsigned int i = 0; i < PYH_GC_LISTS - 1; i++)
		interpreter->gc_heads[i] = gc + i * GENERATION_SIZE +
			pyh_offset(runtime, PYH_GC_GENERATIONS);
	interpreter->gc_heads[PYH_GC_LISTS - 1] = gc +
		pyh_offset(runtime, PYH_GC_PERMANENT_GENERATION);
	for (unsigned int i = 0; i < PYH_GC_LISTS; i++)
		if (!collecting && !list_head_holds(probe->reader,
						    interpreter->gc_heads[i]))
			findings_add(probe->findings, "gc-list-head",
				     interpreter->gc_heads[i],
				     "the neighbours of the head of GC list "
				     "%u do not point back at it", i);
}

/* --- namespaces and types ------------------------------------------------- */

bool pyh_object_type(const struct pyh_probe *probe, uint64_t object,
		     uint64_t *ret)
{
	uint32_t at = pyh_offset(probe->runtime, PYH_OBJECT_OB_TYPE);
	uint64_t type, meta, metameta;

	if (!pyh_pointer_at(probe->reader, object + at, &type) ||
	    !pyh_pointer_at(probe->reader, type + at, &meta) ||
	    !pyh_pointer_at(probe->reader, meta + at, &metameta))
		return false;
	*ret = type;
	return true;
}

/**
 * A dict: its type is that of dicts, or as long as that is not known, an
 * instance of `type`, which is its own type.
 */
static bool dict_at(const struct pyh_probe *probe, uint64_t address,
		    uint64_t *ret)
{
	uint32_t at = pyh_offset(probe->runtime, PYH_OBJECT_OB_TYPE);
	uint64_t dict, type, meta, self;

	if (!pyh_pointer_at(probe->reader, address, &dict) ||
	    !pyh_pointer_at(probe->reader, dict + at, &type))
		return false;
	if (type != probe->runtime->types.dict &&
	    (!pyh_pointer_at(probe->reader, type + at, &meta) ||
	     !pyh_pointer_at(probe->reader, meta + at, &self) || self != meta))
		return false;
	*ret = dict;
	return true;
}

/** At address: a pointer to a dict that has these keys. */
static bool names_hold(const struct pyh_probe *probe, uint64_t address,
		       const char *one, const char *other)
{
	const char *const names[] = { one, other };
	uint64_t dict, values[2], budget = NAMES_MAX;

	return dict_at(probe, address, &dict) &&
	       pyh_dict_find(probe->runtime, probe->reader, dict, names, 2,
			     values, &budget) != PYH_FOUND_BAD &&
	       values[0] != 0 && values[1] != 0;
}

static bool sysdict_holds(const struct pyh_probe *probe, uint64_t address)
{
	return names_hold(probe, address, "hexversion", "modules");
}

static bool builtins_hold(const struct pyh_probe *probe, uint64_t address)
{
	return names_hold(probe, address, "__import__", "len");
}

static bool modules_hold(const struct pyh_probe *probe, uint64_t address)
{
	return names_hold(probe, address, "sys", "builtins");
}

static enum pyh_field modules_field(const struct pyh_runtime *runtime)
{
	return pyh_has(runtime, PYH_INTERP_IMPORTS_MODULES) ?
	       PYH_INTERP_IMPORTS_MODULES : PYH_INTERP_MODULES;
}

static bool fit_namespaces_once(const struct pyh_probe *probe)
{
	uint64_t main = probe->runtime->interpreters[0].address;
	bool sys, builtins, modules;

	sys = pyh_fit_field(probe, main, PYH_INTERP_SYSDICT, sysdict_holds);
	builtins = pyh_fit_field(probe, main, PYH_INTERP_BUILTINS,
				 builtins_hold);
	modules = pyh_fit_field(probe, main, modules_field(probe->runtime),
				modules_hold);
	// Shutting down empties them one after the other.
	return sys || builtins || modules;
}

/** Move the members of all objects as --with-trace-refs does. */
static void add_trace_refs(struct pyh_runtime *runtime)
{
	for (unsigned int i = 0; i < PYH_NUM_FIELDS; i++)
		if (runtime->at[i].size != 0 &&
		    pyh_struct_is_object(pyh_field_owner(i)))
			runtime->at[i].offset += HEADER_TRACE_REFS;
	for (unsigned int i = 0; i < PYH_NUM_STRUCTS; i++)
		if (runtime->size_of[i] != 0 && pyh_struct_is_object(i))
			runtime->size_of[i] += HEADER_TRACE_REFS;
}

static bool fit_namespaces(const struct pyh_probe *probe)
{
	struct pyh_runtime *runtime = probe->runtime;
	struct pyh_runtime before;

	if (fit_namespaces_once(probe))
		return true;
	if (runtime->minor > 12 || runtime->trace_refs)
		return false;
	before = *runtime;
	add_trace_refs(runtime);
	runtime->trace_refs = true;
	if (fit_namespaces_once(probe))
		return true;
	*runtime = before;
	return false;
}

static void read_namespaces(const struct pyh_probe *probe,
			    struct pyh_interpreter *interpreter)
{
	struct pyh_runtime *runtime = probe->runtime;
	const struct {
		enum pyh_field field;
		uint64_t *ret;
	} wanted[] = {
		{ PYH_INTERP_SYSDICT, &interpreter->sysdict },
		{ PYH_INTERP_BUILTINS, &interpreter->builtins },
		{ modules_field(runtime), &interpreter->modules },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (pyh_has(runtime, wanted[i].field))
			(void)dict_at(probe, interpreter->address +
				      pyh_offset(runtime, wanted[i].field),
				      wanted[i].ret);
}

/** The type of the first key of a dict, which in a namespace is str. */
static uint64_t key_type(const struct pyh_probe *probe, uint64_t dict)
{
	struct pyh_dict_walk walk;
	uint64_t key, value, type;

	if (pyh_dict_walk(probe->runtime, probe->reader, dict, &walk) !=
	    PYH_FOUND || !pyh_dict_next(&walk, &key, &value) ||
	    !pyh_object_type(probe, key, &type))
		return 0;
	return type;
}

/**
 * The type of the module of builtins: by sys.modules, or, where an interpreter
 * that shuts down has put None there for each, by what len() belongs to.
 */
static uint64_t module_type(const struct pyh_probe *probe,
			    const struct pyh_interpreter *main)
{
	uint64_t module, none, function, type;

	if (!pyh_value_of(probe, main->modules, "builtins", &module))
		return 0;
	if (main->builtins != 0 &&
	    pyh_value_of(probe, main->builtins, "None", &none) &&
	    module == none &&
	    (!pyh_value_of(probe, main->builtins, "len", &function) ||
	     !probe_field(probe, function, PYH_CFUNCTION_M_SELF, &module)))
		return 0;
	return pyh_object_type(probe, module, &type) ? type : 0;
}

/**
 * The types that everything else is told from. No name is read: the names of
 * static types are in read-only pages, which cores often lack.
 */
static bool find_types(const struct pyh_probe *probe)
{
	struct pyh_core_types *types = &probe->runtime->types;
	const struct pyh_interpreter *main = &probe->runtime->interpreters[0];
	uint64_t any = main->builtins ? main->builtins :
		       main->modules ? main->modules : main->sysdict;
	uint64_t mro;

	*types = (struct pyh_core_types){ 0 };
	if (any == 0 || !pyh_object_type(probe, any, &types->dict) ||
	    !pyh_object_type(probe, types->dict, &types->type))
		return false;
	(void)probe_field(probe, types->type, PYH_TYPE_TP_BASE,
			  &types->object);
	if (probe_field(probe, types->type, PYH_TYPE_TP_MRO, &mro))
		(void)pyh_object_type(probe, mro, &types->tuple);
	types->str = key_type(probe, any);
	if (main->modules != 0)
		types->module = module_type(probe, main);
	return types->object != 0 && types->tuple != 0 && types->str != 0 &&
	       types->module != 0;
}

/**
 * False for a type that has not been made ready: a program that refers to the
 * types of a library may have moved them into itself.
 */
static bool may_be_in_use(const struct pyh_probe *probe, uint64_t type)
{
	uint64_t flags;

	return !probe_field(probe, type, PYH_TYPE_TP_FLAGS, &flags) ||
	       flags & PYH_TPFLAGS_READY;
}

/*
 * The type that was found may be upon the one of that name: Nuitka gives the
 * module builtins a type of its own, which is no damage.
 */
static bool is_upon(const struct pyh_probe *probe, uint64_t type, uint64_t base)
{
	for (int i = 0; i < BASES_MAX && type != 0 && type != base; i++)
		if (!probe_field(probe, type, PYH_TYPE_TP_BASE, &type))
			return false;
	return type != 0 && type == base;
}

void pyh_calibrate_types(const struct pyh_probe *probe)
{
	struct pyh_runtime *runtime = probe->runtime;
	struct pyh_core_types *types = &runtime->types;
	const struct {
		const char *name;
		uint64_t *ret;
	} wanted[] = {
		{ "PyType_Type", &types->type },
		{ "PyBaseObject_Type", &types->object },
		{ "PyDict_Type", &types->dict },
		{ "PyUnicode_Type", &types->str },
		{ "PyTuple_Type", &types->tuple },
		{ "PyModule_Type", &types->module },
	};
	struct symbol symbol;

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		uint64_t *type = wanted[i].ret;

		if (!runtime->module ||
		    !symbols_lookup(runtime->module, runtime->image->memory,
				    wanted[i].name, &symbol) ||
		    symbol.address == *type ||
		    !may_be_in_use(probe, symbol.address))
			continue;
		if (*type != 0 && !is_upon(probe, *type, symbol.address))
			findings_add(probe->findings, "runtime-types",
				     symbol.address, "objects lead to 0x%"
				     PRIx64 " as the type that is %s by name",
				     *type, wanted[i].name);
		*type = symbol.address;
	}
	// A damaged type of theirs had them taken for no dicts.
	for (size_t i = 0; i < runtime->num_interpreters; i++)
		if (runtime->interpreters[i].modules == 0)
			read_namespaces(probe, &runtime->interpreters[i]);
}

/* -------------------------------------------------------------------------- */

static void read_interpreter(const struct pyh_probe *probe,
			     struct pyh_interpreter *interpreter)
{
	uint64_t id = 0;

	if (probe_field(probe, interpreter->address, PYH_INTERP_ID, &id))
		interpreter->id = (int64_t)id;
	walk_threads(probe, interpreter);
	read_gc(probe, interpreter);
	read_namespaces(probe, interpreter);
}

struct error *pyh_calibrate(const struct pyh_probe *probe,
			    struct pyh_fit *ret)
{
	struct pyh_runtime *runtime = probe->runtime;
	struct pyh_fit fit = { 0 };
	struct error *err;

	free(runtime->interpreters);
	runtime->interpreters = calloc(1, sizeof(*runtime->interpreters));
	if (!runtime->interpreters)
		return error_no_memory();
	runtime->num_interpreters = 0;
	*ret = fit;
	if (!fit_main(probe))
		return NULL;
	fit.interpreters = true;
	err = walk_interpreters(probe, &fit.list);
	if (err)
		return err;
	fit.threads = pyh_fit_field(probe, runtime->interpreters[0].address,
				    threads_field(runtime), main_threads_hold);
	fit.gc = fit_gc(probe);
	fit.namespaces = fit_namespaces(probe);
	for (size_t i = 0; i < runtime->num_interpreters; i++)
		read_interpreter(probe, &runtime->interpreters[i]);
	fit.types = find_types(probe);
	fit.moved = runtime->num_moved;
	*ret = fit;
	return NULL;
}
