// Softmax top-k whose balance loss takes the experts' shares from many batches: a buffer adds up the loads of the steps
// before, and is emptied every `accumulation` steps.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct GlobalBatchLbl : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "experts per token"};
  swy::Option<bool> renormalise{this, "renormalise", false, "weights are divided by their sum over the chosen"};
  swy::Option<swy::Choice> pool{this, "pool", "global", "global|batch|group",
                                "what assignments are counted over: several steps, the batch, or each group"};
  swy::Option<int> accumulation{this, "accumulation", 8, {1, 65536}, "steps that are counted together"};
  swy::Option<float> balance{this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss"};
  swy::Option<float> z{this, "z_weight", 0, {0, 100}, "weight of the squared log-partition (ST-MoE)"};

  void route(swy::Graph& g) override {
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    auto count = g.buffer("count", 1, g.E, swy::zeros_start());
    auto gate = softmax(logits);
    auto top = top_k(gate, k);
    if (g.training && balance > 0)
      g.aux("balance", loss(g, gate, top, count), balance, "share of assignments times mean gate");
    if (g.training && z > 0) g.aux("z", z_loss(logits), z, "mean squared log-partition");
    g.metric("best_gate", mean_rows(column(top.value, 0)), "1", "mean gate of the first choice");
    if (renormalise) top.value = top.value / sum_columns(top.value);
    assign(top, {}, swy::Listing::kByToken);
  }
  void update(swy::Graph& g) override {
    auto count = g.state("count");
    const int64_t steps = accumulation;
    g.store(count,
            scaled(count + g.offered(), [steps](const swy::Moment& m) { return (m.step + 1) % steps ? 1.f : 0.f; }));
  }

 private:
  swy::Tensor loss(swy::Graph& g, swy::Tensor gate, swy::TopK top, swy::Tensor count) {
    if (!(pool == "global")) return balance_loss(gate, top, pool == "batch" ? swy::Pool::kBatch : swy::Pool::kGroup, 1);
    auto seen = count + sum_rows(one_hot(top, g.E));
    return sum_columns(seen / sum_columns(seen) * mean_rows(gate)) * static_cast<float>(g.E);
  }
};
SWY_ROUTER(GlobalBatchLbl, "global_batch_lbl", "Global-batch balance", "1.0.0",
           "Qiu et al. 2025, Demons in the Detail: On Implementing Load Balancing Loss", SWY_CAP_CAUSAL)
