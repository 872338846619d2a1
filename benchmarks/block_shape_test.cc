// Shapes from text, the reference grid against the published table, and the FLOPs that published figures count.
#include "benchmarks/block_shape.h"

#include <gtest/gtest.h>

#include "benchmarks/throughput_device.h"
#include "core/base/error.h"
#include "core/moe/routed_ffn.h"
#include "core/plugin/loader.h"

namespace swy::bench {
namespace {

// A name gives its shape; keys change the default one; everything else is refused with what is possible.
TEST(BlockShape, FromText) {
  EXPECT_EQ(parse_shapes("fine").at(0).experts, 32);
  EXPECT_EQ(parse_shapes("120B-n2048").at(0).hidden, 2048);
  EXPECT_EQ(parse_shapes("grid").size(), 12u);
  const std::vector<BlockShape> list = parse_shapes("images=2,width=16,hidden=8,experts=4,factor=1.5");
  ASSERT_EQ(list.size(), 1u);
  const BlockShape& s = list[0];
  EXPECT_EQ(s.images, 2);
  EXPECT_EQ(s.width, 16);
  EXPECT_EQ(s.hidden, 8);
  EXPECT_EQ(s.experts, 4);
  EXPECT_EQ(s.factor, 1.5);
  const std::pair<const char*, const char*> bad[] = {{"mnii", "mini"},
                                                     {"7B-n521", "7B-n512"},
                                                     {"width=0", "positive number"},
                                                     {"width=", "positive number"},
                                                     {"depth=3", "unknown key 'depth'"}};
  for (const auto& [text, reason] : bad) try {
      parse_shapes(text);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kUsage);
      EXPECT_NE(std::string(e.what()).find(reason), std::string::npos) << e.what();
    }
}

// Every row of the table (model, T, d, n/E/K of SonicMoE's figure 14) is a shape, no other is, and each name is one.
TEST(BlockShape, GridIsThePublishedOne) {
  constexpr struct {
    const char* name;
    int64_t tokens;
    int32_t width, hidden, experts;
    double k;
  } kTable[] = {{"1.4B-n256", 40960, 768, 256, 128, 8},    {"1.4B-n512", 40960, 768, 512, 64, 4},
                {"1.4B-n1024", 40960, 768, 1024, 32, 2},   {"7B-n256", 24576, 1536, 256, 128, 8},
                {"7B-n512", 24576, 1536, 512, 64, 4},      {"7B-n1024", 24576, 1536, 1024, 32, 2},
                {"30B-n256", 32768, 4096, 256, 256, 16},   {"30B-n512", 32768, 4096, 512, 128, 8},
                {"30B-n1024", 32768, 4096, 1024, 64, 4},   {"120B-n512", 32768, 4096, 512, 256, 16},
                {"120B-n1024", 32768, 4096, 1024, 128, 8}, {"120B-n2048", 32768, 4096, 2048, 64, 4}};
  const std::vector<BlockShape> grid = reference_grid();
  ASSERT_EQ(grid.size(), std::size(kTable));
  for (size_t i = 0; i < grid.size(); ++i) {
    EXPECT_EQ(grid[i].name, kTable[i].name);
    EXPECT_EQ(grid[i].tokens(), kTable[i].tokens) << grid[i].name;
    EXPECT_EQ(grid[i].width, kTable[i].width) << grid[i].name;
    EXPECT_EQ(grid[i].hidden, kTable[i].hidden) << grid[i].name;
    EXPECT_EQ(grid[i].experts, kTable[i].experts) << grid[i].name;
    EXPECT_EQ(grid[i].factor, kTable[i].k) << grid[i].name;
  }
  // 6 T I H K of the first by hand.
  EXPECT_EQ(block_flops(grid[0], false), 386'547'056'640.0);
  EXPECT_EQ(block_flops(grid[0], true), 2 * 386'547'056'640.0);
}

// The formula is what the block's experts count, but for the activations: 5 FLOPs an element forward, 11 backward
// (core/ops/ffn.h), for T K rows of I elements.
TEST(BlockShape, FlopsAreThoseOfTheBlock) {
  const BlockShape s{"tiny", 2, 24, 40, 6, 3};
  const swy_router& router = *find_router("softmax_token_choice").router;
  const OptionText options = top_k_options(router, s);
  EXPECT_EQ(options, (OptionText{{"k", "3"}, {"noise", "0"}}));
  Instance instance(router, options, 1);
  Params params;
  Arena arena;
  moe::RoutedFfn ffn(dropless_site(s), instance, params, arena);
  params.commit(1), arena.commit();
  std::vector<float> x(static_cast<size_t>(s.tokens() * s.width)), y(x.size()), dx(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 13) - 6;
  Tally tally;
  const Exec exec{&tally};
  const moe::StepInfo info{SWY_TRAIN, 0, 1};
  ffn.forward(exec, info, s.images, x.data(), nullptr, y.data());
  ffn.backward(exec, info, s.images, x.data(), x.data(), dx.data());
  EXPECT_EQ(ffn.kept().count, 3 * s.tokens());  // none dropped
  const double activations = 3.0 * static_cast<double>(s.tokens()) * s.hidden;
  EXPECT_EQ(tally.of(Part::kExperts, Pass::kForward).flops, block_flops(s, false) + 5 * activations);
  EXPECT_EQ(tally.of(Part::kExperts, Pass::kBackward).flops, block_flops(s, true) + 11 * activations);
}

}  // namespace
}  // namespace swy::bench
