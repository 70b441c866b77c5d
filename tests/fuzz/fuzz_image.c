/*
 * Fuzz target: a core as a whole, with its address space, threads, modules
 * and the symbols that its memory holds.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "image/image.h"
#include "image/symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum {
	INPUT_MAX = 16 << 20,	/* bytes, also of what one expands to */
	STEPS_MAX = 4096,	/* reads of one range */
	MODULES_LOOKED_AT = 16,
};

static void bound_expansion(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) != 0 ||
	    limit.rlim_cur <= INPUT_MAX)
		return;
	limit.rlim_cur = INPUT_MAX;
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		abort();
	(void)signal(SIGXFSZ, SIG_IGN);
}

/** Read through a range, and across its end. */
static void read_range(struct memory_reader *reader,
		       const struct memory_range *range)
{
	uint64_t step = (range->end - range->start) / STEPS_MAX + 512;
	volatile uint8_t sum = 0;
	uint8_t buffer[1024];
	char text[64];

	for (uint64_t at = range->start; at < range->end;) {
		size_t part = range->end - at < 512 ?
			      (size_t)(range->end - at) : 512;
		const uint8_t *view = memory_view(reader, at, part);

		if (view && range->state == MEMORY_NOT_CAPTURED)
			abort();
		if (!view && range->state == MEMORY_ZERO)
			abort();
		for (size_t i = 0; view && i < part; i += 31)
			sum ^= view[i];
		if (range->end - at <= step)
			break;
		at += step;
	}
	(void)memory_try_read(reader, range->end - 1, buffer, sizeof(buffer));
	(void)memory_try_string(reader, range->start, text, sizeof(text));
	(void)memory_view(reader, range->start, 1 << 20);
	error_free(memory_read(reader, range->start, buffer, sizeof(buffer)));
	(void)sum;
}

static void read_memory(const struct image *image)
{
	struct memory_reader reader;
	uint64_t end = 0;

	if (memory_reader_init(&reader, image->memory))
		return;
	for (size_t i = 0; i < memory_num_ranges(image->memory) &&
			   i < STEPS_MAX; i++) {
		const struct memory_range *range;

		range = memory_range(image->memory, i);
		if (range->start >= range->end || range->start < end)
			abort();
		end = range->end;
		read_range(&reader, range);
	}
	memory_reader_deinit(&reader);
}

static bool touch_symbol(void *context, const struct symbol *symbol)
{
	volatile size_t *sum = context;

	*sum += strlen(symbol->name);
	return true;
}

static void read_modules(const struct image *image)
{
	struct symbol symbol;
	size_t sum = 0;

	for (size_t i = 0; i < modules_count(image->modules) &&
			   i < MODULES_LOOKED_AT; i++) {
		struct module *module = modules_get(image->modules, i);

		if (module->build_id_size > sizeof(module->build_id))
			abort();
		symbols_each(module, image->memory, touch_symbol, &sum);
		(void)symbols_at(module, image->memory, module->start + 64,
				 &symbol);
		(void)symbols_lookup(module, image->memory, "main", &symbol);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct image *image = NULL;
	struct error *err;
	int64_t when;
	int fd;

	bound_expansion();
	fd = memfd_create("input", MFD_CLOEXEC);
	if (fd < 0 || size > INPUT_MAX ||
	    write(fd, input, size) != (ssize_t)size) {
		if (fd >= 0)
			(void)close(fd);
		return 0;
	}
	err = image_open_fd(fd, "input", &(struct image_options){
				    .sysroot = "", .tmp_dir = "/tmp",
				    .cache_bytes = 4 << 20,
			    }, &image);
	(void)close(fd);
	if (err) {
		error_free(err);
		return 0;
	}
	read_memory(image);
	read_modules(image);
	(void)image_captured_at(image, &when);
	if (!image_writer(image))
		abort();
	image_close(image);
	return 0;
}
