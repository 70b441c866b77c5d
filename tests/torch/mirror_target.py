# SPDX-License-Identifier: Apache-2.0
"""Structures as PyTorch lays them out, for test_mirror.py: imports the module that
it compiled from mirror.c, makes some of one layout, prints what there is and waits.

usage: mirror_target.py FOLDER COUNTS SLOT WRAPPER OWN FLAGS [PLAIN [MORE]]
"""

import json
import os
import sys

sys.path.insert(0, sys.argv[1])
import mirror

plain, others, addresses = mirror.make(*map(int, sys.argv[2:]))
leaf, result, sparse, based = others


def main():
    print("MADE " + json.dumps({
        "plain": {str(id(one)): 16 + i for i, one in enumerate(plain[:40])},
        "leaf": id(leaf), "result": id(result), "sparse": id(sparse),
        "based": id(based), "addresses": addresses}), flush=True)
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.readline()


main()
