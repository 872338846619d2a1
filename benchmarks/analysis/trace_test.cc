// The trace holds what the dispatcher kept, and comes back from its JSON.
#include "benchmarks/analysis/trace.h"

#include <gtest/gtest.h>

#include "benchmarks/analysis/routing_fixture.h"
#include "core/base/error.h"

namespace swy::bench {
namespace {

// Two batches, packed by expert as a site packs them; the second leaves its middle token out. Proves that choices are
// put by token and weight, that `entry` finds the weight, that tokens nobody took have none, that left out ones vanish
// with their labels and states, and that no more states are kept than asked for.
TEST(TraceRecorder, TwoBatches) {
  TraceRecorder recorder({{"moe", 3, 2}}, {100, 4});
  const std::vector<float> weight{0.5f, 0.25f, 0.75f, 1};  // by entry
  {
    const std::vector<int32_t> token{2, 0, 0, 1}, expert{0, 1, 2, 2}, entry{0, 1, 2, 3}, id{7, 8, 7};
    const std::vector<float> x{0, 1, 2, 3, 4, 5};
    recorder.begin(3);
    recorder.label("token", id.data());
    recorder.site(0, {4, token.data(), expert.data(), entry.data(), weight.data()}, x.data());
  }
  {
    const std::vector<int32_t> token{1, 2}, expert{0, 1}, entry{3, 0}, id{1, -1, 3};
    const std::vector<float> x{6, 7, 8, 9, 10, 11};
    const std::vector<uint8_t> counted{1, 0, 1};
    recorder.begin(3, counted.data());
    recorder.label("token", id.data());
    recorder.site(0, {2, token.data(), expert.data(), entry.data(), weight.data()}, x.data());
  }
  const RoutingTrace& trace = recorder.trace();
  EXPECT_EQ(trace.tokens(), 5);
  EXPECT_EQ(trace.find("token")->of, (std::vector<int32_t>{7, 8, 7, 1, 3}));
  EXPECT_EQ(trace.find("token")->values, 9);
  EXPECT_EQ(trace.find("class"), nullptr);
  const SiteRouting& s = trace.sites[0];
  EXPECT_EQ(s.begin, (std::vector<int64_t>{0, 2, 3, 4, 4, 5}));
  EXPECT_EQ(s.expert, (std::vector<int32_t>{2, 1, 2, 0, 1}));
  EXPECT_EQ(s.weight, (std::vector<float>{0.75f, 0.25f, 1, 0.5f, 0.5f}));
  EXPECT_EQ(s.states, (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(s.first(0), 2);
  EXPECT_EQ(s.first(3), -1);
}

// After the limit nothing more is recorded, wherever in a batch it falls.
TEST(TraceRecorder, Limit) {
  TraceRecorder recorder({{"moe", 2, 1}}, {3, 2});
  const std::vector<int32_t> token{0, 1}, expert{1, 0}, entry{0, 1}, id{5, 6};
  const std::vector<float> weight{1, 1}, x{8, 9};
  for (int batch = 0; batch < 3; ++batch) {
    recorder.begin(2);
    recorder.label("token", id.data());
    recorder.site(0, {2, token.data(), expert.data(), entry.data(), weight.data()}, x.data());
  }
  EXPECT_TRUE(recorder.full());
  EXPECT_EQ(recorder.trace().find("token")->of, (std::vector<int32_t>{5, 6, 5}));
  EXPECT_EQ(recorder.trace().sites[0].expert, (std::vector<int32_t>{1, 0, 1}));
  EXPECT_EQ(recorder.trace().sites[0].states, (std::vector<float>{8, 9}));
}

// A column or a site that was left out of a batch, or a label out of range, is an error and not a shifted table.
TEST(TraceRecorder, RefusesHoles) {
  const std::vector<int32_t> id{0, 1}, bad{0, -2};
  TraceRecorder no_site({{"moe", 3, 2}}, {}), late_label({{"moe", 3, 2}}, {});
  no_site.begin(2);
  no_site.label("token", id.data());
  EXPECT_THROW(no_site.trace(), Error);
  EXPECT_THROW(no_site.label("class", bad.data()), Error);
  const moe::Site::Kept none{0, nullptr, nullptr, nullptr, nullptr};
  late_label.begin(2);
  late_label.site(0, none);
  EXPECT_EQ(late_label.trace().tokens(), 2);
  late_label.begin(2);
  late_label.label("token", id.data());
  late_label.site(0, none);
  EXPECT_THROW(late_label.trace(), Error);
}

// Labels and choices survive the way through JSON text; a document that does not hold together is refused.
TEST(RoutingTrace, JsonAndBack) {
  RoutingTrace trace;
  trace.sites.push_back(routing(3, {{{2, 0.7f}, {0, 0.3f}}, {}, {{1, 1.f}}}));
  trace.labels.push_back({"token", 5, {4, -1, 0}});
  const Json j = Json::parse(routing_json(trace).dump());
  const RoutingTrace back = trace_from(j);
  EXPECT_EQ(back.sites[0].begin, trace.sites[0].begin);
  EXPECT_EQ(back.sites[0].expert, trace.sites[0].expert);
  EXPECT_EQ(back.labels[0].of, trace.labels[0].of);
  EXPECT_EQ(routing_json(back), routing_json(trace));
  Json few = j, wrong = j, other = j;
  few["labels"][0]["of"] = {4};
  wrong["sites"][0]["expert"][0] = 3;
  other["sites"][0]["choices"] = {2, 0, 2};
  for (const Json& bad : {few, wrong, other}) EXPECT_THROW(trace_from(bad), Error);
}

}  // namespace
}  // namespace swy::bench
