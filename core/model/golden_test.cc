// Training against PyTorch: golden/trace.py and lm_trace.py (run by hand) drew weights and batches and recorded 20
// AdamW steps in fp64.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>

#include "core/base/json.h"
#include "core/model/checkpoint.h"
#include "core/model/tiny_lm.h"
#include "core/model/tiny_training.h"
#include "core/plugin/loader.h"

namespace swy::model {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "core/model/golden";

// Loss and global gradient norm of every step agree to 1e-4 relative, from the same weights and batches.
void compare(const std::string& name, const OptionText& options) {
  const Json trace = read_json(kGolden / ("trace_" + name + ".json"));
  const Json &m = trace["model"], &o = trace["optimiser"];
  VitConfig c;
  c.image = m["image"], c.channels = m["channels"], c.patch = m["patch"], c.width = m["width"], c.depth = m["depth"];
  c.heads = m["heads"], c.hidden = m["hidden"], c.classes = m["classes"];
  c.experts = m["experts"], c.expert_hidden = m["expert_hidden"];
  c.routed_layers = m["routed_layers"].get<std::vector<int32_t>>();
  c.train_capacity.factor = c.eval_capacity.factor = m["capacity_factor"];
  OptimizerConfig rule;
  rule.weight_decay = o["weight_decay"], rule.beta1 = o["beta1"], rule.beta2 = o["beta2"], rule.eps = o["eps"];

  std::unique_ptr<Instance> router;
  if (!c.routed_layers.empty()) {
    const FoundRouter found = find_router(std::string(SWITCHYARD_BUILD_DIR) + "/plugins/" + name + ".so");
    router = std::make_unique<Instance>(*found.router, options, 1);
  }
  TinyTraining training(c, router.get(), rule);
  ASSERT_EQ(o["batch"], TinyTraining::kBatch);
  const SafetensorsFile weights(kGolden / (name + ".safetensors")), batches(kGolden / "batches.safetensors");
  ASSERT_EQ(weights.tensors().size(), training.vit.params().all().size());
  for (Param& p : training.vit.params().all()) weights.read(p.spec.name, p.spec.shape, p.value);

  const float *images = batches.find("images")->data, *labels = batches.find("labels")->data;
  for (int64_t step = 0; step < o["steps"]; ++step) {
    std::copy_n(images + step * static_cast<int64_t>(training.images.size()), training.images.size(),
                training.images.begin());
    std::copy_n(labels + step * TinyTraining::kBatch, TinyTraining::kBatch, training.label.begin());
    const double want_loss = trace["loss"][step], want_norm = trace["grad_norm"][step];
    EXPECT_NEAR(training.train(step, o["lr"]), want_loss, 1e-4 * want_loss) << "step " << step;
    EXPECT_NEAR(training.optimizer.grad_norm(), want_norm, 1e-4 * want_norm) << "step " << step;
  }
  EXPECT_EQ(training.vit.overrun(), "");
}

// The dense ViT trains as PyTorch's does.
TEST(Golden, Dense) { compare("dense", {}); }
// So does one with softmax expert choice (ASSIGN plan, gradient through the gates).
TEST(Golden, SoftmaxExpertChoice) { compare("softmax_expert_choice", {{"noise", "0"}}); }
// And one with Soft MoE (DENSE plan, gradient through dispatch and combine).
TEST(Golden, SoftMoe) { compare("soft_moe", {}); }

void compare_lm(const std::string& name) {
  const Json trace = read_json(kGolden / ("trace_" + name + ".json"));
  const Json &m = trace["model"], &o = trace["optimiser"];
  LmConfig c = name == "lm_llama" ? tiny_llama() : tiny_lm();
  c.vocabulary = m["vocabulary"], c.context = m["context"], c.width = m["width"], c.depth = m["depth"];
  c.heads = m["heads"], c.hidden = m["hidden"], c.experts = m["experts"], c.expert_hidden = m["expert_hidden"];
  c.shared_experts = m["shared_experts"];
  c.routed_layers = m["routed_layers"].get<std::vector<int32_t>>();
  OptimizerConfig rule;
  rule.weight_decay = o["weight_decay"], rule.beta1 = o["beta1"], rule.beta2 = o["beta2"], rule.eps = o["eps"];
  const auto router = tree_router(
      "softmax_token_choice",
      {{"k", std::to_string(m["k"].get<int>())}, {"noise", "0"}, {"importance_weight", "0"}, {"load_weight", "0"}},
      Checking::kFirst);
  TinyLmTraining training(c, router.get(), rule);
  ASSERT_EQ(o["batch"], TinyLmTraining::kBatch);
  const SafetensorsFile weights(kGolden / (name + ".safetensors")), batches(kGolden / "lm_batches.safetensors");
  ASSERT_EQ(weights.tensors().size(), training.lm.params().all().size());
  for (Param& p : training.lm.params().all()) weights.read(p.spec.name, p.spec.shape, p.value);
  const float *token = batches.find("token")->data, *target = batches.find("target")->data;
  const auto size = static_cast<int64_t>(training.token.size());
  for (int64_t step = 0; step < o["steps"]; ++step) {
    std::copy_n(token + step * size, size, training.token.begin());
    std::copy_n(target + step * size, size, training.target.begin());
    const double want_loss = trace["loss"][step], want_norm = trace["grad_norm"][step];
    EXPECT_NEAR(training.train(step, o["lr"]), want_loss, 1e-4 * want_loss) << "step " << step;
    EXPECT_NEAR(training.optimizer.grad_norm(), want_norm, 1e-4 * want_norm) << "step " << step;
  }
  EXPECT_EQ(training.lm.overrun(), "");
}

// The GPT-like language model trains as PyTorch's does: LayerNorm, learned positions, GELU, tied head, biases, targets
// left out.
TEST(Golden, LanguageModelGpt) { compare_lm("lm_gpt"); }
// So does the LLaMA-like one: RMSNorm, rotary positions, SwiGLU, no biases, a routed layer beside a shared expert.
TEST(Golden, LanguageModelLlamaRouted) { compare_lm("lm_llama"); }

}  // namespace
}  // namespace swy::model
