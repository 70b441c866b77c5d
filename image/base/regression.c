/*
 * The straight line through a series of measurements; see regression.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/regression.h"

static const struct regression_point *point(const struct regression *series,
					    size_t index)
{
	return &series->points[(series->first + index) % REGRESSION_POINTS_MAX];
}

static void forget_first(struct regression *series)
{
	series->first = (series->first + 1) % REGRESSION_POINTS_MAX;
	series->count--;
}

void regression_add(struct regression *series, double x, double y,
		    double oldest)
{
	size_t at;

	while (series->count > 0 && point(series, 0)->x < oldest)
		forget_first(series);
	if (series->count == REGRESSION_POINTS_MAX)
		forget_first(series);
	at = (series->first + series->count++) % REGRESSION_POINTS_MAX;
	series->points[at] = (struct regression_point){ x, y };
}

double regression_span(const struct regression *series)
{
	return series->count < 2 ? 0 :
		point(series, series->count - 1)->x - point(series, 0)->x;
}

bool regression_fit(const struct regression *series, size_t first,
		    struct regression_line *ret)
{
	double mean_x = 0, mean_y = 0, xx = 0, xy = 0, yy = 0;
	size_t count = series->count - first;

	if (first > series->count || count < 3)
		return false;
	for (size_t i = first; i < series->count; i++) {
		mean_x += point(series, i)->x / (double)count;
		mean_y += point(series, i)->y / (double)count;
	}
	// Around the means, so that large times and sizes do not cancel out.
	for (size_t i = first; i < series->count; i++) {
		double dx = point(series, i)->x - mean_x;
		double dy = point(series, i)->y - mean_y;

		xx += dx * dx;
		xy += dx * dy;
		yy += dy * dy;
	}
	if (!(xx > 0))
		return false;
	ret->slope = xy / xx;
	ret->start = mean_y + ret->slope * (point(series, first)->x - mean_x);
	ret->end = mean_y +
		   ret->slope * (point(series, series->count - 1)->x - mean_x);
	ret->r_squared = yy > 0 ? xy * xy / (xx * yy) : 1;
	return true;
}
