// For tests: routers of shapes that no plugin of the tree has yet, made with the author layer inside the test program.
#pragma once
#include "core/sdk/router.h"

namespace swy::moe::testing {

// One mixture of expert parameters per sequence, from its mean token.
struct MergeBySequence : Router {
  void route(Graph& g) override {
    merge(softmax(matmul(row_mean(g.x), g.param("gate", g.D, g.E, normal(1)))), SWY_ROW_SEQUENCE);
  }
};
// The whole sequence goes to its two best experts.
struct AssignBySequence : Router {
  void route(Graph& g) override {
    g.row_kind = SWY_ROW_SEQUENCE;
    assign(top_k(softmax(matmul(row_mean(g.x), g.param("gate", g.D, g.E, normal(1)))), 2));
  }
};
// The input itself is the gate matrix: width must equal the number of experts.
struct GivenGates : Router {
  Option<Choice> kind{this, "kind", "vanilla", "vanilla|priority|expert_choice", "how the gates are used"};
  Option<int> k{this, "k", 2, {1, 64}, "experts per token"};
  void route(Graph& g) override {
    if (kind == "expert_choice") return assign_top_tokens(g.x, g.x);
    TopK top = top_k(g.x, k);
    assign(top, kind == "priority" ? sorted_tokens(column(top.value, 0)) : Tensor{});
  }
};
// No token goes anywhere.
struct Nothing : Router {
  void route(Graph& g) override {
    g.plan_kind = SWY_ASSIGN;
    g.max_assign = 1;
    g.node({}, {}, {}, [](Call& c) { *c.plan->count = 0; });
  }
};

template <class T>
const swy_router& local_router(const char* id) {
  return *detail::plugin<T>(id, "test", "1", "none", 0)->routers[0];
}

}  // namespace swy::moe::testing
