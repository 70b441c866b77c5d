// SPDX-License-Identifier: Apache-2.0
// A program that ends in the way that it is told to, once its input ends.
//
//	g++ -O1 -fno-inline -fstack-protector-strong -pthread
#include <cassert>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <unistd.h>

namespace shop {
struct Refused : std::runtime_error {
	using std::runtime_error::runtime_error;
};
}

static volatile long sink;

static void null() { *(volatile long *)0x18 = 1; }

static void constant() { *(volatile char *)"a constant" = 1; }

static void no_address() { sink = *(volatile long *)0x4141414141414141; }

static long descend(long depth)
{
	volatile char own[200];

	own[depth % 200] = (char)depth;
	return descend(depth + 1) + own[3];
}

static void overflow() { sink = descend(0); }

// More variables than there is room left, and none of them touched on the way.
static long take(long depth)
{
	volatile char own[900 << 10];

	own[depth] = (char)depth;
	return (depth ? take(depth - 1) : 0) + own[3];
}

static void large() { sink = take(20); }

static void in_thread() { std::thread(overflow).join(); }

static void smashed()
{
	volatile char own[16];
	volatile char *at = own;

	for (int i = 0; i < 200; i++)
		at[i] = 'x';
	sink = at[3];
}

static void freed_twice()
{
	void *volatile block = malloc(40);

	free(block);
	free(block);
}

static void asserted()
{
#line 1 "shelf.cc"
	assert(sink == 17 && "shelves are full");
}

static void thrown() { throw shop::Refused("a secret"); }

static void aborted() { abort(); }

static void killed()
{
	puts("waiting");
	fflush(stdout);
	for (;;)
		pause();
}

int main(int, char **argv)
{
	static const struct {
		const char *name;
		void (*function)();
	} ways[] = {
		{ "null", null }, { "constant", constant },
		{ "no_address", no_address }, { "overflow", overflow },
		{ "large", large }, { "in_thread", in_thread },
		{ "smashed", smashed }, { "freed_twice", freed_twice },
		{ "asserted", asserted }, { "thrown", thrown },
		{ "aborted", aborted }, { "killed", killed },
	};

	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	for (const auto &way : ways)
		if (strcmp(way.name, argv[1]) == 0)
			way.function();
	return 3;
}
