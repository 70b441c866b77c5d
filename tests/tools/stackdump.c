/*
 * What each Python thread was running, for tests that compare it with
 * sys._current_frames().
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: stackdump CORE [SYSROOT]
 *
 * Prints "IDENT FUNCTION FIRST LINE FILE" for each frame, the innermost first: the
 * first line of the function and the one where it is. SYSROOT "": no module files.
 */
#include <inttypes.h>
#include <stdio.h>

#include "image/base/escape.h"
#include "image/image.h"
#include "pyheap/threads/pystack.h"
#include "pyheap/values/pystr.h"

struct show {
	struct pyh_runtime *runtime;
	struct memory_reader memory;
	uint64_t ident;
	bool cut;	/* a frame could not be read */
};

static void show_str(struct show *show, uint64_t address)
{
	struct pyh_str str;
	char text[4096];

	if (pyh_str_read(show->runtime, &show->memory, address, &str) !=
		    PYH_FOUND ||
	    !pyh_str_copy(&show->memory, &str, text, sizeof(text)))
		(void)snprintf(text, sizeof(text), "?");
	escape_puts(stdout, ESCAPE_TEXT, text);
}

static bool show_frame(void *context, const struct pyh_frame *frame)
{
	struct show *show = context;

	printf("%" PRIu64 " ", show->ident);
	show_str(show, frame->name);
	printf(" %" PRIu32 " %" PRIu32 " ", frame->first_line, frame->line);
	show_str(show, frame->filename);
	putchar('\n');
	return true;
}

static bool show_thread(void *context, const struct pyh_thread *thread)
{
	struct show *show = context;

	show->ident = thread->ident;
	if (pyh_frames_each(show->runtime, &show->memory, thread, show_frame,
			     show))
		show->cut = true;
	return true;
}

int main(int argc, char **argv)
{
	struct image_options options = { .sysroot = argc > 2 ? argv[2] : NULL };
	struct show show = { 0 };
	struct image *image = NULL;
	struct error *err;

	if (argc < 2)
		return 2;
	err = image_open(argv[1], &options, &image);
	if (!err)
		err = memory_reader_init(&show.memory, image->memory);
	if (!err)
		err = pyh_runtime_open(image, &show.runtime);
	if (err) {
		fprintf(stderr, "stackdump: %s\n", err->message);
		error_free(err);
	} else {
		pyh_threads_each(show.runtime, &show.memory, show_thread,
				 &show);
	}
	if (show.cut)
		fprintf(stderr, "stackdump: a frame could not be read\n");
	pyh_runtime_close(show.runtime);
	memory_reader_deinit(&show.memory);
	image_close(image);
	return err || show.cut;
}
