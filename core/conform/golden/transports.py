"""The iterative transports behind three routers, in double precision, each held against a second method.

One group of m tokens and n experts at a time; S and L are [m, n] tensors. No gradient passes through a transport: the
routers use it to select and take their weights from a softmax. Sources: the equations in plugins/*/README.md (Sinkhorn;
k-sparse projection of Kyrillidis et al. 2013 in the semi-dual of Liu et al. 2023; Dykstra's algorithm for Kullback-
Leibler projections, Benamou et al. 2015).
"""
import itertools
import math

import torch


class Margin:
    """How far the nearest discrete decision was from going the other way; float rounding must not reach that far."""

    def __init__(self):
        self.nearest = math.inf

    def note(self, distance):
        self.nearest = min(self.nearest, abs(float(torch.as_tensor(distance).detach())))


def largest(scores, count, margin, exact=()):
    """Indices of the `count` largest, descending, ties to the lower. Values in `exact` tie in any precision."""
    s = scores.tolist()
    order = sorted(range(len(s)), key=lambda i: (-s[i], i))
    for a, b in zip(order[:count], order[1:]):
        if not (s[a] == s[b] and s[a] in exact):
            margin.note(s[a] - s[b])
    return order[:count]


def sinkhorn(L, iterations):
    """Plan of exp(L) with row sums 1 and column sums m/n: columns first, rows last."""
    m, n = L.shape
    K = torch.exp(L - L.max())
    u = torch.ones(m, dtype=L.dtype)
    for _ in range(iterations):
        v = (m / n) / (K.T @ u)
        u = 1 / (K @ v)
    return u[:, None] * K * v[None, :]


def sparse_simplex(z, k, margin):
    """Nearest point of the probability simplex with at most k non-zeros; the others are exactly 0."""
    keep = largest(z, k, Margin())
    w = z[keep]
    if k < len(z):
        margin.note(w[-1] - torch.topk(z, k + 1).values[-1])
    mean = torch.cumsum(w, 0) / torch.arange(1, k + 1)
    rho = max(r for r in range(1, k + 1) if 1 / r + w[r - 1] - mean[r - 1] > 0)
    tau = (w[:rho].sum() - 1) / rho
    p = torch.zeros_like(z)
    p[keep] = torch.clamp(w - tau, min=0)
    return p


def sparse_transport(S, k, gamma, iterations, lr, margin, history=None):
    """Minimises -<P,S> + gamma/2 |P|^2 with column sums m/n, at most k non-zeros a column, row sums 1 as far as
    `iterations` Adam steps on the semi-dual get. The order of operations:

      1. alpha = 0 [m], Adam's moments 0.
      2. i = 1..iterations: g = P(alpha) 1 - 1, the gradient of the semi-dual, which is convex and is minimised.
         Stop if |g|_2 <= 1e-3, before the step. Then alpha -= lr * first / (sqrt(second) + 1e-8), both moments with
         bias correction: the price falls where a token is picked too much, and rises by lr where nobody picks it.
      3. P from the last alpha, after the last step.
    """
    m, n = S.shape
    b, k = m / n, min(k, m)

    def plan(alpha):
        columns = [b * sparse_simplex((alpha + S[:, e]) / (gamma * b), k, margin) for e in range(n)]
        return torch.stack(columns, dim=1)

    alpha, first, second = (torch.zeros(m, dtype=S.dtype) for _ in range(3))
    for i in range(1, iterations + 1):
        g = plan(alpha).sum(1) - 1
        if i == 1:
            margin.note(g.abs().min())  # Adam's first steps take the sign of it
        margin.note(g.norm() - 1e-3)
        if g.norm() <= 1e-3:
            break
        first = 0.9 * first + 0.1 * g
        second = 0.999 * second + 0.001 * g * g
        alpha = alpha - lr * (first / (1 - 0.9**i)) / (torch.sqrt(second / (1 - 0.999**i)) + 1e-8)
        if history is not None:
            history.append((g, alpha))
    return plan(alpha)


def capped_transport(S, C, cap, entropy, iterations, margin):
    """Maximises <S,A> + entropy H(A) with column sums min(C, m), row sums <= cap, A <= 1. Dykstra's alternating
    Kullback-Leibler projections on a = log A, `iterations` rounds of

      1. column sums = C: a shift per column. An affine set needs no correction.
      2. row sums <= cap: give the row its last correction back, shift down by what is too much, keep that.
      3. A <= 1: the same, entry by entry.

    It ends on step 3: a full entry is exactly 1, and column sums hold only in the limit. Returns log A: a small entropy
    leaves most entries below the smallest number, and those too have an order that selection needs.
    """
    C = min(C, S.shape[0])
    a = S / entropy
    row = torch.zeros(S.shape[0], 1, dtype=S.dtype)
    box = torch.zeros_like(S)
    for _ in range(iterations):
        a = a + math.log(C) - torch.logsumexp(a, 0, keepdim=True)
        a = a + row
        row = torch.clamp(torch.logsumexp(a, 1, keepdim=True) - math.log(cap), min=0)
        a = a - row + box
        box = torch.clamp(a, min=0)
        nearest = a.abs().min()
        a = torch.clamp(a, max=0)
    margin.note(nearest)  # full, or not
    return a


