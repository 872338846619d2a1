"""Routers whose number of experts varies, by schedule or by token; experts that cost nothing; competition.
Names as in language_shared.py.
"""
import math

import torch
from torch.nn.functional import softplus

from language_shared import top, by_choice, hot, first, softmax_over, share_out, switch_loss, z_loss, losses, expert
from transports import largest
from vectors import Plan, router


def scheduled_k(b):
    start, end = b.o.k_start or max(1, b.E // 2), b.o.k_end or b.E
    change = (end - start) * b.progress
    k = start + int(math.copysign(math.floor(abs(change) + 0.5), change))
    return b.o.k_eval if not b.train and b.o.k_eval else k


@router(k_start=0, k_end=0, k_eval=0)
def smoe_dropout(b):
    L = b.x @ b.p["gate"] + b.p["gate_bias"]
    picks = top(b, L, scheduled_k(b))
    return Plan(by_choice(picks, softmax_over(L, picks)))


@router(hidden=256, k_start=0, k_end=0, k_eval=0)
def hyper_router(b):
    before = b.p["embedding"] @ b.p["hyper_in"] + b.p["hyper_in_bias"]
    b.margin.note(before.abs().min())
    u = torch.relu(before) @ b.p["hyper_out"] + b.p["hyper_out_bias"]
    U = u.reshape(b.E, -1)
    L = b.x @ U[:, :-1].T + U[:, -1]
    picks = top(b, L, scheduled_k(b))
    return Plan(by_choice(picks, softmax_over(L, picks)))


@router(k=2, rate=0.05, warm_up=0.05, router_weight=0.01, theta=0, diversity_weight=0.01,
        competition_balance_weight=0.01, balance_weight=0.01, z_weight=0)
def competesmoe(b):
    z = b.x @ b.p["gate"]
    p = torch.softmax(z, 1)
    assert not b.train or b.o.rate in (0, 1)
    zero = lambda: torch.zeros((), dtype=torch.float64)
    if not b.train or b.o.rate == 0 or b.progress < b.o.warm_up:
        picks = top(b, z, b.o.k)
        return Plan(by_choice(picks, softmax_over(z, picks)), aux=losses(
            b, router=(b.o.router_weight, zero), diversity=(b.o.diversity_weight, zero),
            competition_balance=(b.o.competition_balance_weight, zero),
            balance=(b.o.balance_weight, lambda: switch_loss(b, first(picks), p)),
            z=(b.o.z_weight, lambda: z_loss(z))))
    o = torch.stack([expert(e, b.x) for e in range(b.E)], 1)
    a = softplus(o).mean(2)
    picks = top(b, a, b.o.k)
    A, M = torch.softmax(a, 1), hot(picks, b.E)
    off = (p - A.detach()) ** 2
    n = o / torch.sqrt((o * o).sum(2, keepdim=True) + 1e-6)
    cosines = [n[t, i] @ n[t, j] for t, experts in enumerate(picks) for i in experts for j in experts if i != j]
    return Plan([], output=(share_out(a, picks)[:, :, None] * o).sum(1), aux=losses(
        b, router=(b.o.router_weight, lambda: off.mean() + b.o.theta * (off * M).sum() / M.sum()),
        diversity=(b.o.diversity_weight if b.o.k > 1 else 0, lambda: torch.stack(cosines).mean()),
        competition_balance=(b.o.competition_balance_weight, lambda: switch_loss(b, first(picks), A)),
        balance=(b.o.balance_weight, zero), z=(b.o.z_weight, zero)))


@router(k=2, gamma=1, conditioning="example", entropy_weight=1e-6, reach_weight=1)
def dselect_k(b):
    m, k, g, T = math.ceil(math.log2(b.E)), b.o.k, b.o.gamma, len(b.x)
    if b.o.conditioning == "static":
        z, c = b.p["bits"].expand(T, -1), torch.softmax(b.p["mix"], 1).expand(T, -1)
    else:
        z = b.x @ b.p["bits"] + b.p["bits_bias"]
        c = torch.softmax(b.x @ b.p["mix"] + b.p["mix_bias"], 1)
    b.margin.note((z.abs() - g / 2).abs().min())
    S = torch.where(z <= -g / 2, 0.0, torch.where(z >= g / 2, 1.0, -2 * z**3 / g**3 + 3 * z / (2 * g) + 0.5))
    S = S.reshape(T, k, m)
    r = torch.stack([torch.stack([S[:, :, i] if e >> (m - 1 - i) & 1 else 1 - S[:, :, i] for i in range(m)]).prod(0)
                     for e in range(b.E)], 2)  # [T, k, E]
    w = (c[:, :, None] * r).sum(1)
    picks = [[e for e in largest(row, b.E, b.margin, exact=(0.0,)) if row[e] > 0] for row in w]
    return Plan(by_choice(picks, w), aux=losses(
        b, entropy=(b.o.entropy_weight, lambda: -(r * torch.log(r + 1e-6)).sum(2).sum(1).mean()),
        reach=(b.o.reach_weight if b.E & (b.E - 1) else 0, lambda: (1 / r.sum(2)).sum(1).mean())))


@router(k=1, multiplier=1.2, **{"lambda": 1e-8})
def remoe(b):
    before = b.x @ b.p["gate"]
    b.margin.note(before.abs().min())
    R, l = torch.relu(before), b.p["lambda"][0, 0]
    picks = [[e for e in largest(row, b.E, b.margin, exact=(0.0,)) if row[e] > 0] for row in R]
    c = (R > 0).sum(0)
    loss = l * b.E / (b.o.k * len(R) ** 2) * (c * R.sum(0)).sum()
    plan = Plan(by_choice(picks, R), aux={"l1": (1, loss)} if b.train else {},
                metric={"sparsity": (R == 0).double().mean(), "lambda": l})
    if b.load:
        more = sum(b.load.offered) > b.o.k * b.load.tokens
        plan.buffers = {"lambda": b.p["lambda"] * b.o.multiplier if more else b.p["lambda"] / b.o.multiplier}
    return plan


@router(p=0.4, entropy_weight=1e-4, balance_weight=0.01)
def top_p(b):
    P = torch.softmax(b.x @ b.p["gate"], 1)
    picks = []
    for row in P.detach():
        order, mass, chosen = largest(row, b.E, b.margin), 0, []
        for e in order:
            chosen.append(e)
            mass += float(row[e])
            if len(chosen) < b.E:
                b.margin.note(mass - b.o.p)
            if mass > b.o.p:
                break
        picks.append(chosen)
    F = hot(picks, b.E).mean(0)
    entropy = -(P * torch.log(torch.clamp(P, min=1e-30))).sum(1).mean()
    return Plan(by_choice(picks, P), metric={"experts": F.sum(), "entropy": entropy}, aux=losses(
        b, entropy=(b.o.entropy_weight, lambda: entropy),
        balance=(b.o.balance_weight, lambda: b.E * (F * P.mean(0)).sum())))


@router(k=1, rule="midpoint", jitter=0.1, balance_weight=0.01)
def sparsemixer(b):
    assert not b.train or b.o.jitter == 0, "samples are not known here"
    z = b.x @ b.p["gate"]
    left, picks, w, p_first = z, [[] for _ in b.x], torch.zeros_like(z), None
    for _ in range(b.o.k):
        best = left.max(1, keepdim=True).values
        room = 2 * b.o.jitter * torch.maximum(z.abs(), best)
        b.margin.note(min([math.inf] + [v for v in (best - left - room).abs().flatten().tolist() if 0 < v < math.inf]))
        p = torch.softmax(left.masked_fill(best - left > room, -math.inf), 1)
        p_first = p if p_first is None else p_first
        s = top(b, left, 1)
        M = hot(s, b.E)
        v = {"midpoint": 2, "heun": 1}[b.o.rule]
        w = w + M * (p.detach() + v * (p - p.detach()) if b.train else p)
        picks = [a + e for a, e in zip(picks, s)]
        left = left.masked_fill(M > 0, -math.inf)
    P = p_first if b.o.rule == "midpoint" else torch.softmax(z, 1)
    return Plan(by_choice(picks, w), aux=losses(b, balance=(b.o.balance_weight, lambda: switch_loss(b, picks, P))))


@router(k=2, constants=2, copies=1, zeros=1, gate="linear", logit_std=0, weights="raw", scale_input=False,
        balance_weight=0.01, tau=0.75)
def moe_plus_plus(b):
    o, E = b.o, b.E
    N = E + o.constants + o.copies + o.zeros
    z = b.x @ b.p["gate"] if o.gate == "linear" else torch.tanh(b.x @ b.p["gate_in"]) @ b.p["gate_out"]
    z = z * o.logit_std / z.std(1, unbiased=True, keepdim=True) if o.logit_std > 0 else z
    P = torch.softmax(z, 1)
    picks = top(b, P, o.k)
    zero = E + o.constants + o.copies  # the first of them
    keep = P * (torch.arange(N) < zero) if o.weights == "zero_removed" else P
    w = P if o.weights == "raw" else share_out(keep, picks)
    h = o.k * b.x if o.scale_input else b.x
    w_chosen, y = w * hot(picks, N), torch.zeros_like(b.x)
    for c in range(o.constants):
        m = torch.softmax(h @ b.p[f"mix_{c}"], 1)
        y = y + w_chosen[:, E + c, None] * (m[:, :1] * h + m[:, 1:] * b.p[f"constant_{c}"])
    y = y + w_chosen[:, E + o.constants:zero].sum(1, keepdim=True) * h
    F, u = hot(picks, N).mean(0) / o.k, torch.where(torch.arange(N) < E, 1.0, o.tau)
    part = lambda a, n: F[a:a + n].sum()
    return Plan([pair for pair in by_choice(picks, w) if pair[1] < E],
                output=y if o.constants + o.copies else None, expert_x=h if o.scale_input else None,
                metric={"constant_share": part(E, o.constants), "copy_share": part(E + o.constants, o.copies),
                        "zero_share": part(zero, o.zeros)},
                aux=losses(b, balance=(o.balance_weight, lambda: N * (u * F * P.mean(0)).sum())))


@router(k=2, nulls=8, balance="shared", balance_weight=0.001)
def null_experts(b):
    N = b.E + b.o.nulls
    P = torch.softmax(b.x @ b.p["gate"], 1)
    picks = top(b, P, b.o.k)
    real = [[e for e in experts if e < b.E] for experts in picks]
    F = hot(picks, N).mean(0) / b.o.k
    null = F[b.E:].sum()
    G = torch.cat([F[:b.E], (null / b.o.nulls).expand(b.o.nulls)]) if b.o.balance == "shared" and b.o.nulls else F
    return Plan([pair for pair in by_choice(picks, share_out(P, real)) if pair[1] < b.E], metric={
        "null_share": null, "experts": hot(real, b.E).sum(1).mean(), "idle": sum(not e for e in real) / len(real)},
        aux=losses(b, balance=(b.o.balance_weight, lambda: N * (G * P.mean(0)).sum())))
