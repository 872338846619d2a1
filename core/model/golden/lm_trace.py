#!/usr/bin/env python3
"""Golden traces for golden_test.cc: 20 AdamW steps of a tiny language model, computed by PyTorch.

Two models that have nothing optional in common: "lm_gpt" (LayerNorm, learned positions, GELU, tied head, biases, dense) and
"lm_llama" (RMSNorm, rotary positions, SwiGLU, a head of its own, no biases, block 1 routed by softmax token choice with two
of four experts beside one shared expert). Weights and batches are fp32 numbers drawn here and written as safetensors; the
steps run in fp64. Kept per step: loss (before the step) and the global L2 norm of the gradient.

Run by hand, in this folder:  python3 lm_trace.py
Needs torch and numpy. Writes lm_batches.safetensors, CASE.safetensors and trace_CASE.json.
"""
import json
import math
import platform

import numpy as np
import torch
import torch.nn.functional as F

from trace import write_safetensors

VOCABULARY, CONTEXT, WIDTH, DEPTH, HEADS, HIDDEN = 13, 12, 16, 2, 2, 24
EXPERTS, EXPERT_HIDDEN, SHARED, K, BATCH, STEPS = 4, 12, 1, 2, 4, 20
LR, DECAY, BETAS, EPS, NORM_EPS = 3e-3, 0.05, (0.9, 0.999), 1e-8, 1e-5
ROUTED = 1  # the block whose FFN is routed in lm_llama
HEAD_DIM = WIDTH // HEADS


def draw_weights(case, rng):
    w = {}
    gpt = case == "lm_gpt"

    def kernel(name, *shape):
        w[name] = 0.3 * rng.standard_normal(shape)

    def small(name, *shape, mean=0.0):  # biases and gains away from 0 and 1, so that their part shows
        w[name] = mean + 0.1 * rng.standard_normal(shape)

    def norm(name):
        small(name + ".g", WIDTH, mean=1.0)
        if gpt:
            small(name + ".b", WIDTH)

    def linear(name, suffix, n_in, n_out, *lead):
        kernel(f"{name}w{suffix}", *lead, n_in, n_out)
        if gpt:
            small(f"{name}b{suffix}", *lead, n_out)

    def mlp(name, hidden, *lead):  # SwiGLU: gate and up side by side
        linear(name + ".", "1", WIDTH, hidden if gpt else 2 * hidden, *lead)
        linear(name + ".", "2", hidden, WIDTH, *lead)

    kernel("embedding", VOCABULARY, WIDTH)
    if gpt:
        kernel("position", CONTEXT, WIDTH)
    for layer in range(DEPTH):
        block = f"block{layer}"
        norm(block + ".ln1")
        linear(block + ".attn.qkv.", "", WIDTH, 3 * WIDTH)
        linear(block + ".attn.proj.", "", WIDTH, WIDTH)
        norm(block + ".ln2")
        if gpt or layer != ROUTED:
            mlp(block + ".mlp", HIDDEN)
            continue
        mlp(block + ".moe.experts", EXPERT_HIDDEN, EXPERTS)
        mlp(block + ".moe.shared", SHARED * EXPERT_HIDDEN)
        kernel(block + ".moe.router.gate", WIDTH, EXPERTS)
    norm("ln")
    if not gpt:
        kernel("head.w", VOCABULARY, WIDTH)
    return {name: value.astype(np.float32) for name, value in w.items()}


def norm(w, name, x):
    if name + ".b" in w:
        return F.layer_norm(x, (WIDTH,), w[name + ".g"], w[name + ".b"], NORM_EPS)
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + NORM_EPS) * w[name + ".g"]


def rotate(x):  # [B, heads, S, head_dim]; channel i goes with channel i + head_dim / 2
    half = HEAD_DIM // 2
    angle = torch.outer(torch.arange(x.shape[2], dtype=torch.float64),
                        10000.0 ** (-2 * torch.arange(half, dtype=torch.float64) / HEAD_DIM))
    turned = torch.view_as_complex(torch.stack((x[..., :half], x[..., half:]), -1)) * torch.polar(
        torch.ones_like(angle), angle)
    return torch.cat((turned.real, turned.imag), -1)


def attention(w, name, x, rotary):
    b, s, d = x.shape
    qkv = x @ w[name + ".qkv.w"] + w.get(name + ".qkv.b", 0)
    q, k, v = qkv.reshape(b, s, 3, HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4)
    if rotary:
        q, k = rotate(q), rotate(k)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).reshape(b, s, d) @ w[name + ".proj.w"] + w.get(name + ".proj.b", 0)


