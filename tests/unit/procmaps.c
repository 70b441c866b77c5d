/*
 * Mappings: the text of smaps, and this process's own.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/live/procmaps.h"
#include "tests/lib/check.h"

static const char sample[] =
"55d0c0a00000-55d0c0a21000 r-xp 00001000 fe:00 1234      /usr/bin/a program\n"
"Size:                132 kB\n"
"Rss:                 100 kB\n"
"Pss:                  50 kB\n"
"Anonymous:             8 kB\n"
"Swap:                  4 kB\n"
"VmFlags: rd ex mr mw me sd \n"
"7f0000000000-7f0000001000 rw-s 00000000 00:05 77        /dev/nvidia0 (deleted)\n"
"VmFlags: rd wr sh io pf de dd \n"
"7f0000001000-7f0000002000 ---p 00000000 00:00 0 \n"
"7f0000002000-7f0000004000 rw-p 00000000 00:00 0         [anon: my (deleted)]\n"
"VmFlags: rd wr um wf dc ht\n"
"7f0000004000-7f0000005000 rw-p 00000000 08:01 9         /tmp/two\\012lines\n"
"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n";

static struct error *parse(const char *text, struct procmaps *maps)
{
	FILE *in = fmemopen((void *)text, strlen(text), "r");
	struct error *err = procmaps_parse(in, "text", maps);

	(void)fclose(in);
	return err;
}

static void check_sample(void)
{
	struct procmaps maps = { 0 };
	struct error *err = parse(sample, &maps);

	CHECK("the sample parses", err == NULL);
	if (err || maps.count != 6) {
		CHECK_U64("mappings", maps.count, 6);
		return;
	}
	CHECK_STRING("a name with a space", maps.items[0].name,
		     "/usr/bin/a program");
	CHECK_U64("start", maps.items[0].start, 0x55d0c0a00000);
	CHECK_U64("file offset", maps.items[0].file_offset, 0x1000);
	CHECK_U64("inode", maps.items[0].inode, 1234);
	CHECK_U64("protection", maps.items[0].protection, PF_R | PF_X);
	CHECK_U64("resident", maps.items[0].resident, 100 << 10);
	CHECK_U64("anonymous", maps.items[0].anonymous, 8 << 10);
	CHECK_U64("swapped", maps.items[0].swapped, 4 << 10);
	CHECK_U64("no flags", maps.items[0].flags, 0);
	CHECK_STRING("deleted is no part of a name", maps.items[1].name,
		     "/dev/nvidia0");
	CHECK_U64("flags of a device", maps.items[1].flags,
		  FORMAT_MAPPING_SHARED | FORMAT_MAPPING_DELETED | PROCMAP_IO |
		  PROCMAP_PFN | PROCMAP_DONTDUMP);
	CHECK_STRING("no name", maps.items[2].name, "");
	CHECK_U64("no protection", maps.items[2].protection, 0);
	CHECK_STRING("only a file can be deleted", maps.items[3].name,
		     "[anon: my (deleted)]");
	CHECK_U64("flags of memory", maps.items[3].flags, PROCMAP_UFFD |
		  FORMAT_MAPPING_WIPEONFORK | FORMAT_MAPPING_DONTFORK |
		  FORMAT_MAPPING_HUGETLB);
	CHECK_STRING("a newline in a name", maps.items[4].name,
		     "/tmp/two\nlines");
	CHECK("a file is one", procmap_is_file(&maps.items[4]));
	CHECK("vsyscall is none", !procmap_is_file(&maps.items[5]));
	CHECK("found", procmaps_find(&maps, 0x7f0000001fff) == &maps.items[2]);
	CHECK("not found between",
	      procmaps_find(&maps, 0x7f0000005000) == NULL);
	CHECK("not found above",
	      procmaps_find(&maps, UINT64_C(0xffffffffff601000)) == NULL);
	CHECK_U64("names begin with a NUL", (uint64_t)maps.names[0], 0);
	procmaps_deinit(&maps);
}

static void check_refused(const char *name, const char *text)
{
	struct procmaps maps = { 0 };
	struct error *err = parse(text, &maps);

	CHECK(name, err && err->kind == ERROR_FORMAT);
	error_free(err);
}

static void check_own(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE) * 16;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct procmaps maps = { 0 };
	const struct procmap *map;
	struct error *err;

	memset(memory, 1, size / 2);
	(void)madvise(memory, size, MADV_DONTDUMP);
	err = procmaps_read(getpid(), &maps);
	CHECK("own mappings are read", err == NULL);
	map = err ? NULL : procmaps_find(&maps, (uint64_t)(uintptr_t)memory);
	CHECK("own memory is among them", map && map->end - map->start >= size);
	CHECK("with its flag", map && (map->flags & PROCMAP_DONTDUMP));
	CHECK("and its resident bytes", map && map->anonymous >= size / 2);
	map = err ? NULL : procmaps_find(&maps, (uint64_t)(uintptr_t)&sample);
	CHECK("the program's data is of a file", map && procmap_is_file(map));
	error_free(err);
	procmaps_deinit(&maps);
	(void)munmap(memory, size);
}

static void check_add(void)
{
	static const char text[] = "1000-2000 r--p 0 0:0 0 [first]\n"
				   "5000-6000 r--p 0 0:0 0 [last]\n";
	CLEANUP(close_file) FILE *in =
		fmemopen((void *)(uintptr_t)text, sizeof(text) - 1, "r");
	const struct procmap middle = {
		.start = 0x3000, .end = 0x4000, .name = "[middle]",
	};
	const struct procmap beyond = {
		.start = 0x7000, .end = 0x8000, .name = "",
	};
	struct procmaps maps = { 0 };
	struct error *err = procmaps_parse(in, "text", &maps);

	if (!err)
		err = procmaps_add(&maps, &middle);
	if (!err)
		err = procmaps_add(&maps, &beyond);
	CHECK("mappings are put in", err == NULL && maps.count == 4);
	if (!err) {
		CHECK("in order", maps.items[0].start == 0x1000 &&
		      maps.items[1].start == 0x3000 &&
		      maps.items[2].start == 0x5000 &&
		      maps.items[3].start == 0x7000);
		CHECK("all with their names",
		      strcmp(maps.items[0].name, "[first]") == 0 &&
		      strcmp(maps.items[1].name, "[middle]") == 0 &&
		      strcmp(maps.items[2].name, "[last]") == 0 &&
		      strcmp(maps.items[3].name, "") == 0);
		CHECK("names lie in one block",
		      maps.items[1].name > maps.names &&
		      maps.items[1].name < maps.names + maps.names_size);
	}
	error_free(err);
	procmaps_deinit(&maps);
}

static void check_complete(void)
{
	static const char lines[] = "1000-2000 r--p 0 0:0 0 [first]\n"
				    "5000-7000 rw-p 0 0:0 0\n";
	static const char before[] = "1000-2000 r--p 0 0:0 0 [first]\n"
				     "Rss: 4 kB\nVmFlags: rd dd\n"
				     "3000-4000 rw-p 0 0:0 0\n"
				     "5000-7000 rw-p 0 0:0 0\nRss: 8 kB\n";
	static const char other[] = "1000-2000 r--p 0 0:0 0 [first]\n"
				    "5000-6000 rw-p 0 0:0 0\nRss: 8 kB\n";
	struct procmaps maps = { 0 }, known = { 0 }, grown = { 0 };
	struct error *err = parse(lines, &maps);

	if (!err)
		err = parse(before, &known);
	if (!err)
		err = parse(other, &grown);
	CHECK("three lists are read", err == NULL);
	if (!err) {
		CHECK("one that has grown is not known",
		      !procmaps_complete(&maps, &grown));
		CHECK_U64("and stays as it was", maps.items[1].resident, 0);
		CHECK("mappings that were there before",
		      procmaps_complete(&maps, &known));
		CHECK("have the flags of before",
		      maps.items[0].flags & PROCMAP_DONTDUMP);
		CHECK_U64("and the pages", maps.items[1].resident, 8192);
		CHECK("none is known of none",
		      !procmaps_complete(&maps, &(struct procmaps){ 0 }));
	}
	error_free(err);
	procmaps_deinit(&maps);
	procmaps_deinit(&known);
	procmaps_deinit(&grown);
}

int main(void)
{
	check_sample();
	check_complete();
	check_add();
	check_refused("not a mapping", "hello\n1000-2000 zz\n0-0\n"
				       "5000-4000 r--p 0 0:0 0\n");
	check_refused("out of order", "2000-3000 r--p 0 0:0 0 \n"
				      "1000-2000 r--p 0 0:0 0 \n");
	check_refused("overlap", "1000-3000 r--p 0 0:0 0 \n"
				 "2000-4000 r--p 0 0:0 0 \n");
	check_own();
	return check_result();
}
