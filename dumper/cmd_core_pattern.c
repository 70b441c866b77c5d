/*
 * heapdump --core-pattern: the kernel's handler, and setting it up.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dumper/cmd_dump.h"
#include "dumper/core_handler.h"
#include "dumper/core_install.h"
#include "dumper/dump_config.h"
#include "image/base/escape.h"
#include "image/base/guard.h"

/** "key: 'old' -> 'new'", and lines of files as they will be. */
static void show(const struct core_change *change, bool will)
{
	switch (change->kind) {
	case CORE_CHANGE_SETTING:
		(void)printf("%s %s: '", will ? "would set" : "set",
			     change->path);
		escape_puts(stdout, ESCAPE_TEXT,
			    change->before ? change->before : "");
		(void)fputs("' -> '", stdout);
		escape_puts(stdout, ESCAPE_TEXT, change->text);
		(void)fputs("'\n", stdout);
		return;
	case CORE_CHANGE_FOLDER:
		(void)printf("%s the folder %s\n", will ? "would make" : "made",
			     change->path);
		return;
	case CORE_CHANGE_FILE:
		break;
	}
	if (!change->text) {
		(void)printf("%s %s\n", will ? "would remove" : "removed",
			     change->path);
		return;
	}
	(void)printf("%s %s:\n", will ? "would write" : "wrote", change->path);
	for (const char *at = change->text; *at; ) {
		size_t length = strcspn(at, "\n");

		(void)fputs("    ", stdout);
		escape_write(stdout, ESCAPE_TEXT, at, length);
		(void)fputc('\n', stdout);
		at += length + (at[length] == '\n');
	}
}

static struct error *apply_all(const struct core_changes *changes, bool dry_run)
{
	if (changes->remark) {
		escape_puts(stdout, ESCAPE_TEXT, changes->remark);
		(void)fputc('\n', stdout);
	}
	for (size_t i = 0; i < changes->count; i++) {
		struct error *err = dry_run ? NULL :
			core_change_apply(&changes->items[i]);

		if (err)
			return err;
		show(&changes->items[i], dry_run);
	}
	if (changes->count == 0)
		(void)puts("nothing to change: heapdump is the kernel's "
			   "handler already");
	return NULL;
}

static struct error *set_up(const struct dump_options *options)
{
	CLEANUP(core_changes_deinit) struct core_changes changes = { 0 };
	CLEANUP(dump_config_deinit) struct dump_config config = { 0 };
	struct error *err = NULL;

	if (geteuid() != 0 && !options->dry_run)
		return error_new(ERROR_USAGE, "--core-pattern --%sinstall "
				 "needs root", options->uninstall ? "un" : "");
	if (options->uninstall)
		err = core_uninstall_plan(&changes);
	else
		err = dump_config_read(&config);
	if (!err && !options->uninstall)
		err = core_install_plan(config.folder ? config.folder :
							DUMP_CONFIG_FOLDER,
					&changes);
	return err ? err : apply_all(&changes, options->dry_run);
}

enum dump_exit cmd_core_pattern(const struct dump_options *options,
				const atomic_bool *stop)
{
	struct core_call call;
	struct error *err;

	if (options->install || options->uninstall)
		err = set_up(options);
	else
		err = core_call_parse(options->words, options->num_words,
				      &call);
	if (!err && !options->install && !options->uninstall)
		err = core_handler_run(&call, stop);
	if (!err)
		return DUMP_EXIT_OK;
	enum dump_exit status = err->kind == ERROR_USAGE ? DUMP_EXIT_USAGE :
							   DUMP_EXIT_FAILED;
	dump_complain(err);
	return status;
}
