#!/usr/bin/env python3
"""Golden traces for golden_test.cc: 20 AdamW steps of a tiny ViT, computed by PyTorch.

Three models from the same rules: dense, softmax expert choice (Zhou et al. 2022) and Soft MoE (Puigcerver et al. 2024) in
block 1. Weights and batches are fp32 numbers drawn here and written as safetensors; the steps run in fp64, so the trace
has no rounding of its own. Kept per step: loss (before the step) and the global L2 norm of the gradient.

Run by hand, in this folder:  python3 trace.py
Needs torch and numpy. Writes batches.safetensors, CASE.safetensors and trace_CASE.json.
"""
import json
import math
import platform
import struct

import numpy as np
import torch
import torch.nn.functional as F

IMAGE, CHANNELS, PATCH, WIDTH, DEPTH, HEADS, HIDDEN, CLASSES = 8, 3, 2, 16, 2, 2, 32, 10
EXPERTS, EXPERT_HIDDEN, BATCH, STEPS = 4, 16, 4, 20
TOKENS = (IMAGE // PATCH) ** 2
LR, DECAY, BETAS, EPS, SMOOTHING = 3e-3, 0.05, (0.9, 0.999), 1e-8, 0.1
CAPACITY_FACTOR = {"softmax_expert_choice": 1.5, "soft_moe": 1.0}
ROUTED = 1  # the block whose FFN is routed


def capacity(case):
    return round(TOKENS * CAPACITY_FACTOR[case] / EXPERTS)


def draw_weights(case, rng):
    w = {}

    def kernel(name, *shape, fan_in=None):
        w[name] = rng.standard_normal(shape) / math.sqrt(fan_in or shape[-2])

    def small(name, *shape, mean=0.0):  # biases and gains away from 0 and 1, so that their part shows
        w[name] = mean + 0.1 * rng.standard_normal(shape)

    def norm(name):
        small(name + ".g", WIDTH, mean=1.0)
        small(name + ".b", WIDTH)

    pixels = CHANNELS * PATCH * PATCH
    kernel("patch.w", pixels, WIDTH)
    small("patch.b", WIDTH)
    small("position", TOKENS, WIDTH)
    for layer in range(DEPTH):
        block = f"block{layer}"
        norm(block + ".ln1")
        kernel(block + ".attn.qkv.w", WIDTH, 3 * WIDTH)
        small(block + ".attn.qkv.b", 3 * WIDTH)
        kernel(block + ".attn.proj.w", WIDTH, WIDTH)
        small(block + ".attn.proj.b", WIDTH)
        norm(block + ".ln2")
        if case == "dense" or layer != ROUTED:
            kernel(block + ".mlp.w1", WIDTH, HIDDEN)
            small(block + ".mlp.b1", HIDDEN)
            kernel(block + ".mlp.w2", HIDDEN, WIDTH)
            small(block + ".mlp.b2", WIDTH)
            continue
        site = block + ".moe"
        kernel(site + ".experts.w1", EXPERTS, WIDTH, EXPERT_HIDDEN)
        small(site + ".experts.b1", EXPERTS, EXPERT_HIDDEN)
        kernel(site + ".experts.w2", EXPERTS, EXPERT_HIDDEN, WIDTH)
        small(site + ".experts.b2", EXPERTS, WIDTH)
        if case == "softmax_expert_choice":
            kernel(site + ".router.gate", WIDTH, EXPERTS)
        else:
            kernel(site + ".router.phi", EXPERTS * capacity(case), WIDTH, fan_in=WIDTH)
            w[site + ".router.scale"] = np.full((1, 1), 2.0)
    norm("ln")
    kernel("head.w", WIDTH, CLASSES)
    small("head.b", CLASSES)
    return {name: value.astype(np.float32) for name, value in w.items()}


def write_safetensors(path, tensors):
    header, blobs, at = {}, [], 0
    for name, value in tensors.items():
        blob = np.ascontiguousarray(value, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def layer_norm(w, name, x):
    return F.layer_norm(x, (WIDTH,), w[name + ".g"], w[name + ".b"], 1e-6)


def attention(w, name, x):
    b, s, d = x.shape
    q, k, v = (x @ w[name + ".qkv.w"] + w[name + ".qkv.b"]).reshape(b, s, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
    p = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(d // HEADS), -1)
    return (p @ v).transpose(1, 2).reshape(b, s, d) @ w[name + ".proj.w"] + w[name + ".proj.b"]


def mlp(x, w1, b1, w2, b2):
    return F.gelu(x @ w1 + b1, approximate="tanh") @ w2 + b2


def expert_mlps(w, site, x):  # x [B, E, rows, D]
    t = [w[f"{site}.experts.{n}"] for n in ("w1", "b1", "w2", "b2")]
    return mlp(x, t[0], t[1][:, None, :], t[2], t[3][:, None, :])


def expert_choice(w, site, x, margins):
    b, _, d = x.shape
    c = capacity("softmax_expert_choice")
    gate = torch.softmax(x @ w[site + ".router.gate"], -1)  # [B, S, E]: over experts
    score, token = torch.sort(gate.transpose(1, 2), dim=-1, descending=True, stable=True)  # [B, E, S]
    margins.append((score[..., c - 1] - score[..., c]).min().item())
    score, token = score[..., :c], token[..., :c]
    index = token.reshape(b, -1, 1).expand(-1, -1, d)
    y = expert_mlps(w, site, x.gather(1, index).reshape(b, EXPERTS, c, d)) * score[..., None]
    return torch.zeros_like(x).scatter_add(1, index, y.reshape(b, -1, d))


def soft_moe(w, site, x):
    b, _, d = x.shape
    unit = lambda t: t * torch.rsqrt((t * t).sum(-1, keepdim=True) + 1e-6)
    logits = unit(x) @ (w[site + ".router.scale"] * unit(w[site + ".router.phi"])).T  # [B, S, E * P]
    slots = torch.softmax(logits, 1).transpose(1, 2) @ x
    y = expert_mlps(w, site, slots.reshape(b, EXPERTS, -1, d)).reshape(b, -1, d)
    return torch.softmax(logits, 2) @ y


def forward(case, w, images, margins):
    x = F.unfold(images, PATCH, stride=PATCH).transpose(1, 2)  # patch row: channel, row, column
    x = x @ w["patch.w"] + w["patch.b"] + w["position"]
    for layer in range(DEPTH):
        block = f"block{layer}"
        x = x + attention(w, block + ".attn", layer_norm(w, block + ".ln1", x))
        h = layer_norm(w, block + ".ln2", x)
        if case == "dense" or layer != ROUTED:
            x = x + mlp(h, *(w[f"{block}.mlp.{n}"] for n in ("w1", "b1", "w2", "b2")))
        elif case == "softmax_expert_choice":
            x = x + expert_choice(w, block + ".moe", h, margins)
        else:
            x = x + soft_moe(w, block + ".moe", h)
    return layer_norm(w, "ln", x).mean(1) @ w["head.w"] + w["head.b"]


def has_decay(name):
    return name != "position" and name.rsplit(".", 1)[-1] not in ("b", "b1", "b2", "g")


def trace(case, images, labels):
    drawn = draw_weights(case, np.random.default_rng(2024))
    write_safetensors(f"{case}.safetensors", drawn)
    w = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in drawn.items()}
    optimiser = torch.optim.AdamW(
        [{"params": [t for n, t in w.items() if has_decay(n)], "weight_decay": DECAY},
         {"params": [t for n, t in w.items() if not has_decay(n)], "weight_decay": 0.0}], lr=LR, betas=BETAS, eps=EPS)
    losses, norms, margins = [], [], []
    for step in range(STEPS):
        optimiser.zero_grad()
        logits = forward(case, w, torch.tensor(images[step], dtype=torch.float64), margins)
        loss = F.cross_entropy(logits, torch.tensor(labels[step]), label_smoothing=SMOOTHING)
        loss.backward()
        losses.append(loss.item())
        norms.append(math.sqrt(sum((t.grad**2).sum().item() for t in w.values())))
        optimiser.step()
    record = {
        "case": case, "command": "python3 trace.py",
        "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0], "numpy": np.__version__},
        "model": {"image": IMAGE, "channels": CHANNELS, "patch": PATCH, "width": WIDTH, "depth": DEPTH, "heads": HEADS,
                  "hidden": HIDDEN, "classes": CLASSES, "experts": EXPERTS, "expert_hidden": EXPERT_HIDDEN,
                  "routed_layers": [] if case == "dense" else [ROUTED],
                  "capacity_factor": CAPACITY_FACTOR.get(case, 1.0)},
        "optimiser": {"lr": LR, "weight_decay": DECAY, "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS,
                      "smoothing": SMOOTHING, "batch": BATCH, "steps": STEPS},
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
    labels = rng.integers(0, CLASSES, (STEPS, BATCH))
    means = rng.standard_normal((CLASSES, CHANNELS, IMAGE, IMAGE))
    images = (means[labels] + rng.standard_normal((STEPS, BATCH, CHANNELS, IMAGE, IMAGE))).astype(np.float32)
    write_safetensors("batches.safetensors", {"images": images, "labels": labels.astype(np.float32)})
    for case in ("dense", "softmax_expert_choice", "soft_moe"):
        trace(case, images, labels)


if __name__ == "__main__":
    main()
