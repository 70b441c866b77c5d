/*
 * What pyheap says objects refer to, for tests that compare it with what
 * Python says.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: refdump CORE [SYSROOT]
 *
 * Prints for every object of the census a line "object ADDRESS TYPE", then for
 * every reference "KIND ADDRESS KEY INDEX HELD NAME": addresses in hexadecimal
 * without 0x, HELD "held" or "borrowed", NAME "-" for none.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "image/base/guard.h"
#include "image/image.h"
#include "pyheap/pycensus.h"
#include "pyheap/pyrefs.h"
#include "pyheap/pyruntime.h"
#include "pyheap/pytypes.h"

struct dump {
	struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
};

static bool print_ref(void *context, const struct pyh_ref *ref)
{
	static const char *const kinds[] = {
		[PYH_REF_TYPE] = "type", [PYH_REF_FIELD] = "field",
		[PYH_REF_DICT] = "dict", [PYH_REF_ATTRIBUTE] = "attribute",
		[PYH_REF_ITEM] = "item", [PYH_REF_KEY] = "key",
		[PYH_REF_VALUE] = "value", [PYH_REF_LOCAL] = "local",
		[PYH_REF_GUESS] = "guess",
	};

	(void)context;
	printf("%s %" PRIx64 " %" PRIx64 " %" PRIu64 " %s %s\n",
	       kinds[ref->kind], ref->address, ref->key, ref->index,
	       ref->borrowed ? "borrowed" : "held",
	       ref->name ? ref->name : "-");
	return true;
}

static void visit(void *context, const struct pyh_visit *visit)
{
	struct dump *dump = context;
	struct pyh_referrer referrer = pyh_referrer(dump->runtime,
						    dump->shapes, visit);

	printf("object %" PRIx64 " %" PRIx64 "\n", visit->object.address,
	       visit->object.type->address);
	pyh_refs_each(&referrer, print_ref, NULL);
}

static struct error *run(const char *path, const char *sysroot)
{
	struct pyh_census_options options = { .workers = 1 };
	struct dump dump = { 0 };
	struct pyh_types *types = NULL;
	struct pyh_census *census = NULL;
	struct image *image = NULL;
	struct error *err;

	err = image_open(path, &(struct image_options){ .sysroot = sysroot },
			 &image);
	if (!err)
		err = pyh_runtime_open(image, &dump.runtime);
	if (!err)
		err = pyh_types_create(dump.runtime, &types);
	if (!err)
		err = pyh_census_take(dump.runtime, types, &options, &census);
	if (!err)
		err = pyh_shapes_create(dump.runtime, types, &dump.shapes);
	if (!err)
		err = pyh_census_visit(census, visit, &dump);
	pyh_shapes_destroy(dump.shapes);
	pyh_census_destroy(census);
	pyh_types_destroy(types);
	pyh_runtime_close(dump.runtime);
	image_close(image);
	return err;
}

int main(int argc, char **argv)
{
	struct error *err;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: refdump CORE [SYSROOT]\n");
		return 2;
	}
	err = run(argv[1], argc == 3 ? argv[2] : NULL);
	if (err) {
		fprintf(stderr, "refdump: %s\n", err->message);
		error_free(err);
		return 1;
	}
	return 0;
}
