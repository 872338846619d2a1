#include "core/model/vit.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/device/move.h"
#include "core/model/block.h"
#include "core/model/routed_block.h"
#include "core/model/tokens.h"
#include "core/ops/ffn.h"

namespace swy::model {
namespace {

void positive(const char* name, int64_t value) {
  if (value < 1) usage_error("model: ", name, " = ", value, "; it must be at least 1");
}

}  // namespace

void VitConfig::validate() const {
  positive("image", image), positive("channels", channels), positive("patch", patch), positive("width", width);
  positive("depth", depth), positive("heads", heads), positive("hidden", hidden);
  if (classes < 2) usage_error("model: classes = ", classes, "; a classifier needs at least 2");
  if (image % patch) usage_error("model: image = ", image, " is not a multiple of patch = ", patch);
  if (width % heads) usage_error("model: width = ", width, " is not a multiple of heads = ", heads);
  for (size_t i = 0; i < routed_layers.size(); ++i) {
    const int32_t layer = routed_layers[i];
    if (layer < 0 || layer >= depth)
      usage_error("model: routed layer ", layer, " does not exist; layers are 0 to ", depth - 1);
    if (i && layer <= routed_layers[i - 1])
      usage_error("model: routed layers must ascend without repeats; ", layer, " follows ", routed_layers[i - 1]);
  }
  if (routed_layers.empty()) return;
  if (site != SWY_SITE_FFN && site != SWY_SITE_BLOCK)
    usage_error("model: site = ", site, "; FFNs (0) or blocks (2) are routed");
  if (site == SWY_SITE_BLOCK && experts != 1)
    usage_error("model: experts = ", experts,
                " with routed blocks; the block itself is the one expert: set experts = 1");
  positive("experts", experts), positive("expert_hidden", expert_hidden), positive("group_sequences", group_sequences);
  train_capacity.of(int64_t{tokens()} * group_sequences, experts);
  eval_capacity.of(int64_t{tokens()} * group_sequences, experts);
}

struct Vit::Impl {
  VitConfig config;
  int32_t max_batch, tokens, batch = 0;
  Params params;
  Arena arena;
  Layers layers;
  Stack stack;
  std::vector<Layer> blocks;
  std::vector<moe::Site*> sites;
  Linear patch, head;
  Norm last;
  int position;
  std::vector<int> stream;  // [depth + 1] the residual stream between blocks
  int pooled, logits, dpooled, dstream;
  const float* images = nullptr;

  Impl(VitConfig c, Instance* router, int32_t max, uint64_t seed, int device)
      : config(checked(std::move(c), router, max)),
        max_batch(max),
        tokens(config.tokens()),
        params(device),
        arena(device),
        layers(params, config.width, {}, &arena),
        stack(layers, arena, stack_shape(config, max)),
        blocks(static_cast<size_t>(config.depth)) {
    declare_ends();
    for (int32_t l = 0; l < config.depth; ++l) declare_block(l, router);
    params.commit(seed);
    arena.commit();
  }

  // ---- declaration ----
  static VitConfig checked(VitConfig c, const Instance* router, int32_t max_batch) {
    c.validate();
    positive("max_batch", max_batch);
    if (!c.routed_layers.empty() && !router)
      usage_error("model: ", c.routed_layers.size(),
                  " routed layers but no router; name one or set routed_layers = []");
    return c;
  }
  static StackShape stack_shape(const VitConfig& c, int32_t max_batch) {
    return {c.heads, c.tokens(), max_batch, std::max({c.hidden, 3 * c.width, c.patch_pixels()})};
  }

