/*
 * Unit tests of image/base/hugemem.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/hugemem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/check.h"

/** Bytes of the address space that are mapped, by the kernel. */
static unsigned long mapped(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file || fscanf(file, "%lu", &pages) != 1)
		abort();
	(void)fclose(file);
	return pages * 4096;
}

static void test_size(size_t size, const char *name)
{
	unsigned long before = mapped();
	uint8_t *memory = hugemem_alloc(size);
	bool zeroed = true;

	CHECK(name, memory && (uintptr_t)memory % HUGEMEM_PAGE == 0);
	if (!memory)
		return;
	for (size_t i = 0; i < size; i++)
		zeroed &= memory[i] == 0;
	CHECK("… zeroed", zeroed);
	memset(memory, 1, size);
	CHECK("… and no more than whole pages",
	      mapped() - before <= size + HUGEMEM_PAGE);
	hugemem_free(memory, size);
	CHECK("… and given back", mapped() <= before);
}

int main(void)
{
	(void)mapped();
	test_size(1, "one byte");
	test_size(HUGEMEM_PAGE, "one page");
	test_size(3 * HUGEMEM_PAGE + 1, "three pages and a byte");
	CHECK("more than there can be", !hugemem_alloc(SIZE_MAX) &&
					!hugemem_alloc(SIZE_MAX / 2));
	hugemem_free(NULL, 5);
	return check_result();
}
