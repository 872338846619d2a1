#include "core/ops/embedding.h"

#include "core/base/parallel.h"
#include "core/ops/check.h"

namespace swy::ops {
namespace {

using Ints = std::vector<int32_t>;

Values reference(const EmbeddingShape& s, const Ints& token, const Ints& position, const Values& table,
                 const Values& place) {
  Values x;
  for (int64_t r = 0; r < s.rows; ++r)
    for (int64_t c = 0; c < s.width; ++c) x.push_back(table[token[r] * s.width + c] + place[position[r] * s.width + c]);
  return x;
}

// Rows of the table plus rows of the places, and both gradients, tokens repeated; with and without places, positions by
// the row number or given.
TEST(Embedding, IsTheFormulaAndItsGradient) {
  for (const int32_t width : {1, 7, 40}) {
    const EmbeddingShape s{10, 5, width};
    const Ints token = {3, 0, 3, 3, 1, 4, 1, 0, 3, 2}, by_row = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4};
    const Ints given = {4, 4, 0, 1, 2, 3, 3, 3, 1, 0};
    Bench bench;
    const Floats table = draw(6 * width, 1), place = draw(5 * width, 2), dy = draw(s.rows * width, 3);
    for (const bool implied : {true, false}) {
      const Ints& position = implied ? by_row : given;
      const int32_t* at = implied ? nullptr : given.data();
      Floats x(dy.size()), bare(dy.size());
      embed(bench.ex, s, token.data(), at, table.data(), place.data(), x.data());
      expect_close(x, reference(s, token, position, wide(table), wide(place)), 1e-7);
      embed(bench.ex, s, token.data(), at, table.data(), nullptr, bare.data());
      expect_close(bare, reference(s, token, position, wide(table), Values(place.size())), 0);
      expect_gradient([&](const Values& v) { return reference(s, token, position, v, wide(place)); }, table, dy,
                      [&](float* d) { embed_backward(bench.ex, s, token.data(), at, dy.data(), d, nullptr); });
      expect_gradient([&](const Values& v) { return reference(s, token, position, wide(table), v); }, place, dy,
                      [&](float* d) {
                        Floats ignored(table.size());
                        embed_backward(bench.ex, s, token.data(), at, dy.data(), ignored.data(), d);
                      });
    }
  }
}

// The gradient's sums run down the rows, whatever the thread count: the same bits.
TEST(Embedding, GradientDoesNotDependOnThreads) {
  const EmbeddingShape s{4096, 64, 96};
  const Floats dy = draw(s.rows * s.width, 5);
  Ints token(static_cast<size_t>(s.rows));
  for (size_t i = 0; i < token.size(); ++i) token[i] = static_cast<int32_t>(i * i % 11);
  const int before = thread_count();
  Floats table[2], place[2];
  for (int i = 0; i < 2; ++i) {
    set_thread_count(i ? 3 : 1);
    Bench bench;
    table[i].assign(11 * 96, 0), place[i].assign(64 * 96, 0);
    embed_backward(bench.ex, s, token.data(), nullptr, dy.data(), table[i].data(), place[i].data());
  }
  set_thread_count(before);
  EXPECT_EQ(table[0], table[1]);
  EXPECT_EQ(place[0], place[1]);
}

}  // namespace
}  // namespace swy::ops
