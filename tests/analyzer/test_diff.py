# SPDX-License-Identifier: Apache-2.0
"""heapscan diff: a process that grew, against what it says of itself; a process
and the one after its restart; processes that are not Python's; a dump that is
cut off."""

import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

TARGET = os.path.join(HERE, "diff_target.py")
FIRST, MORE, LATER = 4000, 20000, 700


def dump(pid, name):
    path = heaptest.tmp(name)
    done = heaptest.heapdump("-q", "-o", path, pid)
    assert done.returncode == 0, done.stderr
    return path


def diff(*words, status=0):
    done = heaptest.heapscan(*words, "-f", "json", "-q", "--top", "0")
    assert done.returncode == status, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def of_kind(answer, kind, **wanted):
    return [row for row in answer["rows"] if row["kind"] == kind
            and all(row.get(key) == value for key, value in wanted.items())]


def wait_for(target, word):
    deadline = time.monotonic() + 60
    while word not in target.printed():
        assert time.monotonic() < deadline, target.printed()[-500:]
        time.sleep(0.01)


def grown(interpreter):
    """The dumps before and after, and what the process said."""
    with heaptest.start_target(interpreter, TARGET, (FIRST, MORE)) as target:
        old = dump(target.pid, interpreter.name + ".old.zst")
        target.process.stdin.write(b"\n")
        target.process.stdin.flush()
        wait_for(target, "AGAIN")
        new = dump(target.pid, interpreter.name + ".new.zst")
        told = [json.loads(line) for line in target.printed().splitlines()
                if line.startswith("{")]
    return old, new, told


def check_rows(answer, told):
    """What grew, by type, owner and path."""
    before, after = told
    visits, = of_kind(answer, "type", type="__main__.Visit",
                      type_address=hex(before["type"]))
    assert visits["count_old"] == before["visits"] == FIRST, visits
    assert visits["count_new"] == FIRST + MORE, visits
    assert visits["count_delta"] == MORE, visits
    assert visits["size_old"] == before["size"], (visits, before)
    # What is called so now is another class.
    other, = (row for row in of_kind(answer, "type", type="__main__.Visit")
              if row is not visits)
    assert (other["count_old"], other["count_new"]) == (0, LATER), other
    assert other["type_address"] == hex(after["type"]), (other, after)
    assert after["visits"] == LATER and after["size"] == other["size_delta"]

    for kind in "type", "owner":
        rows = of_kind(answer, kind)
        for key in "count_old", "count_new", "size_old", "size_new":
            assert sum(row[key] for row in rows) == answer["totals"][key], (
                kind, key)
    for row in answer["rows"]:
        assert row["size_delta"] == row["size_new"] - row["size_old"], row
        if "count_delta" in row:
            assert row["count_delta"] == row["count_new"] - row["count_old"]

    # One row says where it piles up: not also the instance and its dict.
    first, *rest = of_kind(answer, "retained")
    assert first["path"].endswith(":registry.visits"), first
    assert first["type"] == "list", first
    assert int(first["address"], 16) == after["address"], first
    assert first["size_delta"] > MORE * before["size"] // FIRST, first
    assert not any("registry" in row["path"] for row in rest), rest
    gone, = (row for row in rest if row["path"].endswith(":scratch"))
    assert gone["size_old"] > 30000 * 50 and gone["size_new"] < 200, gone
    pages, = (row for row in of_kind(answer, "owner")
              if row["type"] in ("str of __main__.Visit",
                                 "str of dict of __main__.Visit"))
    assert pages["count_delta"] == MORE, pages


def check_same(interpreter):
    old, new, told = grown(interpreter)
    answer = diff("diff", old, new)
    totals = answer["totals"]
    assert totals["same_process"] is True, totals
    assert totals["rss_delta"] == totals["rss_new"] - totals["rss_old"], totals
    assert answer["dump"]["path"] == new and answer["older"]["path"] == old
    check_rows(answer, told)
    # In other orders of words, and from what the first run kept.
    again = diff(new, "diff", old)["rows"]
    assert again == answer["rows"], [
        row for row in again if row not in answer["rows"]]
    assert diff(old, new, "diff")["rows"] == answer["rows"]
    memory = diff(new, "memory")
    for row in memory["rows"]:
        mine, = of_kind(answer, "memory", category=row["category"])
        assert mine["size_new"] == row["bytes"], (mine, row)
    types = diff("diff", old, new, "--type", "__main__.Visit")
    assert types["totals"]["count_delta"] == MORE + LATER, types["totals"]
    back = diff("diff", new, old)
    assert of_kind(back, "type", type="__main__.Visit",
                   type_address=hex(told[0]["type"]))[0][
                       "count_delta"] == -MORE
    text = heaptest.heapscan("diff", old, new, "-q").stdout
    assert "registry.visits" in text and "the same, after" in text, text[:2000]
    assert max(map(len, text.splitlines())) <= 120, text
    for condition, status in (("growth>1KiB/h", 5), ("size_delta>1TiB", 0),
                              ("growth<-900TiB/h", 0)):
        done = heaptest.heapscan("diff", old, new, "-q", "--fail-if", condition)
        assert done.returncode == status, (condition, done.returncode)
    return old, new


def check_restart(interpreter, old):
    """Another process: by names, and addresses say nothing."""
    with heaptest.start_target(interpreter, TARGET,
                               (FIRST + MORE, 0)) as target:
        new = dump(target.pid, interpreter.name + ".restart.zst")
    answer = diff("diff", old, new)
    assert answer["totals"]["same_process"] is False, answer["totals"]
    assert "growth" not in answer["totals"], answer["totals"]
    visits, = of_kind(answer, "type", type="__main__.Visit")
    assert visits["count_delta"] == MORE and "type_address" not in visits
    first = of_kind(answer, "retained")[0]
    assert first["path"].endswith(":registry.visits"), first
    assert first["size_delta"] == first["size_new"] - first["size_old"], first
    assert first["size_old"] > 0, first


def check_others():
    """Of processes without Python, their memory; of too few dumps, a word."""
    with subprocess.Popen(["sleep", "100"]) as process:
        try:
            one, two = (dump(process.pid, "sleep.%d.zst" % i) for i in (1, 2))
        finally:
            process.kill()
    answer = diff("diff", one, two)
    assert of_kind(answer, "memory") and not of_kind(answer, "type"), answer
    assert "count_old" not in answer["totals"], answer["totals"]
    text = heaptest.heapscan("diff", one, two).stdout
    assert "not compared: retained: " in text, text
    for words in (["diff", one], ["diff", one, two, one], [one, "diff"]):
        done = heaptest.heapscan(*words)
        assert done.returncode == 2 and "diff takes" in done.stderr, done.stderr


def check_cut(old, new):
    cut = heaptest.tmp("cut.zst")
    with open(new, "rb") as file, open(cut, "wb") as out:
        out.write(file.read(os.path.getsize(new) * 2 // 3))
    answer = diff("diff", old, cut, status=3)
    assert answer["dump"]["complete"] is False, answer["dump"]
    assert answer["older"]["complete"] is True, answer["older"]
    done = heaptest.heapscan("diff", cut, new, "--no-index")
    assert done.returncode == 3 and "%s is cut" % cut in done.stderr, (
        done.stderr)


def main():
    for interpreter in heaptest.interpreters(few=True):
        with heaptest.case("%s: before and after" % interpreter):
            old, new = check_same(interpreter)
            check_restart(interpreter, old)
    with heaptest.case("a dump that is cut off"):
        check_cut(old, new)
    with heaptest.case("no Python, and too few dumps"):
        check_others()
    heaptest.finish()


main()
