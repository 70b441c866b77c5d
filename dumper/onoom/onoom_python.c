/*
 * MemoryErrors of CPython, before they are raised.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two hooks, both set before the program begins and so before Python does:
 *
 *  - The allocator of the raw domain (PyMem_SetAllocator(), the C API's means
 *    to that end): what pymalloc does not serve, and what it wants for itself,
 *    is asked of it. When it has nothing, Python raises MemoryError, but not
 *    always by making one: it has some ready (3.12 and later), or makes it
 *    only when a handler is reached (3.11 and before), when what was on the
 *    stack of values is gone. So this is the moment. Wrapped are the functions
 *    that may fail; freeing goes where it went.
 *  - tp_new of MemoryError, for those that are raised by name, as numpy does,
 *    whose class inherits it. The field is the one between those that have
 *    PyType_GenericAlloc and PyObject_GC_Del in PyStaticMethod_Type.
 *
 * PYTHONMALLOC and -X dev have Python set allocators of its own when it begins,
 * in place of the hooked one. So tp_new of staticmethod, which the frozen
 * importlib calls before any code of the program's runs, looks once whether that
 * has happened, hooks what is there then, and takes itself out.
 *
 * A Python that is not the program itself nor one of the libraries that it was
 * linked with is not there yet, and is not hooked. It could not be later: a
 * class that has inherited tp_new must have the same as MemoryError has.
 */
#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dumper/onoom/onoom_tell.h"

enum {
	DOMAIN_RAW = 0,		/* PYMEM_DOMAIN_RAW */
	DOMAIN_MEM, DOMAIN_OBJ, NUM_DOMAINS,
	/* Fewer bytes than any release's type objects have (3.8: 408). */
	TYPE_SIZE = 384,
	TYPE_WORDS = TYPE_SIZE / sizeof(uintptr_t),
	NAME_AT = 3,		/* tp_name, of builds with the GIL */
};

/* PyMemAllocatorEx of Include/cpython/pymem.h, 3.5 and later. */
struct allocator {
	void *context;
	void *(*malloc)(void *context, size_t size);
	void *(*calloc)(void *context, size_t count, size_t size);
	void *(*realloc)(void *context, void *block, size_t size);
	void (*free)(void *context, void *block);
};

typedef void *new_fn(void *type, void *args, void *keywords);

static struct allocator python;		/* its own functions */
static new_fn *python_new;
static struct allocator later[NUM_DOMAINS];	/* what replaced them */
static void (*get_allocator)(int, struct allocator *);
static void (*set_allocator)(int, struct allocator *);
static bool is_malloc_debug;
static new_fn *static_new;
static uintptr_t *static_new_field;
static int (*is_initialized)(void);
static size_t name_at;		/* index of tp_name in the words of a type */

/* --- the hooks ------------------------------------------------------------------ */

static void refused(size_t size)
{
	if (is_initialized())
		onoom_tell(ONOOM_REFUSED, NULL, NULL, size);
}

static void *hooked_malloc(void *context, size_t size)
{
	void *block = python.malloc(context, size);

	if (__builtin_expect(!block, 0))
		refused(size);
	return block;
}

static void *hooked_calloc(void *context, size_t count, size_t size)
{
	void *block = python.calloc(context, count, size);

	if (__builtin_expect(!block, 0))
		refused(count * size);
	return block;
}

static void *hooked_realloc(void *context, void *old, size_t size)
{
	void *block = python.realloc(context, old, size);

	if (__builtin_expect(!block, 0))
		refused(size);
	return block;
}

/* Of those that came later: the context says which, and is not theirs. */

static void *later_malloc(void *context, size_t size)
{
	const struct allocator *own = context;
	void *block = own->malloc(own->context, size);

	if (__builtin_expect(!block, 0))
		refused(size);
	return block;
}

static void *later_calloc(void *context, size_t count, size_t size)
{
	const struct allocator *own = context;
	void *block = own->calloc(own->context, count, size);

	if (__builtin_expect(!block, 0))
		refused(count * size);
	return block;
}

static void *later_realloc(void *context, void *old, size_t size)
{
	const struct allocator *own = context;
	void *block = own->realloc(own->context, old, size);

	if (__builtin_expect(!block, 0))
		refused(size);
	return block;
}

static void later_free(void *context, void *block)
{
	const struct allocator *own = context;

	own->free(own->context, block);
}

static void *hooked_new(void *type, void *args, void *keywords)
{
	if (is_initialized())
		onoom_tell(ONOOM_RAISED, ((char **)type)[name_at], NULL, 0);
	return python_new(type, args, keywords);
}

/* --- setting them ----------------------------------------------------------------- */

