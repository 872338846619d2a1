// ASSIGN lists in token order: all choices of a token stand together, largest first, and earlier tokens stand before
// later ones. Whoever has a seat keeps it whatever later tokens choose, so top-k of any k stays causal with any
// capacity; assign() lists all first choices before all second ones, which is not.
#pragma once
#include "core/sdk/plan.h"

namespace swy {
namespace detail {

// Lists `index`[T, k] by token; `weight`[T, k] may be empty: 1/k each. Returns the choices as they are listed, [T, k].
inline Tensor list_by_token(Tensor index, Tensor weight) {
  Graph& g = *index.graph;
  const int64_t k = index.cols();
  g.plan_kind = SWY_ASSIGN;
  g.max_assign = k * g.site.max_tokens;
  if (!weight) weight = filled(g, g.T, k, 1.f / static_cast<float>(k));
  // A list of T k rows of one choice each has this order; its row numbers are k times too large.
  Tensor real = filled(g, g.T, k, 1), listed = g.integers(g.T, k), place = g.tensor(g.T, k);
  g.node({index, weight, real}, {listed, place}, {}, [=](Call& c) {
    const int64_t n = c.size(index);
    swy_plan& p = *c.plan;
    if (const uint8_t* mask = c.mask(index))
      c.ok(c.op->mask_rows(c.exec, c.tokens(), k, mask, 0, c.f(real), c.f(real)));
    c.ok(c.op->keep_index(c.exec, n, c.f(real), c.i(index), c.i(listed)));
    c.ok(c.op->assign_rows(c.exec, n, 1, c.i(listed), c.f(weight), nullptr, nullptr, p.row, p.expert, p.weight, p.count));
    if (k == 1) return;
    const float each = 1.f / static_cast<float>(k);
    c.ok(c.op->to_float(c.exec, n, p.row, c.f(place)));
    c.ok(c.op->unary(c.exec, SWY_AFFINE, n, each, 0.5f * each, c.f(place), c.f(place)));  // never just below an integer
    c.ok(c.op->unary(c.exec, SWY_FLOOR, n, 0, 0, c.f(place), c.f(place)));
    c.ok(c.op->to_integer(c.exec, n, c.f(place), p.row));
  });
  return listed;
}

}  // namespace detail

// Like assign(), by token; a choice of index -1 is left out.
inline void assign_by_token(TopK top) {
  Graph& g = *top.index.graph;
  const Tensor listed = detail::list_by_token(top.index, top.value);
  if (!top.value) return;
  g.keep({listed});
  g.seed_gradient(top.value, [=](Call& c) {
    c.ok(c.op->assign_rows_backward(c.exec, c.size(listed), 1, c.i(listed), nullptr, nullptr, c.dplan->weight,
                                    c.grad(top.value)));
  });
}

// Like assign_weighted(), by token: `choice` says who goes where, `weight`[T, E] at the pair with what weight.
inline void assign_weighted_by_token(TopK choice, Tensor weight) {
  Graph& g = *choice.index.graph;
  detail::list_by_token(choice.index, {});
  const int64_t most = g.max_assign;
  g.node({weight}, {}, {}, [=](Call& c) {
    swy_plan& p = *c.plan;
    c.ok(c.op->gather_pairs(c.exec, c.cols(weight), p.count, most, p.row, p.expert, c.f(weight), p.weight));
  });
  detail::seed_pairs(weight, most);
}

}  // namespace swy
