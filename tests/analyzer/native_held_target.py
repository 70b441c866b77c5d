# SPDX-License-Identifier: Apache-2.0
"""A process most of whose memory C code took for objects of an extension module:
as many databases in memory as asked for, of 1 MiB and more each."""
import os
import sqlite3
import sys

BASES = []
for _ in range(int(sys.argv[1])):
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE page (text BLOB)")
    base.executemany("INSERT INTO page VALUES (?)",
                     [(b"x" * 800,) for _ in range(1400)])
    BASES.append(base)
print("READY", os.getpid(), flush=True)
sys.stdin.read()
