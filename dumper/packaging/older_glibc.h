/*
 * What glibc 2.31 lacks, for the bundle: included before everything else.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The sources are written for glibc 2.36 (Debian 12).
 */
#ifndef PACKAGING_OLDER_GLIBC_H
#define PACKAGING_OLDER_GLIBC_H

#include <elf.h>
#include <features.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same on every machine. */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif

#ifndef EM_LOONGARCH
#define EM_LOONGARCH 258
#endif

#if !__GLIBC_PREREQ(2, 32)
static inline const char *sigabbrev_np(int number)
{
	static const struct {
		int number;
		const char *name;
	} known[] = {
#define KNOWN(name) { SIG##name, #name }
		KNOWN(HUP), KNOWN(INT), KNOWN(QUIT), KNOWN(ILL), KNOWN(TRAP),
		KNOWN(ABRT), KNOWN(BUS), KNOWN(FPE), KNOWN(KILL), KNOWN(USR1),
		KNOWN(SEGV), KNOWN(USR2), KNOWN(PIPE), KNOWN(ALRM),
		KNOWN(TERM), KNOWN(STKFLT), KNOWN(CHLD), KNOWN(CONT),
		KNOWN(STOP), KNOWN(TSTP), KNOWN(TTIN), KNOWN(TTOU), KNOWN(URG),
		KNOWN(XCPU), KNOWN(XFSZ), KNOWN(VTALRM), KNOWN(PROF),
		KNOWN(WINCH), KNOWN(POLL), KNOWN(PWR), KNOWN(SYS),
#undef KNOWN
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (known[i].number == number)
			return known[i].name;
	return NULL;
}
#endif

#if !__GLIBC_PREREQ(2, 34)
static inline int close_range(unsigned int first, unsigned int last, int flags)
{
	return (int)syscall(SYS_close_range, first, last, flags);
}
#endif

#endif
