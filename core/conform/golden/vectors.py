"""Cases of golden.json: draws the inputs, asks a router's reference for plan and gradients, writes the file.

A case is kept only if no decision in it (a selection, a sign, an entry at its bound) is closer than `need` to going the
other way; otherwise the inputs are drawn again, so that a plugin in single precision must decide alike.
"""
import dataclasses
import json
import math
import pathlib
import sys
import textwrap
import types
import zlib

import numpy as np
import torch

from transports import Margin

PLUGINS = pathlib.Path(__file__).resolve().parents[3] / "plugins"
# The script that runs; cases whose source starts with this are rewritten, others are kept.
SOURCE = f"core/conform/golden/{pathlib.Path(sys.argv[0]).name}"
COLUMNS = 120


@dataclasses.dataclass
class Plan:
    pairs: list = None  # ASSIGN: [(row, expert, weight), ...] in list order
    dense: dict = None  # DENSE: {"dispatch": [T, E P], "combine": [T, E P]}; MERGE: {"mix": [R, E]}
    aux: dict = dataclasses.field(default_factory=dict)  # {name: (weight, value)}
    output: torch.Tensor = None  # [T, D] added to the site's output
    expert_x: torch.Tensor = None  # [T, D] what experts read instead of x
    metric: dict = None  # {name: value}
    buffers: dict = dataclasses.field(default_factory=dict)  # {name: value after update()}; asked for where b.load is


ROUTERS = {}  # id -> (function from a batch to a Plan, option defaults)


def router(**defaults):
    def register(function):
        ROUTERS[function.__name__.rstrip("_")] = (function, defaults)  # hash_ is the router hash
        return function

    return register


def values(tensor):
    """Nested lists of plain numbers."""
    scalar = not isinstance(tensor, tuple) and torch.as_tensor(tensor).dim() == 0
    return number(tensor) if scalar else [values(part) for part in tensor]


def number(value):
    value = float(f"{float(value.detach() if torch.is_tensor(value) else value):.9g}")
    if math.isnan(value):
        return None
    return int(value) if value == int(value) else 0 if abs(value) < 1e-12 else value


def route(id, given, tensors, load=None):
    """The plan of one case, and how close its nearest decision was. Padding is taken out before, so that routers see
    T real tokens, and put back after. load: of an update."""
    function, defaults = ROUTERS[id]
    mask = np.array(given.get("mask", [1] * sum(given["groups"])), bool)
    real = np.flatnonzero(mask)
    sequence = np.repeat(range(len(given["groups"])), given["groups"])[mask]
    many = given.get("group_sequences", [1] * len(given["groups"]))
    group = np.repeat(range(len(many)), many)[sequence]
    runs = lambda label: [range(*(np.flatnonzero(label == i)[[0, -1]] + [0, 1])) for i in np.unique(label)]
    position = np.concatenate([np.arange(n) for n in given["groups"]])[mask]
    ints = lambda name: [given[name][t] for t in real] if name in given else None
    unknown = set(given["options"]) - set(defaults) - {"noise", "dropout"}
    assert not unknown, f"{id} has no option {unknown}"
    leaf = lambda rows: torch.tensor(rows, dtype=torch.float64, requires_grad=True) if rows else None
    batch = types.SimpleNamespace(
        whole_x=leaf(given["x"]), residual=leaf(given.get("residual")), lengths=given["groups"],
        task_embedding=leaf(given.get("task_embedding")), p=tensors, groups=runs(group), sequences=runs(sequence), position=position.tolist(), E=given["experts"],
        C=given["capacity"], id=ints("token_id"), cluster=ints("cluster"), V=given.get("vocabulary"), load=load,
        train=given.get("phase", "train") == "train", step=given.get("step", 0), progress=given.get("progress", 0),
        margin=Margin(), o=types.SimpleNamespace(**{**defaults, **given["options"]}))
    batch.x = batch.whole_x[torch.tensor(real)] if not mask.all() else batch.whole_x
    plan = function(batch)
    if not mask.all():
        plan.pairs = plan.pairs and [(int(real[r]), e, w) for r, e, w in plan.pairs]
        for part in ("output", "expert_x"):
            if getattr(plan, part) is not None:
                full = torch.full_like(batch.whole_x, math.nan).detach()
                full[torch.tensor(real)] = getattr(plan, part)
                setattr(plan, part, full)
    return plan, batch


