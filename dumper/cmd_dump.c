/*
 * heapdump PID...; see cmd_dump.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/cmd_dump.h"

#include <sys/stat.h>

#include "dumper/dump_tree.h"
#include "image/base/guard.h"

enum dump_exit cmd_dump(const struct dump_options *options,
			const atomic_bool *stop)
{
	enum dump_exit status = DUMP_EXIT_OK;
	CLEANUP(dump_config_deinit) struct dump_config config = { 0 };
	struct error *err = dump_config_read(&config);
	struct after_dump after = { 0 };
	struct stat folder;
	bool any = false;

	if (!err)
		err = dump_check_config(options, &config);
	if (!err && options->output &&
	    (options->num_pids > 1 || options->watch.children) &&
	    (stat(options->output, &folder) != 0 || !S_ISDIR(folder.st_mode)))
		err = error_new(ERROR_USAGE, "with several processes --output "
				"names a folder that exists");
	if (err) {
		status = err->kind == ERROR_USAGE ? DUMP_EXIT_USAGE :
						    DUMP_EXIT_FAILED;
		dump_complain(err);
		return status;
	}
	for (size_t i = 0; i < options->num_pids; i++) {
		struct dump_request request = {
			.pid = options->pids[i],
			.config = &config,
			.trigger = "request",
			.stop = stop,
		};

		enum dump_exit one = dump_tree(options, &request, &after);

		any |= one == DUMP_EXIT_OK || one == DUMP_EXIT_PARTIAL;
		status = dump_exit_worse(status, one);
		if (atomic_load(stop))
			break;
	}
	after_dump_finish(&after, stop);
	// Failed means that nothing is there.
	if (status == DUMP_EXIT_FAILED && any)
		status = DUMP_EXIT_PARTIAL;
	return status == DUMP_EXIT_OK && after.failed ? DUMP_EXIT_PARTIAL :
							 status;
}
