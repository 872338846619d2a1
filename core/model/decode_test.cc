#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/model/decode_fixture.h"

namespace swy::model {
namespace {

// At every place the probabilities are those of one full pass over the same tokens, to 2e-5 of a nat (another gemm
// shape rounds differently).
TEST(Decoder, EqualsTheFullPass) {
  for (const LmConfig& c : models_to_decode()) expect_decodes_as_the_full_pass(c, Arena::kHost);
}

// What a router was told in one call, taken down by a router that stands in front of the real one.
struct Told {
  int32_t phase;
  std::vector<int32_t> position, length;
  std::vector<int64_t> id;
  std::vector<uint8_t> mask;
};
std::vector<Told> told;
const swy_router* real_router;
swy_status take_down(void* self, swy_exec* e, const swy_batch* b, const swy_state* s, swy_plan* p) {
  const auto n = static_cast<size_t>(b->x.shape[0]), sequences = static_cast<size_t>(b->n_sequences);
  Told t{e->phase, {b->position, b->position + n}, {}, {b->sequence_id, b->sequence_id + sequences}, {}};
  for (size_t i = 0; i < sequences; ++i) t.length.push_back(b->sequence_begin[i + 1] - b->sequence_begin[i]);

  if (b->mask) t.mask.assign(b->mask, b->mask + n);
  told.push_back(std::move(t));
  return real_router->forward(self, e, b, s, p);
}

// A router sees the phase of decoding, absolute positions, sequences of one token, padding marked in a ragged prefill,
// and the same sequence ids in all calls.
TEST(Decoder, TellsRoutersWhereTheyAre) {
  real_router = find_router(std::string(SWITCHYARD_BUILD_DIR) + "/plugins/softmax_token_choice.so").router;
  swy_router watched = *real_router;
  watched.forward = take_down;
  Instance router(watched, {{"noise", "0"}}, 1, Checking::kFirst);
  LmConfig c = tiny_lm();
  c.routed_layers = {1};
  Lm lm(c, &router, 4, 3);
  Decoder decoder(lm, 2);
  Tally tally;
  const Exec ex{&tally};
  const int32_t prompt[] = {1, 2, 3, 4, 5, 6}, length[] = {3, 2}, next[] = {7, 8};
  told.clear();
  decoder.prefill(ex, prompt, 2, 3, length);
  told.erase(told.begin(), told.end() - 1);  // the checked layer may have called it more than once
  decoder.step(ex, next);
  told.erase(told.begin() + 1, told.end() - 1);
  decoder.step(ex, next);
  ASSERT_EQ(told.size(), 3u);
  EXPECT_EQ(told[0].phase, SWY_PREFILL);
  EXPECT_EQ(told[0].position, (std::vector<int32_t>{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(told[0].mask, (std::vector<uint8_t>{1, 1, 1, 1, 1, 0}));
  EXPECT_EQ(told[0].length, (std::vector<int32_t>{3, 3}));
  for (int step = 0; step < 2; ++step) {
    EXPECT_EQ(told[1 + step].phase, SWY_DECODE);
    EXPECT_EQ(told[1 + step].position, (std::vector<int32_t>{3 + step, 2 + step}));
    EXPECT_EQ(told[1 + step].length, (std::vector<int32_t>{1, 1}));
    EXPECT_EQ(told[1 + step].id, told[0].id);
  }
}

// Routers that a step cannot serve are refused by name and reason: those that say so for evaluation, segments, and
// whole sequences routed by their tokens. One that is acausal in training only decodes.
TEST(Decoder, RefusesRoutersThatNeedLaterTokens) {
  LmConfig c = tiny_lm();
  c.routed_layers = {1};
  const auto refusal = [&](const char* id, const OptionText& options) -> std::string {
    const auto router = tree_router(id, options, Checking::kFirst);
    Lm lm(c, router.get(), 2, 1);
    try {
      Decoder decoder(lm, 2);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kUsage);
      return e.what();
    }
    return "";
  };
  const auto expect_refused = [&](const char* id, const OptionText& options, const std::string& why) {
    const std::string said = refusal(id, options);
    EXPECT_NE(said.find(std::string("the router '") + id + "'"), std::string::npos) << said;
    EXPECT_NE(said.find(why), std::string::npos) << id << ": " << said;
  };
  expect_refused("expert_choice_lm", {}, "an expert takes the best tokens of a whole group");
  expect_refused("lory", {{"segment", "4"}}, "segment");
  expect_refused("smear", {}, "whole sequences");
  c.site = SWY_SITE_BLOCK, c.experts = 1;
  expect_refused("hash", {}, "it routes whole blocks");
  c.site = SWY_SITE_FFN, c.experts = 4;
  EXPECT_EQ(refusal("base", {}), "");
  EXPECT_EQ(refusal("top_k", {}), "");
}

// Wrong use is refused: more sequences than there is room for, empty or overlong prompts, steps before a prefill or
// beyond the context, and a backward pass over memory that a step has used.
TEST(Decoder, RefusesWrongUse) {
  Lm lm(tiny_lm(), nullptr, 2, 1);
  EXPECT_THROW(Decoder(lm, 3), Error);
  EXPECT_THROW(Decoder(lm, 0), Error);
  Decoder decoder(lm, 2);
  Tally tally;
  const Exec ex{&tally};
  const std::vector<int32_t> token(26, 1);
  std::vector<float> loss(26);
  EXPECT_THROW(decoder.step(ex, token.data()), Error);
  EXPECT_THROW(decoder.prefill(ex, token.data(), 3, 1), Error);
  EXPECT_THROW(decoder.prefill(ex, token.data(), 2, 13), Error);
  const int32_t none[] = {1, 0};
  EXPECT_THROW(decoder.prefill(ex, token.data(), 2, 2, none), Error);
  EXPECT_THROW(decoder.step(ex, token.data()), Error) << "the prefill did not work";
  decoder.prefill(ex, token.data(), 2, 11);
  decoder.step(ex, token.data());
  EXPECT_EQ(decoder.length(1), 12);
  EXPECT_THROW(decoder.step(ex, token.data()), Error);
  decoder.prefill(ex, token.data(), 2, 4);
  lm.forward(ex, {}, {token.data(), 2, 4});
  lm.score(ex, token.data(), 1, loss.data());
  decoder.step(ex, token.data());
  EXPECT_THROW(lm.backward(ex, {}), Error);
}

}  // namespace
}  // namespace swy::model
