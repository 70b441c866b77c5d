/*
 * Fresh memory in huge pages, where the kernel has them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A page fault for every 4 KiB costs several times what clearing them costs,
 * and giving so many pages back costs again: for memory of which all will be
 * written soon.
 */
#ifndef IMAGE_BASE_HUGEMEM_H
#define IMAGE_BASE_HUGEMEM_H

#include <stddef.h>

enum { HUGEMEM_PAGE = 2 << 20 };	/* bytes; on x86-64 and aarch64 */

/** Zeroed memory, aligned to HUGEMEM_PAGE; NULL if there is none. */
void *hugemem_alloc(size_t size);

/** size as for hugemem_alloc(); memory may be NULL. */
void hugemem_free(void *memory, size_t size);

#endif
