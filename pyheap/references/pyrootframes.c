/*
 * Roots: what the frames that run hold.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Include/internal/pycore_frame.h, pycore_interpframe_structs.h,
 * pycore_stackref.h, Python/ceval.c; up to 3.10 Include/cpython/frameobject.h.
 */
#include "pyheap/references/pyrootwalk.h"

enum {
	OWNED_BY_THREAD = 0,	/* enum _frameowner */
	SLOTS_MAX = 1 << 20,	/* variables and stack entries of a frame */
	BATCH = 64,		/* of them read at a time */
};

/* Low bits of a _PyStackRef, 3.14 and later. */
#define TAG_BITS UINT64_C(3)
#define TAG_INTEGER UINT64_C(3)
#define TAG_BORROWED UINT64_C(1)

struct frame_walk {
	struct pyh_root_walk *walk;
	uint64_t frame, native, code;
	uint64_t num_locals;	/* words of variables, cells included */
	uint64_t num_stack;	/* words of the stack that may be in use */
	bool guessed;		/* … or may not */
};

static bool has_tags(const struct pyh_runtime *runtime)
{
	return runtime->minor >= 14;
}

bool pyh_root_untag(const struct pyh_runtime *runtime, struct pyh_root *root)
{
	uint64_t tag = root->address & TAG_BITS;

	if (!has_tags(runtime) || tag == 0)
		return true;
	root->address &= ~TAG_BITS;
	// The collector of a free-threaded build adds these to the counts.
	if (runtime->free_threaded)
		root->deferred = true;
	else
		root->hold = PYH_HOLD_NONE;
	return tag == TAG_BORROWED;
}

static void tell_fields(const struct frame_walk *of)
{
	// f_globals and f_builtins are borrowed from the function.
	static const struct {
		enum pyh_field field;
		bool tagged;
	} fields[] = {
		{ PYH_IFRAME_F_CODE, false }, { PYH_IFRAME_F_EXECUTABLE, true },
		{ PYH_IFRAME_F_FUNC, false }, { PYH_IFRAME_F_FUNCOBJ, true },
		{ PYH_IFRAME_F_LOCALS, false }, { PYH_IFRAME_FRAME_OBJ, false },
	};
	const struct pyh_runtime *runtime = of->walk->runtime;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		enum pyh_field field = fields[i].field;
		struct pyh_root root = {
			.kind = PYH_ROOT_FRAME, .hold = PYH_HOLD_UNTRAVERSED,
			.holder = of->frame + pyh_offset(runtime, field),
			.thread = of->native, .code = of->code,
			.name = pyh_field_member(field),
		};

		if (pyh_has(runtime, field) &&
		    memory_try_u64(of->walk->memory, root.holder,
				   &root.address) &&
		    (!fields[i].tagged || pyh_root_untag(runtime, &root)))
			pyh_root_tell(of->walk, &root);
	}
}

static void tell_slot(const struct frame_walk *of, uint64_t i, uint64_t word,
		      uint64_t at)
{
	bool is_stack = i >= of->num_locals;
	struct pyh_root root = {
		.kind = is_stack ? PYH_ROOT_STACK : PYH_ROOT_LOCAL,
		.hold = PYH_HOLD_UNTRAVERSED, .address = word, .holder = at,
		.thread = of->native, .code = of->code,
		.index = is_stack ? i - of->num_locals : i,
	};

	if (!pyh_root_untag(of->walk->runtime, &root))
		return;
	if (is_stack && of->guessed) {
		if (root.hold != PYH_HOLD_NONE && !root.deferred)
			root.hold = PYH_HOLD_GUESSED;
		if (!pyh_root_is_object(of->walk, root.address, 0))
			return;
	}
	pyh_root_tell(of->walk, &root);
}

static void tell_slots(const struct frame_walk *of)
{
	uint64_t at = of->frame + pyh_offset(of->walk->runtime,
					     PYH_IFRAME_LOCALSPLUS);
	uint64_t count = of->num_locals + of->num_stack, words[BATCH];

	for (uint64_t i = 0; i < count && !of->walk->stopped; i += BATCH) {
		uint64_t n = count - i < BATCH ? count - i : BATCH;

		if (!memory_try_read(of->walk->memory, at + i * 8, words,
				     (size_t)n * 8))
			return;
		for (uint64_t j = 0; j < n; j++)
			tell_slot(of, i + j, words[j], at + (i + j) * 8);
	}
}

/** How deep the stack is: not kept while the frame's own code runs. */
static void measure_stack(struct frame_walk *of, uint64_t stack_size)
{
	const struct pyh_runtime *runtime = of->walk->runtime;
	uint64_t top = 0;

	if (pyh_field(runtime, of->walk->memory, of->frame,
		      PYH_IFRAME_STACKPOINTER, &top))
		top = (top - of->frame -
		       pyh_offset(runtime, PYH_IFRAME_LOCALSPLUS)) / 8;
	else
		(void)pyh_field(runtime, of->walk->memory, of->frame,
				PYH_IFRAME_STACKTOP, &top);
	of->guessed = top < of->num_locals ||
		      top > of->num_locals + stack_size;
	of->num_stack = of->guessed ? stack_size : top - of->num_locals;
}

static void tell_internal_frame(struct pyh_root_walk *walk,
				const struct pyh_frame *frame, uint64_t native)
{
	const struct pyh_runtime *runtime = walk->runtime;
	struct frame_walk of = { .walk = walk, .frame = frame->address,
				 .native = native, .code = frame->code };
	uint64_t owner, stack_size;

	if (!pyh_field(runtime, walk->memory, of.frame, PYH_IFRAME_OWNER,
		       &owner) ||
	    owner != OWNED_BY_THREAD)
		return;
	tell_fields(&of);
	if (!pyh_has(runtime, PYH_IFRAME_LOCALSPLUS) ||
	    !pyh_field(runtime, walk->memory, of.code, PYH_CODE_CO_NLOCALSPLUS,
		       &of.num_locals) ||
	    !pyh_field(runtime, walk->memory, of.code, PYH_CODE_CO_STACKSIZE,
		       &stack_size) ||
	    of.num_locals > SLOTS_MAX || stack_size > SLOTS_MAX)
		return;
	measure_stack(&of, stack_size);
	tell_slots(&of);
}

/** Up to 3.10: the C function that runs a frame owns it, or its generator. */
static void tell_frame_object(struct pyh_root_walk *walk,
			      const struct pyh_frame *frame, uint64_t native)
{
	uint64_t generator = 0;

	(void)pyh_field(walk->runtime, walk->memory, frame->address,
			PYH_FRAME_F_GEN, &generator);
	pyh_root_tell(walk, &(struct pyh_root){
		.kind = PYH_ROOT_FRAME, .address = frame->address,
		.hold = generator ? PYH_HOLD_NONE : PYH_HOLD_UNTRAVERSED,
		.thread = native, .code = frame->code, .name = "frame" });
}

struct frames {
	struct pyh_root_walk *walk;
	uint64_t native;
};

static bool tell_frame(void *context, const struct pyh_frame *frame)
{
	const struct frames *frames = context;

	(pyh_has(frames->walk->runtime, PYH_IFRAME_PREVIOUS) ?
		 tell_internal_frame : tell_frame_object)
		(frames->walk, frame, frames->native);
	return !frames->walk->stopped;
}

void pyh_root_frames(struct pyh_root_walk *walk,
		     const struct pyh_thread *thread, uint64_t native)
{
	struct frames frames = { walk, native };

	(void)pyh_frames_each(walk->runtime, walk->memory, thread, tell_frame,
			      &frames);
}
