#!/usr/bin/env python3
"""An independent reference for the vision routers: their equations in plain PyTorch, double precision, autograd.

    python3 core/conform/golden/vision_routers.py        (needs torch and numpy)

writes its cases into plugins/<id>/golden.json; those made by others stay. Run by hand when an equation or a case
changes: building and testing the project never need it, the numbers are committed. It shares no code with the plugins,
and was written from the equations, not from them. One function per router returns its plan. Randomness is off in every
case (noise 0, dropout 0 or phase "score", or nothing left to draw).

b: x [T, D], groups (ranges of tokens, each one sequence), E experts, C slots of an expert in a group, o options,
p tensors, margin (see vectors.py).
"""
import math
import sys

import numpy as np
import torch
from torch.nn.functional import gelu

sys.dont_write_bytecode = True  # nothing is left beside the sources
import transports
from transports import Margin, largest
from vectors import SOURCE, Plan, case, router, values, write


# ---- what routers share -----------------------------------------------------------------------------------------

def token_choice(b, score, weight, k, priority=False):
    """All first choices, then all second ones; tokens ascend, or descend by their best score within each group."""
    picks = [largest(s, k, b.margin) for s in score]
    order = []
    for g in b.groups if len(score) == len(b.x) else [range(len(score))]:
        best = score[g.start:g.stop].max(1).values
        order += [g.start + t for t in largest(best, len(g), b.margin)] if priority else list(g)
    return [(t, picks[t][c], weight[t, picks[t][c]]) for c in range(k) for t in order]


def expert_choice(b, score, weight, exact=()):
    """Group by group, expert by expert: the C tokens with the largest score, descending."""
    return [(g.start + t, e, weight[g.start + t, e]) for g in b.groups for e in range(b.E)
            for t in largest(score[g.start:g.stop, e], min(b.C, len(g)), b.margin, exact)]


def by_group(b, function, matrix):
    return torch.cat([function(matrix[g.start:g.stop]) for g in b.groups])


def balance(b, gates):
    """Importance loss, a mean over groups; there is no load loss without noise."""
    spread = lambda total: total.var(unbiased=False) / total.mean() ** 2
    loss = torch.stack([spread(gates[g.start:g.stop].sum(0)) for g in b.groups]).mean()
    return {"importance": (b.o.importance_weight, loss)} if b.o.importance_weight > 0 else {}


def unit(v, on=True):
    return v / torch.sqrt((v * v).sum(1, keepdim=True) + 1e-6) if on else v


def layer_norm(v, gain, bias):
    centred = v - v.mean(1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-6) * gain + bias


# ---- token choice -----------------------------------------------------------------------------------------------

@router(k=1, order="vanilla", importance_weight=0.005, load_weight=0.005, gshard_weight=0)
def softmax_token_choice(b):
    G = torch.softmax(b.x @ b.p["gate"], 1)
    aux = balance(b, G)
    if b.o.gshard_weight > 0:
        def first_choices(G):
            share = torch.bincount(G.argmax(1), minlength=b.E) / len(G)
            return b.E * (share * G.mean(0)).sum()
        value = torch.stack([first_choices(G[g.start:g.stop]) for g in b.groups]).mean()
        aux["gshard"] = (b.o.gshard_weight, value)
    return Plan(token_choice(b, G, G, b.o.k, b.o.order == "priority"), aux=aux)


@router(k=1, order="vanilla", iterations=20, combine="clean")
def sinkhorn_token_choice(b):
    L = b.x @ b.p["gate"]
    P = by_group(b, lambda L: transports.sinkhorn(L, b.o.iterations), L.detach())
    return Plan(token_choice(b, P, torch.softmax(L, 1), b.o.k, b.o.order == "priority"))


@router(k=1, projection=256, normalise="both", temperature=0.5, learn_temperature=True, order="vanilla",
        importance_weight=0.005, load_weight=0.005)
