/*
 * `threads` for programs: what nests in each row; see threadsview.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/commands/threadsview.h"

#include "image/registers.h"

/* --- frames ------------------------------------------------------------------- */

enum {
	FRAME_KIND, FRAME_FUNCTION, FRAME_QUALNAME, FRAME_FILE, FRAME_LINE, FRAME_MODULE,
	FRAME_OFFSET, FRAME_PC, FRAME_INDEX, FRAME_INLINED, NUM_FRAME_COLUMNS
};

static const struct column frame_columns[NUM_FRAME_COLUMNS] = {
	[FRAME_KIND] = { .key = "kind", .unit = UNIT_TEXT },
	[FRAME_FUNCTION] = { .key = "function", .unit = UNIT_TEXT },
	[FRAME_QUALNAME] = { .key = "qualname", .unit = UNIT_TEXT },
	[FRAME_FILE] = { .key = "file", .unit = UNIT_TEXT },
	[FRAME_LINE] = { .key = "line", .unit = UNIT_ID },
	[FRAME_MODULE] = { .key = "module", .unit = UNIT_TEXT },
	[FRAME_OFFSET] = { .key = "offset", .unit = UNIT_ID },
	[FRAME_PC] = { .key = "pc", .unit = UNIT_ADDRESS },
	[FRAME_INDEX] = { .key = "frame", .unit = UNIT_ID },
	[FRAME_INLINED] = { .key = "inlined", .unit = UNIT_BOOL },
};

static void put_python_frame(const struct threads_view *view,
			     const struct thread_stack *stack, size_t i)
{
	const struct pyh_frame *frame = &stack->python[i];
	char function[THREAD_TEXT_MAX], qualname[THREAD_TEXT_MAX];
	char file[THREAD_TEXT_MAX];
	struct cell cells[NUM_FRAME_COLUMNS] = {
		[FRAME_KIND] = cell_text("python"),
	};

	if (thread_names_str(view->names, frame->name, function))
		cells[FRAME_FUNCTION] = cell_text(function);
	if (thread_names_str(view->names, frame->qualname, qualname))
		cells[FRAME_QUALNAME] = cell_text(qualname);
	if (thread_names_str(view->names, frame->filename, file))
		cells[FRAME_FILE] = cell_text(file);
	if (frame->line)
		cells[FRAME_LINE] = cell_number(UNIT_ID, frame->line);
	cells[FRAME_INDEX] = cell_number(UNIT_ID, i);
	render_nested_row(&view->scan->render, frame_columns, cells,
			  NUM_FRAME_COLUMNS);
}

/** One function of a native frame: its own, or one that was inlined in it. */
static void put_place(const struct threads_view *view,
		      const struct stack_native *native,
		      const struct source_place *place)
{
	struct cell cells[NUM_FRAME_COLUMNS] = {
		[FRAME_KIND] = cell_text("native"),
		[FRAME_PC] = cell_number(UNIT_ADDRESS, native->frame.pc),
	};
	bool inlined = place && place->function;
	char function[THREAD_TEXT_MAX];

	cells[FRAME_FUNCTION] = cell_text(
		inlined ? place->function :
			  thread_words_function(native, function));
	if (place && place->file)
		cells[FRAME_FILE] = cell_text(place->file);
	if (place && place->line)
		cells[FRAME_LINE] = cell_number(UNIT_ID, (uint64_t)place->line);
	if (native->module)
		cells[FRAME_MODULE] = cell_text(native->module->path);
	if (inlined)
		cells[FRAME_INLINED] = cell_number(UNIT_BOOL, true);
	else
		cells[FRAME_OFFSET] = cell_number(UNIT_ID, native->offset);
	render_nested_row(&view->scan->render, frame_columns, cells,
			  NUM_FRAME_COLUMNS);
}

