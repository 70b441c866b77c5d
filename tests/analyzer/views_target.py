# SPDX-License-Identifier: Apache-2.0
"""The program whose heap test_retained.py and test_path.py ask about.

usage: views_target.py --census TO

It builds small structures of which it knows what holds what, and writes (to a
path, or fd:N) a line of JSON for each: {"name", "address", …}; see plant().
Then it prints "READY PID".
"""

import argparse
import collections
import functools
import gc
import json
import os
import sys
import threading
import types
import weakref

gc.disable()
gc.collect()
LINES, READY, FOREVER = [], [], threading.Event()


def plant(name, thing, **more):
    """more: "path": a regular expression for the path, THREAD being the
    thread's number; "values": the same with --values; "members": addresses of
    all that lives by it, itself included; "garbage"."""
    LINES.append(dict(more, name=name, address=id(thing),
                      thread=threading.get_native_id()))
    return thing


def members(*things):
    return [id(thing) for thing in things]


def unique(text):
    """A str that nobody else has."""
    return "".join(["unique ", text])


class Node:
    __slots__ = "kids", "tag", "peer", "__weakref__"

    def __init__(self, tag):
        self.kids, self.tag = [], unique(tag)


class Plain:
    pass


class Derived(Plain):
    pass


# ---- Structures that live by one object

def make_tree(depth, known):
    node = Node("tree %d" % len(known))
    known += members(node, node.kids, node.tag)
    for _ in range(3 if depth else 0):
        node.kids.append(make_tree(depth - 1, known))
    return node


tree_members = []
tree = make_tree(4, tree_members)
plant("tree", tree, members=tree_members, path=r"views_target\.py:tree")
plant("leaf of the tree", tree.kids[2].kids[1].kids[0],
      path=r"views_target\.py:tree\.kids\[2\]\.kids\[1\]\.kids\[0\]")

shared = [unique("shared"), unique("shared too")]
dag = [[shared], [shared], [[shared]]]
plant("DAG", dag, path=r"views_target\.py:dag",
      members=members(dag, *dag, dag[2][0], shared, *shared))
plant("branch of the DAG", dag[0], members=members(dag[0]))
plant("what its branches share", shared, members=members(shared, *shared))
del shared

ring = [Node("ring %d" % i) for i in range(5)]
for one, other in zip(ring, ring[1:] + ring[:1]):
    one.peer = other
ring_members = [address for node in ring
                for address in members(node, node.kids, node.tag)]
ring = ring[0]
del one, other
plant("ring", ring, members=ring_members, path=r"views_target\.py:ring")
plant("far side of the ring", ring.peer.peer,
      path=r"views_target\.py:ring\.peer\.peer")

table = {number: [unique("row %d" % number)] for number in range(5000, 5040)}
plant("dict of lists", table, path=r"views_target\.py:table",
      members=members(table, *table, *table.values(),
                      *(row[0] for row in table.values())))
plant("row of it", table[5007], members=members(table[5007], table[5007][0]),
      path=r"views_target\.py:table\[\.\.\.\]",
      values=r"views_target\.py:table\[5007\]")

chain = None
for i in range(300):
    chain = [chain, unique("link %d" % i)]
plant("chain", chain, path=r"views_target\.py:chain")
link = chain
for i in range(50):
    link = link[0]
plant("link of the chain", link, path=r"views_target\.py:chain(\[0\]){50}")
del link


# ---- Holders of all kinds

holders = Plain()
holders.items = (Plain(), plant("item of a tuple", Plain(),
                                path=r"views_target\.py:holders\.items\[1\]"))
holders.cache = {"key": plant(
    "value of a dict", Plain(),
    path=r"views_target\.py:holders\.cache\[\.\.\.\]",
    values=r"views_target\.py:holders\.cache\['key'\]")}
holders.seen = {plant("element of a set", Plain(),
                      path=r"views_target\.py:holders\.seen\{\.\.\.\}")}
holders.recent = collections.deque([Plain(), plant(
    "item of a deque", Plain(),
    path=r"views_target\.py:holders\.recent\[1\]")])
