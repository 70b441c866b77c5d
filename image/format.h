/*
 * The dump file: what heapdump writes and the reader of our own notes knows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * docs/format.md is the specification; this header is the same in C. A dump
 * is an ELF core cut into independent zstd frames, each of which expands to
 * the same power of two (the last one to what is left), followed by two
 * skippable frames: the final notes, then the standard seek table. An
 * uncompressed dump is the ELF core itself followed by the same two skippable
 * frames, the table being empty.
 *
 * All integers are little-endian. Unknown required feature bits make a reader
 * refuse, unknown optional ones and unknown note types are ignored.
 */
#ifndef IMAGE_FORMAT_H
#define IMAGE_FORMAT_H

#include <stdint.h>

#define FORMAT_NOTE_OWNER "HEAPDUMP"

enum {
	FORMAT_VERSION = 1,
	FORMAT_FRAME_LOG2 = 17,		/* 128 KiB a frame */

	/* skippable frames, zstd RFC 8878 section 3.1.2 */
	FORMAT_SKIPPABLE_NOTES = 0x184D2A51,	/* final notes */
	FORMAT_SKIPPABLE_SEEK = 0x184D2A5E,	/* seek table, zstd's own */
};

/* The seek table's last four bytes: zstd seekable format 0.1.0. */
#define FORMAT_SEEK_MAGIC UINT32_C(0x8F92EAB1)

/*
 * ELF note types under FORMAT_NOTE_OWNER: "HD" and a number. Small numbers
 * would do by the rules, but common readers look at the type alone and would
 * take note 2 for registers.
 */
enum format_note {
	FORMAT_NOTE_BASE = 0x48440000,
	/* in the core's PT_NOTE, known before copying starts */
	FORMAT_NOTE_HEADER = FORMAT_NOTE_BASE + 1,		/* struct format_header */
	FORMAT_NOTE_FACTS = FORMAT_NOTE_BASE + 2,		/* "key=value\0" repeated */
	FORMAT_NOTE_MAPPINGS = FORMAT_NOTE_BASE + 3,	/* struct format_mapping[], then names */
	FORMAT_NOTE_THREADS = FORMAT_NOTE_BASE + 4,	/* struct format_thread[] */
	FORMAT_NOTE_SKIPPED = FORMAT_NOTE_BASE + 5,	/* struct format_skipped[] */
	/* in the final skippable frame */
	FORMAT_NOTE_FINAL = FORMAT_NOTE_BASE + 16,		/* "key=value\0" repeated */
	FORMAT_NOTE_MISSING = FORMAT_NOTE_BASE + 17,	/* struct format_skipped[] */
};

struct format_header {
	uint32_t version;		/* FORMAT_VERSION */
	uint32_t required;		/* feature bits a reader must know */
	uint32_t optional;		/* feature bits a reader may ignore */
	uint32_t frame_log2;		/* 0: not compressed */
};

/* Why a range of the target's address space is not in the file. */
enum format_reason {
	FORMAT_CAPTURED = 0,
	FORMAT_ZERO = 1,	/* never touched: reads as zeroes */
	FORMAT_DEVICE = 2,	/* a device's memory; reading may have effects */
	FORMAT_UNREADABLE = 3,	/* no permission: guard pages, PROT_NONE */
	FORMAT_FILE = 4,	/* unchanged file pages; the file has them */
	FORMAT_SHARED = 5,	/* shared memory, not asked for */
	FORMAT_DONTDUMP = 6,	/* the target asked not to dump it */
	FORMAT_EXCLUDED = 7,	/* by an option */
	FORMAT_PAYLOAD = 8,	/* tensor or array data, by --content heap */
	FORMAT_SWAPPED = 9,	/* in swap, reading it would cost the target */
	FORMAT_FAILED = 10,	/* was to be captured, could not be read */
	FORMAT_KERNEL = 11,	/* [vvar], [vsyscall]: the kernel's own */
	FORMAT_DONTFORK = 12,	/* MADV_DONTFORK: a snapshot has it not */
	FORMAT_WIPEONFORK = 13,	/* MADV_WIPEONFORK: zeroes in a snapshot */
	FORMAT_CONTENT = 14,	/* not part of what --content names */
	FORMAT_NUM_REASONS
};

struct format_skipped {
	uint64_t start, end;
	uint32_t reason;		/* enum format_reason */
	uint32_t os_errno;		/* with FORMAT_FAILED */
};

/* One line of /proc/PID/maps with what smaps says of it. */
struct format_mapping {
	uint64_t start, end;
	uint64_t file_offset;		/* bytes */
	uint64_t inode;
	uint64_t resident, swapped;	/* bytes */
	uint64_t anonymous;		/* bytes: private pages, file mappings too */
	uint32_t protection;		/* PF_R, PF_W, PF_X of elf.h */
	uint32_t flags;			/* enum format_mapping_flag */
	uint32_t reason;		/* of all of it, else FORMAT_CAPTURED */
	uint32_t name;			/* offset in the names, 0: anonymous */
};

