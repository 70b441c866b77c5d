/*
 * The clock of PyTorch's allocators; see torchclock.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchclock.h"

#include <math.h>
#include <stdlib.h>

#include "cudaheap/cachingallocator.h"

enum {
	PAIRS = 1001,		/* of {ns since 1970, count} */
};

/* Years 2001 to 2096. */
#define NS_MIN INT64_C(1000000000000000000)
#define NS_MAX INT64_C(4000000000000000000)
#define SPAN_MAX INT64_C(60000000000)	/* that measuring can take, in ns */

struct pair {
	int64_t ns;
	uint64_t count;
};

/** ns = at + rate × cycles */
struct line {
	double at, rate;
};

static bool are_pairs(const struct pair *pairs)
{
	if (pairs[0].ns < NS_MIN || pairs[0].ns > NS_MAX ||
	    pairs[PAIRS - 1].ns <= pairs[0].ns ||
	    pairs[PAIRS - 1].ns - pairs[0].ns > SPAN_MAX ||
	    pairs[PAIRS - 1].count <= pairs[0].count)
		return false;
	for (int i = 1; i < PAIRS; i++)
		if (pairs[i].count < pairs[i - 1].count ||
		    pairs[i].ns < NS_MIN || pairs[i].ns > NS_MAX)
			return false;
	return true;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *numbers, size_t count)
{
	qsort(numbers, count, sizeof(*numbers), by_size);
	return numbers[count / 2];
}

/** The straight line through those that are true with the least squares. */
static void fit_squares(const double *x, const double *y, const double *off,
			double most, struct line *line)
{
	double mean_x = 0, mean_y = 0, xx = 0, xy = 0, count = 0;

	for (int i = 0; i < PAIRS; i++) {
		if (fabs(off[i]) > most)
			continue;
		count++;
		mean_x += x[i];
		mean_y += y[i];
	}
	mean_x /= count;
	mean_y /= count;
	for (int i = 0; i < PAIRS; i++) {
		if (fabs(off[i]) > most)
			continue;
		xx += (x[i] - mean_x) * (x[i] - mean_x);
		xy += (x[i] - mean_x) * (y[i] - mean_y);
	}
	if (xx > 0 && xy > 0)
		line->rate = xy / xx;
	line->at = mean_y - line->rate * mean_x;
}

/**
 * The line through them. Where the process was interrupted in the middle of one it
 * is wrong by as much: what most of them say decides which are taken.
 */
static void fit_line(const struct pair *pairs, struct torch_clock *ret)
{
	double x[PAIRS], y[PAIRS], off[PAIRS], some[PAIRS];
	struct line line = { 0, 0 };
	size_t count = 0;

	for (int i = 0; i < PAIRS; i++) {
		x[i] = (double)(pairs[i].count - pairs[0].count);
		y[i] = (double)(pairs[i].ns - pairs[0].ns);
	}
	for (int i = 0; i < PAIRS / 2; i++)
		if (x[i + PAIRS / 2] > x[i])
			some[count++] = (y[i + PAIRS / 2] - y[i]) /
					(x[i + PAIRS / 2] - x[i]);
	if (count == 0 || (line.rate = median(some, count)) <= 0)
		return;
	for (int i = 0; i < PAIRS; i++)
		some[i] = y[i] - line.rate * x[i];
	line.at = median(some, PAIRS);
	for (int i = 0; i < PAIRS; i++) {
		off[i] = y[i] - line.rate * x[i] - line.at;
		some[i] = fabs(off[i]);
	}
	fit_squares(x, y, off, 3 * median(some, PAIRS) + 1, &line);
	ret->is_known = true;
	ret->rate = line.rate;
	ret->cycles = pairs[0].count;
	ret->ns = pairs[0].ns + (int64_t)line.at;
}

void torch_clock_find(struct memory_reader *memory, uint64_t allocator,
		      struct torch_clock *ret)
{
	enum { SIZE = PAIRS * sizeof(struct pair) };
	struct pair *pairs = malloc(SIZE);

	*ret = (struct torch_clock){ 0 };
	for (uint32_t at = 8; pairs && allocator && !ret->is_known &&
	     at < CACHING_OBJECT_MAX; at += 8) {
		uint64_t address = allocator + at, first;

		if (!memory_try_u64(memory, address, &first))
			break;
		if ((int64_t)first < NS_MIN || (int64_t)first > NS_MAX ||
		    !memory_try_read(memory, address, pairs, SIZE))
			continue;
		if (are_pairs(pairs))
			fit_line(pairs, ret);
	}
	free(pairs);
}

int64_t torch_clock_us(const struct torch_clock *clock, uint64_t count)
{
	double past = (double)(int64_t)(count - clock->cycles) * clock->rate;

	if (!clock->is_known)
		return (int64_t)count;
	if (past > (double)NS_MAX || past < -(double)NS_MAX)
		return 0;
	return (clock->ns + (int64_t)past) / 1000;
}
