#include "benchmarks/causality.h"

#include <gtest/gtest.h>

#include "core/plugin/loader.h"

namespace swy::bench {
namespace {

struct Known {
  const char* router;
  Json train, score;  // true, false, or null: no claim
  const char* text;
};

// Routers whose papers leave no doubt: token choice is causal, BASE deals out training tokens together but evaluates
// each alone, expert choice looks at the whole group always, and a router of images makes no claim.
TEST(Causality, OfKnownRouters) {
  for (const Known& k : {Known{"top_k", true, true, "causal"},
                         {"remoe", true, true, "causal"},
                         {"base", false, true, "causal in evaluation"},
                         {"expert_choice_lm", false, false, "not causal"},
                         {"soft_moe", nullptr, nullptr, ""}}) {
    const Json j = causality_of(*find_router(k.router).router);
    EXPECT_EQ(j["train"]["causal"], k.train) << k.router;
    EXPECT_EQ(j["score"]["causal"], k.score) << k.router;
    EXPECT_EQ(j["train"]["reason"].is_string(), k.train == false) << k.router;
    EXPECT_EQ(j["score"]["reason"].is_string(), k.score == false) << k.router;
    EXPECT_EQ(causality_text(j), k.text);
  }
}

// A model without routers is causal.
TEST(Causality, OfTheDenseModel) {
  const Json j = causality_of(std::vector<moe::Site*>{});
  EXPECT_EQ(j["train"]["causal"], true);
  EXPECT_EQ(j["score"]["causal"], true);
}

}  // namespace
}  // namespace swy::bench
