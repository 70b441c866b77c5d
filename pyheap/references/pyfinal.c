/*
 * Finalizers; see pyfinal.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyfinal.h"

#include "pyheap/types/pyobject.h"

enum {
	HEAD_PREV = 8,		/* offset of _gc_prev in a PyGC_Head */
	PREV_FINALIZED = 1,	/* its bit 0 */
	BITS_FINALIZED = 1 << 1,	/* of ob_gc_bits, free-threaded */
};

static bool is_set(const struct pyh_runtime *runtime,
		   struct memory_reader *memory, uint64_t type,
		   enum pyh_field slot)
{
	uint64_t function;

	return pyh_field(runtime, memory, type, slot, &function) &&
	       function != 0;
}

enum pyh_finalizer pyh_finalizer_of(const struct pyh_runtime *runtime,
				    struct memory_reader *memory,
				    const struct pyh_type *type)
{
	if (is_set(runtime, memory, type->address, PYH_TYPE_TP_DEL))
		return PYH_FINALIZER_LEGACY;
	return is_set(runtime, memory, type->address, PYH_TYPE_TP_FINALIZE) ?
		       PYH_FINALIZER_CALLED : PYH_FINALIZER_NONE;
}

/**
 * Waits at a yield or an await.
 *
 * Source: CPython Include/internal/pycore_frame.h, enum _framestate (3.15:
 * pycore_interpframe_structs.h), which is numbered differently by release.
 */
static bool is_suspended(const struct pyh_runtime *runtime,
			 struct memory_reader *memory, uint64_t generator)
{
	uint64_t value;

	if (pyh_field(runtime, memory, generator, PYH_GEN_GI_FRAME_STATE,
		      &value)) {
		int8_t state = (int8_t)value;

		if (runtime->minor >= 15)
			return state >= 1 && state <= 3;
		return state == -1 || (runtime->minor >= 13 && state == -2);
	}
	// Up to 3.10: a frame object, NULL at the end, and its last instruction,
	// -1 before the first.
	return pyh_field(runtime, memory, generator, PYH_GEN_GI_FRAME,
			 &value) && value != 0 &&
	       pyh_field(runtime, memory, value, PYH_FRAME_F_LASTI, &value) &&
	       (int32_t)value >= 0;
}

/** It is called once, which the collector's own words say. */
static bool was_called(const struct pyh_runtime *runtime,
		       struct memory_reader *memory, uint64_t address)
{
	uint64_t word;

	if (runtime->free_threaded)
		return pyh_field(runtime, memory, address,
				 PYH_OBJECT_OB_GC_BITS, &word) &&
		       word & BITS_FINALIZED;
	return memory_try_u64(memory, address - PYH_GC_HEAD + HEAD_PREV,
			      &word) && word & PREV_FINALIZED;
}

bool pyh_finalizer_pending(const struct pyh_runtime *runtime,
			   struct memory_reader *memory,
			   const struct pyh_type *type, uint64_t address)
{
	if (type->has_gc && was_called(runtime, memory, address))
		return false;
	return type->kind != PYH_KIND_GENERATOR ||
	       is_suspended(runtime, memory, address);
}
