/*
 * Instances of C++ classes, some of them destroyed again.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <cstdio>
#include <unistd.h>

namespace net {
struct Session {
	virtual ~Session() = default;
	long numbers[9] = { 1 };
};
struct Secure : Session {
	long key[20] = { 2 };
};
}

struct Plain {
	virtual ~Plain() = default;
	long number = 3;
};

int main()
{
	net::Session *sessions[300];

	for (int i = 0; i < 300; i++)
		sessions[i] = i % 3 ? new net::Session : new net::Secure;
	for (int i = 0; i < 300; i += 10)
		delete sessions[i];
	for (int i = 0; i < 7; i++)
		new Plain;
	printf("READY %d\n", (int)getpid());
	fflush(stdout);
	while (getchar() != EOF)
		continue;
	return 0;
}
