"""What the language routers of this reference share: choices, lists, losses.

b: x [T, D] without padding, groups and sequences (ranges of tokens), lengths (of sequences, with padding), position,
id, cluster (lists), V vocabulary,
E experts, o options, p tensors, train, step, progress, load (offered [E], tokens), margin (see vectors.py).
picks: for each token a list of experts, best first. w, s, P: [T, E].
"""
import math

import torch

from transports import largest


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
