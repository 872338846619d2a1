// How a router says who goes where: the plan functions. Every route() ends with exactly one of them.
//
//   assign              token choice: each row's top-k experts, in priority order
//   assign_weighted     the same with weights from a matrix of their own
//   assign_top_tokens   expert choice: each expert's top-C tokens of each group
//   dense               dispatch and combine matrices over E*P slots
//   merge               mixing weights over expert parameters
#pragma once
#include "core/sdk/maths.h"

namespace swy {

struct TopK {    // of each row, descending, ties to the lower column
  Tensor index;  // [m, k] integers
  Tensor value;  // [m, k]; empty = every choice weighs 1/k
};

// The k largest columns of each row; the gradient of a value goes to the column it came from.
inline TopK top_k(Tensor x, int64_t k) {
  Graph& g = *x.graph;
  if (k > x.cols())
    throw std::invalid_argument("k = " + std::to_string(k) + " is more than the " + std::to_string(x.cols()) +
                                " experts of this site; lower k");
  TopK top{g.integers(x.rows(), k), g.tensor(x.rows(), k)};
  g.node(
      {x}, {top.index, top.value}, {top.index},
      [=](Call& c) { c.ok(c.op->top_k_rows(c.exec, c.rows(x), c.cols(x), k, c.f(x), c.i(top.index), c.f(top.value))); },
      [=](Call& c) {
        c.ok(c.op->top_k_rows_backward(c.exec, c.rows(x), c.cols(x), k, c.i(top.index), c.grad(top.value), c.grad(x)));
      });
  return top;
}

// Column j of x[m, n] as [m, 1].
inline Tensor column(Tensor x, int64_t j) {
  Tensor pick = filled(*x.graph, x.cols(), 1, 0);
  x.graph->node({}, {pick}, {}, [=](Call& c) {  // the unit vector e_j
    c.ok(c.op->fill(c.exec, 1, 1, c.f(pick) + j));
  });
  return matmul(x, pick);
}

// The choices whose `keep` [m, k] is greater than 0; the others are dropped: index -1.
inline TopK where(TopK top, Tensor keep) {
  Graph& g = *top.index.graph;
  if (!(keep.rows() == top.index.rows()) || keep.cols() != top.index.cols())
    detail::shape_error("where", keep, top.index);
  Tensor index = g.integers(keep.rows(), keep.cols());
  g.node({keep, top.index}, {index}, {},
         [=](Call& c) { c.ok(c.op->keep_index(c.exec, c.size(keep), c.f(keep), c.i(top.index), c.i(index))); });
  return {index, top.value};
}
// One choice for each row, from a column of integers.
inline TopK choose(Tensor index) { return {index, {}}; }
// Every column of x[m, n] that is greater than 0, largest first.
inline TopK nonzero(Tensor x) {
  TopK all = top_k(x, x.cols());
  return where(all, all.value);
}

// log of the sum of exponentials of each row: [m, 1].
inline Tensor logsumexp(Tensor x) {
  Tensor most = detach(top_k(x, 1).value);  // it cancels: any number would do
  return most + log(sum_columns(exp(x - most)));
}

// 1 where a row's choice points, 0 elsewhere: [m, cols], no gradient.
inline Tensor one_hot(TopK top, int64_t cols) {
  Graph& g = *top.index.graph;
  Tensor ones = filled(g, top.index.rows(), top.index.cols(), 1), y = filled(g, top.index.rows(), cols, 0);
  g.node({top.index, ones}, {}, {}, [=](Call& c) {
    c.ok(c.op->top_k_rows_backward(c.exec, c.rows(y), cols, c.cols(ones), c.i(top.index), c.f(ones), c.f(y)));
  });
  return y;
}

// The tokens of each group sorted by key[T, 1], largest first, stable; group by group: [T, 1] integers.
inline Tensor sorted_tokens(Tensor key) {
  Graph& g = *key.graph;
  if (!(key.rows() == g.T) || key.cols() != 1) detail::shape_error("sorted_tokens", key, g.x);
  Tensor order = g.integers(g.T, 1), work = g.integers(g.T, 1);
  g.node({key}, {order, work}, {}, [=](Call& c) {
    c.ok(c.op->sort_segments(c.exec, c.batch->n_groups, c.batch->group_begin, c.rows(key), 1, c.f(key), c.i(order),
                             c.i(work)));
  });
  return order;
}

// ---- transport plans between the tokens of each group and the experts, without a gradient ----
// score is [T, E], like the result; padding has no part in them.

// Entropic: marginals 1 by token and tokens/E by expert, `iterations` rounds, experts first (Sinkhorn).
inline Tensor sinkhorn(Tensor logits, int32_t iterations) {
  Graph& g = *logits.graph;
  Tensor plan = g.tensor(g.T, logits.cols()), u = g.tensor(g.T, 1), v = g.tensor(g.G, logits.cols());
  g.node({logits}, {plan, u, v}, {}, [=](Call& c) {
    const float* in = c.f(logits);
    if (const uint8_t* mask = c.mask(logits)) {
      const float none = -std::numeric_limits<float>::infinity();
      c.ok(c.op->mask_rows(c.exec, c.tokens(), c.cols(plan), mask, none, in, c.f(plan)));
      in = c.f(plan);
    }
    c.ok(c.op->sinkhorn(c.exec, c.batch->n_groups, c.batch->group_begin, c.tokens(), c.cols(plan), iterations, in,
                        c.f(plan), c.f(u), c.f(v)));
  });
  return plan;
}
// At most `nonzeros` tokens for each expert (0: its capacity); gamma weighs the plan's square (core/ops/transport.h).
inline Tensor sparse_transport(Tensor score, int32_t nonzeros, float gamma, int32_t iterations, float rate) {
  Graph& g = *score.graph;
  Tensor plan = g.tensor(g.T, score.cols()), work = g.tensor(Rows(Rows::kTokens, 6), 1);
  Tensor k = g.integers(g.G, 1);
  g.node({score}, {plan, work, k}, {}, [=](Call& c) {
    const int32_t* most = c.batch->group_capacity;
    if (nonzeros > 0) {  // the bits of an integer, written by the op that fills floats
      c.ok(c.op->fill(c.exec, c.rows(k), std::bit_cast<float>(nonzeros), c.f(k)));
      most = c.i(k);
    }
    c.ok(c.op->sparse_transport(c.exec, c.batch->n_groups, c.batch->group_begin, most, c.tokens(), c.cols(plan), gamma,
                                iterations, rate, c.mask(score), c.f(score), c.f(plan), c.f(work)));
  });
  return plan;
}
// The logarithm of the entropic plan in [0, 1] with the capacity for each expert and at most `cap` experts for each
// token (core/ops/transport.h).
inline Tensor capped_transport(Tensor score, int32_t cap, float entropy, int32_t iterations) {
  Graph& g = *score.graph;
  Tensor plan = g.tensor(g.T, score.cols()), work = g.tensor(g.T, score.cols() + 1);
  g.node({score}, {plan, work}, {}, [=](Call& c) {
    c.ok(c.op->capped_transport(c.exec, c.batch->n_groups, c.batch->group_begin, c.batch->group_capacity, c.tokens(),
                                c.cols(plan), static_cast<float>(cap), entropy, iterations, c.mask(score), c.f(score),
                                c.f(plan), c.f(work)));
  });
  return plan;
}

// Exact loads: every expert the same share of each group's tokens, the sum of score[T, E] as large as an auction makes
// it (core/ops/balance.h); eps is a share of the range of the scores. Padding goes nowhere.
inline TopK balanced_assignment(Tensor score, float eps = 0.02f) {
  Graph& g = *score.graph;
  Tensor index = g.integers(g.T, 1), work = g.tensor(Rows(Rows::kTokens, 3), 1);
  g.node({score}, {index, work}, {}, [=](Call& c) {
    c.ok(c.op->balanced_assignment(c.exec, c.batch->n_groups, c.batch->group_begin, c.tokens(), c.cols(score), eps,
                                   c.mask(score), c.f(score), c.i(index), c.f(work)));
  });
  return {index, {}};
}

namespace detail {
// The gradient of the plan's weights flows to the entries of `weight` that they were taken from.
inline void seed_pairs(Tensor weight, int64_t most) {
  weight.graph->seed_gradient(weight, [=](Call& c) {
    c.ok(c.op->scatter_pairs(c.exec, c.cols(weight), c.plan->count, most, c.plan->row, c.plan->expert, c.dplan->weight,
                             c.grad(weight)));
  });
}
}  // namespace detail

// Whose turn comes first where capacity runs out: all first choices, then all second ones, ...; or one token after the
// other with all its choices, which keeps routing causal.
enum class Listing { kByChoice, kByToken };

// ASSIGN: the choices of each row as they are listed, rows in `order` (empty: ascending).
inline void assign(TopK top, Tensor order = {}, Listing listing = Listing::kByChoice) {
  Graph& g = *top.index.graph;
  const int64_t k = top.index.cols();
  const int32_t by_row = listing == Listing::kByToken;
  g.plan_kind = SWY_ASSIGN;
  g.max_assign = k * (top.index.rows() == g.T ? g.site.max_tokens : g.site.max_rows);
  if (g.row_kind == SWY_ROW_TOKEN && (g.capacity ? g.capacity : g.C) < g.group_tokens) {
    if (order) g.acausal("where capacity runs out, a later token may be served before an earlier one");
    if (k > 1 && !by_row)
      g.acausal("where capacity runs out, a later token's first choice is served before an earlier one's second");
  }
  auto order_of = [order](Call& c) { return order ? c.i(order) : nullptr; };
  std::vector<Tensor> inputs{top.index}, reads{top.index};
  if (top.value) inputs.push_back(top.value);
  if (order) inputs.push_back(order), reads.push_back(order);
  g.node(inputs, {}, {}, [=](Call& c) {
    c.ok(c.op->assign_rows(c.exec, c.rows(top.index), k, c.i(top.index), top.value ? c.f(top.value) : nullptr,
                           order_of(c), c.mask(top.index), by_row, c.plan->row, c.plan->expert, c.plan->weight,
                           c.plan->count));
  });
  if (!top.value) return;
  g.keep(reads);
  g.seed_gradient(top.value, [=](Call& c) {
    c.ok(c.op->assign_rows_backward(c.exec, c.rows(top.index), k, c.i(top.index), order_of(c), c.mask(top.index),
                                    by_row, c.dplan->weight, c.grad(top.value)));
  });
}

// ASSIGN like assign: `choice` says who goes where and in which order of choices, `weight`[m, E] at the pair with what
// weight. For choices made on a score that is not differentiated.
inline void assign_weighted(TopK choice, Tensor weight, Tensor order = {}, Listing listing = Listing::kByChoice) {
  Graph& g = *choice.index.graph;
  assign(TopK{choice.index, {}}, order, listing);
  const int64_t most = g.max_assign;
  g.node({weight}, {}, {}, [=](Call& c) {
    swy_plan& p = *c.plan;
    c.ok(c.op->gather_pairs(c.exec, c.cols(weight), p.count, most, p.row, p.expert, c.f(weight), p.weight));
  });
  detail::seed_pairs(weight, most);
}

// ASSIGN: each expert takes its capacity of tokens with the largest `score`[T, E] from each group; the weight is
// `weight`[T, E] at the pair (often the same matrix).
inline void assign_top_tokens(Tensor score, Tensor weight) {
  Graph& g = *score.graph;
  g.plan_kind = SWY_ASSIGN;
  g.max_assign = static_cast<int64_t>(g.site.max_groups) * g.E * (g.capacity ? g.capacity : g.site.max_capacity);
  const int64_t most = g.max_assign;
  g.node({score, weight}, {}, {}, [=](Call& c) {
    swy_plan& p = *c.plan;
    c.ok(c.op->top_k_segments(c.exec, c.batch->n_groups, c.batch->group_begin, c.batch->group_capacity, c.tokens(),
                              c.cols(score), c.f(score), nullptr, c.batch->mask, most, p.row, p.expert, p.weight,
                              p.count));
    if (weight.id != score.id)
      c.ok(c.op->gather_pairs(c.exec, c.cols(weight), p.count, most, p.row, p.expert, c.f(weight), p.weight));
  });
  detail::seed_pairs(weight, most);
}

// ASSIGN: each expert takes ceil(share * tokens) of each pool, those with the largest `score`, whatever the capacity of
// their groups says (which the host still applies).
inline void assign_top_share(Tensor score, Tensor weight, double share, Pool pool) {
  Graph& g = *score.graph;
  Tensor table = detail::pool_table(g, pool), k = g.integers(pool == Pool::kBatch ? Rows(1) : g.G, 1);
  g.plan_kind = SWY_ASSIGN;
  const int64_t pools = pool == Pool::kBatch ? 1 : g.site.max_groups;
  g.max_assign = g.E * (static_cast<int64_t>(std::ceil(share * g.site.max_tokens)) + pools);
  const int64_t most = g.max_assign;
  g.node({score, weight}, {k}, {}, [=](Call& c) {
    swy_plan& p = *c.plan;
    const int64_t n = detail::pool_count(c, table);
    c.ok(c.op->segment_share(c.exec, n, detail::pool_begin(c, table), share, c.batch->mask, c.i(k)));
    c.ok(c.op->top_k_segments(c.exec, n, detail::pool_begin(c, table), c.i(k), c.tokens(), c.cols(score), c.f(score),
                              nullptr, c.batch->mask, most, p.row, p.expert, p.weight, p.count));
    c.ok(c.op->gather_pairs(c.exec, c.cols(weight), p.count, most, p.row, p.expert, c.f(weight), p.weight));
  });
  detail::seed_pairs(weight, most);
}

// ASSIGN: the tokens that stand at the same place of their sequences form a pool, whatever their groups; each expert
// takes ceil(share * tokens of the pool) of them. `score` and `weight` as in assign_top_tokens.
inline void assign_top_tokens_by_position(Tensor score, Tensor weight, double share) {
  Graph& g = *score.graph;
  const int32_t places = g.site.max_position;
  Tensor order = g.integers(g.T, 1), begin = g.integers(places + 1, 1), k = g.integers(places, 1), at = g.position();
  g.plan_kind = SWY_ASSIGN;
  g.max_assign = g.E * (static_cast<int64_t>(std::ceil(share * g.site.max_tokens)) + places);
  const int64_t most = g.max_assign;
  g.node({score, weight}, {order, begin, k}, {}, [=](Call& c) {
    swy_plan& p = *c.plan;
    c.ok(c.op->bucket(c.exec, c.tokens(), places, c.i(at), c.batch->mask, c.i(order), c.i(begin)));
    c.ok(c.op->segment_share(c.exec, places, c.i(begin), share, nullptr, c.i(k)));
    c.ok(c.op->top_k_segments(c.exec, places, c.i(begin), c.i(k), c.tokens(), c.cols(score), c.f(score), c.i(order),
                              nullptr, most, p.row, p.expert, p.weight, p.count));
    c.ok(c.op->gather_pairs(c.exec, c.cols(weight), p.count, most, p.row, p.expert, c.f(weight), p.weight));
  });
  detail::seed_pairs(weight, most);
}

// DENSE: slot j of a group reads sum_t dispatch[t, j] x[t], token t gets sum_j combine[t, j] expert(slot j).
// Both are [T, E*P], columns of one expert side by side. They become the plan's own memory.
inline void dense(Tensor dispatch, Tensor combine) {
  Graph& g = *dispatch.graph;
  if (dispatch.cols() % g.E || combine.cols() != dispatch.cols()) detail::shape_error("dense", dispatch, combine);
  g.plan_kind = SWY_DENSE;
  g.slots = static_cast<int32_t>(dispatch.cols() / g.E);
  g.settle(dispatch, Graph::Home::kDispatch);
  g.settle(combine, Graph::Home::kCombine);
  g.seed_gradient(dispatch, [=](Call& c) {
    c.ok(c.op->axpby(c.exec, c.size(dispatch), 1, c.dplan->dispatch, 1, c.grad(dispatch)));
  });
  g.seed_gradient(
      combine, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(combine), 1, c.dplan->combine, 1, c.grad(combine))); });
}

