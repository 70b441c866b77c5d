/*
 * The overview's section about memory that ran out; see overview_failure.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/overview/overview_failure.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/threads/threadwords.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum {
	LINES_MAX = 8,		/* with the head and the gap */
	COLUMNS = 118,		/* of a line, so that none of it is left out */
	PLACES_TOLD = 3,
	TEXT_MAX = 512,		/* bytes of a line that is put together */
	MESSAGE_MAX = 4096,
};

enum failure_column {
	FAILURE_TYPE, FAILURE_STATE, FAILURE_TID, FAILURE_ADDRESS,
	FAILURE_KEPT_COUNT, FAILURE_KIND, FAILURE_DEVICE, FAILURE_REQUESTED,
	FAILURE_EXACT, FAILURE_TOTAL, FAILURE_FREE, FAILURE_ALLOWED,
	FAILURE_PROCESS, FAILURE_OTHERS, FAILURE_ALLOCATED, FAILURE_PRIVATE,
	FAILURE_CACHED, FAILURE_PIECES_COUNT, FAILURE_LARGEST, FAILURE_AS_THEN,
	FAILURE_VERDICT, FAILURE_SHORT, FAILURE_EXPANDABLE, FAILURE_PLACE,
	NUM_FAILURE_COLUMNS
};

static const struct column failure_columns[NUM_FAILURE_COLUMNS] = {
	[FAILURE_TYPE] = { .key = "type", .unit = UNIT_TEXT },
	[FAILURE_STATE] = { .key = "state", .unit = UNIT_TEXT },
	[FAILURE_TID] = { .key = "tid", .unit = UNIT_ID },
	[FAILURE_ADDRESS] = { .key = "address", .unit = UNIT_ADDRESS },
	[FAILURE_KEPT_COUNT] = { .key = "objects", .unit = UNIT_COUNT },
	[FAILURE_KIND] = { .key = "kind", .unit = UNIT_TEXT },
	[FAILURE_DEVICE] = { .key = "device", .unit = UNIT_TEXT },
	[FAILURE_REQUESTED] = { .key = "requested", .unit = UNIT_BYTES },
	[FAILURE_EXACT] = { .key = "exact", .unit = UNIT_BOOL },
	[FAILURE_TOTAL] = { .key = "device_total", .unit = UNIT_BYTES },
	[FAILURE_FREE] = { .key = "device_free", .unit = UNIT_BYTES },
	[FAILURE_ALLOWED] = { .key = "allowed", .unit = UNIT_BYTES },
	[FAILURE_PROCESS] = { .key = "process", .unit = UNIT_BYTES },
	[FAILURE_OTHERS] = { .key = "other_processes", .unit = UNIT_BYTES },
	[FAILURE_ALLOCATED] = { .key = "allocated", .unit = UNIT_BYTES },
	[FAILURE_PRIVATE] = { .key = "private_pools", .unit = UNIT_BYTES },
	[FAILURE_CACHED] = { .key = "reserved_and_free", .unit = UNIT_BYTES },
	[FAILURE_PIECES_COUNT] = { .key = "pieces", .unit = UNIT_COUNT },
	[FAILURE_LARGEST] = { .key = "largest_free", .unit = UNIT_BYTES },
	[FAILURE_AS_THEN] = { .key = "as_then", .unit = UNIT_BOOL },
	[FAILURE_VERDICT] = { .key = "verdict", .unit = UNIT_TEXT },
	[FAILURE_SHORT] = { .key = "short_of", .unit = UNIT_BYTES },
	[FAILURE_EXPANDABLE] = { .key = "expandable_segments", .unit = UNIT_TEXT },
	[FAILURE_PLACE] = { .key = "place", .unit = UNIT_TEXT },
};

/* For JSON, in the order of the enums. */
static const char *const states[] = { NULL, "thrown", "raised", "handled", "chained",
				      "kept" };
static const char *const kinds[] = { NULL, "tried", "rejected", "huge",
				     "async", "driver", "cpu" };
