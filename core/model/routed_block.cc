// Forward and backward walk the packed rows in chunks of whole sequences that stay in the L2 cache, as the dense block
// does. A device takes them at once. There the number of rows N is not known to the host: layers go over the most there
// can be, M, which is N where the router fills every group. Rows from N on are cleared where they come in (x, the
// stream, attention's outputs, dL/df), so that they stay finite and add zero to every gradient.
#include "core/model/routed_block.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/device/move.h"
#include "core/model/cuda.h"
#include "core/moe/charge.h"
#include "core/moe/dispatch_assign.h"
#include "core/moe/kept_pairs.h"
#include "core/ops/attention.h"
#include "core/ops/ffn.h"
#include "core/ops/gemm.h"
#include "core/ops/maps.h"
#include "core/ops/rotary.h"

namespace swy::model {
namespace {
constexpr int32_t kChunkTokens = 512;  // a chunk's widest activation stays in a 1-2 MiB cache
}

struct RoutedBlock::Impl {
  moe::RouterAtSite& router;
  Arena& arena;
  const moe::SiteSpec& spec;
  const RoutedBlockShape shape;
  const int32_t threads = thread_count();
  Layers layers;
  const BlockLayers block;
  moe::DispatchAssign dispatch;
  moe::KeptPairs kept_pairs;
  const int32_t chunk_sequences;                 // on the CPU
  int norm, mean, rstd, dnorm;                   // [T, D], [T], [T], [T, D]: norm1
  int x, mid, qkv, att, lse, pre, update, dmid;  // by kept row: norm1's output, stream after attention, ..., f
  int position = -1;                             // rotary: of each kept row
  int first;                                     // [B + 1] kept rows before each sequence
  int c_norm, c_mean, c_rstd, c_wide, c_dwide, c_datt, c_attention;  // chunk workspaces
  DeviceSums<int64_t> done;  // [2, 3] what count_kept() adds up, forward and backward

  Impl(moe::RouterAtSite& r, RoutedBlockShape of, Params& params, Arena& a)
      : router(r),
        arena(a),
        spec(r.spec),
        shape(of),
        layers(params, r.spec.width, of.rule),
        block(layers.block(r.spec.name, r.spec.hidden)),
        dispatch(a, r.site, r.needs, moe::PackOrder::kToken),
        chunk_sequences(std::min(r.spec.max_sequences, std::max(1, kChunkTokens / r.spec.sequence_tokens))),
        done(a, r.spec.name + ".kept.done", 6) {
    const int64_t t = router.site.max_tokens, d = spec.width, p = pre_columns(), n = dispatch.max_rows();
    norm = floats("ln1", t * d), mean = floats("mean1", t), rstd = floats("rstd1", t), dnorm = floats("dln1", t * d);
    x = floats("kept.x", n * d), mid = floats("kept.mid", n * d), qkv = floats("kept.qkv", n * 3 * d);
    att = floats("kept.attention", n * d), lse = floats("kept.lse", n * shape.heads), pre = floats("kept.pre", n * p);
    update = floats("kept.update", n * d), dmid = floats("kept.dmid", n * d);
    if (shape.angles >= 0) position = arena.reserve(spec.name + ".kept.position", n * int64_t{sizeof(int32_t)});
    first = arena.reserve(spec.name + ".kept.first", (spec.max_sequences + 1) * int64_t{sizeof(int32_t)});
    const int64_t chunk = arena.on_device() ? n : int64_t{chunk_sequences} * spec.sequence_tokens;
    const int64_t wide = std::max(p, 3 * d);
    c_norm = floats("chunk.norm", chunk * d), c_mean = floats("chunk.mean", chunk);
    c_rstd = floats("chunk.rstd", chunk), c_datt = floats("chunk.dattention", chunk * d);
    c_wide = floats("chunk.wide", chunk * wide), c_dwide = floats("chunk.dwide", chunk * wide);
    const ops::AttentionShape longest{1, spec.sequence_tokens, shape.heads, spec.width / shape.heads};
    c_attention = arena.reserve(spec.name + ".chunk.attention",
                                arena.on_device() ? 0 : ops::attention_workspace_bytes(longest, threads));
  }

  int floats(const char* name, int64_t count) {
    return arena.reserve(spec.name + "." + name, count * int64_t{sizeof(float)});
  }
  float* at(int handle, int64_t element = 0) const { return arena.as<float>(handle) + element; }
  float* value(int handle) const { return layers.value(handle); }
  float* grad(int handle) const { return layers.grad(handle); }
  int64_t pre_columns() const { return ops::pre_columns(shape.rule.activation, spec.hidden); }

