#include "core/model/decode.h"

#include <algorithm>
#include <numeric>

#include "core/base/error.h"
#include "core/device/move.h"
#include "core/model/lengths.h"
#include "core/model/lm_impl.h"
#include "core/ops/cached_attention.h"

namespace swy::model {

namespace {

// A step sees one token of each sequence: what later tokens decide, and segments, it cannot route. Rows of whole
// sequences it can where the router promises (rule R14) that they do not depend on tokens to come.
void check_decodable(const moe::Site& site) {
  const auto refuse = [&](const std::string& why) {
    usage_error("decoder: the router '", site.router().id, "' of ", site.spec().name,
                " cannot decode token by token: ", why, "; evaluate whole sequences instead");
  };
  if (site.spec().kind == SWY_SITE_BLOCK) refuse("it routes whole blocks, and skipped tokens leave no keys and values");
  const int32_t rows = site.needs().row_kind;
  if (const char* why = site.acausal(SWY_DECODE)) refuse(why);
  if (rows == SWY_ROW_PREFIX)
    refuse("it routes segments of a sequence by the one before, and a step holds no earlier tokens");
  if (rows != SWY_ROW_TOKEN && !(site.router().caps & SWY_CAP_CAUSAL))
    refuse("it routes whole sequences by all of their tokens");
}

}  // namespace

struct Decoder::Impl {
  Lm::Impl& lm;
  int32_t capacity;  // sequences that the cache holds
  Arena arena;
  std::vector<int> key, value;   // [capacity, heads, context, head_dim] of each layer
  int score, logits, last;       // [capacity, heads, context], [capacity, V], [capacity, D]
  int before, mask;              // [capacity] lengths before the step, [capacity, context] of a ragged prefill
  std::vector<int32_t> lengths;  // [capacity] tokens of each sequence, as the host knows them ...
  Mirror<int32_t> length;        // ... and where the model is: sent by a prefill, counted up there by steps
  int32_t sequences = 0;
  moe::StepInfo info;

  Impl(Lm::Impl& model, int32_t most) : lm(model), capacity(most), arena(model.arena.device()) {
    if (most < 1 || most > lm.max_sequences)
      usage_error("decoder: ", most, " sequences; the model holds 1 to ", lm.max_sequences);
    for (const moe::Site* site : lm.sites) check_decodable(*site);
    const auto floats = [&](const std::string& name, int64_t n) {
      return arena.reserve("decoder." + name, n * static_cast<int64_t>(sizeof(float)));
    };
    for (int32_t l = 0; l < lm.config.depth; ++l) {
      key.push_back(floats("key" + std::to_string(l), ops::cache_elements(shape(most))));
      value.push_back(floats("value" + std::to_string(l), ops::cache_elements(shape(most))));
    }
    score = floats("score", int64_t{most} * lm.config.heads * lm.config.context);
    logits = floats("logits", int64_t{most} * lm.config.vocabulary);
    last = floats("last", int64_t{most} * lm.config.width);
    before = arena.reserve("decoder.before", most * int64_t{sizeof(int32_t)});
    mask = arena.reserve("decoder.mask", int64_t{most} * lm.config.context);
    arena.commit();
    lengths.resize(static_cast<size_t>(most));
    length = Mirror<int32_t>(arena.device(), most);
  }

  ops::CacheShape shape(int32_t n) const {
    return {n, lm.config.heads, lm.config.width / lm.config.heads, lm.config.context};
  }
  float* at(int handle) const { return arena.as<float>(handle); }

  int64_t keys() const { return std::accumulate(lengths.begin(), lengths.begin() + sequences, int64_t{0}); }

