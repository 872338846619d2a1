// Per-image routing (Mobile V-MoE): one choice for a whole sequence, from the mean of its tokens; all of them go to
// the same k experts.
#include "core/sdk/router.h"

struct PerImage : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per sequence"};

  void route(swy::Graph& g) override {
    g.row_kind = SWY_ROW_SEQUENCE;
    g.request_capacity(g.group_tokens);  // every sequence of a group may choose the same expert
    auto gate = softmax(matmul(row_mean(g.x), g.param("gate", g.D, g.E, swy::lecun_normal(g.D))));
    auto top = top_k(gate, k);
    g.metric("best_gate", mean_rows(column(top.value, 0)), "1", "mean gate of the first choice");
    assign(top);
  }
};
SWY_ROUTER(PerImage, "per_image", "Per-image routing (Mobile V-MoE)", "1.0.0",
           "Daxberger et al. 2023, Mobile V-MoEs: Scaling Down Vision Transformers via Sparse Mixture-of-Experts", 0)
