// For tests: what linear sites are tried with, on the CPU and on devices. Each case is a way to route (test_routers.h,
// ForLinear) at a site of some shape.
#pragma once
#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "core/moe/block_fixture.h"
#include "core/moe/routed_linear.h"
#include "core/moe/test_routers.h"

namespace swy::moe::testing {

using LinearBlock = BlockOf<RoutedLinear>;

struct LinearCase {
  std::string name{}, plan = "assign", rows = "token", mixes = "out";
  int k = 2;
  double factor = 1;  // slots per token
  int32_t sequences = 5, group_sequences = 2;
  bool padding = false;
  std::string gate = "softmax";
  int32_t width = 6, out = 5, rank = 3, experts = 4, tokens = 8;
  bool rewrites = false;

  OptionText options() const {
    return {{"plan", plan}, {"rows", rows},           {"mixes", mixes},
            {"gate", gate}, {"k", std::to_string(k)}, {"rewrites", rewrites ? "true" : "false"}};
  }
  SiteSpec site() const {
    SiteSpec s;
    s.name = "block0.q";
    s.width = width, s.out_width = out, s.rank = rank, s.scale = 1.5f, s.experts = experts;
    s.sequence_tokens = tokens, s.max_sequences = std::max(sequences, 5), s.group_sequences = group_sequences;
    s.max_tasks = 3, s.d_task = 4;
    s.train_capacity.factor = s.eval_capacity.factor = factor;
    return s;
  }
  // [T] 0: padding; the last tokens of most sequences.
  std::vector<uint8_t> mask() const {
    std::vector<uint8_t> m;
    for (int32_t t = 0; t < sequences * tokens; ++t) m.push_back(!padding || t % tokens < tokens - t / tokens % 4);
    return m;
  }
};
inline void PrintTo(const LinearCase& c, std::ostream* out) { *out << c.name; }

inline const swy_router& for_linear() { return local_router<ForLinear>("for_linear"); }

// Small enough for differences by every element; each for every aggregation.
inline std::vector<LinearCase> small_linear_cases() {
  std::vector<LinearCase> all;
  for (const char* mixes : {"out", "delta", "ab"}) {
    const auto add = [&](const char* name, LinearCase c) {
      c.name = std::string(name) + "_" + mixes, c.mixes = mixes;
      all.push_back(std::move(c));
    };
    add("tokens_drops", {.factor = 1});
    add("tokens_roomy", {.k = 4, .factor = 4, .gate = "plain"});
    add("tokens_one_rank_one", {.k = 1, .factor = 1, .out = 9, .rank = 1});
    add("tokens_padding", {.factor = 1, .padding = true});
    add("tokens_rank_20", {.factor = 2, .sequences = 3, .out = 8, .rank = 20});
    add("sequences_drops", {.rows = "sequence", .factor = 1.25, .padding = true});
    add("tasks_drops", {.rows = "task", .factor = 3});
    add("batch", {.rows = "batch", .factor = 4});
    add("rewritten", {.k = 1, .factor = 4, .rewrites = true});
    add("merged_rewritten", {.plan = "merge", .rows = "sequence", .rewrites = true});
    add("merged_sequences", {.plan = "merge", .rows = "sequence"});
    add("merged_sequences_padding", {.plan = "merge", .rows = "sequence", .padding = true, .out = 9});
    add("merged_prefixes", {.plan = "merge", .rows = "prefix", .gate = "plain", .rank = 1});
    add("merged_batch_rank_20", {.plan = "merge", .rows = "batch", .sequences = 3, .width = 4, .rank = 20});
  }
  return all;
}

}  // namespace swy::moe::testing
