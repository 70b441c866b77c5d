/*
 * Test of image/live/cgroup: versions 1 and 2 as files in a folder of ours,
 * from the host, from inside a container, and beside one.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/cgroup.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/live/pressure.h"
#include "tests/lib/check.h"

static char root[PATH_MAX / 2];
static char cgroup_file[PATH_MAX], mounts_file[PATH_MAX];

static void make_folders(const char *path)
{
	char text[PATH_MAX];

	(void)snprintf(text, sizeof(text), "%s%s", root, path);
	for (char *at = strchr(text + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		(void)mkdir(text, 0700);
		*at = '/';
	}
	(void)mkdir(text, 0700);
}

static void write_file(const char *path, const char *text)
{
	char name[PATH_MAX];

	(void)snprintf(name, sizeof(name), "%s%s", root, path);
	FILE *file = fopen(name, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) != 0)
		(void)printf("not ok writing %s: %s\n", name, strerror(errno));
}

static void remove_all(void)
{
	char command[PATH_MAX];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
	if (system(command) != 0)
		(void)printf("# %s is left behind\n", root);
}

static void find(const char *cgroup, const char *mounts, struct cgroup *ret)
{
	write_file("/cgroup", cgroup);
	write_file("/mounts", mounts);
	cgroup_find_by(cgroup_file, mounts_file, root, ret);
}

/** The path below root, or "(null)". */
static const char *folder_of(const struct cgroup *cgroup)
{
	return cgroup->folder ? cgroup->folder + strlen(root) : "(null)";
}

static void test_places(void)
{
	struct cgroup found;

	make_folders("/sys/fs/cgroup/a/b");
	make_folders("/sys/fs/cgroup/memory/docker/1");
	make_folders("/with space/docker/1");
	find("0::/a/b\n", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n",
	     &found);
	CHECK_STRING("version 2", folder_of(&found), "/sys/fs/cgroup/a/b");
	CHECK("is told", found.unified);
	cgroup_deinit(&found);
	find("3:cpuset,memory:/docker/1\n0::/a/b\n",
	     "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n"
	     "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup none rw,memory\n",
	     &found);
	CHECK_STRING("version 1, which has the controller", folder_of(&found),
		     "/sys/fs/cgroup/memory/docker/1");
	CHECK("is told", !found.unified);
	cgroup_deinit(&found);
	// Docker with the host's cgroup namespace: a mount of its own folder.
	find("0::/docker/1/a/b\n", "41 31 0:38 /docker/1 /sys/fs/cgroup "
	     "ro,nosuid master:1 shared:2 - cgroup2 none rw\n", &found);
	CHECK_STRING("in a container", folder_of(&found), "/sys/fs/cgroup/a/b");
	cgroup_deinit(&found);
	find("0::/docker/1\n", "41 31 0:38 /docker/1 /sys/fs/cgroup ro - "
	     "cgroup2 none rw\n", &found);
	CHECK_STRING("its own", folder_of(&found), "/sys/fs/cgroup");
	cgroup_deinit(&found);
	find("0::/docker/12\n", "41 31 0:38 /docker/1 /sys/fs/cgroup ro - "
	     "cgroup2 none rw\n", &found);
	CHECK_STRING("not that of another container", folder_of(&found),
		     "(null)");
	cgroup_deinit(&found);
	// From one container into another, by the other one's mounts.
	find("0::/../1\n", "41 31 0:38 /../1 /sys/fs/cgroup ro - cgroup2 n rw\n",
	     &found);
	CHECK_STRING("beside it", folder_of(&found), "/sys/fs/cgroup");
	cgroup_deinit(&found);
	find("1:memory:/docker/1\n", "1 2 0:3 / /with\\040space rw - cgroup x "
	     "rw,memory\n", &found);
	CHECK_STRING("a blank", folder_of(&found), "/with space/docker/1");
	cgroup_deinit(&found);
	find("0::/a\n", "nonsense\n1 2\n- - -\n1 2 3 4 5 - cgroup2\n", &found);
	CHECK("nonsense among the mounts", !found.folder);
	cgroup_deinit(&found);
	find("", "", &found);
	CHECK("no cgroup at all", !found.path && !found.folder);
	cgroup_deinit(&found);
}

