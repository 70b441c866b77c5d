/*
 * What greenlets refer to: the frames that wait in them, and more; see
 * pyrefswalk.h and pygreenlet.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pygreenlet.h"
#include "pyheap/references/pyrefswalk.h"

enum {
	FRAMES_MAX = 100000,
	OWNED_BY_THREAD = 0,	/* enum _frameowner */
	STACK_WORDS_MAX = 1 << 13,	/* of a copy that are looked at */
};

/** A frame of 3.11 or later: what it holds, and the next. */
static uint64_t each_of_frame(struct walk *walk,
			      const struct pyh_greenlet *greenlet, uint64_t at)
{
	uint64_t frame = pyh_greenlet_place(greenlet, at), owner, previous;

	if (frame == 0 || frame % 8 ||
	    !pyh_field(walk->runtime, walk->of->memory, frame,
		       PYH_IFRAME_OWNER, &owner) ||
	    !pyh_field(walk->runtime, walk->of->memory, frame,
		       PYH_IFRAME_PREVIOUS, &previous))
		return 0;
	if (owner == OWNED_BY_THREAD)
		walk_interpreter_frame(walk, frame, /* foreign= */ true);
	return previous;
}

/** Up to 3.10 the C function that runs a frame owns it, or its generator. */
static uint64_t each_frame_object(struct walk *walk, uint64_t frame)
{
	walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_FIELD,
		.name = "gr_frame", .address = frame,
		.hold = walk_field_at(walk, frame, PYH_FRAME_F_GEN) ?
				PYH_HOLD_NONE : PYH_HOLD_UNTRAVERSED });
	return walk_field_at(walk, frame, PYH_FRAME_F_BACK);
}

static void each_frame(struct walk *walk, const struct pyh_greenlet *greenlet)
{
	bool internal = pyh_has(walk->runtime, PYH_IFRAME_PREVIOUS);
	enum pyh_hold hold = walk->hold;
	uint64_t at = greenlet->top_frame;

	if (internal) {
		// The frame object is its interpreter frame's.
		at = greenlet->current_frame ? greenlet->current_frame :
			walk_field_at(walk, at, PYH_FRAME_F_FRAME);
		// In 3.15 its tp_traverse goes over the frames as well.
		if (walk->runtime->minor < 15)
			walk->hold = PYH_HOLD_UNTRAVERSED;
	}
	for (int i = 0; i < FRAMES_MAX && at && at % 8 == 0 &&
			!walk->stopped && walk_pay(walk, BATCH + 1); i++)
		at = internal ? each_of_frame(walk, greenlet, at) :
				each_frame_object(walk, at);
	walk->hold = hold;
}

static void each_field(struct walk *walk, const struct pyh_greenlet *greenlet)
{
	const struct {
		const char *name;
		uint64_t address;
		bool hidden;
	} fields[] = {
		{ "exc_type", greenlet->exception[1] ?
			      greenlet->exception[0] : 0, false },
		{ "exc_value", greenlet->exception[1] ?
			       greenlet->exception[1] :
			       greenlet->exception[0], false },
		{ "exc_traceback", greenlet->exception[2], false },
		{ "args", greenlet->args, true },
		{ "kwargs", greenlet->kwargs, true },
		{ "gr_context", greenlet->context, false },
		{ "main_greenlet", greenlet->main_greenlet, false },
		{ "run", greenlet->run, false },
		{ "parent", greenlet->parent, false },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (fields[i].address % 8 == 0)
			walk_emit(walk, (struct pyh_ref){
				.kind = PYH_REF_FIELD, .name = fields[i].name,
				.address = fields[i].address,
				.hold = fields[i].hidden ?
					PYH_HOLD_UNTRAVERSED : walk->hold });
}

/**
 * What C functions that wait hold: arguments, lists half made. Any word of the
 * copy of the stack may be left over from before. Up to 3.10 it has the frame
 * objects' variables over and over, which the frames tell better.
 */
static void each_of_stack(struct walk *walk,
			  const struct pyh_greenlet *greenlet)
{
	uint64_t count = greenlet->stack_saved / 8, words[BATCH], n;

	if (count > STACK_WORDS_MAX)
		count = STACK_WORDS_MAX;
	if (walk->runtime->minor <= 10 || greenlet->stack_copy % 8 ||
	    !walk_pay(walk, count))
		return;
	for (uint64_t at = 0; at < count && !walk->stopped; at += n) {
		n = walk_read_some(walk, greenlet->stack_copy + at * 8, words,
				   count - at < BATCH ? count - at : BATCH, 8);
		if (n == 0)
			return;
		for (uint64_t i = 0; i < n && !walk->stopped; i++)
			if (words[i] - greenlet->stack_start >=
			    greenlet->stack_saved)
				walk_emit_guess(walk, words[i], (at + i) * 8);
	}
}

void walk_greenlet(struct walk *walk)
{
	enum pyh_kind kind = walk->of->type->kind;
	struct pyh_greenlet greenlet;

	if (!pyh_greenlet_read(walk->runtime, walk->of->memory, kind,
			       walk->of->address, &greenlet))
		return;
	if (kind == PYH_KIND_GREENLET)
		each_field(walk, &greenlet);
	if (greenlet.suspended)
		each_frame(walk, &greenlet);
	each_of_stack(walk, &greenlet);
}
