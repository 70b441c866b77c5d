#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Containers written by other programs: what backing reads of them must be the
bytes that went in, whatever wrapped them and however it was cut off after."""

import json
import os
import random
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import heaptest

CAT = os.path.join(heaptest.BUILD, "tests", "tools", "backingcat")


def make_core(size):
    """Text, noise and pages of zeroes, the same in every run."""
    noise = random.Random(7)
    pages = []
    for number in range(size // 4096):
        kind = number % 4
        if kind == 0:
            pages.append(noise.randbytes(4096))
        elif kind == 1:
            pages.append(bytes(4096))
        else:
            pages.append((b"page %d " % number * 600)[:4096])
    return b"\x7fELF" + b"".join(pages) + b"the end"


def run(argv, content=b""):
    """A program's output as bytes."""
    return subprocess.run(argv, input=content, capture_output=True,
                          timeout=300)


def read(path, *args):
    """What backingcat says and what it copies out."""
    done = run([CAT, path, *args])
    assert done.returncode in (0, 1), "backingcat: status %d: %r" % (
        done.returncode, done.stderr[-500:])
    return json.loads(done.stderr), done.stdout


def write(name, content):
    path = heaptest.tmp(name)
    with open(path, "wb") as file:
        file.write(content)
    return path


def compress(argv, package, content):
    """The output of a compressor that reads its standard input."""
    argv = [heaptest.tool(argv[0], package), *argv[1:]]
    done = run(argv, content)
    assert done.returncode == 0, "%s: %r" % (argv[0], done.stderr[-500:])
    return done.stdout


def compress_file(argv, package, path):
    """The same of one that is given a file, whose size it can tell."""
    argv = [heaptest.tool(argv[0], package), *argv[1:], path]
    done = run(argv)
    assert done.returncode == 0, "%s: %r" % (argv[0], done.stderr[-500:])
    return done.stdout


def expect_whole(path, core, kind, description=None):
    about, got = read(path)
    assert "error" not in about, about
    assert about["kind"] == kind, about
    assert description is None or about["description"] == description, about
    assert about["size"] == len(core), about
    assert about["stored_size"] == os.path.getsize(path), about
    assert got == core, "other bytes than went in"
    assert about["findings"] == [] and not about["partial"], about


def test_whole(core, plain):
    with heaptest.case("plain file"):
        expect_whole(plain, core, "plain", "plain")
    for name, argv, package in [
            ("zstd", ["zstd", "-qc"], "zstd"),
            ("zstd -12 --long=27", ["zstd", "-qc", "-12", "--long=27"], "zstd"),
            ("zstd -T2", ["zstd", "-qc", "-T2"], "zstd"),
            ("gzip", ["gzip", "-c"], "gzip"),
            ("xz", ["xz", "-c1"], "xz-utils"),
            ("xz, blocks", ["xz", "-c1", "--block-size=1MiB", "-T2"],
             "xz-utils"),
            ("lz4", ["lz4", "-qc"], "lz4"),
            ("lz4, linked blocks", ["lz4", "-qc", "-BD", "-B4",
                                    "--content-size"], "lz4")]:
        with heaptest.case("%s of a file" % name):
            path = write("one", compress_file(argv, package, plain))
            expect_whole(path, core, "expanded",
                         "%s, expanded" % argv[0])
        if "--content-size" in argv:
            continue            # a pipe has none
        with heaptest.case("%s of a pipe" % name):
            path = write("one", compress(argv, package, core))
            expect_whole(path, core, "expanded",
                         "%s, expanded" % argv[0])


