// DeepSeekMoE: softmax top-k with the gates as they are. Balance losses by expert and by device, that is by equal parts
// of the experts. Shared experts are the model's.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct DeepSeekMoe : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "routed experts per token"};
  swy::Option<float> expert{this, "expert_weight", 0.01, {0, 100}, "weight of the balance loss of experts"};
  swy::Option<float> device{this, "device_weight", 0, {0, 100}, "weight of the balance loss of devices"};
  swy::Option<int> devices{
      this, "devices", 1, {1, 4096}, "equal parts that the experts are in, for the device loss; must divide E"};
  swy::Option<swy::Choice> pool{this, "pool", "group", "group|batch",
                                "tokens that shares and means of the losses are over"};

  void route(swy::Graph& g) override {
    auto gate = softmax(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))));
    auto top = top_k(gate, k);
    if (g.training && expert > 0)
      g.aux("expert", balance_loss(gate, top, pool == "batch" ? swy::Pool::kBatch : swy::Pool::kGroup, 1), expert,
            "share of assignments times mean gate, by expert");
    if (g.training && device > 0) g.aux("device", device_loss(g, gate, top), device, "the same by device");
    g.metric("weight_sum", mean_rows(sum_columns(top.value)), "1", "mean sum of a token's weights");
    assign(top, {}, swy::Listing::kByToken);
  }

 private:
  swy::Tensor device_loss(swy::Graph& g, swy::Tensor gate, swy::TopK top) {
    if (g.E % devices)
      throw std::invalid_argument("devices = " + std::to_string(devices) + " does not divide the " +
                                  std::to_string(g.E) + " experts of this site");
    std::vector<float> part(static_cast<size_t>(g.E) * devices);  // [E, devices], 1 where the device holds the expert
    for (int32_t e = 0; e < g.E; ++e) part[static_cast<size_t>(e * devices + e / (g.E / devices))] = 1;
    auto holds = constants(g, g.E, devices, part);
    auto mean = [&](swy::Tensor x) { return pool == "batch" ? mean_rows(x) : group_mean(x); };
    auto share = mean(matmul(one_hot(top, g.E), holds)) / static_cast<float>(k);
    return mean_rows(sum_columns(share * mean(matmul(gate, holds)))) * static_cast<float>(devices);
  }
};
SWY_ROUTER(DeepSeekMoe, "deepseek_moe", "DeepSeekMoE", "1.0.0",
           "Dai et al. 2024, DeepSeekMoE: Towards Ultimate Expert Specialization", SWY_CAP_CAUSAL)
