/*
 * What frames refer to, as objects and inside of generators; see pyrefswalk.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyrefswalk.h"

enum {
	FRAME_SLOTS_MAX = 1 << 20,
	STACK_TAG = 3,		/* bits of references in frames, 3.14 and later */
	STACK_TAG_BORROWED = 1,
};

/** Variables and stack of a frame, in order. */
struct frame_slots {
	uint64_t at;		/* address of the first */
	uint64_t locals;	/* how many of them are variables */
	uint64_t stack;		/* … and then entries of the stack */
	uint64_t code;		/* key of each reference to a variable */
	bool running;		/* how deep the stack is, is not told: stack is
				   the room for it */
};

static void emit_stack_ref(struct walk *walk, uint64_t word,
			   struct pyh_ref ref)
{
	// 3.14 and later: tags in the low bits; 3 is an integer, 1 alone NULL.
	if (walk->runtime->minor >= 14) {
		uint64_t tag = word & STACK_TAG;

		if (tag == STACK_TAG)
			return;
		// In free-threaded builds the collector sees it all the same.
		if (tag == STACK_TAG_BORROWED && walk->runtime->free_threaded)
			ref.deferred = true;
		else if (tag == STACK_TAG_BORROWED)
			ref.hold = PYH_HOLD_NONE;
		word &= ~(uint64_t)STACK_TAG;
	}
	ref.address = word;
	if (word % 8 == 0)
		walk_emit(walk, ref);
}

/** An entry that may be left over; it is a slot of the frame all the same. */
static void emit_guess(struct walk *walk, uint64_t word,
		       const struct pyh_ref *like)
{
	if (word % 8 == 0)
		walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_GUESS,
			.hold = PYH_HOLD_GUESSED, .address = word,
			.key = like->key, .index = like->index });
}

static void each_frame_slot(struct walk *walk, const struct frame_slots *slots)
{
	uint64_t count = slots->locals + slots->stack, words[BATCH], n;
	// While a frame runs, tp_traverse does not find its variables either.
	struct pyh_ref like = {
		.kind = PYH_REF_LOCAL, .key = slots->code,
		.hold = slots->running && walk->runtime->minor >= 11 ?
				PYH_HOLD_UNTRAVERSED : walk->hold,
	};

	if (slots->locals > FRAME_SLOTS_MAX || slots->stack > FRAME_SLOTS_MAX ||
	    !walk_pay(walk, count))
		return;
	for (uint64_t at = 0; at < count && !walk->stopped; at += n) {
		n = walk_read_some(walk, slots->at + at * 8, words,
				   count - at < BATCH ? count - at : BATCH, 8);
		if (n == 0)
			return;
		for (uint64_t i = 0; i < n && !walk->stopped; i++) {
			like.index = at + i;
			if (slots->running && like.index >= slots->locals)
				emit_guess(walk, words[i], &like);
			else
				emit_stack_ref(walk, words[i], like);
		}
	}
}

/** How many entries are on the stack of an interpreter frame. */
static void measure_stack(struct walk *walk, uint64_t frame,
			  struct frame_slots *slots)
{
	uint64_t room = slots->stack, top;

	if (pyh_has(walk->runtime, PYH_IFRAME_STACKTOP))
		top = walk_field_at(walk, frame, PYH_IFRAME_STACKTOP) & UINT32_MAX;
	else
		top = (walk_field_at(walk, frame, PYH_IFRAME_STACKPOINTER) -
		       slots->at) / 8;
	slots->running = top < slots->locals || top > slots->locals + room;
	slots->stack = slots->running ? room : top - slots->locals;
}

/** The code of an interpreter frame, whose address is returned. */
static uint64_t emit_code(struct walk *walk, uint64_t frame,
			  enum pyh_hold hold)
{
	enum pyh_field field = pyh_has(walk->runtime,
				       PYH_IFRAME_F_EXECUTABLE) ?
				       PYH_IFRAME_F_EXECUTABLE :
				       PYH_IFRAME_F_CODE;
	uint64_t word = walk_field_at(walk, frame, field);

	emit_stack_ref(walk, word, (struct pyh_ref){ .kind = PYH_REF_FIELD,
		.hold = hold, .name = "f_code" });
	return walk->runtime->minor >= 14 ? word & ~(uint64_t)STACK_TAG : word;
}

