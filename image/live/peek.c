/*
 * Reads another process's memory; see peek.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/peek.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "image/base/guard.h"

struct error *peek_open(pid_t pid, bool snapshot, struct peek *ret)
{
	char path[40];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && snapshot)
		return error_os(errno, "%s", path);
	*ret = (struct peek){ .pid = pid, .mem_fd = fd, .snapshot = snapshot };
	return NULL;
}

void peek_close(struct peek *peek)
{
	close_fd(&peek->mem_fd);
	peek->mem_fd = -1;
}

/** Bytes read from the mem file. */
static size_t read_file(const struct peek *peek, uint64_t address,
			uint8_t *buffer, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = pread(peek->mem_fd, buffer + done, size - done,
				    (off_t)(address + done));

		if (got < 0 && errno == EINTR)
			continue;
		// At the end of its life a process has no memory.
		if (got == 0)
			errno = ESRCH;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

size_t peek_vectors(const struct peek *peek, const struct iovec *local,
		    const struct iovec *remote, size_t count)
{
	size_t done = 0;

	if (!peek->snapshot) {
		ssize_t got = process_vm_readv(peek->pid, local, count, remote,
					       count, 0);

		return got < 0 ? 0 : (size_t)got;
	}
	for (size_t i = 0; i < count; i++) {
		size_t got = read_file(peek,
				       (uint64_t)(uintptr_t)remote[i].iov_base,
				       local[i].iov_base, local[i].iov_len);

		done += got;
		if (got < local[i].iov_len)
			break;
	}
	return done;
}

bool peek_read(const struct peek *peek, uint64_t address, void *buffer,
	       size_t size)
{
	struct iovec local = { buffer, size };
	struct iovec remote = { (void *)(uintptr_t)address, size };

	return peek_vectors(peek, &local, &remote, 1) == size;
}

bool peek_read_forced(const struct peek *peek, uint64_t address, void *buffer,
		      size_t size)
{
	return peek->mem_fd >= 0 &&
	       read_file(peek, address, buffer, size) == size;
}
