# SPDX-License-Identifier: Apache-2.0
"""The manual pages and --help name the same options and views, with the same
arguments, and the pages are well formed."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import heaptest

PAGES = {name: os.path.join(heaptest.SRC, "docs", name + ".1")
         for name in ("heapscan", "heapdump")}


def options_of_help(name):
    """{"--top": "N", "-n": "N", ...} of the lines of --help."""
    found = {}
    done = heaptest.run([heaptest.program(name), "--help"])
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        match = re.match(r" +(?:(-\w), )?(--[a-z-]+)(?: (\S+))?", line)
        if match and len(line) - len(line.lstrip()) < 8:
            letter, option, argument = match.groups()
            for key in filter(None, (letter, option)):
                found[key] = argument
    return found


def options_of_page(name):
    """The options that entries of lists (.It) of the page are about, and
    whether each has an argument there."""
    found = {}
    with open(PAGES[name]) as page:
        for line in page:
            if not line.startswith(".It "):
                continue
            for option, argument in re.findall(r"\bFl (\S+)( (?:Ar|Cm) )?",
                                               line):
                found["-" + option] = bool(argument)
            # A letter shares the argument of the long option behind it.
            for letter, option in re.findall(r"\bFl (\w) , Fl (\S+)", line):
                found["-" + letter] = found["-" + option]
    return found


def main():
    for name in PAGES:
        with heaptest.case("%s.1 and --help name the same options" % name):
            help, page = options_of_help(name), options_of_page(name)
            assert help and page
            absent = sorted(set(help) - set(page))
            assert not absent, "not in the page: %s" % absent
            absent = sorted(set(page) - set(help))
            assert not absent, "not in --help: %s" % absent
            for option, argument in help.items():
                assert page[option] == bool(argument), (
                    "%s: --help says %s, the page has %s argument" % (
                        option, argument, "an" if page[option] else "no"))
        with heaptest.case("%s.1 is well formed" % name):
            done = heaptest.run([heaptest.tool("mandoc", "mandoc"), "-T", "lint",
                                 "-W", "warning", PAGES[name]])
            assert not done.stdout.strip(), done.stdout
        with heaptest.case("%s.1 says how it exits" % name):
            done = heaptest.run([heaptest.tool("mandoc", "mandoc"), "-T",
                                 "ascii", PAGES[name]])
            text = re.sub(".\b", "", done.stdout)
            section = re.search(r"^EXIT STATUS\n(.*?)^\S", text, re.M | re.S)[1]
            for status in ("0", "1", "2", "3", "130"):
                assert re.search(r"^ +%s +\w" % status, section, re.M), status
    with heaptest.case("heapscan.1 names every view"):
        with open(PAGES["heapscan"]) as page:
            text = page.read()
        done = heaptest.run([heaptest.program("heapscan"), "--help"])
        views = re.findall(r"^  ([a-z][a-z-]*)  ", done.stdout, re.M)
        later = re.search(r"^  views +(.*?)^  --", done.stdout, re.M | re.S)[1]
        views += re.findall(r"[\w-]+", later)
        views.remove("views")
        assert len(views) > 20
        for view in views:
            assert re.search(r"(?<![\w-])%s(?![\w-])" % view, text), view
    heaptest.finish()


main()