static const char *const verdicts[] = { "unknown", "too_little", "pieces",
					"limit", "no_size", "outside" };
static const char *const expandables[] = { NULL, "on", "would", "might",
					   "would_not" };

void overview_failure_gather(struct scan *scan,
			     const struct overview_threads *threads,
			     const struct whole *whole,
			     struct overview_failure *failure)
{
	*failure = (struct overview_failure){ .threads = threads };
	// Why there are no stacks, that section says.
	if (threads->why_not || !threads->names)
		return;
	torch_folder(opened_image(scan->opened), failure->folder);
	failure->why_not = failure_find(scan->opened, threads->names,
					&threads->stacks,
					whole->analysis ?
						whole->analysis->heap : NULL,
					&failure->failure);
}

void overview_failure_deinit(struct overview_failure *failure)
{
	error_free(failure->why_not);
}

unsigned int overview_failure_lines(const struct overview_failure *failure)
{
	return failure->why_not ? 2 :
	       failure->failure.how == FAILURE_NONE ? 0 : LINES_MAX;
}

/* --- words ---------------------------------------------------------------- */

struct line {
	char text[TEXT_MAX];
	size_t used;
};

__attribute__((format(printf, 2, 3)))
static void say(struct line *line, const char *format, ...)
{
	va_list args;
	int size;

	if (line->used >= sizeof(line->text) - 1)
		return;
	va_start(args, format);
	size = vsnprintf(line->text + line->used,
			 sizeof(line->text) - line->used, format, args);
	va_end(args);
	line->used += size > 0 ? (size_t)size : 0;
}

static const char *size_of(const struct torch_oom_size *size,
			   char text[UNITS_TEXT_MAX])
{
	return size->known ? units_size(size->bytes, text) : "?";
}

/** "cuda:0"; "the device" where the message does not say which. */
static const char *device_of(const struct failure *failure, char text[32])
{
	const struct torch_oom *oom = &failure->oom;
	char kind[sizeof(oom->device_kind)];

	for (size_t i = 0; i < sizeof(kind); i++)
		kind[i] = (char)(oom->device_kind[i] |
				 (oom->device_kind[i] ? 0x20 : 0));
	// ROCm's devices go by CUDA's name in PyTorch.
	if (kind[0] == '\0' || strcmp(kind, "hip") == 0)
		(void)strcpy(kind, "cuda");
	if (oom->kind == TORCH_OOM_CPU)
		return "the system";
	if (oom->device < 0)
		return "the device";
	(void)snprintf(text, 32, "%s:%d", kind, oom->device);
	return text;
}

static void tell_head(struct scan *scan, const struct overview_failure *of)
{
	const struct failure *failure = &of->failure;
	char name[RENDER_NAME_MAX], thread[THREAD_TEXT_MAX];
	char safe[RENDER_NAME_MAX], number[UNITS_TEXT_MAX];
	struct line line = { .used = 0 };

	say(&line, "WHY IT FAILED  %s",
	    render_name(&scan->render, failure->type, 40, name));
	if (failure->how == FAILURE_KEPT)
		say(&line, ", an object that is kept, of no thread");
	else
		say(&line, ", %s in thread %" PRIu32 " %s",
		    failure->how == FAILURE_THROWN ? "about to be raised" :
		    failure->how == FAILURE_RAISED ? "on its way up" :
		    failure->how == FAILURE_HANDLED ? "being handled" :
						      "what led to another one",
		    failure->stack && failure->stack->core ?
			    failure->stack->core->tid : failure->tid,
		    render_name(&scan->render,
				failure->stack ? thread_words_name(
					of->threads->names, failure->stack,
					thread) : NULL, 24, safe));
	// Of one that is only thrown there is no object.
	if (failure->how == FAILURE_THROWN && failure->kept > 0)
		say(&line, "; %s earlier torch.OutOfMemoryError%s",
		    units_count(failure->kept, number),
		    failure->kept == 1 ? "" : "s");
	else if (failure->kept > 1)
		say(&line, "; %s such objects",
		    units_count(failure->kept, number));
	render_line_see(&scan->render, line.text, "allocator");
}

