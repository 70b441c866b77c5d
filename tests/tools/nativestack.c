/*
 * The native stack of each thread, for tests that compare it with gdb's.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: nativestack CORE [SYSROOT]
 *
 * Prints "thread TID", for each frame "PC FUNCTION+OFFSET MODULE FILE:LINE",
 * the innermost first, and "end: WHY". SYSROOT "": no module files.
 */
#include <inttypes.h>
#include <stdio.h>

#include "image/base/escape.h"
#include "image/image.h"
#include "image/symbols.h"
#include "image/unwind.h"

struct show {
	struct image *image;
	struct unwinder *unwinder;
};

static bool show_frame(void *context, const struct native_frame *frame)
{
	const struct show *show = context;
	uint64_t pc = frame->pc - !frame->exact;
	struct module *module = modules_find(show->image->modules, pc);
	struct native_line line;
	struct symbol symbol;

	printf("%#" PRIx64 " ", frame->pc);
	if (module && symbols_at(module, show->image->memory, pc, &symbol)) {
		escape_puts(stdout, ESCAPE_TEXT, symbol.name);
		printf("+%" PRIu64 " ", frame->pc - symbol.address);
	} else {
		printf("? ");
	}
	escape_puts(stdout, ESCAPE_TEXT, module ? module->path : "?");
	if (unwinder_line(show->unwinder, frame, &line)) {
		putchar(' ');
		escape_puts(stdout, ESCAPE_TEXT, line.file);
		printf(":%d", line.line);
	}
	putchar('\n');
	return true;
}

static void show_thread(struct show *show, size_t i)
{
	enum unwind_end end;
	const char *why;
	uint64_t at;

	printf("thread %" PRIu32 "\n", show->image->notes.threads[i].tid);
	end = unwinder_walk(show->unwinder, i, show_frame, show, &at);
	why = unwind_end_text(end);
	if (why)
		printf("end: %#" PRIx64 ": %s\n", at, why);
	else
		printf("end\n");
}

int main(int argc, char **argv)
{
	struct image_options options = { .sysroot = argc > 2 ? argv[2] : NULL };
	struct show show = { 0 };
	struct error *err;

	if (argc < 2)
		return 2;
	err = image_open(argv[1], &options, &show.image);
	if (!err)
		err = unwinder_create(show.image, &show.unwinder);
	if (err) {
		fprintf(stderr, "nativestack: %s\n", err->message);
		error_free(err);
		image_close(show.image);
		return 1;
	}
	for (size_t i = 0; i < show.image->notes.num_threads; i++)
		show_thread(&show, i);
	unwinder_destroy(show.unwinder);
	image_close(show.image);
	return 0;
}
