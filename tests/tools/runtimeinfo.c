/*
 * What pyh_runtime_open() finds in a core, as key=value lines for tests.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: runtimeinfo CORE [SYSROOT]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "image/base/escape.h"
#include "image/image.h"
#include "pyheap/runtime/pyruntime.h"

static void text(const char *key, const char *value)
{
	printf("%s=", key);
	escape_puts(stdout, ESCAPE_TEXT, value);
	putchar('\n');
}

static void number(const char *key, uint64_t value)
{
	printf("%s=%" PRIu64 "\n", key, value);
}

static void address(const char *key, uint64_t value)
{
	printf("%s=0x%" PRIx64 "\n", key, value);
}

/** Objects in a GC list, by following the next pointers; at most 100 million. */
static uint64_t list_length(struct memory_reader *reader, uint64_t head)
{
	uint64_t at = head, count = 0;

	while (count < 100000000) {
		if (!memory_try_u64(reader, at, &at))
			return UINT64_MAX;
		at &= ~UINT64_C(3);
		if (at == head)
			break;
		count++;
	}
	return count;
}

static void print_interpreter(const struct pyh_runtime *runtime,
			      struct memory_reader *reader, size_t i)
{
	const struct pyh_interpreter *it = &runtime->interpreters[i];
	uint64_t tracked = 0, tid;

	printf("interpreter=%zu id=%" PRId64 " address=0x%" PRIx64
	       " gc=0x%" PRIx64 " collecting=%d obmalloc=0x%" PRIx64
	       " sysdict=0x%" PRIx64 " builtins=0x%" PRIx64
	       " modules=0x%" PRIx64 " threads=%zu", i, it->id, it->address,
	       it->gc, it->collecting, it->obmalloc, it->sysdict, it->builtins,
	       it->modules, it->num_threads);
	for (unsigned int j = 0; it->gc_heads[0] && j < PYH_GC_LISTS; j++) {
		uint64_t length = list_length(reader, it->gc_heads[j]);

		printf(" list%u=%" PRId64, j, (int64_t)length);
		tracked += length;
	}
	printf(" tracked=%" PRIu64, tracked);
	if (it->first_thread &&
	    pyh_field(runtime, reader, it->first_thread,
		      PYH_TSTATE_NATIVE_THREAD_ID, &tid))
		printf(" newest_tid=%" PRIu64, tid);
	putchar('\n');
}

static void print_runtime(const struct pyh_runtime *runtime,
			  struct memory_reader *reader)
{
	static const char *const allocators[] = { "pymalloc", "malloc",
						  "mimalloc" };

	address("runtime", runtime->address);
	printf("version=0x%08" PRIx32 "\n", runtime->version);
	number("version_exact", runtime->version_exact);
	number("minor", runtime->minor);
	number("free_threaded", runtime->free_threaded);
	number("debug_build", runtime->debug_build);
	number("trace_refs", runtime->trace_refs);
	text("allocator", allocators[runtime->allocator]);
	number("debug_hooks", runtime->debug_hooks);
	number("finalizing", runtime->finalizing);
	address("type", runtime->types.type);
	address("object", runtime->types.object);
	address("dict", runtime->types.dict);
	address("str", runtime->types.str);
	address("tuple", runtime->types.tuple);
	address("module", runtime->types.module);
	number("candidates", runtime->num_candidates);
	text("build", runtime->build);
	text("found_by", runtime->found_by);
	text("layout_by", runtime->layout_by);
	number("moved", runtime->num_moved);
	printf("fields=");
	for (unsigned int i = 0; i < PYH_NUM_FIELDS; i++)
		if (pyh_has(runtime, i) != (runtime->layout->at[i].size != 0))
			printf("-%s.%s ", pyh_field_struct(i),
			       pyh_field_member(i));
	putchar('\n');
	number("interpreters", runtime->num_interpreters);
	for (size_t i = 0; i < runtime->num_interpreters; i++)
		print_interpreter(runtime, reader, i);
}

static int fail(struct error *err)
{
	printf("error_kind=%d\n", err->kind);
	text("error", err->message);
	error_free(err);
	return 1;
}

int main(int argc, char **argv)
{
	struct image_options options = { .sysroot = argc > 2 ? argv[2] : NULL };
	struct memory_reader reader = { 0 };
	struct pyh_runtime *runtime = NULL;
	struct image *image = NULL;
	struct error *err;
	int status = 0;

	if (argc < 2)
		return 2;
	err = image_open(argv[1], &options, &image);
	if (err)
		return fail(err);
	err = memory_reader_init(&reader, image->memory);
	if (!err)
		err = pyh_runtime_open(image, &runtime);
	if (err)
		status = fail(err);
	else
		print_runtime(runtime, &reader);
	for (size_t i = 0; i < findings_kept(image->findings); i++)
		text("finding", findings_get(image->findings, i)->text);
	pyh_runtime_close(runtime);
	memory_reader_deinit(&reader);
	image_close(image);
	return status;
}