# ---- second methods ---------------------------------------------------------------------------------------------


def sinkhorn_by_logs(L, iterations):
    m, n = L.shape
    f = torch.zeros(m, 1, dtype=L.dtype)
    for _ in range(iterations):
        h = math.log(m / n) - torch.logsumexp(L + f, 0, keepdim=True)
        f = -torch.logsumexp(L + h, 1, keepdim=True)
    return torch.exp(L + f + h)


def root(decreasing, size=1):
    low, high = torch.full((size,), -100.0, dtype=torch.float64), torch.full((size,), 100.0, dtype=torch.float64)
    for _ in range(60):
        middle = (low + high) / 2
        above = decreasing(middle) > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return low


def sparse_simplex_by_supports(z, k):
    """Tries every support; on one, the simplex projection by bisection on its threshold."""
    best = None
    for support in itertools.combinations(range(len(z)), k):
        p, w = torch.zeros_like(z), z[list(support)]
        tau = root(lambda t: torch.clamp(w - t, min=0).sum() - 1)
        p[list(support)] = torch.clamp(w - tau, min=0)
        if best is None or (p - z).norm() < (best - z).norm() - 1e-12:
            best = p
    return best


def capped_by_bisection(S, C, cap, entropy, rounds):
    """The optimum is min(1, exp((S - f_e - y_t) / entropy)) with y >= 0: solves the columns and the rows in turn."""
    m, n = S.shape
    share = lambda f, y: torch.clamp(torch.exp((S - f[None, :] - y[:, None]) / entropy), max=1)
    y = torch.zeros(m, dtype=S.dtype)
    for _ in range(rounds):
        f = root(lambda f: share(f, y).sum(0) - C, n)
        y = torch.clamp(root(lambda y: share(f, y).sum(1) - cap, m), min=0)
    return share(f, y)


def semi_dual(alpha, S, k, gamma):
    m, n = S.shape
    b, total = m / n, -alpha.sum()
    for e in range(n):
        p = sparse_simplex((alpha + S[:, e]) / (gamma * b), k, Margin())
        total = total + b * ((p * (alpha + S[:, e])).sum() - gamma * b / 2 * ((p * p).sum() - 1))
    return total


def check():
    """Asserts that the definitions above agree with the second methods."""
    torch.manual_seed(1)
    margin = Margin()
    for std in (0.5, 3.0):
        L = std * torch.randn(9, 4, dtype=torch.float64)
        for iterations in (1, 20):
            assert torch.allclose(sinkhorn(L, iterations), sinkhorn_by_logs(L, iterations), atol=1e-12)
    for k in (1, 2, 3, 6):
        for _ in range(20):
            z = torch.randn(6, dtype=torch.float64)
            assert torch.allclose(sparse_simplex(z, k, margin), sparse_simplex_by_supports(z, k), atol=1e-9)

    S = torch.softmax(torch.randn(8, 4, dtype=torch.float64) + torch.tensor([1.0, 0, 0, 0]), 1)
    alpha, step, k = 0.1 * torch.randn(8, dtype=torch.float64), 1e-6, 3
    for t in range(8):
        d = step * torch.eye(8, dtype=torch.float64)[t]
        slope = (semi_dual(alpha + d, S, k, 1.0) - semi_dual(alpha - d, S, k, 1.0)) / (2 * step)
        columns = [2 * sparse_simplex((alpha + S[:, e]) / 2, k, margin) for e in range(4)]
        assert abs(slope - (sum(columns)[t] - 1)) < 1e-6, "the gradient is P 1 - 1"
    history = []
    P = sparse_transport(S, 2, 1.0, 20, 0.01, margin, history)
    assert torch.allclose(P.sum(0), torch.full((4,), 2.0, dtype=torch.float64)) and (P > 0).sum(0).max() <= 2
    g, alpha = history[0]
    assert (alpha[g > 0] < 0).all() and (alpha[g < 0] > 0).all(), "prices fall where tokens are picked too much"
    dense = sparse_transport(S, 8, 1.0, 500, 0.01, margin)
    assert (dense.sum(1) - 1).abs().max() < 1e-3, "with k = m the rows are reached too"

    A, B = torch.exp(capped_transport(S, 4, 2, 0.1, 5000, margin)), capped_by_bisection(S, 4, 2, 0.1, 300)
    assert torch.allclose(A, B, atol=1e-7), (A - B).abs().max()
    assert (A.sum(0) - 4).abs().max() < 1e-7 and A.sum(1).max() < 2 + 1e-7 and A.max() <= 1
    assert (A.sum(1) > 2 - 1e-6).any() and (A == 1).any(), "both inequalities bind in this check"