def cosine(b):
    h = b.x @ b.p["proj"] + b.p["proj_bias"] if b.o.projection else b.x
    t = b.p["temperature"] if b.o.learn_temperature else torch.tensor(-math.log(b.o.temperature), dtype=h.dtype)
    h, m = unit(h, b.o.normalise in ("both", "input")), unit(b.p["experts"], b.o.normalise in ("both", "experts"))
    G = torch.softmax(torch.exp(torch.clamp(t, max=math.log(100))) * (h @ m.T), 1)
    return Plan(token_choice(b, G, G, b.o.k, b.o.order == "priority"), aux=balance(b, G))


@router(k=1, projection=0, tau=1, importance_weight=0.005, load_weight=0.005)
def l2(b):
    h = b.x @ b.p["proj"] if b.o.projection else b.x
    G = torch.softmax(-((h[:, None, :] - b.p["centres"][None, :, :]) ** 2).sum(2) / b.o.tau, 1)
    return Plan(token_choice(b, G, G, b.o.k), aux=balance(b, G))


@router(k=1, hidden=0, activation="gelu", importance_weight=0.005, load_weight=0.005)
def mlp(b):
    act = {"gelu": lambda u: gelu(u, approximate="tanh"), "relu": torch.relu, "tanh": torch.tanh}[b.o.activation]
    before = b.x @ b.p["w1"] + b.p["b1"]
    b.margin.note(before.abs().min() if b.o.activation == "relu" else math.inf)
    G = torch.softmax(act(before) @ b.p["w2"], 1)
    return Plan(token_choice(b, G, G, b.o.k), aux=balance(b, G))


@router(k=1)
def per_image(b):
    mean = torch.stack([b.x[g.start:g.stop].mean(0) for g in b.groups])
    p = torch.softmax(mean @ b.p["gate"], 1)
    return Plan(token_choice(b, p, p, b.o.k))


# ---- expert choice ----------------------------------------------------------------------------------------------

@router(combine="noisy")
def softmax_expert_choice(b):
    G = torch.softmax(b.x @ b.p["gate"], 1)
    return Plan(expert_choice(b, G, G))


@router(iterations=20, combine="clean")
def sinkhorn_expert_choice(b):
    L = b.x @ b.p["gate"]
    P = by_group(b, lambda L: transports.sinkhorn(L, b.o.iterations), L.detach())
    return Plan(expert_choice(b, P, torch.softmax(L, 1)))


@router(gamma=1, iterations=20, lr=0.01, nonzeros=0)
def sparsity_constrained_expert_choice(b):
    S, k = torch.softmax(b.x @ b.p["gate"], 1), b.o.nonzeros or b.C
    transport = lambda S: transports.sparse_transport(S, k, b.o.gamma, b.o.iterations, b.o.lr, b.margin)
    return Plan(expert_choice(b, by_group(b, transport, S.detach()), S, exact=(0.0,)))


@router(cap=2, entropy=0.001, iterations=100)
def capped_expert_choice(b):
    S = torch.softmax(b.x @ b.p["gate"], 1)
    transport = lambda S: transports.capped_transport(S, b.C, b.o.cap, b.o.entropy, b.o.iterations, b.margin)
    return Plan(expert_choice(b, by_group(b, transport, S.detach()), S, exact=(0.0,)))


@router()
def pmoe(b):
    L = b.x @ b.p["gate"]
    return Plan(expert_choice(b, L, by_group(b, lambda L: torch.softmax(L, 0), L)))


@router(input="stream")
def mixture_of_depths(b):
    r = (b.residual if b.o.input == "stream" else b.x) @ b.p["gate"]
    return Plan(expert_choice(b, r, r))


# ---- soft -------------------------------------------------------------------------------------------------------

def soft(b, dispatch, combine):
    logits = unit(b.x) @ (b.p["scale"] * unit(b.p["phi"])).T
    D = by_group(b, lambda L: torch.softmax(L if dispatch else 0 * L, 0), logits)
    return Plan(dense={"dispatch": D, "combine": torch.softmax(logits if combine else 0 * logits, 1)})


@router(slots=0)
def soft_moe(b):
    return soft(b, True, True)


@router(slots=0)
def soft_uniform(b):
    return soft(b, True, False)


@router(slots=0)
def uniform_soft(b):
    return soft(b, False, True)


# ---- controls, coarser rows -------------------------------------------------------------------------------------

