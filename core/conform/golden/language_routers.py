#!/usr/bin/env python3
"""An independent reference for the language routers: their equations in plain PyTorch, double precision, autograd.

    python3 core/conform/golden/language_routers.py [id ...]        (needs torch and numpy)

writes its cases into plugins/<id>/golden.json; those made by others stay. Run by hand when an equation or a case
changes. It shares no code with the plugins, and was written from the equations in plugins/*/README.md. One function per
router (language_*.py) returns its plan, and what update() leaves in its buffers. Noise is off in every case, by an
option or because evaluation has none; README.md lists what only noise can show.
"""
import math
import sys

sys.dont_write_bytecode = True  # nothing is left beside the sources
import language_tables
import language_top_k
import language_varying
import language_vqmoe
import vectors

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
    below = [[math.log(0.51), math.log(0.49)]] * 9 + [[-20, 20]]  # f = (.9, .1), P = (.459, .541): less than 1
    yield id, case(id, "a balance loss of .934", {**off, "balance_weight": 0.5}, [10], {"gate": [[1, 0], [0, 1]]}, D=2,
                   E=2, fixed_x=below)
    id = "gshard_top2"
    yield gated(id, "second choices above the threshold", {"second": "threshold", "threshold": 0.3,
                "second_weight": 0.25, "balance_weight": 0.5}, [6, 4])
    yield gated(id, "divided by what is kept, by gate", {"second": "threshold", "threshold": 0.3, "weights": "kept",
                "order": "gate"}, [6, 4])
    yield gated(id, "raw, in token order, padding", {"second": "all", "weights": "none", "order": "token",
                "pool": "batch", "second_weight": 0.5}, [5, 4], mask=RAGGED)
    yield gated(id, "chances of 1", {"threshold": 0.01}, [6, 4], E=3)
    yield gated(id, "draws beyond the noise", {"second": "sampling"}, [6, 4], E=3, need=80,
                plus={"gate": ((4, 3), 300)})
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
            **{"vocabulary": V, "buffers": {"table": [[0], [2], [1], [1], [0], [2]]},
                             "token_id": [t * t % 6 for t in range(sum(groups))], **more})

    yield student("stage 1", {"balance_weight": 0.5}, [6, 4], progress=0.05)
    yield student("stage 1, padding", {"balance_weight": 0.5}, [5, 4], mask=RAGGED)
    yield student("stage 1, evaluation by the student", {}, [6, 4], phase="score", progress=0.05)
    yield student("stage 2", {}, [6, 4], progress=0.1)
    yield student("stage 2, evaluation", {"stage1": 0.5}, [6, 4], phase="score", progress=0.7)
    steps = [{"x": True, "progress": p, "kept": [4, 3, 3]} for p in (0.05, 0.5)]
    yield student("positions for ids", {}, [6, 4], V=6, vocabulary=0, progress=0.05)
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
    many = {**V, "vocabulary": 12, "buffers": {"table": [[-1]] * 12, "count": [[3], [2], [0], [1], [2]] + [[0]] * 7}}
    yield id, case(id, "the balanced table, ids that never came", {"table": "balanced"}, [6, 4], {}, **many,
                   token_id=ids(10, 1), updates=[{"progress": 0.1, **kept}])
    yield id, case(id, "clusters, an id that never came", {"table": "clustered"}, [6, 4], {}, **V, token_id=ids(10, 1),
                   buffers={**unset, "count": [[3], [2], [2], [1], [2], [0]], "total": (6, 4)},
                   updates=[{"progress": 0.1, "x": True, **kept}])
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
    yield gated(id, "padding, a segment of nothing else", {"segment": 2}, [5, 4], mask=RAGGED, E=3,
                plus={"start": (1, 4)})
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
    yield gated(id, "competition of one", {**loud, "k": 1}, [6, 4])
    yield gated(id, "competition of three, padding", {**loud, "k": 3}, [5, 4], mask=RAGGED)
    id, loud = "dselect_k", {"entropy_weight": 0.5, "reach_weight": 0.25}
    def bits(name, options, E=4, k=2, m=2, groups=(6, 4), **more):
        return id, case(id, name, {"k": k, **loud, **options}, list(groups), {
            "bits": ((4, k * m), 0.25), "bits_bias": ((1, k * m), 0.25), "mix": (4, k), "mix_bias": (1, k)},
                        E=E, **more)

    yield bits("four experts", {})
    yield bits("six experts, wide band, padding", {"gamma": 3}, E=6, m=3, groups=(5, 4), mask=RAGGED)
    yield bits("three selectors, evaluation", {"gamma": 0.5}, k=3, phase="score")
    yield id, case(id, "static", {"conditioning": "static", **loud}, [6, 4],
                   {"bits": ((1, 6), 0.4), "mix": (1, 2)}, E=5)
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
        vectors.write(id, made)
        print(f"{id}: {len(made)} cases")


if __name__ == "__main__":
    main()
