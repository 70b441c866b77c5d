/*
 * What backing_open() makes of a file, for the tests of containers.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	backingcat FILE [TMP_DIR]
 *
 * The core goes to standard output, zeroes in place of what is lost, and one
 * JSON object about it to standard error. Exit status 1 where the file cannot
 * be opened; the object then says why.
 */
#include <stdio.h>
#include <stdlib.h>

#include "image/backing.h"
#include "image/base/json.h"
#include "image/mapping.h"

static const char *const kind_names[] = {
	[BACKING_PLAIN] = "plain",
	[BACKING_ZSTD_FRAMES] = "zstd frames",
	[BACKING_EXPANDED] = "expanded",
};

static uint64_t copy_out(struct backing *backing, struct error **err)
{
	static const uint8_t zero;
	struct backing_reader *reader = NULL;
	uint64_t at = 0, lost = 0;
	const void *view;
	size_t size;

	*err = backing_reader_create(backing, &reader);
	while (!*err && at < backing_size(backing)) {
		view = backing_view(reader, at, SIZE_MAX, &size);
		if (!view) {
			view = &zero;
			size = 1;
			lost++;
		}
		if (fwrite(view, 1, size, stdout) != size)
			*err = error_new(ERROR_OS, "standard output");
		at += size;
	}
	backing_reader_destroy(reader);
	return lost;
}

static void print_backing(struct json *json, struct backing *backing,
			  struct error **err)
{
	size_t size;

	json_string(json, "kind", kind_names[backing_kind(backing)]);
	json_string(json, "description", backing_describe(backing));
	json_u64(json, "size", backing_size(backing));
	json_u64(json, "stored_size", backing_stored_size(backing));
	(void)backing_final_notes(backing, &size);
	json_u64(json, "final_notes", size);
	json_u64(json, "lost", copy_out(backing, err));
	json_bool(json, "shrank", backing_shrank(backing));
}

int main(int argc, char **argv)
{
	struct backing_options options = { 0 };
	struct findings *findings = NULL;
	struct backing *backing = NULL;
	struct error *err;
	struct json json;
	int status;

	if (argc < 2)
		return 2;
	options.tmp_dir = argc > 2 ? argv[2] : NULL;
	mapping_guard_sigbus();
	err = findings_create(&findings);
	options.findings = findings;
	if (!err)
		err = backing_open(argv[1], &options, &backing);
	json_begin(&json, stderr, false);
	json_object(&json, NULL);
	if (!err)
		print_backing(&json, backing, &err);
	json_bool(&json, "partial", findings_partial(findings));
	json_array(&json, "findings");
	for (size_t i = 0; i < findings_kept(findings); i++)
		json_string(&json, NULL, findings_get(findings, i)->code);
	json_end(&json);
	if (err)
		json_string(&json, "error", err->message);
	json_end(&json);
	json_finish(&json);
	status = err || fflush(stdout) != 0;
	error_free(err);
	backing_close(backing);
	findings_destroy(findings);
	return status;
}
