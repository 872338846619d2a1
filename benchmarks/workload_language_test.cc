#include "benchmarks/workload_language.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "benchmarks/evaluate.h"
#include "benchmarks/train.h"
#include "benchmarks/workload.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/parallel.h"
#include "core/base/resources.h"

namespace swy::bench {
namespace {
namespace fs = std::filesystem;

// A cell of the language smoke suite, changed by `patch`.
Suite cell(const char* router, const Json& patch = Json::object()) {
  set_thread_count(1);
  Json j = read_json(resource("benchmarks/suites/lm-smoke.json"));
  j["routers"] = {{{"id", router}}};
  j["seeds"] = {1};
  j.merge_patch(patch);
  return parse_suite(j, "suite");
}

std::string error_of(const Json& patch) {
  try {
    const Suite suite = cell("none", patch);
    language_modality().check(suite, suite.routers[0], language_modality().shape(suite.tasks[0], "datasets"));
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    return e.what();
  }
  return "no error";
}

double value_of(const std::vector<NamedValue>& all, const std::string& name) {
  for (const NamedValue& v : all) {
    if (v.metric == name) return v.value;
  }
  return std::nan("");
}

// A file of 40000 bytes that says "abcabd" over and over.
struct Rhyme {
  fs::path file = fs::temp_directory_path() / ("switchyard_text_" + std::to_string(getpid()));
  Rhyme() {
    std::string text;
    while (text.size() < 40000) text += "abcabd";
    text.resize(40000);
    write_atomically(file, text);
  }
  ~Rhyme() { fs::remove(file); }
  Json task(const char* tokenizer) const {
    return {
        {"tasks", {{{"id", "t"}, {"dataset", "text_file:" + file.string()}, {"options", {{"tokenizer", tokenizer}}}}}}};
  }
};

// Proves that an evaluation scores every token but the first of the split once, with disjoint and with overlapping
// windows, that tokens gone through are more where they overlap, and that padding has no cluster.
TEST(LanguageWorkload, ScoresEveryTokenOnce) {
  for (const int stride : {0, 5}) {
    const Suite suite = cell("random", {{"evaluation", {{"stride", stride}, {"batch", 16}, {"split", "test"}}}});
    const auto workload = language_modality().make(suite, "datasets");
    const int64_t tokens = workload->describe()["test_tokens"];
    EXPECT_EQ(workload->describe()["evaluated_split"], "test");
    struct : EvaluationObserver {
      int64_t padding = 0, rows = 0;
      void see(const Workload&, const Scored& s) override {
        rows += s.rows;
        for (int64_t i = 0; i < s.rows; ++i) padding += s.cluster[i] < 0;
      }
    } observer;
    const Evaluation e = Evaluator(*workload, 1).run({.planted = true, .observer = &observer});
    EXPECT_EQ(e.scored, tokens - 1);
    EXPECT_EQ(e.units, observer.rows - observer.padding);
    EXPECT_TRUE(stride == 0 ? e.units == tokens - 1 : e.units > 2 * tokens) << e.units;
    EXPECT_EQ(e.load.at(0).tokens, e.units);
    EXPECT_NEAR(e.loss, std::log(128), 0.1);  // an untrained model knows nothing of the 128 tokens
  }
}

// Proves that bits are per byte of the text whichever the tokens are: by bytes the loss in bits, by longer tokens the
// loss of a token over the bytes it stands for.
TEST(LanguageWorkload, BitsPerByteOfAnyTokenizer) {
  const fs::path file = fs::temp_directory_path() / ("switchyard_text_" + std::to_string(getpid()));
  std::string text;
  while (text.size() < 40000) text += "abcabd";
  write_atomically(file, text);
  for (const char* tokenizer : {"byte", "bpe-260"}) {
    const Suite suite =
        cell("none",
             {{"tasks",
               {{{"id", "t"}, {"dataset", "text_file:" + file.string()}, {"options", {{"tokenizer", tokenizer}}}}}}});
    const auto workload = language_modality().make(suite, "datasets");
    const Evaluation e = Evaluator(*workload, 1).run({});
    const std::vector<NamedValue> all = workload->results(e);
    EXPECT_EQ(all[0].metric, "bits_per_byte");
    EXPECT_EQ(value_of(all, "token_loss"), e.loss);
    const double tokens = workload->describe()["test_tokens"];
    EXPECT_NEAR(all[0].value, e.loss / std::log(2.0) * tokens / 2000, 0.01) << tokenizer;  // 5 % of 40000 bytes
    EXPECT_TRUE(tokenizer == std::string("byte") ? tokens == 2000 : tokens < 1200) << tokens;
  }
}

// Proves that training with a router learns a text that can be learnt, and that the same seed gives the same bits.
TEST(LanguageWorkload, TrainsAndRepeats) {
  const Rhyme rhyme;
  const Suite suite = cell("random", rhyme.task("byte"));
  std::vector<double> losses[2];
  for (auto& list : losses) {
    const auto workload = language_modality().make(suite, "datasets");
    Trainer trainer(suite, *workload);
    for (int i = 0; i < 30; ++i) {
      trainer.step();
      list.push_back(trainer.loss());
    }
    EXPECT_EQ(trainer.units(), 30 * 16 * 16);
    EXPECT_EQ(trainer.total_load().size(), 1u);
  }
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_LT(losses[0].back(), 0.5 * losses[0].front());
}

// Proves that a budget in tokens ends after exactly that many, and that the schedule follows them.
TEST(LanguageWorkload, BudgetOfTokens) {
  Suite suite = cell("none", {{"budget", {{"train_flops", nullptr}, {"train_tokens", 1000}}}});
  const auto workload = language_modality().make(suite, "datasets");
  Trainer trainer(suite, *workload);
  while (trainer.budget().allows_next()) trainer.step();
  EXPECT_EQ(trainer.units(), 768);  // 3 steps of 256; a fourth would overspend
  EXPECT_DOUBLE_EQ(trainer.budget().progress(), 0.768);
  EXPECT_GT(trainer.flops(), 1e6);
}

// Proves that what a suite of text may say is checked as a suite of text: keys of images, texts that do not exist,
// windows that would leave tokens out, budgets of nothing or of two kinds, a capacity that nobody reads.
TEST(LanguageWorkload, RefusesBadInput) {
  const std::set<std::pair<std::string, Json>> cases = {
      {"/model: unknown key 'patch'", {{"model", {{"patch", 4}}}}},
      {"/recipe: unknown key 'label_smoothing'", {{"recipe", {{"label_smoothing", 0.1}}}}},
      {"/evaluation: unknown key 'curve_images'; did you mean 'curve_tokens'?",
       {{"evaluation", {{"curve_images", 10}}}}},
      {"/model/activation: \"relu\" is not allowed", {{"model", {{"activation", "relu"}}}}},
      {"/model/kind: \"gpt\" is not allowed; known: vit, lm", {{"model", {{"kind", "gpt"}}}}},
      {"unknown text 'enwik9'; did you mean 'enwik8'?", {{"tasks", {{{"id", "t"}, {"dataset", "enwik9"}}}}}},
      {"evaluation.stride 17 is more than the context of 16", {{"evaluation", {{"stride", 17}}}}},
      {"give either train_flops or train_tokens", {{"budget", {{"train_tokens", 1000}}}}},
      {"does not pay for one step, which takes 256", {{"budget", {{"train_flops", nullptr}, {"train_tokens", 100}}}}},
      {"does not pay for one step", {{"budget", {{"train_flops", 1e6}}}}},
      {"model.capacity says nothing while model.dropless is true",
       {{"model", {{"dropless", true}, {"capacity", {{"factor", 1}}}}}}},
      {"model.group_sequences 5 must divide recipe.batch 16", {{"model", {{"group_sequences", 5}}}}},
  };
  for (const auto& [message, patch] : cases) {
    const std::string said = error_of(patch);
    EXPECT_NE(said.find(message), std::string::npos) << said << "\nfor " << message;
  }
}

// Proves that the fields of a suite reach the model, and that giving a capacity makes a model that drops.
TEST(LanguageWorkload, ModelOfARouter) {
  const Suite suite = cell("random", {{"model",
                                       {{"norm", "rms"},
                                        {"positions", "rotary"},
                                        {"activation", "swiglu"},
                                        {"tied_head", false},
                                        {"bias", false},
                                        {"shared_experts", 1},
                                        {"capacity", {{"factor", 2.0}, {"eval_factor", 3.0}}}}}});
  const model::LmConfig c = lm_config(suite.routers[0], 64, 8);
  EXPECT_EQ(c.vocabulary, 64);
  EXPECT_EQ(c.clusters, 8);
  EXPECT_EQ(c.context, 16);
  EXPECT_EQ(c.norm, model::NormKind::kRms);
  EXPECT_EQ(c.positions, model::PositionKind::kRotary);
  EXPECT_EQ(c.activation, model::ActivationKind::kSwiglu);
  EXPECT_FALSE(c.tied_head || c.bias || c.dropless);
  EXPECT_EQ(c.shared_experts, 1);
  EXPECT_EQ(c.train_capacity.factor, 2.0);
  EXPECT_EQ(c.eval_capacity.factor, 3.0);
  EXPECT_EQ(c.routed_layers, std::vector<int32_t>{1});
  EXPECT_TRUE(lm_config(cell("none").routers[0], 64, 8).routed_layers.empty());
  EXPECT_TRUE(lm_config(cell("random").routers[0], 64, 8).dropless);
}

}  // namespace
}  // namespace swy::bench
