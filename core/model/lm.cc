#include "core/model/lm.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/device/move.h"
#include "core/model/lm_impl.h"
#include "core/ops/embedding.h"
#include "core/ops/gemm.h"
#include "core/ops/loss.h"
#include "core/ops/rotary.h"

namespace swy::model {
namespace {

constexpr float kEps = 1e-5f;                        // of every norm, as in PyTorch and nanoGPT
constexpr int64_t kLogits = int64_t{1} << 18;        // a chunk's logits fill one L2 cache while V allows it ...
constexpr int64_t kFewRows = 128, kMostRows = 512;   // ... and its products stay large enough where it does not
constexpr int64_t kDeviceLogits = int64_t{1} << 26;  // 256 MiB: enough rows to fill a device

void positive(const char* name, int64_t value) {
  if (value < 1) usage_error("model: ", name, " = ", value, "; it must be at least 1");
}

moe::CapacityRule room_for_all(int32_t experts) { return {.factor = static_cast<double>(experts)}; }

LmConfig checked(LmConfig c, const Instance* router, int32_t max_sequences) {
  c.validate();
  positive("max_sequences", max_sequences);
  if (!c.routed_layers.empty() && !router)
    usage_error("model: ", c.routed_layers.size(), " routed layers but no router; name one or set routed_layers = []");
  if (c.dropless) c.train_capacity = c.eval_capacity = room_for_all(c.experts);
  return c;
}

LayerRule layer_rule(const LmConfig& c) {
  return {c.norm, c.activation, c.bias, kEps, c.init_std, c.init_std / std::sqrt(2.0f * static_cast<float>(c.depth))};
}

StackShape stack_shape(const LmConfig& c, int32_t max_sequences) {
  const int64_t mlp = std::max(c.hidden, c.routed_layers.empty() ? 0 : c.shared_experts * c.expert_hidden);
  const auto widest = static_cast<int32_t>(std::max<int64_t>(3 * c.width, ops::pre_columns(c.activation, mlp)));
  return {c.heads, c.context, max_sequences, widest, true, c.positions == PositionKind::kRotary};
}

int64_t rows_of_head(const LmConfig& c, const Stack& stack) {
  const int64_t rows = stack.arena.on_device() ? std::max(kFewRows, kDeviceLogits / c.vocabulary)
                                               : std::clamp(kLogits / c.vocabulary, kFewRows, kMostRows);
  return std::min(stack.rows(), rows);
}

}  // namespace

void LmConfig::validate() const {
  positive("context", context), positive("width", width), positive("depth", depth), positive("heads", heads);
  positive("hidden", hidden);
  if (vocabulary < 2) usage_error("model: vocabulary = ", vocabulary, "; a language model needs at least 2 tokens");
  if (width % heads) usage_error("model: width = ", width, " is not a multiple of heads = ", heads);
  if (positions == PositionKind::kRotary && width / heads % 2)
    usage_error("model: rotary positions turn pairs of channels; width / heads = ", width / heads, " is odd");
  if (!(init_std > 0)) usage_error("model: init_std = ", init_std, "; it must be above 0");
  for (size_t i = 0; i < routed_layers.size(); ++i) {
    const int32_t layer = routed_layers[i];
    if (layer < 0 || layer >= depth)
      usage_error("model: routed layer ", layer, " does not exist; layers are 0 to ", depth - 1);
    if (i && layer <= routed_layers[i - 1])
      usage_error("model: routed layers must ascend without repeats; ", layer, " follows ", routed_layers[i - 1]);
  }
  if (routed_layers.empty()) return;
  positive("experts", experts), positive("expert_hidden", expert_hidden), positive("group_sequences", group_sequences);
  if (site != SWY_SITE_FFN && site != SWY_SITE_BLOCK)
    usage_error("model: site = ", site, "; FFNs (0) or blocks (2) are routed");
  if (site == SWY_SITE_BLOCK && experts != 1)
    usage_error("model: experts = ", experts,
                " with routed blocks; the block itself is the one expert: set experts = 1");
  if (site == SWY_SITE_BLOCK && shared_experts > 0)
    usage_error("model: shared_experts = ", shared_experts, " with routed blocks; they stand beside routed FFNs alone");
  if (shared_experts < 0) usage_error("model: shared_experts = ", shared_experts, "; it must be at least 0");
  if (dropless) return;
  train_capacity.of(int64_t{context} * group_sequences, experts);
  eval_capacity.of(int64_t{context} * group_sequences, experts);
}

// ---- declaration ----

Lm::Impl::Impl(LmConfig c, Instance* router, int32_t max, uint64_t seed, int device)
    : config(checked(std::move(c), router, max)),
      max_sequences(max),
      params(device),
      arena(device),
      layers(params, config.width, layer_rule(config), &arena),
      stack(layers, arena, stack_shape(config, max)),
      head_rows(rows_of_head(config, stack)) {
  declare_ends();
  declare_blocks(router);
  params.commit(seed);
  arena.commit();
  if (!stack.shape.rotary) return;
  std::vector<float> angles(static_cast<size_t>(int64_t{config.context} * config.width / config.heads));
  ops::rotary_table(config.context, config.width / config.heads, angles.data());
  const auto bytes = static_cast<int64_t>(angles.size() * sizeof(float));
  if (arena.on_device())
    device_copy(buffer(stack.angles), angles.data(), bytes);
  else
    std::copy(angles.begin(), angles.end(), buffer(stack.angles));
}

void Lm::Impl::declare_ends() {
  const int32_t d = config.width;
  const auto matrix = [&](const char* name, int64_t rows) {
    return params.add({.name = name, .shape = {rows, d}, .init = Init::kNormal, .init_scale = config.init_std});
  };
  embedding = matrix("embedding", config.vocabulary);
  if (config.positions == PositionKind::kLearned) place = matrix("position", config.context);
  last = layers.norm("ln");
  head = config.tied_head ? embedding : matrix("head.w", config.vocabulary);
  for (int32_t l = 0; l <= config.depth; ++l)
    stream.push_back(stack.floats("stream" + std::to_string(l), stack.max_rows() * d));
  dstream = stack.floats("dstream", stack.max_rows() * d);
  logits = stack.floats("logits", head_rows * config.vocabulary);
}

void Lm::Impl::declare_blocks(Instance* router) {
  const auto& routed = config.routed_layers;
  for (int32_t l = 0; l < config.depth; ++l) {
    const std::string name = "block" + std::to_string(l);
    const auto at = std::find(routed.begin(), routed.end(), l);
    const auto site = static_cast<int32_t>(at - routed.begin());
    Layer& b = blocks.emplace_back();
    if (at == routed.end()) {
      b.block = std::make_unique<Block>(name, config.hidden, stack);
      continue;
    }
    if (config.site == SWY_SITE_BLOCK)
      b.whole = std::make_unique<RoutedBlock>(site_spec(name, site, l, config.hidden),
                                              RoutedBlockShape{config.heads, layers.rule(), true, stack.angles},
                                              *router, params, arena);
    else
      b.block = std::make_unique<Block>(name, site_spec(name + ".moe", site, l, config.expert_hidden),
                                        config.shared_experts * config.expert_hidden, *router, params, stack);
    sites.push_back(b.site());
  }
}

moe::SiteSpec Lm::Impl::site_spec(const std::string& name, int32_t site, int32_t layer, int32_t hidden) const {
  moe::SiteSpec s;
  s.name = name;
  s.kind = config.site;
  s.site = site;
  s.n_sites = static_cast<int32_t>(config.routed_layers.size());
  s.layer = layer;
  s.width = config.width;
  s.experts = config.experts;
  s.hidden = hidden;
  s.sequence_tokens = config.context;
  s.max_sequences = max_sequences;
  s.group_sequences = config.group_sequences;
  s.train_capacity = config.train_capacity;
  s.eval_capacity = config.eval_capacity;
  s.identical_experts = config.identical_experts;
  s.vocabulary = config.vocabulary;
  s.clusters = config.clusters;
  s.activation = config.activation;
  s.expert_bias = config.bias;
  s.expert_std = layers.rule().std;
  s.expert_out_std = layers.rule().residual_std;
  return s;
}

// ---- steps ----

void Lm::Impl::check_tokens(const int32_t* token, int64_t n) const {
  for (int64_t i = 0; i < n; ++i)
    if (token[i] < 0 || token[i] >= config.vocabulary)
      usage_error("model: token ", token[i], " at place ", i, "; the vocabulary has 0 to ", config.vocabulary - 1);
}

moe::SequenceBatch Lm::Impl::sequences(const LmBatch& b) const {
  moe::SequenceBatch s(b.sequences);
  s.sequence_tokens = b.tokens;
  s.mask = b.mask;
  s.real_tokens = b.real_tokens;
  s.token_id = b.token;
  s.cluster = b.cluster;
  return s;
}

void Lm::Impl::embed(const Exec& ex, int64_t n, int32_t tokens, const int32_t* token, const int32_t* position,
                     float* x) {
  ops::embed(ex, {n, tokens, config.width}, token, position, layers.value(embedding), layers.value(place), x);
}

void Lm::Impl::head_forward(const Exec& ex, int64_t n, const float* x, float* out) {
  float* norm = buffer(stack.norm);
  layers.normalise(ex, last, n, x, norm, buffer(stack.mean), buffer(stack.rstd));
  ops::gemm(ex, false, true, n, config.vocabulary, config.width, 1, norm, layers.value(head), 0, out);
}

void Lm::Impl::forward(const Exec& ex, const moe::StepInfo& info, const LmBatch& b) {
  if (b.sequences < 1 || b.sequences > max_sequences)
    usage_error("model: batch of ", b.sequences, " sequences; this model holds 1 to ", max_sequences);
  if (b.tokens < 1 || b.tokens > config.context)
    usage_error("model: sequences of ", b.tokens, " tokens; this model's context is ", config.context);
  stack.check_threads();
  const int64_t n = int64_t{b.sequences} * b.tokens;
  if (!ex.dry && !ex.stream) check_tokens(b.token, n);
  batch = b;
  started = false;
  const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
  embed(ex, n, b.tokens, b.token, nullptr, buffer(stream[0]));
  const moe::SequenceBatch s = sequences(b);
  for (int32_t l = 0; l < config.depth; ++l)
    blocks[l].forward(ex, info, {s, b.tokens}, buffer(stream[l]), buffer(stream[l + 1]));
}

LmScore Lm::Impl::score(const Exec& ex, const int32_t* target, float scale, float* row_loss, int32_t* predicted,
                        float* confidence) {
  if (batch.sequences == 0) usage_error("model: a score without a forward");
  const int64_t n = int64_t{batch.sequences} * batch.tokens, d = config.width, v = config.vocabulary;
  float *out = buffer(logits), *norm = buffer(stack.norm), *dnorm = buffer(stack.datt);
  LmScore score;
  for (int64_t row = 0; row < n; row += head_rows) {
    const int64_t rows = std::min(head_rows, n - row);
    const float* x = buffer(stream.back()) + row * d;
    {
      const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
      head_forward(ex, rows, x, out);
      const auto at = [&](auto* p) { return p ? p + row : p; };
      ops::TokenScore s;
      ops::token_cross_entropy(ex, rows, v, out, at(target), scale, at(row_loss), at(predicted), at(confidence),
                               scale != 0 ? out : nullptr, ex.stream ? nullptr : &s);
      score.scored += s.scored, score.right += s.right;
    }
    if (scale == 0) continue;
    const Charge charge(*ex.tally, Part::kModel, Pass::kBackward);
    float* dx = buffer(dstream) + row * d;
    ops::gemm(ex, false, false, rows, d, v, 1, out, layers.value(head), 0, dnorm);
    ops::gemm(ex, true, false, v, d, rows, 1, out, norm, 1, layers.grad(head));
    set_zero(ex, dx, rows * d);
    layers.normalise_backward(ex, last, rows, x, buffer(stack.mean), buffer(stack.rstd), dnorm, dx);
  }
  for (int64_t i = 0; !ex.dry && !ex.stream && i < n; ++i) score.loss += double{row_loss[i]};
  started = scale != 0;
  return score;
}

void Lm::Impl::backward(const Exec& ex, const moe::StepInfo& info) {
  if (!started) usage_error("model: backward without a score that starts it");
  started = false;
  const Charge charge(*ex.tally, Part::kModel, Pass::kBackward);
  float* dx = buffer(dstream);
  const moe::SequenceBatch s = sequences(batch);
  for (int32_t l = config.depth - 1; l >= 0; --l)
    blocks[l].backward(ex, info, {s, batch.tokens}, buffer(stream[l]), dx);
  ops::embed_backward(ex, {int64_t{batch.sequences} * batch.tokens, batch.tokens, config.width}, batch.token, nullptr,
                      dx, layers.grad(embedding), layers.grad(place));
}

// ---- the class ----

Lm::Lm(LmConfig config, Instance* router, int32_t max_sequences, uint64_t init_seed, int device)
    : impl_(std::make_unique<Impl>(std::move(config), router, max_sequences, init_seed, device)) {}
Lm::~Lm() = default;

void Lm::forward(const Exec& ex, const moe::StepInfo& info, const LmBatch& batch) { impl_->forward(ex, info, batch); }
LmScore Lm::score(const Exec& ex, const int32_t* target, float scale, float* row_loss, int32_t* predicted,
                  float* confidence) {
  return impl_->score(ex, target, scale, row_loss, predicted, confidence);
}
void Lm::backward(const Exec& ex, const moe::StepInfo& info) { impl_->backward(ex, info); }
void Lm::update(const Exec& ex, const moe::StepInfo& info) {
  for (moe::Site* site : impl_->sites) site->update(ex, info);
}
Params& Lm::params() { return impl_->params; }
const std::vector<moe::Site*>& Lm::sites() const { return impl_->sites; }
double Lm::aux_loss() const {
  double sum = 0;
  for (const moe::Site* site : impl_->sites) sum += site->aux_loss();
  return sum;
}
const LmConfig& Lm::config() const { return impl_->config; }
int64_t Lm::activation_bytes() const { return impl_->arena.bytes(); }
std::string Lm::overrun() const { return impl_->arena.overrun(); }

}  // namespace swy::model
