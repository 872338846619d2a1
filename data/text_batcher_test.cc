#include "data/text_batcher.h"

#include <algorithm>
#include <set>

#include "data/testing.h"

namespace swy::data {
namespace {

// `tokens` tokens; token i is the number i, its cluster i % 3.
TextSplit numbered(int64_t tokens) {
  TextSplit split;
  for (int64_t i = 0; i < tokens; ++i) {
    split.token.push_back(static_cast<int32_t>(i));
    split.cluster.push_back(static_cast<int32_t>(i % 3));
  }
  split.units = static_cast<double>(tokens);
  return split;
}

TextDataset numbered_set(int64_t tokens) {
  TextDataset set;
  set.id = "numbered";
  set.train = numbered(tokens);
  set.vocabulary = static_cast<int>(tokens);
  return set;
}

struct Windows {
  Windows(int64_t batch, int64_t context)
      : token(static_cast<size_t>(batch * context), -7), target(token), cluster(token) {}
  bool operator==(const Windows&) const = default;
  std::vector<int32_t> token, target, cluster;
};

// Proves that a row is a window of the text, its targets the tokens after it, its clusters those of its tokens, in both
// orders.
TEST(TextBatcher, TargetsAreTheNextTokens) {
  const TextDataset set = numbered_set(100);
  for (bool random : {true, false}) {
    TextBatcher batcher(set, {6, 7, 3, random});
    Windows w(6, 7);
    for (int64_t index : {0, 5, 90}) {
      batcher.train_batch(index, w.token.data(), w.target.data(), w.cluster.data());
      for (int64_t b = 0; b < 6; ++b) {
        const int64_t start = batcher.train_start(index, b);
        for (int64_t s = 0; s < 7; ++s) {
          ASSERT_EQ(w.token[b * 7 + s], start + s);
          ASSERT_EQ(w.target[b * 7 + s], start + s + 1);
          ASSERT_EQ(w.cluster[b * 7 + s], (start + s) % 3);
        }
      }
    }
  }
}

// Proves that a batch is a pure function of (seed, index): another batcher asked in another order gives the same, and
// another seed does not.
TEST(TextBatcher, BatchIsAPureFunctionOfSeedAndIndex) {
  const TextDataset set = numbered_set(1000);
  for (bool random : {true, false}) {
    const TextBatcherOptions options{5, 16, 11, random};
    TextBatcher forward(set, options), backward(set, options), other(set, {5, 16, 12, random});
    std::vector<Windows> batches(40, Windows(5, 16));
    for (int64_t i = 0; i < 40; ++i) forward.train_batch(i, batches[i].token.data(), batches[i].target.data());
    int same = 0;
    for (int64_t i = 39; i >= 0; --i) {
      Windows w(5, 16);
      backward.train_batch(i, w.token.data(), w.target.data());
      EXPECT_TRUE(w == batches[i]) << "batch " << i;
      other.train_batch(i, w.token.data(), w.target.data());
      same += w == batches[i];
    }
    EXPECT_LT(same, 3);
  }
}

// Proves that random windows start anywhere they fit, first and last place included, equally often.
TEST(TextBatcher, RandomWindowsAreUniform) {
  const TextDataset set = numbered_set(20);
  TextBatcher batcher(set, {1000, 10, 5, true});
  std::vector<int> counts(10);  // a window of 10 and its last target fit at 0 to 9
  for (int64_t i = 0; i < 10000; ++i) ++counts.at(static_cast<size_t>(batcher.train_start(i / 1000, i % 1000)));
  for (int count : counts) EXPECT_NEAR(count, 1000, 150);  // standard deviation 30
}

// Proves that an epoch is disjoint windows that cover all but a rest below two windows, that it starts at other places
// in other epochs, and that batches run over the ends of epochs (3 does not divide the number of windows).
TEST(TextBatcher, EpochsAreDisjointWindows) {
  const TextDataset set = numbered_set(103);
  TextBatcher batcher(set, {3, 10, 8, false});
  std::set<int64_t> firsts;
  for (int64_t epoch = 0; epoch < 50; ++epoch) {
    std::set<int64_t> starts;
    for (int64_t i = epoch * 9; i < (epoch + 1) * 9; ++i) starts.insert(batcher.train_start(i / 3, i % 3));
    ASSERT_EQ(starts.size(), 9u);
    firsts.insert(*starts.begin());
    EXPECT_LT(*starts.begin(), 10);
    EXPECT_LE(*starts.rbegin() + 10, 102);  // its last target is in the split
    EXPECT_EQ(*starts.rbegin() - *starts.begin(), 80);
  }
  EXPECT_EQ(firsts.size(), 10u);
}

// Proves that a text of one window works, in both orders, and that a shorter one is refused.
TEST(TextBatcher, ShortestText) {
  const TextDataset set = numbered_set(9);
  for (bool random : {true, false}) {
    TextBatcher batcher(set, {4, 8, 1, random});
    for (int64_t row = 0; row < 4; ++row) EXPECT_EQ(batcher.train_start(3, row), 0);
    expect_error(Kind::kUsage, {"9 tokens", "context of 9"}, [&] { TextBatcher(set, {4, 9, 1, random}); });
  }
  expect_error(Kind::kUsage, {"batch size 0"}, [&] { TextBatcher(set, {0, 4}); });
  expect_error(Kind::kUsage, {"context 0"}, [&] { TextBatcher(set, {1, 0}); });
}

// Proves, for strides and lengths that do not divide each other, that every token but the first is a target exactly
// once, that its window holds the tokens before it, at least context - stride of them where the text has them, and that
// padding is what it is said to be.
TEST(TextBatcher, EveryTokenIsScoredExactlyOnce) {
  const TextDataset set = numbered_set(64);
  for (int64_t context : {1, 4, 10}) {
    for (int64_t batch : {1, 3}) {
      TextBatcher batcher(set, {batch, context, 0});
      for (int64_t stride : {int64_t{1}, int64_t{3}, context}) {
        if (stride > context) continue;
        for (int64_t tokens : {2, 5, 10, 11, 12, 33, 41}) {
          const TextSplit split = numbered(tokens);
          std::vector<int> scored(static_cast<size_t>(tokens));
          const int64_t batches = batcher.eval_batches(split, stride);
          for (int64_t i = 0; i < batches; ++i) {
            Windows w(batch, context);
            const int64_t filled =
                batcher.eval_batch(split, stride, i, w.token.data(), w.target.data(), w.cluster.data());
            ASSERT_TRUE(filled == batch || (i == batches - 1 && filled > 0 && filled < batch));
            for (int64_t row = 0; row < filled; ++row) {
              const int64_t start = (i * batch + row) * stride;
              for (int64_t s = 0; s < context; ++s) {
                const int64_t at = row * context + s;
                const bool inside = start + s < tokens - 1;
                EXPECT_EQ(w.token[at], inside ? start + s : 0);
                EXPECT_EQ(w.cluster[at], inside ? (start + s) % 3 : 0);
                if (w.target[at] < 0) continue;
                ASSERT_EQ(w.target[at], start + s + 1);
                ++scored[start + s + 1];
                EXPECT_GE(s + 1, start == 0 ? 1 : context - stride + 1);  // tokens it is predicted from
              }
            }
          }
          std::vector<int> once(static_cast<size_t>(tokens), 1);
          once[0] = 0;
          EXPECT_EQ(scored, once) << tokens << " tokens, context " << context << ", stride " << stride;
          Windows w(batch, context);
          EXPECT_EQ(batcher.eval_batch(split, stride, batches, w.token.data(), w.target.data()), 0);
        }
      }
    }
  }
}

// Proves that strides that would skip or repeat tokens are refused, and clusters of a set that has none.
TEST(TextBatcher, BadEvaluationIsRefused) {
  TextDataset set = numbered_set(20);
  TextBatcher batcher(set, {2, 4, 0});
  expect_error(Kind::kUsage, {"stride 0"}, [&] { batcher.eval_batches(set.train, 0); });
  expect_error(Kind::kUsage, {"stride 5", "[1, 4]"}, [&] { batcher.eval_batches(set.train, 5); });
  EXPECT_EQ(batcher.eval_batches(numbered(1), 4), 0);
  set.train.cluster.clear();
  Windows w(2, 4);
  expect_error(Kind::kUsage, {"planted"},
               [&] { batcher.train_batch(0, w.token.data(), w.target.data(), w.cluster.data()); });
}

}  // namespace
}  // namespace swy::data
