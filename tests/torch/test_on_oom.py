# SPDX-License-Identifier: Apache-2.0
"""heapdump --on-oom with PyTorch: when memory for a tensor is refused, all tensors
that there were are in the dump, those too that only the function held that
failed; on each release of PyTorch that is here."""

import glob
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

TARGET = os.path.join(HERE, "on_oom_target.py")


def rows(dump, *words):
    done = heaptest.heapscan(dump, *words, "-f", "json", "-q", "--top", "0")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)["rows"]


CPU = ("RuntimeError [enforce fail at ",
       r"c10::Error in thread \d+: DefaultCPUAllocator: can't allocate memory: "
       r"you tried to allocate 1125899906842624 bytes")
CUDA = ("OutOfMemoryError CUDA out of memory. Tried to allocate 1048576.00 GiB",
        r"c10::OutOfMemoryError in thread \d+: CUDA out of memory\. Tried to "
        r"allocate 1048576\.00 GiB")


def new_folder(interpreter, what):
    folder = heaptest.tmp("%s.%s" % (interpreter.name, what))
    os.mkdir(folder)
    return folder


def check_dump(folder, out, says):
    """All tensors that the target told of are in the only dump, and so is the
    function that failed; returns its path."""
    *lines, last = out.splitlines()
    assert last.startswith(says[0]), last
    path, = glob.glob(glob.escape(folder) + "/*.zst")
    said = [json.loads(line) for line in lines]
    assert len(said) > 20, len(said)
    found = {int(row["address"], 16): row for row in rows(path, "tensors")}
    for one in said:
        row = found.get(one["address"])
        assert row, "a tensor is missing: %s" % one
        assert row["shape"] == str(one["shape"]), (row, one)
        assert row["device"] == one["device"], (row, one)
        assert int(row["data_ptr"], 16) == one["data"], (row, one)
        assert row["bytes"] == one["bytes"], (row, one)
    thread, = [row for row in rows(path, "threads", "--locals")
               if row["name"] == "MainThread"]
    names = [frame["function"] for frame in thread["python"]]
    assert names[-4:] == ["forward", "train", "main", "<module>"], names
    held = {row["name"] for row in thread["locals"]
            if row["frame"] == len(names) - 4
            and row["type"].endswith("Tensor")}
    assert {"hidden", "doubled", "batch"} <= held, held
    return path


def check_why(path, device, version):
    """The overview says why it was made: no exception of Python's is there yet."""
    done = heaptest.heapscan(path, "-f", "json", "-q")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    failure = document["failure"]
    assert failure["state"] == "thrown", failure
    assert failure["requested"] == 1 << 50, failure
    assert re.match(r"forward on_oom_target\.py:\d+ < train ",
                    failure["place"]), failure
    if device == "cpu":
        assert failure["kind"] == "cpu" and "device" not in failure, failure
        return
    row, = document["allocator"]
    assert failure["kind"] == "tried" and failure["device"] == "cuda:0", failure
    assert failure["as_then"] is True, failure
    assert failure["allocated"] == row["allocated"] > 0, (failure, row)
    # What the driver had, 2.3 does not say.
    if "device_free" in failure:
        assert failure["verdict"] == "too_little", failure
        # Of what the driver had free the other views know, too.
        assert row["device_free"] == failure["device_free"], (row, failure)
    else:
        assert version[:2] == [2, 3], failure
    screen = heaptest.heapscan(path, "-q").stdout
    assert re.search(r"^WHY IT FAILED  c10::(cuda::)?OutOfMemoryError, about to be "
                     r"raised in thread \d+ MainThread", screen, re.M), screen


def check(interpreter, device, says):
    """One dump of a training step that fails; what it holds."""
    folder = new_folder(interpreter, device)
    done = heaptest.heapdump(
        "--on-oom", "--json", "--max-pause", "60s", "-o", folder, "--",
        *interpreter.argv, TARGET, device, env=interpreter.environment())
    assert done.returncode == 1, (done.returncode, done.stderr[-500:])
    report = json.loads(re.search(r"^\{.*", done.stderr, re.M)[0])
    assert report["trigger"] == "on-oom" and report["complete"], report
    assert re.match(says[1], report["reason"]), report["reason"]
    path = check_dump(folder, done.stdout, says)
    assert path == report["path"], report
    check_why(path, device, [int(part) for part in
                             interpreter.torch.split(".")])
    os.unlink(path)


def check_observer(interpreter):
    """The recipe of docs/production.md, which preloads nothing."""
    with open(os.path.join(heaptest.SRC, "docs", "production.md"),
              encoding="utf-8") as page:
        recipe, = [block for block in re.findall(
            r"^```python\n(.*?)^```", page.read(), re.M | re.S)
            if "_cuda_attach_out_of_memory_observer" in block]
    folder = new_folder(interpreter, "observer")
    path = heaptest.tmp("observer.py")
    with open(path, "w", encoding="utf-8") as file:
        file.write(recipe.replace("/var/dumps", folder))
    env = interpreter.environment()
    env["PATH"] = os.path.abspath(heaptest.BUILD) + os.pathsep + env["PATH"]
    done = heaptest.run([*interpreter.argv, TARGET, "cuda", path], env=env)
    assert done.returncode == 1, (done.returncode, done.stderr[-500:])
    os.unlink(check_dump(folder, done.stdout, CUDA))


def main():
    found = heaptest.with_torch(devices=1)
    if not found:
        raise heaptest.Skip("no PyTorch: see tests/python/fetch_torch.sh")
    for interpreter in found:
        for device, says, what in (("cpu", CPU, "memory of the machine"),
                                   ("cuda", CUDA, "memory of a GPU")):
            with heaptest.case("PyTorch %s: %s" % (interpreter.torch, what)):
                check(interpreter, device, says)
        with heaptest.case("PyTorch %s: by its own observer"
                           % interpreter.torch):
            if interpreter.torch.startswith("1."):
                raise heaptest.Skip("PyTorch 1.13 has none")
            check_observer(interpreter)
    heaptest.finish()


main()
