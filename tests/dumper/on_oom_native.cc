// C++ exceptions for test_on_oom.py, by the names that PyTorch gives to its own:
// throw_one() throws one and catches it. With a main() also a program.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace c10 {
// As in PyTorch, what is said comes first.
struct Error : std::exception {
	std::string message;
	long more = 0;
	explicit Error(std::string text) : message(std::move(text)) {}
	const char *what() const noexcept override { return message.c_str(); }
};
struct OutOfMemoryError : Error { using Error::Error; };
struct CUDAOutOfMemoryError : Error { using Error::Error; };
struct IndexError : Error { using Error::Error; };
}

namespace rmm { namespace detail {
struct bad_alloc : std::bad_alloc {};
}}

namespace {
struct Hidden : c10::OutOfMemoryError { using OutOfMemoryError::OutOfMemoryError; };
}

struct First { long numbers[3] = {}; virtual ~First() = default; };
struct Second : First, c10::OutOfMemoryError {
	Second() : OutOfMemoryError("the second base says it") {}
};
struct Secretly : private std::bad_alloc { long number = 0; };

static void throw_it(const std::string &kind)
{
	if (kind == "cuda")
		throw c10::OutOfMemoryError("CUDA out of memory. Tried to "
			"allocate 20.00 MiB. GPU 0 has a total capacity of 79 "
			"GiB of which 10 MiB is free. And so on and on and on "
			"and on and on and on and on and on and on and on and "
			"on and on and on and on and on and on and on.");
	if (kind == "older")
		throw c10::CUDAOutOfMemoryError("older");
	if (kind == "derived")
		throw Hidden("derived");
	if (kind == "second")
		throw Second();
	if (kind == "rmm")
		throw rmm::detail::bad_alloc();
	if (kind == "new")
		std::free(::operator new(std::size_t(1) << 62));
	if (kind == "host")
		throw c10::Error("[enforce fail at alloc_cpu.cpp:117] err == 0. "
			"DefaultCPUAllocator: can't allocate memory: you tried "
			"to allocate 64 bytes. Error code 12 (Cannot allocate "
			"memory)");
	if (kind == "binary")
		throw c10::OutOfMemoryError("half \xff of it");
	/* none of these is lack of memory */
	if (kind == "error")
		throw c10::Error("shape '[2]' is invalid");
	if (kind == "index")
		throw c10::IndexError("DefaultCPUAllocator: by the way");
	if (kind == "runtime")
		throw std::runtime_error("c10::OutOfMemoryError");
	if (kind == "int")
		throw 7;
	if (kind == "pointer")
		throw static_cast<const std::bad_alloc *>(nullptr);
	if (kind == "private")
		throw Secretly();
	if (kind == "length")
		throw std::bad_array_new_length();
}

extern "C" int throw_one(const char *kind)
{
	int before = std::uncaught_exceptions();
	try {
		throw_it(kind);
	} catch (...) {
		return std::uncaught_exceptions() - before + 1;
	}
	return 0;
}

/* So many in each of some threads; returns those that were caught. */
extern "C" long throw_many(long number, int threads)
{
	std::vector<std::thread> all;
	std::vector<long> caught(threads);
	for (int i = 0; i < threads; i++)
		all.emplace_back([&, i] {
			for (long k = 0; k < number; k++)
				try {
					throw std::runtime_error("one of many");
				} catch (const std::runtime_error &) {
					caught[i]++;
				}
		});
	for (auto &thread : all)
		thread.join();
	long sum = 0;
	for (long one : caught)
		sum += one;
	return sum;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		std::printf("%s %d\n", argv[i], throw_one(argv[i]));
	std::fflush(stdout);
	return 7;
}
