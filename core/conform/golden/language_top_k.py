"""Top-k routers with a learned gate and their losses. Names as in language_shared.py."""
import torch
from torch.nn.functional import softplus

from language_shared import (top, by_token, by_choice, by_gate, hot, first, softmax_over, share_out, pool_mean,
                             switch_loss, z_loss, losses, unit)
from vectors import Plan, router


@router(policy="argmax", temperature=1, jitter=0.01, jitter_form="multiply_input", balance_weight=0.01, pool="batch",
        z_weight=0)
def switch_top1(b):
    assert not b.train or b.o.jitter <= 1e-6
    L = b.x @ b.p["gate"] + (1 if b.train and b.o.jitter_form == "add_to_logits" else 0)
    G = torch.softmax(L, 1)
    picks = top(b, G, 1)
    return Plan(by_token(picks, G), aux=losses(
        b, balance=(b.o.balance_weight, lambda: switch_loss(b, picks, G, b.o.pool)),
        z=(b.o.z_weight, lambda: z_loss(L))))


@router(second="random", threshold=0.5, evaluate_second="all", weights="chosen", order="choice", balance_weight=0.01,
        second_weight=0, pool="group")
def gshard_top2(b):
    L = b.x @ b.p["gate"]
    G = torch.softmax(L, 1)
    both = top(b, L, 2)
    p1, p2 = (torch.stack([G[t, picks[c]] for t, picks in enumerate(both)]) for c in (0, 1))
    g1, g2 = p1 / (p1 + p2), p2 / (p1 + p2)
    policy = b.o.second if b.train or b.o.evaluate_second == "same" else "all"
    if policy == "random":  # only where the chance is 1
        b.margin.note(torch.clamp(g2 / b.o.threshold - 1, min=0).min())
    if policy == "threshold":
        b.margin.note((g2 - b.o.threshold).abs().min())
    kept = [list(picks) if policy != "threshold" or g2[t] > b.o.threshold else picks[:1]
            for t, picks in enumerate(both)]
    w = torch.zeros_like(G)
    for t, (i, j) in enumerate(both):
        w[t, i], w[t, j] = {"chosen": (g1[t], g2[t]), "none": (p1[t], p2[t]),
                            "kept": (g1[t], g2[t]) if len(kept[t]) == 2 else (1, 0)}[b.o.weights]
    pairs = {"choice": lambda: by_choice(kept, w), "token": lambda: by_token(kept, w),
             "gate": lambda: by_gate(b, kept, w, p1)}[b.o.order]()
    Q = G * (1 - hot(first(both), b.E)) / (1 - p1 + 1e-9)[:, None]
    return Plan(pairs, aux=losses(
        b, balance=(b.o.balance_weight, lambda: switch_loss(b, first(both), G, b.o.pool)),
        second=(b.o.second_weight, lambda: switch_loss(b, [picks[1:] for picks in both], Q, b.o.pool))))


@router(k=2, noise="learned", noise_floor=0.01, fixed_std=1, start="zero", importance_weight=0.1, load_weight=0.1,
        pool="batch")
def noisy_top_k(b):
    assert not b.train or b.o.noise == "none" or (b.o.noise == "fixed" and b.o.fixed_std <= 1e-6)
    L = b.x @ b.p["gate"]
    picks = top(b, L, b.o.k)
    w, M = softmax_over(L, picks), hot(picks, b.E)
    spread = lambda v: v.var(unbiased=False) / v.mean() ** 2
    noisy = b.o.noise != "none" and b.o.k < b.E  # too little for a number: q is 1 for the chosen and 0 for the others
    return Plan(by_token(picks, w), aux=losses(
        b, importance=(b.o.importance_weight, lambda: pool_mean(b, b.o.pool, lambda g: spread(w[g].sum(0)))),
        load=(b.o.load_weight if noisy else 0, lambda: pool_mean(b, b.o.pool, lambda g: spread(M[g].sum(0))))))


@router(k=2, score="softmax", softmax="after_top_k", renormalise=False, scale=1, bias=False, jitter=0, order="token",
        balance_weight=0.01, aux_choices="all", aux_scale="one", aux_softmax="once", pool="batch", z_weight=0)
def top_k(b):
    L = b.x @ b.p["gate"] + (b.p["gate_bias"] if b.o.bias else 0)
    s = {"softmax": lambda: torch.softmax(L, 1), "sigmoid": lambda: torch.sigmoid(L),
         "sqrt_softplus": lambda: torch.sqrt(softplus(L))}[b.o.score]()
    picks = top(b, L, b.o.k)
    if b.o.score == "softmax" and b.o.softmax == "after_top_k":
        w = softmax_over(L, picks)
    else:
        w = share_out(s, picks) if b.o.renormalise else s
    w = w * b.o.scale
    assert not (b.train and b.o.order == "random")
    pairs = {"token": lambda: by_token(picks, w), "choice": lambda: by_choice(picks, w),
             "random": lambda: by_choice(picks, w),
             "gate": lambda: by_gate(b, picks, w, (w * hot(picks, b.E)).max(1).values)}[b.o.order]()
    Z = s if b.o.score == "softmax" else s / s.sum(1, keepdim=True)
    Z = torch.softmax(Z, 1) if b.o.aux_softmax == "twice" else Z
    c = {"one": 1, "k": b.o.k, "inverse_k": 1 / b.o.k}[b.o.aux_scale]
    counted = picks if b.o.aux_choices == "all" else first(picks)
    return Plan(pairs, aux=losses(b, balance=(b.o.balance_weight, lambda: c * switch_loss(b, counted, Z, b.o.pool)),
                                  z=(b.o.z_weight, lambda: z_loss(L))))


