/*
 * Errors as values; see error.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#undef ERROR_ANALYZED		/* here the functions themselves are written */
#include "image/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reporting that memory is gone must not need memory. */
static struct error no_memory = {
	.kind = ERROR_NO_MEMORY,
	.message = (char *)"out of memory",
};

struct error *error_no_memory(void)
{
	return &no_memory;
}

static struct error *error_take(enum error_kind kind, char *message)
{
	struct error *err;

	if (!message)
		return &no_memory;
	err = calloc(1, sizeof(*err));
	if (!err) {
		free(message);
		return &no_memory;
	}
	err->kind = kind;
	err->message = message;
	return err;
}

__attribute__((format(printf, 1, 0)))
static char *format_message(const char *format, va_list args)
{
	char *message;

	return vasprintf(&message, format, args) < 0 ? NULL : message;
}

struct error *error_new(enum error_kind kind, const char *format, ...)
{
	va_list args;
	char *message;

	va_start(args, format);
	message = format_message(format, args);
	va_end(args);
	return error_take(kind, message);
}

struct error *error_at(enum error_kind kind, uint64_t address,
		       const char *format, ...)
{
	struct error *err;
	va_list args;
	char *message;

	va_start(args, format);
	message = format_message(format, args);
	va_end(args);
	err = error_take(kind, message);
	if (err != &no_memory) {
		err->has_address = true;
		err->address = address;
	}
	return err;
}

struct error *error_os(int os_errno, const char *format, ...)
{
	struct error *err;
	va_list args;
	char *what, *message = NULL;

	va_start(args, format);
	what = format_message(format, args);
	va_end(args);
	if (!what ||
	    asprintf(&message, "%s: %s", what, strerror(os_errno)) < 0)
		message = NULL;
	free(what);
	err = error_take(os_errno == ENOMEM ? ERROR_NO_MEMORY : ERROR_OS,
			 message);
	if (err != &no_memory)
		err->os_errno = os_errno;
	return err;
}

struct error *error_context(struct error *err, const char *format, ...)
{
	va_list args;
	char *what, *message = NULL;

	if (!err || err == &no_memory)
		return err;
	va_start(args, format);
	what = format_message(format, args);
	va_end(args);
	if (!what || asprintf(&message, "%s: %s", what, err->message) < 0)
		message = NULL;
	free(what);
	// Without memory for the context the bare sentence is still right.
	if (message) {
		free(err->message);
		err->message = message;
	}
	return err;
}

void error_free(struct error *err)
{
	if (!err || err == &no_memory)
		return;
	free(err->message);
	free(err);
}
