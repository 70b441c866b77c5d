/*
 * Which release of PyTorch a process has; see torchversion.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors/torchversion.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/opened.h"
#include "image/modules.h"
#include "pyheap/values/pystr.h"

static void look(void *context, const struct pyh_visit *visit)
{
	_Atomic uint64_t *found = context;

	if (!visit->taken_back &&
	    strcmp(visit->object.type->name,
		   "torch.torch_version.TorchVersion") == 0)
		atomic_store(found, visit->object.address);
}

struct error *torch_version(struct opened *opened, char text[TORCH_VERSION_MAX])
{
	_Atomic uint64_t found = 0;
	struct pyh_runtime *runtime;
	struct pyh_census *census;
	struct memory_reader memory;
	struct pyh_str str;
	struct error *err = opened_runtime(opened, &runtime);

	text[0] = '\0';
	if (!err)
		err = opened_census_visited(opened, &(struct pyh_visitor){
			.visit = look, .context = &found }, &census);
	if (err || found == 0)
		return err;
	err = memory_reader_init(&memory, opened_image(opened)->memory);
	if (err)
		return err;
	if (pyh_str_read(runtime, &memory, found, &str) != PYH_FOUND ||
	    !pyh_str_copy(&memory, &str, text, TORCH_VERSION_MAX))
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
