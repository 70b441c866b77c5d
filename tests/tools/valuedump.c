/*
 * The values of objects, for tests that compare them with repr().
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: valuedump CORE SIZE [SYSROOT] <ADDRESSES
 *
 * Reads hexadecimal addresses of objects, one a line, and prints the value of
 * each in a buffer of SIZE bytes, as a JSON string on a line. SYSROOT "": no
 * module files.
 */
#include <stdio.h>
#include <stdlib.h>

#include "image/base/escape.h"
#include "image/image.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pytypes.h"
#include "pyheap/values/pyvalue.h"

enum { SIZE_MAX_ASKED = 1 << 20 };

static struct error *run(const char *path, size_t size, const char *sysroot)
{
	struct image_options options = { .sysroot = sysroot };
	struct pyh_value_reader *reader;
	struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	struct pyh_types *types;
	struct image *image;
	struct error *err;
	char line[64], *text = malloc(size);

	if (!text)
		return error_no_memory();
	err = image_open(path, &options, &image);
	if (!err)
		err = pyh_runtime_open(image, &runtime);
	if (!err)
		err = pyh_types_create(runtime, &types);
	if (!err)
		err = pyh_shapes_create(runtime, types, &shapes);
	if (!err)
		err = pyh_value_reader_create(runtime, types, shapes, &reader);
	if (err)
		return err;
	while (fgets(line, sizeof(line), stdin)) {
		pyh_value_repr(reader, strtoull(line, NULL, 16), text, size);
		putchar('"');
		escape_puts(stdout, ESCAPE_JSON, text);
		puts("\"");
	}
	pyh_value_reader_destroy(reader);
	pyh_shapes_destroy(shapes);
	pyh_types_destroy(types);
	pyh_runtime_close(runtime);
	image_close(image);
	free(text);
	return NULL;
}

int main(int argc, char **argv)
{
	size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	struct error *err;

	if (argc < 3 || argc > 4 || size < PYH_VALUE_TEXT_MIN ||
	    size > SIZE_MAX_ASKED) {
		fprintf(stderr,
			"usage: valuedump CORE SIZE [SYSROOT] <ADDRESSES\n");
		return 2;
	}
	err = run(argv[1], size, argv[3]);
	if (!err)
		return 0;
	fprintf(stderr, "valuedump: %s\n", err->message);
	error_free(err);
	return 1;
}