/**
 * "evaluate train.py:208 < main train.py:251": the program's own.
 *
 * @param room  bytes that the line may have; the first is told in any case
 */
static void say_places(const struct overview_failure *of, struct render *render,
		       struct line *line, size_t room)
{
	const struct failure *failure = &of->failure;
	char file[MESSAGE_MAX], name[THREAD_TEXT_MAX], safe[RENDER_NAME_MAX];
	char base_name[RENDER_NAME_MAX];
	struct line next;
	int told = 0;

	for (int own = 1; own >= 0 && told == 0; own--)
		for (size_t i = 0; i < failure->num_places &&
				   told < PLACES_TOLD; i++) {
			const struct pyh_frame *place = &failure->places[i];
			const char *base;

			if (!thread_names_long_str(of->threads->names,
						   place->filename, file,
						   sizeof(file)) ||
			    (own && torch_has_file(of->folder, file)))
				continue;
			base = strrchr(file, '/');
			thread_names_code(of->threads->names, place, name);
			next.used = 0;
			say(&next, "%s%s %s:%" PRIu32, told ? " < " : ":  ",
			    render_name(render, name, 40, safe),
			    render_name(render, base ? base + 1 : file, 30,
					base_name), place->line);
			if (told && line->used + next.used > room)
				return;
			told++;
			say(line, "%s", next.text);
		}
}

/** "cross_entropy() asked cuda:0 for 786.0 MiB:  evaluate train.py:208" */
static void tell_request(struct scan *scan, const struct overview_failure *of)
{
	const struct failure *failure = &of->failure;
	char name[THREAD_TEXT_MAX], safe[RENDER_NAME_MAX], device[32];
	char size[UNITS_TEXT_MAX];
	struct line line = { .used = 0 };

	say(&line, "  ");
	if (failure->num_places > 0) {
		thread_names_code(of->threads->names, &failure->places[0],
				  name);
		say(&line, "%s() asked ",
		    render_name(&scan->render, name, 40, safe));
	} else {
		say(&line, "%s was asked ", device_of(failure, device));
	}
	if (failure->num_places > 0)
		say(&line, "%s ", device_of(failure, device));
	if (failure->oom.requested.known)
		say(&line, "for %s", size_of(&failure->oom.requested, size));
	else
		say(&line, "for memory; how much is not said");
	if (failure->num_places > 0)
		say_places(of, &scan->render, &line, COLUMNS);
	else
		say(&line, "; where is not in the dump");
	render_line(&scan->render, "%s", line.text);
}

/** What there was, by the exception. */
static void tell_state(struct scan *scan, const struct failure *failure)
{
	const struct torch_oom *oom = &failure->oom;
	const struct failure_device *device = &failure->device;
	char texts[4][UNITS_TEXT_MAX];
	struct line line = { .used = 0 };

	if (oom->free.known) {
		say(&line, "  The device had %s free",
		    size_of(&oom->free, texts[0]));
		if (oom->total.known)
			say(&line, " of %s", size_of(&oom->total, texts[1]));
		if (oom->others.known)
			say(&line, ", other processes %s",
			    size_of(&oom->others, texts[2]));
		render_line(&scan->render, "%s.", line.text);
		line.used = 0;
	}
	if (oom->allocated.known) {
		say(&line, "  PyTorch had %s in use",
		    size_of(&oom->allocated, texts[3]));
		if (oom->cached.known)
			say(&line, " and %s free",
			    size_of(&oom->cached, texts[0]));
		if (oom->cached.known && device->known && device->as_then &&
		    device->pieces)
			say(&line, " in %s piece%s, the largest %s",
			    units_count(device->pieces, texts[1]),
			    device->pieces == 1 ? "" : "s",
			    units_size(device->largest, texts[2]));
		render_line(&scan->render, "%s.", line.text);
	}
	if (!device->known || device->as_then)
		return;
	render_line(&scan->render, "  %s: %s in use now, %s free in %s piece%s, "
		    "the largest %s.", device->knows_then ?
			    "Since then it has changed" : "PyTorch",
		    units_size(device->allocated, texts[0]),
		    units_size(device->free, texts[1]),
		    units_count(device->pieces, texts[2]),
		    device->pieces == 1 ? "" : "s",
		    units_size(device->largest, texts[3]));
}

