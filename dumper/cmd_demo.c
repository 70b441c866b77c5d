/*
 * heapdump --demo: a small leaking program, dumped and explained.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The program is part of this binary, so that the demonstration works from an
 * installed copy. It lives in a temporary folder for as long as it runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dumper/cmd_dump.h"
#include "dumper/dump_report.h"
#include "image/base/guard.h"

/* The source of the program; the path is relative to the root of the tree. */
__asm__(".pushsection .rodata\n"
	"memeater_source:\n"
	".incbin \"dumper/memeater.py\"\n"
	"memeater_source_end:\n"
	".byte 0\n"
	".popsection\n");
extern const char memeater_source[], memeater_source_end[];

enum {
	GROW_TIMEOUT_MS = 60000,
	POLL_MS = 100,
};

struct demo {
	char folder[PATH_MAX];
	char script[PATH_MAX + 16];
	char dump[PATH_MAX + 32];
	bool keep_dump;
	pid_t child;		/* 0: none */
	int output;		/* what the child prints, or -1 */
};

/** The first executable of that name in PATH. */
static bool find_program(const char *name, char path[PATH_MAX])
{
	const char *at = getenv("PATH");

	if (!at)
		at = "/usr/local/bin:/usr/bin:/bin";
	while (*at) {
		size_t length = strcspn(at, ":");

		if (length > 0 &&
		    snprintf(path, PATH_MAX, "%.*s/%s", (int)length, at, name) <
			    PATH_MAX &&
		    access(path, X_OK) == 0)
			return true;
		at += length + (at[length] == ':');
	}
	return false;
}

/** heapscan beside this program, else in PATH. */
static bool find_heapscan(char path[PATH_MAX])
{
	char own[PATH_MAX];
	ssize_t size = readlink("/proc/self/exe", own, sizeof(own) - 1);
	char *slash;

	if (size > 0) {
		own[size] = '\0';
		slash = strrchr(own, '/');
		if (slash)
			*slash = '\0';
		if (snprintf(path, PATH_MAX, "%s/heapscan", own) < PATH_MAX &&
		    access(path, X_OK) == 0)
			return true;
	}
	return find_program("heapscan", path);
}

static struct error *write_script(struct demo *demo)
{
	const char *base = getenv("TMPDIR");
	size_t size = (size_t)(memeater_source_end - memeater_source);

	if (snprintf(demo->folder, sizeof(demo->folder),
		     "%s/heapdump-demo-XXXXXX", base && *base ? base : "/tmp") >=
	    (int)sizeof(demo->folder) || !mkdtemp(demo->folder)) {
		struct error *err = error_os(errno, "a folder in %s",
					     base && *base ? base : "/tmp");

		demo->folder[0] = '\0';
		return err;
	}
	(void)snprintf(demo->script, sizeof(demo->script), "%s/memeater.py",
		       demo->folder);
	CLEANUP(close_fd) int fd = open(demo->script, O_WRONLY | O_CREAT |
					O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, memeater_source, size) != (ssize_t)size)
		return error_os(errno, "%s", demo->script);
	return NULL;
}

/** In the child: no way back. */
__attribute__((noreturn))
static void become_python(const char *python, const char *script, int output,
			  pid_t parent)
{
	struct sigaction normal = { .sa_handler = SIG_DFL };

	// The program must not outlive the demonstration, however that ends.
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	// Where Yama lets only ancestors trace: the freezer is none, but a
	// descendant of who is named here.
	(void)prctl(PR_SET_PTRACER, parent);
	(void)sigaction(SIGPIPE, &normal, NULL);
	(void)sigaction(SIGTSTP, &normal, NULL);
	(void)dup2(output, STDOUT_FILENO);
	(void)execl(python, "python3", script, (char *)NULL);
	_exit(127);
}

static struct error *start_program(struct demo *demo)
{
	char python[PATH_MAX];
	pid_t parent = getpid();
	struct error *err;
	int ends[2];

	if (!find_program("python3", python))
		return error_new(ERROR_NOT_FOUND, "the demonstration needs "
				 "python3, and there is none in PATH");
	err = write_script(demo);
	if (err)
		return err;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return error_os(errno, "a pipe");
	demo->child = fork();
	if (demo->child == 0)
		become_python(python, demo->script, ends[1], parent);
	(void)close(ends[1]);
	demo->output = ends[0];
	if (demo->child < 0) {
		demo->child = 0;
		return error_os(errno, "starting python3");
	}
	return NULL;
}