  void declare_ends() {
    const int32_t d = config.width;
    const int64_t rows = stack.max_rows();
    patch = layers.linear("patch.w", "patch.b", config.patch_pixels(), d);
    position = params.add(
        {.name = "position", .shape = {tokens, d}, .init = Init::kNormal, .init_scale = 0.02f, .decay = false});
    last = layers.norm("ln");
    head = layers.linear("head.w", "head.b", d, config.classes,
                         config.zero_head ? Layers::Start::kZero : Layers::Start::kPlain);
    for (int32_t l = 0; l <= config.depth; ++l) stream.push_back(stack.floats("stream" + std::to_string(l), rows * d));
    pooled = stack.floats("pooled", int64_t{max_batch} * d);
    dpooled = stack.floats("dpooled", int64_t{max_batch} * d);
    logits = stack.floats("logits", int64_t{max_batch} * config.classes);
    dstream = stack.floats("dstream", rows * d);
  }

  void declare_block(int32_t l, Instance* router) {
    const std::string name = "block" + std::to_string(l);
    const auto& routed = config.routed_layers;
    const auto at = std::find(routed.begin(), routed.end(), l);
    Layer& b = blocks[l];
    if (at == routed.end()) {
      b.block = std::make_unique<Block>(name, config.hidden, stack);
      return;
    }
    const auto site = static_cast<int32_t>(at - routed.begin());
    if (config.site == SWY_SITE_BLOCK) {
      b.whole = std::make_unique<RoutedBlock>(site_spec(name, site, l, config.hidden), RoutedBlockShape{config.heads},
                                              *router, params, arena);
      sites.push_back(b.whole.get());
      return;
    }
    b.block = std::make_unique<Block>(name, site_spec(name + ".moe", site, l, config.expert_hidden), 0, *router, params,
                                      stack);
    sites.push_back(b.block->site());
  }

  moe::SiteSpec site_spec(const std::string& name, int32_t site, int32_t layer, int32_t hidden) const {
    moe::SiteSpec s;
    s.name = name;
    s.kind = config.site;
    s.site = site;
    s.n_sites = static_cast<int32_t>(config.routed_layers.size());
    s.layer = layer;
    s.width = config.width;
    s.experts = config.experts;
    s.hidden = hidden;
    s.sequence_tokens = tokens;
    s.max_sequences = max_batch;
    s.group_sequences = config.group_sequences;
    s.train_capacity = config.train_capacity;
    s.eval_capacity = config.eval_capacity;
    s.identical_experts = config.identical_experts;
    return s;
  }

  // ---- access ----
  float* buffer(int handle) const { return arena.as<float>(handle); }
  float* value(int handle) const { return layers.value(handle); }
  float* grad(int handle) const { return layers.grad(handle); }

  // ---- steps ----
  template <class Body>
  void for_each_chunk(Body&& body) const {
    stack.for_each_chunk(batch, tokens, body);
  }

  void forward(const Exec& ex, const moe::StepInfo& info, const float* in, int32_t n) {
    if (n < 1 || n > max_batch) usage_error("model: batch of ", n, " images; this model holds 1 to ", max_batch);
    stack.check_threads();
    images = in;
    batch = n;
    const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
    for_each_chunk([&](int32_t first, int64_t, int64_t t) { embed(ex, first, t); });
    const moe::SequenceBatch sequences(batch);
    for (int32_t l = 0; l < config.depth; ++l)
      blocks[l].forward(ex, info, {sequences, tokens}, buffer(stream[l]), buffer(stream[l + 1]));
    const int64_t d = config.width;
    for_each_chunk([&](int32_t first, int64_t row, int64_t t) {
      float* norm = buffer(stack.norm);
      layers.normalise(ex, last, t, buffer(stream.back()) + row * d, norm, buffer(stack.mean), buffer(stack.rstd));
      mean_tokens(ex, static_cast<int32_t>(t / tokens), tokens, config.width, norm, buffer(pooled) + first * d);
    });
    layers.project(ex, head, batch, buffer(pooled), 0, buffer(logits));
    ops::add_bias(ex, batch, config.classes, buffer(logits), value(head.b), buffer(logits));
  }

  void cut_patches(const Exec& ex, int32_t first, int64_t t) {
    const int64_t pixels = int64_t{config.channels} * config.image * config.image;
    patchify(ex, static_cast<int32_t>(t / tokens), config.channels, config.image, config.patch, images + first * pixels,
             buffer(stack.wide));
  }

