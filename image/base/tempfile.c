/*
 * Temporary files without a name; see tempfile.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/tempfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "image/base/guard.h"

const char *tempfile_folder(const char *named)
{
	const char *folder = named ? named : getenv("TMPDIR");

	return folder && *folder ? folder : "/var/tmp";
}

struct error *tempfile_create(const char *folder, int *ret)
{
	CLEANUP(free_pointer) char *path = NULL;
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	// Some file systems (overlay of old, NFS) have no O_TMPFILE.
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		if (asprintf(&path, "%s/heapscan-XXXXXX", folder) < 0) {
			path = NULL;
			return error_no_memory();
		}
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			(void)unlink(path);
	}
	if (fd < 0)
		return error_os(errno,
				"making a temporary file in %s (see --tmp)",
				folder);
	*ret = fd;
	return NULL;
}
