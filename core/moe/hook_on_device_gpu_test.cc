// A hook on a device sees what it sees on the CPU and changes what it changes there; so do observers that read states
// or drop entries of a plan.
#include "core/moe/device_twins.h"
#include "core/moe/hook_on_device.h"

namespace swy::moe {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

// Turns the states that the router sees, changes every part of a plan, and halves what lent experts answer.
struct Meddler : PlanHook {
  explicit Meddler(bool states) : states_(states) {}
  bool reads_states() const override { return states_; }
  void before(const SiteSpec& spec, swy_batch& b) override {
    if (!states_) return;
    const auto* from = static_cast<const float*>(b.x.data);
    x.assign(from, from + b.x.shape[0] * spec.width);
    for (size_t i = 0; i < x.size(); i += 2) x[i] = -x[i];
    b.x.data = x.data();
  }
  void after(const SiteSpec& spec, const swy_needs& needs, const swy_batch& b, const swy_plan& p) override {
    if (needs.plan_kind == SWY_ASSIGN) {
      ASSERT_GT(*p.count, 1);
      seen.assign(p.weight, p.weight + *p.count);
      expert.assign(p.expert, p.expert + *p.count);
      --*p.count;
      for (int32_t i = 0; i < *p.count; ++i) {
        p.row[i] = p.row[i + 1], p.weight[i] = 0.5f * p.weight[i + 1];
        p.expert[i] = (p.expert[i + 1] + 1) % spec.experts;
      }
    } else if (needs.plan_kind == SWY_DENSE) {
      const int64_t slots = b.x.shape[0] * spec.experts * needs.slots;
      seen.assign(p.combine, p.combine + slots), seen.insert(seen.end(), p.dispatch, p.dispatch + slots);
      for (int64_t i = 0; i < slots; i += 3) p.combine[i] = 0, p.dispatch[i] *= 2;
    } else {
      seen.assign(p.mix, p.mix + int64_t{b.n_rows} * spec.experts);
      for (size_t i = 0; i < seen.size(); i += 3) p.mix[i] = -p.mix[i];
    }
    if (b.row_begin) rows.assign(b.row_begin, b.row_begin + b.n_rows + 1);
  }
  void lent(const SiteSpec& spec, int64_t n, const int32_t* index, float* y) override {
    asked.insert(asked.end(), index, index + n);
    for (int64_t i = 0; i < n * spec.width; ++i) y[i] *= 0.5f;
  }
  bool states_;
  std::vector<float> x, seen;
  std::vector<int32_t> expert, rows, asked;
};

class HookOnADevice : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
  static void forward(Twins& t) {
    t.host.loss();
    t.reset();
    t.ffn.forward(t.exec, t.host.info, t.sequences, Twins::floats(t.x), Twins::floats(t.residual), Twins::floats(t.y));
    t.stream.wait();
  }
  static std::vector<float> output(const Twins& t) {
    return download(Twins::floats(t.y), static_cast<int64_t>(t.host.y.size()));
  }
};

TEST_P(HookOnADevice, SeesAndChangesWhatItDoesOnTheCpu) {
  Twins t(GetParam());
  forward(t);
  const std::vector<float> untouched = output(t);
  for (const bool states : {false, true}) {
    SCOPED_TRACE(states);
    Meddler device(states), host(states);
    t.ffn.hook(&device), t.host.ffn.hook(&host);
    forward(t);
    expect_close(device.seen, host.seen.data(), kTolerance, "the plan as seen");
    EXPECT_EQ(device.seen.size(), host.seen.size());
    EXPECT_EQ(device.expert, host.expert);
    EXPECT_EQ(device.rows, host.rows);
    EXPECT_EQ(device.asked, host.asked);
    EXPECT_EQ(device.x, host.x);
    const std::vector<float> y = output(t);
    expect_close(y, t.host.y.data(), kTolerance, "y");
    EXPECT_NE(y, untouched);
  }
  t.ffn.hook(nullptr), t.host.ffn.hook(nullptr);
  forward(t);
  EXPECT_EQ(output(t), untouched) << "the hook is gone";
}

INSTANTIATE_TEST_SUITE_P(Plans, HookOnADevice, ::testing::ValuesIn([] {
                           std::vector<Case> some;
                           for (const Case& c : cases())
                             for (const char* name : {"token_choice_drops", "expert_choice_ragged_group", "soft_moe",
                                                      "smear", "lent_experts", "merge_by_sequence"})
                               if (c.name == name) some.push_back(c);
                           return some;
                         }()),
                         [](const auto& i) { return i.param.name; });

// Drops the entry of each kept pair whose number is even, once it is known what is kept.
struct Dropper : StageObserver {
  explicit Dropper(RoutedFfn& f) : ffn(f) {}
  void begin(Stage s) override {
    if (s != Stage::kCombine) return;
    const Site::Kept kept = ffn.kept();
    std::vector<int32_t> entries;
    for (int64_t i = 0; i < kept.count; i += 2) entries.push_back(kept.entry[i]);
    dropped += entries.size();
    ffn.drop_entries(entries);
  }
  void end(Stage) override {}
  RoutedFfn& ffn;
  size_t dropped = 0;
};

TEST(ObserverOnADevice, ReadsStatesAndDropsEntries) {
  if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  Twins t(cases()[0]);
  Dropper device(t.ffn), host(t.host.ffn);
  t.ffn.observe(&device), t.host.ffn.observe(&host);
  t.host.loss();
  t.reset();
  t.ffn.forward(t.exec, t.host.info, t.sequences, Twins::floats(t.x), Twins::floats(t.residual), Twins::floats(t.y));
  t.stream.wait();
  EXPECT_GT(device.dropped, 0u);
  EXPECT_EQ(device.dropped, host.dropped);
  const auto n = static_cast<int64_t>(t.host.y.size());
  expect_close(download(Twins::floats(t.y), n), t.host.y.data(), kTolerance, "y");
  const float* states = t.ffn.states();
  EXPECT_EQ(std::vector<float>(states, states + n), t.host.x);
}

}  // namespace
}  // namespace swy::moe
