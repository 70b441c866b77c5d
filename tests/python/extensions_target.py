# SPDX-License-Identifier: Apache-2.0
"""The program whose dumps hold what extension modules keep outside of Python's
own structures: stacks of greenlets, arrays of numpy, frames of pandas, memory of
pyarrow. Prints "FACTS" with what those say of it, in JSON, then READY PID; ends
when its input does.

usage: extensions_target.py
"""

import gc
import json
import os
import sys

FACTS = {"versions": {}}


class Load:
    """What is held, with a mark to find it by."""

    def __init__(self, mark):
        self.mark = mark


def imported(name):
    try:
        module = __import__(name)
    except ImportError:
        return None
    FACTS["versions"][name] = module.__version__
    return module


# ---- greenlet

def deepest(load, number):
    import greenlet
    parent = greenlet.getcurrent().parent
    mine = [load, Load("listed")]

    def closed():
        return mine

    if number % 4 == 0:             # frames of Python alone
        return parent.switch(closed)
    if number % 4 == 1:             # C functions between them
        return list(map(lambda given: parent.switch(given), [load]))
    if number % 4 == 2:             # a generator between them
        return sum(generated(load, parent))
    try:
        raise ValueError(load)
    except ValueError as error:     # an exception being handled
        return parent.switch(error)


def generated(load, parent):
    yielded = [load, Load("yielded")]
    yield 1
    parent.switch()
    yield len(yielded)


def middle(number):
    here = Load("middle")
    return deepest(here, number)


def lonely():
    """Held by nothing but its own variable."""
    import greenlet
    me = greenlet.getcurrent()
    kept = Load("lonely")
    me.parent.switch(id(kept))


def variables(frame):
    """[function, {name: address}] of a frame and all that called it."""
    while frame is not None:
        yield [frame.f_code.co_name, {
            name: id(value) for name, value in frame.f_locals.items()
            if isinstance(value, (Load, list))}]
        frame = frame.f_back


def of_greenlet(greenlet):
    class Mine(greenlet.greenlet):
        pass

    suspended = [greenlet.greenlet(middle) for _ in range(40)]
    for number, each in enumerate(suspended):
        each.switch(number)
    mine = Mine(middle)
    mine.load = Load("attribute")
    mine.switch(0)
    ended = [greenlet.greenlet(len) for _ in range(3)]
    for each in ended:
        each.switch("text")
    fresh = [greenlet.greenlet(lambda load=Load("default"): load)
             for _ in range(3)]
    FACTS["lonely"] = greenlet.greenlet(lonely).switch()
    for _ in range(3):              # garbage, two cycles of which are freed
        each = greenlet.greenlet(middle)
        each.load = [each, Load("garbage")]
    each = greenlet.greenlet(middle)
    each.switch(0)
    each.load = [each, Load("kept by C")]   # it is suspended: not garbage
    each = None
    FACTS["greenlets"] = [
        {"address": id(each), "active": bool(each),
         "refers": sorted(map(id, gc.get_referents(each))),
         "frames": list(variables(each.gr_frame))}
        for each in suspended + [mine] + ended + fresh]
    return suspended, mine, ended, fresh


def of_gevent(gevent):
    import gevent.event
    event = gevent.event.Event()

    def waiting():
        load = Load("gevent")
        event.wait()
        return load

    greenlets = [gevent.spawn(waiting) for _ in range(10)]
    gevent.sleep(0)
    return greenlets, event


# ---- data

