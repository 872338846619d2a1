// The ops of tokens.h on the CPU and on a CUDA device.
#include "core/model/tokens.h"
#include "core/ops/device_check.h"

namespace swy::model {
namespace {

using namespace ops;

Cases token_cases() {
  Cases list;
  struct Images {
    int32_t batch, channels, side, patch;
  };
  for (const Images& i :
       {Images{2, 3, 8, 4}, {1, 1, 4, 2}, {0, 3, 8, 4}, {3, 2, 12, 3}, {2, 3, 32, 4}, {1, 3, 224, 16}}) {
    const auto [b, c, side, patch] = i;
    const int64_t n = int64_t{b} * c * side * side;
    const std::vector<Array> arrays = {in(draw(n, 1)), out(n, kSame)};
    const std::string what = cat(b, "x", c, "x", side, " by ", patch);
    list.push_back(layer("patchify", what, arrays, [=](const Exec& ex, const Pointers& p) {
      patchify(ex, i.batch, i.channels, i.side, i.patch, p.f(0), p.f(1));
    }));
    list.push_back(layer("unpatchify", what, arrays, [=](const Exec& ex, const Pointers& p) {
      unpatchify(ex, i.batch, i.channels, i.side, i.patch, p.f(0), p.f(1));
    }));
  }
  struct Tokens {
    int32_t batch, tokens, width;
  };
  for (const Tokens& t : {Tokens{2, 5, 7}, {0, 4, 3}, {3, 1, 1}, {16, 65, 70}}) {
    const int64_t b = t.batch, row = t.width, sequence = int64_t{t.tokens} * t.width;
    const std::string what = cat(t.batch, "x", t.tokens, "x", t.width);
    list.push_back(layer("start_tokens", what, {in(draw(sequence, 1)), in(draw(row, 2)), out(b * sequence, kSame)},
                         [=](const Exec& ex, const Pointers& p) {
                           start_tokens(ex, t.batch, t.tokens, t.width, p.f(0), p.f(1), p.f(2));
                         }));
    list.push_back(layer(
        "position_backward", what, {in(draw(b * sequence, 1)), add(sequence, kSame)},
        [=](const Exec& ex, const Pointers& p) { position_backward(ex, t.batch, t.tokens, t.width, p.f(0), p.f(1)); }));
    list.push_back(
        layer("mean_tokens", what, {in(draw(b * sequence, 1)), out(b * row, kElement)},
              [=](const Exec& ex, const Pointers& p) { mean_tokens(ex, t.batch, t.tokens, t.width, p.f(0), p.f(1)); }));
    list.push_back(layer("mean_tokens_backward", what, {in(draw(b * row, 1)), out(b * sequence, kSame)},
                         [=](const Exec& ex, const Pointers& p) {
                           mean_tokens_backward(ex, t.batch, t.tokens, t.width, p.f(0), p.f(1));
                         }));
  }
  return list;
}

TEST(TokenCases, RunOnTheCpu) {
  for (const DeviceCase& c : token_cases()) {
    SCOPED_TRACE(cat(c.name, " ", c.what));
    Work work;
    const Contents got = run_on_cpu(c, &work), before = start(c);
    EXPECT_EQ(got[0], before[0]) << "the input changed";
    EXPECT_GE(work.bytes, 0);
  }
}

TEST(TokenCases, AgreeWithTheCpu) {
  if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  Stream stream;
  for (const DeviceCase& c : token_cases()) {
    expect_agreement(c, stream);
    expect_dry_run_touches_nothing(c, stream);
  }
}

}  // namespace
}  // namespace swy::model
