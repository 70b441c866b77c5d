/*
 * Giving up what root may; see privileges.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct error *set_capabilities(uint64_t kept)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)kept, (uint32_t)kept, 0 },
		{ (uint32_t)(kept >> 32), (uint32_t)(kept >> 32), 0 },
	};

	return syscall(SYS_capset, &header, data) == 0 ? NULL :
		error_os(errno, "giving up capabilities");
}

struct error *privileges_become(uid_t uid, gid_t gid)
{
	uint64_t look = UINT64_C(1) << CAP_SYS_PTRACE;
	struct error *err;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, NULL) != 0 ||
	    setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
		return error_os(errno, "becoming user %u", uid);
	err = set_capabilities(look);
	// Changing the user has made it what the system's default is.
	if (!err && prctl(PR_SET_DUMPABLE, 0) != 0)
		err = error_os(errno, "forbidding to be traced");
	return err;
}

struct error *privileges_drop_all(void)
{
	return set_capabilities(0);
}

struct error *privileges_harden(void)
{
	// The kernel calls no handler for a core of a process whose limit is
	// 1, so that one which crashes is not handled by itself again.
	const struct rlimit one = { 1, 1 };

	if (setrlimit(RLIMIT_CORE, &one) != 0 ||
	    prctl(PR_SET_DUMPABLE, 0) != 0)
		return error_os(errno, "forbidding cores of this process");
	(void)umask(S_IRWXG | S_IRWXO);
	if (close_range(STDERR_FILENO + 1, ~0U, 0) != 0 || chdir("/") != 0)
		return error_os(errno, "closing what was inherited");
	if (clearenv() != 0 || setenv("PATH", "/usr/bin:/bin", 1) != 0)
		return error_no_memory();
	return NULL;
}
