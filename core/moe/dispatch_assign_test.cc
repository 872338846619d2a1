// ASSIGN dispatch alone, against a plain loop over the list: what is kept, where it lies, what it adds up to, and its
// gradients, for every row kind, with and without padding, with lists longer than the capacity.
#include "core/moe/dispatch_assign.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/base/philox.h"

namespace swy::moe {
namespace {

constexpr int32_t kSequences = 7, kLength = 5, kTokens = kSequences * kLength, kTasks = 3, kWidth = 4;
constexpr int32_t kGroupSequences = 2, kGroups = 4;  // the last group is one sequence

struct Shape {
  const char* name;
  int32_t row_kind, experts, capacity;
  bool padding;
  PackOrder order;
};
const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = {
      {"tokens", SWY_ROW_TOKEN, 3, 4, false, PackOrder::kList},
      {"tokens_padding", SWY_ROW_TOKEN, 3, 4, true, PackOrder::kList},
      {"tokens_in_order", SWY_ROW_TOKEN, 1, 6, false, PackOrder::kToken},
      {"sequences", SWY_ROW_SEQUENCE, 3, 7, false, PackOrder::kList},
      {"sequences_padding", SWY_ROW_SEQUENCE, 3, 7, true, PackOrder::kList},
      {"sequences_in_order", SWY_ROW_SEQUENCE, 1, 5, true, PackOrder::kToken},
      {"tasks", SWY_ROW_TASK, 3, 7, false, PackOrder::kList},
      {"tasks_padding", SWY_ROW_TASK, 3, 7, true, PackOrder::kList},
      {"tasks_in_order", SWY_ROW_TASK, 1, 7, true, PackOrder::kToken},
      {"batch", SWY_ROW_BATCH, 3, 8, false, PackOrder::kList},
      {"batch_padding", SWY_ROW_BATCH, 3, 7, true, PackOrder::kList},
  };
  return all;
}

// A batch and a random list of distinct (row, expert) pairs.
struct Trial {
  Shape shape;
  Arena arena;
  std::vector<int32_t> sequence_begin, group_begin, capacity, task, row, expert;
  std::vector<uint8_t> mask;
  std::vector<float> weight, x, dy;
  int32_t count = 0;
  swy_batch batch{};
  swy_plan plan{};
  Load load;
  Tally tally;
  Exec exec{&tally};
  std::unique_ptr<DispatchAssign> dispatch;

  explicit Trial(const Shape& s) : shape(s), load(s.experts) {
    Random random(17);
    for (int32_t b = 0; b <= kSequences; ++b) sequence_begin.push_back(b * kLength);
    for (int32_t g = 0; g <= kGroups; ++g) group_begin.push_back(std::min(g * kGroupSequences * kLength, kTokens));
    capacity.assign(kGroups, s.capacity);
    for (int32_t b = 0; b < kSequences; ++b) task.push_back(b * 2 % kTasks);  // 0 2 1 0 2 1 0: no task is contiguous
    // Sequence 3 is padding altogether; others end in some.
    for (int32_t t = 0; t < kTokens; ++t) mask.push_back(t / kLength != 3 && t % kLength < 5 - t / kLength % 3);
    const int32_t rows = s.row_kind == SWY_ROW_TOKEN      ? kTokens
                         : s.row_kind == SWY_ROW_SEQUENCE ? kSequences
                         : s.row_kind == SWY_ROW_TASK     ? kTasks
                                                          : 1;
    for (int32_t r = 0; r < rows; ++r)
      for (int32_t e = 0; e < s.experts; ++e) {
        if (s.row_kind == SWY_ROW_TOKEN && s.padding && !mask[r]) continue;  // rule R11
        row.push_back(r), expert.push_back(e);
      }
    for (size_t i = row.size() - 1; i > 0; --i) {
      const size_t j = random.below(static_cast<uint32_t>(i + 1));
      std::swap(row[i], row[j]), std::swap(expert[i], expert[j]);
    }
    count = static_cast<int32_t>(row.size());
    for (int32_t i = 0; i < count; ++i) weight.push_back(random.normal());
    for (int32_t i = 0; i < kTokens * kWidth; ++i) x.push_back(random.normal()), dy.push_back(random.normal());

    swy_site site{};
    site.d_model = kWidth, site.n_experts = s.experts, site.max_capacity = s.capacity;
    site.max_tokens = kTokens, site.max_sequences = kSequences, site.max_groups = kGroups;
    site.max_tasks = kTasks, site.max_rows = kSequences;
    swy_needs needs{};
    needs.row_kind = s.row_kind, needs.max_assign = count;
    dispatch = std::make_unique<DispatchAssign>(arena, site, needs, s.order);
    arena.commit();
    batch.n_sequences = kSequences, batch.n_tasks = kTasks, batch.n_experts = s.experts;
    batch.n_groups = kGroups, batch.n_rows = rows;
    batch.x.shape[0] = kTokens;
    batch.mask = s.padding ? mask.data() : nullptr;
    batch.sequence_begin = sequence_begin.data(), batch.sequence_task = task.data();
    batch.group_begin = group_begin.data(), batch.group_capacity = capacity.data();
    plan.row = row.data(), plan.expert = expert.data(), plan.weight = weight.data(), plan.count = &count;
    dispatch->pack(batch, plan, load);
  }
  bool real(int32_t t) const { return !shape.padding || mask[t]; }

