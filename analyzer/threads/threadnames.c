/*
 * Names that stacks are shown with; see threadnames.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/threads/threadnames.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/opened.h"
#include "pyheap/references/pyedgename.h"
#include "pyheap/threads/pythreading.h"
#include "pyheap/values/pystr.h"

struct thread_names {
	struct pyh_runtime *runtime;	/* borrowed */
	struct memory_reader memory;
	struct pyh_type_reader types;
	struct pyh_naming naming;
	struct pyh_thread_name *threads;
	size_t num_threads;
};

static struct error *open_parts(struct opened *opened,
				struct thread_names *names)
{
	struct pyh_types *types;
	struct pyh_shapes *shapes;
	struct error *err = opened_runtime(opened, &names->runtime);

	if (!err)
		err = opened_types(opened, &types);
	if (!err)
		err = opened_shapes(opened, &shapes);
	if (!err)
		err = memory_reader_init(&names->memory,
					 names->runtime->image->memory);
	if (!err)
		err = pyh_type_reader_init(&names->types, types);
	if (err)
		return err;
	names->naming = (struct pyh_naming){
		.runtime = names->runtime, .types = &names->types,
		.memory = &names->memory,
	};
	return pyh_thread_names(names->runtime, &names->types, shapes,
				&names->memory, &names->threads,
				&names->num_threads);
}

struct error *thread_names_open(struct opened *opened,
				struct thread_names **ret)
{
	struct thread_names *names = calloc(1, sizeof(*names));
	struct error *err = names ? open_parts(opened, names) :
				    error_no_memory();

	if (err) {
		thread_names_close(names);
		return err;
	}
	*ret = names;
	return NULL;
}

void thread_names_close(struct thread_names *names)
{
	if (!names)
		return;
	free(names->threads);
	pyh_type_reader_deinit(&names->types);
	memory_reader_deinit(&names->memory);
	free(names);
}

struct memory_reader *thread_names_memory(struct thread_names *names)
{
	return &names->memory;
}

bool thread_names_str(struct thread_names *names, uint64_t str,
		      char text[THREAD_TEXT_MAX])
{
	return thread_names_long_str(names, str, text, THREAD_TEXT_MAX);
}

bool thread_names_long_str(struct thread_names *names, uint64_t str, char *text,
			   size_t size)
{
	return str != 0 && pyh_name_read(&names->naming, str, text, size);
}

void thread_names_code(struct thread_names *names,
		       const struct pyh_frame *frame,
		       char text[THREAD_TEXT_MAX])
{
	if (!thread_names_str(names, frame->qualname, text) &&
	    !thread_names_str(names, frame->name, text))
		(void)strcpy(text, "?");
}

bool thread_names_local(struct thread_names *names,
			const struct pyh_frame *frame, uint64_t index,
			char text[THREAD_TEXT_MAX])
{
	return thread_names_str(names, pyh_name_of_local(&names->naming,
							 frame->code, index),
				text);
}

const char *thread_names_type(struct thread_names *names, uint64_t type)
{
	const struct pyh_type *found = pyh_type_find(&names->types, type);

	return found ? found->name : "?";
}

static uint64_t type_of(struct thread_names *names, uint64_t address)
{
	uint64_t type;

	return pyh_field(names->runtime, &names->memory, address,
			 PYH_OBJECT_OB_TYPE, &type) ? type : 0;
}

const char *thread_names_type_of(struct thread_names *names,
				 uint64_t address)
{
	return thread_names_type(names, type_of(names, address));
}

uint64_t thread_names_out_of_cell(struct thread_names *names,
				  uint64_t address)
{
	uint64_t content;

	if (strcmp(thread_names_type_of(names, address), "cell") != 0)
		return address;
	return pyh_field(names->runtime, &names->memory, address,
			 PYH_CELL_OB_REF, &content) ? content : 0;
}

bool thread_names_thread(struct thread_names *names, uint64_t ident,
			 char text[THREAD_TEXT_MAX])
{
	for (size_t i = 0; names && i < names->num_threads; i++)
		if (names->threads[i].ident == ident)
			return thread_names_str(names, names->threads[i].name,
						text);
	return false;
}
