#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make every library of NVIDIA's that a wheel of PyTorch, or of CuPy, needs.

    make_stubs.py FOLDER_OF_TORCH BESIDE

FOLDER_OF_TORCH is the installed package, with its lib/ in it, or any folder with
extensions somewhere in it. BESIDE-HASH, a new folder, gets a shared library for each name that its libraries need and that is
NVIDIA's. What does
something comes from the C sources beside this file; every other symbol that the
wheel leaves undefined is a stub: a function that returns 0. Version nodes are as
the wheel asks for them.

Made again only when the sources here or the wheel's libraries are others. Prints
the folder, which LD_LIBRARY_PATH must name, and a line that LD_PRELOAD must be: it
is empty unless the wheel brings a runtime of its own.
"""

import collections
import fcntl
import glob
import hashlib
import mmap
import os
import re
import shutil
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# Libraries that are replaced, by the beginning of their names.
NVIDIA = re.compile(r"lib(cu|nv|nccl)[A-Za-z0-9_-]*\.so")
# The sources of those that do something.
SOURCES = {"cudart": "runtime.c", "cuda": "driver.c", "nvidia-ml": "nvml.c",
           "cublas": "cublas.c", "cublasLt": "cublas.c"}
# How names of their functions begin, where not as the library's.
BEGINNINGS = {"cudart": "_*cuda[A-Z]", "cuda": "cu[A-Z]", "nvidia-ml": "nvml",
              "cufile": "cuFile", "nvshmem_host": "nvshmem"}
# What is looked up by name while the program runs, and in no symbol table.
BY_NAME = {"cuda": rb"\0(cu[A-Z][A-Za-z0-9]+(?:_v\d)?)(?=\0)",
           "nvidia-ml": rb"\0(nvml[A-Z][A-Za-z0-9]+(?:_v\d)?)(?=\0)"}
# Stubs that do not return 0: texts, and what is not there.
TEXT = re.compile(r"(Error|Status)(String|Name)$|LastErrorString$"
                  r"|ncclGetLastError")
NOT_SUPPORTED = 801

Symbol = collections.namedtuple("Symbol", "name kind version library")


class Library:
    """Of an ELF file what the linker has: .needed, .undefined, .defined. And of a
    runtime that was linked into it, .inside: where its functions are."""

    SECTION = struct.Struct("<IIQQQQIIQQ")
    SYMBOL = struct.Struct("<IBBHQQ")

    def __init__(self, path):
        self.needed, self.undefined, self.defined = [], [], set()
        self.name, self.inside = os.path.basename(path), {}
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(path + ": no ELF of 64 bits")
        offset, = struct.unpack_from("<Q", self.data, 0x28)
        size, count = struct.unpack_from("<HH", self.data, 0x3a)
        sections = [self.SECTION.unpack_from(self.data, offset + i * size)
                    for i in range(count)]
        by_type = {section[1]: section for section in sections}
        strings = sections[by_type[11][6]] if 11 in by_type else None
        if strings:
            self._dynamic(by_type[6], strings)
            versions = self._versions(by_type.get(0x6ffffffe), strings)
            self._symbols(by_type[11], strings, by_type.get(0x6fffffff),
                          versions)
        if 2 in by_type and not any("cudart" in name for name in self.needed):
            self._runtime_inside(by_type[2], sections[by_type[2][6]])
        self.data.close()

    def _string(self, strings, offset):
        begin = strings[4] + offset
        return self.data[begin:self.data.find(b"\0", begin)].decode()

    def _dynamic(self, section, strings):
        for at in range(section[4], section[4] + section[5], 16):
            tag, value = struct.unpack_from("<qQ", self.data, at)
            if tag == 1:
                self.needed.append(self._string(strings, value))

    def _versions(self, section, strings):
        """Index of a version that is needed: its name and of which library."""
        versions = {}
        at = section and section[4]
        while at:
            _, count, file, aux, following = struct.unpack_from(
                "<HHIII", self.data, at)
            entry = at + aux
            for _ in range(count):
                _, _, index, name, step = struct.unpack_from(
                    "<IHHII", self.data, entry)
                versions[index] = (self._string(strings, name),
                                   self._string(strings, file))
                entry += step
            at = following and at + following
        return versions

    def _symbols(self, section, strings, indexes, versions):
        table = self.data[section[4]:section[4] + section[5]]
        for i, (name, info, _, where, _, _) in enumerate(
                self.SYMBOL.iter_unpack(table)):
            if where:
                # No more are asked for than what NVIDIA's might be called.
                if self.data[strings[4] + name:strings[4] + name + 2] in (
                        b"cu", b"nc", b"nv", b"__"):
                    self.defined.add(self._string(strings, name))
                continue
            index = indexes and struct.unpack_from(
                "<H", self.data, indexes[4] + 2 * i)[0] & 0x7fff
            version, library = versions.get(index, (None, None))
            self.undefined.append(Symbol(self._string(strings, name),
                                         info & 15, version, library))


    def _runtime_inside(self, section, strings):
        table = self.data[section[4]:section[4] + section[5]]
        for name, info, _, where, value, _ in self.SYMBOL.iter_unpack(table):
            begin = strings[4] + name
            if info & 15 == 2 and where and self.data[begin:begin + 4] == b"cuda":
                name = self._string(strings, name)
                if re.fullmatch(r"cuda[A-Z]\w*(?<!_pts[zd])(?<!_ptds)", name):
                    self.inside[name] = value


def stem(library):
    """libcudart-e409450e.so.11.0 is cudart."""
    return re.match(r"(lib)?(.*?)(-[0-9a-f]{8})?\.", library)[2]


def look_up_by_name(paths):
    found = {name: set() for name in BY_NAME}
    for path in paths:
        with open(path, "rb") as file:
            data = file.read()
        for name, pattern in BY_NAME.items():
            found[name].update(match.decode() for match in re.findall(
                pattern, data) if not re.match(rb"cu(da|dnn|blas|sparse|solver|"
                                               rb"fft|rand|pti)", match))
    return found


def libraries_of(folder):
    found = (glob.glob(os.path.join(folder, "lib", "*.so*"))
             + glob.glob(os.path.join(folder, "*.so")))
    return sorted(found or glob.glob(os.path.join(folder, "**", "*.so"),
                                     recursive=True))


def wanted(torch):
    """What is to be made: name of a library: {symbol: Symbol}."""
    paths = libraries_of(torch)
    bundled = {os.path.basename(path) for path in paths}
    libraries = [Library(path) for path in paths
                 if stem(os.path.basename(path)) != "cudart"]
    needed = {name for library in libraries for name in library.needed
              if NVIDIA.match(name)
              and (name not in bundled or stem(name) == "cudart")}
    needed |= {"libcuda.so.1", "libnvidia-ml.so.1"}
    made = {name: {} for name in needed}
    by_name = [(BEGINNINGS.get(stem(name), "_*" + stem(name)), name)
               for name in sorted(needed, key=len, reverse=True)]
    defined = set().union(*(library.defined for library in libraries))
    for library in libraries:
        for symbol in library.undefined:
            name = symbol.library
            if name is None and symbol.name not in defined:
                # Without a version any library may have it: by its name.
                name = next((of for begin, of in by_name
                             if re.match(begin, symbol.name)), None)
            if name in made:
                made[name].setdefault(symbol.name, symbol)
    looked_up = look_up_by_name(
        path for path in paths if re.search("c10_cuda|nvrtc", path))
    for of, names in looked_up.items():
        library = next(name for name in needed if stem(name) == of)
        for name in names:
            made[library].setdefault(name, Symbol(name, -1, None, library))
    # Functions of a runtime inside are to jump to those of the fake one.
    inside = {}
    for library in libraries:
        if library.inside:
            inside[library.name] = library.inside
            runtime = next(name for name in needed if stem(name) == "cudart")
            for name in library.inside:
                made[runtime].setdefault(name, Symbol(name, 2, None, runtime))
    return made, bundled, inside


def stub(symbol):
    weak = "__attribute__((weak)) "
    if symbol.kind == 1:
        return weak + "long %s[64];" % symbol.name
    if TEXT.search(symbol.name):
        return weak + 'const char *%s(void) { return "fake"; }' % symbol.name
    return weak + "long %s(void) { return %d; }" % (
        symbol.name, NOT_SUPPORTED if symbol.kind == -1 else 0)


def patches(inside):
    """The table that runtime.c goes by."""
    return "const struct { const char *library; unsigned long at; void *to; }" \
        " fake_patches[] = {\n%s{ 0, 0, 0 } };\n" % "".join(
            '{ "%s", %#x, (void *)%s },\n' % (library, at, name)
            for library, functions in sorted(inside.items())
            for name, at in sorted(functions.items()))


def compile_library(output, sources, options):
    done = subprocess.run(
        [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1",
         "-g", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wno-builtin-declaration-mismatch",
         "-o", output, *sources, *options], capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise RuntimeError("%s: %s" % (os.path.basename(output), done.stderr))


def make(torch, into):
    made, bundled, inside = wanted(torch)
    compile_library(os.path.join(into, "libfakecuda.so"),
                    [os.path.join(HERE, "memory.c"),
                     os.path.join(HERE, "streams.c")],
                    ["-Wl,-soname,libfakecuda.so", "-pthread"])
    preload = []
    for name, symbols in sorted(made.items()):
        stubs = os.path.join(into, name + ".c")
        script = os.path.join(into, name + ".map")
        with open(stubs, "w") as file:
            file.write("/* %s: what PyTorch needs of it. */\n" % name)
            file.writelines(stub(symbols[key]) + "\n"
                            for key in sorted(symbols))
            if stem(name) == "cudart":
                file.write(patches(inside))
        # A library has one node, and all of its symbols are in it.
        nodes = {symbol.version for symbol in symbols.values()
                 if symbol.version}
        with open(script, "w") as file:
            file.write("".join("%s { %s };\n" % (node, "global: *;" if i == 0
                                                 else "")
                               for i, node in enumerate(sorted(nodes))))
        source = SOURCES.get(stem(name))
        options = ["-Wl,-soname," + name, "-L" + into, "-Wl,-rpath,$ORIGIN"]
        if nodes:
            options.append("-Wl,--version-script," + script)
        if source:
            options.append("-lfakecuda")
        major = re.search(r"\.so\.(\d+)", name)
        if stem(name) == "cudart":
            options.append("-DCUDART_MAJOR=" + major[1])
        compile_library(os.path.join(into, name), [stubs] + (
            [os.path.join(HERE, source)] if source else []), options)
        if name in bundled:
            preload.append(name)
    with open(os.path.join(into, "preload"), "w") as file:
        file.write(" ".join(preload))


def fingerprint(torch):
    digest = hashlib.sha256()
    for path in sorted(glob.glob(os.path.join(HERE, "*.[ch]"))) + [__file__]:
        with open(path, "rb") as file:
            digest.update(file.read())
    for path in (sorted(glob.glob(os.path.join(torch, "lib", "*")))
                 or libraries_of(torch)):
        about = os.stat(path)
        digest.update(b"%d %d" % (about.st_size, about.st_mtime_ns))
    return digest.hexdigest()


def up_to_date(torch, beside):
    """Make what is not there yet; returns the folder and what to preload. The
    sources are part of its name: other working trees use others."""
    torch = os.path.abspath(torch)
    into = "%s-%s" % (os.path.abspath(beside), fingerprint(torch)[:12])
    made, new = os.path.join(into, "preload"), into + ".new"
    os.makedirs(os.path.dirname(into), exist_ok=True)
    with open(os.path.abspath(beside) + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(made):
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(into, ignore_errors=True)
            os.makedirs(new)
            make(torch, new)
            os.rename(new, into)
    with open(made) as file:
        names = file.read().split()
    return into, ":".join(os.path.join(into, name) for name in names)


if __name__ == "__main__":
    print(*up_to_date(*sys.argv[1:3]), sep="\n")
