/*
 * What PyTorch's caching allocator has recorded of its past: the ring of events
 * of each device, where torch.cuda.memory._record_memory_history() was on, and who
 * asked.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What an event has grew with the releases: behind what all have came a time, the
 * pool, and up to three strings. Nothing says how large one is, so that all sizes
 * are tried: strings are told by their pointers, the time as it only grows. A ring
 * whose events fit none of them is told of, and not taken for none.
 *
 * Source: PyTorch c10/core/CachingDeviceAllocator.h, c10/cuda/
 * CUDACachingAllocator.h and .cpp, torch/csrc/profiler/combined_traceback.h of
 * 2.0 to 2.15.
 */
#ifndef CUDAHEAP_TORCHTRACE_H
#define CUDAHEAP_TORCHTRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cudaheap/cachingallocator.h"
#include "image/base/findings.h"

/** In the order of 2.1 and later. */
enum torch_action {
	TORCH_ALLOC, TORCH_FREE_REQUESTED, TORCH_FREE_COMPLETED,
	TORCH_SEGMENT_ALLOC, TORCH_SEGMENT_FREE, TORCH_SEGMENT_MAP,
	TORCH_SEGMENT_UNMAP, TORCH_SNAPSHOT, TORCH_OOM, TORCH_ANNOTATE,
	TORCH_ACTIONS
};

/** "alloc", "free_requested": as in snapshots. */
const char *torch_action_name(enum torch_action action);

enum {
	TORCH_TRACE_STRINGS = 3,	/* compile_context, user_metadata,
					   internal_metadata */
};

/** Where the fields of an event lie; 0: it has none. */
struct torch_trace_layout {
	uint32_t size;		/* bytes of an event */
	uint32_t pool, time;
	uint32_t strings, num_strings;	/* the last of its fields */
	bool old_actions;	/* numbered as in 2.0 */
};

struct torch_trace {
	struct torch_trace_layout layout;
	uint64_t events;	/* address of the first in the vector */
	uint64_t count;		/* 0: there are none, or none that are known */
	uint64_t next;		/* number of the oldest one */
	uint64_t limit;		/* as many as there may be */
	bool is_ring;		/* of 2.6 and later, which has a type of its own */
	bool has_ring;		/* false: not even an empty one was found */
	uint64_t unknown;	/* address of what was recorded, but is not known
				   how; 0: there is no such thing */
};

struct torch_event {
	uint8_t action;		/* enum torch_action */
	uint64_t address;	/* on the device; of TORCH_OOM the bytes that were
				   free there */
	uint64_t context;	/* c10::GatheredContext; 0: none */
	uint64_t stream, size;
	uint64_t pool[2];	/* MempoolId_t */
	uint64_t time;		/* by an approximate clock; see torch_clock */
	uint64_t strings[TORCH_TRACE_STRINGS];	/* addresses of std::string */
};

/** Find the ring of a device: *ret has no events where nothing was recorded. */
void torch_trace_find(struct memory_reader *memory,
		      const struct torch_device *device,
		      struct torch_trace *ret);

/** The same of another object, between two offsets. @param device -1: the host */
void torch_trace_find_in(struct memory_reader *memory, uint64_t object,
			 uint32_t from, uint32_t end, int device,
			 struct torch_trace *ret);

/** A finding, if it is not known whether, or how, something was recorded: true. */
bool torch_trace_report(struct findings *findings,
			const struct torch_device *device,
			const struct torch_trace *trace);

/**
 * What the driver had free of the device when memory last ran out, by its event,
 * less what the allocator has got from it since then.
 *
 * @return false: no such event was recorded, or it has been overwritten
 */
bool torch_trace_device_free(struct memory_reader *memory,
			     const struct torch_device *device, uint64_t *ret);

/** The i-th, the oldest being the first; false: it was not captured, or is none. */
bool torch_trace_event(const struct torch_trace *trace,
		       struct memory_reader *memory, uint64_t i,
		       struct torch_event *ret);

/* --- who asked ------------------------------------------------------------ */

enum {
	TORCH_FRAMES_MAX = 1 << 12,	/* of either kind, in one context */
};

struct torch_python_frame {
	uint64_t code;		/* PyCodeObject */
	int32_t at;		/* bytes from the start of its bytecode */
};

/** The innermost first. */
struct torch_context {
	struct torch_python_frame *python;	/* owned */
	size_t num_python;
	uint64_t *native;	/* owned; addresses to return to */
	size_t num_native;
	size_t num_script;	/* of TorchScript: only their number is known */
	bool cut;		/* there are more, or they were not captured */
};

/**
 * Read a context.
 *
 * @return false: it is none that is known, or was not captured; what could not be
 *	read of one is said in ret->cut
 */
bool torch_context_read(struct memory_reader *memory, uint64_t address,
			struct torch_context *ret);
void torch_context_deinit(struct torch_context *context);

#endif
