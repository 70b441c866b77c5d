# SPDX-License-Identifier: Apache-2.0
"""ELF cores, read and built without any of the code under test.

ElfCore reads memory and notes of a plain core: the truth to compare with. It
trusts the file, as only the tests' own cores are read with it.

CoreBuilder writes small cores of any awkward shape: segments in any order,
overlapping, empty, by the ten thousand (PN_XNUM), cut off anywhere.

Both know 64-bit little-endian cores only, of x86-64 and aarch64.
"""

import bisect
import collections
import mmap
import struct

MACHINES = {"x86-64": 62, "aarch64": 183}
ET_CORE = 4
PT_LOAD, PT_NOTE = 1, 4
PF_X, PF_W, PF_R = 1, 2, 4
PN_XNUM = 0xFFFF
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE = 1, 3, 6, 0x46494C45

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
SHDR = struct.Struct("<IIQQQQIIQQ")
NHDR = struct.Struct("<III")

Segment = collections.namedtuple("Segment",
                                 "vaddr offset filesz memsz flags")
Note = collections.namedtuple("Note", "name type desc")
MappedFile = collections.namedtuple("MappedFile", "start end offset path")


class Missing(Exception):
    """The core does not hold this memory; .address is the first byte of it."""

    def __init__(self, address):
        super().__init__("memory at %#x is not in the core" % address)
        self.address = address


def padding(length, alignment):
    return -length % alignment