static void hook_later(int domain)
{
	struct allocator hooked = {
		.context = &later[domain],
		.malloc = later_malloc,
		.calloc = later_calloc,
		.realloc = later_realloc,
		.free = later_free,
	};

	get_allocator(domain, &later[domain]);
	set_allocator(domain, &hooked);
}

/**
 * Where the raw domain is no longer hooked, what replaced it; the others too, if
 * they do not ask the raw one: pymalloc does, also under its debug hooks.
 */
static void hook_again(void)
{
	struct allocator now;

	get_allocator(DOMAIN_RAW, &now);
	if (now.malloc == hooked_malloc)
		return;
	for (int domain = DOMAIN_MEM; domain < NUM_DOMAINS; domain++) {
		get_allocator(domain, &now);
		if (now.malloc == python.malloc || is_malloc_debug)
			hook_later(domain);
	}
	hook_later(DOMAIN_RAW);
}

static void *hooked_static_new(void *type, void *args, void *keywords)
{
	*static_new_field = (uintptr_t)static_new;
	hook_again();
	return static_new(type, args, keywords);
}

static void hook_allocator(void)
{
	struct allocator hooked;

	get_allocator = (void (*)(int, struct allocator *))
		dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
	set_allocator = (void (*)(int, struct allocator *))
		dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
	if (!get_allocator || !set_allocator)
		return;
	get_allocator(DOMAIN_RAW, &python);
	hooked = (struct allocator){
		.context = python.context,
		.malloc = hooked_malloc,
		.calloc = hooked_calloc,
		.realloc = hooked_realloc,
		.free = python.free,
	};
	set_allocator(DOMAIN_RAW, &hooked);
}

static int is_code(struct dl_phdr_info *module, size_t size, void *context)
{
	uintptr_t address = *(const uintptr_t *)context;

	(void)size;
	for (size_t i = 0; i < module->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &module->dlpi_phdr[i];
		uintptr_t start = module->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_LOAD && (header->p_flags & PF_X) &&
		    address >= start && address - start < header->p_memsz)
			return 1;
	}
	return 0;
}

/** The index of tp_new in the words of any type; 0: not to be found. */
static size_t find_field(void)
{
	const uintptr_t *type = dlsym(RTLD_DEFAULT, "PyStaticMethod_Type");
	uintptr_t alloc = (uintptr_t)dlsym(RTLD_DEFAULT, "PyType_GenericAlloc");
	uintptr_t free = (uintptr_t)dlsym(RTLD_DEFAULT, "PyObject_GC_Del");

	// PyType_GenericNew is between them, but optimisers make copies of it.
	for (size_t i = 1; type && alloc && free && i + 1 < TYPE_WORDS; i++)
		if (type[i - 1] == alloc && type[i + 1] == free)
			return dl_iterate_phdr(is_code, (void *)&type[i]) ? i :
									    0;
	return 0;
}

/** Where the name of that type is, whatever stands before it. */
static bool find_name(const uintptr_t *memory_error)
{
	// The name follows the header of objects of variable size, which has
	// three words or, in free-threaded builds, five.
	for (name_at = NAME_AT; name_at <= NAME_AT + 2; name_at += 2) {
		uintptr_t name = memory_error[name_at];

		// Not a number: sizes are far below any address.
		if (name > UINT16_MAX &&
		    strcmp((const char *)name, "MemoryError") == 0)
			return true;
	}
	return false;
}

static void hook_static_new(size_t at)
{
	uintptr_t *type = dlsym(RTLD_DEFAULT, "PyStaticMethod_Type");
	const char *wish = getenv("PYTHONMALLOC");

	if (!get_allocator || !set_allocator || at == 0)
		return;
	is_malloc_debug = wish && strcmp(wish, "malloc_debug") == 0;
	static_new_field = &type[at];
	static_new = (new_fn *)*static_new_field;
	*static_new_field = (uintptr_t)hooked_static_new;
}

static void hook_new(size_t at)
{
	uintptr_t **memory_error = dlsym(RTLD_DEFAULT, "PyExc_MemoryError");

	if (!memory_error || !*memory_error || at == 0 ||
	    !find_name(*memory_error) ||
	    !dl_iterate_phdr(is_code, &(*memory_error)[at]))
		return;
	python_new = (new_fn *)(*memory_error)[at];
	(*memory_error)[at] = (uintptr_t)hooked_new;
}

__attribute__((constructor))
static void hook_python(void)
{
	size_t at;

	is_initialized = (int (*)(void))dlsym(RTLD_DEFAULT, "Py_IsInitialized");
	if (!onoom_is_wanted() || !is_initialized || is_initialized())
		return;
	at = find_field();
	hook_allocator();
	hook_new(at);
	hook_static_new(at);
}
