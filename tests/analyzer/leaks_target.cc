/*
 * Chunks of malloc that are held in all ways there are, or by nothing.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Prints "WANT OWNER INSIDE HEAD ADDRESS NAME" lines, what ownerdump should say
 * of the chunk at an address, and "READY PID". Addresses are noted mixed with a
 * key, so that no word of memory leads to what is lost. Under memcheck, it is
 * asked what is lost when all is ready.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_DO_LEAK_CHECK
#endif

namespace {

const uintptr_t KEY = 0x5A5A5A5A5A5A5A5A;

struct Want {
	const char *owner;
	int inside;
	uintptr_t head, address;	/* mixed with KEY; 0: none */
	long name;			/* a thread's number, or 0 */
};

Want wants[1000];
int num_wants;
char output[1 << 16];

struct Node {
	Node *next;
	long numbers[6];
};

/* What holds: nobody reads it. */
Node *volatile global_chain;
char *volatile global_inside;
char *volatile global_end;
void **volatile global_table;
void **volatile global_pages;
volatile uintptr_t global_mixed;
char global_unaligned[24];
thread_local Node *volatile local_chain;
pthread_key_t key;
/* One for each thread: the first still waits at its own when the next begins. */
pthread_barrier_t ready[2];

void want(const char *owner, int inside, const void *address, const void *head,
	  long name = 0)
{
	wants[num_wants++] = { owner, inside,
			       head ? (uintptr_t)head ^ KEY : 0,
			       (uintptr_t)address ^ KEY, name };
}

void *make(size_t size)
{
	// Zeroed: what was there before may lead anywhere.
	void *made = calloc(1, size);

	if (!made)
		exit(1);
	return made;
}

Node *make_node(Node *next)
{
	Node *node = (Node *)make(sizeof(*node));

	node->next = next;
	return node;
}

/** A list; its first one is wanted as the first says, the others as others. */
Node *make_chain(int length, const char *first, const char *others, long name = 0)
{
	Node *chain = nullptr, *node;

	for (int i = 0; i < length; i++)
		chain = make_node(chain);
	want(first, 0, chain, strcmp(first, "lost") == 0 ? chain : nullptr,
	     name);
	for (node = chain->next; node; node = node->next)
		want(others, 0, node, strcmp(first, "lost") == 0 ? chain :
								   nullptr,
		     name);
	return chain;
}

}

namespace net {
struct Session {
	virtual ~Session() = default;
	char *buffer = (char *)make(500);
	long numbers[9] = { 1 };
};
}

