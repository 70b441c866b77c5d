# SPDX-License-Identifier: Apache-2.0
"""Programs of test_on_oom.py, which run out of memory in all ways.

usage: on_oom_target.py STEP[=ARGUMENT]...
"""
import ctypes
import multiprocessing
import os
import resource
import sys
import time


class Marker:
    """What the dump is searched for."""


def work(step, *args):
    """Frames with something in them below the one that fails."""
    kept = [Marker() for _ in range(1234)]
    deeper(5, step, args)
    return len(kept)


def deeper(depth, step, args):
    if depth:
        return deeper(depth - 1, step, args)
    local_of_the_deepest = Marker()
    step(*args)
    return local_of_the_deepest


def refused():
    bytearray(1 << 62)


def limited():
    """With the room that little objects need: only Python's own pools grow."""
    resource.setrlimit(resource.RLIMIT_AS, (400 << 20, resource.RLIM_INFINITY))
    try:
        [(number, str(number)) for number in range(10 ** 9)]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)


def named():
    raise MemoryError("by name")


class _ArrayMemoryError(MemoryError):
    """As numpy's."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype


def array():
    raise _ArrayMemoryError((1, 2), "float64")


def numpy():
    import numpy
    numpy.empty((1 << 28, 1 << 28))


def thrown(path, kind, mode=0):
    assert ctypes.CDLL(path, mode=int(mode)).throw_one(kind.encode()) == (
        1), kind


def many(path, number):
    print(ctypes.CDLL(path).throw_many(int(number), 4))


def worker(number):
    try:
        work(refused)
    except MemoryError:
        print("worker %s failed" % number, flush=True)


def workers(method, number):
    """Beside each other, by fork or by spawn."""
    context = multiprocessing.get_context(method)
    started = [context.Process(target=worker, args=(i,))
               for i in range(int(number))]
    for process in started:
        process.start()
    for process in started:
        process.join()
    print([process.exitcode for process in started])


def rank(barrier):
    barrier.wait()
    bytearray(1 << 62)


def crew(number):
    """As launchers do: all fail at once, and when the first has ended the others
    are ended."""
    from multiprocessing import connection
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(int(number))
    ranks = [context.Process(target=rank, args=(barrier,))
             for _ in range(int(number))]
    for process in ranks:
        process.start()
    connection.wait([process.sentinel for process in ranks])
    for process in ranks:
        process.terminate()
    for process in ranks:
        process.join()
    print(sorted(set(process.exitcode for process in ranks)))


def plain():
    """No memory is missing, and nothing is otherwise than without."""
    import pickle
    for bad in (lambda: {}["x"], lambda: 1 / 0, lambda: int("x")):
        try:
            bad()
        except Exception as error:
            print(repr(error))
    print(sys.getsizeof(MemoryError), MemoryError.__mro__, MemoryError.__doc__,
          MemoryError.__new__.__name__, sorted(vars(MemoryError)),
          isinstance(sys.exc_info, type), len(pickle.dumps(MemoryError)))
    print(len(bytes(10 ** 6)), len([0] * 10 ** 6), sum(range(10 ** 5)))


def made():
    """What becomes of types that inherit from it, and of its instances."""
    import pickle
    first = MemoryError("x", 2)
    second = MemoryError.__new__(_ArrayMemoryError)
    third = pickle.loads(pickle.dumps(first))
    print(first.args == third.args == ("x", 2), second.args,
          _ArrayMemoryError.__new__ is MemoryError.__new__,
          sys.getsizeof(first), repr(third))


def recipe(path):
    with open(path, encoding="utf-8") as file:
        exec(file.read(), {})


def environ(name):
    print(os.environ.get(name))


def mapped(name):
    with open("/proc/self/maps") as maps:
        print(name in maps.read())


def wait_file(path):
    print("waiting", flush=True)
    while not os.path.exists(path):
        time.sleep(0.01)


def run(step, args):
    # Not in a handler: exceptions under way change what Python does with one.
    before = time.monotonic()
    try:
        if step in (refused, limited, named, array, numpy, thrown):
            work(step, *args)
        else:
            step(*args)
    except MemoryError as error:
        print(step.__name__, type(error).__name__)
    if step is refused:
        print("took", "long" if time.monotonic() - before > 0.9 else "no time")


def main():
    for word in sys.argv[1:]:
        name, _, argument = word.partition("=")
        if name == "exit":
            sys.stdout.flush()
            os._exit(int(argument))
        if name == "uncaught":
            work(refused)
        run(globals()[name], argument.split(",") if argument else [])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
