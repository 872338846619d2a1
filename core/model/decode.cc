#include "core/model/decode.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
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
  std::vector<int> key, value;           // [capacity, heads, context, head_dim] of each layer
  int score, logits, last;               // [capacity, heads, context], [capacity, V], [capacity, D]
  std::vector<int32_t> lengths, before;  // [capacity] tokens of each sequence: now, and before the step
  std::vector<uint8_t> mask;             // [capacity, context] of a ragged prefill
  int32_t sequences = 0;
  moe::StepInfo info;

  Impl(Lm::Impl& model, int32_t most) : lm(model), capacity(most) {
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
    arena.commit();
    lengths.resize(static_cast<size_t>(most)), before.resize(static_cast<size_t>(most));
    mask.resize(static_cast<size_t>(most) * static_cast<size_t>(lm.config.context));
  }

  ops::CacheShape shape(int32_t n) const {
    return {n, lm.config.heads, lm.config.width / lm.config.heads, lm.config.context};
  }
  float* at(int handle) const { return arena.as<float>(handle); }

  // The layers run as in training; what they leave of k and v goes into the cache.
  void prefill(const Exec& ex, const int32_t* token, int32_t n, int32_t tokens, const int32_t* length,
               uint64_t run_seed) {
    if (n < 1 || n > capacity) usage_error("decoder: ", n, " sequences; this one holds 1 to ", capacity);
    if (tokens < 1 || tokens > lm.config.context)
      usage_error("decoder: prompts of ", tokens, " tokens; the model's context is ", lm.config.context);
    bool ragged = false;
    for (int32_t b = 0; b < n; ++b) {
      lengths[b] = length ? length[b] : tokens;
      if (lengths[b] < 1 || lengths[b] > tokens)
        usage_error("decoder: sequence ", b, " has ", lengths[b], " tokens of ", tokens, "; it must have 1 at least");
      ragged |= lengths[b] < tokens;
      std::fill_n(mask.begin() + int64_t{b} * tokens, tokens, uint8_t{0});
      std::fill_n(mask.begin() + int64_t{b} * tokens, lengths[b], uint8_t{1});
    }
    sequences = 0;  // until this has worked
    info = {};
    info.phase = SWY_PREFILL, info.run_seed = run_seed;
    lm.forward(ex, info, {token, n, tokens, nullptr, ragged ? mask.data() : nullptr});
    const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
    for (int32_t l = 0; l < lm.config.depth; ++l)
      ops::cache_append(ex, shape(n), tokens, nullptr, lengths.data(), lm.blocks[l]->qkv(), at(key[l]), at(value[l]));
    const int64_t d = lm.config.width;
    for (int32_t b = 0; !ex.dry && b < n; ++b)
      std::memcpy(at(last) + b * d, lm.buffer(lm.stream.back()) + (int64_t{b} * tokens + lengths[b] - 1) * d,
                  d * sizeof(float));
    sequences = n;
    head(ex, at(last));
  }

  void step(const Exec& ex, const int32_t* token) {
    if (sequences == 0) usage_error("decoder: a step without a prefill");
    for (int32_t b = 0; b < sequences; ++b)
      if (lengths[b] >= lm.config.context)
        usage_error("decoder: sequence ", b, " is as long as the model's context, ", lm.config.context);
    if (!ex.dry) lm.check_tokens(token, sequences);
    lm.stack.check_threads();
    lm.started = false, lm.batch = {nullptr, 0, 0};  // the layers' memory no longer belongs to a forward
    info.phase = SWY_DECODE, ++info.step;
    std::copy_n(lengths.begin(), sequences, before.begin());
    for (int32_t b = 0; b < sequences; ++b) ++lengths[b];
    const Charge charge(*ex.tally, Part::kModel, Pass::kForward);
    moe::SequenceBatch batch(sequences);
    batch.sequence_tokens = 1;
    batch.first_position = before.data();
    batch.token_id = token;
    lm.embed(ex, sequences, 1, token, before.data(), lm.buffer(lm.stream[0]));
    const int64_t d = lm.config.width;
    for (int32_t l = 0; l < lm.config.depth; ++l)
      lm.blocks[l]->step(ex, info, {batch, 1, before.data()}, lm.buffer(lm.stream[l]), lm.buffer(lm.stream[l + 1]),
                         [&](const float* qkv, float* out) {
                           ops::cache_append(ex, shape(sequences), 1, before.data(), nullptr, qkv, at(key[l]),
                                             at(value[l]));
                           ops::cached_attention(ex, shape(sequences), lengths.data(), qkv, 3 * d, at(key[l]),
                                                 at(value[l]), at(score), out);
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