def answer(id, given, rng, buffers, updates):
    tensors = {name: torch.tensor(v, dtype=torch.float64, requires_grad=name not in buffers)
               for name, v in given["tensors"].items()}
    plan, batch = route(id, given, tensors)
    draw = lambda *shape: np.round(rng.standard_normal(shape), 3)
    expected, dplan, loss = {}, {}, 0
    if plan.pairs is not None:
        expected["pairs"] = [[int(r), int(e), number(w)] for r, e, w in plan.pairs]
        dplan["pairs"] = draw(len(plan.pairs))
        loss = sum(d * w for d, (_, _, w) in zip(dplan["pairs"], plan.pairs))
    parts = {"output": plan.output, "expert_x": plan.expert_x}
    for name, value in [*(plan.dense or {}).items(), *((n, v) for n, v in parts.items() if v is not None)]:
        expected[name] = values(value)
        dplan[name] = draw(*value.shape) * ~value.isnan().numpy()
        loss = loss + (torch.tensor(dplan[name]) * value.nan_to_num()).sum()
    if plan.metric:
        expected["metric"] = {name: number(value) for name, value in plan.metric.items()}
    if plan.aux:
        expected["aux"] = {name: number(value) for name, (_, value) in plan.aux.items()}
        loss = loss + sum(weight * value for weight, value in plan.aux.values())
    given["expected"] = expected
    given["tolerance"] = given.pop("tolerance")  # behind what it is for
    if batch.train and torch.is_tensor(loss) and loss.requires_grad:
        leaves = {"x": batch.whole_x} | ({"residual": batch.residual} if batch.residual is not None else {}) \
            | {name: t for name, t in tensors.items() if name not in buffers}
        gradients = torch.autograd.grad(loss, leaves.values(), allow_unused=True, materialize_grads=True)
        given["dplan"] = {name: value.tolist() for name, value in dplan.items()}
        given["gradient"] = {name: values(g) for name, g in zip(leaves, gradients)}
    nearest, state = batch.margin.nearest, given
    for update in updates:
        loads = {name: update[name] for name in ("kept", "dropped") if name in update}
        offered = np.sum(list(loads.values()), 0).tolist()
        state = {**state, **update}
        plan, batch = route(id, state, tensors, types.SimpleNamespace(offered=offered, tokens=len(batch.x)))
        tensors = {**tensors, **plan.buffers}
        given.setdefault("updates", []).append({**update, "buffers": {n: values(v) for n, v in plan.buffers.items()}})
        nearest = min(nearest, batch.margin.nearest)
    return nearest


def same_choice(id, given):
    tensors = {name: torch.tensor(v, dtype=torch.float64) for name, v in given["tensors"].items()}
    plan, _ = route(id, {**given, "options": {}}, tensors)
    return {pair[:2] for pair in plan.pairs} == {tuple(pair[:2]) for pair in given["expected"]["pairs"]}


def case(id, name, options, groups, tensors, D=4, E=3, C=3, residual=False, task_embedding=None, need=1e-3,
         tolerance=2e-5, unlike=None, buffers={}, updates=(), fixed_x=None, **more):
    """One case of kind "router". tensors, buffers: {name: shape, or (shape, std), or a list of rows}. updates: what
    differs from the step before; x = True draws another. unlike: a simpler router that must not choose the same pairs,
    or the case would not tell the two apart."""
    for attempt in range(20000):
        rng = np.random.default_rng([zlib.crc32(f"{id} {name}".encode()), attempt])
        normal = lambda shape, std=1.0: np.round(std * rng.standard_normal(shape), 4).tolist()
        drawn = lambda t: t if isinstance(t, list) else normal(*t) if isinstance(t[0], tuple) else normal(t)
        given = {"name": name, "kind": "router", "source": f"{SOURCE}: PyTorch, double precision, autograd",
                 "options": options, "width": D, "experts": E, "groups": groups, "capacity": C, **more,
                 "x": fixed_x or normal((sum(groups), D))}
        if residual:
            given["residual"] = normal((sum(groups), D))
        if task_embedding:
            given["task_embedding"] = normal(task_embedding)
        given["tensors"] = {t: drawn(v) for t, v in {**tensors, **buffers}.items()}
        given["tolerance"] = tolerance
        moved = [{**u, "x": normal((sum(groups), D))} if u.get("x") is True else u for u in updates]
        if answer(id, given, rng, buffers, moved) >= need and not (unlike and same_choice(unlike, given)):
            return given
    raise RuntimeError(f"{id}, {name}: no draw without a near tie")


def agrees(id, given):
    """Does the reference give what a case made by others expects?"""
    tensors = {name: torch.tensor(v, dtype=torch.float64) for name, v in given["tensors"].items()}
    plan, _ = route(id, given, tensors)
    have = {"pairs": plan.pairs, "aux": {name: value for name, (_, value) in plan.aux.items()}, **(plan.dense or {})}
    for name, want in given["expected"].items():
        if name == "output":
            continue
        pairs = zip(have[name].values(), want.values()) if name == "aux" else zip(have[name], want)
        for a, b in pairs:
            distance = np.abs(np.array(values(a)) - np.array(b)).max()
            assert distance < given["tolerance"], f"{id}, {given['name']}: {name}"


def text(value, indent=0, used=0):
    """JSON; whatever fits in a line stays in one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent + used + 1 <= COLUMNS and not (isinstance(value, dict) and indent <= 4):
        return line
    pad, end = "\n" + " " * (indent + 2), "\n" + " " * indent
    if isinstance(value, dict):
        items = [json.dumps(k) + ": " + text(v, indent + 2, len(k) + 4) for k, v in value.items()]
        return "{" + pad + ("," + pad).join(items) + end + "}"
    if isinstance(value, list) and not any(isinstance(v, (list, dict)) for v in value):
        first, later = " " * (indent + used), " " * (indent + 2)
        return textwrap.fill(line, COLUMNS - 1, initial_indent=first, subsequent_indent=later).lstrip()
    if isinstance(value, list):
        return "[" + pad + ("," + pad).join(text(v, indent + 2) for v in value) + end + "]"
    return line


def write(id, cases):
    """Puts `cases` into plugins/<id>/golden.json behind those that others made."""
    path = PLUGINS / id / "golden.json"
    golden = {"source": "Vectors of core/conform/golden, an independent reference in double precision. "
                        "Pairs are [row, expert, weight]; dplan is what gradient was computed from.", "cases": []}
    if path.exists():
        golden = json.loads(path.read_text())
    kept = [c for c in golden["cases"] if not c["source"].startswith(SOURCE)]
    for given in kept:
        if given["kind"] == "router":
            agrees(id, given)
    golden["cases"] = kept + cases
    path.parent.mkdir(exist_ok=True)
    path.write_text(text(golden) + "\n")
