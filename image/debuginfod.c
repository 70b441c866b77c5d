/*
 * Debug files from the network; see debuginfod.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: elfutils debuginfod.h.
 */
#include "image/debuginfod.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/guard.h"

struct client;

struct library {
	void *handle;
	struct client *(*begin)(void);
	int (*find)(struct client *client, const unsigned char *build_id,
		    int size, char **path);
	void (*end)(struct client *client);
};

static bool load(struct library *library)
{
	library->handle = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!library->handle)
		return false;
	*(void **)&library->begin = dlsym(library->handle, "debuginfod_begin");
	*(void **)&library->find = dlsym(library->handle,
					 "debuginfod_find_debuginfo");
	*(void **)&library->end = dlsym(library->handle, "debuginfod_end");
	return library->begin && library->find && library->end;
}

bool debuginfod_map(const uint8_t *build_id, size_t size, struct mapping *ret)
{
	CLEANUP(free_pointer) char *path = NULL;
	CLEANUP(close_fd) int fd = -1;
	struct library library = { 0 };
	struct client *client;
	struct error *err;
	struct stat status;

	// The library stays: what it has started cannot be taken down again.
	if (size == 0 || !load(&library))
		return false;
	client = library.begin();
	if (!client)
		return false;
	fd = library.find(client, build_id, (int)size, &path);
	library.end(client);
	if (fd < 0 || fstat(fd, &status) != 0 || status.st_size <= 0)
		return false;
	err = mapping_init(ret, fd, false, (uint64_t)status.st_size, path);
	error_free(err);
	return !err;
}
