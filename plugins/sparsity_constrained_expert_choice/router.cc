// Sparsity-constrained expert choice: a quadratically regularised transport plan with at most k non-zeros per expert,
// solved in its dual by a few Adam steps, chooses the tokens; their softmax gates are the weights. The dual is a price
// for each token, which falls while too many experts want it. No gradient passes the plan.
#include "core/sdk/router.h"

struct SparsityConstrainedExpertChoice : swy::Router {
  swy::Option<float> gamma{this, "gamma", 1, {1e-3, 1e3}, "weight of the quadratic regulariser"};
  swy::Option<int> iterations{this, "iterations", 20, {1, 1000}, "most Adam steps on the dual"};
  swy::Option<float> lr{this, "lr", 0.01, {1e-6, 10}, "learning rate of the dual"};
  swy::Option<int> nonzeros{this, "nonzeros", 0, {0, 65536}, "non-zeros of an expert's plan; 0 = its capacity"};

  void route(swy::Graph& g) override {
    auto gate = softmax(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))));
    auto plan = sparse_transport(gate, nonzeros, gamma, iterations, lr);
    g.metric("unserved", mean_rows(relu(1 - sum_columns(plan))), "1", "mean share of a token that the plan leaves out");
    assign_top_tokens(plan, gate);
  }
};
SWY_ROUTER(SparsityConstrainedExpertChoice, "sparsity_constrained_expert_choice", "Sparsity-constrained expert choice",
           "1.0.0", "Liu et al. 2023, Sparsity-Constrained Optimal Transport", 0)
