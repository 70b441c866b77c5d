# heapdump and heapscan: one Makefile, no recursion.
# SPDX-License-Identifier: Apache-2.0
#
#   make            both programs, in build/plain/
#   make demo       install what is missing, build, dump a leaking program, explain
#   make check      every test that can run here
#   make bench      figures, as ratios within one run
#   make install    DESTDIR= PREFIX=/usr/local
#   make bundle     one tarball that runs on older and other systems (fetches Debian 11)
#   make deps       print the one line that installs what building and testing needs
#   make fuzz       fuzz targets, FUZZ_SECONDS each (clang)
#   make analyze    gcc -fanalyzer, clang-tidy
#   make headers    each header compiles alone
#   SANITIZE=address,undefined   any of the above in a build folder of its own
#   WERROR=1        warnings are errors (CI and developers)      V=1 shows commands

VERSION := 0.1.0

comma := ,
CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
CONFIG  := $(or $(subst $(comma),-,$(SANITIZE)),plain)$(if $(filter clang%,$(notdir $(CC))),-clang)$(VARIANT)
B       ?= build/$(CONFIG)
PREFIX  ?= /usr/local
PKG_CONFIG ?= pkg-config
Q       := $(if $(V),,@)

# The libraries by pkg-config's names, and the packages of Debian they are in.
PKGS    := libelf libdw libunwind-generic libzstd libpcre2-8 sqlite3 zlib liblzma liblz4 nettle
PACKAGE_OF_libelf            := libelf-dev
PACKAGE_OF_libdw             := libdw-dev
PACKAGE_OF_libunwind-generic := libunwind-dev
PACKAGE_OF_libzstd           := libzstd-dev
PACKAGE_OF_libpcre2-8        := libpcre2-dev
PACKAGE_OF_sqlite3           := libsqlite3-dev
PACKAGE_OF_zlib              := zlib1g-dev
PACKAGE_OF_liblzma           := liblzma-dev
PACKAGE_OF_liblz4            := liblz4-dev
PACKAGE_OF_nettle            := nettle-dev

# Building needs the first list, testing the second as well.
BUILD_PACKAGES := gcc make pkg-config libc6-dev libiberty-dev $(foreach p,$(PKGS),$(PACKAGE_OF_$(p)))
TEST_PACKAGES  := python3 python3-dev python3-dbg gdb gdb-multiarch lldb elfutils binutils zstd xz-utils lz4 gzip \
	clang libclang-rt-dev clang-tidy gcc-aarch64-linux-gnu man-db mandoc

WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wundef -Wwrite-strings -Wpointer-arith \
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wformat=2 -Wimplicit-fallthrough -fno-common $(if $(WERROR),-Werror)

CFLAGS  ?= -O2 -g
LDFLAGS ?=
# Targets that need no library must work before the libraries are there.
LIBRARY_FREE := deps demo packages clean help
ifneq ($(filter-out $(LIBRARY_FREE),$(or $(MAKECMDGOALS),all)),)
ifeq ($(shell $(PKG_CONFIG) --version 2>/dev/null),)
$(error $(PKG_CONFIG) does not run: install it with "apt-get install -y pkg-config", or all that is needed with "make packages")
endif
MISSING := $(strip $(foreach p,$(PKGS),$(if $(shell $(PKG_CONFIG) --exists $(p) 2>/dev/null && echo y),,$(p))))
ifneq ($(MISSING),)
$(error libraries not found: $(MISSING). Install them with "apt-get install -y $(foreach p,$(MISSING),$(PACKAGE_OF_$(p)))")
endif
# It has no pkg-config.
ifneq ($(shell echo | $(CC) -include libiberty/demangle.h -E -x c -o /dev/null - 2>/dev/null && echo y),y)
$(error libraries not found: libiberty. Install it with "apt-get install -y libiberty-dev")
endif
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS))
PKG_LIBS   := $(shell $(PKG_CONFIG) --libs $(PKGS))
endif

SANITIZE_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. \
	-DHEAPSCAN_VERSION='"$(VERSION)"' $(WARNINGS) $(CFLAGS) $(PKG_CFLAGS) $(SANITIZE_FLAGS)
ALL_LIBS   = $(PKG_LIBS) -liberty -lpthread -lm -ldl

# --- what is built from what -------------------------------------------------