  // The rule, token by token: (token, expert) -> entry that keeps it.
  std::map<std::pair<int32_t, int32_t>, int32_t> kept() const {
    std::map<std::pair<int32_t, int32_t>, int32_t> pairs;
    std::map<std::pair<int32_t, int32_t>, int32_t> used;  // by group and expert
    for (int32_t i = 0; i < count; ++i)
      for (int32_t b = 0; b < kSequences; ++b) {
        std::vector<int32_t> tokens;
        for (int32_t t = b * kLength; t < (b + 1) * kLength; ++t) {
          const int32_t of = shape.row_kind == SWY_ROW_TOKEN      ? t
                             : shape.row_kind == SWY_ROW_SEQUENCE ? b
                             : shape.row_kind == SWY_ROW_TASK     ? task[b]
                                                                  : 0;
          if (of == row[i] && real(t)) tokens.push_back(t);
        }
        int32_t& taken = used[{b / kGroupSequences, expert[i]}];
        if (taken + static_cast<int32_t>(tokens.size()) > shape.capacity) continue;
        taken += static_cast<int32_t>(tokens.size());
        for (const int32_t t : tokens) pairs[{t, expert[i]}] = i;
      }
    return pairs;
  }
};

class DispatchAssignTest : public ::testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, DispatchAssignTest, ::testing::ValuesIn(shapes()),
                         [](const auto& i) { return std::string(i.param.name); });