def test_many(core, plain):
    halves = core[:len(core) // 3], core[len(core) // 3:]
    with heaptest.case("pzstd"):
        path = write("many", compress_file(["pzstd", "-qc", "-p", "2", "-1"],
                                           "zstd", plain))
        # Its frames do not tell what they expand to.
        expect_whole(path, core, "expanded", "zstd, expanded")
    with heaptest.case("two .zst of known size, one behind the other"):
        parts = [compress_file(["zstd", "-qc"], "zstd", write("half", half))
                 for half in halves]
        expect_whole(write("many", b"".join(parts)), core, "zstd frames",
                     "zstd, 2 frames")
    for name, argv, package in [
            ("zst of unknown size", ["zstd", "-qc"], "zstd"),
            ("gz", ["gzip", "-c"], "gzip"),
            ("xz", ["xz", "-c0"], "xz-utils"),
            ("lz4", ["lz4", "-qc"], "lz4")]:
        with heaptest.case("two .%s, one behind the other" % name):
            parts = [compress(argv, package, half) for half in halves]
            expect_whole(write("many", b"".join(parts)), core, "expanded")


def test_cut(core):
    for argv, package in [(["zstd", "-qc"], "zstd"), (["gzip", "-c"], "gzip"),
                          (["xz", "-c0"], "xz-utils"),
                          (["lz4", "-qc"], "lz4")]:
        if not shutil.which(argv[0]):
            heaptest.skip("%s, cut off and spoilt" % argv[0],
                          "%s is not installed (package %s)" % (argv[0],
                                                               package))
            continue
        whole = compress(argv, package, core)
        with heaptest.case("%s, cut off" % argv[0]):
            for cut in (1, 7, len(whole) // 3, len(whole) // 2):
                about, got = read(write("cut", whole[:-cut]))
                assert "error" not in about, about
                assert about["findings"] == ["container-truncated"], about
                assert about["partial"], about
                assert core.startswith(got), "other bytes than went in"
                kept = (len(whole) - cut) / len(whole)
                assert len(got) > len(core) * (kept - 0.4), (
                    "%d of %d bytes kept" % (len(got), len(core)))
        with heaptest.case("%s, bytes behind it" % argv[0]):
            about, got = read(write("cut", whole + b"garbage"))
            assert got == core, "other bytes than went in"
            # To liblzma so few bytes are the start of a stream, cut off.
            expected = ("container-truncated" if argv[0] == "xz"
                        else "container-damaged")
            assert about["findings"] == [expected], about
        with heaptest.case("%s, spoilt in the middle" % argv[0]):
            half = len(whole) // 2
            spoilt = whole[:half] + bytes(
                byte ^ 0xFF for byte in whole[half:half + 64]
            ) + whole[half + 64:]
            about, got = read(write("cut", spoilt))
            assert about["findings"] == ["container-damaged"], about
            assert about["partial"], about
            # What a decoder makes of spoilt bytes before it notices is open.
            same = os.path.commonprefix([got, core])
            assert len(same) > len(core) // 4, (
                "%d bytes before the damage" % len(same))


def test_seekable(core):
    """Our container, put together here from frames of the zstd program."""
    heaptest.tool("zstd", "zstd")
    with heaptest.case("seekable, written by another hand"):
        step = 1 << 18
        data = table = b""
        for at in range(0, len(core), step):
            part = core[at:at + step]
            frame = compress_file(["zstd", "-qc", "-1"], "zstd",
                                  write("part", part))
            data += frame
            table += (len(frame).to_bytes(4, "little")
                      + len(part).to_bytes(4, "little"))
        count = len(table) // 8
        table += count.to_bytes(4, "little") + b"\0\xb1\xea\x92\x8f"
        whole = (data + b"\x5e\x2a\x4d\x18"
                 + len(table).to_bytes(4, "little") + table)
        path = write("seekable", whole)
        expect_whole(path, core, "zstd frames", "zstd, %d frames" % count)
        done = run([heaptest.tool("zstd", "zstd"), "-dqc", path])
        assert done.stdout == core, "zstd -d gives other bytes"
    with heaptest.case("seekable, cut off in the last frame"):
        about, got = read(write("seekable", data[:-5]))
        assert about["kind"] == "zstd frames", about
        assert about["size"] == (count - 1) * step, about
        assert got == core[:(count - 1) * step], "other bytes than went in"
        assert about["findings"] == ["container-truncated"], about
        assert about["partial"], about


def test_names(core):
    with heaptest.case("the content tells, not the name"):
        path = write("core.zst", compress(["gzip", "-c"], "gzip", core))
        expect_whole(path, core, "expanded", "gzip, expanded")
        expect_whole(write("core.xz", core), core, "plain")
    with heaptest.case("the temporary file is where it was asked for"):
        about, _ = read(path, "/nowhere/at/all")
        assert "/nowhere/at/all" in about.get("error", ""), about
        assert "--tmp" in about["error"], about


def main():
    core = make_core(12 << 20)
    plain = write("plain", core)
    test_whole(core, plain)
    test_many(core, plain)
    test_cut(core)
    test_seekable(core)
    test_names(core)
    heaptest.finish()


main()