  void embed(const Exec& ex, int32_t first, int64_t t) {
    float* x = buffer(stream[0]) + int64_t{first} * tokens * config.width;
    cut_patches(ex, first, t);
    start_tokens(ex, static_cast<int32_t>(t / tokens), tokens, config.width, value(position), value(patch.b), x);
    layers.project(ex, patch, t, buffer(stack.wide), 1, x);
  }

  void backward(const Exec& ex, const moe::StepInfo& info, const float* dlogits, float* dimages) {
    if (batch == 0) usage_error("model: backward without a forward");
    const Charge charge(*ex.tally, Part::kModel, Pass::kBackward);
    const int64_t d = config.width;
    float* dx = buffer(dstream);
    ops::bias_backward(ex, batch, config.classes, dlogits, grad(head.b));
    layers.project_backward(ex, head, batch, buffer(pooled), dlogits, buffer(dpooled));
    for_each_chunk([&](int32_t first, int64_t row, int64_t t) {
      set_zero(ex, dx + row * d, t * d);
      float *dnorm = buffer(stack.datt), *mean = buffer(stack.mean), *rstd = buffer(stack.rstd);
      mean_tokens_backward(ex, static_cast<int32_t>(t / tokens), tokens, config.width, buffer(dpooled) + first * d,
                           dnorm);
      const float* x = buffer(stream.back()) + row * d;
      layers.normalise(ex, last, t, x, buffer(stack.norm), mean, rstd);
      layers.normalise_backward(ex, last, t, x, mean, rstd, dnorm, dx + row * d);
    });
    const moe::SequenceBatch sequences(batch);
    for (int32_t l = config.depth - 1; l >= 0; --l)
      blocks[l].backward(ex, info, {sequences, tokens}, buffer(stream[l]), dx);
    for_each_chunk([&](int32_t first, int64_t row, int64_t t) {
      cut_patches(ex, first, t);
      float* dpatch = dimages ? buffer(stack.dwide) : nullptr;
      layers.project_backward(ex, patch, t, buffer(stack.wide), dx + row * d, dpatch);
      if (dimages)
        unpatchify(ex, static_cast<int32_t>(t / tokens), config.channels, config.image, config.patch, dpatch,
                   dimages + first * int64_t{config.channels} * config.image * config.image);
      ops::bias_backward(ex, t, d, dx + row * d, grad(patch.b));
      position_backward(ex, static_cast<int32_t>(t / tokens), tokens, config.width, dx + row * d, grad(position));
    });
  }
};

Vit::Vit(VitConfig config, Instance* router, int32_t max_batch, uint64_t init_seed, int device)
    : impl_(std::make_unique<Impl>(std::move(config), router, max_batch, init_seed, device)) {}
Vit::~Vit() = default;

void Vit::forward(const Exec& ex, const moe::StepInfo& info, const float* images, int32_t batch) {
  impl_->forward(ex, info, images, batch);
}
const float* Vit::logits() const { return impl_->buffer(impl_->logits); }
void Vit::backward(const Exec& ex, const moe::StepInfo& info, const float* dlogits, float* dimages) {
  impl_->backward(ex, info, dlogits, dimages);
}
void Vit::update(const Exec& ex, const moe::StepInfo& info) {
  for (moe::Site* site : impl_->sites) site->update(ex, info);
}
Params& Vit::params() { return impl_->params; }
const std::vector<moe::Site*>& Vit::sites() const { return impl_->sites; }
double Vit::aux_loss() const {
  double sum = 0;
  for (const moe::Site* site : impl_->sites) sum += site->aux_loss();
  return sum;
}
const VitConfig& Vit::config() const { return impl_->config; }
int64_t Vit::activation_bytes() const { return impl_->arena.bytes(); }
std::string Vit::overrun() const { return impl_->arena.overrun(); }

}  // namespace swy::model
