/*
 * Which release of PyTorch a process has; see torchversion.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/torchversion.h"

#include <stdatomic.h>
#include <string.h>

#include "analyzer/opened.h"
#include "pyheap/pystr.h"

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
		err = opened_census_visited(opened, look, &found, NULL,
					    &census);
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
