# SPDX-License-Identifier: Apache-2.0
"""Programs that use CUDA as people do, to be dumped: cuda_target.py SCENARIO.

Each runs on a real GPU as well as on tests/torch/fakecuda, keeps what it has in its
variables, and at its end prints the truth about itself, "READY PID", and waits. The
truth is one line, "TRUTH " and JSON:

    version     of torch
    scenario
    tensors     all of gc.get_objects(): id, type, dtype, device, requires_grad,
                name and role where known, grad and grad_fn if any; shape, strides,
                data, storage and bytes of dense ones
    stats       torch.cuda.memory_stats() of each device
    free        torch.cuda.mem_get_info() of each: bytes that are free, and all
    settings    of the allocator, and its backend
    more        what a scenario has to say

cuda_target.py each runs them all, one after another in forked processes, each in a
folder of its name, where "printed" has what it prints.

torch.cuda.memory._snapshot() is beside, in the working folder: snapshot.pickle. All
of it is of one moment; nothing on a device changes until it is ready, or after.
"""

import gc
import json
import os
import pickle
import sys
import traceback

EXPANDABLE = {"oom_expandable", "expandable"}
EXPAND = "expandable_segments:True"
if len(sys.argv) > 1 and sys.argv[1] in EXPANDABLE:
    os.environ["PYTORCH_CUDA_ALLOC_CONF"] = EXPAND

import torch
from torch import nn

MIB = 1 << 20


# ---- The truth

def storage_of(tensor):
    return (tensor.untyped_storage() if hasattr(tensor, "untyped_storage")
            else tensor.storage())


def about(tensor, names, roles):
    said = {"id": id(tensor), "type": type(tensor).__name__,
            "dtype": str(tensor.dtype)[6:], "device": str(tensor.device),
            "requires_grad": tensor.requires_grad,
            "name": names.get(id(tensor)), "role": roles.get(id(tensor))}
    if tensor.layout == torch.strided and tensor.device.type != "meta":
        storage = storage_of(tensor)
        said.update(shape=list(tensor.shape), strides=list(tensor.stride()),
                    data=tensor.data_ptr(), storage=storage.data_ptr(),
                    bytes=storage.nbytes())
    if tensor.is_leaf and tensor.grad is not None:
        said["grad"] = tensor.grad.data_ptr()
    if tensor.grad_fn is not None:
        said["grad_fn"] = tensor.grad_fn.name()
    return said


def ready(model=None, optimizer=None, more=None, **named):
    """Print the truth and wait. What is named is another's variable, too."""
    names, roles = {}, {}
    for name, value in named.items():
        names[id(value)] = name
    if model is not None:
        for name, parameter in model.named_parameters():
            names[id(parameter)], roles[id(parameter)] = name, "parameter"
            if parameter.grad is not None:
                roles[id(parameter.grad)] = "gradient"
        for name, buffer in model.named_buffers():
            names[id(buffer)], roles[id(buffer)] = name, "buffer"
    if optimizer is not None:
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    roles[id(value)] = "optimizer"
    gc.collect()
    listed = [about(thing, names, roles) for thing in gc.get_objects()
              if issubclass(type(thing), torch.Tensor)]
    truth = {"version": torch.__version__, "scenario": sys.argv[1],
             "tensors": listed, "stats": [], "free": [], "more": more}
    if torch.cuda.is_initialized():
        devices = range(torch.cuda.device_count())
        snapshot = torch.cuda.memory._snapshot()
        if isinstance(snapshot, list):      # up to 1.13
            snapshot = {"segments": snapshot}
        truth["settings"] = snapshot.get("allocator_settings")
        truth["backend"] = torch.cuda.memory.get_allocator_backend() \
            if hasattr(torch.cuda.memory, "get_allocator_backend") else "native"
        truth["stats"] = [torch.cuda.memory_stats(i) for i in devices]
        truth["free"] = [torch.cuda.mem_get_info(i) for i in devices]
        with open("snapshot.pickle", "wb") as file:
            pickle.dump(snapshot, file)
    print("TRUTH " + json.dumps(truth), flush=True)
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.readline()


# ---- What they share

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.register_buffer("scale", torch.ones(width))

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x)))) \
            * self.scale


class Model(nn.Module):
    def __init__(self, width=256, depth=3, words=500):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.head = nn.Linear(width, words)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def batch(device="cuda"):
    return torch.zeros(8, 32, dtype=torch.long, device=device)


def total():
    return torch.cuda.get_device_properties(0).total_memory


# ---- Scenarios

def training():
    """Steps of Adam with mixed precision, and a loss that is alive."""
    model = Model().cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cuda") if hasattr(
        torch.amp, "GradScaler") else torch.cuda.amp.GradScaler()
    for _ in range(3):
        x = batch()
        with torch.autocast("cuda", dtype=torch.float16):
            loss = model(x).float().mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    with torch.autocast("cuda", dtype=torch.float16):
        out = model(x)
        loss = out.float().mean()
    ready(model, optimizer, x=x, out=out, loss=loss)


