/*
 * A fast hash of bytes, to tell damage and change: at the speed of memory, and
 * of no use against someone who looks for two inputs of one hash.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_BASE_MIXHASH_H
#define IMAGE_BASE_MIXHASH_H

#include <stddef.h>
#include <stdint.h>

/** Of size bytes; what is behind a NULL of size 0 is not looked at. */
uint64_t mixhash(const void *bytes, size_t size, uint64_t seed);

#endif
