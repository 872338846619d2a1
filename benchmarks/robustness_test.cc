// `switchyard run --robustness`, `--keep-models` and `--models` from outside, on small suites.
#include <stdexcept>

#include "benchmarks/run_fixture.h"

namespace swy::bench {
namespace {

struct Robust : RunTest {
  // The record of one router in a suite with a budget of a few steps.
  Json record(const std::string& base, const Json& router, const Json& robustness, std::vector<std::string> more = {}) {
    Json patch = {{"routers", Json::array({router})}};
    if (!robustness.empty()) patch["robustness"] = robustness;
    const Said said = run(suite(patch, base.c_str()), directory / std::to_string(++runs), more);
    EXPECT_EQ(said.code, 0) << said.out << said.err;
    const std::vector<Json> all = report::read_records(directory / std::to_string(runs));
    EXPECT_EQ(all.size(), 1u);
    return all.at(0);
  }
  static const Json& cell(const Json& record, const std::string& group, const std::string& name, double value = 0) {
    for (const Json& c : record.at("robustness").at("cells"))
      if (c.at("group") == group && c.at("name") == name && c.at("value") == value) return c;
    throw std::runtime_error("no cell " + group + " " + name);
  }
  int runs = 0;
};

// Proves that looking changes nothing: with and without, all other results have the same bits; that what was measured
// does not depend on the run; and what must hold of every condition whatever the router learnt.
TEST_F(Robust, Images) {
  const Json router = {{"id", "softmax_token_choice"}};
  const Json full = {{"level", "full"}, {"images", 96}, {"corruptions", {"fog", "impulse_noise"}}};
  const Json plain = record("smoke", router, {}), a = record("smoke", router, full, {"--keep-models"}),
             b = record("smoke", router, full, {"--keep-models"});
  EXPECT_EQ(a["metrics"], plain["metrics"]);
  EXPECT_EQ(a["sites"], plain["sites"]);
  EXPECT_EQ(a["curve"], plain["curve"]);
  EXPECT_EQ(a["robustness"], b["robustness"]);
  EXPECT_FALSE(plain.contains("robustness"));

  const double clean = cell(a, "clean", "clean")["loss"];
  EXPECT_EQ(cell(a, "clean", "clean")["scored"], 96);
  for (const Json& c : a["robustness"]["cells"]) {
    EXPECT_FALSE(c.contains("reason")) << c;
    EXPECT_EQ(c["scored"], 96) << c;
    if (c["group"] != "clean") {
      ASSERT_EQ(c["churn"].size(), 1u) << c;
      EXPECT_EQ(c["churn"][0]["tokens"], 96 * 16) << c;
    }
  }
  // The same capacity is the same routing; more noise moves more; a lost expert moves what it had.
  EXPECT_EQ(cell(a, "capacity", "slots", 1)["churn"][0]["changed"], 0);
  EXPECT_EQ(cell(a, "capacity", "slots", 1)["loss"], clean);
  EXPECT_LT(cell(a, "states", "gaussian", 0.01)["churn"][0]["changed"],
            cell(a, "states", "gaussian", 1)["churn"][0]["changed"]);
  EXPECT_GT(cell(a, "lost", "most_used_residual", 1)["churn"][0]["changed"],
            cell(a, "lost", "least_used_residual", 1)["churn"][0]["changed"]);
  // Attacks raise the loss, the larger ball more, and many small steps at least about as much as one.
  EXPECT_GT(cell(a, "attack", "fgsm", 1)["loss"], clean);
  EXPECT_GT(cell(a, "attack", "fgsm", 2)["loss"], cell(a, "attack", "fgsm", 1)["loss"]);
  EXPECT_GT(cell(a, "attack", "pgd", 2)["loss"].get<double>(),
            0.999 * cell(a, "attack", "fgsm", 2)["loss"].get<double>());
}

// Proves that a run under stress has its figure, that `report` makes the same one again from the records, and that one
// without stress has none; the figure's name cannot be taken for the other one.
TEST_F(Robust, Figure) {
  const Json router = {{"id", "random"}};
  record("smoke", router, {});
  record("smoke", router, {{"level", "quick"}, {"images", 32}});
  EXPECT_FALSE(fs::exists(directory / "1" / "smoke" / "robustness.svg"));
  const fs::path ran = directory / "2" / "smoke";
  const std::string figure = read_text(ran / "robustness.svg");
  expect_in("<g class=\"severity\" data-name=\"random\"", figure);
  const auto report_to = [&](const char* name) {
    return switchyard({"report", ran.string(), "--plot", (directory / name).string()}).code;
  };
  EXPECT_EQ(report_to("robustness.svg"), 2);
  EXPECT_EQ(report_to("again.svg"), 0);
  EXPECT_EQ(read_text(directory / "robustness.svg"), figure);
  EXPECT_EQ(read_text(directory / "again.svg"), read_text(ran / "equal_compute.svg"));
}

// Text: losses on intact targets apart, tokens compared with those they were; a causal router that drops nothing does
// not see another order of windows; a shifted text has nothing to be compared with.
TEST_F(Robust, Text) {
  const fs::path text = directory / "text.txt", other = directory / "other.txt";
  std::string words;
  for (int i = 0; i < 3000; ++i) words += "Some words, said " + std::to_string(i * 7919 % 1000) + " times. ";
  write_atomically(text, words);
  write_atomically(other, words.substr(words.size() / 2));
  const Said said =
      run(suite({{"tasks", {{{"id", "text"}, {"dataset", "text_file:" + text.string()}}}},
                 {"routers", {{{"id", "top_k"}}}},
                 {"robustness", {{"level", "full"}, {"tokens", 1600}, {"shift", {"text_file:" + other.string()}}}}},
                "lm-smoke"),
          out);
  ASSERT_EQ(said.code, 0) << said.err;
  const Json a = report::read_records(out).at(0);
  EXPECT_EQ(cell(a, "clean", "clean")["scored"], 1600);
  for (const double rate : {0.01, 0.02, 0.05}) {
    const Json& c = cell(a, "noise", "typo_keyboard", rate);
    const double all = c["scored"], intact = c["intact"]["scored"];
    EXPECT_EQ(all, 1600) << "a struck neighbour is one byte for one";
    EXPECT_LT(intact, all);
    EXPECT_GT(intact, (1 - 2 * rate) * all);
    EXPECT_NEAR(c["churn"][0]["tokens"].get<double>(), intact, 2);  // inputs are intact as often as targets
    // Nearly all targets are intact, so that their clean loss is nearly that of all; what came before them is not.
    const double clean = cell(a, "clean", "clean")["loss"], before = c["intact"]["clean_loss"];
    EXPECT_NEAR(before, clean, 4 * rate * clean);
    EXPECT_NE(before, c["intact"]["loss"]);
  }
  EXPECT_LT(cell(a, "noise", "typo_delete", 0.05)["scored"], 1600);
  EXPECT_EQ(cell(a, "order", "reversed")["churn"][0]["changed"], 0);
  EXPECT_FALSE(cell(a, "shift", "text_file:" + other.string()).contains("churn"));
  EXPECT_EQ(cell(a, "early", "router")["reason"], "no model of a quarter of training was kept (run --keep-models)");
}

// What cannot be is refused before anything is trained, with the nearest name.
TEST_F(Robust, BadInput) {
  const auto refused = [&](const Json& robustness, const std::string& part) {
    const Said said = run(suite({{"robustness", robustness}}), directory / "bad");
    EXPECT_EQ(said.code, 2) << robustness;
    expect_in(part, said.err);
  };
  refused({{"level", "some"}}, "/robustness/level");
  refused({{"level", "full"}, {"corruptions", {"frog"}}}, "fog");
  refused({{"level", "full"}, {"attacks", {{{"name", "pgd"}, {"radius", 2}}}}}, "steps");
  refused({{"level", "full"}, {"shift", {"cifar11"}}}, "cifar10");
}

// Proves that a kept model stands in for training where name and evaluation alone differ, with the same results, and
// that where the recipe differs it is not taken.
TEST_F(Robust, TakesKeptModels) {
  const Json only = {{"routers", {{{"id", "softmax_token_choice"}}}}};
  ASSERT_EQ(run(suite(only), out, {"--keep-models"}).code, 0);
  const std::string label = "softmax_token_choice/1", kept = (out / "smoke").string();
  const Json trained = records(out).at(label);
  std::vector<std::string> models;
  for (const auto& entry : fs::directory_iterator(kept))
    if (entry.path().extension() == ".safetensors") models.push_back(entry.path().filename());
  EXPECT_EQ(models.size(), 2u) << "the trained model and the early one";
  const auto again = [&](Json patch, const char* where) {
    patch.update(only);
    patch["name"] = "other";
    const Said said = run(suite(patch), directory / where, {"--models", kept});
    EXPECT_EQ(said.code, 0) << said.err;
    return records(directory / where).at(label);
  };
  const Json taken = again({{"evaluation", {{"every", 1.0}}}}, "taken");
  EXPECT_EQ(taken["timing"]["resumed_at_step"], trained["budget"]["steps"]);
  EXPECT_EQ(taken["metrics"], trained["metrics"]);
  EXPECT_EQ(taken["sites"], trained["sites"]);
  EXPECT_NE(taken["id"], trained["id"]);
  const Json other = again({{"recipe", {{"lr", 0.002}}}}, "other");
  EXPECT_EQ(other["timing"]["resumed_at_step"], 0);
  EXPECT_NE(other["metrics"], trained["metrics"]);
}

}  // namespace
}  // namespace swy::bench