static void put_inlined(const struct threads_view *view,
			const struct stack_native *native)
{
	const struct source_place *places;
	size_t count = thread_stacks_places(&view->stacks, native, &places);

	for (size_t i = 0; i + 1 < count; i++)
		put_place(view, native, &places[i]);
}

static void put_function(const struct threads_view *view,
			 const struct stack_native *native)
{
	const struct source_place *places;
	size_t count = thread_stacks_places(&view->stacks, native, &places);

	put_place(view, native, count > 0 ? &places[count - 1] : NULL);
}

static void put_merged(const struct threads_view *view,
		       const struct thread_stack *stack, size_t at)
{
	const struct stack_native *loop = threads_loop_of(stack, at);
	size_t index = stack->merged[at].index;

	if (loop)
		put_inlined(view, loop);
	if (stack->merged[at].is_python) {
		put_python_frame(view, stack, index);
		return;
	}
	if (!threads_is_loop(stack, at))
		put_inlined(view, &stack->native[index]);
	put_function(view, &stack->native[index]);
}

static void put_frames(const struct threads_view *view,
		       const struct thread_stack *stack)
{
	struct render *render = &view->scan->render;

	render_nested(render, "python");
	for (size_t i = 0; i < stack->num_python; i++)
		put_python_frame(view, stack, i);
	render_nested_end(render);
	render_nested(render, "native");
	for (size_t i = 0; i < stack->num_native; i++) {
		put_inlined(view, &stack->native[i]);
		put_function(view, &stack->native[i]);
	}
	render_nested_end(render);
	render_nested(render, "merged");
	for (size_t i = 0; i < stack->num_merged; i++)
		put_merged(view, stack, i);
	render_nested_end(render);
}

/* --- exceptions and registers --------------------------------------------------- */

enum { EXCEPTION_HOW, EXCEPTION_TYPE, EXCEPTION_ADDRESS, EXCEPTION_FUNCTION,
       EXCEPTION_QUALNAME, EXCEPTION_FILE, EXCEPTION_LINE, EXCEPTION_PREVIEW,
       NUM_EXCEPTION_COLUMNS };

static const struct column exception_columns[NUM_EXCEPTION_COLUMNS] = {
	[EXCEPTION_HOW] = { .key = "how", .unit = UNIT_TEXT },
	[EXCEPTION_TYPE] = { .key = "type", .unit = UNIT_TEXT },
	[EXCEPTION_ADDRESS] = { .key = "address", .unit = UNIT_ADDRESS },
	[EXCEPTION_FUNCTION] = { .key = "function", .unit = UNIT_TEXT },
	[EXCEPTION_QUALNAME] = { .key = "qualname", .unit = UNIT_TEXT },
	[EXCEPTION_FILE] = { .key = "file", .unit = UNIT_TEXT },
	[EXCEPTION_LINE] = { .key = "line", .unit = UNIT_ID },
	[EXCEPTION_PREVIEW] = { .key = "preview", .unit = UNIT_TEXT },
};

static void put_exception(const struct threads_view *view, const char *how,
			  const struct pyh_exception *exception)
{
	char function[THREAD_TEXT_MAX], qualname[THREAD_TEXT_MAX];
	char file[THREAD_TEXT_MAX];
	struct cell cells[NUM_EXCEPTION_COLUMNS] = { 0 };
	char preview[PREVIEW_MAX];

	cells[EXCEPTION_HOW] = cell_text(how);
	cells[EXCEPTION_TYPE] = cell_text(thread_names_type(view->names,
							    exception->type));
	cells[EXCEPTION_ADDRESS] = cell_number(UNIT_ADDRESS,
					       exception->address);
	if (exception->has_place) {
		if (thread_names_str(view->names, exception->place.name,
				     function))
			cells[EXCEPTION_FUNCTION] = cell_text(function);
		if (thread_names_str(view->names, exception->place.qualname,
				     qualname))
			cells[EXCEPTION_QUALNAME] = cell_text(qualname);
		if (thread_names_str(view->names, exception->place.filename,
				     file))
			cells[EXCEPTION_FILE] = cell_text(file);
		if (exception->place.line)
			cells[EXCEPTION_LINE] =
				cell_number(UNIT_ID, exception->place.line);
	}
	cells[EXCEPTION_PREVIEW] = cell_text(previews_text(
		view->previews, exception->address, preview));
	render_nested_row(&view->scan->render, exception_columns, cells,
			  NUM_EXCEPTION_COLUMNS);
}

