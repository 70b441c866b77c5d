/*
 * The views: what heapscan can be asked; see views.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/views.h"

#include <limits.h>
#include <string.h>

#include "analyzer/cmd.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct view *const views[] = {
	&cmd_overview_view, &cmd_suspects_view, &cmd_types_view, &cmd_objects_view,
	&cmd_object_view, &cmd_collections_view, &cmd_duplicates_view,
	&cmd_path_view, &cmd_retained_view, &cmd_cycles_view, &cmd_gc_view,
	&cmd_refcounts_view, &cmd_threads_view, &cmd_tracemalloc_view,
	&cmd_memory_view, &cmd_malloc_view, &cmd_shared_view,
	&cmd_tensors_view, &cmd_allocator_view,
	&cmd_torchsnapshot_view, &cmd_diff_view, &cmd_info_view,
};

static const char *const planned[] = {
	"gpu", "trend",
	"query", "report", "explore", "export", "redact", "bundle",
};

size_t views_count(void)
{
	return COUNT(views);
}

const struct view *views_get(size_t i)
{
	return views[i];
}

const struct view *views_find(const char *name)
{
	for (size_t i = 0; i < COUNT(views); i++) {
		if (strcmp(views[i]->name, name) == 0)
			return views[i];
	}
	return NULL;
}

const struct view *views_shown(const struct options *options)
{
	const struct view *view = options->view;

	for (size_t i = 0; i < view->num_modes; i++)
		if (view->modes[i].chosen(options))
			return view->modes[i].view;
	return options->by_given && view->grouped ? view->grouped : view;
}

bool views_planned(const char *name)
{
	for (size_t i = 0; i < COUNT(planned); i++) {
		if (strcmp(planned[i], name) == 0)
			return true;
	}
	return false;
}

const char *views_list(void)
{
	static char list[COUNT(views) * 20];

	list[0] = '\0';
	for (size_t i = 0; i < COUNT(views); i++) {
		if (i)
			(void)strcat(list, ", ");
		(void)strcat(list, views[i]->name);
	}
	return list;
}

const char *views_later(void)
{
	static char list[COUNT(planned) * 20];

	list[0] = '\0';
	for (size_t i = 0; i < COUNT(planned); i++) {
		if (i)
			(void)strcat(list, ", ");
		(void)strcat(list, planned[i]);
	}
	return list;
}

enum { WORD_MAX = 31 };

static unsigned int least(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

unsigned int views_distance(const char *a, const char *b)
{
	unsigned int rows[3][WORD_MAX + 2];
	size_t a_size = strlen(a), b_size = strlen(b);

	if (a_size > WORD_MAX || b_size > WORD_MAX)
		return UINT_MAX;
	for (size_t j = 0; j <= b_size; j++)
		rows[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= a_size; i++) {
		unsigned int *now = rows[i % 3];
		const unsigned int *before = rows[(i - 1) % 3];

		now[0] = (unsigned int)i;
		for (size_t j = 1; j <= b_size; j++) {
			now[j] = least(least(before[j], now[j - 1]) + 1,
				       before[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				now[j] = least(now[j],
					       rows[(i - 2) % 3][j - 2] + 1);
		}
	}
	return rows[a_size % 3][b_size];
}

const char *views_nearest(const char *typed)
{
	const char *nearest = NULL;
	// A third of the word may be wrong, and more than that is a guess.
	unsigned int limit = (unsigned int)(strlen(typed) + 2) / 3 + 1;

	for (size_t i = 0; i < COUNT(views); i++) {
		unsigned int distance = views_distance(typed, views[i]->name);

		if (distance < limit) {
			limit = distance;
			nearest = views[i]->name;
		}
	}
	for (size_t i = 0; i < COUNT(planned); i++) {
		unsigned int distance = views_distance(typed, planned[i]);

		if (distance < limit) {
			limit = distance;
			nearest = planned[i];
		}
	}
	return nearest;
}
