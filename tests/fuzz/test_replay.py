# SPDX-License-Identifier: Apache-2.0
"""Every saved input of every fuzz target, once more, under ASan and UBSan: a
crash that was found and fixed stays fixed. One result a target."""

import glob
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import damage
import heaptest

SECONDS = 120       # for a whole corpus; each takes less than one
PROGRAMS = os.path.join(damage.sanitized_folder(), "tests", "fuzz")


def replay(name, folder):
    program = os.path.join(PROGRAMS, "fuzz_" + name)
    if not os.path.exists(program):
        raise heaptest.Skip("no sanitized build: make sanitized")
    inputs = len(os.listdir(folder))
    assert inputs, "the corpus is empty: " + folder
    try:
        done = heaptest.run([program, folder], timeout=SECONDS,
                            env=damage.sanitizer_environment())
    except subprocess.TimeoutExpired as stuck:
        raise AssertionError("still running after %d s: %s" % (
            SECONDS, (stuck.stderr or b"").decode()[-200:]))
    # Each input is named on standard error before it is run.
    paths = re.findall("^%s/.*" % re.escape(folder), done.stderr, re.M)
    assert done.returncode == 0, "exit %d, last input %s: %s" % (
        done.returncode, paths[-1:], done.stderr[-3000:])
    assert "on %d inputs" % inputs in done.stdout, \
        "expected %d inputs, got %r" % (inputs, done.stdout)


targets = {os.path.basename(path)[5:-2]
           for path in glob.glob(os.path.join(HERE, "fuzz_*.c"))}
corpora = set(os.listdir(os.path.join(HERE, "corpus")))
heaptest.equal("every corpus has its target", corpora - targets, set())
for target in sorted(corpora & targets):
    with heaptest.case("corpus of " + target):
        replay(target, os.path.join(HERE, "corpus", target))
# The target without a corpus runs on real processes: test_mutated.py.
heaptest.equal("every target but census has a corpus",
               targets - corpora - {"census"}, set())
heaptest.finish()
