/*
 * Who asked for memory; see torchframes.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors/torchframes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/opened.h"
#include "analyzer/tensors/torchversion.h"
#include "analyzer/threads/threadnames.h"
#include "cudaheap/torchtrace.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "image/demangle.h"
#include "image/sourcelines.h"
#include "image/symbols.h"

enum {
	TEXT_MAX = 4096,	/* bytes of a name, or of the name of a file */
	NONE = UINT32_MAX,
};

/** A frame of Python that is in the pickle. */
struct known_frame {
	uint64_t code;
	int32_t at;
	uint32_t number;	/* in the pickle; NONE: it is no code */
	uint32_t next;		/* another one of this code, or NONE */
};

struct torchframes {
	struct image *image;			/* borrowed */
	struct pyh_runtime *runtime;		/* borrowed; NULL: none */
	struct thread_names *names;		/* NULL: without Python */
	struct memory_reader memory;
	struct source_lines *lines;		/* NULL: no memory for them */
	/* numbers in the pickle */
	struct hashmap contexts, texts, natives;
	struct hashmap codes;			/* the first of known */
	struct known_frame *known;
	size_t num_known, room;
	struct error *failed;
	uint32_t unknown_text;			/* of "??", or NONE */
	char folder[TORCH_FOLDER_MAX];
};

struct error *torchframes_open(struct opened *opened, struct torchframes **ret)
{
	struct torchframes *frames = calloc(1, sizeof(*frames));
	struct error *err = frames ? NULL : error_no_memory();

	if (!err) {
		frames->unknown_text = NONE;
		frames->image = opened_image(opened);
		torch_folder(frames->image, frames->folder);
		err = memory_reader_init(&frames->memory,
					 frames->image->memory);
	}
	if (!err)
		err = source_lines_create(frames->image, &frames->lines);
	if (!err) {
		struct error *why_not = thread_names_open(opened,
							  &frames->names);

		if (why_not && why_not->kind == ERROR_NO_MEMORY) {
			err = why_not;
		} else {
			error_free(why_not);
			frames->runtime = opened_runtime_if_found(opened);
		}
	}
	if (err)
		torchframes_close(frames);
	else
		*ret = frames;
	return err;
}

void torchframes_close(struct torchframes *frames)
{
	if (!frames)
		return;
	thread_names_close(frames->names);
	source_lines_destroy(frames->lines);
	memory_reader_deinit(&frames->memory);
	hashmap_deinit(&frames->contexts);
	hashmap_deinit(&frames->texts);
	hashmap_deinit(&frames->natives);
	hashmap_deinit(&frames->codes);
	error_free(frames->failed);
	free(frames->known);
	free(frames);
}

struct error *torchframes_failed(struct torchframes *frames)
{
	struct error *err = frames->failed;

	frames->failed = NULL;
	return err;
}

static void remember(struct torchframes *frames, struct hashmap *map,
		     uint64_t key, uint32_t number)
{
	if (!frames->failed && key != 0)
		frames->failed = hashmap_put(map, key, number);
}

/* --- frames of Python ----------------------------------------------------- */

/** A str object under a key, each once. */
static void put_str(struct torchframes *frames, struct pickle *pickle,
		    const char *key, uint64_t str)
{
	char text[TEXT_MAX];
	uint32_t number;

	if (hashmap_get(&frames->texts, str, &number)) {
		pickle_again(pickle, key, number);
		return;
	}
	if (!thread_names_long_str(frames->names, str, text, sizeof(text)))
		(void)strcpy(text, "??");
	remember(frames, &frames->texts, str,
		 pickle_kept_string(pickle, key, text));
}

static uint32_t *first_of(struct torchframes *frames,
			  const struct torch_python_frame *frame)
{
	uint32_t first;

	if (!hashmap_get(&frames->codes, frame->code, &first))
		return NULL;
	while (first != NONE) {
		if (frames->known[first].at == frame->at)
			return &frames->known[first].number;
		first = frames->known[first].next;
	}
	return NULL;
}

static void know(struct torchframes *frames,
		 const struct torch_python_frame *frame, uint32_t number)
{
	uint32_t next = NONE;

	if (frames->failed || frame->code == 0)
		return;
	if (frames->num_known == frames->room) {
		size_t room = frames->room ? frames->room * 2 : 1024;
		struct known_frame *known = room >= NONE ? NULL :
			reallocarray(frames->known, room, sizeof(*known));

		if (!known) {
			frames->failed = error_no_memory();
			return;
		}
		frames->known = known;
		frames->room = room;
	}
	(void)hashmap_get(&frames->codes, frame->code, &next);
	frames->known[frames->num_known] = (struct known_frame){
		.code = frame->code, .at = frame->at, .number = number,
		.next = next };
	remember(frames, &frames->codes, frame->code,
		 (uint32_t)frames->num_known++);
}

