/*
 * Temporary files that nobody else can open.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_BASE_TEMPFILE_H
#define IMAGE_BASE_TEMPFILE_H

#include "image/base/error.h"

/** A new file in a folder, without a name. The caller closes *ret. */
struct error *tempfile_create(const char *folder, int *ret);

#endif