void walk_interpreter_frame(struct walk *walk, uint64_t frame, bool foreign)
{
	static const struct {
		enum pyh_field field;
		const char *name;
	} fields[] = {
		{ PYH_IFRAME_F_FUNC, "f_func" },
		{ PYH_IFRAME_F_FUNCOBJ, "f_funcobj" },
		{ PYH_IFRAME_F_LOCALS, "f_locals" },
		{ PYH_IFRAME_FRAME_OBJ, "frame_obj" },
	};
	struct frame_slots slots = { 0 };
	uint64_t code = emit_code(walk, frame, walk->hold);

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (pyh_has(walk->runtime, fields[i].field))
			emit_stack_ref(walk,
				       walk_field_at(walk, frame, fields[i].field),
				       (struct pyh_ref){ .kind = PYH_REF_FIELD,
					.hold = walk->hold,
					.name = fields[i].name });
	if (code == 0 || code % 8)
		return;
	slots.at = frame + pyh_offset(walk->runtime, PYH_IFRAME_LOCALSPLUS);
	slots.locals = walk_field_at(walk, code, PYH_CODE_CO_NLOCALSPLUS) &
		       UINT32_MAX;
	slots.stack = walk_field_at(walk, code, PYH_CODE_CO_STACKSIZE) & UINT32_MAX;
	slots.code = foreign ? code : 0;
	measure_stack(walk, frame, &slots);
	each_frame_slot(walk, &slots);
}

/** States in which the frame of a generator holds nothing any more. */
static bool generator_is_over(const struct walk *walk)
{
	int8_t state = (int8_t)walk_own_field(walk, PYH_GEN_GI_FRAME_STATE);

	return walk->runtime->minor >= 15 ? state >= 5 : state >= 1;
}

void walk_generator(struct walk *walk)
{
	uint64_t frame = walk->of->address +
			 pyh_offset(walk->runtime, PYH_GEN_GI_IFRAME);

	if (!pyh_has(walk->runtime, PYH_GEN_GI_IFRAME))
		return;
	if (!generator_is_over(walk))
		walk_interpreter_frame(walk, frame, /* foreign= */ false);
	else if (walk->runtime->minor >= 12)
		emit_code(walk, frame, walk->runtime->minor >= 14 ?
					       walk->hold :
					       PYH_HOLD_UNTRAVERSED);
}

/** 3.8 to 3.10: all variables and the stack are in the object. */
static void each_of_old_frame(struct walk *walk)
{
	uint64_t from = pyh_offset(walk->runtime, PYH_FRAME_F_LOCALSPLUS);
	uint64_t room = walk->of->extent > from ?
				(walk->of->extent - from) / 8 : 0;
	uint64_t stack = walk_own_field(walk, PYH_FRAME_F_VALUESTACK);
	struct frame_slots slots = { .at = walk->of->address + from };
	uint64_t depth;

	if (!pyh_has(walk->runtime, PYH_FRAME_F_LOCALSPLUS))
		return;
	slots.locals = (stack - slots.at) / 8;
	if (slots.locals > room)
		return;
	room -= slots.locals;
	depth = pyh_has(walk->runtime, PYH_FRAME_F_STACKDEPTH) ?
			walk_own_field(walk, PYH_FRAME_F_STACKDEPTH) & UINT32_MAX :
			(walk_own_field(walk, PYH_FRAME_F_STACKTOP) - stack) / 8;
	slots.running = depth > room;
	slots.stack = slots.running ? room : depth;
	each_frame_slot(walk, &slots);
}

void walk_frame(struct walk *walk)
{
	uint64_t frame;

	if (!pyh_has(walk->runtime, PYH_FRAME_F_FRAME)) {
		each_of_old_frame(walk);
		return;
	}
	// A frame that runs, or that a generator owns, is not this object's.
	frame = walk_own_field(walk, PYH_FRAME_F_FRAME);
	if (frame == walk->of->address + pyh_offset(walk->runtime,
						    PYH_FRAME_F_FRAME_DATA))
		walk_interpreter_frame(walk, frame, /* foreign= */ false);
}
