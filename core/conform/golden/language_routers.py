#!/usr/bin/env python3
"""An independent reference for the language routers: their equations in plain PyTorch, double precision, autograd.

    python3 core/conform/golden/language_routers.py [id ...]        (needs torch and numpy)

writes its cases into plugins/<id>/golden.json; those made by others stay. Run by hand when an equation or a case
changes. It shares no code with the plugins, and was written from the equations in plugins/*/README.md. One function per
router returns its plan, and what update() leaves in its buffers where b.load is there. Noise is off in every case, by an
option or because evaluation has none; what only noise can show is not checked here.

b: x [T, D] without padding, groups and sequences (ranges of tokens), position, id, cluster (lists), V vocabulary,
E experts, o options, p tensors, train, step, progress, load (offered [E], tokens), margin (see vectors.py).
"""
import math
import sys

import torch
from torch.nn.functional import softplus

sys.dont_write_bytecode = True  # nothing is left beside the sources
from transports import largest
import vectors
from vectors import Plan, router, write


# ---- what routers share -----------------------------------------------------------------------------------------

def top(b, score, k):
    """[T] lists of the k experts with the largest score, falling."""
    return [largest(s, k, b.margin) for s in score]


def above(b, score, bound):
    """[T] lists of the experts with score > bound, by falling score."""
    b.margin.note((score - bound).abs().min())
    return [[e for e in top(b, s[None], len(s))[0] if s[e] > cut[e]]
            for s, cut in zip(score, torch.as_tensor(bound).expand_as(score))]


def by_token(picks, w):
    return [(t, e, w[t, e]) for t, experts in enumerate(picks) for e in experts]


def by_choice(picks, w, order=None):
    order = range(len(picks)) if order is None else order
    return [(t, picks[t][c], w[t, picks[t][c]]) for c in range(max(map(len, picks), default=0)) for t in order
            if c < len(picks[t])]


def by_gate(b, picks, w, gate):
    """As by_choice; the tokens of each group descend by `gate` [T]."""
    return by_choice(picks, w, [g.start + t for g in b.groups for t in largest(gate[g.start:g.stop], len(g), b.margin)])


def hot(picks, n):
    """[T, n] 1 where a token chose."""
    m = torch.zeros(len(picks), n, dtype=torch.float64)
    for t, experts in enumerate(picks):
        for e in experts:
            m[t, e] = 1
    return m


def first(picks):
    return [experts[:1] for experts in picks]


def softmax_over(z, picks):
    return torch.softmax(z.masked_fill(hot(picks, z.shape[1]) == 0, -math.inf), 1).nan_to_num()


def share_out(w, picks):
    """w divided by its sum over the chosen; 0 elsewhere."""
    w = w * hot(picks, w.shape[1])
    total = w.sum(1, keepdim=True)
    return w / torch.where(total == 0, 1.0, total)


def pools(b, pool):
    return b.groups if pool == "group" else [range(len(b.x))]


def pool_mean(b, pool, value):
    """Mean over the pools of value(slice of tokens)."""
    return torch.stack([value(slice(g.start, g.stop)) for g in pools(b, pool)]).mean()


def switch_loss(b, picks, P, pool="batch"):
    """E sum f P; f are shares of all choices in picks."""
    M = hot(picks, P.shape[1])
    return pool_mean(b, pool, lambda g: P.shape[1] * (M[g].sum(0) / M[g].sum() * P[g].mean(0)).sum())


def z_loss(L):
    return (torch.logsumexp(L, 1) ** 2).mean()


def losses(b, **named):
    """The losses of a training call whose weight is not 0; named: (weight, function)."""
    return {name: (weight, value()) for name, (weight, value) in named.items() if weight > 0} if b.train else {}


def unit(v):
    return v / torch.sqrt((v * v).sum(1, keepdim=True) + 1e-6)


def expert(e, x):
    """The rig's expert e: core/conform/rig.cc, RigExperts."""
    return (2 + torch.as_tensor(e, dtype=x.dtype).reshape(-1, 1)) / 4 * x + x * x / 5


def kth(score, k):
    return sorted((float(v) for v in score.detach()), reverse=True)[k - 1]


