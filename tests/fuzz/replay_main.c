/*
 * Runs a fuzz target on files, without a fuzzer: for `make check`.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	fuzz_NAME FILE|FOLDER...
 *
 * Linked to each target where the compiler brings no main() of its own. Each
 * input is a copy of exactly its size, so that a sanitizer sees the first byte
 * read past it. Prints one line for tests/run; a crash or a hang is the target's
 * way to fail, and the name on standard error says on which input.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/base/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static unsigned long replayed;

static int replay_file(const char *path)
{
	CLEANUP(close_file) FILE *file = fopen(path, "rb");
	CLEANUP(free_pointer) uint8_t *input = NULL;
	struct stat status;
	size_t size;

	if (!file || fstat(fileno(file), &status) != 0) {
		perror(path);
		return 1;
	}
	size = (size_t)status.st_size;
	input = malloc(size ? size : 1);
	if (!input || fread(input, 1, size, file) != size) {
		perror(path);
		return 1;
	}
	fprintf(stderr, "%s\n", path);
	(void)LLVMFuzzerTestOneInput(input, size);
	replayed++;
	return 0;
}

static int replay_folder(const char *path)
{
	struct dirent **entries;
	int failed = 0, count = scandir(path, &entries, NULL, alphasort);

	if (count < 0) {
		perror(path);
		return 1;
	}
	for (int i = 0; i < count; i++) {
		CLEANUP(free_pointer) char *name = NULL;

		if (entries[i]->d_name[0] != '.') {
			if (asprintf(&name, "%s/%s", path,
				     entries[i]->d_name) < 0)
				abort();
			failed |= replay_file(name);
		}
		free(entries[i]);
	}
	free(entries);
	return failed;
}

int main(int argc, char **argv)
{
	const char *program = strrchr(argv[0], '/');
	struct stat status;
	int failed = argc < 2;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode))
			failed |= replay_folder(argv[i]);
		else
			failed |= replay_file(argv[i]);
	}
	program = program ? program + 1 : argv[0];
	if (failed || replayed == 0)
		printf("not ok %s: inputs expected, %lu were replayed\n",
		       program, replayed);
	else
		printf("ok %s on %lu inputs\n", program, replayed);
	return failed || replayed == 0;
}
