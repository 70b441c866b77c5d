/*
 * Debug files from the network, by libdebuginfod, which is loaded on demand and
 * asks the servers in DEBUGINFOD_URLS. Nobody calls this unless a user has
 * permitted it.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_DEBUGINFOD_H
#define IMAGE_DEBUGINFOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/mapping.h"

/**
 * The debug file of a build id, mapped. False where there is no library, no
 * server, or none that has it.
 */
bool debuginfod_map(const uint8_t *build_id, size_t size, struct mapping *ret);

#endif
