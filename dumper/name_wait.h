/*
 * Waits for a process by its command line: --wait-name.
 * SPDX-License-Identifier: Apache-2.0
 *
 * This program, those that started it (whose command lines hold the name, as
 * of sudo and sh -c) and other copies of this program are not meant.
 */
#ifndef DUMPER_NAME_WAIT_H
#define DUMPER_NAME_WAIT_H

#include <sys/types.h>

#include "image/base/error.h"

struct name_wait;

/** ERROR_USAGE where it is no regular expression (PCRE2). */
struct error *name_wait_check(const char *pattern);

struct error *name_wait_open(const char *pattern, struct name_wait **ret);
void name_wait_close(struct name_wait *wait);

/**
 * Look once. New processes are looked at in each of the first looks, as they
 * may turn into another program; older ones now and then.
 *
 * @return the process of the least number that matches; 0: none
 */
pid_t name_wait_look(struct name_wait *wait);

#endif
