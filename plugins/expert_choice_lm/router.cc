// Expert choice for language models: each expert takes its share of a pool of tokens, those with the largest gates. A
// pool is a group of sequences, or one position across the batch; or a cutoff from training stands for it in
// evaluation.
#include "core/sdk/router.h"

namespace {

// Each expert takes ceil(share n) of the n real tokens of each group, those with the largest score[T, E]. Lists the
// pairs and gives 1 where an expert takes a token: [T, E].
swy::Tensor take(swy::Tensor score, double share) {
  swy::Graph& g = *score.graph;
  g.plan_kind = SWY_ASSIGN;
  g.max_assign = g.E * static_cast<int64_t>(g.site.max_tokens);
  const int64_t most = g.max_assign;
  auto k = g.integers(g.G, 1);
  auto ones = filled(g, most, 1, 1), taken = filled(g, g.T, g.E, 0);
  g.node({score, ones}, {k}, {}, [=](swy::Call& c) {
    swy_plan& p = *c.plan;
    const int32_t* const begin = c.batch->group_begin;
    c.ok(c.op->segment_share(c.exec, c.batch->n_groups, begin, share, c.batch->mask, c.i(k)));
    c.ok(c.op->top_k_segments(c.exec, c.batch->n_groups, begin, c.i(k), c.tokens(), c.cols(score), c.f(score), nullptr,
                              c.batch->mask, most, p.row, p.expert, p.weight, p.count));
    c.ok(c.op->scatter_pairs(c.exec, c.cols(score), p.count, most, p.row, p.expert, c.f(ones), c.f(taken)));
  });
  return taken;
}

// The weights of the listed pairs, from weight[T, E].
void weigh(swy::Tensor weight) {
  const int64_t most = weight.graph->max_assign;
  weight.graph->node({weight}, {}, {}, [=](swy::Call& c) {
    swy_plan& p = *c.plan;
    c.ok(c.op->gather_pairs(c.exec, c.cols(weight), p.count, most, p.row, p.expert, c.f(weight), p.weight));
  });
  swy::detail::seed_pairs(weight, most);
}

}  // namespace

struct ExpertChoiceLm : swy::Router {
  swy::Option<swy::Choice> pool{this, "pool", "sequence", "sequence|batch_position|threshold",
                                "whom an expert chooses from; sequence leaks, threshold leaks in training"};
  swy::Option<float> factor{this, "factor", 2, {0.01, 64}, "experts per token, on average"};
  swy::Option<swy::Choice> rule{this, "rule", "softmax", "softmax|mesh",
                                "gates over experts, or Mesh TensorFlow's over tokens (pool=sequence only)"};
  swy::Option<float> decay{this, "decay", 0.99, {0, 1}, "pool=threshold: memory of the cutoffs"};
  swy::Option<float> load{
      this, "load_weight", 0.01, {0, 100}, "rule=mesh: weight of the loss that evens out the tokens' mean gates"};

  void route(swy::Graph& g) override {
    const bool mesh = rule == "mesh";
    if (mesh && !(pool == "sequence"))
      throw std::invalid_argument("rule=mesh is a softmax over the tokens of a group; take pool=sequence");
    g.request_capacity(g.group_tokens);  // the router itself says how many tokens an expert takes
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    auto gate = mesh ? softmax_tokens(logits) : softmax(logits);
    const double share = double{factor} / g.E;
    if (pool == "batch_position") return assign_top_tokens_by_position(gate, gate, share);
    if (pool == "threshold") {
      auto cutoff = g.buffer("cutoff", 1, g.E, swy::constant(1 / static_cast<float>(g.E)));
      g.buffer("updates", 1, 1, swy::zeros_start());
      if (!g.training) return assign(nonzero(gate * step(detach(gate) - cutoff, 0)), {}, swy::Listing::kByToken);
      g.remember("cutoff", mean_rows(kth_largest(detach(gate), share, 0, swy::Pool::kGroup)));
    }
    g.acausal("an expert takes the best tokens of a whole group");
    auto taken = take(gate, share), weight = gate;
    if (mesh) {
      weight = gate / clamp(sum_columns(taken), 1, 1e30f);
      auto tokens = group_sum(filled(g, g.T, 1, 1));
      if (g.training)
        g.aux("load", mean_rows(group_sum(square(mean_columns(gate))) * tokens), load,
              "unevenness of tokens' mean gates");
    }
    weigh(weight);
  }

  void update(swy::Graph& g) override {
    if (!(pool == "threshold")) return;
    auto cutoff = g.state("cutoff"), updates = g.state("updates");
    auto rate = maximum(1 - updates, filled(g, 1, 1, 1 - decay));
    g.store(cutoff, cutoff + rate * (g.recall("cutoff") - cutoff));
    g.store(updates, filled(g, 1, 1, 1));
  }
};
SWY_ROUTER(ExpertChoiceLm, "expert_choice_lm", "Expert choice for language models", "1.0.0",
           "Zhou et al. 2022, Mixture-of-Experts with Expert Choice Routing", SWY_CAP_CAUSAL)
