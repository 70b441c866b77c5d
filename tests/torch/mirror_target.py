# SPDX-License-Identifier: Apache-2.0
"""Structures as PyTorch lays them out, for test_mirror.py: imports the module that
it compiled from mirror.c, makes some of one layout, prints what there is and waits.

usage: mirror_target.py FOLDER COUNTS SLOT WRAPPER OWN FLAGS [PLAIN [MORE]]
                        [-- FOLDER COUNTS ...]

What is behind -- is of another copy of PyTorch, with classes of its own.
"""

import importlib.machinery
import importlib.util
import json
import os
import sys


def made(folder, *layout):
    path = os.path.join(folder, "mirror.so")
    loader = importlib.machinery.ExtensionFileLoader("mirror", path)
    mirror = importlib.util.module_from_spec(
        importlib.util.spec_from_file_location("mirror", path, loader=loader))
    return mirror.make(*map(int, layout))


argv = sys.argv[1:] + ["--"]
plain, others, addresses = made(*argv[:argv.index("--")])
leaf, result, sparse, based, _ = others
# Lists that alone in Python hold a tensor; C++ has the one of the first, too.
both, alone = [others.pop()], [plain.pop(0)]
del _
more = argv[argv.index("--") + 1:-1]
plain_more, others_more, addresses_more = made(*more) if more else ([], [], {})


def main():
    print("MADE " + json.dumps({
        "plain": {str(id(one)): 16 + i
                  for i, one in enumerate(alone + plain[:39])},
        # The last plain one is an object for none.
        "more": list(map(id, plain_more[:-1] + others_more)),
        "addresses_more": addresses_more,
        "leaf": id(leaf), "result": id(result), "sparse": id(sparse),
        "based": id(based), "both": id(both[0]),
        "lists": [id(both), id(alone)], "addresses": addresses}), flush=True)
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.readline()


main()
