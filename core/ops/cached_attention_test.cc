#include "core/ops/cached_attention.h"

#include <numeric>

#include "core/base/parallel.h"
#include "core/ops/attention.h"
#include "core/ops/check.h"

namespace swy::ops {
namespace {

// A cache filled by appending is what was appended, ragged prompts first and one token more for each sequence then, and
// the new token's attention is the last row of causal attention over the whole sequence; the same bits for any thread
// count.
TEST(CachedAttention, IsTheLastRowOfCausalAttention) {
  for (const CacheShape s : {CacheShape{3, 2, 8, 9}, CacheShape{1, 1, 5, 4}, CacheShape{4, 3, 32, 70}}) {
    const int32_t tokens = s.capacity - 1, width = s.heads * s.head_dim;
    Bench bench;
    std::vector<int32_t> prompt(static_cast<size_t>(s.sequences)), length;
    for (int32_t b = 0; b < s.sequences; ++b) prompt[b] = std::max(1, tokens - 2 * b), length.push_back(prompt[b] + 1);
    const int64_t keys = std::accumulate(length.begin(), length.end(), int64_t{0});
    const Floats qkv = draw(int64_t{s.sequences} * tokens * 3 * width, 1);
    const Floats next = draw(int64_t{s.sequences} * 3 * width, 2);
    Floats key(static_cast<size_t>(cache_elements(s)), NAN), value = key, out(int64_t{s.sequences} * width);
    Floats score(int64_t{s.sequences} * s.heads * s.capacity), again = out;
    cache_append(bench.ex, s, tokens, nullptr, prompt.data(), qkv.data(), key.data(), value.data());
    cache_append(bench.ex, s, 1, prompt.data(), nullptr, next.data(), key.data(), value.data());
    const int before = thread_count();
    for (const int threads : {1, 3}) {
      set_thread_count(threads);
      cached_attention(bench.ex, s, length.data(), keys, next.data(), 3 * width, key.data(), value.data(), score.data(),
                       threads == 1 ? out.data() : again.data());
    }
    set_thread_count(before);
    EXPECT_EQ(out, again);
    for (int32_t b = 0; b < s.sequences; ++b) {
      const AttentionShape whole{1, length[b], s.heads, s.head_dim, true};
      Floats rows(qkv.begin() + int64_t{b} * tokens * 3 * width,
                  qkv.begin() + (int64_t{b} * tokens + prompt[b]) * 3 * width);
      rows.insert(rows.end(), next.begin() + int64_t{b} * 3 * width, next.begin() + int64_t{b + 1} * 3 * width);
      Floats all(int64_t{length[b]} * width), lse(int64_t{length[b]} * s.heads);
      Floats work(attention_workspace_bytes(whole, thread_count()) / sizeof(float));
      attention(bench.ex, whole, rows.data(), all.data(), lse.data(), work.data());
      expect_close(Floats(out.begin() + int64_t{b} * width, out.begin() + int64_t{b + 1} * width),
                   wide(Floats(all.end() - width, all.end())), 2e-6);
    }
  }
}

// Counted by the keys that are really there, dry or not.
TEST(CachedAttention, Counts) {
  const CacheShape s{2, 3, 4, 10};
  Bench bench;
  bench.ex.dry = true;
  cached_attention(bench.ex, s, nullptr, 7 + 2, nullptr, 36, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(bench.tally.total().flops, 9 * 3 * (4 * 4 + 5));
  cache_append(bench.ex, s, 1, nullptr, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(bench.tally.total().flops, 9 * 3 * (4 * 4 + 5));
}

}  // namespace
}  // namespace swy::ops