  // What the host knows of a call before there is a plan.
  struct Call {
    int32_t sequences, longest;  // longest: most kept tokens of one sequence
    int64_t rows;                // M
  };
  int32_t tokens_of(const moe::SequenceBatch& s) const {  // of each sequence
    return s.sequence_tokens ? s.sequence_tokens : spec.sequence_tokens;
  }
  Call call(const moe::StepInfo& info, const moe::SequenceBatch& s) const {
    const int32_t n = s.n_sequences, tokens = tokens_of(s);
    const int32_t in_group = std::min(spec.group_sequences, n), last = n % spec.group_sequences;
    const auto capacity = [&](int32_t of) { return of > 0 ? router.memory.capacity(info.phase, of * tokens) : 0; };
    const int64_t rows = int64_t{n / spec.group_sequences} * capacity(in_group) + capacity(last);
    return {n, std::min(tokens, capacity(in_group)), std::min(rows, dispatch.max_rows())};
  }

  // Some packed rows of whole sequences.
  struct Chunk {
    int64_t row, n;                                                       // first row, rows
    ops::AttentionShape shape;                                            // of its sequences
    const int32_t* end() const { return shape.first + shape.sequences; }  // where the number of rows so far is
  };
  Chunk chunk(const Call& c, int64_t row, int64_t n, int32_t s, int32_t end) const {
    const int32_t heads = shape.heads;
    return {row, n, {end - s, c.longest, heads, spec.width / heads, shape.causal, arena.as<int32_t>(first) + s}};
  }
  // body(Exec, Chunk) for each chunk that has rows, charged to the experts.
  template <class Body>
  void for_each_chunk(const Exec& ex, Pass pass, const Call& c, Body&& body) const {
    const Charge charge(*ex.tally, Part::kExperts);
    const auto* row = arena.as<int32_t>(first);
    if (ex.stream) {
      Tally ignored;  // of M rows; charge_done() charges N
      Exec uncounted = ex;
      uncounted.tally = &ignored;
      body(uncounted, chunk(c, 0, c.rows, 0, c.sequences));
      if constexpr (kWithCuda) cuda::count_kept(*ex.stream, c.sequences, row, shape.causal, done_in(pass));
      return;
    }
    for (int32_t s = 0; s < c.sequences; s += chunk_sequences) {
      const int32_t end = std::min(s + chunk_sequences, c.sequences);
      if (row[end] > row[s]) body(ex, chunk(c, row[s], row[end] - row[s], s, end));
    }
  }
  int64_t* done_in(Pass pass) const { return done.there() + (pass == Pass::kForward ? 0 : 3); }
  // On a device: the rows of x [n, width] that the chunk does not have.
  void clear_rest(const Exec& ex, const Chunk& c, int64_t width, float* x) const {
    if constexpr (kWithCuda)
      if (ex.stream) cuda::clear_rows_from(*ex.stream, c.end(), c.n, width, x);
  }

  void forward(const Exec& ex, const moe::StepInfo& info, const moe::SequenceBatch& sequences, const float* stream,
               float* y) {
    const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
    const int64_t d = spec.width, tokens = int64_t{sequences.n_sequences} * tokens_of(sequences);
    const Call c = call(info, sequences);
    layers.normalise(ex, block.ln1, tokens, stream, at(norm), at(mean), at(rstd));
    const Charge router_charge(*ex.tally, Part::kRouter);
    const swy_batch b = router.memory.batch(ex, info.phase, sequences, at(norm), stream);
    const swy_plan p = router.plan(ex, info, b);
    router.stage(moe::Stage::kDispatch, [&] {
      pack(ex, c, b, p);
      dispatch.gather(ex, at(norm), at(x));
      dispatch.gather(ex, stream, at(mid));
    });
    router.stage(moe::Stage::kExperts, [&] {
      for_each_chunk(ex, Pass::kForward, c, [&](const Exec& own, const Chunk& some) { forward_chunk(own, some); });
    });
    router.stage(moe::Stage::kCombine, [&] {
      copy(ex, tokens * d, stream, y);
      dispatch.combine(ex, p, tokens, at(update), y);
    });
    router.book(ex, info, b, sequences.real_tokens);
  }