def column(values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


# ---- top-k and its kin ------------------------------------------------------------------------------------------

@router(policy="argmax", temperature=1, jitter=0.01, jitter_form="multiply_input", balance_weight=0.01, pool="batch",
        z_weight=0)
def switch_top1(b):
    assert not b.train or b.o.jitter <= 1e-6
    L = b.x @ b.p["gate"] + (1 if b.train and b.o.jitter_form == "add_to_logits" else 0)
    G = torch.softmax(L, 1)
    picks = top(b, G, 1)
    return Plan(by_token(picks, G), aux=losses(b, balance=(b.o.balance_weight, lambda: switch_loss(b, picks, G, b.o.pool)),
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


# ---- assignments, tables, running means -------------------------------------------------------------------------

@router(stage1=0.1, balance_weight=0.3, distill_weight=0.3, student_width=50)
def stable_moe(b):
    ids = b.id if b.V else b.position
    s, student = b.x @ b.p["centroid"].T, b.p["student_embedding"] @ b.p["student_centroid"].T
    a, q, stage1 = torch.sigmoid(s), student[ids], b.progress < b.o.stage1
    if not stage1:
        picks = [[int(b.p["table"][i, 0])] for i in ids]
    else:
        picks = top(b, s if b.train else q, 1)
    plan = Plan(by_token(picks, a))
    if b.train:
        zero = torch.zeros((), dtype=torch.float64)
        teacher = [e for e, in picks]
        n, m = hot(picks, b.E).sum(0), len(b.x) / b.E
        plan.aux = {
            "balance": (b.o.balance_weight, torch.stack([(n[e] - m) / m * a[t, e] for t, e in enumerate(teacher)]).mean()
                        if stage1 else zero),
            "distill": (b.o.distill_weight, -torch.log_softmax(q, 1)[range(len(q)), teacher].mean() if stage1 else zero)}
    if b.load:
        best = top(b, student, 1) if stage1 else []
        plan.buffers = {"table": column([e for e, in best]) if stage1 else b.p["table"]}
    return plan


def best_assignment(s, margin, slack):
    """The experts of the assignment with the largest total where each expert has its share; the second best total is
    further than `slack` away. By trying all, token by token, over the room that is left."""
    n, E = s.shape
    states = {tuple(n // E + (e < n % E) for e in range(E)): [(0.0, ())]}  # room -> its two best beginnings
    for row in s.tolist():
        grown = {}
        for room, begun in states.items():
            for e in (e for e in range(E) if room[e]):
                left = tuple(r - (i == e) for i, r in enumerate(room))
                grown.setdefault(left, []).extend((total + row[e], path + (e,)) for total, path in begun)
        states = {room: sorted(all_, reverse=True)[:2] for room, all_ in grown.items()}
    (best,) = states.values()
    if len(best) == 2:
        margin.note(max(best[0][0] - best[1][0] - slack, 0))
    return best[0][1]


@router(epsilon=0.001)
def base(b):
    s = b.x @ b.p["centroid"].T
    if b.train:
        picks = []
        for g in b.groups:
            part = s.detach()[g.start:g.stop]
            slack = len(g) * b.o.epsilon * float(part.max() - part.min())
            picks += [[e] for e in best_assignment(part, b.margin, slack)]
    else:
        picks = top(b, s, 1)
    return Plan(by_token(picks, torch.sigmoid(s)))


@router(k=1, iterations=30)
def sinkhorn_lm(b):
    z = b.x @ b.p["gate"]
    a = torch.sigmoid(z) if b.o.k == 1 else torch.softmax(z, 1)
    rank = z.detach().clone()
    for g in b.groups if b.train else []:
        part = slice(g.start, g.stop)
        K, v = torch.exp(z.detach()[part]), torch.ones(b.E, dtype=torch.float64)
        for _ in range(b.o.iterations):
            u = 1 / len(g) / (K @ v)
            v = 1 / b.E / (K.T @ u)
        rank[part] += torch.log(v)  # log P but for u, which is the same for all experts
    return Plan(by_token(top(b, rank, b.o.k), a))


@router(key="token", salt=0, table="random", collect=0.05)
def hash_(b):
    ids = b.id if b.V and b.o.key == "token" else b.position
    table, count = b.p["table"], b.p["count"]
    picks = [[int(table[i, 0])] for i in ids]
    plan = Plan()  # the mixing function is not known here
    if min(e for e, in picks) >= 0:
        plan.pairs = by_token(picks, torch.ones(len(ids), b.E))
    if b.load:
        clustered, total = b.o.table == "clustered", b.p.get("total")
        if b.progress < b.o.collect:
            count, total = count.clone(), total.clone() if clustered else None
            for t, i in enumerate(ids):
                count[i] += 1
                if clustered:
                    total[i] += b.x.detach()[t]
        elif (table < 0).all():
            table = (clusters if clustered else lightest)(b, count, total)
        plan.buffers = {"table": table, "count": count, **({"total": total} if clustered else {})}
    return plan


def by_frequency(count):
    return sorted(range(len(count)), key=lambda i: (-float(count[i]), i))


def lightest(b, count, _):
    weight, table = [0.0] * b.E, [0] * len(count)
    for i in by_frequency(count):
        table[i] = min(range(b.E), key=lambda e: (weight[e], e))
        weight[table[i]] += float(count[i])
    return column(table)


def clusters(b, count, total):
    seen = [i for i in range(len(count)) if count[i] > 0]
    point = {i: total[i] / count[i] for i in seen}
    centre = torch.stack([point[i] for i in by_frequency(count)[:b.E]])
    nearest = lambda i: top(b, -((centre - point[i]) ** 2).sum(1)[None], 1)[0][0]
    for _ in range(10):
        owner = {i: nearest(i) for i in seen}
        for e in range(b.E):
            mine = [point[i] for i in seen if owner[i] == e]
            if mine:
                centre[e] = torch.stack(mine).mean(0)
    return column([nearest(i) if i in point else -1 for i in range(len(count))])


@router(pool="sequence", factor=2, rule="softmax", decay=0.99, load_weight=0.01)
def expert_choice_lm(b):
    z = b.x @ b.p["gate"]
    S = torch.softmax(z, 1)
    if b.o.rule == "mesh":
        S = torch.cat([torch.softmax(z[g.start:g.stop], 0) for g in b.groups])
    if b.o.pool == "threshold" and not b.train:
        return Plan(by_token(above(b, S, b.p["cutoff"]), S))
    pool = [list(g) for g in b.groups]
    if b.o.pool == "batch_position":
        pool = [[t for t, p in enumerate(b.position) if p == at] for at in range(max(b.position) + 1)]
    taken = []
    for tokens in pool:
        c = min(math.ceil(b.o.factor * len(tokens) / b.E), len(tokens))
        taken += [(tokens[i], e) for e in range(b.E) for i in largest(S[tokens, e], c, b.margin)]
    m = [sum(u == t for u, _ in taken) for t in range(len(b.x))]
    plan = Plan([(t, e, S[t, e] / (m[t] if b.o.rule == "mesh" else 1)) for t, e in taken])
    if b.o.rule == "mesh":
        plan.aux = losses(b, load=(b.o.load_weight, lambda: pool_mean(
            b, "group", lambda g: len(S[g]) ** 2 * (S[g].mean(1) ** 2).mean())))
    if b.load:
        r = torch.tensor([[kth(S[g.start:g.stop, e], max(1, math.floor(b.o.factor * len(g) / b.E)))
                           for e in range(b.E)] for g in b.groups], dtype=torch.float64).mean(0, keepdim=True)
        plan.buffers = moved(b, r)
    return plan


def moved(b, now):
    """Cutoffs after an update; the first one takes what it sees."""
    cutoff = b.o.decay * b.p["cutoff"] + (1 - b.o.decay) * now if b.p["updates"] > 0 else now
    return {"cutoff": cutoff, "updates": column([1])}


@router(target=1, decay=0.99, gate="sigmoid", warmup=0)
def expert_threshold(b):
    L = b.x @ b.p["gate"]
    r = torch.sigmoid(L) if b.o.gate == "sigmoid" else torch.softmax(L, 1)
    rank = max(1, math.floor(b.o.target * len(r) / b.E))
    q = torch.tensor([[kth(r[:, e], rank) for e in range(b.E)]], dtype=torch.float64)
    if b.train and b.progress < b.o.warmup:
        taken = [largest(r[:, e], rank, b.margin) for e in range(b.E)]
        picks = [[e for e in top(b, r[t:t + 1], b.E)[0] if t in taken[e]] for t in range(len(r))]
    else:
        picks = above(b, r, b.p["cutoff"])
    return Plan(by_token(picks, r), buffers=moved(b, q) if b.load else {})


@router(k=2, score="sigmoid", normalise=True)
def quantile_balancing(b):
    z = b.x @ b.p["gate"]
    s = {"sigmoid": torch.sigmoid, "softmax": lambda z: torch.softmax(z, 1), "logits": lambda z: z}[b.o.score](z)
    price = s.detach() - b.p["beta"]
    picks = top(b, price, b.o.k)
    if b.o.score == "logits":
        w = softmax_over(z, picks)
    else:
        w = share_out(s, picks) if b.o.k > 1 and b.o.normalise else s
    plan = Plan(by_token(picks, w))
    if b.load:
        n = len(s)
        left = s.detach() - column([kth(row, b.o.k + 1) for row in price])
        rank = min(n * b.o.k // b.E + 1, n)
        plan.buffers = {"beta": column([kth(left[:, e], rank) for e in range(b.E)]).T}
    return plan


@router(k=1, decay=1, weight="uniform")
def online_kmeans(b):
    mean, seen = b.p["mean"], b.p["seen"]
    c = unit(b.x) @ unit(mean).T
    picks = top(b, c, b.o.k)
    w = softmax_over(c, picks) if b.o.weight == "softmax" else torch.full_like(c, 1 / b.o.k)
    plan = Plan(by_token(picks, w))
    if b.load:
        M = hot(picks, b.E)
        n, total = M.sum(0)[:, None], M.T @ b.x.detach()
        rate = torch.maximum(n / (seen + n), torch.tensor(1.0 - b.o.decay))
        plan.buffers = {"mean": torch.where(n > 0, mean + rate * (total / n - mean), mean), "seen": seen + n}
    return plan


@router()
def oracle(b):
    return Plan(by_token([[c % b.E] for c in b.cluster], torch.ones(len(b.x), b.E)))


@router(segment=256, first="start")
def lory(b):
    mix = []
    for g in b.sequences:
        parts = [b.x[i:min(i + b.o.segment, g.stop)].mean(0) for i in range(g.start, g.stop, b.o.segment)]
        start = b.p["start"][0] if b.o.first == "start" else parts[0].detach()
        mix += [torch.softmax(u @ b.p["gate"], 0) for u in [start] + parts[:-1]]
    return Plan(dense={"mix": torch.stack(mix)})


# ---- VQMoE ------------------------------------------------------------------------------------------------------

def quantised(b, v):
    """Nearest codes [T] and what the metrics say of them."""
    codes = [c for c, in top(b, -((b.x.detach()[:, None] - v.detach()[None]) ** 2).sum(2), 1)]
    share = hot([[c] for c in codes], len(v)).mean(0)
    used = share[share > 0]
    metric = {"code_perplexity": torch.exp(-(used * torch.log(used)).sum()), "dead_codes": len(v) - len(used),
              "distance": ((b.x - v[codes]).norm(dim=1) / b.x.norm(dim=1)).mean()}
    return codes, metric


def vq_loss(b, v, codes, gradient=True):
    pull = ((v[codes] - b.x.detach()) ** 2).mean() if gradient else 0
    return pull + b.o.beta * ((v[codes].detach() - b.x) ** 2).mean()


def discrete_stage(b):
    """Only the discrete path runs."""
    return b.progress >= b.o.discrete_from and b.o.discrete_from < 1 or not b.train and b.o.evaluation == "discrete"


@router(k=1, codes_per_expert=1, beta=0.25, vq_weight=0.08, balance_weight=0.01, codebook="gradient", ema_decay=0.99,
        reset_below=0, discrete_from=1, freeze=True, evaluation="trained")
def vqmoe_paper(b):
    ema, discrete = b.o.codebook == "ema", discrete_stage(b)
    v = b.p["codes"] if ema or "codes" in b.p and discrete and b.progress >= b.o.discrete_from else b.p["codebook"]
    codes, metric = quantised(b, v)
    q = b.x + (v[codes] - b.x).detach()
    own = [[c % b.E] for c in codes]
    P, rewritten = torch.softmax(b.x @ b.p["gate"], 1), b.o.discrete_from < 1 or b.o.evaluation == "discrete"
    picks, gates = top(b, P, b.o.k), torch.softmax(b.x @ b.p["paths"], 1)
    metric |= {"agreement": sum(a[0] == e[0] for a, e in zip(picks, own)) / len(own)}
    weights = dict(vq=b.o.vq_weight, balance=b.o.balance_weight)
    zero = torch.zeros((), dtype=torch.float64)
    if discrete:
        loss = lambda: zero if b.o.freeze else vq_loss(b, v, codes, not ema)
        plan = Plan(by_token(own, torch.ones_like(P)), expert_x=q, output=0 * q.detach(), metric={
            name: value for name, value in metric.items() if name != "agreement"})
        plan.aux = losses(b, vq=(weights["vq"], loss), balance=(weights["balance"], lambda: zero))
    else:
        plan = Plan(by_choice(picks, gates[:, :1] * P), output=gates[:, 1:] * expert([e for e, in own], q),
                    expert_x=b.x if rewritten else None, metric=metric | {"discrete_gate": gates[:, 1].mean()})
        plan.aux = losses(b, vq=(weights["vq"], lambda: vq_loss(b, v, codes, not ema)),
                          balance=(weights["balance"], lambda: switch_loss(b, picks, P)))
    if b.load and ema:
        still = discrete and b.o.freeze
        N, d, M = b.p["usage"], b.o.ema_decay, hot([[c] for c in codes], len(v))
        n, s = M.mean(0)[:, None], M.T @ b.x.detach() / len(b.x)
        new = ((d * N + 1e-6) * v + (1 - d) * s) / (d * N + 1e-6 + (1 - d) * n)
        plan.buffers = {"codes": v, "usage": N} if still else {"codes": new, "usage": d * N + (1 - d) * n}
    elif b.load:
        plan.buffers = {"codes": b.p["codes"] if discrete else b.p["codebook"].detach()}
    return plan


@router(k=1, codes_per_expert=1, beta=0.25, vq_weight=0.08, balance_weight=0, discrete_from=1, freeze=True,
        evaluation="trained", **{"lambda": 0.05})
def vqmoe_released(b):
    discrete, l = discrete_stage(b), getattr(b.o, "lambda")
    v = b.p["codes"] if "codes" in b.p and discrete and b.progress >= b.o.discrete_from else b.p["codebook"]
    codes, metric = quantised(b, v)
    q = (1 - l) * b.x + l * (v[codes] - b.x).detach()

    def norm(u):
        centred = u - u.mean(1, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-5) * b.p["ln_gain"] + b.p["ln_bias"]

    yd = norm(expert([c % b.E for c in codes], norm(q)))
    L = b.x @ unit(b.p["gate"]).T
    picks, gates = top(b, L, b.o.k), torch.softmax(b.x @ b.p["paths"] + b.p["paths_bias"], 1)
    zero = torch.zeros((), dtype=torch.float64)
    if discrete:
        plan = Plan([], output=yd, metric=metric, aux=losses(
            b, vq=(b.o.vq_weight, lambda: zero if b.o.freeze else vq_loss(b, v, codes)),
            balance=(b.o.balance_weight, lambda: zero)))
    else:
        plan = Plan(by_choice(picks, gates[:, :1] * softmax_over(L, picks)), output=gates[:, 1:] * yd, metric=metric | {
            "discrete_gate": gates[:, 1].mean(),
            "agreement": sum(a[0] == c % b.E for a, c in zip(picks, codes)) / len(codes)}, aux=losses(
                b, vq=(b.o.vq_weight, lambda: vq_loss(b, v, codes)),
                balance=(b.o.balance_weight, lambda: switch_loss(b, picks, torch.softmax(L / 0.3, 1)) / b.o.k)))
    if b.load:
        plan.buffers = {"codes": b.p["codes"] if discrete else b.p["codebook"].detach()}
    return plan


# ---- fixed routers, competition ---------------------------------------------------------------------------------

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
        diversity=(b.o.diversity_weight, lambda: torch.stack(cosines).mean()),
        competition_balance=(b.o.competition_balance_weight, lambda: switch_loss(b, first(picks), A)),
        balance=(b.o.balance_weight, zero), z=(b.o.z_weight, zero)))


# ---- a varying number of experts --------------------------------------------------------------------------------

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


# ---- cases ------------------------------------------------------------------------------------------------------

WANTED = sys.argv[1:]


def case(id, *given, **more):
    return vectors.case(id, *given, **more) if not WANTED or id in WANTED else None


RAGGED = [1, 1, 1, 1, 0, 1, 1, 0, 0]  # mask of groups of 5 and 4


def gated(id, name, options, groups, **more):
    return id, case(id, name, options, groups, {"gate": (more.get("D", 4), more.get("E", 4)), **more.pop("plus", {})},
                    **{"E": 4, **more})


def top_k_cases():
    id, off = "switch_top1", {"jitter": 0}
    yield gated(id, "both losses over the batch", {**off, "balance_weight": 0.5, "z_weight": 0.1}, [7, 3], E=3)
    yield gated(id, "losses of each group, padding", {**off, "pool": "group", "balance_weight": 0.5, "z_weight": 0.1},
                [5, 4], mask=RAGGED)
    yield gated(id, "noise that is added, of no width: its mean is 1", {"jitter": 1e-6, "jitter_form": "add_to_logits",
                "z_weight": 0.1}, [6])
    yield gated(id, "evaluation", {}, [7, 5], phase="score")
    yield gated(id, "several sequences in a group", {**off, "pool": "group", "balance_weight": 0.5}, [3, 4, 3],
                group_sequences=[2, 1])
    id = "gshard_top2"
    yield gated(id, "second choices above the threshold", {"second": "threshold", "threshold": 0.3,
                "second_weight": 0.25, "balance_weight": 0.5}, [6, 4])
    yield gated(id, "divided by what is kept, by gate", {"second": "threshold", "threshold": 0.3, "weights": "kept",
                "order": "gate"}, [6, 4])
    yield gated(id, "raw, in token order, padding", {"second": "all", "weights": "none", "order": "token",
                "pool": "batch", "second_weight": 0.5}, [5, 4], mask=RAGGED)
    yield gated(id, "chances of 1", {"threshold": 0.01}, [6, 4], E=3)
    yield gated(id, "evaluation takes all", {"order": "token"}, [6, 2], phase="score")
    yield gated(id, "evaluation as in training", {"second": "threshold", "evaluate_second": "same", "threshold": 0.3},
                [6, 2], phase="score")
    id = "noisy_top_k"
    yield gated(id, "without noise", {"noise": "none", "importance_weight": 0.5}, [6, 4])
    yield gated(id, "without noise, by group, padding", {"noise": "none", "importance_weight": 0.5, "pool": "group",
                "k": 1}, [5, 4], mask=RAGGED, need=0.01)
    yield gated(id, "noise of no width: loads are counts", {"noise": "fixed", "fixed_std": 1e-6, "load_weight": 0.5},
                [6, 4], need=0.01)
    yield gated(id, "noise of no width, by group", {"noise": "fixed", "fixed_std": 1e-6, "load_weight": 0.5, "k": 3,
                "pool": "group"}, [6, 4], need=0.01)
    yield gated(id, "evaluation with a noise gate", {}, [6, 4], phase="score", plus={"noise_gate": (4, 4)})
    id, loud = "top_k", {"balance_weight": 0.5}
    yield gated(id, "mixtral", {**loud}, [6, 4])
    yield gated(id, "hf_mixtral, padding", {"softmax": "before_top_k", "renormalise": True, "aux_scale": "k", **loud},
                [5, 4], mask=RAGGED)
    yield gated(id, "hf_double_softmax", {"softmax": "before_top_k", "renormalise": True, "aux_scale": "k",
                "aux_softmax": "twice", **loud}, [6, 4])
    yield gated(id, "raw gates and z", {"softmax": "before_top_k", "k": 3, "z_weight": 0.1, **loud}, [6, 4], E=5)
    yield gated(id, "sigmoids over the chosen", {"score": "sigmoid", "renormalise": True, "scale": 2.5, **loud}, [6, 4])
    yield gated(id, "raw sigmoids", {"score": "sigmoid", "bias": True, "order": "choice", **loud}, [6, 4],
                plus={"gate_bias": (1, 4)})
    yield gated(id, "square roots, by gate", {"score": "sqrt_softplus", "renormalise": True, "order": "gate", **loud},
                [6, 4])
    yield gated(id, "first choices by group", {"softmax": "before_top_k", "order": "gate", "aux_choices": "first",
                "pool": "group", **loud}, [6, 4])
    yield gated(id, "one choice, weight 1", {"k": 1, "bias": True, "aux_scale": "inverse_k", **loud}, [6, 4],
                plus={"gate_bias": (1, 4)})
    yield gated(id, "one over k at balance", {"aux_scale": "inverse_k", **loud}, [8])
    yield gated(id, "evaluation of random order", {"order": "random"}, [6, 4], phase="score")
    id = "global_batch_lbl"
    counts = {"buffers": {"count": [[7, 0, 2, 5]]}}
    yield gated(id, "counts of steps before", {**loud}, [6, 4], **counts)
    yield gated(id, "renormalised, padding, z", {"renormalise": True, "z_weight": 0.1, **loud}, [5, 4], mask=RAGGED,
                **counts)
    yield gated(id, "by group", {"pool": "group", "k": 1, **loud}, [6, 4])
    yield gated(id, "counts that start anew", {"accumulation": 3, **loud}, [6, 4], **counts, updates=[
        {"x": True, "step": 0, "kept": [9, 6, 4, 1]}, {"step": 1, "kept": [5, 5, 5, 3], "dropped": [2, 0, 0, 0]},
        {"step": 2, "kept": [5, 5, 5, 5]}, {"step": 3, "kept": [8, 7, 3, 2]}])
    id = "deepseek_moe"
    yield gated(id, "experts and devices", {"expert_weight": 0.5, "device_weight": 0.25, "devices": 2}, [6, 4])
    yield gated(id, "over the batch, padding", {"expert_weight": 0.5, "device_weight": 0.25, "devices": 3, "k": 3,
                "pool": "batch"}, [5, 4], mask=RAGGED, E=6)
    id, start = "deepseek_v3_bias", {"buffers": {"expert_bias": [[0.3, -0.2, 0.1, -0.4]]}}
    loud = {"sequence_weight": 0.5}
    yield gated(id, "sigmoids", {**loud}, [6, 4], **start)
    yield gated(id, "raw softmax, padding", {"score": "softmax", "renormalise": False, "scale": 2.5, **loud}, [5, 4],
                mask=RAGGED, **start)
    groups = {"buffers": {"expert_bias": [[0.3, -0.2, 0.1, -0.4, 0.2, -0.1]]}}
    yield gated(id, "two of three groups", {"groups": 3, "kept_groups": 2, **loud}, [6, 4], E=6, **groups)
    yield gated(id, "one of two groups by its best", {"groups": 2, "kept_groups": 1, "group_best": 1, "k": 3, **loud},
                [6, 4], E=6, **groups)
    yield gated(id, "multiplied", {"rule": "multiplicative", "k": 1, **loud}, [6, 4],
                buffers={"expert_bias": [[1.3, 0.8, 1.1, 0.6]]}, updates=[{"x": True, "kept": [4, 1, 3, 2]}])
    loads = [{"x": True, "kept": [8, 6, 4, 2]}, {"kept": [5, 5, 5, 3], "dropped": [2, 0, 0, 0], "progress": 0.4},
             {"kept": [0, 0, 0, 0], "progress": 0.45}, {"kept": [1, 1, 1, 17], "progress": 0.5}]
    yield gated(id, "signs until half", {"rate": 0.1, "rate_until": 0.5, **loud}, [6, 4], **start, updates=loads)
    yield gated(id, "errors", {"rule": "error", "rate": 0.1, **loud}, [6, 4], **start, updates=loads[:3])
    yield gated(id, "errors over their root mean square, recentred", {"rule": "rms", "rate": 0.1, "recentre": True,
                **loud}, [6, 4], **start, updates=loads[:3])
    yield gated(id, "multiplied, recentred", {"rule": "multiplicative", "rate": 0.1, "recentre": True, **loud}, [6, 4],
                buffers={"expert_bias": [[1.3, 0.8, 1.1, 0.6]]}, updates=loads[:2])
    yield gated(id, "evaluation", {}, [6, 4], phase="score", **start)
    id, loud = "x_moe", {"balance_weight": 0.5}

    def cosines(name, options, groups=(6, 4), E=4, p=2, t=0.3, **more):
        given = {"proj": (4, p), "experts": (E, p)} | ({"temperature": [[t]]} if t else {})
        return id, case(id, name, {**options, **loud}, list(groups), given, E=E, **more)

    yield cosines("paper", {})
    yield cosines("two sigmoids, renormalised, padding", {"gate": "sigmoid", "k": 2, "weights": "renormalised",
                  "projection": 3}, (5, 4), p=3, mask=RAGGED)
    yield cosines("softmax over the chosen", {"k": 2, "weights": "renormalised", "normalise": "experts",
                  "learn_temperature": False, "temperature": 1, "aux_scale": "inverse_k"}, t=None)
    yield cosines("softmaxed twice", {"k": 2, "weights": "double_softmax", "expert_length": 1.5, "projection": 3,
                  "normalise": "both", "aux_choices": "first", "aux_temperature": 0.07}, p=3)
    yield cosines("input only, odd number of experts", {"normalise": "input", "gate": "sigmoid"}, E=5, t=0.7)
    yield cosines("nothing normalised", {"normalise": "none", "projection": 3}, p=3, t=2)
    yield cosines("temperature below its bound", {"gate": "sigmoid", "balance_weight": 0}, p=2, t=0.00001,
                  phase="score")
    id = "round_robin"
    yield id, case(id, "one choice", {}, [7, 5], {})
    yield id, case(id, "two choices, padding", {"k": 2}, [5, 4], {}, E=5, mask=RAGGED)


def table_cases():
    id = "stable_moe"
    def student(name, options, groups, V=6, **more):
        return id, case(id, name, {"student_width": 3, **options}, groups, {
            "centroid": (3, 4), "student_embedding": (V, 3), "student_centroid": (3, 3)},
            vocabulary=V, **{"buffers": {"table": [[0], [2], [1], [1], [0], [2]]},
                             "token_id": [t * t % 6 for t in range(sum(groups))], **more})

    yield student("stage 1", {"balance_weight": 0.5}, [6, 4], progress=0.05)
    yield student("stage 1, padding", {"balance_weight": 0.5}, [5, 4], mask=RAGGED)
    yield student("stage 1, evaluation by the student", {}, [6, 4], phase="score", progress=0.05)
    yield student("stage 2", {}, [6, 4], progress=0.1)
    yield student("stage 2, evaluation", {"stage1": 0.5}, [6, 4], phase="score", progress=0.7)
    steps = [{"x": True, "progress": p, "kept": [4, 3, 3]} for p in (0.05, 0.5)]
    yield student("the table, then nothing", {}, [6, 4], updates=steps)
    id = "base"
    centres = lambda E, D=4: {"centroid": (E, D)}
    yield id, case(id, "one group", {}, [6], centres(3))
    yield id, case(id, "ragged groups", {}, [7, 5], centres(3))
    yield id, case(id, "padding, two sequences in a group", {}, [5, 4, 3], centres(3), group_sequences=[2, 1],
                   mask=RAGGED + [1, 1, 1])
    yield id, case(id, "fewer tokens than experts", {"epsilon": 0.01}, [3, 4], centres(4), E=4)
    # Tokens in order, each to the best that is left: 9 + 3 + 7 + 6. The best total is 8 + 8 + 7 + 6.
    hand = [[9, 8, 1, 2], [8, 3, 2, 1], [2, 5, 1, 7], [7, 1, 6, 4]]
    identity = [[int(i == e) for i in range(4)] for e in range(4)]
    yield id, case(id, "made by hand, 4 tokens for 4 experts", {}, [4], {"centroid": identity}, E=4, fixed_x=hand)
    yield id, case(id, "evaluation", {}, [7, 5], centres(3), phase="score")
    id = "sinkhorn_lm"
    yield gated(id, "one choice", {}, [7, 5], E=3, D=3)
    yield gated(id, "two choices, three rounds, padding", {"k": 2, "iterations": 3}, [5, 4], mask=RAGGED)
    yield gated(id, "evaluation", {"k": 2}, [6, 4], phase="score")
    id, V = "hash", {"vocabulary": 6}
    ids = lambda n, a: [(a * t * t + t) % 5 for t in range(n)]
    full = {"table": [[2], [0], [1], [1], [0], [2]], "count": [[3], [0], [0], [1], [2], [4]]}
    yield id, case(id, "table", {"table": "balanced"}, [7, 5], {}, **V, token_id=ids(12, 1), buffers=full, progress=0.5)
    yield id, case(id, "table, padding, evaluation", {"table": "balanced"}, [5, 4], {}, **V, token_id=ids(9, 2),
                   buffers=full, phase="score", mask=RAGGED)
    yield id, case(id, "positions", {"table": "balanced", "key": "position"}, [6, 4], {}, **V, token_id=ids(10, 2),
                   buffers=full, progress=0.5)
    kept = {"kept": [4, 3, 3]}
    counted = [{"token_id": ids(10, a), "progress": p, **kept} for a, p in ((1, 0), (2, 0.04), (3, 0.05), (4, 0.06))]
    unset = {"table": [[-1]] * 6}
    yield id, case(id, "counting, then the balanced table", {"table": "balanced"}, [6, 4], {}, **V,
                   token_id=ids(10, 1), buffers={**unset, "count": [[3], [2], [0], [1], [2], [4]]}, updates=counted)
    yield id, case(id, "counting without padding", {"table": "balanced", "collect": 0.5}, [5, 4], {}, **V,
                   token_id=ids(9, 1), buffers={**unset, "count": [[1], [1], [1], [1], [1], [1]]}, mask=RAGGED,
                   updates=[{"progress": 0.2, **kept}, {"progress": 0.6, **kept}])
    yield id, case(id, "clusters", {"table": "clustered"}, [6, 4], {}, **V, token_id=ids(10, 1),
                   buffers={**unset, "count": [[3], [2], [0], [1], [2], [4]], "total": (6, 4)},
                   updates=[{**u, "x": True} for u in counted])
    id = "expert_choice_lm"
    yield gated(id, "sequences", {}, [6, 4], E=3, C=6)
    yield gated(id, "less than one expert each, padding", {"factor": 0.7}, [5, 4], C=5, mask=RAGGED)
    yield gated(id, "positions across the batch", {"pool": "batch_position", "factor": 1}, [4, 3, 4], C=4)
    yield gated(id, "mesh", {"rule": "mesh", "load_weight": 0.5}, [6, 4], E=3, C=6)
    yield gated(id, "mesh, padding, two sequences in a group", {"rule": "mesh", "load_weight": 0.5}, [5, 4, 3], C=9,
                group_sequences=[2, 1], mask=RAGGED + [1, 1, 1])
    cut = {"buffers": {"cutoff": [[0.2, 0.3, 0.35, 0.1]], "updates": [[1]]}, "C": 6}
    yield gated(id, "threshold, training", {"pool": "threshold"}, [6, 4], **cut)
    yield gated(id, "threshold, evaluation", {"pool": "threshold"}, [6, 4], phase="score", **cut)
    twice = [{"x": True, "kept": [5, 5, 5, 5]}, {"x": True, "kept": [5, 5, 5, 5]}]
    first_time = {"buffers": {"cutoff": [[0.25] * 4], "updates": [[0]]}, "C": 6}
    yield gated(id, "threshold, updates", {"pool": "threshold", "decay": 0.9, "factor": 1.5}, [6, 4], **first_time,
                updates=twice)
    id = "expert_threshold"
    high = {"buffers": {"cutoff": [[0.6, 0.4, 0.7, 0.5]], "updates": [[1]]}, "C": 6}
    yield gated(id, "sigmoids", {}, [6, 4], **high)
    yield gated(id, "softmax, evaluation", {"gate": "softmax"}, [6, 4], phase="score", **cut)
    yield gated(id, "warm-up, padding", {"warmup": 0.5, "target": 2}, [5, 4], mask=RAGGED, progress=0.2, **high)
    yield gated(id, "after the warm-up", {"warmup": 0.5, "target": 2}, [6, 4], progress=0.5, **high)
    yield gated(id, "updates", {"decay": 0.9, "target": 1.5}, [5, 4], mask=RAGGED, C=6,
                buffers={"cutoff": [[0.5] * 4], "updates": [[0]]}, updates=twice)
    id, beta = "quantile_balancing", {"buffers": {"beta": [[0.2, -0.1, 0.15, 0]]}}
    yield gated(id, "sigmoids", {}, [6, 4], **beta, updates=twice)
    yield gated(id, "softmax, one choice", {"score": "softmax", "k": 1}, [6, 4], **beta, updates=twice)
    yield gated(id, "logits, padding", {"score": "logits"}, [5, 4], mask=RAGGED, **beta, updates=twice)
    yield gated(id, "not normalised, evaluation", {"normalise": False}, [6, 4], phase="score", **beta)
    yield gated(id, "as many as there are tokens", {"k": 3}, [1, 1], **beta, updates=twice)
    inverse = lambda s: [[math.log(v / (1 - v)) for v in row] for row in s]
    yield id, case(id, "the worked case", {"k": 1}, [4], {"gate": [[1, 0], [0, 1]]}, D=2, E=2, need=0,
                   fixed_x=inverse([(.9, .5), (.8, .7), (.7, .2), (.6, .45)]), buffers={"beta": [[0, 0]]},
                   updates=[{"kept": [4, 0]}])
    id, means = "online_kmeans", {"buffers": {"mean": (4, 4), "seen": [[3], [0], [12], [1]]}, "E": 4}
    yield id, case(id, "one choice", {}, [6, 4], {}, **means, updates=twice)
    yield id, case(id, "softmax of two, decay, padding", {"k": 2, "weight": "softmax", "decay": 0.8}, [5, 4], {},
                   mask=RAGGED, **means, updates=twice)
    yield id, case(id, "evaluation", {"k": 2}, [6, 4], {}, phase="score", **means)
    id = "oracle"
    yield id, case(id, "as many experts as clusters", {}, [6, 4], {}, E=4, cluster=[0, 3, 1, 1, 2, 3, 2, 0, 0, 1])
    yield id, case(id, "more clusters, padding", {}, [5, 4], {}, E=3, cluster=[0, 3, 1, 1, 2, 3, 2, 0, 0],
                   mask=RAGGED, phase="score")
    id = "lory"
    yield gated(id, "segments of three", {"segment": 3}, [7, 3, 4], E=3, plus={"start": (1, 4)})
    yield gated(id, "own mean", {"segment": 3, "first": "own_mean"}, [7, 3, 4], E=3)
    yield gated(id, "evaluation, one segment", {}, [6, 4], plus={"start": (1, 4)}, phase="score")


def vq_cases():
    id, loud = "vqmoe_paper", {"vq_weight": 0.5, "balance_weight": 0.5}
    def paper(name, options, groups, C=4, codebook=True, **more):
        return gated(id, name, {**loud, **options}, groups, **more,
                     plus={"paths": (4, 2), **({"codebook": (C, 4)} if codebook else {})})

    yield paper("both paths", {}, [6, 4])
    yield paper("two choices, eight codes, padding", {"k": 2, "codes_per_expert": 2, "beta": 0.5}, [5, 4], C=8,
                mask=RAGGED)
    yield paper("evaluation", {}, [6, 4], phase="score")
    yield paper("evaluation of the discrete path", {"evaluation": "discrete"}, [6, 4], phase="score")
    yield paper("training of both with discrete evaluation", {"evaluation": "discrete"}, [6, 4])
    copy = {"buffers": {"codes": (4, 4)}}
    yield paper("before the discrete stage", {"discrete_from": 0.5}, [6, 4], progress=0.4, **copy, updates=[
        {"x": True, "progress": 0.4, "kept": [3, 3, 2, 2]}, {"progress": 0.5, "kept": [3, 3, 2, 2]}])
    yield paper("discrete stage, frozen codes", {"discrete_from": 0.5}, [5, 4], progress=0.5, mask=RAGGED, **copy)
    yield paper("discrete stage, codes that learn", {"discrete_from": 0.5, "freeze": False}, [6, 4], progress=0.7)
    yield paper("without a router", {"discrete_from": 0, "freeze": False}, [6, 4])
    running = {"codebook": False, "buffers": {"codes": (4, 4), "usage": [[0.1], [0.4], [0.3], [0.2]]}}
    steps = [{"x": True, "kept": [3, 3, 2, 2]}, {"x": True, "kept": [3, 3, 2, 2]}]
    yield paper("running means", {"codebook": "ema", "ema_decay": 0.9}, [6, 4], updates=steps, **running)
    yield paper("running means, eight codes, padding", {"codebook": "ema", "codes_per_expert": 2}, [5, 4],
                mask=RAGGED, updates=steps, codebook=False, buffers={"codes": (8, 4), "usage": [[0.125]] * 8})
    yield paper("running means, discrete stage", {"codebook": "ema", "discrete_from": 0.5}, [6, 4], progress=0.6,
                updates=[{**u, "progress": 0.6} for u in steps[:1]], **running)
    yield paper("running means, discrete stage that learns", {"codebook": "ema", "discrete_from": 0.5,
                "freeze": False}, [6, 4], progress=0.6, updates=[{**u, "progress": 0.6} for u in steps], **running)
    id = "vqmoe_released"
    def released(name, options, groups, C=4, **more):
        return gated(id, name, {"vq_weight": 0.5, **options}, groups, tolerance=5e-5, **more, plus={
            "codebook": (C, 4), "paths": (4, 2), "paths_bias": (1, 2), "ln_gain": (1, 4),
            "ln_bias": (1, 4)})

    yield released("both paths", {}, [6, 4])
    yield released("two choices and the balance loss, padding", {"k": 2, "balance_weight": 0.5, "lambda": 0.3}, [5, 4],
                   mask=RAGGED)
    yield released("eight codes", {"codes_per_expert": 2, "beta": 1}, [6, 4], C=8)
    yield released("code that only selects", {"lambda": 0}, [6, 4])
    yield released("evaluation", {"k": 2}, [6, 4], phase="score")
    yield released("evaluation of the discrete path", {"evaluation": "discrete"}, [6, 4], phase="score")
    yield released("before the discrete stage", {"discrete_from": 0.5}, [6, 4], progress=0.4, **copy, updates=[
        {"x": True, "progress": 0.4, "kept": [3, 3, 2, 2]}, {"progress": 0.5, "kept": [3, 3, 2, 2]}])
    yield released("discrete stage, frozen codes", {"discrete_from": 0.5}, [6, 4], progress=0.5, **copy)
    yield released("discrete stage, codes that learn", {"discrete_from": 0.5, "freeze": False}, [6, 4], progress=0.5)


def other_cases():
    id, fixed = "smoe_dropout", {"buffers": {"gate": (4, 5), "gate_bias": (1, 5)}, "E": 5}
    plain = lambda id, name, options, groups, **more: (id, case(id, name, options, groups, {}, **{**fixed, **more}))
    yield plain(id, "the start: half of them", {}, [6, 4])
    yield plain(id, "halfway, padding: 3.5 is 4", {}, [5, 4], progress=0.5, mask=RAGGED)
    yield plain(id, "the end: all", {}, [6], progress=1)
    yield plain(id, "fewer and fewer", {"k_start": 4, "k_end": 1}, [6, 4], progress=0.5)
    yield plain(id, "evaluation as trained", {}, [6, 4], progress=0.7, phase="score")
    yield plain(id, "evaluation with one", {"k_eval": 1}, [6, 4], progress=0.7, phase="score")
    id = "hyper_router"
    def hyper(name, options, groups, **more):
        h, D, E = 6, 4, 3
        return id, case(id, name, {"hidden": h, **options}, groups, {"embedding": (1, D)}, E=E, **more, buffers={
            "hyper_in": (D, h), "hyper_in_bias": (1, h), "hyper_out": ((h, (D + 1) * E), 0.4),
            "hyper_out_bias": ((1, (D + 1) * E), 0.4)})

    yield hyper("the start", {"k_start": 2}, [6, 4])
    yield hyper("all, padding", {}, [5, 4], progress=0.9, mask=RAGGED)
    yield hyper("evaluation", {"k_eval": 2}, [6, 4], phase="score")
    id, router_steps = "competesmoe", {"rate": 0}
    yield gated(id, "router", {**router_steps, "balance_weight": 0.5, "z_weight": 0.1}, [6, 4])
    yield gated(id, "router in the warm-up, padding", {"rate": 1, "warm_up": 0.5, "balance_weight": 0.5}, [5, 4],
                progress=0.4, mask=RAGGED)
    yield gated(id, "evaluation", {"rate": 1, "warm_up": 0}, [6, 4], phase="score")
    loud = {"rate": 1, "warm_up": 0, "router_weight": 0.5, "diversity_weight": 0.5, "competition_balance_weight": 0.5}
    yield gated(id, "competition", {**loud, "theta": 0.5}, [6, 4])
    yield gated(id, "competition of three, padding", {**loud, "k": 3}, [5, 4], mask=RAGGED)
    id, loud = "dselect_k", {"entropy_weight": 0.5, "reach_weight": 0.25}
    def bits(name, options, E=4, k=2, m=2, groups=(6, 4), **more):
        return id, case(id, name, {"k": k, **loud, **options}, list(groups), {
            "bits": ((4, k * m), 0.25), "bits_bias": ((1, k * m), 0.25), "mix": (4, k), "mix_bias": (1, k)}, E=E, **more)

    yield bits("four experts", {})
    yield bits("six experts, wide band, padding", {"gamma": 3}, E=6, m=3, groups=(5, 4), mask=RAGGED)
    yield bits("three selectors, evaluation", {"gamma": 0.5}, k=3, phase="score")
    yield id, case(id, "static", {"conditioning": "static", **loud}, [6, 4], {"bits": ((1, 6), 0.4), "mix": (1, 2)}, E=5)
    id, start = "remoe", {"buffers": {"lambda": [[0.02]]}}
    yield gated(id, "penalty", {}, [6, 4], **start)
    yield gated(id, "two experts wanted, padding", {"k": 2}, [5, 4], mask=RAGGED, **start)
    yield gated(id, "evaluation", {}, [6, 4], phase="score", **start)
    yield gated(id, "updates", {"multiplier": 1.5}, [6, 4], **start, updates=[
        {"x": True, "kept": [5, 5, 3, 1]}, {"kept": [3, 3, 3, 1]}, {"kept": [3, 2, 2, 1], "dropped": [1, 0, 1, 1]},
        {"kept": [0, 0, 0, 0]}])
    id, loud = "top_p", {"entropy_weight": 0.5, "balance_weight": 0.5}
    yield gated(id, "0.4", {**loud}, [6, 4])
    yield gated(id, "0.8, padding", {"p": 0.8, **loud}, [5, 4], mask=RAGGED, E=5)
    yield gated(id, "0", {"p": 0, **loud}, [6, 4])
    yield gated(id, "all, evaluation", {"p": 1}, [6, 4], phase="score")
    id, loud = "sparsemixer", {"balance_weight": 0.5}
    yield gated(id, "evaluation", {"jitter": 0.3}, [6, 4], phase="score", E=5)
    yield gated(id, "evaluation, two experts", {"jitter": 0.3, "k": 2, "rule": "heun"}, [6, 4], phase="score", E=5)
    yield gated(id, "nothing to draw", {"jitter": 0, **loud}, [6, 4])
    yield gated(id, "nothing to draw, two experts, padding", {"jitter": 0, "k": 2, "rule": "heun", **loud}, [5, 4],
                mask=RAGGED)
    id, loud = "moe_plus_plus", {"balance_weight": 0.5}
    def zero_cost(name, options, groups, constants=2, columns=7, two=False, **more):
        gate = {"gate_in": (4, 8 * columns), "gate_out": ((8 * columns, columns), 0.3)} if two \
            else {"gate": (4, columns)}
        own = {f"mix_{c}": (4, 2) for c in range(constants)} | {f"constant_{c}": (1, 4) for c in range(constants)}
        return id, case(id, name, {**loud, **options}, groups, {**gate, **own}, **more)

    yield zero_cost("raw", {}, [6, 4])
    yield zero_cost("renormalised, padding", {"weights": "renormalised", "k": 3, "tau": 0.5}, [5, 4], mask=RAGGED)
    yield zero_cost("released", {"gate": "two_layer", "weights": "zero_removed", "scale_input": True}, [6, 4], two=True)
    yield zero_cost("scaled logits, more zeros", {"logit_std": 1.5, "weights": "zero_removed", "zeros": 2, "copies": 2,
                    "constants": 1}, [6, 4], constants=1, columns=8)
    yield zero_cost("evaluation", {"scale_input": True}, [6, 4], phase="score")
    id, loud = "null_experts", {"balance_weight": 0.5, "nulls": 3}
    nulls = lambda name, options, groups, N=6, **more: (id, case(
        id, name, {**loud, **options}, groups, {"gate": (4, N)}, **more))
    yield nulls("shared", {}, [6, 4])
    yield nulls("each, three choices, padding", {"balance": "each", "k": 3}, [5, 4], mask=RAGGED)
    yield nulls("none", {"nulls": 0}, [6, 4], N=3)
    yield nulls("evaluation", {"nulls": 5}, [6, 4], N=8, phase="score")


def main():
    cases = {}
    for generator in (top_k_cases, table_cases, vq_cases, other_cases):
        for id, made in generator():
            if made:
                cases.setdefault(id, []).append(made)
    for id, made in cases.items():
        write(id, made)
        print(f"{id}: {len(made)} cases")


if __name__ == "__main__":
    main()
