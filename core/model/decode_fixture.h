// For tests: a decoder, wherever its model is, beside one full pass over the same tokens.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/device/move.h"
#include "core/model/decode.h"
#include "core/model/tiny_lm.h"

namespace swy::model {

// Learned and rotary positions, dense and routed layers, shared experts and both kinds of FFN.
inline std::vector<LmConfig> models_to_decode() {
  const auto routed = [](LmConfig c) {
    c.routed_layers = {0, 1}, c.shared_experts = 1;
    return c;
  };
  return {tiny_lm(), tiny_llama(), routed(tiny_lm()), routed(tiny_llama())};
}

// A language model with random tokens for three sequences, on a device or the CPU.
struct TinyDecoding {
  static constexpr int32_t kSequences = 3;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Instance> router = token_choice();
  Tally tally;
  Exec exec{&tally};
  Lm lm;
  Decoder decoder;
  Mirror<int32_t> ids;  // [B, context] what a call is given
  std::vector<int32_t> token;

  TinyDecoding(const LmConfig& c, int device)
      : stream(device < 0 ? nullptr : std::make_unique<Stream>(device)),
        lm(c, router.get(), kSequences, 3, device),
        decoder(lm, kSequences),
        ids(device, int64_t{kSequences} * c.context),
        token(static_cast<size_t>(kSequences * c.context)) {
    exec.stream = stream.get();
    Random random(5);
    for (int32_t& t : token) t = static_cast<int32_t>(random.below(static_cast<uint32_t>(c.vocabulary)));
  }
  int32_t context() const { return lm.config().context; }
  void wait() const {
    if (stream) stream->wait();
  }
  void send(const std::vector<int32_t>& what) {
    wait();
    std::copy(what.begin(), what.end(), ids.host());
    ids.send(exec, static_cast<int64_t>(what.size()));
  }
  // The first prompt[b] tokens of each sequence; then the next one of each.
  void prefill(const std::vector<int32_t>& prompt) {
    const int32_t longest = *std::max_element(prompt.begin(), prompt.end());
    std::vector<int32_t> padded(static_cast<size_t>(kSequences * longest), 7);
    for (int32_t b = 0; b < kSequences; ++b)
      std::copy_n(token.begin() + b * context(), prompt[b], padded.begin() + b * longest);
    send(padded);
    decoder.prefill(exec, ids.there(), kSequences, longest, prompt.data());
  }
  void send_next() {
    std::vector<int32_t> next(kSequences);
    for (int32_t b = 0; b < kSequences; ++b) next[b] = token[b * context() + decoder.length(b)];
    send(next);
  }
  void step() {
    send_next();
    decoder.step(exec, ids.there());
  }
  std::vector<float> logits() const {
    std::vector<float> all(static_cast<size_t>(kSequences * lm.config().vocabulary));
    wait();
    if (stream)
      device_copy(all.data(), decoder.logits(), static_cast<int64_t>(all.size() * sizeof(float)));
    else
      std::copy_n(decoder.logits(), all.size(), all.data());
    return all;
  }
  // Log probabilities [B, context, V] of a full pass, one score per candidate.
  std::vector<double> full_pass() {
    const int32_t v = lm.config().vocabulary;
    const auto n = static_cast<int64_t>(token.size());
    std::vector<double> log_p(token.size() * static_cast<size_t>(v));
    Mirror<int32_t> target(stream ? stream->device() : Arena::kHost, n);
    Mirror<float> loss(stream ? stream->device() : Arena::kHost, n);
    send(token);
    lm.forward(exec, {SWY_SCORE}, {ids.there(), kSequences, context()});
    for (int32_t c = 0; c < v; ++c) {
      std::fill_n(target.host(), n, c);
      target.send(exec, n);
      lm.score(exec, target.there(), 0, loss.there());
      loss.fetch(exec, n);
      wait();
      for (int64_t i = 0; i < n; ++i) log_p[static_cast<size_t>(i * v + c)] = -loss.host()[i];
    }
    return log_p;
  }
};

// Prefill of ragged prompts and then token by token up to the context: the first prompts are as long as allowed for the
// steps that follow; the second prefill starts afresh.
inline void expect_decodes_as_the_full_pass(const LmConfig& c, int device) {
  constexpr int32_t kSequences = TinyDecoding::kSequences;
  TinyDecoding full(c, device), t(c, device);
  const std::vector<double> want = full.full_pass();
  const int32_t v = c.vocabulary;
  const auto compare = [&] {
    const std::vector<float> logits = t.logits();
    for (int32_t b = 0; b < kSequences; ++b) {
      const float* x = logits.data() + b * v;
      double sum = 0;
      for (int32_t i = 0; i < v; ++i) sum += std::exp(double{x[i]});
      for (int32_t i = 0; i < v; ++i)
        ASSERT_NEAR(x[i] - std::log(sum), want[static_cast<size_t>((b * c.context + t.decoder.length(b) - 1) * v + i)],
                    2e-5)
            << "sequence " << b << " length " << t.decoder.length(b);
    }
  };
  for (const std::vector<int32_t>& prompt : {std::vector<int32_t>{5, 1, 4}, std::vector<int32_t>{2, 2, 2}}) {
    t.prefill(prompt);
    compare();
    for (int32_t step = *std::max_element(prompt.begin(), prompt.end()); step < c.context; ++step) {
      t.step();
      compare();
    }
  }
  EXPECT_EQ(t.lm.overrun(), "");
  for (moe::Site* s : t.lm.sites()) s->drain(t.exec);
  EXPECT_EQ(t.tally.of(Part::kModel, Pass::kBackward).flops, 0);
  EXPECT_EQ(t.tally.of(Part::kExperts, Pass::kForward).flops > 0, !c.routed_layers.empty());
}

}  // namespace swy::model
