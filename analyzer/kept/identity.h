/*
 * Which dump a file holds: told by a look, and for sure.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A look reads the size, the head (where a core has its notes: process, time,
 * registers of all threads) and the end (where heapdump's dumps have the final
 * notes and the size of every frame). Two dumps are hardly ever alike in these,
 * and a copy of one always is. But bytes between may have been changed: where
 * the kernel's times do not say that it is the very file that was seen before,
 * a hash of all its content decides.
 */
#ifndef ANALYZER_IDENTITY_H
#define ANALYZER_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "image/base/error.h"

enum { IDENTITY_KEY = 32 };

/** A file as the kernel knows it: all of it changes when the content does. */
struct file_state {
	uint64_t device, inode, size;
	int64_t modified, changed;	/* nanoseconds since the epoch */
};

/** ret is all zero where the file changed so lately that its times do not tell
 * whether it will go on; see file_state_same(). */
struct error *file_state_of(int fd, struct file_state *ret);

/** True if both are of one file that has not been written to between. */
bool file_state_same(const struct file_state *a, const struct file_state *b);

/** Wait until file_state_of() can tell, if the file changed just now. */
void file_state_settle(int fd);

/**
 * @param circumstances  what else results depend on, as text
 * @param key  filled in: equal for equal dumps under equal circumstances, read
 *	by the same build of this program
 */
struct error *identity_look(int fd, const char *circumstances,
			    uint8_t key[IDENTITY_KEY]);

/** A hash of all bytes of a file. */
struct error *identity_content(int fd, unsigned int workers,
			       uint64_t ret[2]);

#endif
