# SPDX-License-Identifier: Apache-2.0
"""WHY IT FAILED in the overview: the exception in each state in which it may be,
without PyTorch. Where its allocator is beside it: tests/torch/test_snapshot.py."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SCRIPT = os.path.join(HERE, "failure_target.py")
GIB = 1 << 30
EXPECTED = {
    "handled": {"state": "handled", "kind": "tried", "device": "cuda:1",
                "requested": 20 << 20, "verdict": "too_little",
                "expandable_segments": "would_not"},
    "chained": {"state": "chained", "kind": "tried", "device": "cuda:0",
                "requested": 2 * GIB, "other_processes": GIB,
                "verdict": "pieces", "expandable_segments": "might"},
    "kept": {"state": "kept", "kind": "huge", "objects": 1,
             "verdict": "no_size"},
    "driver": {"state": "handled", "kind": "driver", "verdict": "outside"},
    "other": None,
}
SENTENCES = {
    "handled": r", is [\d.]+ MiB too little",
    "chained": r"ask\(\) asked cuda:0 for 2\.00 GiB:  ask failure_target\.py:\d+",
    "kept": r"an object that is kept, of no thread",
    "driver": r"It was not the caching allocator that asked",
}


def check(state, dump):
    done = heaptest.heapscan(dump, "-f", "json", "-q")
    assert done.returncode == 0, done.stderr
    got, expected = json.loads(done.stdout).get("failure"), EXPECTED[state]
    screen = heaptest.heapscan(dump, "-q").stdout
    if expected is None:
        assert got is None and "WHY IT FAILED" not in screen, got
        return
    assert {key: got.get(key) for key in expected} == expected, got
    assert got["exact"] is False and "pieces" not in got, got
    assert got["place"].startswith("ask failure_target.py:"), got
    assert screen.index("WHY IT FAILED") < screen.index("SUSPECTS")
    section = screen[screen.index("WHY IT FAILED"):].split("\n\n")[0]
    assert re.search(SENTENCES[state], section), section
    # The message is a value; numbers are not the text.
    assert "secret" not in screen and "Tried to" not in screen, section
    values = heaptest.heapscan(dump, "-q", "--values").stdout
    assert "out of memory" in values[values.index("WHY IT FAILED"):], values
    markdown = heaptest.heapscan(dump, "-q", "-f", "md").stdout
    assert "WHY IT FAILED" in markdown


def main():
    found = heaptest.interpreters(few=True)
    for interpreter in found[-1:]:
        for state in EXPECTED:
            with heaptest.case("%s: %s" % (interpreter, state)):
                dump = heaptest.tmp("failure-" + state)
                with heaptest.start_target(interpreter, SCRIPT, [state]) as target:
                    done = heaptest.heapdump("-q", "-o", dump, target.pid)
                    assert done.returncode == 0, done.stderr
                check(state, dump)
    heaptest.finish()


if __name__ == "__main__":
    main()
