// `switchyard run --device cuda` from outside: the same suites as on the CPU give the same results but for rounding,
// repeat bit for bit, resume, and measure robustness from the trained weights.
#include <cmath>

#include "benchmarks/run_fixture.h"
#include "core/device/device.h"

namespace swy::bench {
namespace {

struct DeviceRun : RunTest {
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
  Said on(const char* device, const std::string& suite_path, const fs::path& where,
          std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--device", device});
    return run(suite_path, where, more);
  }
};

void expect_same_results(const Json& device, const Json& host, double loss_tolerance) {
  EXPECT_EQ(device["status"]["state"], "ok") << device["status"].dump();
  EXPECT_EQ(device["budget"]["steps"], host["budget"]["steps"]);
  const double spent = host["budget"]["spent_flops"];
  EXPECT_NEAR(device["budget"]["spent_flops"].get<double>(), spent, 2e-3 * spent);  // kept rows follow the plans
  EXPECT_EQ(device["environment"]["device"], "cuda");
  EXPECT_EQ(host["environment"]["device"], "cpu");
  for (size_t i = 0; i < host["curve"].size(); ++i) {
    const double want = host["curve"][i]["train_loss"], got = device["curve"][i]["train_loss"];
    EXPECT_NEAR(got, want, loss_tolerance * want) << "point " << i;
  }
  for (size_t s = 0; s < host["sites"].size(); ++s) {
    EXPECT_EQ(device["sites"][s]["train"]["tokens"], host["sites"][s]["train"]["tokens"]);
    EXPECT_EQ(device["sites"][s]["test"]["tokens"], host["sites"][s]["test"]["tokens"]);
    for (const auto& [name, value] : host["sites"][s]["aux"].items())
      EXPECT_NEAR(device["sites"][s]["aux"][name].get<double>(), value.get<double>(),
                  0.02 * (0.01 + std::fabs(value.get<double>())))
          << name;
  }
}

TEST_F(DeviceRun, ImagesAsOnTheCpu) {
  const std::string path = suite();
  ASSERT_EQ(on("cpu", path, directory / "cpu").code, 0);
  const Said first = on("cuda", path, out), second = on("cuda", path, directory / "again");
  ASSERT_EQ(first.code, 0) << first.err;
  ASSERT_EQ(second.code, 0) << second.err;
  const auto host = records(directory / "cpu"), device = records(out), again = records(directory / "again");
  ASSERT_EQ(device.size(), host.size());
  for (const auto& [name, record] : device) {
    SCOPED_TRACE(name);
    expect_same_results(record, host.at(name), 2e-3);
    EXPECT_EQ(report::without_timing(record), report::without_timing(again.at(name)));
  }
}

TEST_F(DeviceRun, WholeBlocksAsOnTheCpu) {
  const Json block = {{"site", "block"}, {"experts", 1}, {"capacity", {{"factor", 0.25}, {"eval_factor", 0.25}}}};
  for (const char* base : {"smoke", "lm-smoke"}) {
    SCOPED_TRACE(base);
    const std::string path = suite({{"routers", {{{"id", "mixture_of_depths"}, {"model", block}}}}}, base);
    ASSERT_EQ(on("cpu", path, directory / base / "cpu").code, 0);
    const Said said = on("cuda", path, directory / base / "cuda");
    ASSERT_EQ(said.code, 0) << said.err;
    const Json host = records(directory / base / "cpu").begin()->second,
               device = records(directory / base / "cuda").begin()->second;
    expect_same_results(device, host, 2e-3);
    EXPECT_EQ(device["sites"][0]["realised"]["experts_per_token"], 0.25);
    EXPECT_EQ(device["budget"]["spent_flops"], host["budget"]["spent_flops"]);  // as many tokens, whichever they are
  }
}

TEST_F(DeviceRun, TextAsOnTheCpu) {
  const std::string path = suite(Json::object(), "lm-smoke");
  ASSERT_EQ(on("cpu", path, directory / "cpu").code, 0);
  const Said said = on("cuda", path, out);
  ASSERT_EQ(said.code, 0) << said.err;
  const auto host = records(directory / "cpu"), device = records(out);
  ASSERT_EQ(device.size(), host.size());
  for (const auto& [name, record] : device) {
    SCOPED_TRACE(name);
    expect_same_results(record, host.at(name), 2e-3);
  }
}

// In bf16 the losses are near, and robustness is measured with the weights as they are.
TEST_F(DeviceRun, Bf16AndRobustness) {
  const std::string path = suite({{"routers", {{{"id", "softmax_token_choice"}}}}});
  ASSERT_EQ(on("cpu", path, directory / "cpu", {"--robustness", "quick"}).code, 0);
  const Said said = on("cuda", path, out, {"--robustness", "quick", "--precision", "bf16"});
  ASSERT_EQ(said.code, 0) << said.err;
  const Json host = records(directory / "cpu").begin()->second, device = records(out).begin()->second;
  expect_same_results(device, host, 5e-2);
  EXPECT_EQ(device["environment"]["precision"], "bf16");
  ASSERT_EQ(device["robustness"]["cells"].size(), host["robustness"]["cells"].size());
}

// Noise, attacks, faults, capacities and early routers work on the device on what was trained there; so does all that
// --analysis looks at.
TEST_F(DeviceRun, LooksIntoRoutingAsOnTheCpu) {
  const Json attack = {{"name", "pgd"}, {"radius", 2}, {"steps", 2}};
  const Json robustness = {
      {"level", "full"}, {"corruptions", {"gaussian_noise"}}, {"attacks", Json::array({attack})}, {"images", 24}};
  const std::string path = suite({{"routers", {{{"id", "softmax_token_choice"}}}}, {"robustness", robustness}});
  const std::vector<std::string> more = {"--analysis", "--keep-models"};
  ASSERT_EQ(on("cpu", path, directory / "cpu", more).code, 0);
  const Said said = on("cuda", path, out, more);
  ASSERT_EQ(said.code, 0) << said.err;
  const auto host = records(directory / "cpu"), device = records(out);
  ASSERT_EQ(device.size(), 1u);
  for (const auto& [name, record] : device) {
    SCOPED_TRACE(name);
    const Json& other = host.at(name);
    expect_same_results(record, other, 2e-3);
    const Json &cells = record["robustness"]["cells"], &wanted = other["robustness"]["cells"];
    ASSERT_EQ(cells.size(), wanted.size());
    for (size_t i = 0; i < cells.size(); ++i) {
      SCOPED_TRACE(wanted[i].dump());
      ASSERT_EQ(cells[i].contains("loss"), wanted[i].contains("loss")) << cells[i];
      if (!wanted[i].contains("loss")) continue;
      const double want = wanted[i]["loss"];
      EXPECT_NEAR(cells[i]["loss"].get<double>(), want, 1e-2 * want);
      EXPECT_EQ(cells[i]["scored"], wanted[i]["scored"]);
      ASSERT_EQ(cells[i].contains("churn"), wanted[i].contains("churn"));
      if (wanted[i].contains("churn")) {
        EXPECT_EQ(cells[i]["churn"][0]["tokens"], wanted[i]["churn"][0]["tokens"]);
      }
    }
    ASSERT_EQ(record["analysis"].size(), other["analysis"].size());
  }
}

}  // namespace
}  // namespace swy::bench
