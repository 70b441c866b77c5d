/*
 * Threads in words; see threadwords.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/threads/threadwords.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "image/demangle.h"

enum { NATIVE_OF_ENDED = 3 };	/* functions above Python's that are told */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

const char *thread_words_module(const struct stack_native *native)
{
	return native->module ? base_name(native->module->path) : NULL;
}

const char *thread_words_function(const struct stack_native *native,
				  char text[THREAD_TEXT_MAX])
{
	if (!native->function)
		return NULL;
	return demangle(native->function, text);
}

static void python_where(struct thread_names *names,
			 const struct pyh_frame *frame, bool places,
			 char text[THREAD_TEXT_MAX])
{
	char file[THREAD_TEXT_MAX];
	size_t used;

	thread_names_code(names, frame, text);
	used = strlen(text);
	if (places && frame->line &&
	    thread_names_str(names, frame->filename, file))
		(void)snprintf(text + used, THREAD_TEXT_MAX - used,
			       " %.200s:%" PRIu32, base_name(file),
			       frame->line);
}

static bool begins(const char *function, const char *const *beginnings,
		   size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(function, beginnings[i],
			    strlen(beginnings[i])) == 0)
			return true;
	return false;
}

/** How a process ends itself says nothing of why: abort() is enough. */
static bool is_plumbing(const char *function)
{
	static const char *const beginnings[] = {
		"__pthread_kill", "pthread_kill", "raise", "gsignal",
		"__GI_raise", "_ZN9__gnu_cxx", "_ZN10__cxxabiv1", "_ZSt9terminate",
		"__cxa_throw", "__cxa_rethrow", "_Znwm", "_Znam",
		"__libc_message", "__libc_fatal", "malloc_printerr",
		"__fortify_fail", "__assert_fail", "_int_free",
		"fatal_error",
	};

	return begins(function, beginnings,
		      sizeof(beginnings) / sizeof(beginnings[0]));
}

/** How the interpreter calls what is written in C. */
static bool is_calling(const char *function)
{
	static const char *const beginnings[] = {
		"cfunction_", "method_vectorcall", "_PyObject_Vectorcall",
		"PyObject_Vectorcall", "_PyObject_Call", "PyObject_Call",
		"_PyObject_MakeTpCall", "_PyVectorcall", "_PyCFunction",
		"_PyMethodDef", "_PyEval", "PyEval", "call_function",
	};

	return begins(function, beginnings,
		      sizeof(beginnings) / sizeof(beginnings[0]));
}

/** What was told of the native frames of one stack. */
struct native_told {
	size_t count;
	bool library;	/* one that is neither the interpreter's nor abort() */
};

/**
 * False where a native frame says too little: of a thread that a signal ended
 * more than one are of interest, and those of the interpreter itself as long as
 * nobody else's were further in.
 */
static bool native_where(const struct thread_stack *stack,
			 const struct stack_native *native,
			 struct native_told *told, bool places,
			 char text[THREAD_TEXT_MAX])
{
	const char *function = thread_words_function(native, text);
	const char *module = thread_words_module(native);
	bool ended = stack->ended_by > 0;
	size_t used;

	if (stack->num_python > 0 &&
	    told->count >= (ended ? NATIVE_OF_ENDED : 1))
		return false;
	if (stack->num_python > 0 && native->is_runtime &&
	    (!ended || told->library || !function ||
	     is_calling(native->function)))
		return false;
	if (ended &&
	    (function ? is_plumbing(native->function) : told->count > 0))
		return false;
	if (!function && !module)
		return false;
	told->library |= !native->is_runtime &&
			 !(function && strcmp(native->function, "abort") == 0);
	if (!function)
		(void)snprintf(text, THREAD_TEXT_MAX, "%s", module);
	used = strlen(text);
	if (function && module && ended && places)
		(void)snprintf(text + used, THREAD_TEXT_MAX - used, " in %s",
			       module);
	told->count++;
	return true;
}

void thread_words_each(struct thread_names *names,
		       const struct thread_stack *stack, bool places,
		       thread_words_fn *fn, void *context)
{
	char text[THREAD_TEXT_MAX];
	struct native_told told = { .count = 0 };
	bool has_python = false;

	for (size_t i = 0; i < stack->num_merged; i++) {
		const struct stack_entry *entry = &stack->merged[i];

		// What a handler does says nothing of where it was called.
		if (!entry->is_python &&
		    (has_python || (stack->in_handler &&
				    entry->index < stack->handled.frame)))
			continue;
		has_python |= entry->is_python;
		if (entry->is_python)
			python_where(names, &stack->python[entry->index],
				     places, text);
		else if (!native_where(stack, &stack->native[entry->index],
				       &told, places, text))
			continue;
		if (!fn(context, text))
			return;
	}
}

struct joined {
	char *text;
	size_t used, count;
};

static bool join(void *context, const char *text)
{
	enum { ALL = 4 };
	struct joined *joined = context;

	joined->used += (size_t)snprintf(joined->text + joined->used,
					 THREAD_TEXT_MAX - joined->used, "%s%s",
					 joined->count ? " < " : "", text);
	return ++joined->count < ALL && joined->used < THREAD_TEXT_MAX;
}

void thread_words_where(struct thread_names *names,
			const struct thread_stack *stack, bool places,
			char text[THREAD_TEXT_MAX])
{
	struct joined joined = { .text = text };

	text[0] = '\0';
	thread_words_each(names, stack, places, join, &joined);
}

void thread_words_exception(struct thread_names *names,
			    const struct pyh_exception *exception,
			    char text[THREAD_TEXT_MAX])
{
	char place[THREAD_TEXT_MAX] = "";

	if (exception->has_place)
		python_where(names, &exception->place, /* places= */ true,
			     place);
	(void)snprintf(text, THREAD_TEXT_MAX, "%.200s%s%.280s",
		       thread_names_type(names, exception->type),
		       place[0] ? ", raised in " : "", place);
}

const char *thread_words_name(struct thread_names *names,
			      const struct thread_stack *stack,
			      char text[THREAD_TEXT_MAX])
{
	if (stack->ident != 0 && thread_names_thread(names, stack->ident, text))
		return text;
	return stack->core && stack->core->name[0] ? stack->core->name : NULL;
}

bool thread_words_is_crash(int number)
{
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE,
				       SIGTRAP, SIGSYS };

	for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
		if (number == crashes[i])
			return true;
	return false;
}

const char *thread_words_signal(int number, char text[32])
{
	const char *name = number > 0 ? sigabbrev_np(number) : NULL;

	if (number <= 0)
		return NULL;
	if (name)
		(void)snprintf(text, 32, "SIG%s", name);
	else
		(void)snprintf(text, 32, "signal %d", number);
	return text;
}
