# SPDX-License-Identifier: Apache-2.0
"""What the tests of groups_target.py share: one dump of it for each
interpreter, what its twin wrote, and answers as JSON."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import heaptest  # noqa: E402

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "groups_target.py")


class Subject:
    """A core of the target and what its twin said, by kind of record."""

    def __init__(self, interpreter, core, census):
        self.interpreter, self.core = interpreter, core
        self.answers = {}
        # What the header of an object is longer by than 16 bytes.
        self.header_more = 16 if interpreter.free_threaded else 0
        self.records = {}
        with open(census) as file:
            for line in file:
                kind, *rest = json.loads(line)
                self.records.setdefault(kind, []).append(rest)
        self.things = {name: address
                       for name, address in self.records["thing"]}

    def answer(self, *args, core=None, allow=(0,)):
        """The JSON of heapscan, which is the same whatever the threads. Asked
        once more of the subject's own core, it is the text of before."""
        if core is None and args in self.answers:
            return json.loads(self.answers[args])
        texts = set()
        for threads in (1, 5):
            done = heaptest.heapscan(
                core or self.core, *args, "-f", "json", "--threads", threads,
                "--sysroot", self.interpreter.root or "/")
            assert done.returncode in allow, "exit %d: %s" % (done.returncode,
                                                              done.stderr)
            texts.add(done.stdout)
        assert len(texts) == 1, "the answer depends on --threads"
        text = texts.pop()
        if core is None:
            self.answers[args] = text
        return json.loads(text)


def subjects(*args):
    """One for each interpreter; a failure to make one is a result. args: of the
    target."""
    interpreters = heaptest.interpreters(few=True)
    for interpreter in interpreters:
        if interpreter.name.endswith("-loader"):
            continue
        census, core = heaptest.tmp("census"), heaptest.tmp("core")
        with heaptest.case("%s: the target runs" % interpreter.name):
            subject = None
            with heaptest.start_target(interpreter, SCRIPT, args,
                                       census=census) as target:
                heaptest.plain_core(target.pid, core)
            subject = Subject(interpreter, core, census)
        if subject:
            yield subject
        for path in (census, core):
            if os.path.exists(path):
                os.unlink(path)
