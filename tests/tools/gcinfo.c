/*
 * What pyh_gc_read() finds in a core, as JSON for tests.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: gcinfo CORE [SYSROOT]
 *
 * An object for each interpreter in "interpreters"; what is unknown is absent.
 */
#include <stdio.h>

#include "image/base/json.h"
#include "image/image.h"
#include "pyheap/references/pygc.h"

static void put(struct json *json, const char *key, int64_t number)
{
	if (number != PYH_GC_UNKNOWN)
		json_i64(json, key, number);
}

static void put_generation(struct json *json,
			   const struct pyh_gc_generation *generation)
{
	json_object(json, NULL);
	put(json, "objects", generation->objects);
	put(json, "threshold", generation->threshold);
	put(json, "count", generation->count);
	put(json, "collections", generation->collections);
	put(json, "collected", generation->collected);
	put(json, "uncollectable", generation->uncollectable);
	put(json, "candidates", generation->candidates);
	if (generation->duration >= 0)
		json_double(json, "duration", generation->duration);
	json_end(json);
}

static void put_gc(struct json *json, const struct pyh_gc *gc)
{
	static const char *const kinds[] = {
		[PYH_GC_GENERATIONAL] = "generational",
		[PYH_GC_INCREMENTAL] = "incremental",
		[PYH_GC_FREE_THREADED] = "free-threaded",
	};

	json_object(json, NULL);
	json_string(json, "kind", kinds[gc->kind]);
	put(json, "enabled", gc->enabled);
	put(json, "debug", gc->debug);
	json_bool(json, "collecting", gc->collecting);
	put(json, "frozen", gc->frozen);
	put(json, "garbage", gc->garbage);
	json_address(json, "garbage_list", gc->garbage_list);
	put(json, "callbacks", gc->callbacks);
	put(json, "long_lived_total", gc->long_lived_total);
	put(json, "long_lived_pending", gc->long_lived_pending);
	put(json, "heap_size", gc->heap_size);
	json_array(json, "generations");
	for (unsigned int i = 0; i < PYH_GC_GENERATIONS_MAX; i++)
		put_generation(json, &gc->generations[i]);
	json_end(json);
	json_end(json);
}

static void put_findings(struct json *json, const struct findings *findings)
{
	json_array(json, "findings");
	for (size_t i = 0; i < findings_kept(findings); i++)
		json_string(json, NULL, findings_get(findings, i)->code);
	json_end(json);
}

static struct error *run(const char *path, const char *sysroot)
{
	struct image_options options = { .sysroot = sysroot };
	struct memory_reader memory;
	struct pyh_runtime *runtime;
	struct image *image;
	struct json json;
	struct error *err = image_open(path, &options, &image);

	if (!err)
		err = pyh_runtime_open(image, &runtime);
	if (!err)
		err = memory_reader_init(&memory, image->memory);
	if (err)
		return err;
	json_begin(&json, stdout, true);
	json_object(&json, NULL);
	json_array(&json, "interpreters");
	for (size_t i = 0; i < runtime->num_interpreters; i++) {
		struct pyh_gc gc;

		pyh_gc_read(runtime, &memory, i, true, &gc);
		put_gc(&json, &gc);
	}
	json_end(&json);
	put_findings(&json, image->findings);
	json_finish(&json);
	memory_reader_deinit(&memory);
	pyh_runtime_close(runtime);
	image_close(image);
	return NULL;
}

int main(int argc, char **argv)
{
	struct error *err;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: gcinfo CORE [SYSROOT]\n");
		return 2;
	}
	err = run(argv[1], argv[2]);
	if (err) {
		fprintf(stderr, "gcinfo: %s\n", err->message);
		error_free(err);
		return 1;
	}
	return 0;
}
