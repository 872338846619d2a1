// Whole training steps on a CUDA device against the same steps on the CPU: losses, gradients' norms and weights agree,
// a step that is replayed from a graph gives the bits of one that is not, and checkpoints move between the two.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "core/device/move.h"
#include "core/model/checkpoint.h"
#include "core/model/tiny_lm.h"
#include "core/model/tiny_training.h"

namespace swy::model {
namespace {

std::vector<float> read(const Params& params, const float* from, int64_t n) {
  std::vector<float> all(static_cast<size_t>(n));
  if (params.device() == Arena::kHost)
    std::copy_n(from, n, all.data());
  else
    device_copy(all.data(), from, n * int64_t{sizeof(float)});
  return all;
}

// Values and, where the models have just been through backward, gradients: within `tolerance` of a tensor's largest, or
// of a thousandth of the gradient's norm (keys' biases have no gradient but rounding).
void expect_close(const Params& device, const Params& host, double tolerance, double grad_norm = -1) {
  ASSERT_EQ(device.all().size(), host.all().size());
  for (size_t i = 0; i < host.all().size(); ++i) {
    const Param &d = device.all()[i], &h = host.all()[i];
    const bool gradients = grad_norm >= 0;
    if (gradients && !h.grad) continue;
    const std::vector<float> got = read(device, gradients ? d.grad : d.value, d.size),
                             want = read(host, gradients ? h.grad : h.value, h.size);
    double scale = gradients ? 1e-3 * grad_norm : 0, worst = 0;
    for (size_t j = 0; j < want.size(); ++j) {
      scale = std::max(scale, std::fabs(double{want[j]}));
      worst = std::max(worst, std::fabs(double{got[j]} - double{want[j]}));
    }
    EXPECT_LE(worst, tolerance * scale) << h.spec.name;
  }
}

moe::StepInfo info_of(int64_t step) { return {SWY_TRAIN, step, 5}; }

OptimizerConfig rule() {
  OptimizerConfig c;
  c.clip_norm = 1, c.ema_decay = 0.9f;
  return c;
}

// A model with its optimiser and one batch, on a device or the CPU. Self: the model's own part.
template <class Self, class Model>
struct TrainingRun {
  std::unique_ptr<Stream> stream;
  Tally tally;
  Exec exec{&tally};
  Model model;
  Optimizer optimizer;
  Mirror<float> loss;  // of each row
  int64_t rows;

  template <class Config>
  TrainingRun(const Config& c, Instance* router, int32_t batch, int64_t n, int device)
      : stream(device < 0 ? nullptr : std::make_unique<Stream>(device)),
        model(c, router, batch, 1, device),
        optimizer(rule(), model.params()),
        loss(device, n),
        rows(n) {
    exec.stream = stream.get();
  }
  Params& params() { return model.params(); }
  const std::vector<moe::Site*>& sites() { return model.sites(); }
  template <class T>
  void send(const std::vector<T>& from, Mirror<T>& to) {
    std::copy(from.begin(), from.end(), to.host());
    to.send(exec, static_cast<int64_t>(from.size()));
  }
  void begin(int64_t step) {
    optimizer.begin_step(exec, 3e-3f);
    for (moe::Site* s : sites()) s->begin_step(exec, info_of(step));
  }
  void work(int64_t step) {
    params().zero_grads(exec);
    static_cast<Self*>(this)->passes(info_of(step));
    optimizer.apply(exec);
    model.update(exec, info_of(step));
  }
  double end() {  // the mean loss
    loss.fetch(exec, rows);
    if (stream) stream->wait();
    double sum = 0;
    for (int64_t i = 0; i < rows; ++i) sum += loss.host()[i];
    return sum / static_cast<double>(rows);
  }
  double train(int64_t step) {
    begin(step), work(step);
    return end();
  }
};

struct VitRun : TrainingRun<VitRun, Vit> {
  static constexpr int32_t kBatch = TinyTraining::kBatch;
  Mirror<float> images, dlogits;
  Mirror<int32_t> label;

  VitRun(const VitConfig& c, Instance* router, int device)
      : TrainingRun(c, router, kBatch, kBatch, device),
        images(device, kBatch * c.channels * c.image * c.image),
        dlogits(device, kBatch * c.classes),
        label(device, kBatch) {}
  void load(const TinyTraining& from) { send(from.images, images), send(from.label, label); }
  void passes(const moe::StepInfo& info) {
    model.forward(exec, info, images.there(), kBatch);
    ops::cross_entropy(exec, kBatch, model.config().classes, 0.1f, model.logits(), label.there(), 1.0f / kBatch,
                       loss.there(), dlogits.there());
    model.backward(exec, info, dlogits.there());
  }
};

struct LmRun : TrainingRun<LmRun, Lm> {
  static constexpr int32_t kBatch = TinyLmTraining::kBatch;
  Mirror<int32_t> token, target;

