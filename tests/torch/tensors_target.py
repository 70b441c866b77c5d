# SPDX-License-Identifier: Apache-2.0
"""A training loop on the CPU with PyTorch, and tensors of other kinds, for
test_tensors.py: prints every tensor that gc.get_objects() and what it holds lead
to, and every tensor that autograd's graph has saved, as torch itself tells it, and
waits."""

import gc
import inspect
import io
import json
import os
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Samples(Dataset):
    def __init__(self):
        self.x = torch.randn(512, 64)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], i % 10


class Mixin:
    """In front of Module: classes are known by all of their bases."""


class Model(Mixin, nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(64, 256)
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.norm = nn.BatchNorm1d(256)
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        x = self.embed(x).unsqueeze(1)
        return self.head(self.norm(self.encoder(x).squeeze(1)))


class Own(torch.Tensor):
    """A subclass with attributes."""


class Wrapper(torch.Tensor):
    """Without data of its own, as a DTensor."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, device=inner.device)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError


class Doubled(torch.autograd.Function):
    """A function in Python, which saves what it is given and more."""

    @staticmethod
    def forward(ctx, x):
        mask = x > 0
        ctx.save_for_backward(x, mask)
        ctx.noise = torch.ones(55)
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        x, mask = ctx.saved_tensors
        return grad * 2 * mask


class Packed:
    """What a hook makes of a tensor that is to be saved."""

    def __init__(self, tensor):
        self.tensors = [tensor]


def hook_saved(model, x):
    """Results whose graphs have what hooks made: as is, of a program's own, and
    on the CPU as torch does it. And what the first two have, which nothing else
    knows."""
    made = []

    def pack(tensor):
        made.append(id(packed := tensor.detach().clone()))
        return packed

    def pack_in_object(tensor):
        packed = Packed(tensor.detach().clone())
        made.append(id(packed.tensors[0]))
        return packed

    def compute():
        return nn.functional.gelu(model.embed(x)).sum()

    hooks = torch.autograd.graph.saved_tensors_hooks
    with hooks(pack, lambda packed: packed):
        plain = compute()
    with hooks(pack_in_object, lambda packed: packed.tensors[0]):
        own = compute()
    with torch.autograd.graph.save_on_cpu():
        offloaded = compute()
    return plain, own, offloaded, made


def served_model():
    """A module that only TorchScript has, and what torch says is in it."""
    inner = nn.Sequential(nn.Linear(35, 36), nn.BatchNorm1d(36))
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Sequential(inner, nn.ReLU())), file)
    file.seek(0)
    served = torch.jit.load(file)
    said = [[name, one.data_ptr(), role]
            for role, all in (("parameter", served.named_parameters()),
                              ("buffer", served.named_buffers()))
            for name, one in all]
    return served, said


def others():
    """Tensors of each kind, by a name."""
    kinds = {
        "shared": torch.zeros(1 << 18).share_memory_(),
        "scalar": torch.tensor(1.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "dimensions": torch.zeros(2, 1, 3, 1, 2, 1, 2, dtype=torch.int16),
        "leaf": torch.ones(7, 11, requires_grad=True),
        "own": torch.ones(33).as_subclass(Own),
        "sparse": torch.eye(9).to_sparse(),
        "meta": torch.empty(1 << 20, 1 << 20, device="meta"),
        "large": torch.full((1 << 21,), 3, dtype=torch.uint8),
        "untouched": torch.empty(64 << 20, dtype=torch.uint8),
        "pages": torch.empty(16 << 20, dtype=torch.uint8),
    }
    kinds["pages"][::1 << 16] = 1       # one page of 16
    for name in ("bool", "int8", "int32", "float16", "bfloat16", "complex64",
                 "float8_e5m2", "uint16", "uint64"):
        if hasattr(torch, name):
            kinds[name] = torch.zeros(5, 4).to(getattr(torch, name))
    large = kinds["large"]
    kinds["view"] = large[1024:].view(-1, 1024).t()
    kinds["strided"] = large[7::3]
    kinds["expanded"] = kinds["scalar"].expand(4, 5)
    kinds["own"].note = "kept"
    kinds["wrapper"] = Wrapper(torch.ones(34))
    kinds["mkldnn"] = torch.ones(4, 5).to_mkldnn()
    kinds["csr"] = torch.eye(8).to_sparse_csr()
    kinds["bsr"] = torch.eye(8).to_sparse_bsr((2, 2))
    kinds["channels"] = torch.quantize_per_channel(
        torch.ones(6, 7), torch.ones(6),
        torch.zeros(6, dtype=torch.int64), 0, torch.qint8)
    # Views of what only they have; a gradient is one of them.
    bucket = torch.zeros(1009)
    kinds["before"] = bucket[1000:1002]
    kinds["bucketed"] = torch.ones(20, 50, requires_grad=True)
    kinds["bucketed"].grad = bucket[:1000].view(20, 50)
    kinds["behind"] = bucket[1002:]
    # The quantizer in C++ has it as well.
    kinds["scales"] = kinds["channels"].q_per_channel_scales()
    kinds["nested"] = torch.nested.nested_tensor([torch.ones(2, 3),
                                                  torch.ones(4, 3)])
    kinds["conjugate"] = kinds["complex64"].conj()
    kinds["resized"] = torch.ones(900).resize_(9)
    if "mmap" in inspect.signature(torch.load).parameters:
        file = os.path.abspath("weights.pt")
        torch.save([torch.full((1 << 17,), i, dtype=torch.float64)
                    for i in range(8)], file)
        for i, part in enumerate(torch.load(file, mmap=True)):
            kinds["mapped%d" % i] = part
            if i % 2:
                part.sum()      # the others are never touched
    try:
        import numpy
        kinds["numpy"] = torch.from_numpy(numpy.arange(777, dtype="int64"))
    except (ImportError, RuntimeError):
        pass            # torch was built for another numpy
    return kinds


def make_arrays():
    """NumPy's arrays of each kind, by a name; None: it is not here."""
    try:
        import numpy
    except ImportError:
        return None
    plain = numpy.arange(5000, dtype="float64").reshape(50, 100)
    return {"plain": plain, "view": plain[1:, ::2],
            "fortran": numpy.zeros((3, 4), order="F", dtype="complex64"),
            "objects": numpy.array([object(), None], dtype=object),
            "text": numpy.array(["a", "bcd"]),
            "days": numpy.zeros(9, dtype="datetime64[D]"),
            "fields": numpy.zeros(4, dtype=[("a", "i4"), ("b", "f8")])}


def about_array(name, array):
    kinds = {"O": "object", "U": "str", "M": "datetime64", "V": "void"}
    owner = array
    while owner.base is not None:
        owner = owner.base
    return {"id": id(array), "name": name, "shape": list(array.shape),
            "strides": [step // array.itemsize for step in array.strides],
            "dtype": kinds.get(array.dtype.kind, array.dtype.name),
            "data": array.ctypes.data, "bytes": owner.nbytes,
            "view": owner is not array}


def all_tensors(kinds):
    found = {}

    def look(thing):
        if isinstance(thing, torch.Tensor):
            found.setdefault(id(thing), thing)

    for thing in gc.get_objects():
        if type(thing) in (dict, list, tuple) or isinstance(thing, dict):
            try:
                for value in list(thing.values() if isinstance(thing, dict)
                                  else thing):
                    if issubclass(type(value), torch.Tensor):
                        look(value)
            except RuntimeError:
                pass    # it changes as we look
        elif issubclass(type(thing), torch.Tensor):
            look(thing)
    return list(found.values())


def about(tensor, names, roles):
    # Others have no strides, or no shape.
    dense = tensor.layout == torch.strided and not tensor.is_nested
    said = {"id": id(tensor), "dtype": str(tensor.dtype)[6:],
            "layout": str(tensor.layout)[6:], "nested": tensor.is_nested,
            "device": str(tensor.device), "type": type(tensor).__name__,
            "requires_grad": tensor.requires_grad,
            "role": roles.get(id(tensor)), "name": names.get(id(tensor))}
    if dense:
        said["shape"] = list(tensor.shape)
        said["strides"] = list(tensor.stride())
        said["wraps"] = type(tensor) is Wrapper
        if not said["wraps"]:
            said["data"] = tensor.data_ptr()
            storage = storage_of(tensor)
            said["bytes"] = storage.nbytes()
            said["storage"] = (storage.data_ptr()
                               if tensor.device.type == "cpu" else 0)
    if tensor.is_leaf and tensor.grad is not None:
        said["grad"] = tensor.grad.data_ptr()
    if tensor.grad_fn is not None:
        said["grad_fn"] = tensor.grad_fn.name()
    return said


def tensors_in(thing):
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, (tuple, list)):
        for one in thing:
            yield from tensors_in(one)


def saved_of(node):
    """What a node keeps, by its own attributes."""
    for name in dir(node):
        if name.startswith("_saved_"):
            try:
                yield from tensors_in(getattr(node, name))
            except RuntimeError:
                pass    # released, or changed since
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        yield from tensors_in(node.saved_tensors)


def graph_of(results):
    """Every node that results lead to: its name, and what it has saved."""
    seen, todo, found = set(), [one.grad_fn for one in results], []
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        todo += [next for next, _ in node.next_functions if next is not None]
        found.append({"node": node.name().rpartition("::")[2], "saved": [
            {"data": one.data_ptr(), "shape": list(one.shape),
             "strides": list(one.stride()), "dtype": str(one.dtype)[6:],
             "bytes": storage_of(one).nbytes(),
             "storage": storage_of(one).data_ptr()}
            for one in saved_of(node) if one.layout == torch.strided]})
    return found


def storage_of(tensor):
    return (tensor.untyped_storage() if hasattr(tensor, "untyped_storage")
            else tensor.storage())


def touched(tensor):
    """Bytes of its data that are in memory, as the kernel says."""
    page, begin = os.sysconf("SC_PAGESIZE"), tensor.data_ptr()
    end = begin + storage_of(tensor).nbytes()
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(begin // page * 8)
        entries = pagemap.read((-(-end // page) - begin // page) * 8)
    return sum(min(end, at + page) - max(begin, at) for at, entry in zip(
        range(begin // page * page, end, page), entries[7::8]) if entry & 0x80)


def main():
    torch.manual_seed(1)
    torch.set_num_threads(2)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    loader = DataLoader(Samples(), batch_size=32, num_workers=2,
                        persistent_workers=True)
    batches = iter(loader)
    for _ in range(4):
        x, y = next(batches)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = next(batches)
    out = model(x)
    loss = nn.functional.cross_entropy(out, y)
    kinds = others()
    # What a program forgets that keeps its losses: the graph of each.
    val_losses = []
    for _ in range(3):
        hidden = nn.functional.gelu(Doubled.apply(model.embed(x)))
        val_losses.append(torch.stack([hidden.sum(), hidden.norm()]).sum())
    del hidden
    plain, own, offloaded, made = hook_saved(model, x)
    served, in_served = served_model()
    # Of what is gone tensors may still know where it was.
    (kinds["leaf"] * 2).sum().backward()
    arrays = make_arrays()
    gradients = [parameter.grad for parameter in model.parameters()]

    roles, names = {}, {}
    for name, parameter in model.named_parameters():
        roles[id(parameter)] = "parameter"
        names[id(parameter)] = name
    for name, buffer in model.named_buffers():
        roles[id(buffer)] = "buffer"
        names[id(buffer)] = name
    for gradient in gradients:
        roles[id(gradient)] = "gradient"
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                roles[id(value)] = "optimizer"
    roles.update((id(result), "activation")
                 for result in [out, loss, plain, own, offloaded] + val_losses)
    roles.update((one, "activation") for one in made)
    for name, tensor in kinds.items():
        names[id(tensor)] = name
        roles.setdefault(id(tensor), "other")
    gc.collect()
    listed = [about(tensor, names, roles) for tensor in all_tensors(kinds)]
    print("TENSORS " + json.dumps({
        "version": torch.__version__, "tensors": listed,
        "nodes": graph_of([out, loss] + val_losses),
        "val_nodes": graph_of(val_losses), "input": id(x),
        "kinds": {name: id(tensor) for name, tensor in kinds.items()},
        "inner": id(kinds["wrapper"].inner),
        "touched": {name: touched(kinds[name])
                    for name in ("untouched", "pages", "large")},
        "mapped": {id(tensor): touched(tensor)
                   for name, tensor in kinds.items() if "mapped" in name},
        "served": in_served, "made": made, "offloaded": id(offloaded),
        "arrays": arrays and [about_array(name, one)
                              for name, one in arrays.items()],
        "numpy": "numpy" in kinds}), flush=True)
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
