// Forward and backward walk the packed rows in chunks of whole sequences that stay in the L2 cache, as the dense block
// does. Neighbouring sequences with equally many kept tokens share one attention call, which is all of them when the
// router takes a fixed number from each.
#include "core/model/routed_block.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/moe/dispatch_assign.h"
#include "core/ops/attention.h"
#include "core/ops/ffn.h"
#include "core/ops/gemm.h"
#include "core/ops/maps.h"

namespace swy::model {
namespace {
constexpr int32_t kChunkTokens = 512;  // a chunk's widest activation stays in a 1-2 MiB cache
}

struct RoutedBlock::Impl {
  moe::RouterAtSite& router;
  Arena& arena;
  const moe::SiteSpec& spec;
  const int32_t heads, threads = thread_count();
  Layers layers;
  const BlockLayers block;
  moe::DispatchAssign dispatch;
  const int32_t chunk_sequences;
  int norm, mean, rstd, dnorm;                   // [T, D], [T], [T], [T, D]: LN1
  int x, mid, qkv, att, lse, pre, update, dmid;  // by kept row: LN1 output, stream after attention, ..., f
  int first;                                     // [B + 1] kept rows before each sequence
  int c_norm, c_mean, c_rstd, c_wide, c_dwide, c_datt, c_attention;  // chunk workspaces

  Impl(moe::RouterAtSite& r, int32_t n_heads, Params& params, Arena& a)
      : router(r),
        arena(a),
        spec(r.spec),
        heads(n_heads),
        layers(params, r.spec.width),
        block(layers.block(r.spec.name, r.spec.hidden)),
        dispatch(a, r.site, r.needs, moe::PackOrder::kToken),
        chunk_sequences(std::min(r.spec.max_sequences, std::max(1, kChunkTokens / r.spec.sequence_tokens))) {
    const int64_t t = router.site.max_tokens, d = spec.width, h = spec.hidden, n = dispatch.max_rows();
    norm = floats("ln1", t * d), mean = floats("mean1", t), rstd = floats("rstd1", t), dnorm = floats("dln1", t * d);
    x = floats("kept.x", n * d), mid = floats("kept.mid", n * d), qkv = floats("kept.qkv", n * 3 * d);
    att = floats("kept.attention", n * d), lse = floats("kept.lse", n * heads), pre = floats("kept.pre", n * h);
    update = floats("kept.update", n * d), dmid = floats("kept.dmid", n * d);
    first = arena.reserve(spec.name + ".kept.first", (spec.max_sequences + 1) * int64_t{sizeof(int32_t)});
    const int64_t chunk = int64_t{chunk_sequences} * spec.sequence_tokens, wide = std::max(h, 3 * d);
    c_norm = floats("chunk.norm", chunk * d), c_mean = floats("chunk.mean", chunk);
    c_rstd = floats("chunk.rstd", chunk), c_datt = floats("chunk.dattention", chunk * d);
    c_wide = floats("chunk.wide", chunk * wide), c_dwide = floats("chunk.dwide", chunk * wide);
    c_attention = arena.reserve(spec.name + ".chunk.attention",
                                ops::attention_workspace_bytes(attention_shape(1, spec.sequence_tokens), threads));
  }

  int floats(const char* name, int64_t count) {
    return arena.reserve(spec.name + "." + name, count * int64_t{sizeof(float)});
  }
  float* at(int handle, int64_t element = 0) const { return arena.as<float>(handle) + element; }
  float* value(int handle) const { return layers.value(handle); }
  float* grad(int handle) const { return layers.grad(handle); }
  ops::AttentionShape attention_shape(int32_t sequences, int32_t tokens) const {
    return {sequences, tokens, heads, spec.width / heads, false};
  }

  // body(first row, rows, first sequence, end) for each chunk of sequences; rows are packed ones.
  template <class Body>
  void for_each_chunk(int32_t sequences, Body&& body) const {
    const auto* row = arena.as<int32_t>(first);
    for (int32_t s = 0; s < sequences; s += chunk_sequences) {
      const int32_t end = std::min(s + chunk_sequences, sequences);
      if (row[end] > row[s]) body(int64_t{row[s]}, int64_t{row[end] - row[s]}, s, end);
    }
  }
  // body(shape, first row) for each run of sequences in [s, end) that keep equally many tokens.
  template <class Body>
  void for_each_run(int32_t s, int32_t end, Body&& body) const {
    const auto* row = arena.as<int32_t>(first);
    for (int32_t next = s; s < end; s = next) {
      const int32_t tokens = row[s + 1] - row[s];
      while (next < end && row[next + 1] - row[next] == tokens) ++next;
      if (tokens > 0) body(attention_shape(next - s, tokens), int64_t{row[s]});
    }
  }

