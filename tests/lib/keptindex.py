# SPDX-License-Identifier: Apache-2.0
"""Files of kept results, read and spoilt without heapscan's own code: the format
is in docs/format.md.

    index = keptindex.Index(path)
    index.change("TREE", 0, b"\xff" * 4)
    index.seal_columns()
    index.seal()                # the checksums are right again
    index.write(path)

Columns go by their names in analyzer/kept/keptcolumns.h.
"""

import os
import re
import struct

HEADER = struct.Struct("<8sII32s2QQQQ")
ENTRY = struct.Struct("<IIQQQ")
PIECE, ALIGNMENT = 4 << 20, 4096
MASK = (1 << 64) - 1
ODD_1, ODD_2 = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93

with open(os.path.join(os.path.dirname(__file__), "..", "..", "analyzer",
                       "kept", "keptcolumns.h")) as _file:
    COLUMNS = {name: number for number, name in enumerate(
        re.findall(r"^\tKEPT_([A-Z_]+),", re.search(
            r"enum kept_column {(.*?)};", _file.read(), re.S)[1], re.M))}

# Places in the header, by name.
FIELDS = {"magic": 0, "version": 8, "columns": 12, "key": 16, "content": 48,
          "file size": 64, "pieces": 72, "checksum": 80}
# … and in each entry of the table.
ENTRY_FIELDS = {"id": 0, "width": 4, "count": 8, "offset": 16,
                "first piece": 24}


def _step(total, word):
    total = (total ^ word) * ODD_1 & MASK
    return ((total << 29 | total >> 35) + ODD_2) & MASK


def _finish(total):
    total = (total ^ total >> 32) * ODD_2 & MASK
    total = (total ^ total >> 29) * ODD_1 & MASK
    return total ^ total >> 32


def mixhash(data, seed):
    """What image/base/mixhash.h says of bytes."""
    data = bytes(data)
    stripes = len(data) // 32
    words = struct.unpack("<%dQ" % (stripes * 4), data[:stripes * 32])
    total = seed ^ len(data) * ODD_2 & MASK
    for lane in range(4):
        lane_sum = (seed + (lane + 1) * ODD_1) & MASK
        for word in words[lane::4]:
            lane_sum = _step(lane_sum, word)
        total = _step(total, _finish(lane_sum))
    rest = data[stripes * 32:]
    while len(rest) >= 8:
        total = _step(total, int.from_bytes(rest[:8], "little"))
        rest = rest[8:]
    return _finish(_step(total, int.from_bytes(rest, "little")))


class Index:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = bytearray(file.read())
        (self.magic, self.version, count, self.key, _, _, self.file_size,
         self.pieces, self.checksum) = HEADER.unpack_from(self.data)
        self.changed = set()        # columns that are to be sealed
        self.entries = [ENTRY.unpack_from(self.data,
                                          HEADER.size + i * ENTRY.size)
                        for i in range(count)]

    def place(self, column):
        """(offset, bytes) of a column."""
        for number, width, count, offset, _ in self.entries:
            if number == COLUMNS[column]:
                return offset, width * count
        raise KeyError(column)

    def size(self, column):
        return self.place(column)[1]

    def change(self, column, at, data):
        """Bytes of a column, from at on."""
        offset, size = self.place(column)
        assert 0 <= at <= size - len(data), (column, at, size)
        self.data[offset + at:offset + at + len(data)] = data
        self.changed.add(COLUMNS[column])

    def head_size(self):
        return HEADER.size + len(self.entries) * ENTRY.size + self.pieces * 8

    def seal_columns(self):
        """Make the checksums of changed columns right: those of all take long in
        Python."""
        at = HEADER.size + len(self.entries) * ENTRY.size
        piece = 0
        for number, width, count, offset, _ in self.entries:
            size = width * count
            for begin in range(0, size, PIECE):
                end = min(begin + PIECE, size)
                if number in self.changed:
                    struct.pack_into("<Q", self.data, at + piece * 8, mixhash(
                        self.data[offset + begin:offset + end], piece))
                piece += 1
        self.changed.clear()

    def seal(self):
        """Make the head's checksum right."""
        head = bytearray(self.data[:HEADER.size])
        struct.pack_into("<Q", head, FIELDS["checksum"], 0)
        checksum = mixhash(self.data[HEADER.size:self.head_size()],
                           mixhash(head, 0))
        struct.pack_into("<Q", self.data, FIELDS["checksum"], checksum)

    def write(self, path):
        with open(path, "r+b") as file:
            file.write(self.data)
            file.truncate()