def of_numpy(numpy):
    class Mine(numpy.ndarray):
        pass

    whole = numpy.ones((300, 500))
    objects = numpy.empty(200, dtype=object)
    for i in range(len(objects)):
        objects[i] = Load("item")
    square = numpy.empty((5, 7), dtype=object)
    square[:] = [[Load("square") for _ in range(7)] for _ in range(5)]
    arrays = [
        whole, whole[10:20], whole.T, objects, objects[3:9], square, square.T,
        numpy.zeros(0), numpy.zeros((3, 0)), numpy.array(2.5),
        numpy.arange(12000.).reshape(100, 120).copy(order="F"),
        numpy.array(["abc"] * 100), numpy.zeros(7, dtype="V13"),
        numpy.zeros(50, dtype=[("a", "i1"), ("b", "f8")]),
        numpy.arange(3000).view(Mine).copy(),
        numpy.frombuffer(bytearray(9000), dtype="u2"),
        numpy.zeros((2, 3, 4), dtype=">f8")[::-1, 1:, ::2],
        numpy.array(["2024-02-29"], dtype="M8[D]"), numpy.zeros(3, bool),
        numpy.broadcast_to(numpy.arange(4), (1000, 4)),
        *[numpy.arange(n, dtype="i2") for n in range(0, 300, 7)]]
    FACTS["arrays"] = [
        {"address": id(each), "size": sys.getsizeof(each),
         "dimensions": each.ndim, "exact": type(each) is numpy.ndarray,
         "held": each.nbytes if each.flags.owndata else 0,
         "array": {
             "dtype": (each.dtype.name if each.dtype.kind in "biufcO"
                       and each.dtype.isnative else each.dtype.str),
             "shape": str(list(each.shape)), "strides": str(list(each.strides)),
             "data_ptr": hex(each.ctypes.data), "bytes": each.nbytes,
             "owns_data": each.flags.owndata},
         "base": None if each.base is None else hex(id(each.base))}
        for each in arrays]
    return arrays, numpy.ones(6 << 20)


def of_pandas(pandas, numpy):
    loads = pandas.DataFrame({"load": [Load("cell") for _ in range(50)]})
    numbers = pandas.DataFrame({"a": numpy.arange(90000),
                                "b": numpy.arange(90000) / 7})
    names = pandas.Index([Load("name") for _ in range(3000)])
    names.get_loc(names[7])
    spaced = pandas.Index(numpy.arange(3000) * 3)
    spaced.get_loc(300)
    FACTS["columns"] = [
        {"address": id(block.values if block.values.base is None
                       else block.values.base),
         "bytes": block.values.nbytes}
        for block in numbers._mgr.blocks]
    FACTS["tables"] = [
        {"address": id(each._engine.mapping),
         "bytes": each._engine.mapping.sizeof()} for each in (names, spaced)]
    return loads, numbers, names, spaced


def of_pyarrow(pyarrow):
    table = pyarrow.table({
        "number": list(range(30000)), "none": [1, None, 2] * 10000,
        "text": ["text %d" % i for i in range(30000)],
        "list": [[i, i + 1] for i in range(30000)]})
    array = pyarrow.array([1.5] * 20000)
    chunked = pyarrow.chunked_array([list(range(5000)), list(range(9000))])
    batch = pyarrow.record_batch({"x": list(range(7000))})
    buffer = pyarrow.allocate_buffer(123456)
    shared = pyarrow.array(list(range(11000)))
    views = shared.slice(100), pyarrow.py_buffer(bytearray(70000))
    gc.collect()
    # As nobody knows whose they are, they count for nobody.
    FACTS["arrow"] = {
        "total": pyarrow.total_allocated_bytes(),
        "shared": sum(-(-each.size // 64) * 64 for each in shared.buffers()
                      if each)}
    return table, array, chunked, batch, buffer, shared, views


def main():
    kept = {}
    numpy = imported("numpy")
    if numpy:
        kept["numpy"] = of_numpy(numpy)
    pandas = imported("pandas")
    if pandas:
        kept["pandas"] = of_pandas(pandas, numpy)
    pyarrow = imported("pyarrow")
    if pyarrow:
        kept["pyarrow"] = of_pyarrow(pyarrow)
    gc.collect()
    gc.disable()
    greenlet = imported("greenlet")
    if greenlet:
        kept["greenlet"] = of_greenlet(greenlet)
    gevent = imported("gevent")
    if gevent:
        kept["gevent"] = of_gevent(gevent)
    HELD.update(kept)
    print("FACTS " + json.dumps(FACTS), flush=True)
    if greenlet:
        # Whoever is dumped in one of them has left the main one suspended.
        greenlet.greenlet(wait).switch()
    else:
        wait()


def wait():
    last = Load("running")
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.buffer.readline()
    # What the collector finds, it says when all has been dumped.
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    print("GARBAGE " + json.dumps([id(each) for each in gc.garbage]),
          flush=True)
    sys.stdin.buffer.read()
    return last


HELD = {}

if __name__ == "__main__":
    main()
