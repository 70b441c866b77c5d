# SPDX-License-Identifier: Apache-2.0
"""An exception as PyTorch's, in the state that the first argument names. What its
message says is the truth that the overview is held against."""

import os
import sys

MESSAGES = {
    "handled": "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 1; 15.78 GiB "
               "total capacity; 14.23 GiB already allocated; 3.44 MiB free; 14.24 "
               "GiB reserved in total by PyTorch) If reserved memory is >> ...",
    "chained": "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
               "capacity of 23.69 GiB of which 1.31 GiB is free. Process 7 has "
               "1.00 GiB memory in use. Of the allocated memory 20.72 GiB is "
               "allocated by PyTorch, and 1.50 GiB is reserved by PyTorch but "
               "unallocated. secret",
    "kept": "CUDA out of memory. Tried to allocate more than 1EB memory.",
    "driver": "CUDA error: out of memory\nCUDA kernel errors might be ...",
    "other": "the shop is out of memory. sticks",
}
OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,),
                        {"__module__": "torch"})
KEPT = []


def ready():
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.read()


def ask(state):
    kind = RuntimeError if state in ("driver", "other") else OutOfMemoryError
    raise kind(MESSAGES[state])


def main(state):
    try:
        ask(state)
    except RuntimeError as error:
        if state == "chained":
            try:
                raise ValueError("no batch") from error
            except ValueError:
                ready()
        elif state == "kept":
            KEPT.append(error)
        else:
            ready()
    if state == "kept":
        ready()


if __name__ == "__main__":
    main(sys.argv[1])
