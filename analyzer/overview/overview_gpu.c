/*
 * The section of the overview that is about memory of GPUs; see overview_gpu.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/overview/overview_gpu.h"

#include <stdio.h>
#include <string.h>

#include "analyzer/allocator/allocatordevices.h"
#include "analyzer/allocator/allocatorfree.h"
#include "analyzer/cmd.h"

enum { USED_MAX = sizeof(((struct overview_gpu *)NULL)->used) / sizeof(size_t) };

void overview_gpu_gather(struct scan *scan, struct overview_gpu *gpu)
{
	*gpu = (struct overview_gpu){ 0 };
	gpu->why_not = allocator_open(scan->opened, /* with_tensors= */ false,
				      scan->options->values, &gpu->allocator);
	if (!gpu->why_not)
		gpu->why_not = allocator_free_recorded(
			gpu->allocator, opened_image(scan->opened));
	for (size_t i = 0; !gpu->why_not && i < gpu->allocator->num_devices;
	     i++) {
		const struct torch_device *device =
			gpu->allocator->devices[i].device;

		if (device->is_known && device->reserved == 0 &&
		    device->stats.num_ooms == 0)
			continue;
		if (gpu->num_used < USED_MAX)
			gpu->used[gpu->num_used++] = i;
		else
			gpu->num_more++;
	}
}

void overview_gpu_deinit(struct overview_gpu *gpu)
{
	allocator_close(gpu->allocator);
	error_free(gpu->why_not);
	*gpu = (struct overview_gpu){ 0 };
}

/** Memory of devices that another allocator than PyTorch's own has. */
static bool is_another(const struct overview_gpu *gpu)
{
	enum caching_kind kind = gpu->allocator ?
		gpu->allocator->caching->kind : CACHING_ABSENT;

	return kind == CACHING_ASYNC || kind == CACHING_PLUGGABLE ||
	       kind == CACHING_OTHER;
}

void overview_gpu_head(struct scan *scan, const struct overview_gpu *gpu)
{
	bool md = scan->render.format == RENDER_MD;

	for (size_t i = 0; i < gpu->num_used; i++) {
		size_t number = gpu->used[i];
		char name[ALLOCATOR_NAME_MAX], sum[ALLOCATOR_SUM_MAX];

		(void)allocator_device_name(gpu->allocator, number, name);
		render_line(&scan->render, "%s%s %s",
			    md ? "**GPU** " : i ? "            " :
						  "  GPU       ", name,
			    gpu->allocator->devices[number].device->is_known ?
			    allocator_device_sum(gpu->allocator, number, sum) :
			    "PyTorch's allocator cannot be read (-v says why)");
	}
	if (gpu->num_more)
		render_line(&scan->render, "            and %zu devices more",
			    gpu->num_more);
	if (is_another(gpu))
		render_line(&scan->render, "%s allocated by %s, not by PyTorch's "
			    "caching allocator: of it only tensors are known",
			    md ? "**GPU**" : "  GPU      ",
			    gpu->allocator->caching->kind == CACHING_ASYNC ?
			    "cudaMallocAsync" : "another library");
}

void overview_gpu_tell(struct scan *scan, const struct overview_gpu *gpu)
{
	struct render *render = &scan->render;
	struct column columns[NUM_DEVICE_COLUMNS];
	struct cell cells[NUM_DEVICE_COLUMNS];
	char name[ALLOCATOR_NAME_MAX], why[RENDER_NAME_MAX];

	if (gpu->why_not && render_for_people(render)) {
		render_head(render, "ALLOCATOR");
		render_line(render, "  not read: %s",
			    render_name(render, gpu->why_not->message, 100, why));
		render_gap(render);
	}
	if (gpu->num_used == 0)
		return;
	// Near what is allocated, and 100 columns are enough without it.
	memcpy(columns, allocator_device_columns, sizeof(columns));
	columns[DEVICE_REQUESTED].hidden = true;
	render_table(render, &(struct table_spec){
		.json_key = "allocator", .title = "ALLOCATOR",
		.columns = columns, .num_columns = NUM_DEVICE_COLUMNS });
	for (size_t i = 0; i < gpu->num_used; i++) {
		allocator_device_cells(gpu->allocator, gpu->used[i], name,
				       cells);
		render_row(render, cells);
	}
	render_table_end(render);
	render_gap(render);
}

unsigned int overview_gpu_lines(const struct overview_gpu *gpu)
{
	unsigned int head = (unsigned int)gpu->num_used + (gpu->num_more > 0) +
			    is_another(gpu);

	return gpu->why_not ? 3 : gpu->num_used ?
		       head + (unsigned int)gpu->num_used + 2 : head;
}