def exhaust(fraction):
    """Large segments cut into pieces, of which every second one is free, and a
    request of a fraction of the whole: the exception that comes of it, while it
    is being handled."""
    large = [torch.empty(total() // 8, dtype=torch.uint8, device="cuda")
             for _ in range(7)]
    del large[:]
    small = [torch.empty(100 * i, device="cuda") for i in range(1, 40)]
    pieces = [torch.empty(total() // 80, dtype=torch.uint8, device="cuda")
              for _ in range(68)]
    del pieces[::2], small[::3]
    wanted = int(total() * fraction)
    try:
        too_much = torch.empty(wanted, dtype=torch.uint8, device="cuda")
        raise AssertionError("%d bytes were free" % too_much.nbytes)
    except torch.cuda.OutOfMemoryError as error:
        kept = error
        ready(more={"wanted": wanted, "message": str(error),
                    "pieces": len(pieces), "small": len(small),
                    "kept": type(kept).__name__})


def oom():
    """Half of the memory is free, in pieces: a fifth does not fit."""
    exhaust(0.2)


def oom_expandable():
    """The same, where pieces are put together: a fifth would fit."""
    exhaust(0.7)


def fragments():
    """Free blocks that small tenants keep: each segment of 20 MiB has some that
    are left, and no request of 8 MiB fits but in a new segment."""
    held, gone = [], []
    for _ in range(8):
        for _ in range(5):
            held.append(torch.empty(MIB + 4096, dtype=torch.uint8,
                                    device="cuda"))
            gone.append(torch.empty(2 * MIB, dtype=torch.uint8,
                                    device="cuda"))
    del gone[:]
    ready(more={"held": len(held)})


def expandable():
    """Expandable segments that have shrunk in the middle, on two streams."""
    tensors = [torch.empty(30 * MIB, dtype=torch.uint8, device="cuda")
               for _ in range(6)]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        other = torch.empty(50 * MIB, dtype=torch.uint8, device="cuda")
        small = torch.empty(77, device="cuda")
    del tensors[1:4]
    torch.cuda.empty_cache()
    tensors.append(torch.empty(3 * MIB, dtype=torch.uint8, device="cuda"))
    ready(other=other, small=small)


def streams():
    """Blocks of three streams; some are freed, and wait for what another
    stream has still to do."""
    sides = [torch.cuda.Stream() for _ in range(2)]
    tensors = [torch.empty(3 * MIB, device="cuda")]
    for side in sides:
        with torch.cuda.stream(side):
            tensors.append(torch.empty(2 * MIB, device="cuda"))
            tensors.append(torch.empty(1000, device="cuda"))
    waiting = torch.empty(5 * MIB, device="cuda")
    waiting_too = torch.empty(300, device="cuda")
    used = torch.empty(7 * MIB, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(sides[0]):
        torch.cuda._sleep(10 ** 13)
    for one in waiting, waiting_too, used:
        one.record_stream(sides[0])
    used.record_stream(sides[1])
    pending = waiting.data_ptr(), waiting_too.data_ptr()
    del waiting, waiting_too, one
    ready(used=used, more={"pending": pending,
                           "streams": [side.cuda_stream for side in sides]})


def graphs():
    """Private pools: of two CUDA graphs, one of which shares the other's."""
    x = torch.ones(MIB, device="cuda")
    first, second, third = (torch.cuda.CUDAGraph() for _ in range(3))
    with torch.cuda.graph(first):
        y = x * 2
        gone = y + 1
        del gone
    with torch.cuda.graph(second, pool=first.pool()):
        z = x * 3
    with torch.cuda.graph(third):
        w = x[:1000] * 4
    first.replay()
    ready(x=x, y=y, z=z, w=w, more={"pools": [
        list(graph.pool()) for graph in (first, second, third)]})


def mempool():
    """A MemPool, where torch has it."""
    if not hasattr(torch.cuda, "MemPool"):
        print("ABSENT torch.cuda.MemPool", flush=True)
        return
    pool = torch.cuda.MemPool()
    outside = torch.empty(MIB, device="cuda")
    with torch.cuda.use_mem_pool(pool):
        inside = torch.empty(3 * MIB, device="cuda")
        small = torch.empty(9, device="cuda")
        gone = torch.empty(MIB, device="cuda")
    del gone
    ready(outside=outside, inside=inside, small=small,
          more={"pool": list(pool.id)})


def views():
    """One storage, many tensors; and tensors of every kind of dtype."""
    base = torch.zeros(64, 1024, device="cuda")
    kinds = [base.t(), base[3:7, 5], base.view(-1)[7::3], base.expand(
        2, 64, 1024), base.detach(), base.unsqueeze(0), base[60:],
        base.as_strided((5, 5), (1, 2), 77)]
    alias = torch.empty(0, device="cuda").set_(storage_of(base), 5, (10,), (1,)) \
        if hasattr(base, "untyped_storage") else base[5]
    as_bytes = base.view(torch.uint8)
    empty = torch.empty(0, 3, device="cuda")
    scalar = torch.tensor(1.5, device="cuda")
    leaf = nn.Parameter(torch.ones(7, 11, device="cuda"))
    frozen = nn.Parameter(torch.ones(7, device="cuda"), requires_grad=False)
    half = torch.ones(3000, device="cuda", dtype=torch.bfloat16)
    sevenfold = torch.zeros(2, 1, 3, 1, 2, 1, 2, device="cuda",
                            dtype=torch.int16)
    host = torch.ones(100)
    ready(base=base, alias=alias, as_bytes=as_bytes, empty=empty,
          scalar=scalar, leaf=leaf, frozen=frozen, half=half,
          sevenfold=sevenfold, host=host, more={"views": len(kinds)})


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.cache = None

    def forward(self, x):
        new = self.keys(x), self.values(x)
        self.cache = new if self.cache is None else tuple(
            torch.cat(pair, 1) for pair in zip(self.cache, new))
        return x + self.cache[1].mean(1, keepdim=True)


def kvcache():
    """Inference whose cache grows by a token at a time."""
    model = nn.Sequential(*(Attention(512) for _ in range(4))).cuda().eval()
    with torch.inference_mode():
        x = torch.ones(2, 100, 512, device="cuda")
        for _ in range(20):
            x = model(x)[:, -1:]
    ready(model, x=x)


def kept_graphs():
    """The loss is summed up as a tensor: every step's activations stay."""
    model = Model(128, 2).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    running = 0
    for _ in range(6):
        loss = model(batch()).mean()
        running = running + loss
        optimizer.zero_grad()
    ready(model, optimizer, loss=loss, running=running)


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x * 2)
        return x * 3

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0]


def saved():
    """Tensors that no Python object refers to, but what computed a result."""
    leaf = torch.ones(MIB, device="cuda", requires_grad=True)
    result = leaf
    for _ in range(5):
        result = (result * 2).exp().tanh()
    by_function = Scale.apply(leaf[:1000])
    ready(leaf=leaf, result=result, by_function=by_function,
          more={"steps": 5})


def pinned():
    """Pinned memory, and what was copied from there."""
    tensors = [torch.ones(n).pin_memory() for n in (1, 1000, MIB)]
    copies = [one.to("cuda", non_blocking=True) for one in tensors]
    shared = torch.zeros(MIB).share_memory_()
    gone = torch.ones(3 * MIB, pin_memory=True)
    del gone
    ready(shared=shared, more={"pinned": [one.data_ptr() for one in tensors],
                               "copies": [one.data_ptr() for one in copies]})


def devices():
    """A model on two devices, and the second one fuller than the first."""
    first = Model(128, 1).to("cuda:0")
    second = nn.Linear(2000, 2000).to("cuda:1")
    with torch.cuda.device(1):
        moved = torch.ones(20 * MIB, device="cuda")
        back = moved[:100].to("cuda:0")
    ready(nn.ModuleList([first, second]), moved=moved, back=back)


def history():
    """The recording of allocations is on, as torch offers it."""
    torch.cuda.init()
    try:
        torch.cuda.memory._record_memory_history(max_entries=1000)
    except TypeError:
        torch.cuda.memory._record_memory_history(True,
                                                 trace_alloc_max_entries=1000)
    model = Model(64, 1).cuda()
    kept = [torch.empty(n, device="cuda") for n in (10, MIB, 10 * MIB)]
    for _ in range(3):
        loss = model(batch()).mean()
        loss.backward()
    del kept[1]
    torch.cuda.empty_cache()
    ready(model, loss=loss)


def untouched():
    """CUDA is there, and was not used."""
    ready(host=torch.ones(1000))


def many():
    """Many tensors and blocks, half of which are free: cuda_target.py many
    [TENSORS [BLOCKS]]."""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    blocks = int(sys.argv[3]) if len(sys.argv) > 3 else 2 * count
    base = [torch.empty(200, device="cuda") for _ in range(blocks)]
    del base[1::2]
    views_of = [base[i % len(base)][i % 7:]
                for i in range(count - len(base))]
    ready(more={"views": len(views_of)})


SCENARIOS = [training, oom, oom_expandable, fragments, expandable, streams,
             graphs, mempool, views, kvcache, kept_graphs, saved, pinned,
             devices, history, untouched, many]

def each():
    """All of them, with what importing torch costs paid once."""
    for scenario in SCENARIOS:
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            print(scenario.__name__, status, flush=True)
            continue
        os.mkdir(scenario.__name__)
        os.chdir(scenario.__name__)
        for name, number, flags in (
                ("/dev/null", 0, os.O_RDONLY),
                ("printed", 1, os.O_WRONLY | os.O_CREAT)):
            os.dup2(os.open(name, flags), number)
        os.dup2(1, 2)
        sys.argv[1:] = [scenario.__name__]
        if scenario.__name__ in EXPANDABLE:
            os.environ["PYTORCH_CUDA_ALLOC_CONF"] = EXPAND
        try:
            scenario()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)


if __name__ == "__main__":
    torch.manual_seed(1)
    if sys.argv[1] == "each":
        each()
    else:
        {one.__name__: one for one in SCENARIOS}[sys.argv[1]]()
