/*
 * Building a runtime; see tinyruntime.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/lib/tinyruntime.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>

#include "pyheap/runtime/pydebugoffsets.h"

static void must(struct error *err)
{
	if (!err)
		return;
	fprintf(stderr, "tinyruntime: %s\n", err->message);
	abort();
}

void tinyruntime_init(struct tinyruntime *tiny, unsigned int minor)
{
	*tiny = (struct tinyruntime){ 0 };
	tinyheap_init(&tiny->heap, minor);
}

static uint64_t build_int(struct tinyheap *heap, uint32_t value)
{
	uint64_t object = tinyheap_object(heap, heap->integer, 48);

	if (pyh_has(&heap->runtime, PYH_LONG_OB_DIGIT)) {
		tinyheap_set(heap, object, PYH_VAR_OB_SIZE, 1);
		tinyheap_set(heap, object, PYH_LONG_OB_DIGIT, value);
	} else {
		tinyheap_set(heap, object, PYH_LONG_LONG_VALUE_LV_TAG, 1 << 3);
		tinyheap_set(heap, object, PYH_LONG_LONG_VALUE_OB_DIGIT,
			     value);
	}
	return object;
}

static void build_namespaces(struct tinyruntime *tiny, uint32_t version)
{
	static const char *const module_names[] = { "sys", "builtins" };
	static const char *const sys_names[] = { "hexversion", "modules" };
	static const char *const builtin_names[] = { "__import__", "len" };
	struct tinyheap *heap = &tiny->heap;
	uint64_t type = tinyheap_type(heap, "module", 0, 56, 0, heap->object);
	uint64_t module = tinyheap_object(heap, type, 64);
	uint64_t values[2] = { module, module };

	tiny->modules = tinyheap_dict(heap, module_names, values, 2);
	tiny->builtins = tinyheap_dict(heap, builtin_names, values, 2);
	values[0] = build_int(heap, version);
	values[1] = tiny->modules;
	tiny->sysdict = tinyheap_dict(heap, sys_names, values, 2);
	tinyheap_set(heap, tiny->interpreter, PYH_INTERP_SYSDICT,
		     tiny->sysdict);
	tinyheap_set(heap, tiny->interpreter, PYH_INTERP_BUILTINS,
		     tiny->builtins);
	tinyheap_set(heap, tiny->interpreter,
		     pyh_has(&heap->runtime, PYH_INTERP_MODULES) ?
			     PYH_INTERP_MODULES : PYH_INTERP_IMPORTS_MODULES,
		     tiny->modules);
}

static void build_gc(struct tinyruntime *tiny)
{
	struct tinyheap *heap = &tiny->heap;
	const struct pyh_runtime *runtime = &heap->runtime;
	uint64_t generations;

	tiny->gc = pyh_has(runtime, PYH_INTERP_GC) ?
		   tiny->interpreter + pyh_offset(runtime, PYH_INTERP_GC) :
		   tiny->address + pyh_offset(runtime, PYH_RUNTIME_GC);
	generations = tiny->gc + pyh_offset(runtime, PYH_GC_GENERATIONS);
	for (unsigned int i = 0; i < PYH_GC_LISTS; i++) {
		uint64_t head = generations + i * 24;

		if (i == PYH_GC_LISTS - 1)
			head = tiny->gc + pyh_offset(runtime,
						PYH_GC_PERMANENT_GENERATION);
		tinyheap_put(heap, head, head, 8);
		tinyheap_put(heap, head + 8, head, 8);
	}
	if (pyh_has(runtime, PYH_GC_GENERATION0))
		tinyheap_set(heap, tiny->gc, PYH_GC_GENERATION0, generations);
}

static void build_threads(struct tinyruntime *tiny)
{
	struct tinyheap *heap = &tiny->heap;

	for (unsigned int i = 0; i < 2; i++) {
		tiny->threads[i] = tinyheap_take(
			heap, heap->runtime.size_of[PYH_STRUCT_TSTATE]);
		tinyheap_set(heap, tiny->threads[i], PYH_TSTATE_INTERP,
			     tiny->interpreter);
	}
	tinyheap_set(heap, tiny->threads[0], PYH_TSTATE_NEXT, tiny->threads[1]);
	tinyheap_set(heap, tiny->threads[1], PYH_TSTATE_PREV, tiny->threads[0]);
	tinyheap_set(heap, tiny->interpreter,
		     pyh_has(&heap->runtime, PYH_INTERP_THREADS_HEAD) ?
			     PYH_INTERP_THREADS_HEAD : PYH_INTERP_TSTATE_HEAD,
		     tiny->threads[0]);
}

void tinyruntime_build(struct tinyruntime *tiny, uint32_t version)
{
	enum { SPARE = 4096 };	/* for what is moved */
	struct tinyheap *heap = &tiny->heap;
	const struct pyh_runtime *runtime = &heap->runtime;
	uint32_t size = runtime->size_of[PYH_STRUCT_RUNTIME] + SPARE;
	uint32_t interpreter = runtime->size_of[PYH_STRUCT_INTERP] + SPARE;

	tiny->address = tinyheap_take(heap, size);
	if (pyh_has(runtime, PYH_RUNTIME_MAIN_INTERPRETER))
		tiny->interpreter = tiny->address +
			pyh_offset(runtime, PYH_RUNTIME_MAIN_INTERPRETER);
	else
		tiny->interpreter = tinyheap_take(heap, interpreter);
	if (runtime->minor >= 13) {
		tinyheap_put(heap, tiny->address, PYH_DEBUG_OFFSETS_COOKIE, 8);
		tinyheap_put(heap, tiny->address + 8, version, 8);
	}
	tinyheap_set(heap, tiny->address, PYH_RUNTIME_INITIALIZED, 1);
	tinyheap_set(heap, tiny->address, PYH_RUNTIME_INTERPRETERS_HEAD,
		     tiny->interpreter);
	tinyheap_set(heap, tiny->address, PYH_RUNTIME_INTERPRETERS_MAIN,
		     tiny->interpreter);
	build_threads(tiny);
	build_gc(tiny);
	build_namespaces(tiny, version);
}

void tinyruntime_open(struct tinyruntime *tiny)
{
	static const struct modules_options options = { .sysroot = "" };
	struct image *image = &tiny->heap.image;
	struct memory_range range = {
		.start = TINYHEAP_START,
		.end = (tiny->heap.next + 4095) & ~UINT64_C(4095),
		.state = MEMORY_CAPTURED, .source = MEMORY_FROM_FILE,
		.protection = PF_R | PF_W, .bytes = tiny->heap.bytes,
	};

	image->machine = EM_X86_64;
	image->page_size = 4096;
	must(findings_create(&image->findings));
	must(memory_create(NULL, &image->memory));
	must(memory_add(image->memory, &range));
	must(memory_seal(image->memory));
	must(modules_create(&tiny->notes, image->memory, &options,
			    image->findings, &image->modules));
}

void tinyruntime_deinit(struct tinyruntime *tiny)
{
	modules_destroy(tiny->heap.image.modules);
	memory_destroy(tiny->heap.image.memory);
	findings_destroy(tiny->heap.image.findings);
	free(tiny->heap.bytes);
}