// MERGE: row r runs through one expert whose parameters are sum_e mix[r, e] of the experts'. mix is [R, E].
inline void merge(Tensor mix, int32_t row_kind) {
  Graph& g = *mix.graph;
  g.plan_kind = SWY_MERGE;
  g.row_kind = row_kind;
  g.settle(mix, Graph::Home::kMix);
  g.seed_gradient(mix, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(mix), 1, c.dplan->mix, 1, c.grad(mix))); });
}

namespace detail {
// Puts t into a part of the plan that has a row for each token, and lets the gradient of that part flow into it.
inline void put_into_plan(Tensor t, Graph::Home home, const float* swy_plan_grad::*gradient) {
  Graph& g = *t.graph;
  if (!(t.rows() == g.T) || t.cols() != g.D) shape_error("a part of the plan", t, g.x);
  Tensor own = g.temporary(t) ? t : t * 1.f;
  g.settle(own, home);
  g.seed_gradient(own, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(own), 1, c.dplan->*gradient, 1, c.grad(own))); });
}
}  // namespace detail

// t[T, D] is added to the site's output: what experts without parameters give, or experts that the router ran itself.
inline void add_output(Tensor t) {
  t.graph->plan_flags |= SWY_ADDS_OUTPUT;
  detail::put_into_plan(t, Graph::Home::kOutput, &swy_plan_grad::output);
}
// Experts read t[T, D] instead of the site's input.
inline void rewrite_input(Tensor t) {
  t.graph->plan_flags |= SWY_REWRITES_INPUT;
  detail::put_into_plan(t, Graph::Home::kExpertInput, &swy_plan_grad::expert_x);
}

