#!/usr/bin/env python3
"""The routed block in PyTorch, timed in turn with ours on the same device.

    benchmarks/peers/torch_block.py [--shapes grid] [--rounds 5] [--switchyard build/release/switchyard]

The block of `switchyard bench --device cuda`: softmax over E experts in fp32, the K largest gates of each token as they
are, SwiGLU experts without bias, none dropped, bf16 products. Peers differ in how the experts are run:

    loop      for each expert: pick its tokens, two products, add into the output
    padded    tokens sorted by expert into [E, most, d], batched products
    grouped   tokens sorted by expert, torch.nn.functional.grouped_mm or torch._grouped_mm, where this version has one

Before anything is timed, outputs and all gradients of the peers are compared with those of the loop. Then every round times
each peer and starts ours once; the table has medians over rounds and ours divided by each peer's speed, so above 1 ours is
faster. Gates, experts and inputs are normally distributed with the same spreads as ours. What differs: ours keeps
activations and weights in fp32 and rounds inside of the product, and it also has the balance losses.

Where PyTorch or the device is missing it says so and ends well. --device cpu needs neither device nor switchyard: the
peers alone, in fp32 on small shapes, compared with a dense fp64 block.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = None

# (name, tokens T, width d, hidden n, experts E, K). As reference_grid() of benchmarks/block_shape.cc, which has the
# source; ours reports its FLOPs, which are compared.
MODELS = [("1.4B", 40960, 768, 256, 128, 8), ("7B", 24576, 1536, 256, 128, 8),
          ("30B", 32768, 4096, 256, 256, 16), ("120B", 32768, 4096, 512, 256, 16)]
GRID = [(f"{m}-n{n * c}", t, d, n * c, e // c, k // c) for m, t, d, n, e, k in MODELS for c in (1, 2, 4)]
SMALL = [("fine", 2048, 128, 64, 32, 4), ("small", 1024, 64, 128, 4, 1), ("ragged", 37, 24, 40, 6, 3)]


def flops(shape, backward):
    """6 T n d K forward (three products of T K rows), twice that backward."""
    _, t, d, n, _, k = shape
    return (12 if backward else 6) * t * n * d * k


class Block:
    """Weights and input of one shape. w13 [E, 2n, d] holds gate above up, w2 [E, d, n]: rows of products lie apart by
    their depth, which is what grouped_mm reads fastest."""

    def __init__(self, shape, device, dtype):
        self.shape = shape
        _, t, d, n, e, k = shape
        generator = torch.Generator(device=device).manual_seed(1)

        def normal(*size, std=1.0, dtype=dtype):
            return torch.randn(*size, device=device, dtype=dtype, generator=generator).mul_(std).requires_grad_()

        self.x = normal(t, d)
        self.dy = normal(t, d).detach()
        self.gate = normal(d, e, std=d ** -0.5, dtype=torch.float32)
        self.w13 = normal(e, 2 * n, d, std=d ** -0.5)
        self.w2 = normal(e, d, n, std=n ** -0.5)
        self.k = k

    def inputs(self):
        return [self.x, self.gate, self.w13, self.w2]

    def route(self):
        """Gates [T, K] in fp32 and experts [T, K]."""
        return torch.softmax(self.x.float() @ self.gate, dim=-1).topk(self.k, dim=-1)

    def experts(self):
        return self.w13.shape[0]


def swiglu(h):
    gate, up = h.chunk(2, dim=-1)
    return F.silu(gate) * up


def by_expert(expert):
    """Pairs (token, choice) in order of expert: their places in the flattened [T K] and how many each expert has."""
    flat = expert.flatten()
    return torch.argsort(flat, stable=True), flat


def combine(y, order, weight):
    """Sorted rows [T K, d] back to their tokens, times the gates, summed in fp32 in order of choice."""
    t, k = weight.shape
    back = torch.empty_like(order)
    back[order] = torch.arange(t * k, device=order.device)
    return (y[back].view(t, k, -1).float() * weight.unsqueeze(-1)).sum(1).to(y.dtype)


def loop(b):
    weight, expert = b.route()
    out = torch.zeros_like(b.x, dtype=torch.float32)
    for e in range(b.experts()):
        token, choice = torch.where(expert == e)
        if token.numel() == 0:
            continue
        y = swiglu(b.x[token] @ b.w13[e].t()) @ b.w2[e].t()
        out = out.index_add(0, token, y.float() * weight[token, choice].unsqueeze(-1))
    return out.to(b.x.dtype)


def padded(b):
    weight, expert = b.route()
    order, flat = by_expert(expert)
    count = torch.bincount(flat, minlength=b.experts())
    most = int(count.max())  # waits for the device
    sorted_expert = flat[order]
    place = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[sorted_expert]
    slot = sorted_expert * most + place
    packed = torch.zeros(b.experts() * most, b.x.shape[1], device=b.x.device, dtype=b.x.dtype)
    packed = packed.index_copy(0, slot, b.x[order // b.k]).view(b.experts(), most, -1)
    y = torch.bmm(swiglu(torch.bmm(packed, b.w13.transpose(1, 2))), b.w2.transpose(1, 2))
    return combine(y.flatten(0, 1)[slot], order, weight)


def grouped_mm():
    """The grouped product of this version of PyTorch, or None."""
    return getattr(F, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)


def grouped(b):
    weight, expert = b.route()
    order, flat = by_expert(expert)
    ends = torch.bincount(flat, minlength=b.experts()).cumsum(0).to(torch.int32)
    product = grouped_mm()
    h = product(b.x[order // b.k], b.w13.transpose(1, 2), offs=ends)
    return combine(product(swiglu(h), b.w2.transpose(1, 2), offs=ends), order, weight)


def dense(b):
    """All experts for all tokens, in fp64."""
    x, gate, w13, w2 = (v.detach().double().requires_grad_() for v in b.inputs())
    probability = torch.softmax(x @ gate, dim=-1)
    value, expert = probability.topk(b.k, dim=-1)
    weight = torch.zeros_like(probability).scatter(1, expert, value)
    y = torch.einsum("teh,edh->ted", swiglu(torch.einsum("td,ehd->teh", x, w13)), w2)
    out = torch.einsum("ted,te->td", y, weight)
    return [out.detach(), *torch.autograd.grad(out, [x, gate, w13, w2], b.dy.double())]


def results(peer, b):
    y = peer(b)
    return [y.detach(), *torch.autograd.grad(y, b.inputs(), b.dy)]


def check(name, peer, b, expected):
    """Raises when the peer's output or a gradient of it is not as expected within the rounding of its type, relative to
    the largest element."""
    tolerance = 2e-5 if b.x.dtype == torch.float32 else 3e-2
    for what, got, want in zip(("y", "dx", "dgate", "dw13", "dw2"), results(peer, b), expected):
        error = (got.double() - want.double()).abs().max() / want.double().abs().max()
        if not error <= tolerance:  # nor is NaN
            raise AssertionError(f"{b.shape[0]}: {what} of '{name}' is off by {float(error):.1e} of the largest")


class Clock:
    """Milliseconds of forward and of backward, medians of some passes after two unmeasured ones."""

    def __init__(self, device):
        self.cuda = device == "cuda"

    def mark(self):
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, a, b):
        return a.elapsed_time(b) if self.cuda else 1e3 * (b - a)

    def time(self, peer, b, passes):
        times = []
        for _ in range(passes + 2):
            start = self.mark()
            y = peer(b)
            middle = self.mark()
            gradients = torch.autograd.grad(y, b.inputs(), b.dy)
            end = self.mark()
            if self.cuda:
                torch.cuda.synchronize()
            del gradients, y
            times.append((self.between(start, middle), self.between(middle, end)))
        return tuple(statistics.median(t[p] for t in times[2:]) for p in (0, 1))


def ours(switchyard, shape, seconds):
    """One repetition of `switchyard bench`: milliseconds (forward, backward), or why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "bench.json")
        done = subprocess.run([switchyard, "bench", "--device", "cuda", "--shapes", shape[0], "--filter",
                               "BLOCK/.*/warm", "--repetitions", "1", "--min-time", str(seconds), "--out", out],
                              capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
        with open(out) as file:
            runs = json.load(file)["benchmarks"]
    times = {}
    for run in runs:
        if run.get("error_occurred"):
            return run["error_message"]
        backward = "/backward/" in run["name"]
        if run["FLOPs"] != flops(shape, backward):
            raise AssertionError(f"{shape[0]}: ours counts {run['FLOPs']} FLOPs, not {flops(shape, backward)}")
        times[backward] = run["real_time"]
    return times[False], times[True]


def measure(shape, arguments, peers):
    """{name: [(forward, backward) milliseconds of each round], or the reason why there are none}."""
    found = {}
    on_cpu = arguments.device == "cpu"
    clock = Clock(arguments.device)

    def attempt(name, body):
        if isinstance(found.get(name), str):
            return
        try:
            result = body()
        except RuntimeError as error:  # out of memory is one
            result = str(error).splitlines()[0]
        if isinstance(result, str):
            found[name] = result
        elif result:
            found.setdefault(name, []).append(result)
        if not on_cpu:
            torch.cuda.empty_cache()  # room for the next

    try:
        b = Block(shape, arguments.device, torch.float32 if on_cpu else torch.bfloat16)
        expected = dense(b) if on_cpu else results(loop, b)
    except RuntimeError as error:
        return {"peers": str(error).splitlines()[0]}
    for name, peer in peers.items():
        attempt(name, lambda: check(name, peer, b, expected))
    del expected
    for _ in range(arguments.rounds):
        for name, peer in peers.items():
            attempt(name, lambda: clock.time(peer, b, arguments.passes))
        if not on_cpu:
            attempt("ours", lambda: ours(arguments.switchyard, shape, arguments.seconds))
    return found


def report(shape, found):
    for p, name in enumerate(("forward", "backward")):
        cells = []
        median = {n: statistics.median(r[p] for r in rounds) for n, rounds in found.items() if not isinstance(rounds, str)}
        for peer, ms in median.items():
            rate = 1e-9 * flops(shape, p == 1) / ms
            cells.append(f"{peer} {ms:9.3f} ms {rate:7.3g} TFLOP/s")
            if peer != "ours" and "ours" in median:
                cells[-1] += f" (ours {ms / median['ours']:.2f}x)"
        print(f"{shape[0]:<12} {name:<8}  " + "  |  ".join(cells))
    for peer, reason in found.items():
        if isinstance(reason, str):
            print(f"{shape[0]:<12} {peer}: {reason}")
    sys.stdout.flush()


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shapes", nargs="+", default=None, metavar="NAME",
                        help="names, or grid (default on cuda); on the CPU its own small ones")
    parser.add_argument("--rounds", type=int, default=5, help="every round times all peers and ours (default 5)")
    parser.add_argument("--passes", type=int, default=5, help="passes of a peer in a round (default 5)")
    parser.add_argument("--seconds", type=float, default=0.1, help="timed passes of ours in a round, at least (default 0.1)")
    parser.add_argument("--switchyard", default=os.path.join(root, "build", "release", "switchyard"))
    arguments = parser.parse_args()
    shapes = SMALL if arguments.device == "cpu" else GRID
    if arguments.shapes and arguments.shapes != ["grid"]:
        known = {s[0]: s for s in SMALL + GRID}
        unknown = [name for name in arguments.shapes if name not in known]
        if unknown:
            parser.error(f"no shape {unknown[0]}; known: grid, {', '.join(known)}")
        shapes = [known[name] for name in arguments.shapes]
    if torch is None:
        return print("skipped: PyTorch is not installed for this Python")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        return print(f"skipped: PyTorch {torch.__version__} finds no CUDA device")
    if arguments.device == "cuda" and not os.access(arguments.switchyard, os.X_OK):
        parser.error(f"{arguments.switchyard} is no program; build it or give --switchyard")
    peers = {"loop": loop, "padded": padded}
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    print(f"PyTorch {torch.__version__} on {where}, {arguments.rounds} rounds")
    if grouped_mm():
        peers["grouped"] = grouped
    else:
        print(f"grouped: PyTorch {torch.__version__} has no grouped_mm")
    for shape in shapes:
        report(shape, measure(shape, arguments, peers))


if __name__ == "__main__":
    sys.exit(main())