@router()
def identity(b):
    return Plan([(t, i * b.E // len(g), 1.0) for g in b.groups for i, t in enumerate(g)])


@router()
def random_partition(b):
    assert all(len(g) == 1 for g in b.groups), "only the order of one token is known"
    return Plan([(g.start, 0, 1.0) for g in b.groups])


@router()
def smear(b):
    mean = torch.stack([b.x[g.start:g.stop].mean(0) for g in b.groups])
    query = layer_norm(mean, b.p["norm_gain"], b.p["norm_bias"])
    p = torch.softmax(query @ layer_norm(b.p["router"], b.p["router_gain"], b.p["router_bias"]).T, 1)
    return Plan(dense={"mix": p / (p.sum(1, keepdim=True) + 1e-9) if b.train else p})


@router(hidden=64, selection="straight_through", temperature=2, temperature_min=0.1, anneal=3e-4, embedding="given")
def task_level(b):
    T = b.p["task"] if b.o.embedding == "learned" else b.task_embedding
    z = gelu(T @ b.p["w1"] + b.p["b1"], approximate="tanh") @ b.p["w2"] + b.p["b2"]
    tau = max(b.o.temperature * math.exp(-b.o.anneal * b.step), b.o.temperature_min)
    hard = b.o.selection != "softmax" and not b.train
    if hard:
        return Plan(token_choice(b, z, torch.ones_like(z), 1))
    r = torch.softmax(z / tau, 1)  # Gumbel noise is absent: cases with it have logits that are further apart than it
    if b.o.selection == "straight_through":
        r = r + (torch.eye(b.E, dtype=r.dtype)[r.argmax(1)] - r).detach()
    return Plan(token_choice(b, z, r, b.E))


# ---- cases ------------------------------------------------------------------------------------------------------

def gated(id, name, options, groups, **more):
    return case(id, name, options, groups, {"gate": (more.get("D", 4), more.get("E", 3))}, **more)


def transport_case(kind, options, transport):
    """The plan itself of one group; it is no part of a router's answer."""
    for seed in range(20000):
        rng, margin = np.random.default_rng(seed), Margin()
        S = torch.softmax(torch.tensor(rng.standard_normal((8, 4))), 1).mul(1e6).round().div(1e6)
        plan = transport(S, margin)
        if margin.nearest >= 1e-3:
            return {"name": kind, "kind": kind, "source": SOURCE + ": PyTorch, double precision", **options,
                    "scores": values(S), "plan": values(plan), "tolerance": 2e-5}


def token_choice_cases():
    id = "softmax_token_choice"
    off = {"noise": 0}
    yield id, gated(id, "two choices", {**off, "k": 2}, [7, 5])
    yield id, gated(id, "priority", {**off, "k": 2, "order": "priority"}, [6, 4], E=4)
    yield id, gated(id, "three losses", {**off, "importance_weight": 0.5, "gshard_weight": 0.25}, [8, 4])
    id = "sinkhorn_token_choice"
    yield id, gated(id, "clean", {**off}, [7, 5])
    yield id, gated(id, "two choices by priority", {**off, "k": 2, "order": "priority", "combine": "noisy"}, [6, 4],
                    E=4)
    yield id, gated(id, "one round", {**off, "k": 2, "iterations": 1}, [9], D=3)
    L = torch.tensor([[1, 0], [2, 0], [.5, 0], [0, 1]], dtype=torch.float64)
    for rounds, printed in ((20, [.585258, .793212, .461177, .160353]), (1, [.549255, .768109, .424986, .141567])):
        plan = [[p, round(1 - p, 6)] for p in printed]
        assert (transports.sinkhorn(L, rounds) - torch.tensor(plan)).abs().max() < 1e-6
        yield id, {"name": f"D {rounds}", "kind": "sinkhorn", "source": SOURCE + ": vector D of the specification",
                   "logits": values(L), "iterations": rounds, "plan": plan, "tolerance": 2e-6}
    id = "cosine"
    both = {"proj": (4, 5), "proj_bias": (1, 5), "experts": (3, 5), "temperature": [[0.7]]}
    yield id, case(id, "projected", {**off, "projection": 5, "k": 2}, [7, 5], both)
    plain = {"experts": (3, 4), "temperature": [[1.2]]}
    yield id, case(id, "input only, priority", {**off, "projection": 0, "normalise": "input", "order": "priority",
                   "k": 2}, [6, 4], plain)
    yield id, case(id, "experts only, small", {**off, "projection": 0, "normalise": "experts"}, [6, 4],
                   {"experts": ((3, 4), 0.01), "temperature": [[0.3]]}, tolerance=5e-5)
    fixed = {name: shape for name, shape in both.items() if name != "temperature"}
    yield id, case(id, "constant temperature, no norms", {**off, "projection": 5, "normalise": "none",
                   "temperature": 0.8, "learn_temperature": False}, [8], fixed)
    alike = [[1, 2, -1, 0.5], [1.02, 1.98, -1.01, 0.52], [0.99, 2.03, -0.98, 0.47]]
    yield id, case(id, "temperature at its bound", {**off, "projection": 0}, [6],
                   {"experts": alike, "temperature": [[5]]}, tolerance=2e-4)
    id = "l2"
    yield id, case(id, "centres in the input", {**off, "k": 2}, [7, 5], {"centres": (3, 4)})
    yield id, case(id, "projected", {**off, "projection": 5, "tau": 4, "importance_weight": 0.5}, [6, 4],
                   {"proj": (4, 5), "centres": (3, 5)})
    id = "mlp"
    layers = lambda h, E: {"w1": (4, h), "b1": (1, h), "w2": (h, E)}
    yield id, case(id, "gelu, hidden as wide as the input", {**off, "k": 2}, [7, 5], layers(4, 3))
    yield id, case(id, "relu", {**off, "hidden": 6, "activation": "relu"}, [6, 4], layers(6, 4), E=4)
    yield id, case(id, "tanh", {**off, "hidden": 3, "activation": "tanh", "importance_weight": 0}, [8], layers(3, 3))
    id = "per_image"
    yield id, gated(id, "one choice", {}, [5, 3, 4], C=5)
    yield id, gated(id, "two choices", {"k": 2}, [4, 6, 2], E=4, C=6)


def expert_choice_cases():
    off = {"noise": 0}
    id = "softmax_expert_choice"
    yield id, gated(id, "noisy weights", {**off}, [7, 5])
    yield id, gated(id, "clean weights", {**off, "combine": "clean"}, [8, 2], E=4)
    id = "sinkhorn_expert_choice"
    yield id, gated(id, "clean", {**off}, [7, 5])
    yield id, gated(id, "noisy, three rounds", {**off, "combine": "noisy", "iterations": 3}, [8, 2], E=4)
    id = "sparsity_constrained_expert_choice"
    yield id, gated(id, "capacity", {}, [7, 5])
    yield id, gated(id, "fewer non-zeros than slots", {"nonzeros": 2}, [8], E=4)
    yield id, gated(id, "large steps, small gamma", {"gamma": 0.2, "lr": 0.05, "iterations": 12}, [6, 4], D=3)
    yield id, transport_case("sparse_transport", dict(k=3, gamma=0.5, iterations=20, lr=0.01), lambda S, m:
                             transports.sparse_transport(S, 3, 0.5, 20, 0.01, m))
    printed = ([.9, .5, .1, -.2], 2, [.7, .3, 0, 0]), ([3, .5, .1], 2, [1, 0, 0]), ([.2] * 4, 3, [1 / 3] * 3 + [0])
    for z, k, p in printed:
        want, have = torch.tensor(p, dtype=torch.float64), torch.tensor(z, dtype=torch.float64)
        assert torch.allclose(transports.sparse_simplex(have, k, Margin()), want)
        yield id, {"name": f"E {len(z)} values, k {k}", "kind": "sparse_simplex",
                   "source": SOURCE + ": vector E of the specification", "values": z, "k": k,
                   "projection": values(want), "tolerance": 1e-6}
    id, plain = "capped_expert_choice", {"unlike": "softmax_expert_choice"}
    yield id, gated(id, "entropy 0.1", {"entropy": 0.1}, [8, 5], **plain)
    yield id, case(id, "entropy 0.001, gates alike", {}, [8, 6], {"gate": ((4, 3), 0.03)}, need=0.05, **plain)
    yield id, gated(id, "entropy 0.001, plan below the smallest number", {}, [8, 6], need=0.5, **plain)
    yield id, gated(id, "cap 1, few rounds", {"cap": 1, "entropy": 0.1, "iterations": 10}, [9], C=2, E=4, **plain)
    yield id, transport_case("capped_transport", dict(capacity=3, cap=2, entropy=0.1, iterations=100), lambda S, m:
                             torch.exp(transports.capped_transport(S, 3, 2, 0.1, 100, m)))
    id = "pmoe"
    yield id, gated(id, "two groups", {}, [7, 5])
    yield id, gated(id, "a group smaller than the capacity", {}, [8, 2], D=3, E=4)
    id = "mixture_of_depths"
    yield id, gated(id, "stream", {}, [7, 5], E=1, residual=True, site="block")
    yield id, gated(id, "normalised", {"input": "normalised"}, [6, 4], E=1, C=2, site="block")


def soft_cases():
    for id in ("soft_moe", "soft_uniform", "uniform_soft"):
        yield id, case(id, "two slots", {"slots": 2}, [7, 5], {"phi": (6, 4), "scale": [[1.5]]})
        yield id, case(id, "slots of the capacity", {}, [6, 3], {"phi": (12, 3), "scale": [[-0.8]]}, D=3, E=4)


def other_cases():
    yield "identity", case("identity", "two groups", {}, [7, 5], {})
    yield "identity", case("identity", "fewer tokens than experts", {}, [3, 8], {}, E=4)
    yield "random_partition", case("random_partition", "groups of one token", {}, [1, 1, 1], {}, C=1)
    id = "smear"
    tensors = {"router": (3, 5), "norm_gain": (1, 5), "norm_bias": (1, 5), "router_gain": (1, 5), "router_bias": (1, 5)}
    yield id, case(id, "three sequences", {"dropout": 0}, [4, 6, 2], tensors, D=5)
    start = {**tensors, "router": ((3, 5), 0.01), "norm_gain": [[1] * 5], "norm_bias": [[0] * 5],
             "router_gain": [[0.01] * 5], "router_bias": [[0] * 5]}
    yield id, case(id, "as at the start", {"dropout": 0}, [5, 4], start, D=5)
    yield id, case(id, "evaluation", {}, [5, 4], tensors, D=5, phase="score")
    id = "task_level"
    layers = lambda dt: {"w1": ((dt, 6), 0.5), "b1": (1, 6), "w2": ((6, 3), 0.5), "b2": (1, 3)}
    base = dict(sequence_task=[1, 0, 1], task_embedding=(2, 5), C=5)
    groups = [4, 3, 5]
    yield id, case(id, "softmax", {"hidden": 6, "selection": "softmax"}, groups, layers(5), step=2000, **base)
    yield id, case(id, "softmax at the lowest temperature", {"hidden": 6, "selection": "softmax",
                   "temperature_min": 0.5, "anneal": 0.01}, groups, layers(5), step=1000, **base)
    learned = {"hidden": 6, "selection": "softmax", "embedding": "learned"}
    yield id, case(id, "learned", learned, groups, {**layers(6), "task": (2, 6)}, C=5, sequence_task=[1, 0, 1])
    yield id, case(id, "softmax, evaluation", {"hidden": 6, "selection": "softmax"}, groups, layers(5), phase="score",
                   **base)
    for selection in ("straight_through", "gumbel"):
        yield id, case(id, f"{selection}, evaluation", {"hidden": 6, "selection": selection}, groups, layers(5),
                       phase="score", **base)
        far = {**layers(5), "w2": ((6, 3), 200)}  # logits 80 apart: no Gumbel number changes order or weight
        yield id, case(id, f"{selection}, beyond the noise", {"hidden": 6, "selection": selection}, groups, far,
                       need=80, **base)


def main():
    transports.check()
    cases = {}
    for generator in (token_choice_cases, expert_choice_cases, soft_cases, other_cases):
        for id, made in generator():
            cases.setdefault(id, []).append(made)
    for id, made in cases.items():
        write(id, made)
        print(f"{id}: {len(made)} cases")


if __name__ == "__main__":
    main()