static void test_unified(void)
{
	struct cgroup_events events;
	struct cgroup_use use;
	struct cgroup cgroup;
	struct pollfd fd = { .events = POLLIN };

	find("0::/a/b\n", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n",
	     &cgroup);
	CHECK("no limit", !cgroup_read_fullest(&cgroup, &use));
	write_file("/sys/fs/cgroup/a/b/memory.current", "7000\n");
	write_file("/sys/fs/cgroup/a/b/memory.max", "max\n");
	write_file("/sys/fs/cgroup/a/b/memory.stat",
		   "anon 5000\ninactive_file 1500\nactive_file 500\n");
	write_file("/sys/fs/cgroup/a/memory.current", "9000\n");
	write_file("/sys/fs/cgroup/a/memory.max", "10000\n");
	cgroup_read(&cgroup, &use);
	CHECK_U64("current", use.current, 7000);
	CHECK_U64("without what the kernel would drop", use.working, 5500);
	CHECK_U64("the limit of the one above", use.limit, 10000);
	CHECK("the fullest", cgroup_read_fullest(&cgroup, &use));
	CHECK_U64("is the one above", use.working, 9000);
	write_file("/sys/fs/cgroup/a/b/memory.max", "5600\n");
	CHECK("its own limit", cgroup_read_fullest(&cgroup, &use) &&
	      use.limit == 5600 && use.working == 5500);

	write_file("/sys/fs/cgroup/a/b/memory.events",
		   "low 9\nhigh 1\nmax 2\noom 3\noom_kill 4\n");
	write_file("/sys/fs/cgroup/a/memory.events", "max 10\n");
	fd.fd = cgroup_open_events(&cgroup, 5000);
	CHECK("nothing has happened", poll(&fd, 1, 0) == 0);
	cgroup_read_events(&cgroup, &events);
	CHECK_U64("counters", events.high + 10 * events.max + 1000 * events.oom
		  + 10000 * events.oom_kill, 43121);
	write_file("/sys/fs/cgroup/a/memory.events", "max 11\n");
	CHECK("a counter of one above", poll(&fd, 1, 5000) == 1);
	cgroup_clear_event(fd.fd);
	CHECK("once", poll(&fd, 1, 0) == 0);
	cgroup_read_events(&cgroup, &events);
	CHECK_U64("has risen", events.max, 13);
	(void)close(fd.fd);
	cgroup_deinit(&cgroup);
}

static void test_old(void)
{
	struct cgroup_events events;
	struct cgroup_use use;
	struct cgroup cgroup;

	find("3:memory:/docker/1\n", "35 31 0:32 / /sys/fs/cgroup/memory rw - "
	     "cgroup none rw,memory\n", &cgroup);
	write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes",
		   "9223372036854771712\n");
	write_file("/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
		   "4096\n");
	write_file("/sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes",
		   "3000\n");
	write_file("/sys/fs/cgroup/memory/docker/1/memory.stat",
		   "inactive_file 1\ntotal_inactive_file 1000\n");
	write_file("/sys/fs/cgroup/memory/docker/1/memory.failcnt", "3\n");
	write_file("/sys/fs/cgroup/memory/docker/1/memory.oom_control",
		   "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
	cgroup_read(&cgroup, &use);
	CHECK_U64("version 1: current", use.current, 3000);
	CHECK_U64("version 1: without files", use.working, 2000);
	CHECK_U64("version 1: a limit above", use.limit, 4096);
	cgroup_read_events(&cgroup, &events);
	CHECK_U64("version 1: events", events.max * 10 + events.oom_kill, 32);
	cgroup_deinit(&cgroup);
}

static bool parses(const char *text, struct pressure_limit *ret)
{
	struct error *err = pressure_parse(text, ret);
	bool good = err == NULL;

	error_free(err);
	return good;
}

static void test_pressure(void)
{
	struct pressure_limit limit;

	CHECK("some", parses("some 150000 1000000", &limit) && !limit.full &&
	      limit.stall_us == 150000 && limit.window_us == 1000000);
	CHECK("full", parses("full 1 10000000", &limit) && limit.full);
	CHECK("none", !parses("none 1 1000000", &limit));
	CHECK("too short a window", !parses("some 1 499999", &limit));
	CHECK("too long a window", !parses("some 1 10000001", &limit));
	CHECK("more than the window", !parses("some 1000001 1000000", &limit));
	CHECK("more words", !parses("some 1 1000000 x", &limit));
	CHECK("too few", !parses("some 1", &limit));
}

int main(void)
{
	const char *base = getenv("HEAPSCAN_TMP");

	(void)snprintf(root, sizeof(root), "%s/cgroup.XXXXXX",
		       base ? base : "/tmp");
	if (!mkdtemp(root))
		return 1;
	(void)snprintf(cgroup_file, sizeof(cgroup_file), "%s/cgroup", root);
	(void)snprintf(mounts_file, sizeof(mounts_file), "%s/mounts", root);
	test_places();
	test_unified();
	test_old();
	test_pressure();
	remove_all();
	return check_result();
}
