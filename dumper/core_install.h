/*
 * Makes heapdump the kernel's handler of cores, and undoes that.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is changed is listed before it is done, so that a person can be shown it
 * and --dry-run shows the same. The settings that were there before are kept in
 * CORE_INSTALL_STATE and come back at the end.
 */
#ifndef DUMPER_CORE_INSTALL_H
#define DUMPER_CORE_INSTALL_H

#include <stdbool.h>
#include <stddef.h>

#include "image/base/error.h"

#define CORE_INSTALL_SYSCTL "/etc/sysctl.d/60-heapdump.conf"
#define CORE_INSTALL_STATE "/var/lib/heapdump.core_pattern"

enum core_change_kind {
	CORE_CHANGE_SETTING,	/* a file of /proc/sys */
	CORE_CHANGE_FILE,	/* written; text NULL: removed */
	CORE_CHANGE_FOLDER,	/* made, mode 0755 */
};

struct core_change {
	enum core_change_kind kind;
	char *path;
	char *text;		/* what it will hold */
	char *before;		/* a setting's value until now, or NULL */
};

enum { CORE_CHANGES_MAX = 8 };

struct core_changes {
	struct core_change items[CORE_CHANGES_MAX];
	size_t count;
	char *remark;		/* something that people should know, or NULL */
};

/**
 * What installing would change; nothing where it is installed already.
 *
 * @param folder  where dumps will go
 * @return an error where this program could be replaced by somebody who is not
 *	root, or the kernel would not take its path
 */
struct error *core_install_plan(const char *folder, struct core_changes *ret);

/** What uninstalling would change. ERROR_NOT_FOUND where it is not installed. */
struct error *core_uninstall_plan(struct core_changes *ret);

/** Do one change. */
struct error *core_change_apply(const struct core_change *change);

void core_changes_deinit(struct core_changes *changes);

#endif