// What the site's experts answer: y[i, :] = expert index[i] of x[i, :], zeros for -1. x is [n, D], index [n, 1]
// integers. Gradients flow to x and to the experts, which count the work and the rows as theirs; capacity does not
// hold.
inline Tensor run_experts(Tensor x, Tensor index) {
  Graph& g = *x.graph;
  if (!(x.rows() == index.rows()) || x.cols() != g.D) detail::shape_error("run_experts", x, index);
  const int32_t call = g.next_expert_call(x.rows());
  Tensor y = g.tensor(x.rows(), x.cols());
  g.node(
      {x}, {y}, {}, [=](Call& c) { c.ok(c.experts->forward(c.exec, call, c.rows(x), c.i(index), c.f(x), c.f(y))); },
      [=](Call& c) { c.ok(c.experts->backward(c.exec, call, c.rows(x), c.grad(y), c.grad(x))); }, true);
  return y;
}

// The mean of the tokens of each routed row (sequence or batch), padding left out: [R, n]. x is [T, n].
inline Tensor row_mean(Tensor x) {
  Graph& g = *x.graph;
  Tensor y = g.tensor(g.R, x.cols());
  g.node(
      {x}, {y}, {},
      [=](Call& c) {
        c.ok(c.op->segment_reduce(c.exec, SWY_MEAN, c.batch->n_rows, c.batch->row_begin, c.rows(x), c.cols(x),
                                  c.mask(x), c.f(x), c.f(y)));
      },
      [=](Call& c) {
        c.ok(c.op->segment_reduce_backward(c.exec, SWY_MEAN, c.batch->n_rows, c.batch->row_begin, c.rows(x), c.cols(x),
                                           c.mask(x), c.grad(y), c.grad(x)));
      });
  return y;
}