// Exactly the pairs that the rule keeps are packed, by expert and inside it in the order asked for; something is kept
// and something dropped; load, drops and unrouted tokens add up; the memory holds.
TEST_P(DispatchAssignTest, KeepsWhatTheRuleKeeps) {
  Trial t(GetParam());
  const auto want = t.kept();
  const DispatchAssign& d = *t.dispatch;
  ASSERT_EQ(d.rows(), static_cast<int64_t>(want.size()));
  ASSERT_GT(d.rows(), 0);
  std::vector<int64_t> of_expert(t.shape.experts), dropped(t.shape.experts);
  std::set<int32_t> routed;
  for (int64_t r = 0; r < d.rows(); ++r) {
    const auto found = want.find({d.token()[r], d.expert()[r]});
    ASSERT_NE(found, want.end()) << "token " << d.token()[r] << " at expert " << d.expert()[r];
    EXPECT_EQ(d.entry()[r], found->second);
    const int32_t e = d.expert()[r];
    EXPECT_GE(r, d.begin()[e]);
    EXPECT_LT(r, d.begin()[e + 1]);
    if (r > d.begin()[e]) {
      if (t.shape.order == PackOrder::kToken)
        EXPECT_GT(d.token()[r], d.token()[r - 1]);
      else
        EXPECT_GE(d.entry()[r], d.entry()[r - 1]);
    }
    ++of_expert[e], routed.insert(d.token()[r]);
  }
  EXPECT_EQ(t.load.kept, of_expert);
  int64_t offered = 0, all_dropped = 0, real = 0;
  for (int32_t i = 0; i < t.count; ++i)
    for (int32_t k = 0; k < kTokens; ++k) {
      const int32_t b = k / kLength, kind = t.shape.row_kind;
      const int32_t of = kind == SWY_ROW_TOKEN      ? k
                         : kind == SWY_ROW_SEQUENCE ? b
                         : kind == SWY_ROW_TASK     ? t.task[b]
                                                    : 0;
      offered += of == t.row[i] && t.real(k);
    }
  for (const int64_t n : t.load.dropped) all_dropped += n;
  EXPECT_GT(all_dropped, 0);
  EXPECT_EQ(d.rows() + all_dropped, offered);
  for (int32_t k = 0; k < kTokens; ++k) real += t.real(k);
  EXPECT_EQ(t.load.tokens, real);
  EXPECT_EQ(t.load.unrouted, real - static_cast<int64_t>(routed.size()));
  EXPECT_EQ(t.load.capacity, kGroups * t.shape.capacity * t.shape.experts);
  EXPECT_EQ(t.arena.overrun(), "");
}

// Gather, combine and both backward passes equal the sums they stand for, in double, with the identity scaled by
// (1 + expert) as every expert; a second pack of the same plan leaves the same.
TEST_P(DispatchAssignTest, EqualsThePlainSums) {
  Trial t(GetParam());
  t.dispatch->pack(t.batch, t.plan, t.load);
  const DispatchAssign& d = *t.dispatch;
  const auto size = static_cast<size_t>(kTokens * kWidth);
  std::vector<float> packed(static_cast<size_t>(d.rows() * kWidth)), y(size, 0.5f), dx(size, 0.25f);
  std::vector<float> dweight(static_cast<size_t>(t.count), 9.f);
  const auto scale = [&](std::vector<float>& v) {
    for (int64_t r = 0; r < d.rows(); ++r)
      for (int32_t c = 0; c < kWidth; ++c) v[r * kWidth + c] *= static_cast<float>(1 + d.expert()[r]);
  };
  d.gather(t.exec, t.x.data(), packed.data());
  scale(packed);
  d.combine(t.exec, t.plan, kTokens, packed.data(), y.data());
  d.combine_backward(t.exec, t.plan, t.dy.data(), packed.data(), dweight.data());
  scale(packed);
  d.gather_backward(t.exec, kTokens, packed.data(), dx.data());

  std::vector<double> want_y(size, 0.5), want_dx(size, 0.25), want_dweight(static_cast<size_t>(t.count));
  for (const auto& [pair, entry] : t.kept())
    for (int32_t c = 0; c < kWidth; ++c) {
      const int32_t at = pair.first * kWidth + c;
      const double out = (1.0 + pair.second) * double{t.x[at]}, w = t.weight[entry];
      want_y[at] += w * out;
      want_dweight[entry] += double{t.dy[at]} * out;
      want_dx[at] += (1.0 + pair.second) * w * double{t.dy[at]};
    }
  for (size_t i = 0; i < size; ++i) {
    EXPECT_NEAR(y[i], want_y[i], 1e-5);
    EXPECT_NEAR(dx[i], want_dx[i], 1e-5);
  }
  for (int32_t i = 0; i < t.count; ++i) EXPECT_NEAR(dweight[i], want_dweight[i], 2e-5) << "entry " << i;
}

}  // namespace
}  // namespace swy::moe
