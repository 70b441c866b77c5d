/*
 * Test of image/base/workers.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/workers.h"

#include <stdatomic.h>
#include <time.h>

#include "tests/lib/check.h"

enum { SHARDS = 1000, WORKERS = 8 };

static struct {
	atomic_uint times[SHARDS];	/* each shard was run */
	atomic_bool worker_out_of_range;
	atomic_int inside[WORKERS];	/* shards running on one worker */
	atomic_bool shared;
	size_t fail_from;		/* this shard and all behind it fail */
} state;

static struct error *work(void *context, unsigned int worker, size_t shard)
{
	(void)context;
	if (worker >= WORKERS) {
		atomic_store(&state.worker_out_of_range, true);
		return NULL;
	}
	if (atomic_fetch_add(&state.inside[worker], 1) != 0)
		atomic_store(&state.shared, true);
	atomic_fetch_add(&state.times[shard], 1);
	if (shard % 97 == 0)
		(void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	atomic_fetch_sub(&state.inside[worker], 1);
	if (shard >= state.fail_from)
		return error_new(ERROR_FORMAT, "shard %zu", shard);
	return NULL;
}

static void run_all(unsigned int workers, const char *name)
{
	struct error *err;
	bool once = true;

	for (size_t i = 0; i < SHARDS; i++)
		atomic_store(&state.times[i], 0);
	state.fail_from = SHARDS;
	err = workers_run(workers, SHARDS, work, NULL);
	for (size_t i = 0; i < SHARDS; i++)
		once &= atomic_load(&state.times[i]) == 1;
	CHECK(name, !err && once);
	error_free(err);
}

int main(void)
{
	struct error *err;

	run_all(1, "one worker runs every shard once");
	run_all(WORKERS, "eight workers run every shard once");
	CHECK("worker numbers are in range", !state.worker_out_of_range);
	CHECK("a worker's number is one thread's", !state.shared);
	CHECK("nothing to do", !workers_run(4, 0, work, NULL));
	run_all(0, "zero workers: the caller works");
	state.fail_from = 200;
	for (int i = 0; i < 20; i++) {
		err = workers_run(WORKERS, SHARDS, work, NULL);
		if (!err || strcmp(err->message, "shard 200") != 0)
			break;
		error_free(err);
		err = NULL;
	}
	CHECK("the error of the lowest shard", !err);
	error_free(err);
	CHECK("there is a processor", workers_available() >= 1);
	return check_result();
}
