# SPDX-License-Identifier: Apache-2.0
"""What the documents show can be typed: the commands of README's "Everyday
use", of the EXAMPLES of the manual pages and of --help, and those of docs/*.md,
are run on a live process and its dump; and README's screen has the shape of
what heapdump --demo prints."""

import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import heaptest

SCRIPT = """\
import os, sys
kept = [{"key": str(i)} for i in range(1000)]
print("ADDRESS", hex(id(kept)))
print("READY", os.getpid(), flush=True)
sys.stdin.read()
"""

# What the documents call the dumps and the processes of their examples.
DUMPS = ("dump.core.zst", "dump.core", "FILE", "DUMP", "OLD", "NEW",
         "old.core.zst", "new.core.zst")
MANIFEST = """\
{"schema": "heapdump.manifest/1", "dumps": [
    {"pid": 1, "path": "dump.core.zst"},
    {"pid": 2, "parent": 1, "path": "dump.core"}]}
"""
PIDS = ("4242", "4711", "PID")
ADDRESSES = ("0x7f1c2a3b4c50", "ADDR")
TOOLS = re.compile(r"(heapdump|heapscan|zstd) ")
HEADINGS = re.compile(r"^(Started|\$ \w+|  (?:dumped|runtime|complete) |SUSPECTS|TYPES|"
                      r"MEMORY|RETAINED|GARBAGE|REFCOUNTS|THREADS|next:|Names of)", re.M)


def text_of(*path):
    with open(os.path.join(heaptest.SRC, *path), encoding="utf-8") as file:
        return file.read()


