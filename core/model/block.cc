#include "core/model/block.h"

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/device/move.h"
#include "core/ops/gemm.h"
#include "core/ops/rotary.h"

namespace swy::model {
namespace {
constexpr int32_t kChunkTokens = 512;  // a chunk's widest activation stays in a 1-2 MiB cache

// Whole sequences of a chunk: as many as fit the CPU's cache, or all, to fill a device.
int64_t chunk_rows(const StackShape& s, bool on_device) {
  return int64_t{s.tokens} *
         (on_device ? s.max_sequences : std::min(s.max_sequences, std::max(1, kChunkTokens / s.tokens)));
}
}  // namespace

Stack::Stack(Layers& l, Arena& a, StackShape s)
    : layers(l), arena(a), shape(s), rows_(chunk_rows(s, a.on_device())), threads_(thread_count()) {
  const int64_t d = layers.width();
  norm = floats("chunk.norm", rows_ * d), mean = floats("chunk.mean", rows_), rstd = floats("chunk.rstd", rows_);
  wide = floats("chunk.wide", rows_ * s.widest), dwide = floats("chunk.dwide", rows_ * s.widest);
  datt = floats("chunk.dattention", rows_ * d);
  rounded = arena.reserve("chunk.rounded", arena.on_device() ? rows_ * d * int64_t{sizeof(ops::Bf16)} : 0);
  const int64_t work_bytes = ops::attention_workspace_bytes(attention(1, s.tokens), threads_);
  work = arena.reserve("chunk.attention", arena.on_device() ? 0 : work_bytes);
  if (s.rotary) angles = floats("rotary", int64_t{s.tokens} * d / s.heads);
}

void Stack::check_threads() const {
  if (thread_count() > threads_)
    usage_error("model: ", thread_count(), " threads now, ", threads_, " when it was built; set threads before");
}

Block::Block(Stack& stack, BlockLayers layers, const std::string& name) : stack_(stack), layers_(layers) {
  const int64_t rows = stack.max_rows(), d = stack.layers.width();
  mid_ = stack.floats(name + ".mid", rows * d);
  qkv_ = stack.floats(name + ".qkv", rows * 3 * d);
  att_ = stack.floats(name + ".attention", rows * d);
  lse_ = stack.floats(name + ".lse", rows * stack.shape.heads);
  if (layers_.mlp.hidden) pre_ = stack.floats(name + ".pre", rows * layers_.mlp.fc1.out);
}

Block::Block(const std::string& name, int32_t hidden, Stack& stack)
    : Block(stack, stack.layers.block(name, hidden), name) {}

Block::Block(const std::string& name, moe::SiteSpec spec, int32_t shared_hidden, Instance& router, Params& params,
             Stack& stack)
    : Block(
          stack,
          [&] {
            BlockLayers l = stack.layers.attention(name);
            if (shared_hidden) l.mlp = stack.layers.mlp(spec.name + ".shared", shared_hidden);
            return l;
          }(),
          name) {
  const int64_t rows = stack.max_rows(), d = stack.layers.width();
  norm2_ = stack.floats(name + ".ln2", rows * d);
  mean2_ = stack.floats(name + ".mean2", rows);
  rstd2_ = stack.floats(name + ".rstd2", rows);
  ffn_ = std::make_unique<moe::RoutedFfn>(std::move(spec), router, params, stack.arena);
  if (stack.dnorm < 0) stack.dnorm = stack.floats("dnorm", rows * d);
}

Block::~Block() = default;

bool Block::fits_bf16() const {
  const int64_t d = stack_.layers.width(), channels = d / stack_.shape.heads;
  return layers_.qkv.copy >= 0 && d % 8 == 0 && channels % (stack_.shape.rotary ? 16 : 8) == 0 &&
         layers_.mlp.hidden % 8 == 0;
}

void Block::round_weights(const Exec& ex) const {
  stack_.layers.round(ex, layers_.qkv), stack_.layers.round(ex, layers_.proj);
  if (!layers_.mlp.hidden) return;
  stack_.layers.round(ex, layers_.mlp.fc1), stack_.layers.round(ex, layers_.mlp.fc2);
}

void Block::forward(const Exec& ex, const moe::StepInfo& info, const Sequences& s, const float* x, float* out) {
  bf16_ = ops::multiplies_bf16(ex) && fits_bf16() && info.phase != SWY_PREFILL;  // a decoder's cache is fp32
  if (bf16_) round_weights(ex);
  stack_.for_each_chunk(s.batch.n_sequences, s.tokens, [&](int32_t first, int64_t row, int64_t n) {
    const int64_t d = stack_.layers.width();
    project(ex, s, row, n, x);
    ops::attention(ex, stack_.attention(static_cast<int32_t>(n / s.tokens), s.tokens), numbers(qkv_, row * 3 * d),
                   numbers(att_, row * d), stack_.at(lse_, int64_t{first} * stack_.shape.heads * s.tokens),
                   stack_.at(stack_.work));
    finish(ex, row, n, x, out);
  });
  route(ex, info, s, out);
}

// qkv of the rows [row, row + n).
void Block::project(const Exec& ex, const Sequences& s, int64_t row, int64_t n, const float* x) {
  const Layers& l = stack_.layers;
  const int64_t d = l.width();
  const ops::Numbers norm = numbers(stack_.norm), qkv = numbers(qkv_, row * 3 * d);
  l.normalise(ex, layers_.ln1, n, x + row * d, norm, stack_.at(stack_.mean), stack_.at(stack_.rstd));
  l.project(ex, layers_.qkv, n, norm, 0, qkv);
  if (!stack_.shape.rotary) return ops::add_bias(ex, n, 3 * d, qkv, l.value(layers_.qkv.b), qkv);
  const int32_t heads = stack_.shape.heads;
  ops::bias_rotary(ex, {n, s.tokens, heads, static_cast<int32_t>(d / heads)}, s.position ? s.position + row : nullptr,
                   stack_.at(stack_.angles), l.value(layers_.qkv.b), qkv);
}

// From the attention output: out, but for the routed FFN's part.
void Block::finish(const Exec& ex, int64_t row, int64_t n, const float* x, float* out_all) {
  const Layers& l = stack_.layers;
  const int64_t d = l.width();
  float *mid = stack_.at(mid_, row * d), *out = out_all + row * d;
  l.project_onto(ex, layers_.proj, n, numbers(att_, row * d), x + row * d, mid);
  if (!ffn_) {
    const ops::Numbers norm = numbers(stack_.norm);
    l.normalise(ex, layers_.ln2, n, mid, norm, stack_.at(stack_.mean), stack_.at(stack_.rstd));
    return mlp_forward(ex, row, n, norm, out);
  }
  l.normalise(ex, layers_.ln2, n, mid, stack_.at(norm2_, row * d), stack_.at(mean2_, row), stack_.at(rstd2_, row));
  if (layers_.mlp.hidden) {
    const Charge charge(*ex.tally, Part::kExperts);
    mlp_forward(ex, row, n, shared_input(ex, row, n), out);
  } else {
    copy(ex, n * d, mid, out);
  }
}

void Block::route(const Exec& ex, const moe::StepInfo& info, const Sequences& s, float* out) {
  if (ffn_) ffn_->forward(ex, info, s.batch, stack_.at(norm2_), stack_.at(mid_), out);
}

ops::ConstNumbers Block::shared_input(const Exec& ex, int64_t row, int64_t n) const {
  const int64_t d = stack_.layers.width();
  const float* in = stack_.at(norm2_, row * d);
  if (!bf16_) return in;
  const ops::Numbers rounded = numbers(stack_.norm);
  ops::to_bf16(ex, n * d, in, rounded.bf16());
  return rounded;
}

ops::ConstNumbers Block::gradient(const Exec& ex, int64_t n, const float* dx) const {
  if (!bf16_) return dx;
  const ops::Numbers rounded = numbers(stack_.rounded);
  ops::to_bf16(ex, n * stack_.layers.width(), dx, rounded.bf16());
  return rounded;
}

// out = mid + mlp(in)
void Block::mlp_forward(const Exec& ex, int64_t row, int64_t n, ops::ConstNumbers in, float* out) {
  const Layers& l = stack_.layers;
  const Mlp& m = layers_.mlp;
  const ops::Numbers pre = numbers(pre_, row * m.fc1.out), act = numbers(stack_.wide);
  l.project(ex, m.fc1, n, in, 0, pre);
  ops::activate(ex, l.rule().activation, n, m.hidden, pre, l.value(m.fc1.b), act);
  l.project_onto(ex, m.fc2, n, act, stack_.at(mid_, row * l.width()), out);
}

void Block::backward(const Exec& ex, const moe::StepInfo& info, const Sequences& s, const float* x, float* dstream) {
  const Layers& l = stack_.layers;
  const int64_t d = l.width(), tokens = int64_t{s.batch.n_sequences} * s.tokens;
  const auto for_each_chunk = [&](auto&& body) { stack_.for_each_chunk(s.batch.n_sequences, s.tokens, body); };
  if (ffn_) {
    float *dnorm = stack_.at(stack_.dnorm), *norm = stack_.at(norm2_);
    if (layers_.mlp.hidden) {
      const Charge charge(*ex.tally, Part::kExperts);
      for_each_chunk([&](int32_t, int64_t row, int64_t n) {
        mlp_backward(ex, row, n, shared_input(ex, row, n), dstream + row * d, dnorm + row * d);
      });
    } else {
      set_zero(ex, dnorm, tokens * d);
    }
    ffn_->backward(ex, info, s.batch, norm, dstream, dnorm, dstream);
    l.normalise_backward(ex, layers_.ln2, tokens, stack_.at(mid_), stack_.at(mean2_), stack_.at(rstd2_), dnorm,
                         dstream);
  }
  for_each_chunk([&](int32_t first, int64_t row, int64_t n) {
    if (!ffn_) {
      const ops::Numbers norm = numbers(stack_.norm);
      float *mean = stack_.at(stack_.mean), *rstd = stack_.at(stack_.rstd);
      const float* mid = stack_.at(mid_, row * d);
      l.normalise(ex, layers_.ln2, n, mid, norm, mean, rstd);
      mlp_backward(ex, row, n, norm, dstream + row * d, norm);
      l.normalise_backward(ex, layers_.ln2, n, mid, mean, rstd, norm, dstream + row * d);
    }
    attention_backward(ex, s, first, row, n, x, dstream);
  });
}

// din may be in.
void Block::mlp_backward(const Exec& ex, int64_t row, int64_t n, ops::ConstNumbers in, const float* dout_fp32,
                         ops::Numbers din) {
  const Layers& l = stack_.layers;
  const Mlp& m = layers_.mlp;
  const ops::ConstNumbers dout = gradient(ex, n, dout_fp32);
  const ops::Numbers dact = numbers(stack_.dwide);
  ops::gemm(ex, false, true, n, m.hidden, l.width(), 1, dout, l.weight(m.fc2, bf16_), 0, dact);
  const ops::Activated a = ops::activate_backward(ex, l.rule().activation, n, m.hidden, numbers(pre_, row * m.fc1.out),
                                                  l.value(m.fc1.b), dact, numbers(stack_.wide), l.grad(m.fc1.b));
  l.project_backward(ex, m.fc2, n, a.act, dout, nullptr);
  ops::bias_backward(ex, n, l.width(), dout, l.grad(m.fc2.b));
  l.project_backward(ex, m.fc1, n, in, a.dpre, din);
}

void Block::attention_backward(const Exec& ex, const Sequences& s, int32_t first, int64_t row, int64_t n,
                               const float* x_all, float* dstream) {
  const Layers& l = stack_.layers;
  const int64_t d = l.width();
  const int32_t heads = stack_.shape.heads;
  const float* x = x_all + row * d;
  float* dx = dstream + row * d;
  const ops::Numbers att = numbers(att_, row * d), datt = numbers(stack_.datt), dqkv = numbers(stack_.wide);
  const ops::Numbers norm = numbers(stack_.norm);
  float *mean = stack_.at(stack_.mean), *rstd = stack_.at(stack_.rstd);
  const ops::ConstNumbers dmid = gradient(ex, n, dx);
  ops::bias_backward(ex, n, d, dmid, l.grad(layers_.proj.b));
  l.project_backward(ex, layers_.proj, n, att, dmid, datt);
  ops::attention_backward(ex, stack_.attention(static_cast<int32_t>(n / s.tokens), s.tokens),
                          numbers(qkv_, row * 3 * d), att, stack_.at(lse_, int64_t{first} * heads * s.tokens), datt,
                          dqkv, stack_.at(stack_.work));
  if (stack_.shape.rotary)
    ops::rotary_backward(ex, {n, s.tokens, heads, static_cast<int32_t>(d / heads)},
                         s.position ? s.position + row : nullptr, stack_.at(stack_.angles), dqkv);
  ops::bias_backward(ex, n, 3 * d, dqkv, l.grad(layers_.qkv.b));
  l.normalise(ex, layers_.ln1, n, x, norm, mean, rstd);
  l.project_backward(ex, layers_.qkv, n, norm, dqkv, norm);
  l.normalise_backward(ex, layers_.ln1, n, x, mean, rstd, norm, dx);
}

}  // namespace swy::model