  // The layers run as in training; what they leave of k and v goes into the cache.
  void prefill(const Exec& ex, const int32_t* token, int32_t n, int32_t tokens, const int32_t* given,
               uint64_t run_seed) {
    if (n < 1 || n > capacity) usage_error("decoder: ", n, " sequences; this one holds 1 to ", capacity);
    if (tokens < 1 || tokens > lm.config.context)
      usage_error("decoder: prompts of ", tokens, " tokens; the model's context is ", lm.config.context);
    sequences = 0;  // until this has worked
    int64_t real = 0;
    for (int32_t b = 0; b < n; ++b) {
      lengths[b] = given ? given[b] : tokens;
      if (lengths[b] < 1 || lengths[b] > tokens)
        usage_error("decoder: sequence ", b, " has ", lengths[b], " tokens of ", tokens, "; it must have 1 at least");
      real += lengths[b];
    }
    send_lengths(ex, n);
    const bool ragged = real < int64_t{n} * tokens;
    auto* keep = ragged ? arena.as<uint8_t>(mask) : nullptr;
    if (ragged) mask_ends(ex, n, tokens, length.there(), keep);
    info = {};
    info.phase = SWY_PREFILL, info.run_seed = run_seed;
    lm.forward(ex, info, {token, n, tokens, nullptr, keep, real});
    const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
    for (int32_t l = 0; l < lm.config.depth; ++l)
      ops::cache_append(ex, shape(n), tokens, nullptr, length.there(), lm.blocks[l].block->qkv(), at(key[l]),
                        at(value[l]));
    last_tokens(ex, n, tokens, lm.config.width, length.there(), lm.buffer(lm.stream.back()), at(last));
    sequences = n;
    head(ex, at(last));
  }
  // In dry runs too: the host's and these are the same at all times.
  void send_lengths(const Exec& ex, int32_t n) {
    if (ex.stream) ex.stream->wait();  // the last prefill's may still be on their way
    std::copy_n(lengths.begin(), n, length.host());
    Exec placed = ex;
    placed.dry = false;
    length.send(placed, n);
  }

  void step(const Exec& ex, const int32_t* token) {
    if (sequences == 0) usage_error("decoder: a step without a prefill");
    for (int32_t b = 0; b < sequences; ++b)
      if (lengths[b] >= lm.config.context)
        usage_error("decoder: sequence ", b, " is as long as the model's context, ", lm.config.context);
    if (!ex.dry && !ex.stream) lm.check_tokens(token, sequences);
    lm.stack.check_threads();
    lm.started = false, lm.batch = {nullptr, 0, 0};  // the layers' memory no longer belongs to a forward
    info.phase = SWY_DECODE, ++info.step;
    auto* position = arena.as<int32_t>(before);
    grow(ex, sequences, length.there(), position);
    for (int32_t b = 0; b < sequences; ++b) ++lengths[b];
    const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
    moe::SequenceBatch batch(sequences);
    batch.sequence_tokens = 1;
    batch.first_position = position;
    batch.token_id = token;
    lm.embed(ex, sequences, 1, token, position, lm.buffer(lm.stream[0]));
    const int64_t d = lm.config.width;
    for (int32_t l = 0; l < lm.config.depth; ++l)
      lm.blocks[l].block->step(ex, info, {batch, 1, position}, lm.buffer(lm.stream[l]), lm.buffer(lm.stream[l + 1]),
                               [&](const float* qkv, float* out) {
                                 ops::cache_append(ex, shape(sequences), 1, position, nullptr, qkv, at(key[l]),
                                                   at(value[l]));
                                 ops::cached_attention(ex, shape(sequences), length.there(), keys(), qkv, 3 * d,
                                                       at(key[l]), at(value[l]), at(score), out);
                               });
    head(ex, lm.buffer(lm.stream.back()));
  }

  void head(const Exec& ex, const float* x) {
    for (int64_t row = 0; row < sequences; row += lm.head_rows) {
      const int64_t n = std::min<int64_t>(lm.head_rows, sequences - row);
      lm.head_forward(ex, n, x + row * lm.config.width, at(logits) + row * lm.config.vocabulary);
    }
  }
};

Decoder::Decoder(Lm& lm, int32_t max_sequences) : impl_(std::make_unique<Impl>(*lm.impl_, max_sequences)) {}
Decoder::~Decoder() = default;

void Decoder::prefill(const Exec& ex, const int32_t* token, int32_t sequences, int32_t tokens, const int32_t* length,
                      uint64_t run_seed) {
  impl_->prefill(ex, token, sequences, tokens, length, run_seed);
}
void Decoder::step(const Exec& ex, const int32_t* token) { impl_->step(ex, token); }
const float* Decoder::logits() const { return impl_->at(impl_->logits); }
int32_t Decoder::sequences() const { return impl_->sequences; }
int32_t Decoder::length(int32_t sequence) const { return impl_->lengths[sequence]; }
int64_t Decoder::cache_bytes() const {
  return 2 * int64_t{impl_->lm.config.depth} * ops::cache_elements(impl_->shape(impl_->capacity)) *
         static_cast<int64_t>(sizeof(float));
}

}  // namespace swy::model
