# SPDX-License-Identifier: Apache-2.0
"""A process with garbage of types whose fields no table tells of, for
test_words.py: words_target.py FOLDER WHAT, with words_native in FOLDER.

It prints what a twin, made by fork, says of gc.collect(), as a line of JSON,
then "READY PID", and waits.

  seen      cycles that the collector finds, beside the same that live
  unseen    cycles through objects that it does not know
  inside    objects that only C holds, with a word that leads to themselves
  never     cycles of classes in Python; gc.set_threshold(0)
"""

import gc
import json
import os
import sys

sys.path.insert(0, sys.argv[1])
import words_native

PAIRS = 20000


class Child(words_native.Seen):
    pass


class Plain:
    pass


def pair(first, second, number):
    """Two objects that hold each other, with 400 bytes."""
    a, b = first(), second()
    a.other, b.other = b, a
    a.data = "data %d" % number * 40
    return a


def through(number):
    """A cycle through a list: seen by a table, then by a word."""
    a = words_native.Seen()
    a.other = [a, "text %d" % number]
    return a


def hung(number):
    """What hangs on a cycle by a word, and holds more."""
    a = pair(words_native.Seen, words_native.Seen, number)
    a.data = words_native.Seen()
    a.data.other = ["hung %d" % number]
    return a


def half(number):
    """Native code holds one of two."""
    a = pair(words_native.Seen, words_native.Seen, number)
    words_native.hide(a)
    return a


def seen():
    kept = []
    for i in range(PAIRS):
        pair(words_native.Seen, words_native.Seen, i)
    for keep in [].append, kept.append:
        for i in range(50):
            keep(pair(Child, words_native.Seen, i))
            keep(pair(Child, Plain, i))
            keep(through(i))
            keep(hung(i))
    for i in range(4):
        half(i)
    return kept


def unseen():
    for i in range(PAIRS):
        pair(words_native.Unseen, words_native.Unseen, i)
    for i in range(50):
        pair(words_native.Unseen, words_native.Seen, i)
        pair(words_native.Seen, words_native.Seen, i)


def inside():
    for i in range(8):
        it = words_native.Inside()
        it.data = ["inside %d" % i]
        words_native.hide(it)


def never():
    for i in range(PAIRS):
        pair(Plain, Plain, i)


def twin():
    """What gc.collect() does with all this."""
    done, told = os.pipe()
    if os.fork() == 0:
        before = words_native.freed()
        returned = gc.collect()
        os.write(told, json.dumps({
            "returned": returned,
            "freed": words_native.freed() - before}).encode())
        os._exit(0)
    os.close(told)
    print(os.read(done, 1000).decode(), flush=True)
    os.wait()


what = sys.argv[2]
gc.collect()
if what == "never":
    gc.set_threshold(0)
else:
    gc.disable()
kept = {"seen": seen, "unseen": unseen, "inside": inside, "never": never}[what]()
twin()
print("READY %d" % os.getpid(), flush=True)
sys.stdin.readline()
