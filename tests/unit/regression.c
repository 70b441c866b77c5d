/*
 * Test of image/base/regression: lines through series whose slope is known.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/regression.h"

#include <math.h>

#include "tests/lib/check.h"

static struct regression series;

static bool near(double got, double expected)
{
	return fabs(got - expected) <= 1e-6 * (1 + fabs(expected));
}

static void test_exact(void)
{
	struct regression_line line = { 0 };

	series = (struct regression){ 0 };
	CHECK("no line through nothing", !regression_fit(&series, 0, &line));
	regression_add(&series, 1e9, 5e10, 0);
	regression_add(&series, 1e9 + 1, 5e10 + 3, 0);
	CHECK("no line through two points", !regression_fit(&series, 0, &line));
	CHECK("their span", near(regression_span(&series), 1));
	regression_add(&series, 1e9 + 3, 5e10 + 9, 0);
	CHECK("a line through three", regression_fit(&series, 0, &line));
	CHECK("its slope, far from zero", near(line.slope, 3));
	CHECK("its ends", near(line.start, 5e10) && near(line.end, 5e10 + 9));
	CHECK("all points on it", near(line.r_squared, 1));
	CHECK("none beyond the end", !regression_fit(&series, 4, &line));
}

static void test_noise(void)
{
	struct regression_line line = { 0 };

	// Anscombe's first set: slope 0.5001, r squared 0.6665.
	static const double x[] = { 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 };
	static const double y[] = { 4.26, 5.68, 7.24, 4.82, 6.95, 8.81, 8.04,
				    8.33, 10.84, 7.58, 9.96 };

	series = (struct regression){ 0 };
	for (size_t i = 0; i < sizeof(x) / sizeof(*x); i++)
		regression_add(&series, x[i], y[i], 0);
	CHECK("noise", regression_fit(&series, 0, &line));
	CHECK("its slope", fabs(line.slope - 0.5001) < 0.0001);
	CHECK("its r squared", fabs(line.r_squared - 0.6665) < 0.0001);
}

static void test_window(void)
{
	struct regression_line line = { 0 };

	series = (struct regression){ 0 };
	for (int i = 0; i < 100; i++)
		regression_add(&series, i, i < 50 ? 0 : i, i - 20);
	CHECK_U64("old points are forgotten", series.count, 21);
	CHECK("and do not count", regression_fit(&series, 0, &line) &&
	      near(line.slope, 1) && near(line.start, 79));
	for (int i = 100; i < 3000; i++)
		regression_add(&series, i, 7, 0);
	CHECK_U64("the window is bounded", series.count, REGRESSION_POINTS_MAX);
	CHECK("a flat line", regression_fit(&series, 0, &line) &&
	      near(line.slope, 0) && near(line.end, 7));
	CHECK("the span of it", near(regression_span(&series),
				     REGRESSION_POINTS_MAX - 1));
}

int main(void)
{
	test_exact();
	test_noise();
	test_window();
	return check_result();
}