enum format_mapping_flag {
	FORMAT_MAPPING_SHARED = 1 << 0,
	FORMAT_MAPPING_DELETED = 1 << 1,	/* the file is gone */
	FORMAT_MAPPING_HUGETLB = 1 << 2,
	FORMAT_MAPPING_DONTFORK = 1 << 3,
	FORMAT_MAPPING_WIPEONFORK = 1 << 4,
	/* captured while the process went on: not of the dump's moment */
	FORMAT_MAPPING_NOT_SNAPSHOT = 1 << 5,
};

struct format_mappings {
	uint32_t count;
	uint32_t names_size;	/* bytes after the array; starts with a NUL */
};

struct format_thread {
	uint32_t tid;		/* in the target's innermost pid namespace */
	uint32_t host_tid;	/* as the dumper saw it */
	char name[16];		/* /proc/PID/task/TID/comm, NUL-padded */
	uint32_t state;		/* the letter of /proc/PID/task/TID/stat */
	uint32_t reserved;
};

/*
 * Keys of FORMAT_NOTE_FACTS and FORMAT_NOTE_FINAL. Values are text; sizes in
 * bytes, times in nanoseconds unless the key says otherwise; absent: unknown.
 */
#define FORMAT_FACT_CREATOR "creator"		/* "heapdump VERSION" */
#define FORMAT_FACT_CAPTURED_AT "captured_at_ns" /* since the epoch, UTC */
#define FORMAT_FACT_CAPTURED_MONOTONIC "captured_monotonic_ns" /* since boot,
						without time asleep */
#define FORMAT_FACT_HOST "host"
#define FORMAT_FACT_PID "pid"			/* in the target's namespace */
#define FORMAT_FACT_HOST_PID "host_pid"
#define FORMAT_FACT_EXE "exe"
#define FORMAT_FACT_SCRIPT "script"	/* program and script, no arguments */
#define FORMAT_FACT_CMDLINE "cmdline"	/* whole; left out by --no-cmdline */
#define FORMAT_FACT_UPTIME "uptime_ns"		/* of the target */
#define FORMAT_FACT_METHOD "method"
#define FORMAT_FACT_CONTENT "content"
#define FORMAT_FACT_PAYLOAD_KEPT "payload_kept"	/* why it is all there */
#define FORMAT_FACT_TRIGGER "trigger"		/* request, rss, on-exit … */
#define FORMAT_FACT_REASON "reason"		/* what was measured, in words */
#define FORMAT_FACT_VMSIZE "vm_size"
#define FORMAT_FACT_RSS "rss"
#define FORMAT_FACT_PEAK_RSS "rss_peak"
/* of the rss: a share of each page for everybody who has it; pages that others
   have, too, and that none has, as the kernel counts them: unwritten ones of
   files by clean */
#define FORMAT_FACT_PSS "pss"
#define FORMAT_FACT_SHARED_CLEAN "shared_clean"
#define FORMAT_FACT_SHARED_DIRTY "shared_dirty"
#define FORMAT_FACT_PRIVATE_CLEAN "private_clean"
#define FORMAT_FACT_PRIVATE_DIRTY "private_dirty"
#define FORMAT_FACT_SWAP "swap"
#define FORMAT_FACT_PAGE_TABLES "page_tables"
#define FORMAT_FACT_MINOR_FAULTS "minor_faults"
#define FORMAT_FACT_MAJOR_FAULTS "major_faults"
#define FORMAT_FACT_CGROUP "cgroup"		/* as /proc/PID/cgroup has it */
#define FORMAT_FACT_CGROUP_CURRENT "cgroup_current"
#define FORMAT_FACT_CGROUP_WORKING "cgroup_working" /* without inactive pages
						of files */
#define FORMAT_FACT_CGROUP_LIMIT "cgroup_limit"
#define FORMAT_FACT_PSI_SOME "psi_memory_some"	/* the kernel's own words */
#define FORMAT_FACT_PSI_FULL "psi_memory_full"
#define FORMAT_FACT_KERNEL "kernel"		/* uname -r */
#define FORMAT_FACT_CONTAINER "container_id"	/* 64 digits */
#define FORMAT_FACT_ENVIRON "env."	/* and a name: the environment */
/* final */
#define FORMAT_FACT_COMPLETE "complete"		/* "yes" or "no" */
#define FORMAT_FACT_PAUSE "pause_ns"
#define FORMAT_FACT_TOTAL "total_ns"
#define FORMAT_FACT_IMAGE_BYTES "image_bytes"	/* uncompressed */

#endif
