/*
 * Tracebacks of allocations, as views print them; see tracebacks.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/threads/tracebacks.h"

#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"

enum {
	NAME_SIZE = 4096,		/* of a name, NUL included */
	NAMES_BYTES_MAX = 64 << 20,	/* of all that a dump may make us keep */
	LINES_MAX = 30,			/* frames of a traceback for people */
};

enum { FRAME_FILE, FRAME_LINE, NUM_FRAME_COLUMNS };

static const struct column frame_columns[NUM_FRAME_COLUMNS] = {
	[FRAME_FILE] = { .key = "file", .unit = UNIT_TEXT },
	[FRAME_LINE] = { .key = "line", .unit = UNIT_ID },
};

void tracebacks_init(struct tracebacks *tracebacks,
		     const struct pyh_tracer *tracer,
		     struct memory_reader *memory)
{
	*tracebacks = (struct tracebacks){ .tracer = tracer, .memory = memory };
}

void tracebacks_deinit(struct tracebacks *tracebacks)
{
	for (uint32_t i = 0; i < tracebacks->num_names; i++)
		free(tracebacks->names[i]);
	free(tracebacks->names);
	hashmap_deinit(&tracebacks->ids);
}

static char *read_name(struct tracebacks *tracebacks, uint64_t filename)
{
	char name[NAME_SIZE];

	if (tracebacks->bytes > NAMES_BYTES_MAX ||
	    !pyh_alloc_filename(tracebacks->tracer, tracebacks->memory,
				filename, name, sizeof(name)))
		return NULL;
	tracebacks->bytes += strlen(name) + 1;
	return strdup(name);
}

const char *tracebacks_file(struct tracebacks *tracebacks, uint64_t filename)
{
	uint32_t id = tracebacks->num_names;
	struct error *err;
	char **more;

	if (filename == 0)
		return NULL;
	if (hashmap_get(&tracebacks->ids, filename, &id))
		return tracebacks->names[id];
	// Room doubles at powers of two.
	if ((id & (id - 1)) == 0) {
		more = reallocarray(tracebacks->names, id ? (size_t)id * 2 : 1,
				    sizeof(*more));
		if (!more)
			return NULL;
		tracebacks->names = more;
	}
	err = hashmap_put(&tracebacks->ids, filename, id);
	if (err) {
		error_free(err);
		return NULL;
	}
	tracebacks->names[id] = read_name(tracebacks, filename);
	tracebacks->num_names++;
	return tracebacks->names[id];
}

const char *tracebacks_short(const char *file,
			     char text[TRACEBACKS_FILE_MAX])
{
	static const char dots[] = "\xe2\x80\xa6";	/* an ellipsis */
	size_t size = file ? strlen(file) : 0;
	const char *end;

	if (size < TRACEBACKS_FILE_MAX)
		return file;
	end = file + size - (TRACEBACKS_FILE_MAX - sizeof(dots));
	// Not in the middle of a character.
	while (((unsigned char)*end & 0xc0) == 0x80)
		end++;
	return strcat(strcpy(text, dots), end);
}

/** A frame; file NULL where it is not known. */
static void read_frame(struct tracebacks *tracebacks,
		       const struct pyh_alloc_traceback *traceback,
		       uint32_t index, const char **ret_file,
		       uint32_t *ret_line)
{
	struct pyh_alloc_frame frame = { 0 };

	*ret_file = NULL;
	if (pyh_alloc_frame(tracebacks->tracer, tracebacks->memory, traceback,
			    index, &frame))
		*ret_file = tracebacks_file(tracebacks, frame.filename);
	*ret_line = frame.line;
}

void tracebacks_put_rows(struct tracebacks *tracebacks, struct render *render,
			 uint64_t traceback)
{
	struct pyh_alloc_traceback frames = { 0 };
	struct cell cells[NUM_FRAME_COLUMNS];
	const char *file;
	uint32_t line;

	(void)pyh_alloc_traceback(tracebacks->tracer, tracebacks->memory,
				  traceback, &frames);
	render_nested(render, "traceback");
	for (uint32_t i = 0; i < frames.count; i++) {
		read_frame(tracebacks, &frames, i, &file, &line);
		cells[FRAME_FILE] = cell_text(file);
		cells[FRAME_LINE] = cell_number(UNIT_ID, line);
		render_nested_row(render, frame_columns, cells,
				  NUM_FRAME_COLUMNS);
	}
	render_nested_end(render);
}

void tracebacks_put_lines(struct tracebacks *tracebacks, struct render *render,
			  uint64_t traceback, uint32_t first, int indent)
{
	struct pyh_alloc_traceback frames = { 0 };
	char text[TRACEBACKS_FILE_MAX], name[RENDER_NAME_MAX];
	const char *file;
	uint32_t line;

	(void)pyh_alloc_traceback(tracebacks->tracer, tracebacks->memory,
				  traceback, &frames);
	for (uint32_t i = first; i < frames.count; i++) {
		if (i == LINES_MAX) {
			render_line(render, "%*s%u more", indent, "",
				    frames.count - i);
			return;
		}
		read_frame(tracebacks, &frames, i, &file, &line);
		render_line(render, "%*s%s:%u", indent, "",
			    render_name(render, tracebacks_short(file, text),
					TRACEBACKS_FILE_MAX, name), line);
	}
	if (frames.total > frames.count)
		render_line(render, "%*s(%u more callers, which tracemalloc "
			    "did not keep)", indent, "",
			    frames.total - frames.count);
}
