// Do the oracles bite? A router that keeps nine promises, and copies of it that each break one (test_plugins/promises):
// the case of the broken promise fails, and no other. And a declaration that says what does not exist is an error.
#include "core/conform/oracle.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/files.h"
#include "core/conform/child.h"
#include "core/conform/runner.h"
#include "core/conform/subject.h"
#include "core/plugin/loader.h"

namespace swy::conform {
namespace {
namespace fs = std::filesystem;

const fs::path kFolder = SWITCHYARD_SOURCE_DIR "/core/conform/test_plugins/promises";

fs::path plugin(const std::string& fault) {
  return fs::path(SWITCHYARD_BUILD_DIR "/core/conform/promises") / (fault + ".so");
}

std::vector<Case> oracles() {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& c) { return c.mode != "oracle"; });
  return cases;
}

std::vector<Result> run(const std::string& fault, const fs::path& files, bool undeclared = false) {
  RunOptions options;
  options.files = files, options.undeclared = undeclared, options.in_process = true;
  return run_cases({{fault, plugin(fault), "promises", {}}}, oracles(), options);
}

class BrokenPromise : public testing::TestWithParam<std::string> {};

// Proves that a router with one fault fails the case of that promise, under no number of the ABI's rules, and no other.
TEST_P(BrokenPromise, IsFoundAlone) {
  std::set<std::string> failed;
  std::string told;
  for (const Result& r : run(GetParam(), kFolder)) {
    EXPECT_NE(r.status, Status::kSkip) << r.name << ": " << r.message;
    if (!is_bad(r.status)) continue;
    failed.insert(r.name), told += r.name + ": " + r.message + "\n";
    EXPECT_EQ(r.rule, kOracleRule) << r.message;
  }
  EXPECT_EQ(failed, std::set<std::string>{"oracle." + GetParam()}) << told;
}
INSTANTIATE_TEST_SUITE_P(Faults, BrokenPromise, testing::ValuesIn(declared_oracles(kFolder)),
                         [](const auto& fault) { return fault.param; });

// Proves that it is the fault that is found: without one all promises are kept.
TEST(KeptPromises, Pass) {
  const std::vector<Result> results = run("none", kFolder);
  EXPECT_EQ(results.size(), 1 + declared_oracles(kFolder).size());
  for (const Result& r : results) EXPECT_EQ(r.status, Status::kPass) << r.name << ": " << r.message;
}

// Proves that a router is held to what it declares and to nothing else, and that who asks is told so.
TEST(Declarations, ChooseTheCases) {
  const std::vector<Result> none = run("none", "");
  ASSERT_EQ(none.size(), 1u);
  EXPECT_EQ(none[0].name, "oracle.declared");
  EXPECT_EQ(none[0].status, Status::kSkip);
  const std::vector<Result> asked = run("none", "", true);
  EXPECT_EQ(asked.size(), oracles().size());
  for (const Result& r : asked) EXPECT_EQ(r.status, Status::kSkip) << r.name;
  EXPECT_NE(asked.back().message.find("does not declare the oracle"), std::string::npos) << asked.back().message;
}

struct Declared {
  std::string json, name, part;
};

// Proves that a misspelt name, parameter, phase or type, a missing parameter and a wrong form are errors that say what
// was meant.
TEST(Declarations, ErrorsSayWhatWasMeant) {
  const fs::path folder = fs::path(testing::TempDir()) / "switchyard_oracles";
  fs::create_directories(folder);
  const std::vector<Declared> wrong = {
      {R"({"oracles": ["weight_sum"]})", "oracle.declared", "did you mean 'weights_sum'?"},
      {R"({"oracles": {"weights_sum": {"fase": "train", "options": {"keeps": "fixed"}}}})", "oracle.weights_sum",
       "did you mean 'phase'?"},
      {R"({"oracles": {"weights_sum": {"phase": "training"}}})", "oracle.weights_sum", "\"train\" or \"score\""},
      {R"({"oracles": {"weights_sum": {"varying": 3}}})", "oracle.weights_sum", "wrong type"},
      {R"({"oracles": {"scale_invariant": {}}})", "oracle.scale_invariant", "needs the parameter 'of'"},
      {R"({"oracles": {"scale_invariant": {"of": "expert"}}})", "oracle.scale_invariant", "no tensor 'expert'"},
      {R"({"oracles": {"weights_sum": 3}})", "oracle.weights_sum", "an object of parameters"},
      {R"({"oracles": {"weights_sum": {"options": {"keps": "one"}}}})", "oracle.weights_sum", "keps"},
      {R"({"oracles": [3]})", "oracle.declared", "an array of names"},
      {R"({"oracles": 3})", "oracle.declared", "an array of names"},
      {R"({"oracles": )", "oracle.declared", "router.json"}};
  for (const Declared& d : wrong) {
    write_atomically(folder / "router.json", d.json);
    bool found = false;
    for (const Result& r : run("none", folder)) {
      if (r.name != d.name) continue;
      found = true;
      EXPECT_EQ(r.status, Status::kFail) << d.json;
      EXPECT_NE(r.message.find(d.part), std::string::npos) << d.json << ": " << r.message;
    }
    EXPECT_TRUE(found) << d.json;
  }
  fs::remove_all(folder);
}

// Refuses FFN sites of four experts, or all of them.
const swy_router* asked = nullptr;
bool refuses_all = false;
swy_status picky_needs(void* self, const swy_site* site, swy_needs* out, swy_exec* e) {
  if (site->kind != SWY_SITE_FFN || (!refuses_all && site->n_experts != 4)) return asked->needs(self, site, out, e);
  std::snprintf(e->error, e->error_cap, "not here");
  return SWY_INVALID;
}

// Proves that a router that refuses one FFN site is not taken for a router of blocks, and one that refuses all of them
// is.
TEST(SiteKind, IsNotGuessedFromOneRefusal) {
  asked = find_router(plugin("none").string()).router;
  swy_router picky = *asked;
  picky.needs = picky_needs;
  EXPECT_EQ(site_kind_of(*asked), SWY_SITE_FFN);
  try {
    site_kind_of(picky);
    ADD_FAILURE() << "a router of FFN sites was examined as one of blocks";
  } catch (const Skipped& e) {
    EXPECT_NE(std::string(e.what()).find("not here"), std::string::npos) << e.what();
  }
  refuses_all = true;
  EXPECT_EQ(site_kind_of(picky), SWY_SITE_BLOCK);
}

}  // namespace
}  // namespace swy::conform
