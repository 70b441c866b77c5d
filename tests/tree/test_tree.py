#!/usr/bin/env python3
"""The rules of the tree: layers, headers of files, unique names.

SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import subprocess
import sys

# Layers that are a folder for each subject.
SUBJECTS = ["analyzer/" + name for name in (
    "allocator", "diff", "heap", "kept", "ledger", "malloc", "show", "tensors", "threads")]
CPYTHON = ["pyheap/" + name for name in (
    "census", "layouts", "references", "runtime", "sizes", "threads", "types", "values")]
IMAGE = ["image", "image/malloc", "image/base"]
BELOW = ["analyzer/graph", *CPYTHON, "cudaheap", "image/live", *IMAGE]

# A file may include its own layer and those to the right of it.
MAY_USE = {
    "analyzer/commands": ["analyzer/commands", "analyzer/overview", "analyzer", *SUBJECTS, *BELOW],
    "analyzer/overview": ["analyzer/overview", "analyzer", *SUBJECTS, *BELOW],
    **dict.fromkeys(["analyzer", *SUBJECTS], ["analyzer", *SUBJECTS, *BELOW]),
    "analyzer/graph": ["analyzer/graph", "image/base"],
    "dumper": ["dumper", "dumper/onoom", *CPYTHON, "cudaheap", "image/live", *IMAGE],
    "dumper/onoom": ["dumper/onoom"],
    "dumper/packaging": [],
    **dict.fromkeys(CPYTHON, [*CPYTHON, *IMAGE]),
    "cudaheap": ["cudaheap", *IMAGE],
    "image/live": ["image/live", *IMAGE],
    "image/malloc": IMAGE,
    "image": ["image", "image/base"],
    "image/base": ["image/base"],
}
PRINTERS = re.compile(r"^(dumper/.*_main\.c|analyzer/(.*_main|commands/cmd_.*)\.c)$")

failed = False


def report(name, problems):
    global failed
    if problems:
        failed = True
        print(f"not ok {name}: " + "; ".join(problems[:20]))
    else:
        print(f"ok {name}")


def sources():
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            capture_output=True, text=True).stdout.split("\n")
    except FileNotFoundError:
        listed = []
    if not any(listed):
        listed = [os.path.join(top, name)[2:]
                  for top, _, names in os.walk(".") for name in names
                  if not top.startswith("./build")]
    return sorted(path for path in listed if os.path.exists(path))


FILES = sources()
CODE = [path for path in FILES if path.endswith((".c", ".h"))]


def check_layers():
    problems = []
    for path in CODE:
        folder = os.path.dirname(path)
        if folder not in MAY_USE:
            if not folder.startswith("tests"):
                problems.append(f"{path} is in no layer")
            continue
        for line in open(path, encoding="utf-8"):
            match = re.match(r'#include "([^"]+)"', line)
            if not match:
                continue
            target = match.group(1)
            if not os.path.exists(target):
                continue  # made by the build
            if os.path.dirname(target) not in MAY_USE[folder]:
                problems.append(f"{path} includes {target}")
    report("includes point down only", problems)


def check_openings():
    problems = []
    for path in FILES:
        if not path.endswith((".c", ".h", ".py", ".sh", ".sql")) \
                and path not in ("Makefile", ".ci/run", "tests/run"):
            continue
        head = open(path, encoding="utf-8", errors="replace").read(2000)
        if "SPDX-License-Identifier: Apache-2.0" not in head:
            problems.append(path)
    report("every source file opens with its purpose and licence", problems)


def check_names():
    seen, problems = {}, []
    for path in CODE:
        name = os.path.basename(path)
        if path.startswith("tests/"):
            continue
        if name in seen:
            problems.append(f"{path} and {seen[name]}")
        seen[name] = path
    report("file names are unique", problems)


def check_printing():
    """Libraries return; only programs and commands print."""
    problems = []
    for path in CODE:
        if not path.startswith(("image/", "pyheap/", "cudaheap/")) or not path.endswith(".c"):
            continue
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            if re.search(r"\b(printf|puts|putchar|perror|exit|abort)\s*\(|\b(stdout|stderr)\b", line) \
                    and not re.search(r"[sf]n?printf|//|_exit|^\s*\*|^\s*/\*", line):
                problems.append(f"{path}:{number}: {line.strip()}")
    report("libraries neither print nor exit", problems)


check_layers()
check_openings()
check_names()
check_printing()
sys.exit(failed)
