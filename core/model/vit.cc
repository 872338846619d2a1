#include "core/model/vit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/model/routed_block.h"
#include "core/model/tokens.h"
#include "core/moe/routed_ffn.h"
#include "core/ops/attention.h"
#include "core/ops/ffn.h"
#include "core/ops/gemm.h"

namespace swy::model {
namespace {

constexpr int32_t kChunkTokens = 512;  // a chunk's widest activation stays in a 1-2 MiB cache

struct Block {
  BlockLayers layers;          // fc1, fc2: dense blocks
  int mid, qkv_out, att, lse;  // arena handles: stream after attention, q|k|v, attention output, log-sum-exp
  int pre = -1;                // dense: x w1, before bias and GELU
  int norm2 = -1, mean2 = -1, rstd2 = -1;  // routed FFN: the site's input and its statistics
  std::unique_ptr<moe::RoutedFfn> ffn;
  std::unique_ptr<RoutedBlock> whole;  // then nothing else is set
};

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
  int32_t max_batch, tokens, chunk_sequences, batch = 0, threads = thread_count();
  Params params;
  Arena arena;
  std::vector<Block> blocks;
  std::vector<moe::Site*> sites;
  Layers layers;
  Linear patch, head;
  Norm last;
  int position;
  std::vector<int> stream;  // [depth + 1] the residual stream between blocks
  int pooled, logits, dpooled, dstream, dnorm = -1;
  int c_norm, c_mean, c_rstd, c_wide, c_dwide, c_datt, c_attention;  // chunk workspaces
  const float* images = nullptr;

  Impl(VitConfig c, Instance* router, int32_t max, uint64_t seed)
      : config(std::move(c)), max_batch(max), layers(params, config.width) {
    config.validate();
    positive("max_batch", max_batch);
    if (!config.routed_layers.empty() && !router)
      usage_error("model: ", config.routed_layers.size(),
                  " routed layers but no router; name one or set routed_layers = []");
    tokens = config.tokens();
    chunk_sequences = std::min(max_batch, std::max(1, kChunkTokens / tokens));
    declare_ends();
    blocks.resize(config.depth);
    for (int32_t l = 0; l < config.depth; ++l) declare_block(l, router);
    declare_workspaces();
    params.commit(seed);
    arena.commit();
  }

  // ---- declaration ----
  int floats(const std::string& name, int64_t count) { return arena.reserve(name, count * int64_t{sizeof(float)}); }

  void declare_ends() {
    const int32_t d = config.width;
    patch = layers.linear("patch.w", "patch.b", config.patch_pixels(), d);
    position = params.add(
        {.name = "position", .shape = {tokens, d}, .init = Init::kNormal, .init_scale = 0.02f, .decay = false});
    last = layers.norm("ln");
    head = layers.linear("head.w", "head.b", d, config.classes, config.zero_head);
    for (int32_t l = 0; l <= config.depth; ++l) stream.push_back(floats("stream" + std::to_string(l), rows() * d));
    pooled = floats("pooled", int64_t{max_batch} * d);
    dpooled = floats("dpooled", int64_t{max_batch} * d);
    logits = floats("logits", int64_t{max_batch} * config.classes);
    dstream = floats("dstream", rows() * d);
  }