  void pack(const Exec& ex, const Call& c, const swy_batch& b, const swy_plan& p) {
    auto* row = arena.as<int32_t>(first);
    auto* place = position < 0 ? nullptr : arena.as<int32_t>(position);
    if (!ex.stream) {
      dispatch.pack(b, p, router.recent);
      for (int32_t s = 0; s <= b.n_sequences; ++s) row[s] = dispatch.token_begin()[b.sequence_begin[s]];
      for (int64_t r = 0; place && r < dispatch.rows(); ++r) place[r] = b.position[dispatch.token()[r]];
      return;
    }
    dispatch.pack(*ex.stream, b, p, router.recent_on_device());
    if constexpr (kWithCuda) {
      cuda::find_sequences(*ex.stream, b.n_sequences, b.sequence_begin, dispatch.token_begin(), row);
      if (place) cuda::find_positions(*ex.stream, row + b.n_sequences, c.rows, b.position, dispatch.token(), place);
    }
  }

  // update = f
  void forward_chunk(const Exec& ex, const Chunk& c) {
    clear_rest(ex, c, spec.width, at(x, c.row * spec.width));
    clear_rest(ex, c, spec.width, at(mid, c.row * spec.width));
    attention_forward(ex, c);
    mlp_forward(ex, c.row, c.n);
  }

  ops::RotaryShape turned(int64_t n) const { return {n, spec.sequence_tokens, shape.heads, spec.width / shape.heads}; }

  // update = attn, mid += attn
  void attention_forward(const Exec& ex, const Chunk& c) {
    const int64_t d = spec.width, row = c.row, n = c.n;
    float *q = at(qkv, row * 3 * d), *attn = at(update, row * d);
    layers.project(ex, block.qkv, n, at(x, row * d), 0, q);
    if (position < 0)
      ops::add_bias(ex, n, 3 * d, q, value(block.qkv.b), q);
    else
      ops::bias_rotary(ex, turned(n), arena.as<int32_t>(position) + row, at(shape.angles), value(block.qkv.b), q);
    ops::attention(ex, c.shape, q, at(att, row * d), at(lse, row * shape.heads), at(c_attention));
    clear_rest(ex, c, d, at(att, row * d));
    layers.project(ex, block.proj, n, at(att, row * d), 0, attn);
    ops::add_bias(ex, n, d, attn, value(block.proj.b), attn);
    ops::axpby(ex, n * d, 1, attn, 1, at(mid, row * d));
  }

  // update += MLP(norm2(mid))
  void mlp_forward(const Exec& ex, int64_t row, int64_t n) {
    const int64_t d = spec.width, h = spec.hidden;
    float *u = at(pre, row * pre_columns()), *f = at(update, row * d);
    layers.normalise(ex, block.ln2, n, at(mid, row * d), at(c_norm), at(c_mean), at(c_rstd));
    layers.project(ex, block.mlp.fc1, n, at(c_norm), 0, u);
    ops::activate(ex, shape.rule.activation, n, h, u, value(block.mlp.fc1.b), at(c_wide));
    ops::add_bias(ex, n, d, f, value(block.mlp.fc2.b), f);
    layers.project(ex, block.mlp.fc2, n, at(c_wide), 1, f);
  }

  void backward(const Exec& ex, const moe::StepInfo& info, const moe::SequenceBatch& sequences, const float* stream,
                float* dstream) {
    const Charge charge(*ex.tally, Part::kModel, Pass::kBackward);
    const int64_t d = spec.width, tokens = int64_t{sequences.n_sequences} * tokens_of(sequences);
    {
      const Charge router_charge(*ex.tally, Part::kRouter);
      const swy_batch b = router.memory.batch(ex, info.phase, sequences, at(norm), stream);
      const swy_plan p = router.memory.plan();
      set_zero(ex, at(dnorm), tokens * d);
      router.stage(moe::Stage::kCombine,
                   [&] { dispatch.combine_backward(ex, p, dstream, at(update), router.memory.dweight()); });
      router.stage(moe::Stage::kExperts, [&] {
        for_each_chunk(ex, Pass::kBackward, call(info, sequences),
                       [&](const Exec& own, const Chunk& some) { backward_chunk(own, some); });
      });
      router.stage(moe::Stage::kDispatch, [&] {
        dispatch.gather_backward(ex, tokens, at(update), at(dnorm));
        dispatch.gather_backward(ex, tokens, at(dmid), dstream);
      });
      router.backward(ex, info, b, p, at(dnorm), dstream);
    }
    layers.normalise_backward(ex, block.ln1, tokens, stream, at(mean), at(rstd), at(dnorm), dstream);
  }

  // From df in `update`: dx, in its place, and dmid.
  void backward_chunk(const Exec& ex, const Chunk& c) {
    clear_rest(ex, c, spec.width, at(update, c.row * spec.width));
    mlp_backward(ex, c.row, c.n);
    attention_backward(ex, c);
  }

