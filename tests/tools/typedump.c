/*
 * What pyheap says of objects, for tests that compare it with what Python says.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: typedump CORE [SYSROOT] <ADDRESSES
 *
 * Reads hexadecimal addresses of objects, one a line, and prints for each:
 *
 *	address type-address name size extent exactness claims
 *
 * separated by tabs. Exactness is "exact", "bound" (not what sys.getsizeof
 * says), "partly" (something was not captured) or "refused". Claims are
 * "address+size", joined by commas, or "-". An object without a type that is
 * one has "-" for all that follows its address. SYSROOT "": no module files.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "image/base/guard.h"
#include "image/image.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/sizes/pysize.h"
#include "pyheap/types/pytypes.h"

static int fail(struct error *err)
{
	fprintf(stderr, "typedump: %s\n", err->message);
	error_free(err);
	return 1;
}

static void print_claim(void *context, struct pyh_claim claim)
{
	bool *any = context;

	printf("%s%" PRIx64 "+%" PRIu64, *any ? "," : "", claim.address,
	       claim.size);
	*any = true;
}

static void dump(const struct pyh_runtime *runtime,
		 struct pyh_type_reader *types, struct memory_reader *bodies,
		 struct memory_reader *memory, uint64_t address)
{
	static const char *const words[] = { "exact", "partly", "refused" };
	const struct pyh_type *type = NULL;
	struct pyh_measure measure = { 0 };
	enum pyh_measured measured;
	const uint8_t *body = NULL;
	uint64_t of;
	size_t size = 0;
	bool any = false;

	printf("%" PRIx64 "\t", address);
	if (memory_try_u64(memory,
			   address + pyh_offset(runtime, PYH_OBJECT_OB_TYPE),
			   &of))
		type = pyh_type_find(types, of);
	if (!type) {
		printf("-\t-\t-\t-\t-\t-\n");
		return;
	}
	// As much of the body as there is, up to what the type asks for.
	for (size = (size_t)type->basicsize; size >= 16; size -= 8) {
		body = memory_view(bodies, address, size);
		if (body)
			break;
	}
	if (!body)
		size = 0;
	measured = pyh_measure(runtime, type, address, body, size, memory,
			       &measure);
	printf("%" PRIx64 "\t%s\t%" PRIu64 "\t%" PRIu64 "\t%s\t", of,
	       type->name, measure.size, measure.extent,
	       measured == PYH_MEASURED && !measure.exact ? "bound" :
							    words[measured]);
	if (measured != PYH_MEASURE_REFUSED)
		pyh_claims_each(runtime, type, address, body, size, memory,
				print_claim, &any);
	printf("%s\n", any ? "" : "-");
}

static struct error *run(const char *path, const char *sysroot)
{
	struct image_options options = { .sysroot = sysroot };
	static struct pyh_type_reader types_reader;
	struct memory_reader bodies, memory;
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
		err = memory_reader_init(&bodies, image->memory);
	if (!err)
		err = memory_reader_init(&memory, image->memory);
	if (err)
		return err;
	while (fgets(line, sizeof(line), stdin))
		dump(runtime, &types_reader, &bodies, &memory,
		     strtoull(line, NULL, 16));
	memory_reader_deinit(&memory);
	memory_reader_deinit(&bodies);
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
		fprintf(stderr, "usage: typedump CORE [SYSROOT] <ADDRESSES\n");
		return 2;
	}
	err = run(argv[1], argv[2]);
	return err ? fail(err) : 0;
}
