/*
 * Signals as people write them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_SIGNAL_NAME_H
#define DUMPER_SIGNAL_NAME_H

#include <stddef.h>

/** The number of a signal by its name (USR1, SIGUSR1) or number; 0: none. */
int signal_by_name(const char *text, size_t length);

enum { SIGNAL_NAME_MAX = 24 };

/** "SIGSEGV", "signal 35". Returns text. */
const char *signal_name(int number, char text[SIGNAL_NAME_MAX]);

#endif
