/*
 * Believing offsets only after the structures have confirmed them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every CPython structure used here is tied to others by pointers that come
 * back: a thread state names its interpreter, a generation's list head is its
 * neighbours' neighbour, three namespaces share one type. An offset is tried
 * where the table has it, then at growing distance; what no offset satisfies
 * is taken out of runtime->at, so that nobody reads what was not confirmed.
 */
#ifndef PYHEAP_PYCALIBRATE_H
#define PYHEAP_PYCALIBRATE_H

#include <stdbool.h>
#include <stddef.h>

#include "pyheap/runtime/pyruntime.h"

enum { PYH_CALIBRATE_WINDOW = 512 };	/* bytes to either side of the table */

/** What is calibrated, with what, and where damage is reported. */
struct pyh_probe {
	struct pyh_runtime *runtime;	/* being filled in */
	struct memory_reader *reader;
	struct findings *findings;	/* NULL while candidates are compared */
};

/** How far a candidate's structures hold together. */
struct pyh_fit {
	bool interpreters;	/* there is a main one */
	bool list;		/* that leads to it, and ends */
	bool threads;		/* of the main interpreter */
	bool gc;		/* its list heads */
	bool namespaces;	/* sys, builtins, modules */
	bool types;		/* type, object, dict, str, tuple, module */
	unsigned int moved;	/* fields not where the table has them */
};

/** For comparing candidates; 0: this is no live runtime. */
unsigned int pyh_fit_score(const struct pyh_fit *fit);

/**
 * Calibrate the offsets of probe->runtime, which has address, layout, version,
 * minor, free_threaded, at and size_of (debug offsets applied), and fill its
 * interpreters and core types. May be called again.
 *
 * @return NULL also where nothing fits; only ERROR_NO_MEMORY is an error
 */
struct error *pyh_calibrate(const struct pyh_probe *probe,
			    struct pyh_fit *ret);

/**
 * Where objects do not lead to the core types, or to others than the symbols
 * of the module say, believe the symbols.
 */
void pyh_calibrate_types(const struct pyh_probe *probe);

/**
 * The parts that matter only for the candidate that won: allocators and their
 * state, the tables of static types and of interned strings. In pyallocator.c
 * and pystatic.c.
 */
void pyh_calibrate_allocators(const struct pyh_probe *probe);
void pyh_calibrate_static(const struct pyh_probe *probe);

/* --- tools of calibration ------------------------------------------------- */

/** Append a remark to a text such as runtime->layout_by, "; " between. */
void pyh_note(char *text, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** True if address holds a pointer to something captured; *ret is it. */
bool pyh_pointer_at(struct memory_reader *reader, uint64_t address,
		    uint64_t *ret);

/** The type of an object: its ob_type, where that has a type that has one. */
bool pyh_object_type(const struct pyh_probe *probe, uint64_t object,
		     uint64_t *ret);

/** The value of the ASCII key name in a dict: the address of an object. */
bool pyh_value_of(const struct pyh_probe *probe, uint64_t dict,
		  const char *name, uint64_t *ret);

/** The value of an int object from 0 to 2^60. */
bool pyh_small_int(const struct pyh_runtime *runtime,
		   struct memory_reader *memory, uint64_t object, uint64_t *ret);

/** Is the thing at this address what the field should be? */
typedef bool pyh_holds_fn(const struct pyh_probe *probe, uint64_t address);

/**
 * Try a field of the structure at base where the table has it, then around it,
 * and correct runtime->at. Untouched and false if it holds nowhere.
 */
bool pyh_fit_field(const struct pyh_probe *probe, uint64_t base,
		   enum pyh_field field, pyh_holds_fn *holds);

/** Say that there is no such field, as it could not be confirmed. */
static inline void pyh_forget(struct pyh_runtime *runtime,
			      enum pyh_field field)
{
	runtime->at[field].size = 0;
}

#endif