  // From df in `update`: dmid, and df becomes dattn = df + dmid.
  void mlp_backward(const Exec& ex, int64_t row, int64_t n) {
    const int64_t d = spec.width, h = spec.hidden;
    const float* u = at(mid, row * d);
    float *df = at(update, row * d), *du = at(dmid, row * d), *dact = at(c_dwide), *in = at(c_norm);
    ops::gemm(ex, false, true, n, h, d, 1, df, value(block.mlp.fc2.w), 0, dact);
    const ops::Activated a = ops::activate_backward(ex, shape.rule.activation, n, h, at(pre, row * pre_columns()),
                                                    value(block.mlp.fc1.b), dact, at(c_wide), grad(block.mlp.fc1.b));
    layers.project_backward(ex, block.mlp.fc2, n, a.act, df, nullptr);
    ops::bias_backward(ex, n, d, df, grad(block.mlp.fc2.b));
    layers.normalise(ex, block.ln2, n, u, in, at(c_mean), at(c_rstd));
    layers.project_backward(ex, block.mlp.fc1, n, in, a.dpre, in);
    set_zero(ex, du, n * d);
    layers.normalise_backward(ex, block.ln2, n, u, at(c_mean), at(c_rstd), in, du);
    ops::axpby(ex, n * d, 1, du, 1, df);
  }

  // From dattn in `update`: dx, in its place.
  void attention_backward(const Exec& ex, const Chunk& c) {
    const int64_t d = spec.width, row = c.row, n = c.n;
    float *dattn = at(update, row * d), *datt = at(c_datt), *dqkv = at(c_wide);
    ops::bias_backward(ex, n, d, dattn, grad(block.proj.b));
    layers.project_backward(ex, block.proj, n, at(att, row * d), dattn, datt);
    ops::attention_backward(ex, c.shape, at(qkv, row * 3 * d), at(att, row * d), at(lse, row * shape.heads), datt, dqkv,
                            at(c_attention));
    clear_rest(ex, c, 3 * d, dqkv);
    if (position >= 0) ops::rotary_backward(ex, turned(n), arena.as<int32_t>(position) + row, at(shape.angles), dqkv);
    ops::bias_backward(ex, n, 3 * d, dqkv, grad(block.qkv.b));
    layers.project_backward(ex, block.qkv, n, at(x, row * d), dqkv, dattn);
  }

  // ---- what a device did ----
  void charge_done(const Exec& ex) {
    dispatch.charge_done(ex);
    const int64_t* all = done.added();
    const Chunk none = chunk({}, 0, 0, 0, 0);
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      const bool forward = pass == Pass::kForward;
      const int64_t* counts = all + (forward ? 0 : 3);
      const auto rows = static_cast<double>(counts[0]), pairs = static_cast<double>(counts[1]);
      {
        const Charge account(*ex.tally, Part::kExperts, pass);
        moe::charge_rows(*ex.tally, counts[0], counts[2], [&](const Exec& dry, int64_t n) {
          Chunk some = none;
          some.n = n;
          forward ? forward_chunk(dry, some) : backward_chunk(dry, some);
        });
        const Work w = (forward ? ops::attention_work : ops::attention_backward_work)(none.shape, rows, pairs);
        ex.tally->add(w.flops, w.bytes);
      }
      if (forward) continue;
      const Charge account(*ex.tally, Part::kRouter, pass);
      // charge_done() of the dispatcher has charged one gather_backward for each combine_backward; this is the second.
      const Work w = moe::DispatchAssign::gather_backward_work(rows, 0, static_cast<double>(spec.width));
      ex.tally->add(w.flops, w.bytes);
    }
  }
};

RoutedBlock::RoutedBlock(moe::SiteSpec spec, RoutedBlockShape shape, Instance& router, Params& params, Arena& arena)
    : Site(std::move(spec), router, params, arena), impl_(std::make_unique<Impl>(router_, shape, params, arena)) {}
RoutedBlock::~RoutedBlock() = default;

void RoutedBlock::forward(const Exec& ex, const moe::StepInfo& info, const moe::SequenceBatch& sequences,
                          const float* stream, float* y) {
  impl_->forward(ex, info, sequences, stream, y);
}
void RoutedBlock::backward(const Exec& ex, const moe::StepInfo& info, const moe::SequenceBatch& sequences,
                           const float* stream, float* dstream) {
  impl_->backward(ex, info, sequences, stream, dstream);
}

moe::Site::Kept RoutedBlock::kept() const { return impl_->kept_pairs.of(router_, impl_->dispatch); }
void RoutedBlock::charge_done(const Exec& ex) { impl_->charge_done(ex); }

}  // namespace swy::model