  LmRun(const LmConfig& c, Instance* router, int device)
      : TrainingRun(c, router, kBatch, int64_t{kBatch} * c.context, device),
        token(device, rows),
        target(device, rows) {}
  void load(const TinyLmTraining& from) { send(from.token, token), send(from.target, target); }
  void passes(const moe::StepInfo& info) {
    model.forward(exec, info, {token.there(), kBatch, model.config().context});
    model.score(exec, target.there(), 1 / static_cast<float>(rows), loss.there());
    model.backward(exec, info);
  }
};

std::unique_ptr<Instance> router_of(const std::string& id) {
  return id.empty() ? nullptr : tree_router(id.c_str(), {}, Checking::kFirst);
}
std::string name_of(const testing::TestParamInfo<std::string>& i) { return i.param.empty() ? "dense_ffn" : i.param; }

class DeviceTraining : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};

// Three steps on both, then the counted work and what is left of each tensor.
template <class Run, class Source, class Config>
void expect_same_training(const Config& c, const std::string& id) {
  const auto r0 = router_of(id), r1 = router_of(id);
  Run host(c, r0.get(), Arena::kHost), device(c, r1.get(), 0);
  Config dense = c;
  dense.routed_layers.clear();
  Source source(dense, nullptr, {});
  for (int64_t step = 0; step < 3; ++step) {
    source.draw_batch(step);
    host.load(source), device.load(source);
    const double want = host.train(step), got = device.train(step);
    EXPECT_NEAR(got, want, 2e-5 * std::fabs(want)) << "step " << step;
    const double norm = host.optimizer.grad_norm();
    EXPECT_NEAR(device.optimizer.grad_norm(), norm, 2e-4 * norm);
    expect_close(device.params(), host.params(), 5e-4, norm);
  }
  moe::Site::drain(device.exec, device.sites());
  EXPECT_NEAR(device.tally.total().flops, host.tally.total().flops, 1e-12 * host.tally.total().flops);
  const std::vector<float> before = read(device.params(), device.params()[0].value, 8);
  device.optimizer.swap_ema(device.exec);
  device.stream->wait();
  EXPECT_NE(read(device.params(), device.params()[0].value, 8), before);
  device.optimizer.swap_ema(device.exec);
  device.stream->wait();
  EXPECT_EQ(read(device.params(), device.params()[0].value, 8), before);
}

// What is recorded once and replayed with new data and rates is the step that would have been run.
template <class Run, class Source, class Config>
void expect_same_replay(const Config& c, const std::string& id, bool bf16 = false) {
  const auto r0 = router_of(id), r1 = router_of(id);
  Run plain(c, r0.get(), 0), replayed(c, r1.get(), 0);
  plain.stream->bf16 = replayed.stream->bf16 = bf16;
  Config dense = c;
  dense.routed_layers.clear();
  Source source(dense, nullptr, {});
  std::unique_ptr<DeviceGraph> graph;
  for (moe::Site* s : replayed.sites()) EXPECT_EQ(s->steady(), id != "deepseek_v3_bias") << "its bias has a schedule";
  for (int64_t step = 0; step < 4; ++step) {
    source.draw_batch(step);
    plain.load(source), replayed.load(source);
    const double want = plain.train(step);
    replayed.begin(step);
    if (step == 1) graph = std::make_unique<DeviceGraph>(*replayed.stream, [&] { replayed.work(step); });
    if (graph)
      graph->launch(*replayed.stream);
    else
      replayed.work(step);
    EXPECT_EQ(replayed.end(), want) << "step " << step;
  }
  expect_close(replayed.params(), plain.params(), 0);
}

VitConfig vit_config(const std::string& id) {
  VitConfig c = tiny_vit();
  if (!id.empty()) c.routed_layers = {1};
  if (id == "mixture_of_depths")
    c.site = SWY_SITE_BLOCK, c.experts = 1, c.train_capacity.factor = c.eval_capacity.factor = 0.25;
  return c;
}
bool of_images(const std::string& id) { return id == "softmax_expert_choice" || id == "soft_moe"; }
LmConfig lm_config(LmConfig c, const std::string& id) {
  if (!id.empty()) c.routed_layers = {1};
  if (id == "mixture_of_depths") {
    c.site = SWY_SITE_BLOCK, c.experts = 1;
    c.dropless = false, c.train_capacity.factor = c.eval_capacity.factor = 0.25;
  }
  return c;
}

TEST_P(DeviceTraining, VitAgreesWithTheCpu) {
  expect_same_training<VitRun, TinyTraining>(vit_config(GetParam()), GetParam());
}
TEST_P(DeviceTraining, LmAgreesWithTheCpu) {
  if (of_images(GetParam())) GTEST_SKIP() << "a router of images";
  expect_same_training<LmRun, TinyLmTraining>(lm_config(tiny_lm(), GetParam()), GetParam());
  LmConfig llama = lm_config(tiny_llama(), GetParam());
  if (!GetParam().empty() && llama.site == SWY_SITE_FFN) llama.shared_experts = 1;
  expect_same_training<LmRun, TinyLmTraining>(llama, GetParam());
}
TEST_P(DeviceTraining, ReplaysBitForBit) {
  expect_same_replay<VitRun, TinyTraining>(vit_config(GetParam()), GetParam());
  if (of_images(GetParam())) return;
  expect_same_replay<LmRun, TinyLmTraining>(lm_config(tiny_lm(), GetParam()), GetParam());
}

// With products that round to bf16 and activations kept so: losses and gradients are near those of the CPU. Where no
// routing can flip each tensor's gradient is, and the model's own arrays are little more than half as large.
template <class Run, class Source, class Config>
void expect_near_training(const Config& c, const std::string& id) {
  const auto r0 = router_of(id), r1 = router_of(id);
  Run host(c, r0.get(), Arena::kHost), device(c, r1.get(), 0);
  device.stream->bf16 = true;
  Config dense = c;
  dense.routed_layers.clear();
  Source source(dense, nullptr, {});
  const bool fixed = id.empty() || id == "hash";
  for (int64_t step = 0; step < 2; ++step) {
    source.draw_batch(step);
    host.load(source), device.load(source);
    const double want = host.train(step), got = device.train(step);
    if (step > 0) {
      EXPECT_NE(got, want) << "nothing was rounded";  // the first may come from a head of zeros
    }
    EXPECT_NEAR(got, want, 1e-2 * std::fabs(want)) << "step " << step;
    const double norm = host.optimizer.grad_norm();
    EXPECT_NEAR(device.optimizer.grad_norm(), norm, (fixed ? 0.02 : 0.1) * norm);
    if (fixed) expect_close(device.params(), host.params(), 0.06, norm);
  }
  moe::Site::drain(device.exec, device.sites());
  const auto model = [](const Tally& t, auto what) {
    return t.of(Part::kModel, Pass::kForward).*what + t.of(Part::kModel, Pass::kBackward).*what;
  };
  const double flops = model(host.tally, &Work::flops);
  if (id != "mixture_of_depths") {
    EXPECT_NEAR(model(device.tally, &Work::flops), flops, 1e-9 * flops);
    EXPECT_LT(model(device.tally, &Work::bytes), 0.85 * model(host.tally, &Work::bytes));
  }
}
TEST_P(DeviceTraining, Bf16IsNearTheCpu) {
  expect_near_training<VitRun, TinyTraining>(vit_config(GetParam()), GetParam());
  if (of_images(GetParam())) return;
  expect_near_training<LmRun, TinyLmTraining>(lm_config(tiny_lm(), GetParam()), GetParam());
  LmConfig llama = lm_config(tiny_llama(), GetParam());
  llama.heads = 1;  // of 16 channels
  if (!GetParam().empty() && llama.site == SWY_SITE_FFN) llama.shared_experts = 1, llama.expert_hidden = 16;
  expect_near_training<LmRun, TinyLmTraining>(llama, GetParam());
}
TEST_P(DeviceTraining, Bf16ReplaysBitForBit) {
  expect_same_replay<VitRun, TinyTraining>(vit_config(GetParam()), GetParam(), true);
}

INSTANTIATE_TEST_SUITE_P(Routers, DeviceTraining,
                         testing::Values("", "softmax_token_choice", "softmax_expert_choice", "soft_moe", "switch_top1",
                                         "deepseek_v3_bias", "hash", "mixture_of_depths"),
                         name_of);

class OnADevice : public DeviceTraining {};
TEST_P(OnADevice, CheckpointsMoveBetweenDevices) {
  const VitConfig c = vit_config("");
  VitRun host(c, nullptr, Arena::kHost), device(c, nullptr, 0), back(c, nullptr, Arena::kHost);
  TinyTraining source(c, nullptr, rule());
  source.draw_batch(0);
  for (VitRun* run : {&host, &device, &back}) run->load(source);
  host.train(0);
  const auto path = std::filesystem::temp_directory_path() / "swy_training_gpu_test.safetensors";
  save_checkpoint(path, host.params(), &host.optimizer, host.tally, {{"a", "b"}});
  load_checkpoint(path, device.params(), &device.optimizer, device.tally);
  EXPECT_EQ(device.optimizer.steps(), 1);
  EXPECT_EQ(device.tally.total().flops, host.tally.total().flops);
  expect_close(device.params(), host.params(), 0);
  save_checkpoint(path, device.params(), &device.optimizer, device.tally, {});
  load_checkpoint(path, back.params(), &back.optimizer, back.tally);
  expect_close(back.params(), host.params(), 0);
  EXPECT_EQ(back.train(1), host.train(1));
  std::filesystem::remove(path);
}
INSTANTIATE_TEST_SUITE_P(, OnADevice, testing::Values(""), [](const auto&) { return std::string("dense"); });

}  // namespace
}  // namespace swy::model
