/*
 * Roots: what holds objects and is no object itself.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The states of interpreters and threads with their frames, of which each word
 * is known. What is not known (static variables of modules, native stacks,
 * memory of malloc) shows itself only by counts that no object accounts for;
 * the words that lead to such an object are looked for when there is one.
 */
#ifndef PYHEAP_PYROOTS_H
#define PYHEAP_PYROOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/memory.h"
#include "pyheap/references/pyrefs.h"
#include "pyheap/runtime/pyruntime.h"

enum pyh_root_kind {
	PYH_ROOT_LOCAL,		/* a variable of a frame that runs: code, index */
	PYH_ROOT_STACK,		/* an entry of the stack of such a frame: the same */
	PYH_ROOT_FRAME,		/* another field of such a frame: name, code; up
				   to 3.10 the frame object itself: "frame" */
	PYH_ROOT_THREAD,	/* a field of a thread's state: name */
	PYH_ROOT_INTERPRETER,	/* a field of an interpreter's state: name */
	PYH_ROOT_RUNTIME,	/* a field of _PyRuntime: name */
	PYH_ROOT_STATIC,	/* a static variable of a module: module, name */
	PYH_ROOT_NATIVE_STACK,	/* a word of a thread's native stack */
	PYH_ROOT_NATIVE,	/* a word of other memory: of malloc, mapped */
};

#define PYH_ROOT_NO_BLOCK UINT64_MAX

struct pyh_root {
	enum pyh_root_kind kind;
	enum pyh_hold hold;	/* GUESSED: found by the word alone */
	bool deferred;		/* it holds, but no count says so: of frames in
				   free-threaded builds */
	uint64_t address;	/* of the object */
	uint64_t holder;	/* address of the word; 0: none of its own */
	uint64_t thread;	/* native number of the thread; 0: none */
	uint64_t code;		/* PyCodeObject of the frame; 0: none */
	uint64_t type;		/* whose namespace, of a static type, it is; of
				   a NATIVE in an object: its type; else 0 */
	uint64_t index;		/* of the variable (co_localsplusnames), of the
				   stack entry, of the entry of an array; of a
				   NATIVE_STACK: bytes above the lowest in use;
				   of a STATIC: behind name, or into module; of
				   a NATIVE with a name: into its block;
				   PYH_ROOT_NO_BLOCK where that has none */
	const char *name;	/* CPython's name of the field; a symbol; of a
				   NATIVE what it is in: "malloc", "pymalloc",
				   "mimalloc", "object", "libffi's closures",
				   "executable memory". NULL: not known. Valid
				   as long as the image */
	const char *module;	/* base name of the file, or NULL; the same */
};

/** Return false to stop. */
typedef bool pyh_root_fn(void *context, const struct pyh_root *root);

/**
 * Call fn for each reference from the states of the runtime, of interpreters
 * and of threads, and from the frames that run, in an order that is always the
 * same. One that owns a count is told once for each count.
 *
 * What a field leads to is told only if it begins as an object does, as the
 * fields of interpreters are elsewhere in each micro release. Entries of the
 * stack of a frame whose depth is not kept are GUESSED: some are left over.
 * Frames of generators are the generators'; up to 3.10 all frames are objects
 * and hold their variables as such.
 */
void pyh_roots_each(const struct pyh_runtime *runtime,
		    struct memory_reader *memory, pyh_root_fn *fn,
		    void *context);

#endif
