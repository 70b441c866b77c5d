/*
 * The registers of a stopped thread; see regsets.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/regsets.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

/* Newer than the C library's elf.h on some machines. */
enum {
	REGSET_ARM_PAC_MASK = 0x406,
	REGSET_ARM_TAGGED_ADDR_CTRL = 0x409,
	REGSET_ARM_GCS = 0x410,
	REGSET_ARM_SSVE = 0x40b,
};

/*
 * Register sets in the order of the kernel's own notes. Left out on purpose:
 * NT_ARM_PACA_KEYS, which are secrets, and NT_ARM_SYSTEM_CALL.
 */
static const uint32_t regset_types[] = {
	NT_PRSTATUS,
	NT_PRFPREG,
#if defined(__x86_64__)
	NT_X86_XSTATE,
#elif defined(__aarch64__)
	NT_ARM_TLS,
	NT_ARM_HW_BREAK,
	NT_ARM_HW_WATCH,
	NT_ARM_SVE,
	REGSET_ARM_PAC_MASK,
	REGSET_ARM_TAGGED_ADDR_CTRL,
	REGSET_ARM_SSVE,
	REGSET_ARM_GCS,
#else
#error "only x86-64 and aarch64"
#endif
};

struct error *regsets_read(struct frozen_thread *thread, uint8_t *scratch)
{
	size_t count = sizeof(regset_types) / sizeof(*regset_types);

	_Static_assert(sizeof(regset_types) / sizeof(*regset_types) <=
		       FREEZE_REGSETS_MAX, "room for all sets");
	for (size_t i = 0; i < count; i++) {
		struct freeze_regset *set = &thread->regsets[thread->num_regsets];
		struct iovec vector = {
			.iov_base = scratch,
			.iov_len = REGSETS_SCRATCH_SIZE,
		};

		if (ptrace(PTRACE_GETREGSET, thread->tid,
			   (void *)(uintptr_t)regset_types[i], &vector) != 0) {
			if (errno == ESRCH)
				thread->gone = true;
			continue;	/* this processor has no such set */
		}
		set->data = malloc(vector.iov_len + 1);
		if (!set->data)
			return error_no_memory();
		memcpy(set->data, scratch, vector.iov_len);
		set->type = regset_types[i];
		set->size = (uint32_t)vector.iov_len;
		thread->num_regsets++;
	}
	return NULL;
}

void regsets_release(struct frozen_thread *thread)
{
	for (size_t i = 0; i < thread->num_regsets; i++)
		free(thread->regsets[i].data);
	thread->num_regsets = 0;
}
