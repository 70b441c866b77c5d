/*
 * Giving up what root may, step by step.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_PRIVILEGES_H
#define DUMPER_PRIVILEGES_H

#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"

/**
 * Become a user for good, keeping of all capabilities only the one to look into
 * processes (CAP_SYS_PTRACE). For root only that capability stays as well. No
 * program that is started later can gain any.
 */
struct error *privileges_become(uid_t uid, gid_t gid);

/** Give that one up, too. */
struct error *privileges_drop_all(void);

/**
 * Make this process one that nobody traces and of which no core is written,
 * its environment and descriptors its own: for a program that the kernel
 * started, and not a person.
 */
struct error *privileges_harden(void);

#endif
