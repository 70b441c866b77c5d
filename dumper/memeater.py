# The leaking program of `heapdump --demo`: three ways of eating memory.
# SPDX-License-Identifier: Apache-2.0
#
# It prints one line when it has grown to its size, and goes on leaking slowly.
import time


class Visit:
    """One visit to a page; the registry below never forgets any."""

    def __init__(self, number):
        self.number = number
        self.page = "/articles/%d" % (number % 500)
        self.tags = ["visit-%d" % number, "reader-%d" % (number % 1000)]


class Registry:
    visits = []

    @classmethod
    def record(cls, number):
        cls.visits.append(Visit(number))


class MemEater:
    """Keeps every answer it ever computed, and one text of all of them."""

    def __init__(self):
        self.answers = {}
        self.report = ""

    def eat(self, count):
        for number in range(count):
            key = "question number %d" % number
            self.answers[key] = "the answer to %s is %d" % (key, number * 7)
        self.report = "; ".join(self.answers.values())


def main():
    eater = MemEater()
    eater.eat(180_000)
    for number in range(80_000):
        Registry.record(number)
    print("grown", len(eater.answers), len(Registry.visits), flush=True)
    number = len(Registry.visits)
    while True:
        for number in range(number, number + 20):
            Registry.record(number)
        time.sleep(0.1)


main()
