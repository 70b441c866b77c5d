/*
 * Temporary files that nobody else can open.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_BASE_TEMPFILE_H
#define IMAGE_BASE_TEMPFILE_H

#include "image/base/error.h"

/** The folder that was named, else $TMPDIR, else /var/tmp. named may be NULL. */
const char *tempfile_folder(const char *named);

/** A new file in a folder, without a name. The caller closes *ret. */
struct error *tempfile_create(const char *folder, int *ret);

#endif
