/*
 * A process that does what dumping may disturb, and checks that it was not.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: workload FILE [threads N] [idle] [megabytes N] [huge] [spin]
 *
 * Threads wait in futexes, epoll, poll, pipes, sleeps and for signals, compute
 * in vector registers, map and unmap memory, make children by fork and vfork
 * and wait for them. Each checks what it gets; with idle they only sleep, for
 * who measures and wants no noise. FILE is an array of 64-bit
 * numbers that tests read and may write while it runs:
 *
 *	[0] complaints: anything that was not as it must be
 *	[1] EINTR where any stop of ptrace causes it (epoll_wait, sigtimedwait)
 *	[2] the longest gap between two looks at the clock, ns (with spin)
 *	[3] 1 when all threads run
 *	[4] zombies and unknown children seen by wait
 *	[8...] one counter for each thread, which goes on as long as it is well
 *
 * Complaints are on standard error, in words.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	COMPLAINTS, INTERRUPTED, GAP, READY, STRANGERS,
	COUNTERS = 8,
	SLOTS = 512,
};

static atomic_uint_least64_t *slots;

static void complain(const char *who, const char *what, long got, long expected)
{
	atomic_fetch_add(&slots[COMPLAINTS], 1);
	(void)fprintf(stderr, "%s: %s: got %ld, expected %ld (errno %d)\n", who,
		      what, got, expected, errno);
}

static void expect(const char *who, const char *what, long got, long expected)
{
	if (got != expected)
		complain(who, what, got, expected);
}

static uint64_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)time.tv_nsec;
}

/* --- one turn of each kind ------------------------------------------------------ */

/** Two threads hand a token to each other. */
struct exchange {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int turn;
};

static void futex_turn(void *state, unsigned int side)
{
	struct exchange *exchange = state;

	(void)pthread_mutex_lock(&exchange->lock);
	while (exchange->turn % 2 != side)
		(void)pthread_cond_wait(&exchange->changed, &exchange->lock);
	exchange->turn++;
	(void)pthread_cond_broadcast(&exchange->changed);
	(void)pthread_mutex_unlock(&exchange->lock);
	(void)usleep(500);
}

struct pipes {
	int ends[2];
	uint8_t count;
};

static void *make_pipes(void)
{
	struct pipes *pipes = calloc(1, sizeof(*pipes));

	if (!pipes || pipe(pipes->ends) != 0)
		abort();
	return pipes;
}

/** Blocking reads of what the other side writes, in order. */
static void pipe_turn(void *state, unsigned int side)
{
	struct pipes *pipes = state;
	uint8_t byte = pipes->count;

	if (side == 0) {
		(void)usleep(700);
		expect("pipe", "write", write(pipes->ends[1], &byte, 1), 1);
		pipes->count++;
		return;
	}
	static _Thread_local uint8_t expected;

	expect("pipe", "read", read(pipes->ends[0], &byte, 1), 1);
	expect("pipe", "byte", byte, expected++);
}

/** A timeout that has to last as long as it says, and no EINTR. */
static void poll_turn(void *state, unsigned int side)
{
	const struct pipes *pipes = state;
	struct pollfd fd = { .fd = pipes->ends[0], .events = POLLIN };
	uint64_t began = now();

	(void)side;
	expect("poll", "result", poll(&fd, 1, 3), 0);
	if (now() - began < UINT64_C(3000000))
		complain("poll", "time", (long)(now() - began), 3000000);
}

static void sleep_turn(void *state, unsigned int side)
{
	struct timespec time = { .tv_nsec = 1500000 };
	uint64_t began = now();

	(void)state;
	expect("sleep", "result",
	       side == 0 ? nanosleep(&time, NULL) :
			   clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL), 0);
	if (now() - began < UINT64_C(1500000))
		complain("sleep", "time", (long)(now() - began), 1500000);
}

struct events {
	int epoll, event;
};

