/*
 * Names of functions and classes as their language writes them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A symbol of C++ or Rust is the whole of a qualified name, with types, squeezed
 * into letters. libiberty knows both ways; symbols come from files and dumps that
 * may be damaged, so what it makes of one is bounded here.
 */
#ifndef IMAGE_DEMANGLE_H
#define IMAGE_DEMANGLE_H

#include <stddef.h>

enum { DEMANGLE_MAX = 512 };	/* bytes with the NUL; a longer name is cut */

/**
 * "at::native::add" for _ZN2at6native3addERKNS_6TensorES3_: without arguments
 * and Rust's hash, with "…" where it was cut. A version behind an @ is left out.
 *
 * @return text, which also has what is no such name
 */
const char *demangle(const char *symbol, char text[DEMANGLE_MAX]);

/** "net::Session" for N3net7SessionE: a type as RTTI and _ZTV name it. */
const char *demangle_type(const char *type, char text[DEMANGLE_MAX]);

#endif
