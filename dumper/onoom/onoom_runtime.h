/*
 * The C++ runtime whose place the preloaded library has taken.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_ONOOM_RUNTIME_H
#define DUMPER_ONOOM_RUNTIME_H

#include <stdint.h>

/** Does not return. */
typedef void throw_fn(void *thrown, void *type, void (*destroy)(void *));

/** Ours, in onoom_throw.c. */
__attribute__((noreturn, visibility("default")))
void __cxa_throw(void *thrown, void *type, void (*destroy)(void *));

/**
 * The function that a module would have called if ours were not there: the next
 * one in the global scope, where the libraries are that the program was linked
 * with; else that in the module's own scope, as of extensions of Python, which
 * are loaded with RTLD_LOCAL; else that of any C++ runtime. The last takes no
 * memory, and what was found once is remembered. NULL: there is none.
 *
 * @param caller  an address in the module
 */
throw_fn *onoom_runtime_find(uintptr_t caller);

#endif
