/*
 * Which release of PyTorch a process has; see torchversion.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors/torchversion.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/opened.h"
#include "cudaheap/torchsnapshot.h"
#include "image/modules.h"
#include "pyheap/values/pystr.h"

enum { VERSIONS_MAX = 16 };

/* Versions that the process has: its own, and perhaps some to compare it with. */
struct versions {
	_Atomic uint32_t count;
	_Atomic uint64_t objects[VERSIONS_MAX];
};

static void look(void *context, const struct pyh_visit *visit)
{
	struct versions *versions = context;
	uint32_t number;

	if (visit->taken_back ||
	    strcmp(visit->object.type->name,
		   "torch.torch_version.TorchVersion") != 0)
		return;
	number = atomic_fetch_add(&versions->count, 1);
	if (number < VERSIONS_MAX)
		atomic_store(&versions->objects[number], visit->object.address);
}

static bool read_version(struct pyh_runtime *runtime,
			 struct memory_reader *memory, uint64_t object,
			 char text[TORCH_VERSION_MAX])
{
	struct pyh_str str;

	return pyh_str_read(runtime, memory, object, &str) == PYH_FOUND &&
	       pyh_str_copy(memory, &str, text, TORCH_VERSION_MAX);
}

struct error *torch_version(struct opened *opened, char text[TORCH_VERSION_MAX])
{
	struct versions versions = { 0 };
	char other[TORCH_VERSION_MAX];
	struct pyh_runtime *runtime;
	struct pyh_census *census;
	struct memory_reader memory;
	struct error *err = opened_runtime(opened, &runtime);
	bool is_one;

	text[0] = '\0';
	if (!err)
		err = opened_census_visited(opened, &(struct pyh_visitor){
			.visit = look, .context = &versions }, &census);
	if (err || versions.count == 0)
		return err;
	err = memory_reader_init(&memory, opened_image(opened)->memory);
	if (err)
		return err;
	// "0.13.0" is of another package, by which PyTorch goes.
	is_one = versions.count <= VERSIONS_MAX;
	for (uint32_t i = 0; is_one && i < versions.count; i++) {
		if (!read_version(runtime, &memory, versions.objects[i],
				  other) || torch_release_parse(other) == 0)
			continue;
		is_one = *text == '\0' || strcmp(text, other) == 0;
		memcpy(text, other, sizeof(other));
	}
	if (!is_one)
		text[0] = '\0';
	memory_reader_deinit(&memory);
	return NULL;
}

void torch_folder(const struct image *image, char text[TORCH_FOLDER_MAX])
{
	static const char library[] = "/torch/lib/libc10.so";
	size_t size = sizeof(library) - 1;

	text[0] = '\0';
	for (size_t i = 0; i < modules_count(image->modules); i++) {
		const char *path = modules_get(image->modules, i)->path;
		size_t length = strlen(path);

		if (length >= size && length < TORCH_FOLDER_MAX &&
		    strcmp(path + length - size, library) == 0)
			(void)snprintf(text, TORCH_FOLDER_MAX, "%.*s",
				       (int)(length - strlen("lib/libc10.so")),
				       path);
	}
}

bool torch_has_file(const char folder[TORCH_FOLDER_MAX], const char *file)
{
	size_t size = strlen(folder);

	return size > 0 && strncmp(file, folder, size) == 0;
}
