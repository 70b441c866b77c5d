# SPDX-License-Identifier: Apache-2.0
"""Where structure members are, by debug information; runs inside gdb.

    HEAPSCAN_ROWS=FILE HEAPSCAN_FILES=FILE gdb -nx -batch -x gdb_layouts.py

The first FILE has "STRUCT MEMBER" lines, MEMBER "-" for the structure's size,
the second a path of a program or library a line. Prints "ROW STRUCT MEMBER
OFFSET SIZE" for those that debug information knows: that of the first of these
that knows it. No more of them are read than it takes."""

import os

import gdb


def find_type(name):
    for spelling in name, "struct " + name:
        try:
            found = gdb.lookup_type(spelling).strip_typedefs()
        except gdb.error:
            continue
        # A declaration without a body tells nothing.
        if found.code == gdb.TYPE_CODE_STRUCT and found.fields():
            return found
    return None


def find_member(parent, name):
    """(offset, type) of a direct member, those of anonymous ones included."""
    for field in parent.fields():
        if field.name == name:
            return field.bitpos // 8, field.type
        if not field.name:
            inner = find_member(field.type.strip_typedefs(), name)
            if inner:
                return field.bitpos // 8 + inner[0], inner[1]
    return None


def locate(parent, path):
    offset, at = 0, parent
    for name in path.split("."):
        if at.code not in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
            return None
        found = find_member(at, name)
        if found is None:
            return None
        offset, at = offset + found[0], found[1].strip_typedefs()
    return offset, at.sizeof


def find_row(row):
    structure, member = row
    parent = find_type(structure)
    if parent is None:
        return False
    found = (0, parent.sizeof) if member == "-" else locate(parent, member)
    if found:
        print("ROW", structure, member, *found)
    return bool(found)


def main():
    with open(os.environ["HEAPSCAN_ROWS"]) as rows:
        missing = [row.split() for row in rows]
    with open(os.environ["HEAPSCAN_FILES"]) as files:
        for path in files.read().splitlines():
            if not missing:
                break
            try:
                gdb.execute("file " + path, to_string=True)
            except gdb.error as error:
                print("# %s: %s" % (path, error))
                continue
            missing = [row for row in missing if not find_row(row)]


main()