static void put_python(struct torchframes *frames, struct pickle *pickle,
		       const struct torch_python_frame *of)
{
	const uint32_t *number = first_of(frames, of);
	struct pyh_frame frame;

	if (number) {
		if (*number != NONE)
			pickle_again(pickle, NULL, *number);
		return;
	}
	if (!frames->runtime || !frames->names ||
	    !pyh_frame_of_code(frames->runtime, &frames->memory, of->code,
			       of->at, &frame)) {
		findings_add(frames->image->findings, "torch-frame", of->code,
			     "no code object is where a frame of the "
			     "allocator's past has one");
		know(frames, of, NONE);
		return;
	}
	pickle_dict(pickle, NULL);
	know(frames, of, pickle_keep(pickle));
	put_str(frames, pickle, "name", frame.name);
	put_str(frames, pickle, "filename", frame.filename);
	pickle_u64(pickle, "line", frame.line);
	pickle_end(pickle);
}

/* --- frames of C++ -------------------------------------------------------- */

/** What is known of a place in machine code; texts are borrowed. */
struct place {
	const char *function, *file;	/* NULL: not known. Without lines, the
					   module's */
	uint64_t line;			/* … and the offset in it */
};

/**
 * Where an address to return to is: the call is in front of it. As addr2line
 * tells PyTorch, it is in the function that was inlined there.
 */
static struct place place_of(struct torchframes *frames, uint64_t pc)
{
	struct module *module = modules_find(frames->image->modules, pc - 1);
	const struct source_place *places;
	struct place place = { NULL, NULL, 0 };
	struct symbol symbol;

	if (module && source_lines_at(frames->lines, pc - 1, &places) > 0)
		place = (struct place){ places->function, places->file,
					places->line > 0 ?
						(uint64_t)places->line : 0 };
	if (module && !place.function &&
	    symbols_at(module, frames->image->memory, pc - 1, &symbol))
		place.function = symbol.name;
	// As 2.15 has it: who looks at a stack tells places apart by these.
	if (module && !place.file)
		place = (struct place){ place.function, module->path,
					pc - 1 - module->start };
	return place;
}

static void put_unknown(struct torchframes *frames, struct pickle *pickle,
			const char *key)
{
	if (frames->unknown_text == NONE)
		frames->unknown_text = pickle_kept_string(pickle, key, "??");
	else
		pickle_again(pickle, key, frames->unknown_text);
}

static void put_native(struct torchframes *frames, struct pickle *pickle,
		       uint64_t pc, const struct place *place)
{
	char text[DEMANGLE_MAX];
	uint32_t number;

	if (hashmap_get(&frames->natives, pc, &number)) {
		pickle_again(pickle, NULL, number);
		return;
	}
	pickle_dict(pickle, NULL);
	remember(frames, &frames->natives, pc, pickle_keep(pickle));
	if (place->function)
		pickle_string(pickle, "name", demangle(place->function, text));
	else
		put_unknown(frames, pickle, "name");
	if (place->file)
		pickle_string(pickle, "filename", place->file);
	else
		put_unknown(frames, pickle, "filename");
	pickle_u64(pickle, "line", place->line);
	pickle_end(pickle);
}

/* --- contexts ------------------------------------------------------------- */

static void put_all(struct torchframes *frames, struct pickle *pickle,
		    const struct torch_context *context)
{
	size_t python = 0;

	for (size_t i = 0; i < context->num_native; i++) {
		struct place place = place_of(frames, context->native[i]);

		if (place.function &&
		    strstr(place.function, "PyEval_EvalFrame") &&
		    python < context->num_python)
			put_python(frames, pickle, &context->python[python++]);
		put_native(frames, pickle, context->native[i], &place);
	}
	for (; python < context->num_python; python++)
		put_python(frames, pickle, &context->python[python]);
}

void torchframes_put(void *of, struct pickle *pickle, const char *key,
		     uint64_t gathered)
{
	struct torchframes *frames = of;
	struct torch_context context;
	uint32_t number;

	if (hashmap_get(&frames->contexts, gathered, &number)) {
		pickle_again(pickle, key, number);
		return;
	}
	pickle_list(pickle, key);
	remember(frames, &frames->contexts, gathered, pickle_keep(pickle));
	if (torch_context_read(&frames->memory, gathered, &context))
		put_all(frames, pickle, &context);
	else
		context.cut = true;
	if (context.cut)
		findings_add(frames->image->findings, "torch-context", gathered,
			     "what the allocator recorded of a stack cannot be "
			     "read, or not all of it");
	torch_context_deinit(&context);
	pickle_end(pickle);
}

void torchframes_place(struct torchframes *frames, uint64_t gathered,
		       char text[TORCHFRAMES_PLACE])
{
	char file[TEXT_MAX], name[THREAD_TEXT_MAX];
	struct torch_context context;
	struct pyh_frame frame;

	text[0] = '\0';
	if (!frames->runtime || !frames->names ||
	    !torch_context_read(&frames->memory, gathered, &context))
		return;
	for (size_t i = 0; i < context.num_python; i++) {
		const char *base;

		if (!pyh_frame_of_code(frames->runtime, &frames->memory,
				       context.python[i].code,
				       context.python[i].at, &frame) ||
		    !thread_names_str(frames->names, frame.name, name) ||
		    !thread_names_long_str(frames->names, frame.filename, file,
					   sizeof(file)) ||
		    (torch_has_file(frames->folder, file) &&
		     i + 1 < context.num_python))
			continue;
		base = strrchr(file, '/');
		(void)snprintf(text, TORCHFRAMES_PLACE,
			       "%.100s %.100s:%" PRIu32, name,
			       base ? base + 1 : file, frame.line);
		break;
	}
	torch_context_deinit(&context);
}