  void forward(const Exec& ex, const moe::StepInfo& info, const moe::SequenceBatch& sequences, const float* stream,
               float* y) {
    if (ex.stream) usage_error(spec.name, ": whole blocks are routed on the CPU alone; use FFN sites on a device");
    const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
    const int64_t d = spec.width, tokens = int64_t{sequences.n_sequences} * spec.sequence_tokens;
    layers.normalise(ex, block.ln1, tokens, stream, at(norm), at(mean), at(rstd));
    const Charge router_charge(*ex.tally, Part::kRouter);
    const swy_batch b = router.memory.batch(ex, info.phase, sequences, at(norm), stream);
    const swy_plan p = router.plan(ex, info, b);
    router.stage(moe::Stage::kDispatch, [&] {
      dispatch.pack(b, p, router.recent);
      for (int32_t s = 0; s <= b.n_sequences; ++s)
        arena.as<int32_t>(first)[s] = dispatch.token_begin()[b.sequence_begin[s]];
      dispatch.gather(ex, at(norm), at(x));
      dispatch.gather(ex, stream, at(mid));
    });
    router.stage(moe::Stage::kExperts, [&] {
      const Charge expert_charge(*ex.tally, Part::kExperts);
      for_each_chunk(b.n_sequences, [&](int64_t row, int64_t n, int32_t s, int32_t end) {
        attention_forward(ex, row, n, s, end);
        mlp_forward(ex, row, n);
      });
    });
    router.stage(moe::Stage::kCombine, [&] {
      std::memcpy(y, stream, tokens * d * sizeof(float));
      dispatch.combine(ex, p, tokens, at(update), y);
    });
    router.book(ex, info, b, sequences.real_tokens);
  }

  // update = attn, mid += attn
  void attention_forward(const Exec& ex, int64_t row, int64_t n, int32_t s, int32_t end) {
    const int64_t d = spec.width;
    float *q = at(qkv, row * 3 * d), *attn = at(update, row * d);
    layers.project(ex, block.qkv, n, at(x, row * d), 0, q);
    ops::add_bias(ex, n, 3 * d, q, value(block.qkv.b), q);
    for_each_run(s, end, [&](const ops::AttentionShape& shape, int64_t r) {
      ops::attention(ex, shape, at(qkv, r * 3 * d), at(att, r * d), at(lse, r * heads), at(c_attention));
    });
    layers.project(ex, block.proj, n, at(att, row * d), 0, attn);
    ops::add_bias(ex, n, d, attn, value(block.proj.b), attn);
    ops::axpby(ex, n * d, 1, attn, 1, at(mid, row * d));
  }

  // update += MLP(LN2(mid))
  void mlp_forward(const Exec& ex, int64_t row, int64_t n) {
    const int64_t d = spec.width, h = spec.hidden;
    float *u = at(pre, row * h), *f = at(update, row * d);
    layers.normalise(ex, block.ln2, n, at(mid, row * d), at(c_norm), at(c_mean), at(c_rstd));
    layers.project(ex, block.mlp.fc1, n, at(c_norm), 0, u);
    ops::bias_gelu(ex, n, h, u, value(block.mlp.fc1.b), at(c_wide));
    ops::add_bias(ex, n, d, f, value(block.mlp.fc2.b), f);
    layers.project(ex, block.mlp.fc2, n, at(c_wide), 1, f);
  }

