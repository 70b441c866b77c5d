/*
 * Finalizers: what is called before an object is freed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The collector calls tp_finalize of what it is about to free: __del__ of a
 * class (slot_tp_finalize), close() of a generator, a file or a socket, the
 * complaint of a task whose exception nobody took. What a type in C has in
 * tp_del, from before 3.4, it does not call: such objects and what they lead to
 * it puts into gc.garbage and leaves there.
 *
 * Source: CPython Python/gc.c (Modules/gcmodule.c up to 3.12),
 * finalize_garbage(), has_legacy_finalizer(); Objects/object.c,
 * PyObject_CallFinalizer(); Objects/genobject.c, _PyGen_Finalize().
 */
#ifndef PYHEAP_PYFINAL_H
#define PYHEAP_PYFINAL_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pytypes.h"

enum pyh_finalizer {
	PYH_FINALIZER_NONE,
	PYH_FINALIZER_CALLED,	/* tp_finalize */
	PYH_FINALIZER_LEGACY,	/* tp_del */
};

/** What instances of a type have. A type that was not captured: none. */
enum pyh_finalizer pyh_finalizer_of(const struct pyh_runtime *runtime,
				    struct memory_reader *memory,
				    const struct pyh_type *type);

/**
 * Whether the finalizer of an object of such a type would still run code: it
 * has not been called yet, and a generator waits at a yield, since one that has
 * not begun or has ended has nothing to clean up.
 */
bool pyh_finalizer_pending(const struct pyh_runtime *runtime,
			   struct memory_reader *memory,
			   const struct pyh_type *type, uint64_t address);

#endif
