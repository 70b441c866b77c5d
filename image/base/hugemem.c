/*
 * Fresh memory in huge pages; see hugemem.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/hugemem.h"

#include <stdint.h>
#include <sys/mman.h>

static size_t whole_pages(size_t size)
{
	return (size + HUGEMEM_PAGE - 1) & ~(size_t)(HUGEMEM_PAGE - 1);
}

void *hugemem_alloc(size_t size)
{
	size_t wanted = whole_pages(size), before;
	uint8_t *memory;

	if (wanted < size || wanted > SIZE_MAX - HUGEMEM_PAGE)
		return NULL;
	memory = mmap(NULL, wanted + HUGEMEM_PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	// What sticks out of the aligned part is given back at once.
	before = -(uintptr_t)memory & (HUGEMEM_PAGE - 1);
	if (before > 0)
		(void)munmap(memory, before);
	if (before < HUGEMEM_PAGE)
		(void)munmap(memory + before + wanted, HUGEMEM_PAGE - before);
	// Where they are forbidden, small pages do as well.
	(void)madvise(memory + before, wanted, MADV_HUGEPAGE);
	return memory + before;
}

void hugemem_free(void *memory, size_t size)
{
	if (memory)
		(void)munmap(memory, whole_pages(size));
}