static void put_exceptions(const struct threads_view *view,
			   const struct thread_stack *stack)
{
	struct render *render = &view->scan->render;

	if (!stack->exceptions.raised && !stack->exceptions.handled)
		return;
	render_nested(render, "exceptions");
	threads_each_exception(view, stack, put_exception);
	render_nested_end(render);
}

enum { REGISTER_NAME, REGISTER_VALUE, NUM_REGISTER_COLUMNS };

static const struct column register_columns[NUM_REGISTER_COLUMNS] = {
	[REGISTER_NAME] = { .key = "name", .unit = UNIT_TEXT },
	[REGISTER_VALUE] = { .key = "value", .unit = UNIT_ADDRESS },
};

static void put_registers(const struct threads_view *view,
			  const struct thread_stack *stack)
{
	struct render *render = &view->scan->render;
	char name[16];
	uint64_t value;

	if (!threads_shows_registers(view, stack))
		return;
	render_nested(render, "registers");
	for (size_t i = 0; core_register_named(stack->core,
					       view->image->machine, i, name,
					       &value); i++) {
		struct cell cells[NUM_REGISTER_COLUMNS] = {
			cell_text(name), cell_number(UNIT_ADDRESS, value),
		};

		render_nested_row(render, register_columns, cells,
				  NUM_REGISTER_COLUMNS);
	}
	render_nested_end(render);
}

/* --- variables --------------------------------------------------------------- */

enum { LOCAL_FRAME, LOCAL_NAME, LOCAL_TYPE, LOCAL_ADDRESS, LOCAL_PREVIEW,
       NUM_LOCAL_COLUMNS };

static const struct column local_columns[NUM_LOCAL_COLUMNS] = {
	[LOCAL_FRAME] = { .key = "frame", .unit = UNIT_ID },
	[LOCAL_NAME] = { .key = "name", .unit = UNIT_TEXT },
	[LOCAL_TYPE] = { .key = "type", .unit = UNIT_TEXT },
	[LOCAL_ADDRESS] = { .key = "address", .unit = UNIT_ADDRESS },
	[LOCAL_PREVIEW] = { .key = "preview", .unit = UNIT_TEXT },
};

struct local_rows {
	struct render *render;
	size_t frame;		/* its index */
};

static void put_local(void *context, const char *name, const char *type,
		      uint64_t address, const char *value)
{
	const struct local_rows *rows = context;
	struct cell cells[NUM_LOCAL_COLUMNS] = {
		cell_number(UNIT_ID, rows->frame), cell_text(name),
		cell_text(type), cell_number(UNIT_ADDRESS, address),
		cell_text(value),
	};

	render_nested_row(rows->render, local_columns, cells,
			  NUM_LOCAL_COLUMNS);
}

static void put_locals(const struct threads_view *view,
		       const struct thread_stack *stack)
{
	struct local_rows rows = { .render = &view->scan->render };

	if (!view->scan->options->locals)
		return;
	render_nested(rows.render, "locals");
	for (; rows.frame < stack->num_python; rows.frame++)
		threads_each_local(view, &stack->python[rows.frame], put_local,
				   &rows);
	render_nested_end(rows.render);
}

/* --- all of it ------------------------------------------------------------------ */

void threads_put_nested(const struct threads_view *view,
			const struct thread_stack *stack)
{
	put_frames(view, stack);
	put_locals(view, stack);
	put_exceptions(view, stack);
	put_registers(view, stack);
}
