/*
 * The straight line through a series of measurements, by least squares.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A series is a window of bounded length: when it is full, the oldest
 * measurement makes room for the newest.
 */
#ifndef BASE_REGRESSION_H
#define BASE_REGRESSION_H

#include <stdbool.h>
#include <stddef.h>

enum { REGRESSION_POINTS_MAX = 512 };

struct regression_point {
	double x, y;
};

struct regression {
	struct regression_point points[REGRESSION_POINTS_MAX];	/* a ring */
	size_t first, count;
};

struct regression_line {
	double slope;		/* y for each x */
	double start, end;	/* y on the line at the first and last x */
	double r_squared;	/* 1: all points lie on it; 0: none of it */
};

/** Add a point whose x is above all others', and forget those below oldest. */
void regression_add(struct regression *series, double x, double y,
		    double oldest);

/** From the first point's x to the last one's; 0 without two points. */
double regression_span(const struct regression *series);

/**
 * Fit a line to the points from index first on (0 is the oldest).
 *
 * @return false with less than three points there, or all at one x
 */
bool regression_fit(const struct regression *series, size_t first,
		    struct regression_line *ret);

#endif
