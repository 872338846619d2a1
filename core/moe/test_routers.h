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
// Its logits come from an op of its own, which copies: on each device by the kernel that is for it. (Both are made of a
// host's op; kernels of a plugin's own need its compiler: core/conform/test_plugins/own_kernel.)
struct OwnOp : Router {
  void route(Graph& g) override {
    const Tensor logits = matmul(g.x, g.param("gate", g.D, g.E, normal(1))), copy = g.tensor(g.T, g.E);
    const auto cost = [=](const Call& c) { return Cost{0, 8.0 * static_cast<double>(c.size(copy))}; };
    const auto forward = [=](int32_t device) {
      return [=](Call& c) { move(c, device, c.f(logits), 0, c.f(copy), c.size(copy)); };
    };
    const auto backward = [=](int32_t device) {
      return [=](Call& c) { move(c, device, c.grad(copy), 1, c.grad(logits), c.size(copy)); };
    };
    g.custom({logits}, {copy}, {}, forward(SWY_CPU), cost, backward(SWY_CPU), cost,
             {forward(SWY_CUDA), backward(SWY_CUDA)});
    assign(top_k(softmax(copy), 2));
  }
  static void move(Call& c, int32_t device, const float* from, float beta, float* to, int64_t n) {
    c.ok(c.exec->device == device ? c.op->axpby(c.exec, n, 1, from, beta, to) : SWY_INTERNAL);
  }
};
// The whole sequence goes to its two best experts.
struct AssignBySequence : Router {
  void route(Graph& g) override {
    g.row_kind = SWY_ROW_SEQUENCE;
    assign(top_k(softmax(matmul(row_mean(g.x), g.param("gate", g.D, g.E, normal(1)))), 2));
  }
};
// All tokens go to the two best experts of the whole batch.
struct AssignByBatch : Router {
  void route(Graph& g) override {
    g.row_kind = SWY_ROW_BATCH;
    assign(top_k(softmax(matmul(row_mean(g.x), g.param("gate", g.D, g.E, normal(1)))), 2));
  }
};
// Every sequence of a task goes to the two experts that the task's embedding likes best.
struct AssignByTask : Router {
  void route(Graph& g) override {
    Tensor task = g.task_embedding();
    assign(top_k(softmax(matmul(task, g.param("gate", task.cols(), g.E, normal(1)))), 2));
  }
};
// The one expert of a block site runs the sequences of every task while there is room, at a weight by task.
struct OneExpertByTask : Router {
  void route(Graph& g) override {
    Tensor task = g.task_embedding(), gate = sigmoid(matmul(task, g.param("gate", task.cols(), 1, normal(1))));
    assign(top_k(gate, 1));
  }
};
// As many tokens as there is room for, by a score of the input and of the residual stream. With one expert: who runs.
struct ReadsResidual : Router {
  void route(Graph& g) override {
    Tensor score = matmul(g.x, g.param("of_x", g.D, g.E, normal(1))) +
                   matmul(g.residual(), g.param("of_residual", g.D, g.E, normal(1)));
    g.aux("mean_score", sum_columns(mean_rows(sigmoid(score))), 0.3, "so that every token has a gradient");
    assign_top_tokens(score, sigmoid(score));
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
// For linear sites. One gate over the mean token of each row, or the embedding of its task; options say how its weights
// are used and what they mix.
struct ForLinear : Router {
  Option<Choice> plan{this, "plan", "assign", "assign|merge|dense", "what is done with the weights"};
  Option<Choice> rows{this, "rows", "token", "token|prefix|sequence|task|batch", "what is routed as one"};
  Option<Choice> mixes{this, "mixes", "out", "out|delta|ab|prob", "what the weights mix"};
  Option<Choice> gate{this, "gate", "softmax", "softmax|plain|nobody", "plain: weights of either sign"};
  Option<bool> rewrites{this, "rewrites", false, "experts read the input times a gain of each column"};
  Option<int> k{this, "k", 2, {1, 64}, "experts per row"};
  void route(Graph& g) override {
    g.aggregate = mixes == "out"     ? SWY_AGG_OUT
                  : mixes == "delta" ? SWY_AGG_DELTA
                  : mixes == "ab"    ? SWY_AGG_AB
                                     : SWY_AGG_PROB;
    if (rows == "prefix") g.rows_of_tokens(3);
    if (rows == "sequence") g.row_kind = SWY_ROW_SEQUENCE;
    if (rows == "batch") g.row_kind = SWY_ROW_BATCH;
    Tensor in = rows == "task" ? g.task_embedding() : rows == "token" ? g.x : row_mean(g.x);
    Tensor score = matmul(in, g.param("gate", in.cols(), g.E, normal(1)));
    Tensor weight = gate == "plain" ? score * 1.f : softmax(score);
    if (rewrites) rewrite_input(g.x * g.param("gain", 1, g.D, normal(1)));
    if (gate == "nobody") return assign(where(top_k(weight, k), filled(g, g.T, k, 0)));
    if (plan == "merge")
      merge(weight, g.row_kind);
    else if (plan == "dense")
      dense(weight, softmax(score));
    else
      assign(top_k(weight, k));
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