static void *make_events(void)
{
	struct events *events = calloc(1, sizeof(*events));
	struct epoll_event wanted = { .events = EPOLLIN };

	if (!events)
		abort();
	events->epoll = epoll_create1(0);
	events->event = eventfd(0, 0);
	if (epoll_ctl(events->epoll, EPOLL_CTL_ADD, events->event, &wanted))
		abort();
	return events;
}

static void epoll_turn(void *state, unsigned int side)
{
	const struct events *events = state;
	struct epoll_event event;
	uint64_t value = 1;
	int got;

	if (side == 0) {
		(void)usleep(900);
		expect("eventfd", "write",
		       write(events->event, &value, sizeof(value)), 8);
		return;
	}
	got = epoll_wait(events->epoll, &event, 1, 10000);
	if (got < 0 && errno == EINTR)
		atomic_fetch_add(&slots[INTERRUPTED], 1);
	else
		expect("epoll", "result", got, 1);
	if (got == 1)
		expect("eventfd", "read",
		       read(events->event, &value, sizeof(value)), 8);
}

/** A queue of signals with numbers: none lost, none twice, none invented. */
static _Thread_local volatile sig_atomic_t signal_number;

static void on_numbered(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	expect("signal", "number", info->si_value.sival_int, signal_number);
	signal_number = signal_number + 1;
}

static void signal_turn(void *state, unsigned int side)
{
	static _Thread_local int sent;
	union sigval value = { .sival_int = sent };

	(void)state;
	(void)side;
	expect("signal", "queue",
	       pthread_sigqueue(pthread_self(), SIGRTMIN, value), 0);
	sent++;
	expect("signal", "delivered", signal_number, sent);
	(void)usleep(300);
}

/** A timer's signals, taken by waiting for them. */
static void *make_timer(void)
{
	return calloc(1, sizeof(timer_t) + sizeof(int));
}

static void timer_turn(void *state, unsigned int side)
{
	static _Thread_local bool started;
	timer_t *timer = state;
	sigset_t set;
	siginfo_t info;
	struct timespec patience = { .tv_sec = 10 };
	int got;

	(void)side;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGRTMIN + 1);
	if (!started) {
		struct sigevent event = {
			.sigev_notify = SIGEV_SIGNAL,
			.sigev_signo = SIGRTMIN + 1,
			.sigev_value.sival_int = 77,
		};
		struct itimerspec every = {
			.it_value.tv_nsec = 1000000,
			.it_interval.tv_nsec = 1000000,
		};

		expect("timer", "create",
		       timer_create(CLOCK_MONOTONIC, &event, timer), 0);
		expect("timer", "set", timer_settime(*timer, 0, &every, NULL), 0);
		started = true;
	}
	got = sigtimedwait(&set, &info, &patience);
	if (got < 0 && errno == EINTR) {
		atomic_fetch_add(&slots[INTERRUPTED], 1);
		return;
	}
	expect("timer", "signal", got, SIGRTMIN + 1);
	expect("timer", "value", info.si_value.sival_int, 77);
	expect("timer", "code", info.si_code, SI_TIMER);
}

/** Sums in vector registers, which nobody may touch. */
static void compute_turn(void *state, unsigned int side)
{
	double sums[8] = { 0 };
	double expected = 0;

	(void)state;
	for (int i = 0; i < 20000; i++)
		for (int k = 0; k < 8; k++)
			sums[k] += (double)(i * (k + 1 + (int)side));
	for (int k = 0; k < 8; k++) {
		expected = 199990000.0 * (k + 1 + (int)side);
		expect("compute", "sum", (long)sums[k], (long)expected);
	}
	(void)usleep(1000);
}