@router(k=2, renormalise=False, pool="global", accumulation=8, balance_weight=0.01, z_weight=0)
def global_batch_lbl(b):
    L = b.x @ b.p["gate"]
    G = torch.softmax(L, 1)
    picks = top(b, G, b.o.k)
    w = share_out(G, picks) if b.o.renormalise else G

    def balance():
        if b.o.pool != "global":
            return switch_loss(b, picks, G, b.o.pool)
        n = hot(picks, b.E).sum(0) + b.p["count"][0]
        return b.E * (n / n.sum() * G.mean(0)).sum()

    plan = Plan(by_token(picks, w), aux=losses(b, balance=(b.o.balance_weight, balance),
                                               z=(b.o.z_weight, lambda: z_loss(L))))
    if b.load:
        count = b.p["count"] + torch.tensor([b.load.offered])
        plan.buffers = {"count": 0 * count if (b.step + 1) % b.o.accumulation == 0 else count}
    return plan


@router(k=2, expert_weight=0.01, device_weight=0, devices=1, pool="group")
def deepseek_moe(b):
    s = torch.softmax(b.x @ b.p["gate"], 1)
    picks = top(b, s, b.o.k)
    M = hot(picks, b.E)

    def device(g):
        f, P = b.E / (b.o.k * len(s[g])) * M[g].sum(0), s[g].mean(0)
        return (f.reshape(b.o.devices, -1).mean(1) * P.reshape(b.o.devices, -1).sum(1)).sum()

    return Plan(by_token(picks, s), aux=losses(
        b, expert=(b.o.expert_weight, lambda: switch_loss(b, picks, s, b.o.pool)),
        device=(b.o.device_weight, lambda: pool_mean(b, b.o.pool, device))))


@router(k=2, score="sigmoid", renormalise=True, scale=1, groups=1, kept_groups=1, group_best=2, rule="sign",
        rate=0.001, rate_until=1, recentre=False, sequence_weight=0.0001)
def deepseek_v3_bias(b):
    L, bias = b.x @ b.p["gate"], b.p["expert_bias"]
    s = torch.sigmoid(L) if b.o.score == "sigmoid" else torch.softmax(L, 1)
    r = (s * bias if b.o.rule == "multiplicative" else s + bias).detach()
    if b.o.groups > 1:
        parts = r.reshape(len(r), b.o.groups, -1)
        value = parts.topk(min(b.o.group_best, parts.shape[2]), 2).values.sum(2)
        M = hot(top(b, value, b.o.kept_groups), b.o.groups)
        r = torch.where(M[:, :, None] > 0, parts, -1e6 - torch.arange(b.E).reshape(b.o.groups, -1)).reshape(r.shape)
    picks = top(b, r, b.o.k)
    w = b.o.scale * (share_out(s, picks) if b.o.renormalise else s)
    largest_s = top(b, s, b.o.k) if b.train and b.o.sequence_weight > 0 else None
    P = s / s.sum(1, keepdim=True)
    plan = Plan(by_token(picks, w), aux=losses(
        b, sequence=(b.o.sequence_weight, lambda: switch_loss(b, largest_s, P, "group"))))
    if b.load:
        n = torch.tensor(b.load.offered, dtype=torch.float64)
        d = 1 - n / n.mean() if n.sum() > 0 else 0 * n
        d = {"error": d, "rms": d / torch.sqrt((d * d).mean() + 1e-12)}.get(b.o.rule, torch.sign(d))
        new = bias[0] + (b.o.rate if b.progress < b.o.rate_until else 0) * d
        if b.o.recentre:
            new = new - new.mean() + (1 if b.o.rule == "multiplicative" else 0)
        plan.buffers = {"expert_bias": new[None]}
    return plan


@router(k=1, projection=0, normalise="both", expert_length=1, gate="softmax", temperature=0.3, learn_temperature=True,
        weights="raw", balance_weight=0.01, aux_temperature=0.3, aux_choices="all", aux_scale="one")
def x_moe(b):
    h, c = b.x @ b.p["proj"], b.p["experts"]
    h = unit(h) if b.o.normalise in ("both", "input") else h
    c = b.o.expert_length * unit(c) if b.o.normalise in ("both", "experts") else c
    z = h @ c.T
    tau = torch.clamp(b.p["temperature"], min=1e-4) if b.o.learn_temperature else b.o.temperature
    G = torch.softmax(z / tau, 1) if b.o.gate == "softmax" else torch.sigmoid(z / tau)
    picks = top(b, z, b.o.k)
    w = {"raw": lambda: G, "double_softmax": lambda: softmax_over(G, picks),
         "renormalised": lambda: softmax_over(z / tau, picks) if b.o.gate == "softmax" else share_out(G, picks)}
    Q = torch.softmax(z / b.o.aux_temperature, 1)
    scale = {"one": 1, "inverse_k": 1 / b.o.k}[b.o.aux_scale]
    counted = picks if b.o.aux_choices == "all" else first(picks)
    return Plan(by_token(picks, w[b.o.weights]()), aux=losses(
        b, balance=(b.o.balance_weight, lambda: scale * switch_loss(b, counted, Q))))


@router(k=1)
def round_robin(b):
    turn = [[(b.o.k * p + j) % b.E for j in range(b.o.k)] for p in b.position]
    return Plan(by_token(turn, torch.full((len(b.x), b.E), 1 / b.o.k)))
