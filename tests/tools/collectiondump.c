/*
 * What pyheap says of containers, for tests that compare it with what Python
 * says.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: collectiondump CORE [SYSROOT] <ADDRESSES
 *
 * Reads hexadecimal addresses of objects, one a line, and prints for each
 *
 *	address capacity used wasted sparse
 *
 * or, after the address, "none" (no container), "missing" or "bad".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "image/base/guard.h"
#include "image/image.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/sizes/pycollections.h"
#include "pyheap/types/pytypes.h"

static int fail(struct error *err)
{
	fprintf(stderr, "collectiondump: %s\n", err->message);
	error_free(err);
	return 1;
}

static void dump(const struct pyh_runtime *runtime,
		 struct pyh_type_reader *types, struct memory_reader *memory,
		 uint64_t address)
{
	const struct pyh_type *type = NULL;
	struct pyh_collection inside;
	uint64_t of;

	printf("%" PRIx64 " ", address);
	if (memory_try_u64(memory,
			   address + pyh_offset(runtime, PYH_OBJECT_OB_TYPE),
			   &of))
		type = pyh_type_find(types, of);
	if (!type || !pyh_is_collection(type)) {
		puts("none");
		return;
	}
	switch (pyh_collection_read(runtime, type, address, NULL, 0, memory,
				    &inside)) {
	case PYH_FOUND:
		printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %d\n",
		       inside.capacity, inside.used, inside.wasted,
		       pyh_collection_sparse(&inside));
		break;
	case PYH_FOUND_MISSING:
		puts("missing");
		break;
	default:
		puts("bad");
		break;
	}
}

static struct error *run(const char *path, const char *sysroot)
{
	struct image_options options = { .sysroot = sysroot };
	static struct pyh_type_reader types_reader;
	struct memory_reader memory;
	struct pyh_runtime *runtime;
	struct pyh_types *types;
	struct image *image;
	struct error *err;
	char line[64];

	err = image_open(path, &options, &image);
	if (err)
		return err;
	err = pyh_runtime_open(image, &runtime);
	if (!err)
		err = pyh_types_create(runtime, &types);
	if (!err)
		err = pyh_type_reader_init(&types_reader, types);
	if (!err)
		err = memory_reader_init(&memory, image->memory);
	if (err)
		return err;
	while (fgets(line, sizeof(line), stdin))
		dump(runtime, &types_reader, &memory, strtoull(line, NULL, 16));
	memory_reader_deinit(&memory);
	pyh_type_reader_deinit(&types_reader);
	pyh_types_destroy(types);
	pyh_runtime_close(runtime);
	image_close(image);
	return NULL;
}

int main(int argc, char **argv)
{
	struct error *err;

	if (argc < 2 || argc > 3) {
		fprintf(stderr,
			"usage: collectiondump CORE [SYSROOT] <ADDRESSES\n");
		return 2;
	}
	err = run(argv[1], argv[2]);
	return err ? fail(err) : 0;
}
