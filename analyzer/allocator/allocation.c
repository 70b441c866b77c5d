/*
 * Where one object was allocated; see allocation.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/allocator/allocation.h"

enum { ALLOCATED_FILE, ALLOCATED_LINE, NUM_ALLOCATED_COLUMNS };

static const struct column allocated_columns[NUM_ALLOCATED_COLUMNS] = {
	[ALLOCATED_FILE] = { .key = "file", .unit = UNIT_TEXT },
	[ALLOCATED_LINE] = { .key = "line", .unit = UNIT_ID },
};

struct error *allocation_find(const struct pyh_runtime *runtime,
			      struct memory_reader *memory,
			      const struct pyh_object *object,
			      struct allocation *ret)
{
	struct error *err;

	*ret = (struct allocation){ 0 };
	err = pyh_tracer_open(runtime, memory, &ret->tracer);
	tracebacks_init(&ret->tracebacks, &ret->tracer, memory);
	ret->known = !err && pyh_trace_find(&ret->tracer, memory,
					    object->address -
						object->type->presize,
					    &ret->trace);
	return err;
}

void allocation_deinit(struct allocation *allocation)
{
	tracebacks_deinit(&allocation->tracebacks);
	pyh_tracer_deinit(&allocation->tracer);
}

/** The most recent call; line 0 and NULL where it is not known. */
static const char *most_recent(struct allocation *allocation, uint32_t *line)
{
	struct pyh_alloc_traceback traceback;
	struct pyh_alloc_frame frame = { 0 };

	if (pyh_alloc_traceback(&allocation->tracer,
				allocation->tracebacks.memory,
				allocation->trace.traceback, &traceback) ==
	    PYH_FOUND)
		(void)pyh_alloc_frame(&allocation->tracer,
				      allocation->tracebacks.memory,
				      &traceback, 0, &frame);
	*line = frame.line;
	return tracebacks_file(&allocation->tracebacks, frame.filename);
}

void allocation_put_row(struct allocation *allocation, struct render *render)
{
	struct cell cells[NUM_ALLOCATED_COLUMNS];
	uint32_t line;

	if (!allocation->known)
		return;
	cells[ALLOCATED_FILE] = cell_text(most_recent(allocation, &line));
	cells[ALLOCATED_LINE] = cell_number(UNIT_ID, line);
	render_nested_object(render, "allocated", allocated_columns, cells,
			     NUM_ALLOCATED_COLUMNS);
	tracebacks_put_rows(&allocation->tracebacks, render,
			    allocation->trace.traceback);
	render_nested_end(render);
}

void allocation_put_lines(struct allocation *allocation,
			  struct render *render)
{
	char text[TRACEBACKS_FILE_MAX], name[RENDER_NAME_MAX];
	const char *file;
	uint32_t line;

	if (!allocation->known)
		return;
	file = most_recent(allocation, &line);
	render_line(render, "  allocated  at %s:%u",
		    render_name(render, tracebacks_short(file, text),
				TRACEBACKS_FILE_MAX, name), line);
	tracebacks_put_lines(&allocation->tracebacks, render,
			     allocation->trace.traceback, 1, 13);
}
