/*
 * C++ exceptions that say that memory has run out, at the throw.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A preloaded library comes before the C++ runtime in the search for symbols,
 * so that __cxa_throw() of all modules but those that have a C++ runtime of
 * their own in them (-static-libstdc++) is this one: libstdc++'s own operator
 * new among them. What is thrown is told by RTTI (Itanium C++ ABI, 2.9.4
 * "RTTI Layout"), without a C++ compiler: a type_info is a pointer to the
 * functions of its class and one to its name; of a class with a single base
 * the base follows, of any other class flags, a number, and that many bases.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dumper/onoom/onoom_runtime.h"
#include "dumper/onoom/onoom_tell.h"

enum {
	DEPTH_MAX = 16,		/* of derived classes that are looked at */
	BASES_MAX = 16,
	BASE_IS_PUBLIC = 2,	/* flags of a base of several */
	BASE_IS_VIRTUAL = 1,
	BASE_OFFSET_SHIFT = 8,
};

struct type_info {
	void *const *functions;	/* one word before: their class's type_info */
	const char *name;	/* mangled; a '*' before: of this module only */
};

struct single_base {
	struct type_info info;
	const struct type_info *base;
};

struct several_bases {
	struct type_info info;
	unsigned int flags, count;
	struct {
		const struct type_info *base;
		long offset_flags;
	} bases[];
};

/* --- what is thrown ------------------------------------------------------------ */

/* c10::OutOfMemoryError, PyTorch 1.13 and later; c10::CUDAOutOfMemoryError,
 * 1.11 and 1.12; std::bad_alloc, and what derives from them. */
static const char *const out_of_memory[] = {
	"N3c1016OutOfMemoryErrorE", "N3c1020CUDAOutOfMemoryErrorE",
	"St9bad_alloc",
};
/* Sizes below 0 and beyond all bounds: no memory is missing. */
static const char nonsense[] = "St20bad_array_new_length";

/* PyTorch's, of which the message tells more: first of all a std::string,
 * which begins with a pointer to its characters in both of its layouts. */
static const char torch_error[] = "N3c105ErrorE";
/* What allocates tensors of the CPU has no class of its own for it. */
static const char cpu_allocator[] = "DefaultCPUAllocator: ";

static const char *name_of(const struct type_info *type)
{
	return type->name + (type->name[0] == '*');
}

static bool is_named(const struct type_info *type, const char *name)
{
	return strcmp(name_of(type), name) == 0;
}

/** "si" and "vmi" are how the ABI calls the two kinds of derived classes. */
static bool is_kind(const struct type_info *type, const char *kind)
{
	const struct type_info *class = type->functions[-1];

	return is_named(class, kind);
}

/** Whether it is that class or has it as a base; and where in it. */
static bool derives_from(const struct type_info *type, const char *name,
			 int depth, long *offset)
{
	if (is_named(type, name))
		return true;
	if (depth == DEPTH_MAX)
		return false;
	if (is_kind(type, "N10__cxxabiv120__si_class_type_infoE"))
		return derives_from(((const struct single_base *)type)->base,
				    name, depth + 1, offset);
	if (is_kind(type, "N10__cxxabiv121__vmi_class_type_infoE")) {
		const struct several_bases *all = (const void *)type;

		for (unsigned int i = 0; i < all->count && i < BASES_MAX; i++) {
			long flags = all->bases[i].offset_flags;
			long at = *offset + (flags >> BASE_OFFSET_SHIFT);

			// A handler by that class would not catch it, either.
			if (!(flags & BASE_IS_PUBLIC) ||
			    (flags & BASE_IS_VIRTUAL) ||
			    !derives_from(all->bases[i].base, name, depth + 1,
					  &at))
				continue;
			*offset = at;
			return true;
		}
	}
	return false;
}

static bool is_out_of_memory(const struct type_info *type)
{
	for (size_t i = 0; i < sizeof(out_of_memory) / sizeof(*out_of_memory);
	     i++) {
		long unused = 0;

		if (derives_from(type, out_of_memory[i], 0, &unused))
			return !is_named(type, nonsense);
	}
	return false;
}

/** The kernel looks for itself whether there is memory. */
static size_t copy_if_there(const void *from, char *to, size_t size)
{
	int ends[2];
	long copied, got = 0;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
		return 0;
	copied = syscall(SYS_write, ends[1], from, size);
	if (copied > 0)
		got = syscall(SYS_read, ends[0], to, (size_t)copied);
	(void)syscall(SYS_close, ends[0]);
	(void)syscall(SYS_close, ends[1]);
	return got > 0 ? (size_t)got : 0;
}

/** What a c10::Error says; "" where it is not as we know it. */
static void read_message(const void *thrown, long offset, char *text,
			 size_t size)
{
	const char *characters = NULL;
	size_t got, at = 0;

	text[0] = '\0';
	if (copy_if_there((const char *)thrown + offset + sizeof(void *),
			  (char *)&characters, sizeof(characters)) !=
	    sizeof(characters))
		return;
	got = copy_if_there(characters, text, size - 1);
	while (at < got && text[at] >= ' ' && text[at] <= '~')
		at++;
	text[at] = '\0';
}

static void see(const void *thrown, const struct type_info *type)
{
	char text[ONOOM_TEXT_MAX + sizeof(cpu_allocator)] = "";
	const char *shown = text;
	long offset = 0;

	if (!onoom_is_wanted())
		return;
	if (is_named(type, torch_error)) {
		read_message(thrown, 0, text, sizeof(text));
		shown = strstr(text, cpu_allocator);
		if (!shown)
			return;
	} else if (!is_out_of_memory(type)) {
		return;
	} else if (derives_from(type, torch_error, 0, &offset)) {
		read_message(thrown, offset, text, sizeof(text));
	}
	onoom_tell(ONOOM_THROWN, name_of(type), shown, 0);
}

/* --- the hook ----------------------------------------------------------------------- */

void __cxa_throw(void *thrown, void *type, void (*destroy)(void *))
{
	throw_fn *function =
		onoom_runtime_find((uintptr_t)__builtin_return_address(0));

	see(thrown, type);
	if (function)
		function(thrown, type, destroy);
	// Nobody can throw what no runtime has made.
	abort();
}
