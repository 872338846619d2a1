"""VQMoE, as described and as released. Names as in language_shared.py."""
import torch

from language_shared import top, by_token, by_choice, hot, softmax_over, switch_loss, losses, unit, expert
from vectors import Plan, router


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
