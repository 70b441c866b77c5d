# SPDX-License-Identifier: Apache-2.0
"""Real Python processes with damaged memory: the census must end without a
crash, a hang or a sanitizer's complaint, whatever a word was changed to. The
damages are random but the same in every run."""

import collections
import os
import random
import re
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import damage
import heaptest

FUZZER = os.path.join(damage.sanitized_folder(), "tests", "fuzz",
                      "fuzz_census")
IDLE = "print('READY', __import__('os').getpid(), flush=True)\n" \
       "import sys; sys.stdin.read()\n"
CASES = 120
SECONDS = 600


def write_cases(folder, seed):
    """Files of damages: from one word to two thousand."""
    source = random.Random(seed)
    for number in range(CASES):
        count = source.choice((1, 1, 4, 4, 16, 64, 256, 2000))
        with open(os.path.join(folder, "case-%03d" % number), "wb") as file:
            for _ in range(count):
                file.write(struct.pack("<II", source.getrandbits(32),
                                       source.getrandbits(32)))


def chosen():
    """The oldest and the newest interpreter."""
    found = [i for i in heaptest.interpreters() if not i.free_threaded]
    found.sort(key=lambda interpreter: interpreter.version)
    return list({i.name: i for i in (found[0], found[-1])}.values())


def damage_often(interpreter, number):
    if not os.path.exists(FUZZER):
        raise heaptest.Skip("no sanitized build: make sanitized")
    core, cases = heaptest.tmp("base"), heaptest.tmp("cases")
    os.makedirs(cases, exist_ok=True)
    write_cases(cases, number)
    with heaptest.start_target(interpreter, script) as target:
        heaptest.gcore(target.pid, core)
    env = dict(damage.sanitizer_environment(), HEAPSCAN_FUZZ_BASE=core,
               HEAPSCAN_FUZZ_TELL="1")
    try:
        done = heaptest.run([FUZZER, cases], timeout=SECONDS, env=env)
    except subprocess.TimeoutExpired as stuck:
        raise AssertionError("still running after %d s: %s" % (
            SECONDS, (stuck.stderr or b"").decode()[-200:]))
    os.unlink(core)
    assert done.returncode == 0, "exit %d: %s" % (done.returncode,
                                                  done.stderr[-3000:])
    # The first one tells of the undamaged core.
    undamaged, *reached = re.findall("^reached (.*)", done.stderr, re.M)
    assert undamaged == "objects", "undamaged, %s were reached" % undamaged
    counts = collections.Counter(reached)
    print("# %s: reached %s" % (interpreter, counts.most_common()))
    assert sum(counts.values()) == CASES, counts
    # Damage that ends everything early tests nothing.
    assert counts["objects"] >= CASES // 3, counts


script = heaptest.tmp("idle.py")
with open(script, "w", encoding="utf-8") as out:
    out.write(IDLE)
for seed, interpreter in enumerate(chosen()):
    with heaptest.case("census of a damaged %s" % interpreter):
        damage_often(interpreter, seed)
heaptest.finish()