/** The arithmetic that refused it. */
static void tell_verdict(struct scan *scan, const struct failure *failure)
{
	const struct torch_oom *oom = &failure->oom;
	char texts[2][UNITS_TEXT_MAX];

	switch (failure->verdict) {
	case FAILURE_TOO_LITTLE:
		render_line(&scan->render, "  All that was free together, %s, is "
			    "%s too little: less must be in use.",
			    units_size(oom->free.bytes + oom->cached.bytes,
				       texts[0]),
			    units_size(failure->short_of, texts[1]));
		break;
	case FAILURE_PIECES:
		render_line(&scan->render, "  All that was free together, %s, "
			    "would have been enough, but not in one piece.",
			    units_size(oom->free.bytes + oom->cached.bytes,
				       texts[0]));
		break;
	case FAILURE_LIMIT:
		render_line(&scan->render, "  A limit of the process refused it "
			    "(set_per_process_memory_fraction)%s%s%s, not the "
			    "device.", oom->allowed.known ? ": " : "",
			    oom->allowed.known ?
				    size_of(&oom->allowed, texts[0]) : "",
			    oom->allowed.known ? " are allowed" : "");
		break;
	case FAILURE_NO_SIZE:
		render_line(&scan->render, "  More than 1 EB is no real size: a "
			    "negative one, or a product that overflowed.");
		break;
	case FAILURE_OUTSIDE:
		render_line(&scan->render, "  It was not the caching allocator "
			    "that asked: a context, a kernel or a library did.");
		break;
	case FAILURE_UNKNOWN:
		break;
	}
}

static void tell_expandable(struct scan *scan, const struct failure *failure)
{
	static const char *const sentences[] = {
		[EXPANDABLE_WOULD] = "expandable_segments would have made this "
				     "request fit: whole pages of the pieces "
				     "are enough.",
		[EXPANDABLE_MIGHT] = "expandable_segments might have made this "
				     "request fit: it depends on how the "
				     "pieces lie.",
		[EXPANDABLE_WOULD_NOT] = "expandable_segments would not have "
					 "helped.",
	};

	const struct failure_device *device = &failure->device;
	char texts[2][UNITS_TEXT_MAX];

	if (failure->expandable == EXPANDABLE_ON)
		render_line(&scan->render, "  expandable_segments was on "
			    "already; %s of what is free is in pages with what "
			    "is in use.", units_size(device->stuck, texts[0]));
	else if (failure->expandable == EXPANDABLE_WOULD_NOT &&
		 failure->verdict == FAILURE_PIECES)
		render_line(&scan->render, "  expandable_segments would not have "
			    "helped: with pages for each stream it needs at least "
			    "%s of %s.", units_size(device->least, texts[0]),
			    units_size(device->reserved +
				       failure->oom.free.bytes, texts[1]));
	else if (failure->expandable != EXPANDABLE_UNKNOWN)
		render_line(&scan->render, "  %s",
			    sentences[failure->expandable]);
}

/* --- for programs --------------------------------------------------------- */

static struct cell size_cell(const struct torch_oom_size *size)
{
	return size->known ? cell_number(UNIT_BYTES, size->bytes) :
			     cell_unknown();
}

