/*
 * A target without Python: buffers of numbers, and tables of pointers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: nativetarget
 *
 * Prints "PAYLOAD NAME ADDRESS SIZE" and "TABLE NAME ADDRESS SIZE" lines, then
 * "READY PID", and waits until its input ends.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1 << 20, PIECES = 8 };

static void tell(const char *kind, const char *name, const void *start,
		 size_t size)
{
	printf("%s %s %" PRIuPTR " %zu\n", kind, name, (uintptr_t)start, size);
}

static void *numbers(size_t size, size_t align)
{
	double *made = NULL;

	if (align == 0)
		made = malloc(size);
	else if (posix_memalign((void **)&made, align, size) != 0)
		made = NULL;
	if (!made)
		exit(1);
	for (size_t i = 0; i < size / sizeof(*made); i++)
		made[i] = (double)i * 0.37 + 1e-3;
	return made;
}

/** As a hash table has them: an index and three words for each entry. */
static void *table(size_t size)
{
	uintptr_t *made = malloc(size);

	if (!made)
		exit(1);
	for (size_t i = 0; i < size / sizeof(*made); i++)
		made[i] = i % 4 == 3 ? (uintptr_t)(made + i) :
				       i * 2654435761u;
	return made;
}

/** Another thread's memory comes from an arena of its own. */
static void *in_arena(void *unused)
{
	(void)unused;
	for (int i = 0; i < PIECES; i++) {
		tell("PAYLOAD", "arena", numbers(100000, 0), 100000);
		tell("TABLE", "arena", table(100000), 100000);
	}
	return NULL;
}

static void *wait_here(void *unused)
{
	(void)unused;
	for (;;)
		(void)pause();
	return NULL;
}

/** A thread whose stack is malloc's memory, nearly all of it full of numbers. */
static bool start_on_own_stack(void)
{
	void *stack = numbers(MIB, 4096);
	pthread_attr_t attributes;
	pthread_t thread;

	tell("TABLE", "stack", stack, MIB);
	return pthread_attr_init(&attributes) == 0 &&
	       pthread_attr_setstack(&attributes, stack, MIB) == 0 &&
	       pthread_create(&thread, &attributes, wait_here, NULL) == 0;
}

int main(void)
{
	pthread_t thread;
	char byte;

#ifdef __SANITIZE_ADDRESS__
	// Its malloc is not glibc's then.
	printf("SANITIZED\n");
#endif
	tell("PAYLOAD", "mapped", numbers(4 * MIB, 0), 4 * MIB);
	tell("PAYLOAD", "aligned", numbers(4 * MIB, 64), 4 * MIB);
	tell("TABLE", "mapped", table(4 * MIB), 4 * MIB);
	for (int i = 0; i < PIECES; i++) {
		tell("PAYLOAD", "heap", numbers(100000, 0), 100000);
		tell("TABLE", "heap", table(100000), 100000);
	}
	if (pthread_create(&thread, NULL, in_arena, NULL) != 0 ||
	    pthread_join(thread, NULL) != 0 || !start_on_own_stack())
		return 1;
	printf("READY %d\n", getpid());
	fflush(stdout);
	return read(STDIN_FILENO, &byte, 1) < 0;
}