namespace {

__attribute__((noinline)) void lose_single()
{
	for (int i = 0; i < 20; i++) {
		void *made = make(40);

		want("lost", 0, made, made);
	}
}

__attribute__((noinline)) void lose_ring(Node *tail_of)
{
	Node *ring[5], *low;

	for (int i = 0; i < 5; i++)
		ring[i] = make_node(i ? ring[i - 1] : nullptr);
	ring[0]->next = ring[4];
	low = ring[0];
	for (int i = 1; i < 5; i++)
		low = ring[i] < low ? ring[i] : low;
	// With something that leads into it, that is the head.
	if (tail_of)
		tail_of->next = ring[2];
	for (int i = 0; i < 5; i++) {
		Node *head = tail_of ? tail_of : low;

		want(ring[i] == head ? "lost" : "lost-with", 0, ring[i], head);
	}
	if (tail_of)
		want("lost", 0, tail_of, tail_of);
}

__attribute__((noinline)) void lose_sessions()
{
	for (int i = 0; i < 30; i++) {
		net::Session *session = new net::Session;

		want("lost", 0, session, session);
		want("lost-with", 0, session->buffer, session);
	}
}

/** Pointers in what was freed, below the stack's pointer, and hidden ones. */
__attribute__((noinline)) void lose_hidden()
{
	Node *freed = make_node(nullptr);
	void *inside = make(200), *mixed = make(64), *odd = make(64);
	char *ended = (char *)make(40);
	void *mapped = make(1 << 20);

	freed->numbers[3] = (long)inside;
	free(freed);
	global_mixed = (uintptr_t)mixed ^ KEY;
	memcpy(global_unaligned + 3, &odd, sizeof(odd));
	asm volatile("" : : "r"(global_unaligned) : "memory");
	global_end = ended + 40;
	want("lost", 0, inside, inside);
	want("lost", 0, mixed, mixed);
	want("lost", 0, odd, odd);
	want("lost", 0, ended, ended);
	want("lost", 0, mapped, mapped);
}

__attribute__((noinline)) void hold_by_globals()
{
	char *middle = (char *)make(100);
	size_t words = (2 << 20) / sizeof(void *);
	void *far = make(64);

	global_chain = make_chain(4, "module", "module");
	global_inside = middle + 24;
	want("module", 1, middle, nullptr);
	// A chunk with a mapping of its own, and one at its very end.
	global_table = (void **)make(words * sizeof(void *));
	global_table[words - 1] = far;
	want("module", 0, global_table, nullptr);
	want("module", 0, far, nullptr);
}

/** Pages of nobody, which no module, stack or chunk has. */
__attribute__((noinline)) void hold_by_memory()
{
	void **pages = (void **)mmap(nullptr, 1 << 16, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		exit(1);
	pages[1234] = make_chain(3, "memory", "memory");
	// Not to be joined with others of ours.
	mprotect((char *)pages + (1 << 15), 1 << 15, PROT_NONE);
	global_pages = pages;
}

__attribute__((noinline)) void wipe()
{
	char frame[32 << 10];

	memset(frame, 0, sizeof(frame));
	asm volatile("" : : "r"(frame) : "memory", "rbx", "r12", "r13", "r14",
		     "r15");
}

void *in_stack(void *barrier)
{
	auto *ready = static_cast<pthread_barrier_t *>(barrier);
	long tid = syscall(SYS_gettid);
	Node *volatile slot = make_chain(3, "thread", "thread", tid);

	local_chain = make_chain(3, "thread", "thread", tid);
	pthread_setspecific(key, make_chain(3, "thread", "thread", tid));
	wipe();
	pthread_barrier_wait(ready);
	pthread_barrier_wait(ready);
	return slot;
}

/** What holds it is a register, and nothing else. */
void *in_register(void *barrier)
{
	auto *ready = static_cast<pthread_barrier_t *>(barrier);
	uintptr_t mixed;

	{
		void *made = make(80);

		want("thread", 0, made, nullptr, syscall(SYS_gettid));
		mixed = (uintptr_t)made ^ KEY;
	}
	wipe();
	pthread_barrier_wait(ready);
	asm volatile("xor %1, %0\n\t"
		     "mov %0, %%r15\n\t"
		     "xor %0, %0\n\t"
		     "1: pause\n\t"
		     "jmp 1b"
		     : "+r"(mixed) : "r"(KEY) : "r15");
	return nullptr;
}

void print()
{
	for (int i = 0; i < num_wants; i++)
		printf("WANT %s %d %lu %lu %ld\n", wants[i].owner,
		       wants[i].inside,
		       wants[i].head ? wants[i].head ^ KEY : 0,
		       wants[i].address ^ KEY, wants[i].name);
	printf("READY %d\n", (int)getpid());
	fflush(stdout);
}

__attribute__((noinline)) void plant()
{
	lose_single();
	make_chain(10, "lost", "lost-with");
	lose_ring(nullptr);
	lose_ring(make_node(nullptr));
	lose_sessions();
	lose_hidden();
	hold_by_globals();
	hold_by_memory();
}

}

int main(int argc, char **)
{
	pthread_t threads[2];
	Node *volatile slot;

	setvbuf(stdout, output, _IOFBF, sizeof(output));
	pthread_key_create(&key, nullptr);
	// One at a time, as what is wanted is noted without a lock. Memcheck runs
	// no threads side by side.
	for (int i = 0; i < (argc > 1 ? 1 : 2); i++) {
		pthread_barrier_init(&ready[i], nullptr, 2);
		if (pthread_create(&threads[i], nullptr,
				   i ? in_register : in_stack, &ready[i]) != 0)
			return 1;
		pthread_barrier_wait(&ready[i]);
	}
	plant();
	slot = make_chain(3, "thread", "thread", (long)getpid());
	local_chain = make_chain(3, "thread", "thread", (long)getpid());
	wipe();
	VALGRIND_DO_LEAK_CHECK;
	print();
	wipe();
	// Not through a buffer, which would be asked for first.
	while (read(0, output, sizeof(output)) > 0)
		continue;
	return slot == nullptr;
}
