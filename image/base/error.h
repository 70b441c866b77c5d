/*
 * Errors as values: a kind to branch on, a sentence to show, and where it was.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	struct error *err = image_open(path, &options, &image);
 *	if (err)
 *		return error_context(err, "opening %s", path);
 *
 * NULL is success. Outputs of a function that failed are untouched. Whoever
 * receives an error either returns it or frees it; libraries never print.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>
#include <stdint.h>

enum error_kind {
	ERROR_NO_MEMORY,	/* ours, not the target's */
	ERROR_OS,		/* a system call failed; os_errno says how */
	ERROR_USAGE,		/* the caller of the program asked wrongly */
	ERROR_FORMAT,		/* bytes that cannot be what they claim to be */
	ERROR_UNMAPPED,		/* the target had nothing at that address */
	ERROR_NOT_CAPTURED,	/* the target had it, the dump has not */
	ERROR_NOT_FOUND,	/* absence: asked for something not there */
	ERROR_UNSUPPORTED,	/* understood, but not something we can do */
	ERROR_DENIED,		/* could be done, and somebody does not want it */
	ERROR_LIMIT,		/* a budget (space, time, count) was reached */
	ERROR_INTERRUPTED,	/* a person or a signal asked us to stop */
};

struct error {
	enum error_kind kind;
	int os_errno;		/* 0 unless kind is ERROR_OS */
	bool has_address;
	uint64_t address;	/* in the target, when has_address */
	char *message;		/* one sentence, no newline, no final stop */
};

/** Make an error. Never fails: without memory the static no-memory error. */
struct error *error_new(enum error_kind kind, const char *format, ...)
	__attribute__((format(printf, 2, 3), returns_nonnull));

/** As error_new(), about something at a target address. */
struct error *error_at(enum error_kind kind, uint64_t address,
		       const char *format, ...)
	__attribute__((format(printf, 3, 4), returns_nonnull));

/** "SENTENCE: strerror(os_errno)", of kind ERROR_OS (ENOMEM: NO_MEMORY). */
struct error *error_os(int os_errno, const char *format, ...)
	__attribute__((format(printf, 2, 3), returns_nonnull));

/** Put "SENTENCE: " before what err says. Takes err, returns it (or NULL). */
struct error *error_context(struct error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** The one error that needs no memory. */
struct error *error_no_memory(void) __attribute__((returns_nonnull));

#ifdef ERROR_ANALYZED
/* The analyzers of gcc 12 and clang 14 make no use of returns_nonnull, and see
 * outputs used that a failed call left unset. */
static inline struct error *error_not_null(struct error *err)
{
	if (!err)
		__builtin_unreachable();
	return err;
}
#define error_new(...) error_not_null(error_new(__VA_ARGS__))
#define error_at(...) error_not_null(error_at(__VA_ARGS__))
#define error_os(...) error_not_null(error_os(__VA_ARGS__))
#define error_no_memory() error_not_null(error_no_memory())
#endif

/** Release err; NULL is fine. */
void error_free(struct error *err);

/** True if err (not NULL) says that bytes are absent rather than wrong. */
static inline bool error_is_absence(const struct error *err)
{
	return err->kind == ERROR_UNMAPPED || err->kind == ERROR_NOT_CAPTURED ||
	       err->kind == ERROR_NOT_FOUND;
}

#endif