// Equal consecutive parts of each group's tokens, one part for each expert: the i-th of m in `order` (from
// sorted_tokens; empty: token order) goes to expert floor(i E / m).
inline TopK split_tokens(Graph& g, Tensor order = {}) {
  Tensor index = g.integers(g.T, 1);
  const int32_t experts = g.E;
  std::vector<Tensor> inputs;
  if (order) inputs.push_back(order);
  g.node(inputs, {index}, {}, [=](Call& c) {
    c.ok(c.op->split_segments(c.exec, c.batch->n_groups, c.batch->group_begin, c.tokens(), experts,
                              order ? c.i(order) : nullptr, c.mask(index), c.i(index)));
  });
  return {index, {}};
}

// An expert for each token from a fixed hash of its id (or of its position when `by_position`, or when the data
// has no ids): [T, 1] integers. One salt is one table.
inline TopK hashed(Graph& g, bool by_position, uint64_t salt) {
  Tensor index = g.integers(g.T, 1);
  if (!by_position && g.has_token_ids()) g.needed_inputs |= SWY_IN_TOKEN_ID;
  const int32_t experts = g.E;
  g.node({}, {index}, {}, [=](Call& c) {
    const int32_t* id = by_position || !c.batch->token_id ? c.batch->position : c.batch->token_id;
    c.ok(c.op->hash(c.exec, c.tokens(), id, salt, experts, c.i(index)));
  });
  return {index, {}};
}

}  // namespace swy
