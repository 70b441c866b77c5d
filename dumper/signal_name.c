/*
 * Signals as people write them; see signal_name.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/signal_name.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int signal_by_name(const char *text, size_t length)
{
	char name[16], *end;
	long number;

	if (length == 0 || length >= sizeof(name))
		return 0;
	memcpy(name, text, length);
	name[length] = '\0';
	number = strtol(name, &end, 10);
	if (*end == '\0')
		return number > 0 && number < NSIG ? (int)number : 0;
	for (int i = 1; i < NSIG; i++) {
		const char *known = sigabbrev_np(i);

		if (known && (strcmp(name, known) == 0 ||
			      (strncmp(name, "SIG", 3) == 0 &&
			       strcmp(name + 3, known) == 0)))
			return i;
	}
	return 0;
}

const char *signal_name(int number, char text[SIGNAL_NAME_MAX])
{
	const char *known = sigabbrev_np(number);

	if (known)
		(void)snprintf(text, SIGNAL_NAME_MAX, "SIG%s", known);
	else
		(void)snprintf(text, SIGNAL_NAME_MAX, "signal %d", number);
	return text;
}