static void put_json(struct scan *scan, const struct overview_failure *of)
{
	const struct failure *failure = &of->failure;
	const struct torch_oom *oom = &failure->oom;
	struct cell cells[NUM_FAILURE_COLUMNS];
	struct line place = { .used = 0 };
	char device[32];

	for (int i = 0; i < NUM_FAILURE_COLUMNS; i++)
		cells[i] = cell_unknown();
	say_places(of, &scan->render, &place, sizeof(place.text));
	cells[FAILURE_TYPE] = cell_text(failure->type);
	cells[FAILURE_STATE] = cell_text(states[failure->how]);
	if (failure->stack && failure->stack->core)
		cells[FAILURE_TID] = cell_number(UNIT_ID,
						 failure->stack->core->tid);
	else if (failure->tid)
		cells[FAILURE_TID] = cell_number(UNIT_ID, failure->tid);
	if (failure->exception)
		cells[FAILURE_ADDRESS] = cell_number(UNIT_ADDRESS,
						     failure->exception);
	cells[FAILURE_KEPT_COUNT] = cell_number(UNIT_COUNT, failure->kept);
	cells[FAILURE_KIND] = cell_text(kinds[oom->kind]);
	if (oom->device >= 0)
		cells[FAILURE_DEVICE] = cell_text(device_of(failure, device));
	cells[FAILURE_REQUESTED] = size_cell(&oom->requested);
	cells[FAILURE_EXACT] = cell_number(UNIT_BOOL, failure->is_exact);
	cells[FAILURE_TOTAL] = size_cell(&oom->total);
	cells[FAILURE_FREE] = size_cell(&oom->free);
	cells[FAILURE_ALLOWED] = size_cell(&oom->allowed);
	cells[FAILURE_PROCESS] = size_cell(&oom->process);
	cells[FAILURE_OTHERS] = size_cell(&oom->others);
	cells[FAILURE_ALLOCATED] = size_cell(&oom->allocated);
	cells[FAILURE_PRIVATE] = size_cell(&oom->private_pools);
	cells[FAILURE_CACHED] = size_cell(&oom->cached);
	if (failure->device.known) {
		cells[FAILURE_PIECES_COUNT] = cell_number(
			UNIT_COUNT, failure->device.pieces);
		cells[FAILURE_LARGEST] = cell_number(UNIT_BYTES,
						     failure->device.largest);
		if (failure->device.knows_then)
			cells[FAILURE_AS_THEN] = cell_number(
				UNIT_BOOL, failure->device.as_then);
	}
	cells[FAILURE_VERDICT] = cell_text(verdicts[failure->verdict]);
	if (failure->verdict == FAILURE_TOO_LITTLE)
		cells[FAILURE_SHORT] = cell_number(UNIT_BYTES,
						   failure->short_of);
	cells[FAILURE_EXPANDABLE] =
		cell_text(expandables[failure->expandable]);
	if (place.used > 3)
		cells[FAILURE_PLACE] = cell_text(place.text + 3);
	render_object(&scan->render, "failure", failure_columns, cells,
		      NUM_FAILURE_COLUMNS);
}

void overview_failure_tell(struct scan *scan, const struct overview_failure *of)
{
	const struct failure *failure = &of->failure;
	char message[MESSAGE_MAX], safe[RENDER_NAME_MAX];

	if (of->why_not) {
		render_line(&scan->render, "WHY IT FAILED  not looked at: %s",
			    render_name(&scan->render, of->why_not->message,
					90, safe));
		render_gap(&scan->render);
		return;
	}
	if (failure->how == FAILURE_NONE)
		return;
	tell_head(scan, of);
	put_json(scan, of);
	tell_request(scan, of);
	tell_state(scan, failure);
	tell_verdict(scan, failure);
	tell_expandable(scan, failure);
	if (scan->options->values &&
	    failure_message(failure, scan->opened, of->threads->names, message,
			    sizeof(message)))
		render_line(&scan->render, "  %s",
			    render_name(&scan->render, message, 110, safe));
	render_gap(&scan->render);
}
