# SPDX-License-Identifier: Apache-2.0
"""Write the corpus of fuzz_pyvalue.c: damages chosen at random, from few to
many, for each release.

usage: make_corpus_pyvalue.py FOLDER
"""

import os
import random
import sys


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    for release in range(8):
        for count in (0, 3, 30, 300):
            source = random.Random(release * 1000 + count)
            size = source.choice((0, 40, 120, 255))
            damages = b"".join(
                source.getrandbits(24).to_bytes(3, "little")
                + bytes([source.getrandbits(8)
                         & (0xff if source.random() < 0.2 else 0x7f)])
                + (source.getrandbits(32) >> source.choice((0, 16, 24, 28)))
                .to_bytes(4, "little") for _ in range(count))
            name = "3.%d-%d" % (release + 8, count)
            with open(os.path.join(folder, name), "wb") as file:
                file.write(bytes([release, size]) + damages)


main()