def swiglu(x, w1, w2):
    gate, up = (x @ w1).chunk(2, -1)
    return (F.silu(gate) * up) @ w2


def routed(w, site, x, margins):
    gate = torch.softmax(x @ w[site + ".router.gate"], -1)
    ranked = gate.sort(-1, descending=True).values
    margins.append((ranked[..., K - 1] - ranked[..., K]).min().item())
    keep = gate >= ranked[..., K - 1:K]
    y = swiglu(x, w[site + ".shared.w1"], w[site + ".shared.w2"])
    for e in range(EXPERTS):
        out = swiglu(x, w[site + ".experts.w1"][e], w[site + ".experts.w2"][e])
        y = y + (gate[..., e] * keep[..., e])[..., None] * out
    return y


def forward(case, w, token, margins):
    x = w["embedding"][token]
    if "position" in w:
        x = x + w["position"]
    for layer in range(DEPTH):
        block = f"block{layer}"
        x = x + attention(w, block + ".attn", norm(w, block + ".ln1", x), case == "lm_llama")
        h = norm(w, block + ".ln2", x)
        if case == "lm_gpt":
            u = F.gelu(h @ w[block + ".mlp.w1"] + w[block + ".mlp.b1"], approximate="tanh")
            x = x + u @ w[block + ".mlp.w2"] + w[block + ".mlp.b2"]
        elif layer != ROUTED:
            x = x + swiglu(h, w[block + ".mlp.w1"], w[block + ".mlp.w2"])
        else:
            x = x + routed(w, block + ".moe", h, margins)
    return norm(w, "ln", x) @ w.get("head.w", w["embedding"]).T


def has_decay(name):
    return name.rsplit(".", 1)[-1] not in ("b", "b1", "b2", "g")


def trace(case, tokens, targets):
    drawn = draw_weights(case, np.random.default_rng(2024))
    write_safetensors(f"{case}.safetensors", drawn)
    w = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in drawn.items()}
    optimiser = torch.optim.AdamW(
        [{"params": [t for n, t in w.items() if has_decay(n)], "weight_decay": DECAY},
         {"params": [t for n, t in w.items() if not has_decay(n)], "weight_decay": 0.0}], lr=LR, betas=BETAS, eps=EPS)
    losses, norms, margins = [], [], []
    for step in range(STEPS):
        optimiser.zero_grad()
        logits = forward(case, w, torch.tensor(tokens[step]), margins)
        loss = F.cross_entropy(logits.reshape(-1, VOCABULARY), torch.tensor(targets[step]).reshape(-1), ignore_index=-1)
        loss.backward()
        losses.append(loss.item())
        norms.append(math.sqrt(sum((t.grad**2).sum().item() for t in w.values())))
        optimiser.step()
    gpt = case == "lm_gpt"
    record = {
        "case": case, "command": "python3 lm_trace.py",
        "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0], "numpy": np.__version__},
        "model": {"vocabulary": VOCABULARY, "context": CONTEXT, "width": WIDTH, "depth": DEPTH, "heads": HEADS,
                  "hidden": HIDDEN, "experts": EXPERTS, "expert_hidden": EXPERT_HIDDEN, "shared_experts": 0 if gpt else SHARED,
                  "routed_layers": [] if gpt else [ROUTED], "k": K},
        "optimiser": {"lr": LR, "weight_decay": DECAY, "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS, "batch": BATCH,
                      "steps": STEPS},
        "loss": losses, "grad_norm": norms,
    }
    if margins:  # how far the nearest token is from changing sides; fp32 error must stay well below
        record["smallest_gate_margin"] = min(margins)
    with open(f"trace_{case}.json", "w") as out:
        json.dump(record, out, indent=1)
        out.write("\n")
    print(f"{case}: loss {losses[0]:.6f} -> {losses[-1]:.6f}, gradient norm {norms[0]:.6f} -> {norms[-1]:.6f}",
          f"margin {min(margins):.2e}" if margins else "")


def main():
    rng = np.random.default_rng(7)
    tokens = rng.integers(0, VOCABULARY, (STEPS, BATCH, CONTEXT))
    targets = np.where(rng.random(tokens.shape) < 0.2, -1, (tokens * 3 + np.roll(tokens, 1, -1)) % VOCABULARY)
    write_safetensors("lm_batches.safetensors", {"token": tokens.astype(np.float32), "target": targets.astype(np.float32)})
    for case in ("lm_gpt", "lm_llama"):
        trace(case, tokens, targets)


if __name__ == "__main__":
    main()