holders.bound = functools.partial(print, plant(
    "argument of a partial", Plain(),
    path=r"views_target\.py:holders\.bound\.args\[0\]"))
holders.method = plant("self of a method", Derived(),
                       path=r"views_target\.py:holders\.method\.__self__"
                       ).__init__
Plain.kept = plant("class attribute", Node("class attribute"),
                   path=r"views_target\.py:Plain\.kept")


def make_hook():
    state = plant("closure", Plain(),
                  path=r"views_target\.py:hook\.<closure state>")
    return lambda: state


hook = make_hook()


def default(argument=plant("default of an argument", Node("default"),
                           path=r"views_target\.py:default\.__defaults__\[0\]")):
    return argument


module = sys.modules["shop.sessions"] = types.ModuleType("shop.sessions")
module.STORE = plant("global of a module", Plain(),
                     path=r"shop\.sessions\.STORE")
del module

# Held twice: by another module, too.
both = sys.modules["shop.sessions"].both = plant(
    "global of two modules", Plain(), ways=2)

weak = Plain()
weak.target = plant("held weakly, too", Node("weak"),
                    path=r"views_target\.py:weak\.target")
weak.reference = weakref.ref(weak.target)

weird = Plain()
setattr(weird, 'a "quoted\\\n&<name>', plant("strange name", Node("strange")))


# ---- Held by nothing

def garbage():
    for name in ("garbage", "more garbage"):
        one, other = Node("one"), Node("other")
        one.peer, other.peer = other, one
        plant(name, one, garbage=True)
        plant("other side of " + name, other, garbage=True)


garbage()


# ---- Threads

def blocked():
    READY.append(1)
    FOREVER.wait()


def first_thread():
    mine = plant("local of a thread", Node("mine"),
                 path=r"local mine in first_thread\(\) thread THREAD")
    mine.kids.append(plant("below a local", Node("below"),
                           path=r"local mine\.kids\[0\] in first_thread\(\) "
                           "thread THREAD"))
    lent = BETWEEN
    blocked()
    return lent


def second_thread():
    lent = BETWEEN
    blocked()
    return lent


BETWEEN = [Node("of both threads")]
plant("held by two threads", BETWEEN[0])


def running():
    """Frames up to 3.10, where these are objects, else their variables."""
    for frame in sys._current_frames().values():
        while frame:
            if frame.f_code not in MINE and sys.version_info < (3, 11):
                yield frame
            elif frame.f_code not in MINE and frame.f_code.co_flags & 1:
                yield from frame.f_locals.values()
            frame = frame.f_back


def distances(*starts):
    """{address: references from the nearest of some objects} of all that was
    planted, by gc.get_referents."""
    seen = {id(start) for start in starts} | {id(LINES)}
    level, far, found = list(starts), 0, {}
    wanted = {line["address"] for line in LINES}
    while level:
        following = []
        for thing in level:
            if id(thing) in wanted:
                found[id(thing)] = far
            for referent in gc.get_referents(thing):
                if id(referent) not in seen:
                    seen.add(id(referent))
                    following.append(referent)
        level, far = following, far + 1
    return found


def nearest():
    """Variables and modules are as good, frames come after both."""
    if sys.version_info < (3, 11):
        found = distances(*running())
        found.update(distances(sys.modules))
        return found
    return distances(sys.modules, *running())


MINE = {function.__code__ for function in (running, distances, nearest)}


def main(to):
    global BETWEEN
    for function in (first_thread, second_thread):
        threading.Thread(target=function, daemon=True).start()
    while len(READY) < 2:
        pass
    BETWEEN = None
    found = nearest()
    for line in LINES:
        line["distance"] = found.get(line["address"])
    with open(int(to[3:]) if to.startswith("fd:") else to, "w") as file:
        for line in LINES:
            file.write(json.dumps(line) + "\n")
    del LINES[:], found, line
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.read()


parser = argparse.ArgumentParser()
parser.add_argument("--census")
main(parser.parse_args().census)
