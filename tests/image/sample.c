/*
 * A program to take cores of: some of everything that a core may hold.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Prints "READY PID" when all of it is there, then waits for its input to
 * end. The arguments: a file to map as data.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE (1 << 20)

int exported_counter = 7;
const char exported_text[] = "a constant, in a page that nobody writes to";
char exported_bss[3 * 4096];
static volatile int local_counter = 8;
char *volatile heap_block;

int exported_function(int argument);

__attribute__((noinline)) int exported_function(int argument)
{
	return argument * local_counter + exported_counter;
}

static void *wait_for_ever(void *name)
{
	(void)pthread_setname_np(pthread_self(), name);
	for (;;)
		(void)pause();
	return NULL;
}

static void map_some(const char *file)
{
	int fd = open(file, O_RDONLY);
	char *large;

	if (fd < 0 || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) ==
			      MAP_FAILED)
		exit(1);
	(void)close(fd);
	large = mmap(NULL, LARGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (large == MAP_FAILED ||
	    mmap(NULL, LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
		    MAP_FAILED)
		exit(1);
	memset(large + LARGE / 2, 'L', 4096);
}

int main(int argc, char **argv)
{
	static char names[2][16] = { "first-thread", "second-thread" };
	pthread_t threads[2];

	if (argc != 2)
		return 2;
	map_some(argv[1]);
	heap_block = malloc(100000);
	memset(heap_block, 'h', 100000);
	exported_bss[5000] = (char)exported_function(1);
	for (int i = 0; i < 2; i++) {
		if (pthread_create(&threads[i], NULL, wait_for_ever, names[i]))
			return 1;
	}
	(void)usleep(100000);
	printf("READY %d\n", (int)getpid());
	(void)fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
