/*
 * What PyTorch's caching allocator has recorded of its past: the ring of events
 * of each device, where torch.cuda.memory._record_memory_history() was on, the
 * annotations beside it, and who asked.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A ring is a vector that a pointer in the device's allocator leads to, with how
 * many events it may have and which is the next to be replaced near that pointer.
 * What an event has grew with the releases, and so did its size: the table that
 * all events of the ring fit is the one, whatever the release says it is.
 *
 * Source: PyTorch c10/core/CachingDeviceAllocator.h, c10/cuda/
 * CUDACachingAllocator.h and .cpp, c10/util/ApproximateClock.h,
 * torch/csrc/profiler/combined_traceback.h of 2.0 to 2.15.
 */
#ifndef CUDAHEAP_TORCHTRACE_H
#define CUDAHEAP_TORCHTRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cudaheap/cachingallocator.h"

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
	TORCH_TRACE_TEXT = 4096,	/* bytes of such a text, NUL included; the
					   rest is cut off */
};

/** Where the fields of an event lie; 0: it has none. */
struct torch_trace_layout {
	uint32_t size;		/* bytes of an event */
	uint32_t pool, time;
	uint32_t num_strings;	/* the last of its fields */
	bool old_actions;	/* numbered as in 2.0 */
};

struct torch_trace {
	const struct torch_trace_layout *layout;	/* NULL: there are no
							   events */
	uint64_t events;	/* address of the first in the vector */
	uint64_t count;
	uint64_t next;		/* number of the oldest one */
	uint64_t limit;		/* as many as there may be */
	bool is_ring;		/* of 2.6 and later, which has a type of its own */
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

/** Find the ring of a device: *ret has no layout where nothing was recorded. */
void torch_trace_find(struct memory_reader *memory,
		      const struct torch_device *device,
		      struct torch_trace *ret);

/** The same of another object, between two offsets. @param device -1: the host */
void torch_trace_find_in(struct memory_reader *memory, uint64_t object,
			 uint32_t from, uint32_t end, int device,
			 struct torch_trace *ret);

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

/** The text of a std::string, cut; false: it is none, or was not captured. */
bool torch_string_read(struct memory_reader *memory, uint64_t address,
		       char text[TORCH_TRACE_TEXT]);

/* --- time ----------------------------------------------------------------- */

/**
 * Events have the processor's count of cycles. What that is in time was measured
 * when the allocator was made, over some tens of microseconds, which gives how
 * long a cycle is to about 1 in 100,000: PyTorch measures once more when asked.
 */
struct torch_clock {
	bool is_known;
	double rate;		/* ns of a cycle */
	uint64_t cycles;	/* at … */
	int64_t ns;		/* … this time, since 1970 */
};

/** By the measurements in an allocator's object. */
void torch_clock_find(struct memory_reader *memory, uint64_t allocator,
		      struct torch_clock *ret);

/** Microseconds since 1970; the count itself where the clock is not known. */
int64_t torch_clock_us(const struct torch_clock *clock, uint64_t count);

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

/* --- annotations ---------------------------------------------------------- */

/** Ranges that the program named: pairs of texts, a device, a time. */
struct torch_annotations {
	uint64_t events, count, next;
	bool is_known;		/* there are some */
};

void torch_annotations_find(struct memory_reader *memory,
			    const struct caching_allocator *allocator,
			    struct torch_annotations *ret);

/**
 * The i-th, the oldest first. fn gets addresses of std::strings.
 *
 * @return false: it is none, or was not captured; fn may have been called
 */
bool torch_annotation_each(struct memory_reader *memory,
			   const struct torch_annotations *annotations,
			   uint64_t i, int *ret_device, uint64_t *ret_time,
			   void (*fn)(void *context, uint64_t key,
				      uint64_t value),
			   void *context);

#endif