def of_markdown(text):
    """The lines of its sh blocks that call a program of ours."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
        for line in block.splitlines():
            if TOOLS.match(line):
                yield re.sub(r"\s+# .*", "", line)


def of_page(text):
    examples = re.search(r"^\.Sh EXAMPLES\n(.*?)^\.Sh", text, re.M | re.S)[1]
    for line in re.findall(r"^\.Dl (.*)", examples, re.M):
        yield line.replace(r"\e", "\\")


def of_help(name):
    done = heaptest.run([heaptest.program(name), "--help"])
    for line in done.stdout.splitlines():
        # Two columns; more are the synopsis.
        if re.match(r"  \w", line) and TOOLS.match(line.strip()):
            yield re.sub(r"(?<=\S)  +\w.*", "", line.strip())


def sources():
    """(where it stands, command) of every example."""
    readme = text_of("README.md")
    everyday = re.search(r"^## Everyday use\n(.*?)^## ", readme, re.M | re.S)[1]
    listed = [("README.md", list(of_markdown(everyday)))]
    for name in sorted(os.listdir(os.path.join(heaptest.SRC, "docs"))):
        if name.endswith(".md"):
            listed.append((name, list(of_markdown(text_of("docs", name)))))
    for name in ("heapdump", "heapscan"):
        listed.append((name + ".1", list(of_page(text_of("docs", name + ".1")))))
        listed.append((name + " --help", list(of_help(name))))
    for place, commands in listed:
        if not place.endswith(".md") or place == "README.md":
            heaptest.check("%s has examples" % place, len(commands) >= 3,
                           "found %r" % commands)
        for command in commands:
            yield place, command


def substituted(command, pid, address, folder):
    words = {word: str(pid) for word in PIDS}
    words.update({word: address for word in ADDRESSES})
    words["/var/dumps"] = words["/dumps"] = folder
    # The other machine is this one; a watcher has better things to do.
    command = command.replace("ssh host", "sh -c")
    command = command.replace("heapdump --watch", "heapdump --watch --for 1s")
    return re.sub(r"(?<![\w./-])(%s)(?![\w./-])" % "|".join(
        map(re.escape, words)), lambda match: words[match[1]], command)


def run_example(place, command, pid, address, kept):
    """Each in a folder of its own, which holds the dumps by their names."""
    with heaptest.case("%s: %s" % (place, command)):
        folder = heaptest.tmp("example")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.join(folder, "dumps"))
        for name in (*DUMPS, "app.core.zst"):
            source = kept["plain" if name.endswith(".core") else "zst"]
            if "-o " + name not in command:
                os.link(source, os.path.join(folder, name))
        with open(os.path.join(folder, "TREE.manifest.json"), "w") as file:
            file.write(MANIFEST)
        with open(os.path.join(folder, "train.py"), "w") as file:
            file.write("print('trained')\n")
        env = dict(os.environ, HEAPDUMP_DIR=folder, PATH=os.pathsep.join(
            [os.path.abspath(heaptest.BUILD), os.environ["PATH"]]))
        line = substituted(command, pid, address,
                           os.path.join(folder, "dumps"))
        if line.startswith("zstd "):
            heaptest.tool("zstd", "zstd")
        done = heaptest.run(["sh", "-c", line], cwd=folder, env=env)
        if "--watch" in line:
            assert done.returncode == 4, "exit %d: %s" % (done.returncode,
                                                          done.stderr)
            assert re.match("heapdump: (watching|waiting for)",
                            done.stderr), done.stderr
            return
        if " torch-snapshot " in line:
            # The process of the examples has no PyTorch, which is said.
            assert done.returncode == 1 and "has no PyTorch" in done.stderr, (
                done.stderr)
            return
        assert done.returncode == 0, "exit %d: %s" % (done.returncode,
                                                      done.stderr)
        said = done.stderr
        if " -- " in line:
            assert said.startswith("heapdump: watching"), said
            said = said.partition("\n")[2]
        assert "heapdump:" not in said, said
        made = re.search(r"(?:-o |> |cat >)(\w[\w.]*)'?$", line)
        if made:
            path = os.path.join(folder, made[1])
            assert os.path.getsize(path) > 0, "%s is empty" % made[1]


def shape(text):
    return [match[1].strip() for match in HEADINGS.finditer(text)]


def columns(text):
    heading = re.search(r"^TYPES .*", text, re.M)[0]
    return heading.split()


def first_types(text):
    return re.findall(r"^  (\S+)", text.partition("\nTYPES ")[2], re.M)[:5]


def test_screen():
    """The rows below the first five depend on the interpreter."""
    shown = re.search(r"^```\n(Started.*?)^```", text_of("README.md"),
                      re.M | re.S)[1]
    done = heaptest.heapdump("--demo")
    heaptest.equal("heapdump --demo ends well", (done.returncode, done.stderr),
                   (0, ""))
    heaptest.equal("README's screen has the headings of the demonstration",
                   shape(shown), shape(done.stdout))
    heaptest.equal("README's screen has its columns", columns(shown),
                   columns(done.stdout))
    heaptest.equal("README's screen has its largest types", first_types(shown),
                   first_types(done.stdout))
    heaptest.check("README's screen is no wider than 120 columns",
                   max(map(len, shown.splitlines())) <= 120)


def main():
    script = heaptest.tmp("kept.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(SCRIPT)
    interpreter = heaptest.Interpreter("system", ["/usr/bin/python3"])
    with heaptest.start_target(interpreter, script,
                               env={"PYTHONTRACEMALLOC": "1"}) as target:
        kept = {"zst": heaptest.tmp("kept.zst"),
                "plain": heaptest.tmp("kept.core")}
        for kind, options in (("zst", []), ("plain", ["--no-compress"])):
            done = heaptest.heapdump("-q", "--max-pause", "1m", *options, "-o",
                                     kept[kind], target.pid)
            assert done.returncode == 0, done.stderr
        address = re.search(r"^ADDRESS (\w+)", target.printed(), re.M)[1]
        for place, command in sources():
            run_example(place, command, target.pid, address, kept)
        with heaptest.case("the process of the examples goes on"):
            assert target.end() == 0
    test_screen()
    heaptest.finish()


main()