class ElfCore:
    """A core, mapped. Use as a context manager, or close() it.

    .machine   "x86-64" or "aarch64"
    .segments  of type PT_LOAD, as in the file; filesz is what the file really
               has of it, which is less than it says where the file is cut off
    .cut_off   true where the file is shorter than its headers say
    """

    def __init__(self, path):
        with open(path, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        (ident, e_type, machine, _, _, phoff, shoff, _, _, phentsize, phnum,
         _, _, _) = EHDR.unpack_from(self._data, 0)
        if ident[:6] != b"\x7fELF\x02\x01" or e_type != ET_CORE:
            raise ValueError("%s: not a 64-bit little-endian ELF core" % path)
        self.machine = {v: k for k, v in MACHINES.items()}[machine]
        if phnum == PN_XNUM:
            phnum = SHDR.unpack_from(self._data, shoff)[7]      # sh_info

        self.cut_off = False
        self.segments = []
        self._note_ranges = []
        for i in range(phnum):
            p_type, flags, offset, vaddr, _, filesz, memsz, _ = \
                PHDR.unpack_from(self._data, phoff + i * phentsize)
            there = max(0, min(filesz, len(self._data) - offset))
            self.cut_off |= there < filesz
            if p_type == PT_LOAD:
                self.segments.append(
                    Segment(vaddr, offset, there, memsz, flags))
            elif p_type == PT_NOTE:
                self._note_ranges.append((offset, offset + there))

        self._sorted = sorted((s for s in self.segments if s.filesz),
                              key=lambda s: s.vaddr)
        self._starts = [s.vaddr for s in self._sorted]
        self._disjoint = all(a.vaddr + a.filesz <= b.vaddr for a, b in
                             zip(self._sorted, self._sorted[1:]))

    def close(self):
        self._data.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def segment_at(self, address):
        """The segment that holds this byte, or None: of overlapping ones the
        first in the file."""
        if not self._disjoint:
            for segment in self.segments:
                if segment.vaddr <= address < segment.vaddr + segment.filesz:
                    return segment
            return None
        i = bisect.bisect_right(self._starts, address) - 1
        if i >= 0 and address < self._starts[i] + self._sorted[i].filesz:
            return self._sorted[i]
        return None

    def read(self, address, length):
        """Memory, also across segments; raises Missing."""
        pieces = []
        while length > 0:
            segment = self.segment_at(address)
            if segment is None:
                raise Missing(address)
            skip = address - segment.vaddr
            piece = min(length, segment.filesz - skip)
            start = segment.offset + skip
            pieces.append(self._data[start:start + piece])
            address += piece
            length -= piece
        return b"".join(pieces)

    def words(self, address, count):
        """64-bit words, as a tuple; raises Missing."""
        return struct.unpack("<%dQ" % count, self.read(address, 8 * count))

    def words_at(self, addresses):
        """{address: the word there} of many addresses that are multiples of 8,
        without those that are not in the core."""
        assert self._disjoint
        addresses, found = sorted(addresses), {}
        for start, segment in zip(self._starts, self._sorted):
            size = segment.filesz & ~7
            first = bisect.bisect_left(addresses, start)
            last = bisect.bisect_left(addresses, start + size)
            if first < last:
                words = memoryview(self._data)[
                    segment.offset:segment.offset + size].cast("Q")
                chosen = addresses[first:last]
                found.update(zip(chosen, [words[address - start >> 3]
                                          for address in chosen]))
                words.release()
        return found

    def word(self, address):
        return self.words(address, 1)[0]

    def notes(self):
        for offset, end in self._note_ranges:
            while offset + NHDR.size <= end:
                namesz, descsz, n_type = NHDR.unpack_from(self._data, offset)
                name = offset + NHDR.size
                desc = name + namesz + padding(namesz, 4)
                offset = desc + descsz + padding(descsz, 4)
                if desc + descsz > end:
                    return
                name = self._data[name:name + namesz].rstrip(b"\0").decode()
                yield Note(name, n_type, self._data[desc:desc + descsz])

    def files(self):
        """The mapped files that NT_FILE lists; .offset is in bytes."""
        found = []
        for note in self.notes():
            if note.name != "CORE" or note.type != NT_FILE:
                continue
            count, page = struct.unpack_from("<QQ", note.desc, 0)
            paths = note.desc[16 + 24 * count:].split(b"\0")
            for i in range(count):
                start, end, offset = struct.unpack_from("<QQQ", note.desc,
                                                        16 + 24 * i)
                found.append(MappedFile(start, end, offset * page,
                                        paths[i].decode(errors="replace")))
        return found


class CoreBuilder:
    """Builds a core: add_note() and add_segment() in the order wanted, then
    write() or bytes().

    alignment is that of the segments' data in the file; what lies between is
    zero.
    """

    def __init__(self, machine="x86-64", alignment=4096):
        self.machine = MACHINES[machine]
        self.alignment = alignment
        self.notes = bytearray()
        self.segments = []      # (vaddr, data, filesz, memsz, flags)

    def add_note(self, name, n_type, desc):
        name = name.encode() + b"\0"
        self.notes += NHDR.pack(len(name), len(desc), n_type)
        self.notes += name + bytes(padding(len(name), 4))
        self.notes += desc + bytes(padding(len(desc), 4))

    def add_file_note(self, files, page=4096):
        """NT_FILE from (start, end, offset in bytes, path)."""
        desc = struct.pack("<QQ", len(files), page)
        desc += b"".join(struct.pack("<QQQ", start, end, offset // page)
                         for start, end, offset, _ in files)
        desc += b"".join(path.encode() + b"\0" for _, _, _, path in files)
        self.add_note("CORE", NT_FILE, desc)

    def add_segment(self, vaddr, data=b"", memsz=None, flags=PF_R | PF_W,
                    filesz=None):
        """memsz: len(data) unless told. filesz, if told, is what the header
        claims, true or not."""
        self.segments.append((
            vaddr, data, len(data) if filesz is None else filesz,
            len(data) if memsz is None else memsz, flags))

    def _layout(self):
        """Yield (offset, bytes, what) of each part, in file order."""
        phnum = len(self.segments) + bool(self.notes)
        extended = phnum >= PN_XNUM
        shoff = EHDR.size + phnum * PHDR.size
        yield 0, EHDR.pack(
            b"\x7fELF\x02\x01\x01" + bytes(9), ET_CORE, self.machine, 1, 0,
            EHDR.size, shoff if extended else 0, 0, EHDR.size, PHDR.size,
            min(phnum, PN_XNUM), SHDR.size if extended else 0, int(extended),
            0), "ELF header"

        offset = shoff + (SHDR.size if extended else 0)
        headers = []
        parts = []
        if self.notes:
            headers.append(PHDR.pack(PT_NOTE, 0, offset, 0, 0, len(self.notes),
                                     0, 4))
            parts.append((offset, bytes(self.notes), "notes"))
            offset += len(self.notes)
        for vaddr, data, filesz, memsz, flags in self.segments:
            offset += padding(offset, self.alignment)
            headers.append(PHDR.pack(PT_LOAD, flags, offset, vaddr, 0, filesz,
                                     memsz, self.alignment))
            if data:
                parts.append((offset, data, "segment %#x" % vaddr))
                offset += len(data)
        for i, header in enumerate(headers):
            yield (EHDR.size + i * PHDR.size, header, "program header %d" % i)
        if extended:
            yield (shoff, SHDR.pack(0, 0, 0, 0, 0, 0, 0, phnum, 0, 0),
                   "section header 0")
        yield from parts

    def bytes(self):
        """The whole file."""
        image = bytearray()
        for offset, data, _ in self._layout():
            image += bytes(offset - len(image)) + data
        return bytes(image)

    def parts(self):
        """(offset, length, name) of each header and part, in file order: where
        to cut or to damage."""
        return [(offset, len(data), what)
                for offset, data, what in self._layout()]

    def write(self, path, length=None):
        """Write the file, or only its first length bytes."""
        with open(path, "wb") as file:
            file.write(self.bytes()[:length])