# Lowest layer first; a program links the layers below it.
LAYERS   := image/base image image/live pyheap cudaheap analyzer/graph
LIB_DIRS := image/base image image/live pyheap pyheap/layouts cudaheap analyzer/graph
lib_of    = $(B)/lib$(subst /,-,$(1)).a
srcs_of   = $(wildcard $(1)/*.c)
LIBS     := $(call lib_of,analyzer/graph) $(call lib_of,cudaheap) $(call lib_of,pyheap) $(call lib_of,image/live) $(call lib_of,image) $(call lib_of,image/base)

$(call lib_of,image/base): $(patsubst %.c,$(B)/%.o,$(wildcard image/base/*.c))
$(call lib_of,image):      $(patsubst %.c,$(B)/%.o,$(wildcard image/*.c image/malloc/*.c))
$(call lib_of,image/live): $(patsubst %.c,$(B)/%.o,$(wildcard image/live/*.c))
$(call lib_of,pyheap):     $(patsubst %.c,$(B)/%.o,$(wildcard pyheap/*/*.c))
$(call lib_of,cudaheap):   $(patsubst %.c,$(B)/%.o,$(wildcard cudaheap/*.c))
$(call lib_of,analyzer/graph): $(patsubst %.c,$(B)/%.o,$(wildcard analyzer/graph/*.c))

HEAPDUMP_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard dumper/*.c))
# What is preloaded into programs (--on-oom): of glibc alone.
ONOOM         := $(B)/libheapdump-onoom.so
ONOOM_OBJS    := $(patsubst %.c,$(B)/%.o,$(wildcard dumper/onoom/*.c))
HEAPSCAN_OBJS := $(patsubst %.c,$(B)/%.o,$(filter-out analyzer/graph/%,$(wildcard analyzer/*.c analyzer/*/*.c)))
UNIT_TESTS    := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/*.c))
TEST_LIB_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/lib/*.c))
HEADERS       := $(wildcard image/*.h image/*/*.h pyheap/*/*.h cudaheap/*.h dumper/*.h dumper/*/*.h analyzer/*.h analyzer/*/*.h tests/lib/*.h)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all programs static bundle demo check bench install deps packages fuzz fuzz-programs analyze headers clean help FORCE

all: programs

programs: $(B)/heapdump $(B)/heapscan $(ONOOM)

help:
	@sed -n '4,17s/^# \{0,3\}//p' Makefile

$(B)/heapdump: $(HEAPDUMP_OBJS) $(LIBS)
	$(Q)$(CC) $(SANITIZE_FLAGS) $(LDFLAGS) $^ $(ALL_LIBS) -o $@

$(B)/heapscan: $(HEAPSCAN_OBJS) $(LIBS)
	$(Q)$(CC) $(SANITIZE_FLAGS) $(LDFLAGS) $^ $(ALL_LIBS) -o $@

# It goes into programs that have no sanitizer; and at a throw nothing is bound.
$(ONOOM_OBJS): private SANITIZE_FLAGS := -fPIC -fvisibility=hidden
$(ONOOM): $(ONOOM_OBJS)
	$(Q)$(CC) -shared $(LDFLAGS) -Wl,-z,now -Wl,-z,defs -Wl,-soname,$(@F) $^ -ldl -o $@

# Of no library of the machine it runs on: for images of musl, or of nothing.
STATIC_PKGS := libelf libzstd libpcre2-8 zlib liblzma liblz4 nettle
$(B)/heapdump-static: $(HEAPDUMP_OBJS) $(LIBS)
	$(Q)$(CC) -static-pie $(LDFLAGS) $^ $(shell $(PKG_CONFIG) --static --libs $(STATIC_PKGS)) -liberty -lpthread -lm -o $@

static: $(B)/heapdump-static

$(B)/%.a:
	@mkdir -p $(@D)
	$(Q)rm -f $@
	$(Q)ar rcs $@ $^

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(TEST_LIB_OBJS) $(LIBS)
	$(Q)$(CC) $(SANITIZE_FLAGS) $(LDFLAGS) $^ $(ALL_LIBS) -o $@

# The census looks at every word of a heap: what gcc inlines and unrolls at -O3
# alone makes it a sixth faster. Flags of the command line stand as they are.
HOT_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard pyheap/sizes/pysize*.c pyheap/references/pyrefs*.c pyheap/census/pycensus*.c) \
	$(addprefix pyheap/,census/pymimalloc.c types/pyobject.c census/pyspace.c values/pydict.c census/pyblocks.c))
$(HOT_OBJS): private CFLAGS := $(subst -O2,-O3,$(CFLAGS))

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@$(if $(Q),echo '  CC $<')
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# The program of the demonstration is embedded.
$(B)/dumper/cmd_demo.o: dumper/memeater.py

# Rewritten only when the flags differ, so objects rebuild exactly then.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo "$(CC) $(subst ",\",$(ALL_CFLAGS))" | cmp -s - $@ || echo "$(CC) $(subst ",\",$(ALL_CFLAGS))" >$@

DEP_FILES := $(shell find $(B) -name '*.d' 2>/dev/null)
-include $(DEP_FILES)

.SECONDARY:

clean:
	rm -rf build

# --- one command for a newcomer ----------------------------------------------

deps:
	@echo "apt-get install -y $(BUILD_PACKAGES) $(TEST_PACKAGES)"

# Installs only what is not there, says so first, and asks nobody when it can
# do without: everything may have been installed by hand.
packages:
	@missing=""; \
	for p in $(BUILD_PACKAGES) python3; do \
		dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	if [ -n "$$sudo" ] && ! command -v sudo >/dev/null; then \
		echo "To be installed first, as root: apt-get install -y$$missing" >&2; exit 1; \
	fi; \
	echo "Installing:$$missing"; \
	$$sudo apt-get update -qq && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

demo: packages
	@echo "Building heapdump and heapscan in $(B)"
	@$(MAKE) -s programs
	@$(B)/heapdump --demo

install: programs
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(B)/heapdump $(B)/heapscan $(DESTDIR)$(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/lib/heapscan
	install -m 644 $(ONOOM) $(DESTDIR)$(PREFIX)/lib/heapscan
	install -m 644 docs/heapdump.1 docs/heapscan.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(B)/heapdump --completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/heapdump
	$(B)/heapscan --completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/heapscan
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local/bin|$(PREFIX)/bin|' dumper/packaging/heapdump-watch@.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/heapdump-watch@.service

# --- a copy that travels -----------------------------------------------------

# Built against the libraries of an older suite (glibc 2.31), but for what needs
# none.
BUNDLE := build/heapscan-$(VERSION)-$(shell uname -m)
bundle: $(B)/heapdump-static
	$(Q)dumper/packaging/make_bundle.sh $(VERSION) $(BUNDLE).tar.xz $<

# --- tests -------------------------------------------------------------------

TEST_TOOLS := $(patsubst tests/tools/%.c,$(B)/tests/tools/%,$(wildcard tests/tools/*.c))
FUZZERS    := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
ASAN_BUILD := build/address-undefined
FUZZ_BUILD := build/fuzzers
FUZZ_SECONDS ?= 60

# What the program finds out beyond what it prints: of its objects a linker takes
# from an archive what is needed.
$(B)/libanalyzer.a: $(HEAPSCAN_OBJS)
$(B)/tests/tools/collectordump $(B)/tests/tools/ownerdump: \
$(B)/tests/tools/%: $(B)/tests/tools/%.o $(B)/libanalyzer.a $(LIBS)
	$(Q)$(CC) $(SANITIZE_FLAGS) $(LDFLAGS) $^ $(ALL_LIBS) -o $@

$(B)/tests/tools/%: $(B)/tests/tools/%.o $(TEST_LIB_OBJS) $(LIBS)
	$(Q)$(CC) $(SANITIZE_FLAGS) $(LDFLAGS) $^ $(ALL_LIBS) -o $@

# A fuzz target with a main() that replays files; libFuzzer brings its own.
FUZZ_MAIN = $(if $(findstring fuzzer,$(SANITIZE)),,$(B)/tests/fuzz/replay_main.o)
# Of the analyzer what makes a graph of a heap, and stacks; it asks no command line.
FUZZ_OBJS := $(patsubst %,$(B)/analyzer/%.o,$(addprefix heap/,heapgraph heaproots greenlets collector finalizers frozen) threads/threadstacks)
$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay_main.o $(FUZZ_OBJS) $(TEST_LIB_OBJS) $(LIBS)
	$(Q)$(CC) $(subst fuzzer-no-link,fuzzer,$(SANITIZE_FLAGS)) $(LDFLAGS) $< $(FUZZ_MAIN) $(FUZZ_OBJS) $(TEST_LIB_OBJS) $(LIBS) $(ALL_LIBS) -o $@

.PHONY: tests fuzz-programs sanitized
tests: programs $(UNIT_TESTS) $(TEST_TOOLS)

fuzz-programs: $(FUZZERS)

# The unit tests and the fuzz corpus run under the sanitizers as well. To build
# these takes longer than to run them: half as long so, and reports name lines.
sanitized:
	$(Q)$(MAKE) -s SANITIZE=address,undefined B=$(ASAN_BUILD) CFLAGS="-O1 -g1" tests fuzz-programs

check: tests sanitized
	$(Q)tests/run --build $(B)

bench: programs $(TEST_TOOLS)
	$(Q)HEAPSCAN_BUILD=$(abspath $(B)) python3 tests/bench/bench.py $(BENCH_ARGS)

fuzz:
	$(Q)$(MAKE) -s CC=clang SANITIZE=fuzzer-no-link,address,undefined B=$(FUZZ_BUILD) fuzz-programs
	$(Q)for f in $(notdir $(FUZZERS)); do \
		mkdir -p $(FUZZ_BUILD)/corpus/$$f; \
		saved=tests/fuzz/corpus/$${f#fuzz_}; [ -d $$saved ] || saved=; \
		$(FUZZ_BUILD)/tests/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=2048 \
			-artifact_prefix=$(FUZZ_BUILD)/$$f- $(FUZZ_BUILD)/corpus/$$f $$saved || exit 1; \
	done

SOURCES := $(wildcard image/*.c image/*/*.c pyheap/*/*.c cudaheap/*.c dumper/*.c dumper/onoom/*.c analyzer/*.c analyzer/*/*.c)
# Left out: what both analyzers of Debian 12 report of sound code. They do not
# follow __attribute__((cleanup)), nor memory that is stored through a pointer
# (leaks are what the sanitizers' run in `make check` finds); clang 14 loses
# va_start; sizes of pointers, copies of a part of a string, literals copied into
# room for them and products of small numbers are meant as they are written.
TIDY_CHECKS := -*,bugprone-*,clang-analyzer-*,cert-err33-c
TIDY_CHECKS := $(TIDY_CHECKS),-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier
TIDY_CHECKS := $(TIDY_CHECKS),-bugprone-sizeof-expression,-bugprone-not-null-terminated-result
TIDY_CHECKS := $(TIDY_CHECKS),-bugprone-implicit-widening-of-multiplication-result
TIDY_CHECKS := $(TIDY_CHECKS),-bugprone-misplaced-widening-cast
TIDY_CHECKS := $(TIDY_CHECKS),-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling
TIDY_CHECKS := $(TIDY_CHECKS),-clang-analyzer-security.insecureAPI.strcpy
TIDY_CHECKS := $(TIDY_CHECKS),-clang-analyzer-unix.Malloc,-clang-analyzer-valist.Uninitialized
TIDY_CHECKS := $(TIDY_CHECKS),-clang-analyzer-optin.performance.Padding
# ERROR_ANALYZED: see image/base/error.h. -O0: inlined, functions that free
# through a guard are not recognised any more. The other warnings are guesses
# without the optimiser, and every build gives them.
ANALYZE_FLAGS = $(filter-out -g -O% -W%,$(ALL_CFLAGS)) -DERROR_ANALYZED

# Every file is looked at, whatever is found in those before it.
analyze:
	$(Q)failed=; for f in $(SOURCES); do \
		echo "  ANALYZE $$f"; \
		$(CC) $(ANALYZE_FLAGS) -O0 -fanalyzer -Wno-analyzer-malloc-leak -Werror -c $$f -o /dev/null || failed=y; \
	done; [ -z "$$failed" ]
	$(Q)if command -v clang-tidy >/dev/null; then \
		clang-tidy --quiet --warnings-as-errors='*' --checks='$(TIDY_CHECKS)' $(SOURCES) -- $(ANALYZE_FLAGS) 2>/dev/null; \
	else echo "clang-tidy is not installed: left out"; fi

# Each is a target of its own, so that they are compiled beside each other.
headers: $(addprefix header/,$(HEADERS))
	@echo "$(words $(HEADERS)) headers compile alone"

.PHONY: $(addprefix header/,$(HEADERS))
$(addprefix header/,$(HEADERS)): header/%:
	$(Q)$(CC) $(ALL_CFLAGS) -fsyntax-only -x c $*