  void declare_block(int32_t l, Instance* router) {
    const std::string name = "block" + std::to_string(l);
    const int32_t d = config.width;
    Block& b = blocks[l];
    const auto& routed = config.routed_layers;
    const auto at = std::find(routed.begin(), routed.end(), l);
    const bool is_routed = at != routed.end();
    const auto site = static_cast<int32_t>(at - routed.begin());
    if (is_routed && config.site == SWY_SITE_BLOCK) {
      b.whole =
          std::make_unique<RoutedBlock>(site_spec(name, site, l, config.hidden), config.heads, *router, params, arena);
      sites.push_back(b.whole.get());
      return;
    }
    b.layers = is_routed ? layers.attention(name) : layers.block(name, config.hidden);
    b.mid = floats(name + ".mid", rows() * d);
    b.qkv_out = floats(name + ".qkv", rows() * 3 * d);
    b.att = floats(name + ".attention", rows() * d);
    b.lse = floats(name + ".lse", rows() * config.heads);
    if (!is_routed) {
      b.pre = floats(name + ".pre", rows() * config.hidden);
      return;
    }
    b.norm2 = floats(name + ".ln2", rows() * d);
    b.mean2 = floats(name + ".mean2", rows());
    b.rstd2 = floats(name + ".rstd2", rows());
    b.ffn = std::make_unique<moe::RoutedFfn>(site_spec(name + ".moe", site, l, config.expert_hidden), *router, params,
                                             arena);
    sites.push_back(b.ffn.get());
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

  void declare_workspaces() {
    const int64_t n = int64_t{chunk_sequences} * tokens, d = config.width;
    const int64_t wide = std::max<int64_t>({config.hidden, 3 * d, config.patch_pixels()});
    c_norm = floats("chunk.norm", n * d);
    c_mean = floats("chunk.mean", n);
    c_rstd = floats("chunk.rstd", n);
    c_wide = floats("chunk.wide", n * wide);
    c_dwide = floats("chunk.dwide", n * wide);
    c_datt = floats("chunk.dattention", n * d);
    c_attention = arena.reserve("chunk.attention", ops::attention_workspace_bytes(attention_shape(1), threads));
    if (!sites.empty() && config.site == SWY_SITE_FFN) dnorm = floats("dnorm", rows() * d);
  }

  // ---- access ----
  int64_t rows() const { return int64_t{max_batch} * tokens; }
  float* buffer(int handle) const { return arena.as<float>(handle); }
  float* value(int handle) const { return layers.value(handle); }
  float* grad(int handle) const { return layers.grad(handle); }
  ops::AttentionShape attention_shape(int32_t sequences) const {
    return {sequences, tokens, config.heads, config.width / config.heads, false};
  }

  // ---- steps ----
  // body(first sequence, first token, tokens) for each chunk of the batch.
  template <class Body>
  void for_each_chunk(Body&& body) {
    for (int32_t s = 0; s < batch; s += chunk_sequences)
      body(s, int64_t{s} * tokens, int64_t{std::min(chunk_sequences, batch - s)} * tokens);
  }

  void forward(const Exec& ex, const moe::StepInfo& info, const float* in, int32_t n) {
    if (n < 1 || n > max_batch) usage_error("model: batch of ", n, " images; this model holds 1 to ", max_batch);
    if (thread_count() > threads)
      usage_error("model: ", thread_count(), " threads now, ", threads, " when it was built; set threads before");
    images = in;
    batch = n;
    const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
    for_each_chunk([&](int32_t first, int64_t, int64_t t) { embed(ex, first, t); });
    for (int32_t l = 0; l < config.depth; ++l) {
      Block& b = blocks[l];
      if (b.whole) {
        b.whole->forward(ex, info, batch, buffer(stream[l]), buffer(stream[l + 1]));
        continue;
      }
      for_each_chunk([&](int32_t first, int64_t row, int64_t t) { block_forward(ex, l, first, row, t); });
      if (b.ffn) b.ffn->forward(ex, info, batch, buffer(b.norm2), buffer(b.mid), buffer(stream[l + 1]));
    }
    const int64_t d = config.width;
    for_each_chunk([&](int32_t first, int64_t row, int64_t t) {
      layers.normalise(ex, last, t, buffer(stream.back()) + row * d, buffer(c_norm), buffer(c_mean), buffer(c_rstd));
      mean_tokens(ex, static_cast<int32_t>(t / tokens), tokens, config.width, buffer(c_norm),
                  buffer(pooled) + first * d);
    });
    layers.project(ex, head, batch, buffer(pooled), 0, buffer(logits));
    ops::add_bias(ex, batch, config.classes, buffer(logits), value(head.b), buffer(logits));
  }

  void cut_patches(const Exec& ex, int32_t first, int64_t t) {
    const int64_t pixels = int64_t{config.channels} * config.image * config.image;
    patchify(ex, static_cast<int32_t>(t / tokens), config.channels, config.image, config.patch, images + first * pixels,
             buffer(c_wide));
  }

  void embed(const Exec& ex, int32_t first, int64_t t) {
    float* x = buffer(stream[0]) + int64_t{first} * tokens * config.width;
    cut_patches(ex, first, t);
    start_tokens(ex, static_cast<int32_t>(t / tokens), tokens, config.width, value(position), value(patch.b), x);
    layers.project(ex, patch, t, buffer(c_wide), 1, x);
  }

  void block_forward(const Exec& ex, int32_t l, int32_t first, int64_t row, int64_t t) {
    Block& b = blocks[l];
    const int64_t d = config.width, h = config.hidden;
    const float* x = buffer(stream[l]) + row * d;
    float *mid = buffer(b.mid) + row * d, *out = buffer(stream[l + 1]) + row * d;
    float *qkv = buffer(b.qkv_out) + row * 3 * d, *att = buffer(b.att) + row * d, *mean = buffer(c_mean);
    layers.normalise(ex, b.layers.ln1, t, x, buffer(c_norm), mean, buffer(c_rstd));
    layers.project(ex, b.layers.qkv, t, buffer(c_norm), 0, qkv);
    ops::add_bias(ex, t, 3 * d, qkv, value(b.layers.qkv.b), qkv);
    ops::attention(ex, attention_shape(static_cast<int32_t>(t / tokens)), qkv, att,
                   buffer(b.lse) + int64_t{first} * config.heads * tokens, buffer(c_attention));
    ops::add_bias(ex, t, d, x, value(b.layers.proj.b), mid);
    layers.project(ex, b.layers.proj, t, att, 1, mid);
    if (b.ffn) {
      layers.normalise(ex, b.layers.ln2, t, mid, buffer(b.norm2) + row * d, buffer(b.mean2) + row,
                       buffer(b.rstd2) + row);
      if (!ex.dry) std::memcpy(out, mid, t * d * sizeof(float));
      return;
    }
    float* pre = buffer(b.pre) + row * h;
    layers.normalise(ex, b.layers.ln2, t, mid, buffer(c_norm), mean, buffer(c_rstd));
    layers.project(ex, b.layers.fc1, t, buffer(c_norm), 0, pre);
    ops::bias_gelu(ex, t, h, pre, value(b.layers.fc1.b), buffer(c_wide));
    ops::add_bias(ex, t, d, mid, value(b.layers.fc2.b), out);
    layers.project(ex, b.layers.fc2, t, buffer(c_wide), 1, out);
  }

  void backward(const Exec& ex, const moe::StepInfo& info, const float* dlogits) {
    if (batch == 0) usage_error("model: backward without a forward");
    const Charge charge(*ex.tally, Part::kModel, Pass::kBackward);
    const int64_t d = config.width;
    float* dx = buffer(dstream);
    ops::bias_backward(ex, batch, config.classes, dlogits, grad(head.b));
    layers.project_backward(ex, head, batch, buffer(pooled), dlogits, buffer(dpooled));
    for_each_chunk([&](int32_t first, int64_t row, int64_t t) {
      if (!ex.dry) std::memset(dx + row * d, 0, t * d * sizeof(float));
      mean_tokens_backward(ex, static_cast<int32_t>(t / tokens), tokens, config.width, buffer(dpooled) + first * d,
                           buffer(c_datt));
      const float* x = buffer(stream.back()) + row * d;
      layers.normalise(ex, last, t, x, buffer(c_norm), buffer(c_mean), buffer(c_rstd));
      layers.normalise_backward(ex, last, t, x, buffer(c_mean), buffer(c_rstd), buffer(c_datt), dx + row * d);
    });
    for (int32_t l = config.depth - 1; l >= 0; --l) {
      Block& b = blocks[l];
      if (b.whole) {
        b.whole->backward(ex, info, batch, buffer(stream[l]), dx);
        continue;
      }
      if (b.ffn) {
        const int64_t n = int64_t{batch} * tokens;
        if (!ex.dry) std::memset(buffer(dnorm), 0, n * d * sizeof(float));
        b.ffn->backward(ex, info, batch, buffer(b.norm2), dx, buffer(dnorm), dx);
        layers.normalise_backward(ex, b.layers.ln2, n, buffer(b.mid), buffer(b.mean2), buffer(b.rstd2), buffer(dnorm),
                                  dx);
      }
      for_each_chunk([&](int32_t first, int64_t row, int64_t t) {
        if (!b.ffn) mlp_backward(ex, b, row, t);
        attention_backward(ex, b, l, first, row, t);
      });
    }
    for_each_chunk([&](int32_t first, int64_t row, int64_t t) {
      cut_patches(ex, first, t);
      layers.project_backward(ex, patch, t, buffer(c_wide), dx + row * d, nullptr);
      ops::bias_backward(ex, t, d, dx + row * d, grad(patch.b));
      position_backward(ex, static_cast<int32_t>(t / tokens), tokens, config.width, dx + row * d, grad(position));
    });
  }

  void mlp_backward(const Exec& ex, Block& b, int64_t row, int64_t t) {
    const int64_t d = config.width, h = config.hidden;
    const float* mid = buffer(b.mid) + row * d;
    float *dx = buffer(dstream) + row * d, *act = buffer(c_wide), *dpre = buffer(c_dwide), *norm = buffer(c_norm);
    ops::gemm(ex, false, true, t, h, d, 1, dx, value(b.layers.fc2.w), 0, dpre);
    ops::bias_gelu_backward(ex, t, h, buffer(b.pre) + row * h, value(b.layers.fc1.b), dpre, act, grad(b.layers.fc1.b));
    layers.project_backward(ex, b.layers.fc2, t, act, dx, nullptr);
    ops::bias_backward(ex, t, d, dx, grad(b.layers.fc2.b));
    layers.normalise(ex, b.layers.ln2, t, mid, norm, buffer(c_mean), buffer(c_rstd));
    layers.project_backward(ex, b.layers.fc1, t, norm, dpre, norm);
    layers.normalise_backward(ex, b.layers.ln2, t, mid, buffer(c_mean), buffer(c_rstd), norm, dx);
  }

  void attention_backward(const Exec& ex, Block& b, int32_t l, int32_t first, int64_t row, int64_t t) {
    const int64_t d = config.width;
    const float *x = buffer(stream[l]) + row * d, *att = buffer(b.att) + row * d;
    float *dx = buffer(dstream) + row * d, *datt = buffer(c_datt), *dqkv = buffer(c_wide), *norm = buffer(c_norm);
    ops::bias_backward(ex, t, d, dx, grad(b.layers.proj.b));
    layers.project_backward(ex, b.layers.proj, t, att, dx, datt);
    ops::attention_backward(ex, attention_shape(static_cast<int32_t>(t / tokens)), buffer(b.qkv_out) + row * 3 * d, att,
                            buffer(b.lse) + int64_t{first} * config.heads * tokens, datt, dqkv, buffer(c_attention));
    ops::bias_backward(ex, t, 3 * d, dqkv, grad(b.layers.qkv.b));
    layers.normalise(ex, b.layers.ln1, t, x, norm, buffer(c_mean), buffer(c_rstd));
    layers.project_backward(ex, b.layers.qkv, t, norm, dqkv, norm);
    layers.normalise_backward(ex, b.layers.ln1, t, x, buffer(c_mean), buffer(c_rstd), norm, dx);
  }
};

Vit::Vit(VitConfig config, Instance* router, int32_t max_batch, uint64_t init_seed)
    : impl_(std::make_unique<Impl>(std::move(config), router, max_batch, init_seed)) {}
Vit::~Vit() = default;

void Vit::forward(const Exec& ex, const moe::StepInfo& info, const float* images, int32_t batch) {
  impl_->forward(ex, info, images, batch);
}
const float* Vit::logits() const { return impl_->buffer(impl_->logits); }
void Vit::backward(const Exec& ex, const moe::StepInfo& info, const float* dlogits) {
  impl_->backward(ex, info, dlogits);
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
