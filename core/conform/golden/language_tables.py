"""Routers that solve an assignment, keep a table or a running mean. Names as in language_shared.py."""
import math

import torch

from language_shared import top, above, by_token, hot, softmax_over, share_out, pool_mean, losses, unit, kth, column
from transports import largest
from vectors import Plan, router


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
        balance = torch.stack([(n[e] - m) / m * a[t, e] for t, e in enumerate(teacher)]).mean()
        distill = -torch.log_softmax(q, 1)[range(len(q)), teacher].mean()
        plan.aux = {"balance": (b.o.balance_weight, balance if stage1 else zero),
                    "distill": (b.o.distill_weight, distill if stage1 else zero)}
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
    for g, length in zip(b.sequences, b.lengths):
        rows = [[t for t in g if b.position[t] // b.o.segment == r] for r in range(math.ceil(length / b.o.segment))]
        parts = [b.x[tokens].mean(0) for tokens in rows]
        start = b.p["start"][0] if b.o.first == "start" else parts[0].detach()
        mix += [torch.softmax(u @ b.p["gate"], 0) for u in [start] + parts[:-1]]
    return Plan(dense={"mix": torch.stack(mix)})
