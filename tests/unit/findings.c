/*
 * Test of image/base/findings.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/findings.h"

#include "image/base/workers.h"
#include "tests/lib/check.h"

static struct error *add_many(void *context, unsigned int worker, size_t shard)
{
	(void)worker;
	for (int i = 0; i < 100; i++)
		findings_add(context, "many", shard * 100 + 1, "number %d", i);
	return NULL;
}

int main(void)
{
	struct findings *findings;

	if (!CHECK("create", !findings_create(&findings)))
		return check_result();
	CHECK_U64("none at first", findings_total(findings), 0);
	CHECK("not partial at first", !findings_partial(findings));

	findings_add(findings, "pool-header", 0x1000, "szidx is %d", 99);
	CHECK_U64("one", findings_kept(findings), 1);
	CHECK_STRING("its code", findings_get(findings, 0)->code,
		     "pool-header");
	CHECK_STRING("its sentence", findings_get(findings, 0)->text,
		     "szidx is 99");
	CHECK_U64("its address", findings_get(findings, 0)->address, 0x1000);

	findings_take(findings, "gc-list",
		      error_at(ERROR_FORMAT, 0x2000, "goes in circles"));
	CHECK_STRING("sentence of an error", findings_get(findings, 1)->text,
		     "goes in circles");
	CHECK_U64("address of an error", findings_get(findings, 1)->address,
		  0x2000);
	findings_take(findings, "gc-list", error_no_memory());
	CHECK_U64("of one code", findings_of(findings, "gc-list"), 2);

	error_free(workers_run(4, 50, add_many, findings));
	CHECK_U64("all are counted", findings_of(findings, "many"), 5000);
	CHECK_U64("in total too", findings_total(findings), 5003);
	CHECK_U64("the first are kept", findings_kept(findings),
		  3 + FINDINGS_KEPT_PER_CODE);
	CHECK_U64("of no such code", findings_of(findings, "other"), 0);

	findings_set_partial(findings);
	CHECK("partial", findings_partial(findings));
	findings_destroy(findings);

	findings_add(NULL, "code", 0, "kept nowhere");
	findings_set_partial(NULL);
	CHECK("NULL keeps nothing", findings_total(NULL) == 0 &&
	      findings_kept(NULL) == 0 && !findings_partial(NULL));
	findings_destroy(NULL);
	return check_result();
}
