/*
 * Dumps a process and all its descendants; see dump_tree.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/dump_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dumper/outfile.h"
#include "dumper/process_tree.h"
#include "image/base/guard.h"
#include "image/base/json.h"
#include "image/base/units.h"

/** A process of the tree, as the manifest has it. */
struct member {
	pid_t pid, parent;
	char *script;
	struct dump_outcome outcome;
};

struct tree {
	struct member *members;
	size_t count;
};

static void release(struct tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		free(tree->members[i].script);
		free(tree->members[i].outcome.path);
	}
	free(tree->members);
}

static char *script_of(pid_t pid)
{
	CLEANUP(free_pointer) char *cmdline = NULL;
	const char *unused;
	size_t size;
	struct error *err = procinfo_file(pid, "cmdline", &cmdline, &size);

	if (err) {
		error_free(err);
		return NULL;
	}
	return procinfo_script(cmdline, size, &unused);
}

/** Before the first dump: the children of one that dies are not told later. */
static struct error *list_members(const struct dump_options *options,
				  pid_t pid, struct tree *tree)
{
	CLEANUP(free_pointer) pid_t *parents = NULL;
	CLEANUP(free_pointer) pid_t *pids = NULL;
	struct error *err = NULL;

	tree->count = 1;
	if (options->watch.children)
		err = process_tree_list(pid, &pids, &parents, &tree->count);
	if (err) {
		tree->count = 0;
		return err;
	}
	tree->members = calloc(tree->count, sizeof(*tree->members));
	if (!tree->members) {
		tree->count = 0;
		return error_no_memory();
	}
	for (size_t i = 0; i < tree->count; i++) {
		tree->members[i].pid = pids ? pids[i] : pid;
		tree->members[i].parent = parents ? parents[i] : 0;
		if (options->watch.children)
			tree->members[i].script =
				script_of(tree->members[i].pid);
	}
	return NULL;
}

static const char *status_word(enum dump_exit status)
{
	switch (status) {
	case DUMP_EXIT_OK:
		return "complete";
	case DUMP_EXIT_PARTIAL:
		return "partial";
	case DUMP_EXIT_INTERRUPTED:
		return "interrupted";
	default:
		return "failed";
	}
}

static void write_member(struct json *json, const struct member *member)
{
	json_object(json, NULL);
	json_i64(json, "pid", member->pid);
	if (member->parent > 0)
		json_i64(json, "parent", member->parent);
	json_string(json, "script", member->script);
	json_string(json, "path", member->outcome.path);
	if (member->outcome.path)
		json_u64(json, "bytes", member->outcome.bytes);
	json_string(json, "status", status_word(member->outcome.status));
	json_end(json);
}

static struct error *write_manifest(const struct tree *tree,
				    const struct dump_request *request,
				    int64_t when, int fd)
{
	FILE *out = fdopen(dup(fd), "w");
	char text[UNITS_TEXT_MAX];
	struct json json;

	if (!out)
		return error_os(errno, "the manifest");
	json_begin(&json, out, /* indent= */ true);
	json_object(&json, NULL);
	json_string(&json, "schema", "heapdump.manifest/1");
	json_string(&json, "time", units_utc(when, text));
	json_i64(&json, "root", tree->members[0].pid);
	json_string(&json, "trigger", request->trigger);
	json_string(&json, "reason", request->reason);
	json_array(&json, "dumps");
	for (size_t i = 0; i < tree->count; i++)
		write_member(&json, &tree->members[i]);
	json_finish(&json);
	return fclose(out) == 0 ? NULL : error_os(errno, "the manifest");
}

static struct error *make_manifest(const struct dump_options *options,
				   const struct dump_request *request,
				   const struct tree *tree)
{
	const char *script = tree->members[0].script;
	const char *blank = script ? strrchr(script, ' ') : NULL;
	struct outfile_place place = {
		.output = options->output ? options->output :
					    request->config->folder,
		.pid = request->pid,
		.script = blank ? blank + 1 : script,
		.time = (int64_t)time(NULL),
		.ending = ".manifest.json",
		.keep_others = true,
	};
	struct outfile outfile;
	struct error *err = outfile_open(&place, &outfile);

	if (err)
		return err;
	err = write_manifest(tree, request, place.time, outfile.fd);
	if (err)
		outfile_abort(&outfile);
	else
		err = outfile_commit(&outfile);
	if (!err && !options->quiet)
		(void)fprintf(stderr, "heapdump: manifest: %s\n", outfile.path);
	outfile_deinit(&outfile);
	return err;
}

static void run_command(const struct dump_options *options,
			const struct dump_request *request,
			const struct dump_outcome *outcome,
			struct after_dump *after)
{
	struct error *err;

	if (!options->watch.exec || !outcome->path ||
	    strcmp(outcome->path, "-") == 0)
		return;
	err = after_dump_start(after, options->watch.exec, outcome->path,
			       request->pid, request->trigger);
	if (err)
		dump_complain(err);
}

/** A descendant that fails does not make the whole a failure. */
static enum dump_exit sum_up(enum dump_exit sum, const struct member *member,
			     bool is_root)
{
	enum dump_exit status = member->outcome.status;

	if (!is_root && status == DUMP_EXIT_FAILED)
		status = DUMP_EXIT_PARTIAL;
	return dump_exit_worse(sum, status);
}

enum dump_exit dump_tree(const struct dump_options *options,
			 const struct dump_request *request,
			 struct after_dump *after)
{
	CLEANUP(release) struct tree tree = { 0 };
	struct error *err = list_members(options, request->pid, &tree);
	enum dump_exit status = DUMP_EXIT_OK;

	for (size_t i = 0; !err && i < tree.count; i++) {
		struct member *member = &tree.members[i];
		struct dump_request one = *request;

		one.pid = member->pid;
		if (i > 0)
			one.held = NULL;
		dump_one(options, &one, &member->outcome);
		run_command(options, &one, &member->outcome, after);
		status = sum_up(status, member, i == 0);
		if (atomic_load(request->stop))
			break;
	}
	if (!err && options->watch.children && !options->dry_run &&
	    !atomic_load(request->stop))
		err = make_manifest(options, request, &tree);
	if (err) {
		dump_complain(err);
		status = DUMP_EXIT_FAILED;
	}
	return status;
}
