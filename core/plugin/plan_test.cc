#include "core/plugin/plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace swy {
namespace {

const float kNan = std::nanf("");

// Valid plans of all three kinds for T = 4 tokens (the last is padding), D = 2, E = 2 experts; tests spoil one thing.
struct Case {
  swy_router router = {};
  swy_needs needs = {};
  swy_batch batch = {};
  swy_plan plan = {};
  std::vector<uint8_t> mask = {1, 1, 1, 0};
  std::vector<int32_t> row_begin = {0, 2, 4};
  std::vector<int32_t> row = {0, 1, 2, 0}, expert = {0, 1, 0, 1};
  std::vector<float> weight = {1, 0.5f, -1, 0};
  int32_t count = 4;
  std::vector<float> dispatch = std::vector<float>(4 * 2 * 3), combine = dispatch, mix = std::vector<float>(4 * 2 * 2),
                     expert_x = std::vector<float>(4 * 2), skip_scale = std::vector<float>(4), aux = {0.1f},
                     metric = {0.1f, 0.2f};

  explicit Case(int32_t kind) {
    router.id = "r";
    needs.plan_kind = plan.kind = kind;
    needs.slots = 3;
    needs.mix_blocks = 2;
    needs.n_aux = 1;
    needs.n_metrics = 2;
    needs.flags = SWY_REWRITES_INPUT | SWY_SKIP_SCALE;
    batch.site = 5;
    batch.x.shape[0] = 4;
    batch.x.shape[1] = 2;
    batch.n_experts = 2;
    batch.n_rows = 4;
    batch.mask = mask.data();
    plan.max_assign = 4;
    plan.row = row.data();
    plan.expert = expert.data();
    plan.weight = weight.data();
    plan.count = &count;
    plan.dispatch = dispatch.data();
    plan.combine = combine.data();
    plan.mix = mix.data();
    plan.expert_x = expert_x.data();
    plan.skip_scale = skip_scale.data();
    plan.aux = aux.data();
    plan.metric = metric.data();
  }
};

// What the check says, without the part that is the same in every message.
std::string refusal(int32_t kind, const std::function<void(Case&)>& spoil) {
  Case c(kind);
  spoil(c);
  try {
    check_plan(c.router, c.needs, c.batch, c.plan);
  } catch (const Error& error) {
    const std::string text = error.what(), start = "router 'r', site 5: the plan breaks rule R11: ";
    EXPECT_EQ(error.kind, Kind::kEnvironment);
    EXPECT_EQ(text.rfind(start, 0), 0u) << text;
    return text.substr(std::min(start.size(), text.size()));
  }
  return "accepted";
}

// The unspoilt plans pass, and so does an empty list: every refusal below is due to the one thing changed.
TEST(Plan, AcceptsValidPlans) {
  for (const int32_t kind : {SWY_ASSIGN, SWY_DENSE, SWY_MERGE}) EXPECT_EQ(refusal(kind, [](Case&) {}), "accepted");
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.count = 0; }), "accepted");
}

// The length of the list is inside what was allocated.
TEST(Plan, CountInRange) {
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.count = 5; }), "count is 5, outside [0, 4]");
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.count = -1; }), "count is -1, outside [0, 4]");
}

// Rows and experts exist. The bounds themselves are tried, not only values far outside.
TEST(Plan, RowsAndExpertsInRange) {
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.row[2] = 4; }), "entry 2 has row 4, but there are 4 rows");
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.row[0] = -1; }), "entry 0 has row -1, but there are 4 rows");
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.expert[3] = 2; }), "entry 3 has expert 2, but there are 2 experts");
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.expert[3] = -1; }), "entry 3 has expert -1, but there are 2 experts");
}

// Entries behind the list's end are not part of the plan.
TEST(Plan, EntriesBehindCountAreIgnored) {
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.count = 3, c.row[3] = 99, c.weight[3] = kNan; }), "accepted");
}

// One row may go to two experts, but not twice to the same one.
TEST(Plan, NoPairTwice) {
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.expert[3] = 0; }), "entry 3 assigns row 0 to expert 0 a second time");
}

// A padding token may not be assigned. A coarser row may, whatever it holds: no padding reaches an expert.
TEST(Plan, PaddingIsNotAssigned) {
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.row[1] = 3; }), "entry 1 assigns row 3, which is padding");
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.row[1] = 3, c.batch.mask = nullptr; }), "accepted");
  EXPECT_EQ(refusal(SWY_ASSIGN,
                    [](Case& c) {
                      c.needs.row_kind = SWY_ROW_SEQUENCE;
                      c.batch.n_rows = 2;
                      c.batch.row_begin = c.row_begin.data();
                      c.count = 2;  // rows 0 and 1, tokens {0, 1} and {2, 3}
                      c.mask = {1, 1, 0, 0}, c.batch.mask = c.mask.data();
                    }),
            "accepted");
}

// Every number the host will multiply with or add to the loss is finite, up to the last one.
TEST(Plan, NumbersAreFinite) {
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.weight[1] = INFINITY; }), "entry 1 has weight inf, not finite");
  EXPECT_EQ(refusal(SWY_DENSE, [](Case& c) { c.dispatch[23] = INFINITY; }), "dispatch[3, 5] is inf, not finite");
  EXPECT_EQ(refusal(SWY_DENSE, [](Case& c) { c.combine[7] = -INFINITY; }), "combine[1, 1] is -inf, not finite");
  EXPECT_EQ(refusal(SWY_MERGE, [](Case& c) { c.mix[15] = kNan; }), "mix[3, 3] is nan, not finite");
  EXPECT_EQ(refusal(SWY_MERGE, [](Case& c) { c.expert_x[7] = kNan; }), "expert_x[3, 1] is nan, not finite");
  EXPECT_EQ(refusal(SWY_MERGE, [](Case& c) { c.skip_scale[3] = kNan; }), "skip_scale[3, 0] is nan, not finite");
  EXPECT_EQ(refusal(SWY_MERGE, [](Case& c) { c.aux[0] = kNan; }), "aux[0, 0] is nan, not finite");
  EXPECT_EQ(refusal(SWY_MERGE, [](Case& c) { c.metric[1] = kNan; }), "metric[1, 0] is nan, not finite");
}

// The plan is of the declared kind and has what was declared; what was not declared is not looked at.
TEST(Plan, DeclaredPartsAreThere) {
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.plan.kind = SWY_MERGE; }), "kind is 2, needs declared 0");
  EXPECT_EQ(refusal(SWY_ASSIGN, [](Case& c) { c.plan.weight = nullptr; }), "row, expert, weight or count is NULL");
  EXPECT_EQ(refusal(SWY_DENSE, [](Case& c) { c.plan.combine = nullptr; }), "combine is declared but NULL");
  EXPECT_EQ(refusal(SWY_DENSE, [](Case& c) { c.plan.expert_x = nullptr; }), "expert_x is declared but NULL");
  EXPECT_EQ(refusal(SWY_DENSE, [](Case& c) { c.needs.flags = 0, c.plan.expert_x = nullptr, c.skip_scale[0] = kNan; }),
            "accepted");
}

}  // namespace
}  // namespace swy