static void memory_turn(void *state, unsigned int side)
{
	static _Thread_local unsigned int round;
	size_t size = 64 * 4096;
	uint32_t *words = mmap(NULL, size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	round++;
	if (words == MAP_FAILED) {
		complain("memory", "mmap", -1, 0);
		return;
	}
	for (size_t i = 0; i < size / 4; i += 64)
		words[i] = round + (uint32_t)i + side;
	(void)usleep(200);
	for (size_t i = 0; i < size / 4; i += 64)
		expect("memory", "word", words[i], round + (uint32_t)i + side);
	expect("memory", "munmap", munmap(words, size), 0);
	(void)usleep(1000);
}

/* --- children ------------------------------------------------------------------------ */

static void on_child(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	// Only children of this process's own making raise it: those exit
	// with 40 and up.
	if (info->si_code != CLD_EXITED || info->si_status < 40)
		atomic_fetch_add(&slots[STRANGERS], 1);
}

static pid_t spawn(int status, bool by_vfork)
{
	pid_t child = by_vfork ? vfork() : fork();

	if (child == 0)
		_exit(status);
	if (child < 0)
		complain("child", "fork", -1, 0);
	return child;
}

static void child_turn(void *state, unsigned int side)
{
	pid_t children[3];
	int status = 0, seen = 0;

	(void)state;
	(void)side;
	for (int i = 0; i < 3; i++)
		children[i] = spawn(40 + i, i == 1);
	// One by its number, the others as they come.
	expect("child", "wait4", wait4(children[0], &status, 0, NULL),
	       children[0]);
	expect("child", "status", WEXITSTATUS(status), 40);
	for (int i = 0; i < 2; i++) {
		pid_t got = waitpid(-1, &status, 0);

		if (got == children[1] || got == children[2])
			seen++;
		else
			atomic_fetch_add(&slots[STRANGERS], 1);
		expect("child", "status", WEXITSTATUS(status),
		       got == children[1] ? 41 : 42);
	}
	expect("child", "seen", seen, 2);
	errno = 0;
	expect("child", "no more", waitpid(-1, &status, WNOHANG), -1);
	expect("child", "no more", errno, ECHILD);
	(void)usleep(2000);
}

/* --- threads --------------------------------------------------------------------------- */

struct kind {
	const char *name;
	void (*turn)(void *state, unsigned int side);
	void *(*make)(void);	/* NULL: no state */
	bool pair;		/* two threads share a state */
	unsigned int weight;	/* of 60 threads */
};

static void *make_exchange(void)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	if (!exchange)
		abort();
	(void)pthread_mutex_init(&exchange->lock, NULL);
	(void)pthread_cond_init(&exchange->changed, NULL);
	return exchange;
}

static const struct kind kinds[] = {
	{ "child", child_turn, NULL, false, 1 },
	{ "timer", timer_turn, make_timer, false, 1 },
	{ "futex", futex_turn, make_exchange, true, 12 },
	{ "pipe", pipe_turn, make_pipes, true, 10 },
	{ "epoll", epoll_turn, make_events, true, 10 },
	{ "poll", poll_turn, make_pipes, false, 6 },
	{ "sleep", sleep_turn, NULL, true, 8 },
	{ "signal", signal_turn, NULL, false, 4 },
	{ "compute", compute_turn, NULL, true, 4 },
	{ "memory", memory_turn, NULL, true, 4 },
};

struct worker {
	const struct kind *kind;
	void *state;
	unsigned int side, slot;
};

static void *work(void *argument)
{
	const struct worker *worker = argument;

	(void)pthread_setname_np(pthread_self(), worker->kind->name);
	for (;;) {
		worker->kind->turn(worker->state, worker->side);
		atomic_fetch_add(&slots[worker->slot], 1);
	}
	return NULL;
}

static void start(const struct kind *kind, void *state, unsigned int side,
		  unsigned int slot)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	pthread_attr_t attributes;
	pthread_t thread;

	if (!worker)
		abort();
	*worker = (struct worker){ kind, state, side, slot };
	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, 256 << 10);
	if (pthread_create(&thread, &attributes, work, worker) != 0)
		abort();
}

static void idle_turn(void *state, unsigned int side)
{
	(void)state;
	(void)side;
	(void)usleep(20000);
}

static const struct kind idle_kind = { "idle", idle_turn, NULL, false, 0 };

