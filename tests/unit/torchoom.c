/*
 * Test of cudaheap/torchoom: messages of each wording there has been.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchoom.h"

#include "tests/lib/check.h"

#define KIB(x) ((uint64_t)((x) * 1024.0))
#define MIB(x) ((uint64_t)((x) * 1048576.0))
#define GIB(x) ((uint64_t)((x) * 1073741824.0))

static void check_size(const char *name, const struct torch_oom_size *size,
		       uint64_t expected)
{
	uint64_t apart = size->bytes > expected ? size->bytes - expected :
						  expected - size->bytes;

	CHECK(name, size->known && apart <= 1);
}

static void test_1_13(void)
{
	struct torch_oom oom;

	CHECK("1.13: parsed", torch_oom_parse(
		"CUDA out of memory. Tried to allocate 20.00 MiB (GPU 1; 15.78 "
		"GiB total capacity; 14.23 GiB already allocated; 3.44 MiB "
		"free; 12.00 GiB allowed; 14.51 GiB reserved in total by "
		"PyTorch) If reserved memory is >> allocated memory try "
		"setting max_split_size_mb to avoid fragmentation.  See "
		"documentation for Memory Management and "
		"PYTORCH_CUDA_ALLOC_CONF", &oom));
	CHECK("1.13: kind", oom.kind == TORCH_OOM_TRIED && oom.device == 1);
	CHECK_STRING("1.13: device", oom.device_kind, "CUDA");
	check_size("1.13: requested", &oom.requested, MIB(20));
	check_size("1.13: total", &oom.total, GIB(15.78));
	check_size("1.13: allocated", &oom.allocated, GIB(14.23));
	check_size("1.13: free", &oom.free, MIB(3.44));
	check_size("1.13: allowed", &oom.allowed, GIB(12));
	CHECK("1.13: cached", oom.cached.known &&
	      oom.cached.bytes > GIB(0.279) && oom.cached.bytes < GIB(0.281));
	CHECK("1.13: not said", !oom.process.known && !oom.others.known &&
	      !oom.private_pools.known);
}

static void test_2_1(void)
{
	struct torch_oom oom;

	CHECK("2.1: parsed", torch_oom_parse(
		"CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a "
		"total capacty of 23.69 GiB of which 1.31 GiB is free. "
		"Including non-PyTorch memory, this process has 22.36 GiB "
		"memory in use. Of the allocated memory 21.72 GiB is allocated "
		"by PyTorch, and 237.98 MiB is reserved by PyTorch but "
		"unallocated. If reserved but unallocated memory is large try "
		"setting max_split_size_mb to avoid fragmentation.", &oom));
	check_size("2.1: requested", &oom.requested, GIB(2));
	check_size("2.1: total", &oom.total, GIB(23.69));
	check_size("2.1: free", &oom.free, GIB(1.31));
	check_size("2.1: process", &oom.process, GIB(22.36));
	check_size("2.1: allocated", &oom.allocated, GIB(21.72));
	check_size("2.1: cached", &oom.cached, MIB(237.98));
	CHECK("2.1: not said", !oom.allowed.known && !oom.others.known);
}

static void test_newest(void)
{
	struct torch_oom oom;

	CHECK("newest: parsed", torch_oom_parse(
		"CUDA out of memory. Tried to allocate 512 bytes. GPU 7 has a "
		"total capacity of 14.57 GiB of which 0 bytes is free. Process "
		"2493055 has 12.02 GiB memory in use. Process 17 has 1.00 MiB "
		"memory in use. Including non-PyTorch memory, this process has "
		"966.00 MiB memory in use. 10.00 GiB allowed; Of the allocated "
		"memory 734.07 MiB is allocated by PyTorch, with 1023.50 KiB "
		"allocated in private pools (e.g., CUDA Graphs), and 33.93 MiB "
		"is reserved by PyTorch but unallocated. If reserved but "
		"unallocated memory is large try setting "
		"PYTORCH_ALLOC_CONF=expandable_segments:True", &oom));
	CHECK("newest: device", oom.device == 7);
	check_size("newest: requested", &oom.requested, 512);
	check_size("newest: free", &oom.free, 0);
	check_size("newest: others", &oom.others, GIB(12.02) + MIB(1));
	check_size("newest: process", &oom.process, MIB(966));
	check_size("newest: allowed", &oom.allowed, GIB(10));
	check_size("newest: allocated", &oom.allocated, MIB(734.07));
	check_size("newest: private", &oom.private_pools, KIB(1023.5));
	check_size("newest: cached", &oom.cached, MIB(33.93));
	CHECK_U64("newest: exact in bytes", oom.requested.error, 0);
	CHECK("newest: rounded", oom.others.error > 5 << 20 &&
	      oom.others.error < 6 << 20);
}

static void test_others(void)
{
	struct torch_oom oom;

	CHECK("async: parsed", torch_oom_parse(
		"Allocation on device 3 would exceed allowed memory. (out of "
		"memory)\nCurrently allocated     : 14.00 GiB\nRequested       "
		"        : 2.00 GiB\nDevice limit            : 16.00 GiB\nFree "
		"(according to CUDA): 1.50 GiB\nPyTorch limit (set by "
		"user-supplied memory fraction)\n                        : "
		"8.00 GiB", &oom) && oom.kind == TORCH_OOM_ASYNC);
	CHECK("async: device", oom.device == 3);
	check_size("async: requested", &oom.requested, GIB(2));
	check_size("async: allocated", &oom.allocated, GIB(14));
	check_size("async: total", &oom.total, GIB(16));
	check_size("async: free", &oom.free, GIB(1.5));
	check_size("async: allowed", &oom.allowed, GIB(8));
	CHECK("rejected", torch_oom_parse(
		"CUDA out of memory. Allocation was preemptively rejected "
		"because it would exceed per_process_memory_fraction limit. "
		"Requested size: 1.00 GiB", &oom) &&
	      oom.kind == TORCH_OOM_REJECTED && oom.requested.known);
	CHECK("huge", torch_oom_parse("CUDA out of memory. Tried to allocate "
				      "more than 1EB memory.", &oom) &&
	      oom.kind == TORCH_OOM_HUGE && !oom.requested.known);
	CHECK("driver", torch_oom_parse("CUDA error: out of memory\nCUDA kernel "
					"errors might be", &oom) &&
	      oom.kind == TORCH_OOM_DRIVER);
	CHECK("cpu", torch_oom_parse("[enforce fail at alloc_cpu.cpp:119] err "
		"== 0. DefaultCPUAllocator: can't allocate memory: you tried "
		"to allocate 8000 bytes. Error code 12", &oom) &&
	      oom.kind == TORCH_OOM_CPU && oom.requested.bytes == 8000);
	CHECK("another device", torch_oom_parse("HIP out of memory. Tried to "
		"allocate 1.00 KiB. GPU 0 has", &oom) && oom.device == 0);
	CHECK_STRING("its name", oom.device_kind, "HIP");
}

static void test_bad(void)
{
	static const char *const wrong[] = {
		"", "the shop is out of memory", "out of memory. ",
		"list index out of range",
	};
	static const char *const cut[] = {
		"CUDA out of memory. Tried to allocate ",
		"CUDA out of memory. Tried to allocate 1",
		"CUDA out of memory. Tried to allocate 1.",
		"CUDA out of memory. Tried to allocate 1.00 ",
		"CUDA out of memory. Tried to allocate 1.00 GiBs",
		"CUDA out of memory. Tried to allocate -1.00 GiB",
		"CUDA out of memory. Tried to allocate 99999999999999 GiB",
		"CUDA out of memory. Tried to allocate 999999999999 TiB",
		"CUDA out of memory.  is free is free. GPU  is free 5",
	};
	struct torch_oom oom;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		CHECK("about something else", !torch_oom_parse(wrong[i], &oom) &&
		      oom.kind == TORCH_OOM_NONE);
	for (size_t i = 0; i < sizeof(cut) / sizeof(*cut); i++)
		CHECK("no size", torch_oom_parse(cut[i], &oom) &&
		      !oom.requested.known && !oom.free.known);
}

int main(void)
{
	test_1_13();
	test_2_1();
	test_newest();
	test_others();
	test_bad();
	CHECK("its class", torch_oom_is_class("torch.OutOfMemoryError") &&
	      !torch_oom_is_class("MemoryError"));
	return check_result();
}
