#include "core/plugin/instance.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/plugin/plan.h"

namespace swy {
namespace {

const swy_router& router(const std::string& name) {
  return *find_router(std::string(SWITCHYARD_TEST_PLUGINS) + "/" + name + ".so").router;
}

template <class Call>
std::string message_of(Kind kind, Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

// A plain C plugin goes through its whole life, and its plan is the one it promises: row r to expert r % E, padding
// left out.
TEST(Instance, RunsAPlainCPlugin) {
  Instance instance(router("good"), {{"shift", "1"}}, 1);
  swy_site site = {};
  site.struct_size = sizeof site;
  site.max_tokens = 6;
  const swy_needs needs = instance.needs(site);
  EXPECT_EQ(needs.plan_kind, SWY_ASSIGN);
  EXPECT_EQ(needs.max_assign, 6);
  EXPECT_EQ(instance.cost(site).bytes_forward, 72.0);

  const std::vector<uint8_t> mask = {1, 1, 1, 1, 0, 1};
  std::vector<float> x(6);
  swy_batch batch = {};
  batch.struct_size = sizeof batch;
  batch.n_experts = 4;
  batch.n_rows = 6;
  batch.x = {x.data(), {6, 1, 1, 1}, 2, SWY_F32};
  batch.mask = mask.data();
  std::vector<int32_t> row(6), expert(6);
  std::vector<float> weight(6);
  int32_t count = -1;
  swy_plan plan = {};
  plan.struct_size = sizeof plan;
  plan.kind = SWY_ASSIGN;
  plan.max_assign = 6;
  plan.row = row.data();
  plan.expert = expert.data();
  plan.weight = weight.data();
  plan.count = &count;
  swy_exec exec = {};
  exec.struct_size = sizeof exec;
  exec.device = SWY_CPU;
  swy_state state = {};
  state.struct_size = sizeof state;
  instance.forward(exec, batch, state, plan);
  EXPECT_NO_THROW(check_plan(instance.router(), needs, batch, plan));
  EXPECT_EQ(count, 5);
  row.resize(5), expert.resize(5);  // what follows the list is undefined
  EXPECT_EQ(row, (std::vector<int32_t>{0, 1, 2, 3, 5}));
  EXPECT_EQ(expert, (std::vector<int32_t>{0, 1, 2, 3, 1}));
  EXPECT_EQ(weight[4], 1.0f);

  swy_load load = {};
  EXPECT_NO_THROW(instance.update(exec, 0, state, load));  // the router has no update callback
  EXPECT_EQ(message_of(Kind::kUsage, [&] { instance.backward(exec, batch, state, plan, {}, nullptr); }),
            "router 'round_robin' has no backward pass (SWY_CAP_BACKWARD is not set)");
}

// A create that fails is an Error with router, status and the plugin's own reason; silence is called what it is.
TEST(Instance, CreateFailureCarriesTheReason) {
  EXPECT_EQ(message_of(Kind::kUsage,
                       [] {
                         Instance(router("good"), {{"shift", "4"}}, 1);
                       }),
            "router 'round_robin': create failed with SWY_INVALID: shift 4 is one too far");
  EXPECT_EQ(message_of(Kind::kEnvironment,
                       [] {
                         Instance(router("good"), {{"shift", "5"}}, 1);
                       }),
            "router 'round_robin': create failed with SWY_INTERNAL: the plugin gave no reason (rule R06)");
}

// Options are refused by the host before the plugin sees them.
TEST(Instance, WrongOptionsNeverReachThePlugin) {
  EXPECT_EQ(message_of(Kind::kUsage,
                       [] {
                         Instance(router("good"), {{"shift", "6"}}, 1);
                       }),
            "router 'round_robin', option 'shift': '6' is not a whole number in [0, 5]");
}

// What `needs` answers is checked before anyone allocates by it.
TEST(Instance, NeedsAreChecked) {
  Instance instance(router("needs_without_table"), {}, 1);
  swy_site site = {};
  site.struct_size = sizeof site;
  site.max_tokens = 6;
  site.site = 2;
  EXPECT_EQ(message_of(Kind::kEnvironment, [&] { instance.needs(site); }),
            "router 'round_robin', site 2: swy_needs.aux is NULL but n_aux is 1");
}

}  // namespace
}  // namespace swy