/** Its one line of output says that it has grown. */
static struct error *await_growth(const struct demo *demo,
				  const atomic_bool *stop)
{
	struct pollfd poll_fd = { .fd = demo->output, .events = POLLIN };
	char line[80];

	for (int waited = 0; waited < GROW_TIMEOUT_MS; waited += POLL_MS) {
		ssize_t got;

		if (atomic_load(stop))
			return error_new(ERROR_INTERRUPTED, "interrupted");
		if (poll(&poll_fd, 1, POLL_MS) <= 0)
			continue;
		got = read(demo->output, line, sizeof(line));
		return got > 0 ? NULL :
			error_new(ERROR_OS, "the program of the demonstration "
				  "ended early; does python3 work?");
	}
	return error_new(ERROR_LIMIT, "the program of the demonstration did "
			 "not grow within a minute");
}

static void choose_dump(struct demo *demo, const struct dump_options *options)
{
	struct stat status;
	const char *output = options->output;

	demo->keep_dump = output != NULL;
	if (!output)
		output = demo->folder;
	if (stat(output, &status) == 0 && S_ISDIR(status.st_mode))
		(void)snprintf(demo->dump, sizeof(demo->dump),
			       "%.*s/memeater.core.zst", PATH_MAX, output);
	else
		(void)snprintf(demo->dump, sizeof(demo->dump), "%.*s", PATH_MAX,
			       output);
}

static enum dump_exit dump_program(struct demo *demo,
				   const struct dump_options *options,
				   const atomic_bool *stop)
{
	struct dump_options dump = *options;

	dump.mode = DUMP_MODE_PIDS;
	dump.pids = &demo->child;
	dump.num_pids = 1;
	dump.output = demo->dump;
	return cmd_dump(&dump, stop);
}

static enum dump_exit run_heapscan(const struct demo *demo)
{
	char program[PATH_MAX];
	int status = -1;
	pid_t child;

	if (!find_heapscan(program)) {
		dump_complain(error_new(ERROR_NOT_FOUND, "heapscan is neither "
					"beside heapdump nor in PATH"));
		return DUMP_EXIT_FAILED;
	}
	(void)fflush(stdout);
	child = fork();
	if (child == 0) {
		(void)execl(program, "heapscan", demo->dump, "--top", "20",
			    (char *)NULL);
		_exit(127);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	return child > 0 && WIFEXITED(status) ?
		(enum dump_exit)WEXITSTATUS(status) : DUMP_EXIT_FAILED;
}

static void clean_up(struct demo *demo)
{
	if (demo->child > 0) {
		(void)kill(demo->child, SIGKILL);
		(void)waitpid(demo->child, NULL, 0);
	}
	close_fd(&demo->output);
	if (demo->dump[0] && !demo->keep_dump)
		(void)unlink(demo->dump);
	if (demo->script[0])
		(void)unlink(demo->script);
	if (demo->folder[0])
		(void)rmdir(demo->folder);
}

static void introduce(const struct demo *demo)
{
	(void)printf(
"Started a small program that leaks: python3 memeater.py, process %d.\n"
"It keeps 180,000 answers in a dict and once more in one long string, and a\n"
"registry of visits that forgets none.\n\n", demo->child);
	(void)printf("$ heapdump %d\n", demo->child);
	(void)fflush(stdout);
}

enum dump_exit cmd_demo(const struct dump_options *options,
			const atomic_bool *stop)
{
	struct demo demo = { .output = -1 };
	enum dump_exit status = DUMP_EXIT_FAILED;
	bool talk = !options->quiet && !options->json;
	struct error *err = start_program(&demo);

	if (!err)
		err = await_growth(&demo, stop);
	if (err) {
		if (err->kind == ERROR_INTERRUPTED)
			status = DUMP_EXIT_INTERRUPTED;
		dump_complain(err);
		clean_up(&demo);
		return status;
	}
	choose_dump(&demo, options);
	if (talk)
		introduce(&demo);
	status = dump_program(&demo, options, stop);
	if (status == DUMP_EXIT_OK && !options->dry_run) {
		if (talk) {
			(void)fputs("\n$ heapscan ", stdout);
			shell_quote(stdout, demo.dump);
			(void)puts(" --top 20");
		}
		status = run_heapscan(&demo);
		if (talk && !demo.keep_dump)
			(void)puts("\nThis dump is removed now; heapdump --demo "
				   "-o FILE keeps it.");
	}
	clean_up(&demo);
	return status;
}
