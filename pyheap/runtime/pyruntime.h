/*
 * A CPython runtime inside an image: where it is, which one, how it is built.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Found by ranked evidence (docs/layouts.md): symbols of module files or of
 * the dumped dynamic symbol table, the .PyRuntime section, the "xdebugpy"
 * cookie of 3.13 and later, and last by invariants of the structures alone. A
 * candidate counts only if its interpreters, thread states and GC heads hold
 * together. Offsets come from _Py_DebugOffsets where there are any, else from
 * the tables, and each is calibrated before it is believed.
 */
#ifndef PYHEAP_PYRUNTIME_H
#define PYHEAP_PYRUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"
#include "pyheap/runtime/pylayout.h"

enum pyh_allocator {
	PYH_ALLOCATOR_PYMALLOC,
	PYH_ALLOCATOR_MALLOC,
	PYH_ALLOCATOR_MIMALLOC,
};

enum { PYH_GC_LISTS = 4 };	/* generations 0, 1, 2 and the permanent one */

struct pyh_interpreter {
	uint64_t address;	/* of PyInterpreterState */
	int64_t id;
	uint64_t gc;		/* of its _gc_runtime_state (3.8: the runtime's) */
	/* of PyGC_Head list heads; 0 in free-threaded builds. All interpreters
	   of 3.8 share one collector, and so have the same heads */
	uint64_t gc_heads[PYH_GC_LISTS];
	bool collecting;	/* the dump was taken inside a collection */
	/* of _obmalloc_state (3.12+), 0: not known; interpreters may share
	   that of the main one */
	uint64_t obmalloc;
	uint64_t sysdict, builtins, modules;	/* dicts; 0: not found */
	uint64_t first_thread;	/* of PyThreadState */
	size_t num_threads;
};

/** Types needed before types have names. 0: not found. */
struct pyh_core_types {
	uint64_t type, object, dict, str, tuple, module;
};

struct pyh_runtime {
	struct image *image;	/* borrowed */
	uint64_t address;	/* of _PyRuntime */
	uint32_t version;	/* PY_VERSION_HEX; micro and level 0 if unknown */
	bool version_exact;	/* false: only the minor release is known */
	unsigned int minor;
	bool free_threaded;
	bool debug_build;	/* Py_DEBUG */
	bool trace_refs;	/* --with-trace-refs, 3.12 and older */
	enum pyh_allocator allocator;
	bool foreign_allocators;	/* another library has set some, with rules
					   of its own */
	bool debug_hooks;	/* PYTHONMALLOC=debug, -X dev, debug builds */
	bool finalizing;
	const struct pyh_layout *layout;	/* the table begun with */
	struct pyh_field_at at[PYH_NUM_FIELDS];	/* corrected; use this */
	uint32_t size_of[PYH_NUM_STRUCTS];	/* corrected; use this */
	unsigned int num_moved;	/* fields found elsewhere than expected */
	unsigned int num_disbelieved;	/* debug offsets that cannot be true */
	struct pyh_interpreter *interpreters;	/* the main one first */
	size_t num_interpreters;
	struct pyh_core_types types;
	struct module *module;	/* the one that holds it, or NULL; borrowed */
	char build[96];		/* "GIL, release", "free-threaded, debug" … */
	char found_by[160];	/* which evidence, for `info` */
	char layout_by[160];	/* which offsets were used and what was moved */
	size_t num_candidates;	/* other runtimes seen and set aside */
};

/**
 * Find the runtime of an image.
 *
 * @return NULL, or ERROR_NOT_FOUND with a sentence that says what was looked
 *	for and what the process seems to be instead (PyPy, no Python at all),
 *	or ERROR_UNSUPPORTED (GraalPy …)
 */
struct error *pyh_runtime_open(struct image *image, struct pyh_runtime **ret);
void pyh_runtime_close(struct pyh_runtime *runtime);

/** True if this release has the field. */
static inline bool pyh_has(const struct pyh_runtime *runtime,
			   enum pyh_field field)
{
	return runtime->at[field].size != 0;
}

/** Offset in bytes of a field from its structure; only if pyh_has(). */
static inline uint32_t pyh_offset(const struct pyh_runtime *runtime,
				  enum pyh_field field)
{
	return runtime->at[field].offset;
}

/**
 * Read a field of 1, 2, 4 or 8 bytes as an unsigned number.
 * @return false if this release has no such field or it was not captured
 */
bool pyh_field(const struct pyh_runtime *runtime, struct memory_reader *reader,
	       uint64_t structure, enum pyh_field field, uint64_t *ret);

#endif
