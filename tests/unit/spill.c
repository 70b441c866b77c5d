/*
 * Unit tests of image/base/spill.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/spill.h"

#include <string.h>

#include "image/base/hugemem.h"
#include "tests/lib/check.h"

enum { PAGES = 6 };

static struct spill_array make(struct spill *spill, uint64_t size, bool unset)
{
	struct spill_array array;
	struct error *err = unset ? spill_alloc_unset(spill, size, &array) :
				    spill_alloc(spill, size, &array);

	CHECK("made", !err);
	error_free(err);
	return array;
}

static bool is_zero(const struct spill_array *array, uint64_t size)
{
	const uint8_t *bytes = array->data;
	bool zero = true;

	for (uint64_t i = 0; i < size; i++)
		zero &= bytes[i] == 0;
	return zero;
}

/** Memory goes from one array to others, in parts, and comes together again. */
static void test_reuse(void)
{
	const uint64_t page = HUGEMEM_PAGE;
	struct spill spill = { .folder = "/tmp", .budget = PAGES * page };
	struct spill_array all = make(&spill, PAGES * page, false), some, rest;

	memset(all.data, 1, PAGES * page);
	spill_free(&all);
	CHECK_U64("kept", atomic_load(&spill.used), PAGES * page);
	some = make(&spill, 2 * page - 1, true);
	rest = make(&spill, 3 * page, true);
	CHECK_U64("handed on", atomic_load(&spill.used), PAGES * page);
	CHECK("… in memory", some.fd < 0 && rest.fd < 0);
	memset(some.data, 2, 2 * page);
	memset(rest.data, 3, 3 * page);
	CHECK_U64("… to each its own", *(uint8_t *)some.data, 2);
	spill_free(&some);
	spill_free(&rest);
	all = make(&spill, PAGES * page, true);
	CHECK_U64("put together", atomic_load(&spill.used), PAGES * page);
	CHECK("… in memory", all.fd < 0);
	memset(all.data, 4, PAGES * page);
	spill_free(&all);
	// Who wants zeroes has fresh memory, for which the rest must go.
	some = make(&spill, 4 * page, false);
	CHECK("zeroed", is_zero(&some, 4 * page));
	CHECK("… in memory", some.fd < 0);
	CHECK_U64("no more than that", atomic_load(&spill.used), 4 * page);
	rest = make(&spill, 3 * page, true);
	CHECK("what is too much is in a file", rest.fd >= 0);
	spill_free(&some);
	spill_free(&rest);
	spill_deinit(&spill);
	CHECK_U64("given back", atomic_load(&spill.used), 0);
}

int main(void)
{
	test_reuse();
	return check_result();
}