static unsigned int start_all(unsigned int threads, bool idle)
{
	unsigned int slot = COUNTERS, end = COUNTERS + threads;

	if (end > SLOTS)
		end = SLOTS;
	while (idle && slot < end)
		start(&idle_kind, NULL, 0, slot++);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		const struct kind *kind = &kinds[i];
		unsigned int count = kind->weight * threads / 60;

		for (unsigned int k = 0; k < count || k == 0; k += 1 + kind->pair) {
			void *state = kind->make ? kind->make() : NULL;

			if (slot + 1 + kind->pair > end)
				return slot;
			start(kind, state, 0, slot++);
			if (kind->pair)
				start(kind, state, 1, slot++);
			// There is one timer, and one who makes children.
			if (kind->weight == 1)
				break;
		}
	}
	return slot;
}

/** For whoever compares: a twin whose core the kernel writes. */
static void on_twin(int number)
{
	(void)number;
	if (fork() == 0)
		abort();
}

static void set_up_signals(void)
{
	struct sigaction numbered = {
		.sa_sigaction = on_numbered,
		.sa_flags = SA_SIGINFO | SA_RESTART,
	};
	struct sigaction child = {
		.sa_sigaction = on_child,
		.sa_flags = SA_SIGINFO | SA_RESTART,
	};
	sigset_t set;

	(void)sigaction(SIGRTMIN, &numbered, NULL);
	(void)sigaction(SIGCHLD, &child, NULL);
	(void)signal(SIGUSR2, on_twin);
	// Waited for by one thread, so blocked in all; children interrupt
	// nobody but the main thread, which does not mind.
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGRTMIN + 1);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigaddset(&set, SIGUSR2);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void fill(size_t megabytes, bool huge)
{
	size_t size = megabytes << 20, align = 2 << 20;
	uint8_t *memory;
	uint64_t random = 88172645463325252;

	if (size == 0)
		return;
	memory = mmap(NULL, size + align, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		abort();
	memory += align - ((uintptr_t)memory & (align - 1));
	(void)madvise(memory, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	// Half of it does not compress.
	for (size_t i = 0; i < size; i += 8) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		*(uint64_t *)(memory + i) = i & 4096 ? random : i;
	}
}

/** Look at the clock without a pause, and keep the longest gap. */
static void spin(void)
{
	uint64_t last = now();

	for (;;) {
		uint64_t time = now();

		if (time - last > atomic_load(&slots[GAP]))
			atomic_store(&slots[GAP], time - last);
		last = time;
	}
}

int main(int argc, char **argv)
{
	unsigned int threads = 60;
	size_t megabytes = 0;
	bool huge = false, spinning = false, idle = false;
	sigset_t children;
	int fd;

	if (argc < 2)
		return 2;
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "threads") == 0 && argv[i + 1])
			threads = (unsigned int)atoi(argv[++i]);
		else if (strcmp(argv[i], "megabytes") == 0 && argv[i + 1])
			megabytes = (size_t)atol(argv[++i]);
		else if (strcmp(argv[i], "idle") == 0)
			idle = true;
		else if (strcmp(argv[i], "huge") == 0)
			huge = true;
		else if (strcmp(argv[i], "spin") == 0)
			spinning = true;
		else
			return 2;
	}
	fd = open(argv[1], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, SLOTS * sizeof(*slots)) != 0)
		return 1;
	slots = mmap(NULL, SLOTS * sizeof(*slots), PROT_READ | PROT_WRITE,
		     MAP_SHARED, fd, 0);
	if (slots == MAP_FAILED)
		return 1;
	fill(megabytes, huge);
	set_up_signals();
	if (threads > 0)
		(void)start_all(threads, idle);
	(void)sigemptyset(&children);
	(void)sigaddset(&children, SIGCHLD);
	(void)sigaddset(&children, SIGUSR2);
	(void)pthread_sigmask(SIG_UNBLOCK, &children, NULL);
	atomic_store(&slots[READY], 1);
	if (spinning)
		spin();
	for (;;)
		(void)pause();
}
