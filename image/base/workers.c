/*
 * Parallel for over shards; see workers.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/workers.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "image/base/guard.h"

enum { WORKERS_MAX = 256 };

struct crew {
	workers_shard_fn *fn;
	void *context;
	size_t shards;
	atomic_size_t next;
	atomic_uint joined;
	atomic_bool stop;
	pthread_mutex_t lock;	/* of the two below */
	struct error *err;
	size_t err_shard;
};

/** CPUs that the cgroup's quota pays for, rounded up; 0: no quota known. */
static unsigned int cgroup_quota(void)
{
	CLEANUP(close_file) FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
	unsigned long long quota, period;

	if (!file || fscanf(file, "%llu %llu", &quota, &period) != 2 ||
	    period == 0)
		return 0;
	return (unsigned int)((quota + period - 1) / period);
}

unsigned int workers_available(void)
{
	cpu_set_t set;
	unsigned int count = 1, quota = cgroup_quota();

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		count = (unsigned int)CPU_COUNT(&set);
	if (quota > 0 && quota < count)
		count = quota;
	return count < 1 ? 1 : count > WORKERS_MAX ? WORKERS_MAX : count;
}

static void crew_fail(struct crew *crew, struct error *err, size_t shard)
{
	atomic_store(&crew->stop, true);
	(void)pthread_mutex_lock(&crew->lock);
	if (!crew->err || shard < crew->err_shard) {
		struct error *other = crew->err;

		crew->err = err;
		crew->err_shard = shard;
		err = other;
	}
	(void)pthread_mutex_unlock(&crew->lock);
	error_free(err);
}

static void *crew_work(void *argument)
{
	struct crew *crew = argument;
	unsigned int worker = atomic_fetch_add(&crew->joined, 1);

	while (!atomic_load(&crew->stop)) {
		size_t shard = atomic_fetch_add(&crew->next, 1);
		struct error *err;

		if (shard >= crew->shards)
			break;
		err = crew->fn(crew->context, worker, shard);
		if (err)
			crew_fail(crew, err, shard);
	}
	return NULL;
}

struct error *workers_run(unsigned int workers, size_t shards,
			  workers_shard_fn *fn, void *context)
{
	pthread_t threads[WORKERS_MAX];
	unsigned int started = 0;
	struct crew crew = {
		.fn = fn,
		.context = context,
		.shards = shards,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};

	if (workers > WORKERS_MAX)
		workers = WORKERS_MAX;
	if (workers > shards)
		workers = (unsigned int)shards;
	while (started + 1 < workers &&
	       pthread_create(&threads[started], NULL, crew_work, &crew) == 0)
		started++;
	(void)crew_work(&crew);
	while (started > 0)
		(void)pthread_join(threads[--started], NULL);
	(void)pthread_mutex_destroy(&crew.lock);
	return crew.err;
}