  void backward(const Exec& ex, const moe::StepInfo& info, const moe::SequenceBatch& sequences, const float* stream,
                float* dstream) {
    const Charge charge(*ex.tally, Part::kModel, Pass::kBackward);
    const int64_t d = spec.width, tokens = int64_t{sequences.n_sequences} * spec.sequence_tokens;
    {
      const Charge router_charge(*ex.tally, Part::kRouter);
      const swy_batch b = router.memory.batch(ex, info.phase, sequences, at(norm), stream);
      const swy_plan p = router.memory.plan();
      std::memset(at(dnorm), 0, tokens * d * sizeof(float));
      router.stage(moe::Stage::kCombine,
                   [&] { dispatch.combine_backward(ex, p, dstream, at(update), router.memory.dweight()); });
      router.stage(moe::Stage::kExperts, [&] {
        const Charge expert_charge(*ex.tally, Part::kExperts);
        for_each_chunk(b.n_sequences, [&](int64_t row, int64_t n, int32_t s, int32_t end) {
          mlp_backward(ex, row, n);
          attention_backward(ex, row, n, s, end);
        });
      });
      router.stage(moe::Stage::kDispatch, [&] {
        dispatch.gather_backward(ex, tokens, at(update), at(dnorm));
        dispatch.gather_backward(ex, tokens, at(dmid), dstream);
      });
      router.backward(ex, info, b, p, at(dnorm), dstream);
    }
    layers.normalise_backward(ex, block.ln1, tokens, stream, at(mean), at(rstd), at(dnorm), dstream);
  }

  // From df in `update`: dmid, and df becomes dattn = df + dmid.
  void mlp_backward(const Exec& ex, int64_t row, int64_t n) {
    const int64_t d = spec.width, h = spec.hidden;
    const float* u = at(mid, row * d);
    float *df = at(update, row * d), *du = at(dmid, row * d), *act = at(c_wide), *dpre = at(c_dwide), *in = at(c_norm);
    ops::gemm(ex, false, true, n, h, d, 1, df, value(block.mlp.fc2.w), 0, dpre);
    ops::bias_gelu_backward(ex, n, h, at(pre, row * h), value(block.mlp.fc1.b), dpre, act, grad(block.mlp.fc1.b));
    layers.project_backward(ex, block.mlp.fc2, n, act, df, nullptr);
    ops::bias_backward(ex, n, d, df, grad(block.mlp.fc2.b));
    layers.normalise(ex, block.ln2, n, u, in, at(c_mean), at(c_rstd));
    layers.project_backward(ex, block.mlp.fc1, n, in, dpre, in);
    std::memset(du, 0, n * d * sizeof(float));
    layers.normalise_backward(ex, block.ln2, n, u, at(c_mean), at(c_rstd), in, du);
    ops::axpby(ex, n * d, 1, du, 1, df);
  }

  // From dattn in `update`: dx, in its place.
  void attention_backward(const Exec& ex, int64_t row, int64_t n, int32_t s, int32_t end) {
    const int64_t d = spec.width;
    float *dattn = at(update, row * d), *datt = at(c_datt), *dqkv = at(c_wide);
    ops::bias_backward(ex, n, d, dattn, grad(block.proj.b));
    layers.project_backward(ex, block.proj, n, at(att, row * d), dattn, datt);
    for_each_run(s, end, [&](const ops::AttentionShape& shape, int64_t r) {
      ops::attention_backward(ex, shape, at(qkv, r * 3 * d), at(att, r * d), at(lse, r * heads), datt + (r - row) * d,
                              dqkv + (r - row) * 3 * d, at(c_attention));
    });
    ops::bias_backward(ex, n, 3 * d, dqkv, grad(block.qkv.b));
    layers.project_backward(ex, block.qkv, n, at(x, row * d), dqkv, dattn);
  }
};

RoutedBlock::RoutedBlock(moe::SiteSpec spec, int32_t heads, Instance& router, Params& params, Arena& arena)
    : Site(std::move(spec), router, params, arena), impl_(std::make_unique<Impl>(router_, heads, params, arena)) {}
RoutedBlock::~RoutedBlock() = default;

void RoutedBlock::forward(const Exec& ex, const moe::StepInfo& info, const moe::SequenceBatch& sequences,
                          const float* stream, float* y) {
  impl_->forward(ex, info, sequences, stream, y);
}
void RoutedBlock::backward(const Exec& ex, const moe::StepInfo& info, const moe::SequenceBatch& sequences,
                           const float* stream, float* dstream) {
  impl_->backward(ex, info, sequences, stream, dstream);
}

moe::Site::Kept RoutedBlock::kept() const {
  const moe::DispatchAssign& a = impl_->dispatch;
  return {a.rows(), a.token(), a.expert(), a.entry(), impl_->router.memory.plan().weight};
}

}  // namespace swy::model
