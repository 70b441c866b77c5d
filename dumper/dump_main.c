/*
 * heapdump: writes the memory of a running process to a file.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dumper/child_command.h"
#include "dumper/cmd_dump.h"
#include "dumper/dump_options.h"

static atomic_bool stop;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&stop, true);
}

/**
 * A signal ends the dump in an orderly way: the target runs on, the temporary
 * file is removed. Ctrl-Z would leave the target standing still as well, and
 * is ignored.
 */
static void catch_signals(void)
{
	static const int ending[] = { SIGINT, SIGTERM, SIGHUP };
	static const int ignored[] = { SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU };
	struct sigaction action = { .sa_handler = on_signal };
	struct sigaction before;

	for (size_t i = 0; i < sizeof(ending) / sizeof(*ending); i++) {
		// What nohup has set to be ignored stays so.
		if (sigaction(ending[i], NULL, &before) == 0 &&
		    before.sa_handler != SIG_IGN)
			(void)sigaction(ending[i], &action, NULL);
	}
	action.sa_handler = SIG_IGN;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		(void)sigaction(ignored[i], &action, NULL);
}

static int run(const struct dump_options *options)
{
	switch (options->mode) {
	case DUMP_MODE_HELP:
		dump_options_help(stdout);
		return DUMP_EXIT_OK;
	case DUMP_MODE_VERSION:
		(void)puts("heapdump " HEAPSCAN_VERSION);
		return DUMP_EXIT_OK;
	case DUMP_MODE_COMPLETION:
		dump_options_completion(stdout);
		return DUMP_EXIT_OK;
	case DUMP_MODE_LIST:
		return cmd_processes(options);
	case DUMP_MODE_DEMO:
		return cmd_demo(options, &stop);
	case DUMP_MODE_CORE_PATTERN:
		return cmd_core_pattern(options, &stop);
	case DUMP_MODE_WATCH:
		return cmd_watch(options, &stop);
	case DUMP_MODE_PIDS:
		break;
	}
	return cmd_dump(options, &stop);
}

/**
 * The kernel starts its handler with standard input alone: the dump must not
 * get the number of a stream that something is printed to.
 */
static bool open_standard_streams(bool *ret_closed_output)
{
	*ret_closed_output = fcntl(STDOUT_FILENO, F_GETFD) < 0;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		// The lowest number that is free is this one.
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct dump_options options;
	int status;		/* with -- CMD its own */
	bool closed_output;
	struct error *err;

	if (!open_standard_streams(&closed_output))
		return DUMP_EXIT_FAILED;
	err = dump_options_parse(argc, argv, &options);
	if (err) {
		dump_complain(err);
		return DUMP_EXIT_USAGE;
	}
	if (closed_output && options.output &&
	    strcmp(options.output, "-") == 0) {
		dump_complain(error_new(ERROR_USAGE, "--output -: standard "
					"output is closed, and the dump would "
					"be lost"));
		dump_options_deinit(&options);
		return DUMP_EXIT_USAGE;
	}
	child_command_remember_signals();
	catch_signals();
	status = run(&options);
	dump_options_deinit(&options);
	// A report that could not be delivered is a failure.
	if (fflush(stdout) != 0 && status == DUMP_EXIT_OK)
		status = DUMP_EXIT_FAILED;
	return status;
}
