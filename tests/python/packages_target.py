# SPDX-License-Identifier: Apache-2.0
"""The program whose dumps hold heaps of big extension modules: object arrays
of numpy, trees of lxml, models of pydantic. Those allocate by themselves, keep
references where only their own C, Cython or Rust code sees them, and make types
in all ways there are.

usage: packages_target.py [--scale N] [--census TO]

  --scale N    how many of everything (1000)
  --census TO  as in target.py, which gives READY, the twin, the census and the
               end of it all

It prints "PACKAGES NAME..." with those that could be imported.
"""

import sys

sys.dont_write_bytecode = True      # target.py may lie among the sources

import argparse
import ctypes
import gc
import os

import target
from target import HEAP


class Load:
    """What this program puts into everything."""

    def __init__(self, number):
        self.number = number
        self.label = "load %d" % number


class Slim:
    __slots__ = ("load",)

    def __init__(self, load):
        self.load = load


def marked(array):
    """As ufuncs mark one that they have made of an int of Python's."""
    flags = object.__basicsize__ + 6 * ctypes.sizeof(ctypes.c_void_p)
    ctypes.c_int.from_address(id(array) + flags).value |= 1 << 30 | 1 << 27
    return array


def of_numpy(scale):
    import numpy
    objects = numpy.empty(scale * 20, dtype=object)
    for i in range(len(objects)):
        objects[i] = Load(i) if i % 3 else (i, "text %d" % i)
    square = numpy.empty((30, 40), dtype=object)
    square[:] = [[Slim(i * j) for j in range(40)] for i in range(30)]
    record = numpy.dtype([("number", "i4"), ("thing", object), ("at", "f8", 3)])
    records = numpy.empty(scale, dtype=record)
    for i in range(scale):
        records[i] = (i, Load(i), (i, 1.5, 2.5))

    class Mine(numpy.ndarray):
        pass

    mine = numpy.arange(scale).view(Mine)
    mine.load = Load(1)
    iterator = numpy.nditer(numpy.arange(6).reshape(2, 3), ["multi_index"])
    next(iterator)
    return [
        objects, square, records, mine, [mine[i:] for i in range(50)],
        objects[::7], square.T, square[3:9, ::2], records["thing"],
        [objects[i:i + 5] for i in range(200)], objects.flat,
        numpy.arange(scale * 100), numpy.zeros((100, 100, 30)),
        [numpy.arange(n) for n in range(300)],
        [numpy.float64(i) / 7 for i in range(300)],
        [numpy.int32(i) for i in range(300)], numpy.datetime64("2024-02-29"),
        [record, numpy.dtype("U7"), numpy.dtype((object, 3))],
        numpy.array(["text", "longer text"] * 50), iterator,
        numpy.ma.masked_array([1, 2, 3], mask=[0, 1, 0]),
        numpy.vectorize(Load)(numpy.arange(20)), numpy.frompyfunc(Load, 1, 1),
        numpy.frompyfunc(Slim, 1, 1)(numpy.arange(50)),
        numpy.random.default_rng(3), numpy.random.RandomState(3),
        numpy.broadcast(numpy.arange(3), numpy.arange(3)[:, None]),
        marked(numpy.array(3)), numpy.poly1d([1, 2, 3]), memoryview(numpy.arange(9)),
        numpy.array([[Load(1), "x"], [None, {"a": Load(3)}]])]


def of_lxml(scale):
    from lxml import etree, html, objectify
    text = "<root xmlns:p='urn:p'>" + "".join(
        "<p:item n='%d'>text %d<leaf/>tail</p:item>" % (i, i)
        for i in range(scale)) + "</root>"
    root = etree.fromstring(text)
    held = list(root)[::2]          # a proxy for each element that is held

    class Mine(etree.ElementBase):
        pass

    lookup = etree.ElementDefaultClassLookup(element=Mine)
    parser = etree.XMLParser()
    parser.set_element_class_lookup(lookup)
    mine = list(etree.fromstring(text, parser))
    half = etree.XMLPullParser(("start", "end"))
    half.feed(text[:len(text) // 2])
    walk = root.iter()
    for _ in range(10):
        next(walk)
    try:
        etree.fromstring("<broken>")
    except etree.XMLSyntaxError as error:
        failure = error

    class Target:
        def __init__(self):
            self.load = Load(0)

        def start(self, tag, attributes):
            pass

        def close(self):
            return self.load

    tree = etree.ElementTree(root)
    style = etree.XSLT(etree.XML(
        "<s:stylesheet version='1.0' "
        "xmlns:s='http://www.w3.org/1999/XSL/Transform'>"
        "<s:template match='/'><out/></s:template></s:stylesheet>"))
    return [
        root, held, mine, half, half.read_events(), walk, failure, tree, style,
        style(tree), [e.attrib for e in held[:50]], failure.error_log,
        etree.XMLParser(target=Target()), etree.XPath("//leaf"),
        root.xpath("//leaf")[:20], root.xpath("//@n")[:20],
        etree.Comment("comment"), etree.DTD(__import__("io").StringIO(
            "<!ELEMENT a EMPTY>")), objectify.fromstring("<a><b>1</b></a>"),
        html.fromstring("<p>a<b>c</b></p>"), etree.QName("{urn:p}item"),
        etree.tostring(root), etree.iterwalk(root, events=("start",))]


def of_pydantic(scale):
    import pydantic
    from typing import Dict, List, Optional, Union

    class Inner(pydantic.BaseModel):
        number: int
        label: str = "label"
        maybe: Optional[float] = None

    class Outer(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow",
                                           arbitrary_types_allowed=True)
        inner: Inner
        many: List[Inner] = []
        table: Dict[str, Union[int, List[str]]] = {}
        load: Optional[Load] = None
        _private: int = pydantic.PrivateAttr(default=7)

    @pydantic.dataclasses.dataclass
    class Checked:
        a: int
        b: List[str]

    outers = [Outer(inner={"number": i}, table={"a": i, "b": ["x"]},
                    many=[{"number": j} for j in range(i % 5)], load=Load(i),
                    more=Slim(i)) for i in range(scale)]
    failures = []
    for bad in ({}, {"inner": 3}, {"inner": {"number": "x"}}):
        try:
            Outer(**bad)
        except pydantic.ValidationError as error:
            failures += [error, error.errors()]
    adapter = pydantic.TypeAdapter(Dict[str, List[Inner]])
    return [outers, failures, adapter, Outer.__pydantic_validator__,
            adapter.validate_python({"a": [{"number": 1}] * 20}),
            Outer.__pydantic_serializer__, Outer.__pydantic_core_schema__,
            [Checked(a=i, b=["x"]) for i in range(100)],
            Inner.model_json_schema(), outers[3].model_dump(),
            pydantic.TypeAdapter(pydantic.AnyUrl).validate_python(
                "http://example.org/a?b=c")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=int, default=1000)
    parser.add_argument("--census")
    arguments = parser.parse_args()
    there = []
    for name, build in (("numpy", of_numpy), ("lxml", of_lxml),
                        ("pydantic", of_pydantic)):
        try:
            __import__(name)
        except ImportError:
            continue
        there.append(name)
        HEAP[name] = build(arguments.scale)
    os.write(1, b"PACKAGES %s\n" % " ".join(there).encode())
    gc.disable()
    target.stand_still(arguments.census, os.getpid())


if __name__ == "__main__":
    main()
