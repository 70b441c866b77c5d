/*
 * Test of image/base/error.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/error.h"

#include <errno.h>

#include "tests/lib/check.h"

int main(void)
{
	struct error *err = error_new(ERROR_FORMAT, "%s of %d", "frame", 7);

	CHECK_STRING("message", err->message, "frame of 7");
	CHECK_U64("kind", err->kind, ERROR_FORMAT);
	CHECK("no address", !err->has_address);
	err = error_context(err, "opening %s", "x.core");
	CHECK_STRING("context", err->message, "opening x.core: frame of 7");
	CHECK_U64("kind stays", err->kind, ERROR_FORMAT);
	CHECK("no absence", !error_is_absence(err));
	error_free(err);

	err = error_at(ERROR_UNMAPPED, 0x7f0000001000, "no page");
	CHECK("address", err->has_address && err->address == 0x7f0000001000);
	CHECK("absence", error_is_absence(err));
	err = error_context(err, "reading");
	CHECK("address stays", err->has_address &&
	      err->address == 0x7f0000001000);
	error_free(err);

	err = error_os(ENOENT, "%s", "dump.core");
	CHECK_STRING("system error", err->message,
		     "dump.core: No such file or directory");
	CHECK_U64("errno", (uint64_t)err->os_errno, ENOENT);
	CHECK_U64("kind of a system error", err->kind, ERROR_OS);
	error_free(err);

	err = error_os(ENOMEM, "mmap");
	CHECK_U64("out of memory is its own kind", err->kind, ERROR_NO_MEMORY);
	error_free(err);

	err = error_context(error_no_memory(), "far too late");
	CHECK("no memory needs none", err == error_no_memory());
	error_free(err);
	CHECK("context of success", error_context(NULL, "x") == NULL);
	error_free(NULL);
	return check_result();
}
