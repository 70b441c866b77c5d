// SPDX-License-Identifier: Apache-2.0
// Native code for threads_target.py to be in: with functions that the compiler
// puts into each other, the names of which gdb and heapscan have to agree on.
//
//	g++ -O2 -g -shared -fPIC -static-libstdc++ -static-libgcc
#include <cstddef>
#include <cstdlib>
#include <new>
#include <unistd.h>

#define INLINE static inline __attribute__((always_inline))

namespace {

volatile long sink;

INLINE long innermost(const long *at)
{
	return *(volatile const long *)at;
}

INLINE long middle(const long *at, int times)
{
	long sum = 0;

	for (int i = 0; i < times; i++)
		sum += innermost(at) + i;
	return sum;
}

INLINE void take(std::size_t size)
{
	sink = (long)new char[size];
}

INLINE void wait_inlined(int file)
{
	char byte;

	while (read(file, &byte, 1) == 1)
		sink += byte;
}

}  // namespace

extern "C" long touch(const long *at)
{
	return middle(at, 3) * 2;
}

extern "C" void exhaust()
{
	take(std::size_t(1) << 60);
	sink++;
}

extern "C" void wait_here(int file)
{
	wait_inlined(file);
	sink++;
}
