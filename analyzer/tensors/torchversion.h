/*
 * Which release of PyTorch a process has: torch.__version__.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It is an object of a class of its own, a kind of str. Source: torch/
 * torch_version.py, of 1.10 and later.
 */
#ifndef ANALYZER_TORCHVERSION_H
#define ANALYZER_TORCHVERSION_H

#include <stdbool.h>

#include "image/base/error.h"

enum { TORCH_VERSION_MAX = 64 };

struct opened;

/**
 * "2.6.0+cu124"; "" where there is none: no PyTorch, or it was not captured; or
 * where there are several that differ, which says that there are two copies of
 * PyTorch, or something that compares versions.
 * Takes a look at all objects.
 */
struct error *torch_version(struct opened *opened, char text[TORCH_VERSION_MAX]);

enum { TORCH_FOLDER_MAX = 4096 };

struct image;

/** "/…/torch/", where PyTorch's own files are; "" where it has none. */
void torch_folder(const struct image *image, char text[TORCH_FOLDER_MAX]);

/** Is a source file one of those? A place there says nothing of the program. */
bool torch_has_file(const char folder[TORCH_FOLDER_MAX], const char *file);

#endif
